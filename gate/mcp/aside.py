"""Work that has to wait, done in threads of its own, and its results back in the one thread of the loop.

Knows nothing of what the work is. Standard library only: this is the hot path of `gate mcp`.
"""

import contextlib
import os
import threading
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Done = Callable[[], None]


class Aside:
    """Runs work in threads; `descriptor` can be read when results wait to be taken with `take`."""

    __slots__ = ("_bell", "_done", "descriptor")

    def __init__(self) -> None:
        self.descriptor, self._bell = os.pipe()
        for end in (self.descriptor, self._bell):
            os.set_blocking(end, False)
        self._done: deque[Done] = deque()

    def run(self, work: "Callable[[], Done]") -> None:
        """Call `work`, which raises nothing, in a thread; what it returns is called in the loop's."""
        threading.Thread(target=self._work, args=(work,), daemon=True).start()

    def take(self) -> None:
        """Call what is done."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 512)
        while self._done:
            self._done.popleft()()

    def _work(self, work: "Callable[[], Done]") -> None:
        self._done.append(work())
        # A pipe that is full has rung often enough already.
        with contextlib.suppress(BlockingIOError):
            os.write(self._bell, b"x")
