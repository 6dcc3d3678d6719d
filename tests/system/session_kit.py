"""A session of `gate mcp` as a client has one: the real door as a process, and what it answers. Asserts little."""

import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from system_kit import Project

_PATIENCE_SECONDS = 30
# Arguments with which each of Convex's tools works on the stand-in; `insights` never does.
WORKING: dict[str, dict[str, Any]] = {
    "tables": {},
    "data": {"tableName": "messages", "order": "asc"},
    "functionSpec": {},
    "run": {"functionName": "messages:list", "args": "{}"},
    "envList": {},
    "envGet": {"name": "GREETING"},
    "envSet": {"name": "GREETING", "value": "hello"},
    "envRemove": {"name": "GREETING"},
    "runOneoffQuery": {"query": "export default query({ handler: async () => 1 });"},
    "logs": {},
}


@dataclass(slots=True)
class Session:
    """A client of one door `process`, which opened its session already."""

    process: subprocess.Popen[bytes]
    _half: bytes = b""
    _next: int = 0
    _heard: dict[int, Any] = field(default_factory=dict)

    def say(self, method: str, params: dict[str, Any], *, request: bool = True) -> int:
        """Send a message; the id of a request."""
        assert self.process.stdin is not None
        self._next += request
        known: dict[str, Any] = {"id": self._next} if request else {}
        message = {"jsonrpc": "2.0", "method": method, "params": params, **known}
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()
        return self._next

    def begin(self, tool: str, selector: str | None = None, /, **arguments: Any) -> int:
        """Call a tool and do not wait for its answer."""
        named = {} if selector is None else {"deploymentSelector": selector}
        return self.say("tools/call", {"name": tool, "arguments": {**named, **arguments}})

    def answer(self, number: int, seconds: float = _PATIENCE_SECONDS) -> Any:
        """What came back for the request of that id."""
        deadline = time.monotonic() + seconds
        while number not in self._heard:
            self._hear(deadline - time.monotonic())
        found = self._heard.pop(number)
        return found.get("result", found)

    def call(self, tool: str, selector: str | None = None, /, **arguments: Any) -> Any:
        """The result of a tool."""
        return self.answer(self.begin(tool, selector, **arguments))

    def works(self, tool: str, selector: str | None = None, /, **arguments: Any) -> Any:
        """The structured result of a tool that has to work."""
        result = self.call(tool, selector, **arguments)
        assert result["isError"] is False, result
        return result["structuredContent"]

    def refused(self, tool: str, selector: str | None = None, /, **arguments: Any) -> str:
        """The code with which the gate refuses a call."""
        result = self.call(tool, selector, **arguments)
        assert result["isError"] is True, result
        told = result["structuredContent"]
        return str((told.get("decision") or told["error"])["code"])

    def status(self) -> dict[str, Any]:
        """What `status` lists, by name."""
        return {one["deployment"]: one for one in self.works("status")["availableDeployments"]}

    def selector(self, deployment: str) -> str:
        return str(self.status()[deployment]["deploymentSelector"])

    def children(self) -> list[int]:
        """Process ids of what the door has started."""
        return [pid for pid, parent in _parents() if parent == self.process.pid]

    def leave(self) -> int:
        """Close stdin; the exit status."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        return self.process.wait(_PATIENCE_SECONDS)

    def _hear(self, seconds: float) -> None:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], max(0.0, seconds))
        assert ready, "no answer came"
        data = os.read(self.process.stdout.fileno(), 1 << 20)
        assert data, "the door is gone"
        *lines, self._half = (self._half + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            self._heard[message["id"]] = message


@contextmanager
def session(project: Project, *words: str, cwd: Path | None = None, **more: str) -> Iterator[Session]:
    """A session with a door of its own; `words` are gate's options. Nothing of the door is left afterwards."""
    with subprocess.Popen(
        project.command(*words, "mcp"),
        cwd=cwd or project.made.work,
        env=project.environment(**{"GATE_PRINCIPAL": "agent:codex", **more}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        one = Session(process)
        try:
            told = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
            assert one.answer(one.say("initialize", told))["protocolVersion"] == "2025-11-25"
            one.say("notifications/initialized", {}, request=False)
            yield one
            one.leave()
        finally:
            process.kill()


def _parents() -> list[tuple[int, int]]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue
        # What has ended and waits to be reaped runs no more.
        if fields[0] != b"Z":
            found.append((int(stat.parent.name), int(fields[1])))
    return found
