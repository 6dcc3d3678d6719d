"""A client of the gate's MCP server for tests: it can say anything, also what no client would."""

import json
import os
import select
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

from mcp_door import Acting

from gate.mcp.server import LONGEST_CALL_MS, Server

LEGACY = ("2025-06-18", "2025-11-25")
MODERN = "2026-07-28"
ERAS = (*LEGACY, MODERN)
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}
_PATIENCE_SECONDS = 20


def line(message: object) -> bytes:
    """`message` as a client writes it."""
    return json.dumps(message).encode() + b"\n"


class Client:
    """One end of two pipes. `era` is the revision of what `ask` says."""

    def __init__(self, era: str, to: int, of: int) -> None:
        self.era = era
        self._to = to
        self._of = of
        self._half = b""
        self._next = 0

    def say(self, data: bytes) -> None:
        """Write bytes as they are."""
        left = memoryview(data)
        while left:
            left = left[os.write(self._to, left) :]

    def request(self, method: str, params: Mapping[str, Any] | None = None, number: int | str | None = None) -> bytes:
        """The line of a request of this client's era."""
        self._next += 1
        members: dict[str, Any] = dict(params or {})
        if self.era == MODERN:
            members["_meta"] = META | members.get("_meta", {})
        own = self._next if number is None else number
        return line({"jsonrpc": "2.0", "id": own, "method": method, "params": members})

    def ask(self, method: str, params: Mapping[str, Any] | None = None, number: int | str | None = None) -> Any:
        """Send a request and hear its answer, which has to be the next thing that is said."""
        asked = self.request(method, params, number)
        self.say(asked)
        answer = self.hear()
        assert answer["id"] == json.loads(asked)["id"], answer
        return answer

    def call(self, does: str, number: int | str | None = None, **meta: object) -> bytes:
        """The line of a call of a tool whose backend does as the name says."""
        members = {"_meta": meta} if meta else {}
        return self.request(
            "tools/call", {"name": "tables", "arguments": {"deploymentSelector": does}, **members}, number
        )

    def hear(self) -> Any:
        """The next message; fails when none comes."""
        while b"\n" not in self._half:
            assert select.select([self._of], [], [], _PATIENCE_SECONDS)[0], "nothing was said"
            data = os.read(self._of, 1 << 20)
            assert data, "the server is gone"
            self._half += data
        first, self._half = self._half.split(b"\n", 1)
        return json.loads(first)

    def says_nothing(self, seconds: float = 0.05) -> bool:
        """Whether no message comes for a while."""
        return not self._half and not select.select([self._of], [], [], seconds)[0]

    def open(self) -> Self:
        """Open a session where the era has any."""
        if self.era != MODERN:
            told = {"protocolVersion": self.era, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
            assert self.ask("initialize", told)["result"]["protocolVersion"] == self.era
            self.say(line({"jsonrpc": "2.0", "method": "notifications/initialized"}))
        return self


class Wired:
    """A server in a thread of this process, its backend, and the client at the other end of its pipes."""

    def __init__(self, era: str, longest_ms: int) -> None:
        source, self.to = os.pipe()
        self.of, sink = os.pipe()
        self.backend = Acting()
        self.server = Server(self.backend, source, sink, longest_ms)
        self.client = Client(era, self.to, self.of)
        self._ends = [source, sink, self.to, self.of]
        self.thread = threading.Thread(target=self.server.run, daemon=True)

    def hang_up(self) -> None:
        """Close the client's side of stdin."""
        self._close(self.to)

    def leave(self) -> None:
        """Close the client's side of stdin and wait for the server's end."""
        self.hang_up()
        self.thread.join(_PATIENCE_SECONDS)
        assert not self.thread.is_alive()

    def stop_reading(self) -> None:
        """Close the client's side of stdout."""
        self._close(self.of)

    def end(self) -> None:
        """Leave, and close what is still open."""
        self.leave()
        for descriptor in list(self._ends):
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        if descriptor in self._ends:
            self._ends.remove(descriptor)
            os.close(descriptor)


@contextmanager
def wired(era: str = MODERN, longest_ms: int = LONGEST_CALL_MS) -> Iterator[Wired]:
    """A server that lives as long as the block."""
    one = Wired(era, longest_ms)
    one.thread.start()
    try:
        yield one
    finally:
        one.end()
