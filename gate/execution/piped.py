"""A child that is talked to over pipes: its start, its end, what is left of it. Knows no protocol and takes no signal.

Standard library only: the doors on the hot path import it. `child.py` runs the child that shares the door's terminal.
"""

import os
import select
import signal
import time

from gate.errors import GateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_GRACE_SECONDS = 0.3
_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)
_TICK_SECONDS = 0.01


class Piped:
    """One child under the caller's uid, in a process group of its own; it prints its errors nowhere.

    `stdin` and `stdout` are this side's ends of its pipes. Raises GateError `unknown_version` when it cannot start.
    """

    __slots__ = ("_status", "pid", "stdin", "stdout")

    def __init__(self, argv: "Sequence[str]", environment: "Mapping[str, str]") -> None:
        self._status: int | None = None
        theirs_in, self.stdin = os.pipe()
        self.stdout, theirs_out = os.pipe()
        actions = [
            (os.POSIX_SPAWN_DUP2, theirs_in, 0),
            (os.POSIX_SPAWN_DUP2, theirs_out, 1),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ]
        try:
            self.pid = os.posix_spawn(
                argv[0], list(argv), environment, file_actions=actions, setpgroup=0, setsigdef=_PYTHON_IGNORES
            )
        except OSError as error:
            self._close()
            raise GateError(
                "unknown_version", f"{argv[0]} could not be started ({error.strerror})", remedy="Mend the installation."
            ) from error
        finally:
            os.close(theirs_in)
            os.close(theirs_out)

    @property
    def gone(self) -> bool:
        """Whether the child has ended; it is reaped then."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._status = status if pid == self.pid else None
        return self._status is not None

    def end(self) -> None:
        """End the child's process group: TERM, then KILL 0.3 s later. Returns when the child is gone."""
        self._send(signal.SIGTERM)
        # A stopped process acts on TERM only once it runs again.
        self._send(signal.SIGCONT)
        deadline = time.monotonic() + _GRACE_SECONDS
        while not self.gone and time.monotonic() < deadline:
            select.select([], [], [], _TICK_SECONDS)
        # What it started may have stayed behind.
        self._send(signal.SIGKILL)
        while not self.gone:
            select.select([], [], [], _TICK_SECONDS)
        self._close()

    def _send(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            return

    def _close(self) -> None:
        os.close(self.stdin)
        os.close(self.stdout)
