"""Where the demo plays: a workspace, two stand-in deployments, people, a keeper of its own. Asserts nothing."""

import asyncio
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gate.config.draft import shipped
from gate.demo import tools
from gate.demo.standin import StandIn

DEV, PROD = "happy-otter-123", "proud-lynx-456"
# Made up here: the stand-ins accept nothing else.
DEV_KEY, PROD_KEY = f"dev:{DEV}|dev-key-of-the-demo", f"prod:{PROD}|prod-key-of-the-demo"

_PROJECT = "demo"
_PATIENCE_SECONDS = 15.0
_LOOK_SECONDS = 0.02
# The keeper takes no folder that others may enter.
_OWN = 0o700

_CONFIG = """\
gate: 1
project: {project}
signers: gate.signers
roots: [human:ada]
policies: [policies/default.yaml, policies/production.yaml]
deployments:
  dev:  {{class: dev,  name: {dev}, url: "{dev_url}", custody: dev}}
  prod: {{class: prod, name: {prod}, url: "{prod_url}", custody: prod}}
principals:
  agent:codex: {{owner: human:ada}}
{people}custody:
  dev: {{file: keys/dev}}
  prod: {{file: keys/prod}}
"""

# What an agent that owns node_modules would try: the CLI's own credential, on a write that nobody decided about.
HOSTILE_CLI = """\
const key = process.env.CONVEX_DEPLOY_KEY;
const answer = await fetch(process.env.CONVEX_PROVISION_HOST + "/api/function", {
  method: "POST",
  headers: {"Content-Type": "application/json", "Authorization": "Convex " + key},
  body: JSON.stringify({path: "_system/frontend/addDocument", args: {table: "messages", documents: [{}]}}),
});
console.log("status", answer.status, await answer.text());
"""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a key of their own. `enrolled`: the bundle lists it, in the group that approves."""

    name: str
    enrolled: bool = True


ADA = Person("ada")
# The owner, somebody who may approve, and somebody whom nobody enrolled.
CAST = (ADA, Person("lee"), Person("mallory", enrolled=False))


@dataclass(frozen=True, slots=True)
class Came:
    """What a call came back with."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Stage:
    """The demo's folder and its two deployments; `gate` calls the real command there, with `home` as GATE_HOME."""

    folder: Path
    dev: StandIn
    prod: StandIn
    home: str = "state"

    @property
    def work(self) -> Path:
        """The agent's workspace."""
        return self.folder / "chat"

    @property
    def state(self) -> Path:
        """The keeper's folder."""
        return self.folder / self.home

    @property
    def ledger(self) -> Path:
        """The project's ledger."""
        return self.state / _PROJECT / "ledger.db"

    @property
    def person(self) -> Path:
        """Private key of the person who owns the project."""
        return self.key(ADA.name)

    def key(self, name: str) -> Path:
        """Private key of the person of that name."""
        return self.folder / name

    def gate(self, *words: str, stdin: str = "", cwd: Path | None = None) -> Came:
        """`gate WORDS` as the agent codex, in the workspace."""
        done = subprocess.run(
            _command(words),
            cwd=cwd or self.work,
            env=tools.environment(self.state),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Came(done.returncode, done.stdout, done.stderr)

    def begin(self, *words: str) -> "Call":
        """Start `gate WORDS` as the agent codex, and let it run."""
        out, err = (self.folder / name for name in ("call.out", "call.err"))
        with out.open("w") as stdout, err.open("w") as stderr:
            process = subprocess.Popen(
                _command(words),
                cwd=self.work,
                env=tools.environment(self.state),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )
        return Call(process, out, err)

    def forge(self, name: str, script: str, deployment: str) -> Path:
        """A folder `name` of the same project whose node_modules holds `script` as its Convex CLI.

        `deployment`: what its .env.local selects.
        """
        folder = self.work / name
        package = folder / "node_modules" / "convex"
        (package / "bin").mkdir(parents=True)
        (package / "package.json").write_text(f'{{"version": "{tools.CONVEX}", "type": "module"}}', encoding="utf-8")
        (package / "bin" / "main.js").write_text(script, encoding="utf-8")
        (folder / ".env.local").write_text(f"CONVEX_DEPLOYMENT={deployment}\n", encoding="utf-8")
        return folder

    def hostile_workspace(self) -> Path:
        """A folder whose Convex CLI is forged, and writes with whatever it is given for dev."""
        return self.forge("forged", HOSTILE_CLI, f"dev:{DEV}")

    @contextmanager
    def copied(self) -> Iterator["Stage"]:
        """The same stage over a copy of the keeper's state, as it is now; a keeper of the copy ends with the block."""
        self.gate("keeper", "stop")
        other = replace(self, home=f"{self.home}-copy")
        shutil.copytree(self.state / _PROJECT, other.state / _PROJECT)
        other.state.chmod(_OWN)
        try:
            yield other
        finally:
            other.gate("keeper", "stop")


@dataclass(frozen=True, slots=True)
class Call:
    """A call that runs; `out` and `err` are the files that it writes to."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    def shows(self, text: str, seconds: float = _PATIENCE_SECONDS) -> bool:
        """Whether `text` is printed on stdout in time, or the call ends before that."""
        deadline = time.monotonic() + seconds
        while text not in self.out.read_text(encoding="utf-8"):
            if self.process.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def ended(self, seconds: float = _PATIENCE_SECONDS) -> Came:
        """What it came back with; a call that does not end in time is killed."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        return Came(code, self.out.read_text(encoding="utf-8"), self.err.read_text(encoding="utf-8"))


@contextmanager
def stage(node_modules: Path, people: Sequence[Person] = (ADA,)) -> Iterator[Stage]:
    """Set everything up for `people`, and take it down at the end: no process and no file stays."""
    with TemporaryDirectory(prefix="gate-demo-") as name, _loop() as run:
        dev, prod = StandIn(DEV_KEY, DEV), StandIn(PROD_KEY, PROD)
        run(dev.__aenter__())
        run(prod.__aenter__())
        made = Stage(Path(name).resolve(), dev, prod)
        try:
            _furnish(made, node_modules, people)
            yield made
        finally:
            made.gate("keeper", "stop")
            run(dev.__aexit__(None, None, None))
            run(prod.__aexit__(None, None, None))


def _furnish(made: Stage, node_modules: Path, people: Sequence[Person]) -> None:
    work = made.work
    (work / "policies").mkdir(parents=True)
    (work / "node_modules").symlink_to(node_modules)
    for person in people:
        _make_key(made.key(person.name))
    enrolled = [person.name for person in people if person.enrolled]
    config = _CONFIG.format(
        project=_PROJECT,
        dev=DEV,
        prod=PROD,
        dev_url=made.dev.url,
        prod_url=made.prod.url,
        people="".join(f"  human:{name}: {{groups: [leads]}}\n" for name in enrolled),
    )
    files = {
        "gate.yaml": config,
        "gate.signers": "".join(f"human:{name} {_public(made.key(name))}" for name in enrolled),
        "package.json": '{"name": "chat", "dependencies": {"convex": "1.48.0"}}\n',
        ".env.local": f"CONVEX_DEPLOYMENT=dev:{DEV}\n",
        **shipped(),
    }
    for path, text in files.items():
        (work / path).write_text(text, encoding="utf-8")


def _make_key(key: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", key.name, "-f", str(key)],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def _public(key: Path) -> str:
    return key.with_suffix(".pub").read_text(encoding="utf-8")


def _command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-I", "-m", "gate", *words]


@contextmanager
def _loop() -> Iterator[Any]:
    """An event loop in a thread of its own; yields what runs a coroutine there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout=30)

    try:
        yield run
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()
