"""One running MCP server of Convex's, spoken to in the protocol's older form, one call at a time. Decides nothing.

The first message is the gate's own `initialize`, so that no client settles the form in which this server speaks; what
it answers is taken apart here and written anew for the client, whatever revision that one speaks.

Standard library only: this is the hot path of `gate mcp`.
"""

import base64
import json
import os

from gate import __version__, world
from gate.errors import GateError
from gate.execution.piped import Piped
from gate.mcp import pinned, wire
from gate.mcp.output import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from gate.mcp.backend import Callbacks

    # What a call came to: the text of its answer, or why there is none.
    Heard = Callable[["Answer | GateError"], None]

_REVISION = "2025-11-25"
_START_MS = 30_000
# Of what nobody asked for, more than a server that works has to say.
_MOST_UNASKED = 1000
_CHUNK = 1 << 20
_MEMBERS = frozenset(("content", "isError", "_meta"))


class Answer:
    """What a tool of the server gave: `text`, and whether that is how it `failed`."""

    __slots__ = ("failed", "text")

    def __init__(self, text: str, failed: bool) -> None:
        self.text = text
        self.failed = failed


class Upstream:
    """One server, from its start to its end; `ended` is true from then on, `idle_since` is None while it works.

    `folder` is where the server is to look for the project. Raises GateError `unknown_version` when it cannot start.
    """

    def __init__(self, argv: "list[str]", environment: "Mapping[str, str]", folder: str) -> None:
        self._child = Piped(argv, environment)
        self._lines = wire.Lines()
        self._output = Output(self._child.stdin)
        os.set_blocking(self._child.stdout, False)
        self._selector = _unspecified(folder)
        self._heard: Heard | None = None
        self._asked = 0
        self._unasked = 0
        self._unended = 0
        # What is done with the answer to the request that is in flight; None while none is.
        self._next: Callable[[wire.Message], None] | None = self._initialized
        self._held: dict[str, Any] | None = None
        self._ready = False
        self._starts_by = world.boot_ms() + _START_MS
        self.ended = False
        self.idle_since: int | None = world.boot_ms()
        told = {"name": "convex-gate", "version": __version__}
        self._request("initialize", {"protocolVersion": _REVISION, "capabilities": {}, "clientInfo": told})

    def call(self, tool: str, arguments: "Mapping[str, Any]", heard: "Heard") -> None:
        """Call `tool`; `heard` is told once what came of it. Only one call at a time, and none after the end."""
        self._heard = heard
        self.idle_since = None
        self._held = {"name": tool, "arguments": {**arguments, "deploymentSelector": self._selector}}
        if self._ready:
            self._go_on()

    def end(self, why: GateError) -> None:
        """End the server and everything in its process group; a call in flight is told `why`."""
        if self.ended:
            return
        self.ended = True
        self._child.end()
        self._tell(why)

    def descriptors(self) -> "Callbacks":
        """What to watch for reading."""
        return {} if self.ended else {self._child.stdout: self._read}

    def writers(self) -> "Callbacks":
        """What to watch for writing."""
        return {} if self.ended or not self._output.waits else {self._child.stdin: self._output.flush}

    @property
    def starts_by(self) -> int | None:
        """When it has to be ready at the latest, in milliseconds of world.boot_ms; None once it is."""
        return None if self._ready or self.ended else self._starts_by

    def tick(self) -> None:
        """Give up a server that does not get ready, or that cannot be talked to any more."""
        if self._output.gone:
            self.end(_broken("it does not listen"))
        due = self.starts_by
        if due is not None and due <= world.boot_ms():
            self.end(_broken(f"it was not ready within {_START_MS // 1000} s"))

    def _read(self) -> None:
        try:
            data = os.read(self._child.stdout, _CHUNK)
        except BlockingIOError:
            return
        if not data:
            self.end(_broken("it ended while it was asked"))
            return
        *_, rest = data.split(b"\n")
        self._unended = len(rest) + (self._unended if len(rest) == len(data) else 0)
        lines = self._lines.feed(data)
        # A line that never ends is too long before its end comes.
        for line in [*lines, None] if self._unended > wire.LARGEST else lines:
            if not self.ended:
                self._take(line)

    def _take(self, line: bytes | None) -> None:
        if line is None:
            self.end(GateError("limit", "the answer is larger than 10 MiB", remedy="Ask for less at once."))
            return
        try:
            message = wire.read(line)
        except wire.Refused:
            self.end(_broken("what it answered is no message"))
            return
        if message.method is not None:
            # It is offered no capability and asked for no news: requests and notifications of its own mean nothing.
            self._unasked += 1
            if self._unasked > _MOST_UNASKED:
                self.end(_broken("it talks without being asked"))
            return
        taken = self._next
        if taken is None or message.id != self._asked:
            self.end(_broken("it answered what nobody asked"))
            return
        self._next = None
        taken(message)

    def _initialized(self, message: wire.Message) -> None:
        if message.result is None or message.result.get("protocolVersion") != _REVISION:
            self.end(_broken("it does not speak the protocol's revision"))
            return
        self._say({"method": "notifications/initialized"})
        self._next = self._listed
        self._request("tools/list", {})

    def _listed(self, message: wire.Message) -> None:
        differs = pinned.differences(message.result)
        if differs is not None:
            self.end(_unknown(differs))
            return
        self._ready = True
        self._go_on()

    def _go_on(self) -> None:
        if self._held is None:
            return
        held, self._held = self._held, None
        self._next = self._called
        self._unasked = 0
        self._request("tools/call", held)

    def _called(self, message: wire.Message) -> None:
        answer = _answer(message)
        if answer is None:
            self.end(_broken("its answer has another form"))
            return
        self.idle_since = world.boot_ms()
        self._tell(answer)

    def _tell(self, what: "Answer | GateError") -> None:
        heard, self._heard = self._heard, None
        if heard is not None:
            heard(what)

    def _request(self, method: str, params: "Mapping[str, Any]") -> None:
        self._asked += 1
        self._say({"id": self._asked, "method": method, "params": params})

    def _say(self, message: "Mapping[str, Any]") -> None:
        try:
            self._output.send(wire.write({"jsonrpc": "2.0", **message}))
        except wire.Refused as refused:
            self.end(GateError("usage", refused.message, remedy="Mend the arguments."))


def _answer(message: wire.Message) -> Answer | None:
    """The one text of a result as Convex's server gives it; None for anything else."""
    result = message.result
    if result is None or set(result) - _MEMBERS:
        return None
    content, failed = result.get("content"), result.get("isError", False)
    if not isinstance(content, list) or len(content) != 1 or not isinstance(failed, bool):
        return None
    block = content[0]
    if not isinstance(block, dict) or block.get("type") != "text" or not isinstance(block.get("text"), str):
        return None
    return Answer(block["text"], failed)


def _unspecified(folder: str) -> str:
    """A selector in Convex's own form that leaves the choice to the pins (convex 1.48.0, mcp/requestContext.ts)."""
    payload = json.dumps({"projectDir": folder, "deployment": {"kind": "unspecified"}})
    return "unspecified:" + base64.b64encode(payload.encode("ascii")).decode("ascii")


def _broken(why: str) -> GateError:
    return GateError(
        "upstream_unreachable",
        f"Convex's MCP server is gone: {why}",
        remedy="Whether the call took effect is not known: look at what it should have changed before you call again.",
    )


def _unknown(differs: str) -> GateError:
    return GateError(
        "unknown_version",
        f"the tools of Convex's MCP server here are not those that the gate knows ({differs})",
        remedy="Install the convex package anew in a version that the gate knows, or update the gate.",
    )
