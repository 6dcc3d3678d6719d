"""The real Convex CLI on production under a grant: as with the key in hand, every write on record, and cut in time."""

import hashlib
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from convex_cli import workspace
from cut_kit import milliseconds, on_disk, story
from production_kit import PROD_ENV, VIEW, WRITE, Production, production
from system_kit import Project

from gate.demo.stage import PROD_KEY, Came, stage
from gate.proxy.functions import canonical

_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")
_OURS = re.compile(r"gate: dec-[0-9a-z]{8} prod under grt-[0-9a-z]{8} until [0-9:]{8}Z \(advisory\)\n")
_LOGS = "deployment:logs:view"
# Where a write reaches a deployment: a function's kind is held by the route that it is sent to.
_WRITES = ("/api/mutation", "/api/action", "/api/update_environment_variables", "/api/perform_import")


@dataclass(frozen=True, slots=True)
class Call:
    """`convex ARGV` under a grant of `effects`; `writes`: functions, or paths, that it writes by."""

    argv: tuple[str, ...]
    effects: tuple[str, ...]
    writes: tuple[str, ...] = ()


CALLS = {
    "data": Call(("data", "messages", "--limit", "5"), (VIEW,)),
    "query": Call(("run", "messages:list"), (VIEW,)),
    "failing": Call(("run", "messages:fail"), (VIEW,)),
    "mutation": Call(("run", "messages:send", '{"body": "x y"}'), (VIEW, WRITE), ("messages:send",)),
    "action": Call(("run", "tasks:work"), (VIEW, WRITE), ("tasks:work",)),
    "env set": Call(("env", "set", "A", "b"), ("deployment:env:write",), ("/api/update_environment_variables",)),
    "import": Call(
        ("import", "--table", "messages", "rows.jsonl", "--append", "-y"),
        ("deployment:backups:import", WRITE),
        ("/api/perform_import",),
    ),
    "export": Call(("export", "--path", "out.zip"), ("deployment:backups:create", "deployment:backups:download")),
}
_SLOW = ("query", "failing", "action", "export")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two equal workspaces on a production each: one goes through the gate, one has the key in hand."""

    gated: Production
    bare: Project

    def work(self, side: str) -> Path:
        return (self.gated.project if side == "gated" else self.bare).made.work

    def start(self, side: str, *argv: str) -> subprocess.Popen[str]:
        words, environment = self._command(side, argv)
        return subprocess.Popen(
            words, cwd=self.work(side), env=environment, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def _command(self, side: str, argv: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
        if side == "gated":
            project = self.gated.project
            return project.command("convex", *argv), project.environment(GATE_PRINCIPAL=self.gated.agent)
        made = self.bare.made
        key = {"CONVEX_DEPLOY_KEY": PROD_KEY, "CONVEX_PROVISION_HOST": made.prod.url, "HOME": str(made.folder)}
        words = ["node", "node_modules/convex/bin/main.js", *argv]
        return words, self.bare.environment(**key, CONVEX_VERSION_API_ORIGIN=made.prod.url)

    def run(self, *argv: str) -> dict[str, Came]:
        """`convex ARGV` on both sides at once, to its end."""
        came: dict[str, Came] = {}

        def one(side: str) -> None:
            with self.start(side, *argv) as process:
                out, err = process.communicate(timeout=60)
                came[side] = Came(process.returncode, out, err)

        threads = [threading.Thread(target=one, args=(side,)) for side in ("gated", "bare")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return came

    def fresh(self) -> "Pair":
        """The same, for another agent; both productions and workspaces as they were."""
        for side, app in (("gated", self.gated.prod.app), ("bare", self.bare.made.prod.app)):
            app.tables = {"messages": [], "users": []}
            app.env.clear()
            app.insert("messages", {"body": "seed"})
            (self.work(side) / "out.zip").unlink(missing_ok=True)
        return Pair(self.gated.fresh(), self.bare)


@pytest.fixture(scope="module")
def both(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    pattern = workspace(tmp_path_factory.mktemp("pattern"), node_modules)
    with production(node_modules) as gated, stage(node_modules) as bare:
        for made in (gated.project.made, bare):
            shutil.copytree(pattern / "convex", made.work / "convex")
            shutil.copy(pattern / "convex.json", made.work)
            (made.work / ".env.local").write_text(PROD_ENV)
            (made.work / "rows.jsonl").write_text('{"body": "one"}\n{"body": "two"}\n')
        yield Pair(gated, Project(bare))


@pytest.fixture
def pair(both: Pair) -> Pair:
    return both.fresh()


def shown(text: str) -> str:
    """Output without what two runs may differ in: addresses and durations."""
    return re.sub(r"\d+(?:\.\d+)?(?:ms|s)\b|\d\d:\d\d:\d\d", "TIME", _ADDRESS.sub("URL", text))


def digest(body: Any) -> str:
    """What the record says of a forwarded body (docs/protocol.md)."""
    without = {name: value for name, value in body.items() if name != "adminKey"}
    return hashlib.sha256(json.dumps(without, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def marked(name: str) -> Any:
    """The call `name` as a parameter."""
    return pytest.param(name, marks=pytest.mark.slow) if name in _SLOW else name


@pytest.mark.parametrize("name", [*map(marked, CALLS)])
def test_under_a_grant_it_is_as_with_the_key_in_hand(pair: Pair, name: str) -> None:
    """The same output and effect; what the gate has on record as written is exactly what arrived."""
    call, made = CALLS[name], pair.gated
    grant = made.grant(*call.effects)
    came = pair.run(*call.argv)
    gated, bare = came["gated"], came["bare"]
    assert (gated.code, shown(gated.out)) == (bare.code, shown(bare.out)), gated.err
    assert (made.prod.app.tables, made.prod.app.env) == (pair.bare.made.prod.app.tables, pair.bare.made.prod.app.env)
    assert {one.key for one in made.reached() if one.key is not None} == {PROD_KEY}
    written = [one for one in on_disk(made.project, "grant.write") if one["grant"] == grant]
    arrived = [one for one in made.reached() if one.path in _WRITES]
    assert [_called(one) for one in arrived] == list(call.writes)
    assert [(one["function"] or one["place"].split()[1], one["sha256"]) for one in written] == [
        (_called(one), digest(one.body)) for one in arrived
    ]
    assert made.gate("drop", grant).code == 0
    assert shown(_OURS.sub("", gated.err)) == shown(bare.err)


def _called(one: Any) -> str:
    return canonical(one.body["path"]) if "path" in one.body else str(one.path)


@contextmanager
def staying(pair: Pair, *argv: str, until_shown: str) -> Iterator[subprocess.Popen[str]]:
    """A call that stays, once it has shown something."""
    with pair.start("gated", *argv) as process:
        try:
            assert process.stdout is not None
            seen = ""
            while until_shown not in seen:
                line = process.stdout.readline()
                assert line, seen + (process.stderr.read() if process.stderr else "")
                seen += line
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("argv", "effect", "until_shown"),
    [
        (("run", "messages:list", "--watch"), VIEW, "seed"),
        (("logs", "--history", "5"), _LOGS, "ran"),
    ],
)
def test_what_stays_ends_within_a_second_of_the_revocation(
    pair: Pair, argv: tuple[str, ...], effect: str, until_shown: str
) -> None:
    made = pair.gated
    made.prod.app.call("messages:send", None, {"body": "logged"})
    grant = made.grant(effect)
    with staying(pair, *argv, until_shown=until_shown) as process:
        assert made.gate("revoke", grant, "--reason", "no need").code == 0
        out, err = process.communicate(timeout=10)
        exited = time.time() * 1000
        assert process.returncode == 76
        assert err.splitlines()[-1] == f"gate: cut: the grant {grant} has ended (revoked)"
        ended, _, closed = story(made.project, grant)
        assert exited <= milliseconds(ended["time"]) + 1500
        assert closed["latency_ms"] < 1000
        made.prod.app.tables["messages"].append({"body": "after the end"})
        assert "after the end" not in out
