"""What goes out: a descriptor that never blocks, and what its reader has not taken yet. Knows no message.

Standard library only: this is the hot path of `gate mcp`.
"""

import os
import select

from gate import world

# Above so many bytes that nobody reads, nothing more is read either.
MOST_UNREAD = 8 * 1024 * 1024


class Output:
    """Writes to the descriptor `sink`, which it makes non-blocking; `gone` is true once nobody can read it any more."""

    __slots__ = ("_sink", "_unread", "gone")

    def __init__(self, sink: int) -> None:
        self._sink = sink
        self._unread = bytearray()
        self.gone = False
        os.set_blocking(sink, False)

    @property
    def waits(self) -> bool:
        """Whether something is left that the reader has not taken."""
        return bool(self._unread)

    @property
    def full(self) -> bool:
        """Whether so much is left that nothing should be added to it."""
        return len(self._unread) > MOST_UNREAD

    def send(self, line: bytes) -> None:
        """Write `line`, or keep what of it does not go out now."""
        self._unread += line
        self.flush()

    def flush(self) -> None:
        """Write as much as the reader takes without waiting."""
        try:
            while self._unread:
                del self._unread[: os.write(self._sink, self._unread)]
        except BlockingIOError:
            return
        except OSError:
            self.gone = True
            self._unread.clear()

    def drain(self, longest_ms: int) -> None:
        """Write what is left, for at most `longest_ms` milliseconds."""
        ends = world.boot_ms() + longest_ms
        waiting = select.poll()
        waiting.register(self._sink, select.POLLOUT)
        while self._unread and (left := ends - world.boot_ms()) > 0:
            waiting.poll(left)
            self.flush()
