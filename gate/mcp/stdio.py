"""This process as an MCP server: its streams, its signals, its end. Knows no message.

Standard library only: this is the hot path of `gate mcp`.
"""

import os
import signal

from gate.mcp.server import Server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from gate.mcp.backend import Backend

_ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def serve(backend: "Backend") -> int:
    """Speak MCP on stdin and stdout until the client is gone or a signal ends it; returns the exit status.

    0, or 128 and the number of the signal. The streams are taken out of the way first: nothing else in this process,
    and no child, reads from the protocol or prints into it. The wake-up descriptor of Python's signals is taken too.
    """
    source, sink = _streams()
    ended = _Signals()
    try:
        Server(backend, source, sink).run({ended.descriptor: ended.take})
        # A signal that came together with the end of stdin is why it ended.
        ended.take()
    finally:
        os.set_blocking(sink, True)
    return 128 + ended.number if ended.number else 0


class _Signals:
    """Signals as something that can be read; `number` is that of the first one which ends the process."""

    def __init__(self) -> None:
        self.number = 0
        self.descriptor, write_end = os.pipe()
        for end in (self.descriptor, write_end):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in _ENDINGS:
            signal.signal(number, _note)

    def take(self) -> bool:
        """Whether a signal came that is the end; a backend may have others of its own."""
        try:
            came = os.read(self.descriptor, 512)
        except BlockingIOError:
            came = b""
        endings = [number for number in came if number in _ENDINGS]
        self.number = self.number or next(iter(endings), 0)
        return bool(endings)


def _note(_number: int, _frame: object) -> None:
    """Without a handler of its own a signal does not reach the wake-up descriptor."""


def _streams() -> "tuple[int, int]":
    """Stdin and stdout as descriptors that no child inherits; what stood there before leads nowhere."""
    source, sink = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    return source, sink
