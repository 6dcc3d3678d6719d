"""The door's one connection to the keeper, and the conversations on it (docs/protocol.md, mux). Decides nothing.

Standard library only: this is the hot path of `gate mcp`.
"""

import os

from gate import __version__
from gate.errors import GateError, KeeperUnavailable
from gate.keeper import client, protocol
from gate.mcp.output import Output

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from typing import Any

    from gate.mcp.backend import Callbacks

    Frame = dict[str, Any]
    # One frame of a conversation, or the refusal that ended it.
    Hear = Callable[[Frame | GateError], None]

_HEADER_BYTES = 4
_CHUNK = 1 << 20


class Conversation:
    """One conversation: `hear` is told each of its frames, and the refusal or loss that ends it, until `over`."""

    __slots__ = ("_link", "hear", "number")

    def __init__(self, link: "Link", number: int, hear: "Hear") -> None:
        self._link = link
        self.number = number
        self.hear = hear

    def say(self, **members: object) -> None:
        """Send one frame. Raises GateError `limit` for one that is too large; a lost link is told by `hear`."""
        self._link.send({"call": self.number, **members})

    def over(self) -> None:
        """Nothing more is expected; what still comes goes nowhere."""
        self._link.forget(self.number)


class Link:
    """A connection on which conversations are open. `lost` is called once, when it is no good any more."""

    def __init__(self, connection: "socket.socket", lost: "Callable[[], None]") -> None:
        connection.setblocking(False)
        self._connection = connection
        self._descriptor = connection.fileno()
        self._output = Output(self._descriptor)
        self._lost = lost
        self._data = bytearray()
        self._open: dict[int, Conversation] = {}
        self._next = 0
        self._closed = False
        self.send({"gate": __version__, "op": "mux"})

    def ask(self, op: str, hear: "Hear", **members: object) -> Conversation:
        """Begin a conversation. Raises GateError `limit` for more than a frame carries."""
        self._next += 1
        conversation = Conversation(self, self._next, hear)
        self.send({"call": self._next, "op": op, **members})
        self._open[self._next] = conversation
        return conversation

    def send(self, message: "Frame") -> None:
        """Send one frame; it goes nowhere when the link is closed. Raises GateError `limit` above a frame's size."""
        data = protocol.encode(message)
        if not self._closed:
            self._output.send(data)

    def forget(self, number: int) -> None:
        """Close a conversation on this side."""
        self._open.pop(number, None)

    def descriptors(self) -> "Callbacks":
        """What to watch for reading."""
        return {self._descriptor: self._read}

    def writers(self) -> "Callbacks":
        """What to watch for writing."""
        return {self._descriptor: self._output.flush} if self._output.waits else {}

    def close(self) -> None:
        """Leave: every lease of this link ends with it. Nobody is told."""
        self._closed = True
        self._open.clear()
        self._connection.close()

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(_gone())
            return
        self._data += data
        try:
            for frame in self._frames():
                self._dispatch(frame)
        except GateError as error:
            self._end(error)

    def _frames(self) -> "list[Frame]":
        """The whole frames that have come. Raises GateError for what is none."""
        frames = []
        while len(self._data) >= _HEADER_BYTES:
            end = _HEADER_BYTES + protocol.size_of(bytes(self._data[:_HEADER_BYTES]))
            if len(self._data) < end:
                break
            frames.append(protocol.decode(bytes(self._data[_HEADER_BYTES:end])))
            del self._data[:end]
        return frames

    def _dispatch(self, frame: "Frame") -> None:
        number = frame.get("call")
        if number is None:
            # It can only be about the connection itself.
            client.checked(frame)
            return
        conversation = self._open.get(number)
        if conversation is None:
            return
        try:
            client.checked(frame)
        except GateError as error:
            self.forget(number)
            conversation.hear(error)
            return
        conversation.hear(frame)

    def _end(self, why: GateError) -> None:
        """The link is lost: say so to everybody, once."""
        waiting = list(self._open.values())
        self.close()
        self._lost()
        for conversation in waiting:
            conversation.hear(why)


def _gone() -> KeeperUnavailable:
    return KeeperUnavailable(
        "keeper_unavailable",
        "the keeper went away; what was running has ended, and its outcome reads unknown",
        remedy="Call again: a keeper is started at need.",
    )
