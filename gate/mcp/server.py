"""The loop of `gate mcp`: one thread, lines in, lines out, calls in flight. Decides nothing; a Backend makes the calls.

`initialize`, `server/discover` and `tools/list` are answered here and at once. Everything that comes in is bounded:
a line, the calls in flight, the time of a call, and what a slow reader has not taken yet.

Standard library only: this is the hot path of `gate mcp`.
"""

import os
import select
from collections import deque

from gate import world
from gate.errors import GateError
from gate.mcp import answers, catalogue, eras, wire
from gate.mcp.backend import Call
from gate.mcp.output import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from gate.mcp.backend import Backend
    from gate.mcp.eras import Era
    from gate.mcp.wire import Message

    Handler = Callable[[int | str, Message, Era], Mapping[str, Any] | None]

MOST_IN_FLIGHT = 64
LONGEST_CALL_MS = 120_000
_CHUNK = 1 << 20
_LAST_WORDS_MS = 500
_GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Server:
    """Speaks MCP on two descriptors until the client is gone.

    `source` is read, `sink` written (and made non-blocking). `longest_ms` is the most time that a call may take.
    """

    def __init__(self, backend: "Backend", source: int, sink: int, longest_ms: int = LONGEST_CALL_MS) -> None:
        self._backend = backend
        self._source = source
        self._sink = sink
        self._longest_ms = longest_ms
        self._lines = wire.Lines()
        self._unheard: deque[bytes | None] = deque()
        self._output = Output(sink)
        self._calls: dict[int | str, Call] = {}
        self._listening: set[int | str] = set()
        self._session: Era | None = None
        self._client: object = None
        self._over = False
        self._methods: dict[str, Handler] = {
            "initialize": self._initialize,
            "ping": self._ping,
            "server/discover": self._discover,
            "subscriptions/listen": self._listen,
            "tools/list": self._list,
            "tools/call": self._call,
        }

    def run(self, ended: "Mapping[int, Callable[[], bool]] | None" = None) -> None:
        """Serve until the client is gone; the backend is closed then, whatever happens.

        `ended` are more descriptors to watch: each says, when it can be read, whether this is the end.
        """
        try:
            while not (self._over or self._output.gone):
                self._turn(ended or {})
                self._give_up_the_late()
                self._backend.tick()
                # Last: whatever went out before may have made room for what waits to be heard.
                self._hear()
            self._output.drain(_LAST_WORDS_MS)
        finally:
            self._backend.close()

    def finish(self, call: Call, result: "Mapping[str, Any]") -> None:
        """Answer `call` with `result` in the shape of its era; nothing happens when it is over."""
        if not self._end(call):
            return
        try:
            self._answer(call.id, call.era, result)
        except wire.Refused as refused:
            self._refuse(refused, call.id)

    def progress(self, call: Call, told: "Mapping[str, Any]") -> None:
        """Send a progress notification, unless nobody asked for it, the reader is too slow, or it has no form."""
        if call.over or call.progress_token is None or self._output.full:
            return
        params = {"progressToken": call.progress_token, **told}
        try:
            self._send({"method": "notifications/progress", "params": params})
        except wire.Refused:
            return

    def _turn(self, ended: "Mapping[int, Callable[[], bool]]") -> None:
        """Wait for something to happen and do it."""
        for descriptor, events in self._wait(ended):
            if descriptor in ended:
                self._over |= ended[descriptor]()
            elif descriptor == self._source:
                self._take()
            elif descriptor == self._sink:
                self._over |= bool(events & _GONE)
                self._output.flush()
            else:
                self._call_back(descriptor, events)

    def _hear(self) -> None:
        while self._unheard and not self._output.full:
            self._take_line(self._unheard.popleft())

    def _wait(self, ended: "Mapping[int, Callable[[], bool]]") -> "list[tuple[int, int]]":
        # Also with no event in its mask, poll tells that the other end is gone.
        masks = {
            self._source: 0 if self._output.full or self._unheard else select.POLLIN,
            self._sink: select.POLLOUT if self._output.waits else 0,
            **dict.fromkeys(ended, select.POLLIN),
            **dict.fromkeys(self._backend.descriptors(), select.POLLIN),
        }
        for descriptor in self._backend.writers():
            masks[descriptor] = masks.get(descriptor, 0) | select.POLLOUT
        waiting = select.poll()
        for descriptor, mask in masks.items():
            waiting.register(descriptor, mask)
        return waiting.poll(self._patience())

    def _patience(self) -> int | None:
        """Milliseconds until something is due; None for as long as it takes."""
        due = self._backend.due()
        dues = [] if due is None else [due]
        dues += [call.ends for call in self._calls.values()][:1]
        return max(0, min(dues) - world.boot_ms()) if dues else None

    def _call_back(self, descriptor: int, events: int) -> None:
        """An earlier callback of the same turn may have closed the descriptor, so it is looked up again."""
        if events & ~select.POLLOUT:
            self._backend.descriptors().get(descriptor, _nothing)()
        if events & ~select.POLLIN:
            self._backend.writers().get(descriptor, _nothing)()

    def _take(self) -> None:
        try:
            data = os.read(self._source, _CHUNK)
        except OSError:
            data = b""
        # A half line at the end is nothing that anybody said.
        self._over |= not data
        self._unheard.extend(self._lines.feed(data))

    def _take_line(self, line: bytes | None) -> None:
        try:
            message = wire.read(line)
        except wire.Refused as refused:
            self._refuse(refused, refused.id)
            return
        if message.method is None:
            # An answer. The gate asks a client nothing.
            return
        if message.id is None:
            self._notified(message)
            return
        try:
            self._requested(message.id, message)
        except wire.Refused as refused:
            self._refuse(refused, message.id)

    def _requested(self, request: "int | str", message: "Message") -> None:
        if request in self._calls or request in self._listening:
            raise wire.Refused(wire.INVALID_REQUEST, "a request of this id is still in flight")
        era = eras.era_of(message, self._session)
        result = self._methods[str(message.method)](request, message, era)
        if result is not None:
            self._answer(request, era, result)

    def _notified(self, message: "Message") -> None:
        """Only a cancellation means something; the others, known or not, have no effect. None has an answer."""
        request = message.params.get("requestId")
        if message.method != "notifications/cancelled" or not wire.is_id(request):
            return
        self._listening.discard(request)
        call = self._calls.get(request)
        if call is not None and self._end(call):
            self._backend.cancel(call)

    def _initialize(self, _request: "int | str", message: "Message", _era: "Era") -> "Mapping[str, Any]":
        if self._session is not None:
            raise wire.Refused(wire.INVALID_REQUEST, "this session is initialized already")
        self._session = eras.negotiated(message.params)
        self._client = message.params.get("clientInfo")
        own = {"capabilities": eras.CAPABILITIES, "serverInfo": eras.SERVER, "instructions": eras.INSTRUCTIONS}
        return {"protocolVersion": self._session.version, **own}

    def _ping(self, _request: "int | str", _message: "Message", _era: "Era") -> "Mapping[str, Any]":
        return {}

    def _discover(self, _request: "int | str", _message: "Message", era: "Era") -> "Mapping[str, Any]":
        own = {"capabilities": eras.CAPABILITIES, "instructions": eras.INSTRUCTIONS}
        return {"supportedVersions": [*eras.MODERN], **own, **era.listing}

    def _list(self, _request: "int | str", message: "Message", era: "Era") -> "Mapping[str, Any]":
        if "cursor" in message.params:
            raise wire.Refused(wire.INVALID_PARAMS, "the list has one page and no cursor")
        return {"tools": catalogue.listing(), **era.listing}

    def _listen(self, request: "int | str", _message: "Message", _era: "Era") -> None:
        """Nothing that could be listened to ever changes, so what is acknowledged is nothing."""
        if len(self._listening) >= MOST_IN_FLIGHT:
            raise wire.Refused(wire.INVALID_REQUEST, f"{MOST_IN_FLIGHT} subscriptions are open already")
        self._listening.add(request)
        params = {"notifications": {}, "_meta": {eras.META_SUBSCRIPTION: request}}
        self._send({"method": "notifications/subscriptions/acknowledged", "params": params})

    def _call(self, request: "int | str", message: "Message", era: "Era") -> "Mapping[str, Any] | None":
        tool, arguments = _asked(message.params)
        meta = eras.meta_of(message)
        token = eras.progress_token(meta)
        wrong = tool.problems(arguments)
        if wrong:
            return answers.wrong_arguments(tool, wrong)
        if len(self._calls) >= MOST_IN_FLIGHT:
            return answers.failure(_too_many())
        call = Call(
            self,
            request,
            tool=tool.name,
            arguments=arguments,
            era=era,
            progress_token=token,
            # What a session's client said of itself says nothing of a message that stands for itself.
            claimed=eras.claims(meta, self._client if era is self._session else None),
            ends=world.boot_ms() + self._longest_ms,
        )
        self._begin(call)
        return None

    def _begin(self, call: Call) -> None:
        self._calls[call.id] = call
        try:
            self._backend.start(call)
        except GateError as error:
            call.fail(error)

    def _end(self, call: Call) -> bool:
        """Whether `call` was not over before; it is now."""
        if call.over:
            return False
        call.over = True
        del self._calls[call.id]
        return True

    def _give_up_the_late(self) -> None:
        """All calls may take equally long, so those that began first end first."""
        while self._calls and (call := next(iter(self._calls.values()))).ends <= world.boot_ms():
            call.fail(_too_late(self._longest_ms))
            self._backend.cancel(call)

    def _answer(self, request: "int | str", era: "Era", result: "Mapping[str, Any]") -> None:
        self._send({"id": request, "result": era.complete(result)})

    def _refuse(self, refused: wire.Refused, request: "int | str | None") -> None:
        error = {"code": refused.code, "message": refused.message}
        data = {} if refused.data is None else {"data": refused.data}
        self._send({"id": request, "error": {**error, **data}})

    def _send(self, message: "dict[str, Any]") -> None:
        self._output.send(wire.write({"jsonrpc": "2.0", **message}))


def _nothing() -> None:
    """Nobody waits for this descriptor any more."""


def _asked(params: "Mapping[str, Any]") -> "tuple[catalogue.Tool, dict[str, Any]]":
    """Tool and arguments; other members, such as `task` or answers to what nobody asked, are left behind."""
    name = params.get("name")
    arguments = params.get("arguments", {})
    if not isinstance(name, str) or name not in catalogue.TOOLS:
        raise wire.Refused(wire.INVALID_PARAMS, "there is no tool of this name")
    if not isinstance(arguments, dict):
        raise wire.Refused(wire.INVALID_PARAMS, "`arguments` is not an object")
    return catalogue.TOOLS[name], arguments


def _too_many() -> GateError:
    remedy = "Call again when one of them has been answered."
    return GateError("limit", f"{MOST_IN_FLIGHT} calls are in flight", remedy=remedy)


def _too_late(longest_ms: int) -> GateError:
    remedy = "Whether it took effect is not known: look at what it should have changed before you call again."
    return GateError("limit", f"no answer came within {longest_ms / 1000:g} s", remedy=remedy)
