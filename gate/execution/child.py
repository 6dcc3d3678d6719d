"""The child process: its start, its signals, its end. Knows nothing of Convex.

Standard library only: the doors on the hot path import it. docs/operations.md, Runs, says who gets which signal.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from gate.errors import GateError

_FORWARDED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
)
# A terminal sends these to the whole foreground group: the child has its own copy.
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)
_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)
_GRACE_SECONDS = 0.5
_TICK_SECONDS = 0.1


class Child:
    """One child under the caller's uid.

    With a controlling terminal it shares the door's process group, so that job control is the shell's affair; without
    one it has a group of its own and the door forwards signals to it.
    """

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        self._terminal = _has_terminal()
        self._status: int | None = None
        # Made before the start, so that no end is missed.
        self._wakeup, write_end = os.pipe()
        for end in (self._wakeup, write_end):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        defaults = [number for number in _FROM_TERMINAL if signal.getsignal(number) is not signal.SIG_IGN]
        if self._terminal:
            for number in _FROM_TERMINAL:
                signal.signal(number, signal.SIG_IGN)
        # A signal that comes before its handler stands must neither be lost nor end the door.
        caller_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _FORWARDED)
        try:
            self.pid = self._spawn(list(argv), environment, caller_mask, [*defaults, *_PYTHON_IGNORES])
            if not self._terminal:
                for number in _FORWARDED:
                    signal.signal(number, self._forward)
        except OSError as error:
            raise GateError(
                "unknown_version", f"{argv[0]} could not be started ({error.strerror})", remedy="Mend the installation."
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, caller_mask)

    def _spawn(
        self, argv: list[str], environment: Mapping[str, str], mask: set[signal.Signals | int], defaults: list[int]
    ) -> int:
        if self._terminal:
            return os.posix_spawn(argv[0], argv, environment, setsigmask=mask, setsigdef=defaults)
        return os.posix_spawn(argv[0], argv, environment, setpgroup=0, setsigmask=mask, setsigdef=defaults)

    def wait(self, watched: int, tick: Callable[[], None] | None = None) -> int | None:
        """Exit status as a shell shows it (128 + signal), or None as soon as the descriptor `watched` can be read.

        `tick` is called every 0.1 s meanwhile.
        """
        while not self._reaped():
            ready, _, _ = select.select([watched, self._wakeup], [], [], None if tick is None else _TICK_SECONDS)
            if self._wakeup in ready:
                os.read(self._wakeup, 512)
            if tick is not None:
                tick()
            if watched in ready and not self._reaped():
                return None
        return self._status

    def end(self) -> None:
        """End the child and what it started: TERM, then KILL half a second later. Returns when the child is gone."""
        family = self._family()
        self._send(signal.SIGTERM, family)
        # A stopped process acts on TERM only once it runs again.
        self._send(signal.SIGCONT, family)
        deadline = time.monotonic() + _GRACE_SECONDS
        while not self._reaped() and (left := deadline - time.monotonic()) > 0:
            if select.select([self._wakeup], [], [], left)[0]:
                os.read(self._wakeup, 512)
        self._send(signal.SIGKILL, family | self._family())
        while not self._reaped():
            select.select([self._wakeup], [], [], _TICK_SECONDS)

    def _send(self, number: int, family: Iterable[int]) -> None:
        targets = [(os.kill, pid) for pid in family]
        if not self._terminal:
            targets.append((os.killpg, self.pid))
        for send, pid in targets:
            try:
                send(pid, number)
            except (ProcessLookupError, PermissionError):
                continue

    def _family(self) -> set[int]:
        """The child and its descendants by pid; only the child where the system has no /proc."""
        family = set() if self._status is not None else {self.pid}
        parents = _parents()
        grown = True
        while grown:
            more = {pid for pid, parent in parents.items() if parent in family} - family
            family |= more
            grown = bool(more)
        return family

    def _forward(self, number: int, _frame: object) -> None:
        if self._status is None:
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                return

    def _reaped(self) -> bool:
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid == self.pid:
                code = os.waitstatus_to_exitcode(status)
                self._status = code if code >= 0 else 128 - code
        return self._status is not None


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _parents() -> dict[int, int]:
    """Parent of every process that can be seen."""
    if sys.platform != "linux":
        return {}
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as opened:
                    # The command's name may hold blanks and brackets: fields count from the last one.
                    fields = opened.read().rpartition(b")")[2].split()
            except OSError:
                continue
            parents[int(name)] = int(fields[1])
    return parents
