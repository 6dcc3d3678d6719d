"""What a run under a grant sees of its caller's environment: next to nothing, and Convex's CLI still works in it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from convex_cli import end, until, workspace
from hypothesis import example, given, strategies as st
from leases import KEY, VIEW, WRITE, lease, scope, variables

from gate.demo.standin import StandIn
from gate.execution.environment import child_environment_under_grant
from gate.keeper import protocol
from gate.proxy.lease import Scope
from gate.proxy.pins import BLANK
from gate.proxy.server import Proxy

LISTED = {"PATH", "TERM", "LANG", "TZ", "NO_COLOR", "CI"}
# Each of these would load code into Node or a shell, move its requests, or carry a credential.
HOSTILE = {
    "NODE_OPTIONS": "--require ./evil.cjs",
    "NODE_PATH": "/evil",
    "NODE_EXTRA_CA_CERTS": "/evil/ca.pem",
    "NODE_TLS_REJECT_UNAUTHORIZED": "0",
    "NODE_REPL_EXTERNAL_MODULE": "/evil.js",
    "LD_LIBRARY_PATH": "/evil",
    "BASH_ENV": "/evil.sh",
    "ENV": "/evil.sh",
    "GIT_SSH_COMMAND": "evil",
    "npm_config_node_options": "--require ./evil.cjs",
    "https_proxy": "http://evil",
    "all_proxy": "http://evil",
    "NO_PROXY": "*",
    "SSL_CERT_FILE": "/evil/ca.pem",
    "SSH_AUTH_SOCK": "/run/agent",
    "SSH_ASKPASS": "/evil",
    "AWS_SECRET_ACCESS_KEY": "made-up",
    "GITHUB_TOKEN": "made-up",
    "CONVEX_DEPLOY_KEY": "prod:proud-lynx-456|made-up",
    "CONVEX_TMPDIR": "/evil",
    "DOTENV_KEY": "made-up",
    "XDG_CONFIG_HOME": "/evil",
    "TMPDIR": "/evil",
    "path": "/evil",
    "Lc_ALL": "evil",
    "TZDIR": "/evil",
    "PATH_": "/evil",
    "LANGUAGE": "evil",
    "TERMINFO": "/evil",
    "CI_JOB_TOKEN": "made-up",
}
HARMLESS = {"TERM": "xterm", "LANG": "C.UTF-8", "LC_TIME": "C", "TZ": "UTC", "NO_COLOR": "1", "CI": "1"}

names = st.sampled_from([*HOSTILE, *HARMLESS, "PATH", "HOME", *BLANK]) | st.text(min_size=1, max_size=12)
tables = st.dictionaries(names, st.text(max_size=5), max_size=12)


@given(caller=tables, pins=tables)
@example(caller=HOSTILE | HARMLESS | {"PATH": "/bin", "HOME": "/home/ada"}, pins=dict.fromkeys(BLANK, ""))
def test_only_what_is_listed_comes_from_the_caller_and_the_pins_win(
    caller: Mapping[str, str], pins: Mapping[str, str]
) -> None:
    child = child_environment_under_grant(caller, pins, "/state/home")
    assert child["HOME"] == "/state/home"
    assert all(child[name] == value for name, value in pins.items() if name != "HOME")
    passed = child.keys() - pins.keys() - {"HOME"}
    assert {name for name in passed if not name.startswith("LC_")} <= LISTED
    wanted = {name for name in caller if name in LISTED or name.startswith("LC_")}
    assert passed == wanted - pins.keys() - {"HOME"}
    assert all(child[name] == caller[name] for name in passed)


class Keeper:
    """The other side of one run, as docs/protocol.md says: lets it through with `start`, and notes what it hears."""

    def __init__(self, start: Mapping[str, Any], cut: str | None = None) -> None:
        self.start = {"argv": ["run", "messages:list"], "pins": {}, "project": "chat", "command": "run", **start}
        self.cut = cut
        self.heard: list[dict[str, object]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._hear(reader)
        target = {"deployment": "prod", "url": "https://proud-lynx-456.convex.cloud"}
        decision = {"id": "dec-7k3f9q2m", "verdict": "allow", "enforcement": "advisory", "target": target}
        writer.write(protocol.encode({"decision": decision, "start": self.start}))
        if self.cut is not None:
            writer.write(protocol.encode({"cut": {"code": "cut", "message": self.cut}}))
        await self._hear(reader)
        writer.write(protocol.encode({"recorded": "dec-7k3f9q2m"}))
        writer.close()

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        size = protocol.size_of(await reader.readexactly(4))
        self.heard.append(protocol.decode(await reader.readexactly(size)))


async def door(folder: Path, keeper: Keeper, caller: Mapping[str, str]) -> tuple[int, str, str]:
    """`gate convex run messages:list` in `folder` with a keeper that is played, and a CLI that prints what it sees."""
    package = folder / "node_modules" / "convex"
    (package / "bin").mkdir(parents=True)
    (package / "bin" / "main.js").write_text("console.log(JSON.stringify(process.env))")
    (folder / "evil.cjs").write_text("console.log('loaded')")
    state = folder / "state"
    state.mkdir(mode=0o700, exist_ok=True)
    server = await asyncio.start_unix_server(keeper.serve, state / "keeper.sock")
    async with server:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gate",
            "convex",
            "run",
            "messages:list",
            cwd=folder,
            env={"PATH": os.environ["PATH"], "GATE_HOME": str(state), **caller},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(20):
            out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


GRANT = {"id": "grt-4m2x8c7d", "ends": "2026-02-19T14:32:05.123Z"}


async def test_the_child_of_a_grant_starts_with_the_pins_and_little_else(tmp_path: Path) -> None:
    keeper = Keeper({"grant": GRANT, "pins": {"CONVEX_DEPLOY_KEY": "dev:proud-lynx-456|token", "NODE_OPTIONS": ""}})
    code, out, err = await door(tmp_path, keeper, HOSTILE | HARMLESS)
    assert code == 0, err
    assert err == "gate: dec-7k3f9q2m prod under grt-4m2x8c7d until 14:32:05Z (advisory)\n"
    assert json.loads(out) == {
        **HARMLESS,
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path / "state" / "chat" / "home"),
        "CONVEX_DEPLOY_KEY": "dev:proud-lynx-456|token",
        "NODE_OPTIONS": "",
    }
    assert keeper.heard[1:] == [{"done": {"status": 0}}]


@pytest.mark.parametrize("start", [{}, {"grant": None}], ids=["absent", "null"])
async def test_without_a_grant_it_is_the_callers_own(tmp_path: Path, start: Mapping[str, Any]) -> None:
    """Builds and functions' tools of a deployment of one's own may need any of it."""
    code, out, err = await door(tmp_path, Keeper(start), {"EDITOR": "vi", "NODE_OPTIONS": "--require ./evil.cjs"})
    assert code == 0, err
    assert err == "gate: dec-7k3f9q2m prod (advisory)\n"
    child = json.loads(out)
    assert child["EDITOR"] == "vi"
    assert "NODE_OPTIONS" not in child


async def test_a_cut_under_a_grant_is_said_and_ends_with_its_status(tmp_path: Path) -> None:
    keeper = Keeper({"grant": GRANT}, cut="the grant was revoked")
    code, _, err = await door(tmp_path, keeper, {})
    assert (code, err.splitlines()[-1]) == (76, "gate: cut: the grant was revoked")
    assert keeper.heard[1:] == [{"done": {"status": None}}]


@pytest.mark.parametrize("made", ["link", "file", "open"])
async def test_a_home_that_is_not_the_gates_own_is_refused_before_anything_starts(tmp_path: Path, made: str) -> None:
    """A login that lies in another folder would be a second way to production."""
    keeper, home = Keeper({"grant": GRANT}), tmp_path / "state" / "chat" / "home"
    home.parent.mkdir(parents=True, mode=0o700)
    home.parents[1].chmod(0o700)
    (tmp_path / "own").mkdir()
    if made == "link":
        home.symlink_to(tmp_path / "own")
    elif made == "file":
        home.touch()
    else:
        home.mkdir()
        home.chmod(0o755)
    code, out, err = await door(tmp_path, keeper, HARMLESS)
    assert (code, out, "cannot be used" in err) == (74, "", True)
    assert keeper.heard[1:] == [{"failed": "keeper_unavailable"}]


@pytest.fixture
async def deployment() -> AsyncIterator[StandIn]:
    async with StandIn(KEY) as standin:
        standin.app.insert("messages", {"body": "first", "author": "ada"})
        standin.app.call("messages:send", None, {"body": "early"})
        yield standin


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    listening = await Proxy.start(None)
    yield listening
    await listening.stop()


QUERY = scope("run", VIEW, functions=["messages:list"], kinds=["query"])
MUTATION = scope("run", VIEW, WRITE, functions=["messages:send"], kinds=["mutation"])


@pytest.mark.parametrize(
    ("name", "shown"), [("happy-otter-123", {}), (None, HARMLESS)], ids=["cloud-least", "self-hosted-most"]
)
@pytest.mark.parametrize(
    ("of", "argv", "sign"),
    [
        (QUERY, ("run", "messages:list"), "first"),
        (MUTATION, ("run", "messages:send", '{"body": "hi"}'), "messages-3"),
        (scope("data", VIEW), ("data",), "messages"),
        (scope("data", VIEW, tables=["messages"]), ("data", "messages"), "first"),
        (QUERY, ("run", "messages:list", "--watch"), "first"),
        (scope("logs", "deployment:logs:view"), ("logs", "--history", "5"), "messages:send ran"),
    ],
    ids=["run", "mutation", "data", "table", "watch", "logs"],
)
async def test_the_real_cli_works_in_it(
    proxy: Proxy,
    deployment: StandIn,
    tmp_path: Path,
    node_modules: Path,
    *,
    of: Scope,
    argv: tuple[str, ...],
    sign: str,
    name: str | None,
    shown: Mapping[str, str],
) -> None:
    """As a cloud deployment and as a self-hosted one, with all that may pass and with the least."""
    ours = lease(deployment.url, of, name=name, team="acme", slug="chat")
    proxy.open(ours)
    folder = workspace(tmp_path, node_modules)
    caller = {"PATH": os.environ["PATH"], **HOSTILE, **shown}
    process = await asyncio.create_subprocess_exec(
        "node",
        str(folder / "node_modules" / "convex" / "bin" / "main.js"),
        *argv,
        cwd=folder,
        env=child_environment_under_grant(caller, variables(ours, proxy.url), str(folder / "home")),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        await until(process, sign)
    finally:
        await end(process)
    assert ours.counts.refused == 0
    assert deployment.keys() == {KEY}
