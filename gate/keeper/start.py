"""Starting a keeper on demand under the caller's uid, as an agent for keys is started. Talks no protocol.

Standard library only: the doors on the hot path import it.
"""

import fcntl
import os
import signal
import sys

from gate.keeper import places

_FIRST_FREE = 3
_CLEAR = 10


def start(root: str) -> int:
    """Start a keeper for the state folder `root`, in a session of its own; returns a descriptor to wait on.

    The descriptor reads end-of-file when the keeper serves or has given up. Two doors at once may both start one:
    the keeper's own lock lets a single one live.
    """
    places.ensure_own(root)
    ready, keeper_end = os.pipe()
    child = os.fork()
    if child == 0:
        _become_keeper(root, keeper_end)
    os.close(keeper_end)
    os.waitpid(child, 0)
    return ready


def lock(root: str) -> int | None:
    """Take the keeper's lock in `root`; None when another keeper lives. Held until the descriptor closes."""
    descriptor = os.open(
        os.path.join(root, "keeper.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
    )
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _become_keeper(root: str, ready: int) -> None:
    """In the forked child: leave the caller's session, folder, descriptors and environment, then be the keeper."""
    try:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.umask(0o077)
        log = os.open(
            os.path.join(root, "keeper.log"),
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
        )
        null = os.open(os.devnull, os.O_RDWR)
        # Moved above the targets first: a caller without stdio has free numbers there.
        sources = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _CLEAR) for descriptor in (null, null, log, ready)]
        for number, descriptor in enumerate(sources):
            os.dup2(descriptor, number, inheritable=True)
        os.chdir("/")
        os.closerange(_FIRST_FREE + 1, 4096)
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP):
            signal.signal(number, signal.SIG_DFL)
        arguments = [sys.executable, "-I", "-m", "gate", "keeper", "run", "--ready-fd", str(_FIRST_FREE)]
        os.execve(sys.executable, arguments, places.keeper_environment(root))
    finally:
        # Whatever went wrong, the copy of the door that this process is must not run on.
        os._exit(1)
