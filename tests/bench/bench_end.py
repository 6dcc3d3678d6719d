"""Whether access is really gone after its end: how long a token goes on to be answered, and the process to live.

The child is a program that holds a lease and idles; the benchmark itself calls with the lease's token, without a
pause, until a call is refused.
"""

import contextlib
import http
import json
import os
import signal
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench_doors import gate
from bench_measure import Row

from gate.demo import tools
from gate.demo.stage import DEV, Stage

_CALL = json.dumps({"path": "messages:list", "format": "convex_encoded_json", "args": [{}]})
_HOLDER = """\
import { renameSync, writeFileSync } from "node:fs";
const lease = {url: process.env.CONVEX_PROVISION_HOST, key: process.env.CONVEX_DEPLOY_KEY, pid: process.pid};
writeFileSync("lease.new", JSON.stringify(lease));
renameSync("lease.new", "lease.json");
setInterval(() => {}, 1000);
"""
_WITHOUT_DEV = """\
policy: 1
name: default
rules:
  - id: own-deployments
    allow: {classes: [anonymous, local], effects: ["deployment:*", "local:*"]}
    because: The benchmark takes dev away.
"""
_LIMIT_MS = 1000
_PATIENCE = 10


@dataclass(slots=True)
class Caller:
    """Calls with a lease's token until it is refused: `last` is when the last answered call came back.

    `gone` is when the process that holds the lease was seen to have ended.
    """

    lease: Mapping[str, Any]
    last: float = 0.0
    refused: float = 0.0
    gone: float = 0.0

    def call(self) -> None:
        """Call on one connection; a broken one is refused as well."""
        connection = HTTPConnection(urlsplit(str(self.lease["url"])).netloc, timeout=_PATIENCE)
        headers = {"Authorization": f"Convex {self.lease['key']}", "Content-Type": "application/json"}
        with contextlib.suppress(OSError, HTTPException):
            while _answered(connection, headers):
                self.last = time.time()
        self.refused = time.time()

    def watch(self) -> None:
        """Wait for the end of the process."""
        while Path(f"/proc/{self.lease['pid']}").exists():
            time.sleep(0.005)
        self.gone = time.time()


@dataclass(frozen=True, slots=True)
class Ended:
    """Milliseconds from an end to the last answer, to the refusal, and to the end of the child."""

    answered: float
    refused: float
    gone: float


# Ends access; returns when it did, by the wall clock.
End = Callable[[Stage, subprocess.Popen[bytes]], float]


def _answered(connection: HTTPConnection, headers: dict[str, str]) -> bool:
    connection.request("POST", "/api/function", _CALL, headers)
    answer = connection.getresponse()
    answer.read()
    return answer.status == http.HTTPStatus.OK


def measure(made: Stage, turns: int) -> list[Row]:
    """Make rows of three ends: another bundle, the keeper killed, the door killed."""
    work = holder(made, "holder", f"CONVEX_DEPLOYMENT=dev:{DEV}\n")
    ends = {
        "another bundle in force": _other_bundle,
        "keeper killed": _kill_keeper,
        "door killed": _kill_door,
    }
    return [_row(made, work, name, end, turns) for name, end in ends.items()]


def _row(made: Stage, work: Path, name: str, end: End, turns: int) -> Row:
    runs = [_one(made, work, end) for _ in range(turns)]
    return row(name, runs, "its process lives on" if end is _kill_door else None)


def row(name: str, runs: list[Ended], child: str | None = None) -> Row:
    """Make the row of an end; `child`: what is said of the process, in place of when it ended."""
    refused = statistics.median(run.refused for run in runs)
    answered = statistics.median(run.answered for run in runs)
    gone = statistics.median(run.gone for run in runs)
    process = child or f"its process ends after {gone:.0f}"
    figure = f"refused after {refused:.0f}, last answer after {answered:.0f}, {process}"
    met = all(run.refused <= _LIMIT_MS for run in runs)
    return Row(f"access gone, {name}, ms", figure, f"<= {_LIMIT_MS}", met)


def _one(made: Stage, work: Path, end: End) -> Ended:
    ended = one(made, work, end, kill=end is _kill_door)
    if end is _other_bundle:
        _activate(made, (made.work / "default.kept").read_text(encoding="utf-8"))
    return ended


def one(made: Stage, work: Path, end: End, *, kill: bool = False) -> Ended:
    """Run the program that holds its lease in the folder `work`, until `end`; `kill`: it has to be ended by hand."""
    (work / "lease.json").unlink(missing_ok=True)
    quiet = subprocess.DEVNULL
    command, surroundings = [*gate(), "convex", "run", "messages:list"], tools.environment(made.folder / "state")
    with subprocess.Popen(command, cwd=work, env=surroundings, stdin=quiet, stderr=quiet) as door:
        caller = Caller(_lease(work))
        threads = [threading.Thread(target=caller.call), threading.Thread(target=caller.watch)]
        for thread in threads:
            thread.start()
        time.sleep(0.2)
        ended = end(made, door)
        threads[0].join(_PATIENCE)
        if kill:
            os.kill(caller.lease["pid"], signal.SIGKILL)
        threads[1].join(_PATIENCE)
    return Ended(*((moment - ended) * 1000 for moment in (caller.last, caller.refused, caller.gone)))


def _other_bundle(made: Stage, _: subprocess.Popen[bytes]) -> float:
    """Activate policies under which the run no longer stands; the end is the time of that event in the ledger."""
    policy = made.work / "policies" / "default.yaml"
    (made.work / "default.kept").write_text(policy.read_text(encoding="utf-8"), encoding="utf-8")
    _activate(made, _WITHOUT_DEV)
    lines = made.gate("audit", "export").out.splitlines()
    activation = next(json.loads(line) for line in lines[::-1] if '"type":"bundle.activated"' in line)
    return datetime.fromisoformat(activation["time"]).timestamp()


def _kill_keeper(made: Stage, _: subprocess.Popen[bytes]) -> float:
    status = json.loads(made.gate("--json", "keeper", "status").out)
    ended = time.time()
    os.kill(status["pid"], signal.SIGKILL)
    return ended


def _kill_door(_: Stage, door: subprocess.Popen[bytes]) -> float:
    ended = time.time()
    door.kill()
    return ended


def _activate(made: Stage, policy: str) -> None:
    (made.work / "policies" / "default.yaml").write_text(policy, encoding="utf-8")
    came = made.gate("activate", "--key", str(made.person))
    if came.code:
        raise RuntimeError(came.err)


def _lease(work: Path) -> dict[str, Any]:
    deadline = time.monotonic() + _PATIENCE
    while not (work / "lease.json").exists():
        if time.monotonic() > deadline:
            raise RuntimeError("no lease came")
        time.sleep(0.01)
    lease: dict[str, Any] = json.loads((work / "lease.json").read_text(encoding="utf-8"))
    return lease


def holder(made: Stage, name: str, selection: str) -> Path:
    """A folder of the same project in which the Convex CLI is the program that only holds its lease.

    `selection`: content of its .env.local.
    """
    work = made.work / name
    package = work / "node_modules" / "convex"
    (package / "bin").mkdir(parents=True)
    (package / "package.json").write_text(f'{{"version": "{tools.CONVEX}", "type": "module"}}', encoding="utf-8")
    (package / "bin" / "main.js").write_text(_HOLDER, encoding="utf-8")
    (work / ".env.local").write_text(selection, encoding="utf-8")
    return work
