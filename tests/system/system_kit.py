"""A whole gate as system tests use it: a project in force, doors as processes, what is on record. Asserts little."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gate import __version__
from gate.demo import tools
from gate.demo.stage import DEV_KEY, PROD_KEY, Came, Stage
from gate.keeper import places, protocol

_OWN = """\
  own:  {{class: dev, url: "{url}", custody: own}}
principals:
"""


@dataclass(frozen=True, slots=True)
class Project:
    """A project in force. `state` is GATE_HOME."""

    made: Stage

    @property
    def state(self) -> Path:
        return self.made.folder / "state"

    @property
    def ledger(self) -> Path:
        return self.state / "demo" / "ledger.db"

    @property
    def own_url(self) -> str:
        """Address of the self-hosted entry `own`: the stand-in of dev by its other name."""
        return self.made.dev.url.replace("127.0.0.1", "localhost")

    @staticmethod
    def command(*words: str) -> list[str]:
        return [sys.executable, "-I", "-m", "gate", *words]

    def environment(self, **more: str) -> dict[str, str]:
        return {**tools.environment(self.state), **more}

    def gate(self, *words: str, cwd: Path | None = None, stdin: str = "", **more: str) -> Came:
        """`gate WORDS` to its end, with the variables `more`."""
        done = subprocess.run(
            self.command(*words),
            cwd=cwd or self.made.work,
            env=self.environment(**more),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Came(done.returncode, done.stdout, done.stderr)

    @contextmanager
    def door(self, *words: str, cwd: Path | None = None, **more: str) -> Iterator[subprocess.Popen[str]]:
        """`gate WORDS` in a session of its own, to be talked to; whatever is left of it ends with the block."""
        with subprocess.Popen(
            self.command(*words),
            cwd=cwd or self.made.work,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    @contextmanager
    def live(self, *, token_to: Path | None = None) -> Iterator["Live"]:
        """A call that runs until it is ended: its child is a forged CLI that only waits and shows its credential."""
        forged = waiting(self.made.work / "waiting")
        with self.door("convex", "run", "messages:list", cwd=forged) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            shown = json.loads(line)
            if token_to is not None:
                token_to.write_text(shown["key"])
            yield Live(process, shown["pid"], shown["key"], shown["host"])

    def keeper_pid(self) -> int:
        """Process id of the keeper that runs."""
        return int(self.ask("status")["result"]["pid"])

    def kill_keeper(self) -> None:
        """SIGKILL the keeper, and return when it is gone."""
        pid = self.keeper_pid()
        os.kill(pid, signal.SIGKILL)
        assert until(lambda: gone(pid))

    def ensure_keeper(self) -> None:
        """Have a door start the keeper where none answers."""
        try:
            self.keeper_pid()
        except (OSError, protocol.Gone):
            assert self.gate("whoami").code == 0

    def events(self, after: int = 0) -> list[Any]:
        """Bodies of every event behind number `after`."""
        self.ensure_keeper()
        found: list[Any] = []
        yaml = (self.made.work / "gate.yaml").read_text()
        while lines := self.ask("audit.export", {"gate_yaml": yaml, "after": after})["result"]["events"]:
            found += [json.loads(json.loads(line)["body"]) for line in lines]
            after = found[-1]["seq"]
        return found

    def outcomes(self, after: int = 0) -> dict[str, list[str]]:
        """For every decision behind number `after` that let something run: the outcomes on record."""
        found: dict[str, list[str]] = {}
        for body in self.events(after):
            if body["type"] == "decision" and body["runs"]:
                found[body["id"]] = []
            elif body["type"] == "outcome":
                found[body["decision"]].append(body["outcome"])
        return found

    def connect(self) -> socket.socket:
        """A connection of an untrusted client to the keeper that runs."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        try:
            with places.Address(places.socket_in(str(self.state))) as address:
                connection.connect(address)
        except OSError:
            connection.close()
            raise
        return connection

    def ask(self, op: str, members: Mapping[str, object] = MappingProxyType({}), *, version: str = __version__) -> Any:
        """First answer to one raw operation."""
        with self.connect() as connection:
            protocol.send(connection, {"gate": version, "op": op, **members})
            return protocol.receive(connection)


@dataclass(frozen=True, slots=True)
class Live:
    """A call that runs: the door, its child's process id, the credential that the child holds and where it is good."""

    process: subprocess.Popen[str]
    child: int
    key: str
    host: str

    def ended(self, seconds: float = 20) -> tuple[int, str]:
        """The door's exit status and what it said."""
        _, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, err


_WAITS = """\
console.log(JSON.stringify({
  pid: process.pid, key: process.env.CONVEX_DEPLOY_KEY, host: process.env.CONVEX_PROVISION_HOST,
}));
setInterval(() => {}, 1000);
"""


def in_force(made: Stage) -> Project:
    """Register the self-hosted entry too, activate, store every key."""
    project = Project(made)
    config = made.work / "gate.yaml"
    text = config.read_text().replace("principals:\n", _OWN.format(url=project.own_url))
    text = text.replace("custody: dev}", "custody: dev, team: acme, slug: chat}")
    config.write_text(text + "  own: {file: keys/own}\n")
    for words, stdin in (
        (("activate", "--key", str(made.person)), ""),
        (("key", "set", "dev"), DEV_KEY),
        (("key", "set", "own"), DEV_KEY),
        (("key", "set", "prod"), PROD_KEY),
    ):
        came = project.gate(*words, stdin=stdin)
        assert came.code == 0, came.err
    return project


def forge(folder: Path, script: str, env_local: str = "CONVEX_DEPLOYMENT=dev:happy-otter-123\n") -> Path:
    """A folder of the project whose Convex CLI is `script`; it says it is the version that the gate knows."""
    package = folder / "node_modules" / "convex"
    (package / "bin").mkdir(parents=True, exist_ok=True)
    (package / "package.json").write_text(f'{{"version": "{tools.CONVEX}", "type": "module"}}')
    (package / "bin" / "main.js").write_text(script)
    (folder / ".env.local").write_text(env_local)
    return folder


def waiting(folder: Path) -> Path:
    """A folder whose Convex CLI shows what it was given and waits to be ended."""
    return forge(folder, _WAITS)


def last(came: Came) -> str:
    """The code in the last line of a refusal."""
    line = came.err.strip().splitlines()[-1]
    assert line.startswith("gate: "), came.err
    return line.split(": ")[1]


def until(met: Callable[[], bool], seconds: float = 5) -> bool:
    """Whether `met` becomes true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if met():
            return True
        time.sleep(0.02)
    return met()


def gone(pid: int) -> bool:
    """Whether the process has ended, reaped or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return True


def decision_of(came: Came) -> Mapping[str, Any]:
    """The decision object that a refused `--json` call printed first."""
    return dict(json.loads(came.err.splitlines()[0]))


def keep(made: Stage) -> None:
    """Start the stage's keeper by hand, so that what it does is measured too; it is reaped when it ends."""
    ready, keeper_end = os.pipe()
    words = [sys.executable, "-m", "gate", "keeper", "run", "--ready-fd", str(keeper_end)]
    environment = tools.environment(made.folder / "state")
    keeper = subprocess.Popen(words, cwd=made.folder, env=environment, pass_fds=[keeper_end])
    os.close(keeper_end)
    os.read(ready, 1)
    os.close(ready)
    threading.Thread(target=keeper.wait, daemon=True).start()
