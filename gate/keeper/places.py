"""Where the gate's files are, for doors and keeper alike. Creates only folders of the caller's own.

Standard library only: the doors on the hot path import it. docs/contract.md, gate.yaml, says which folder is what.
"""

import os
import pwd
import stat

from gate import world
from gate.errors import GateError

INSTALLED_SOCKET = "/run/gate/keeper.sock"
INSTALLED_STATE = "/var/lib/gate"
TRUST = "/etc/gate/trust"
_OURS_ONLY = 0o077
_OURS_TO_WRITE = 0o022
# sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero included.
_LONGEST = 103


def state_root() -> str:
    """This user's state folder: GATE_HOME, else `$XDG_STATE_HOME/gate`, else `~/.local/state/gate`."""
    named = world.variable("GATE_HOME")
    if named is not None:
        return os.path.abspath(named)
    base = world.variable("XDG_STATE_HOME") or os.path.join(_home(), ".local", "state")
    return os.path.join(os.path.abspath(base), "gate")


def _home() -> str:
    """The caller's home; where HOME names none, the one that the system knows."""
    named = world.variable("HOME")
    return named if named is not None and os.path.isabs(named) else pwd.getpwuid(os.getuid()).pw_dir


def keeper_environment(root: str) -> dict[str, str]:
    """All that a keeper of the state folder `root` sees of an environment."""
    return {"PATH": world.PATH, "LANG": "C.UTF-8", "HOME": "/", "GATE_HOME": root}


def socket_in(root: str) -> str:
    """Path of the keeper's socket for the state folder `root`."""
    return INSTALLED_SOCKET if root == INSTALLED_STATE else os.path.join(root, "keeper.sock")


def ensure_own(path: str) -> None:
    """Make the folder `path` (mode 0700) if it is not there.

    Raises GateError `keeper_unavailable` when it is no folder, somebody else's, or others may write to it.
    """
    _ensure(path, _OURS_TO_WRITE, "others may write to it")


def ensure_private(path: str) -> None:
    """Do the same for a folder that others may not even enter."""
    _ensure(path, _OURS_ONLY, "others may enter it")


def _ensure(path: str, forbidden: int, why: str) -> None:
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        status = os.lstat(path)
    except OSError as error:
        raise _unusable(path, error.strerror or "not a folder") from error
    if not stat.S_ISDIR(status.st_mode):
        raise _unusable(path, "it is not a folder")
    if status.st_uid != os.geteuid():
        raise _unusable(path, "it belongs to another user")
    if status.st_mode & forbidden:
        raise _unusable(path, why)


class Address:
    """Address of a unix socket that fits the system's limit: long paths go through `/proc/self/fd`.

    Use as a context manager: the address is good inside it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._folder: int | None = None

    def __enter__(self) -> str:
        if len(os.fsencode(self.path)) <= _LONGEST:
            return self.path
        folder, name = os.path.split(self.path)
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._folder}/{name}"

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            os.close(self._folder)


def _unusable(path: str, why: str) -> GateError:
    return GateError(
        "keeper_unavailable",
        f"the state folder {path} cannot be used: {why}",
        remedy="Name a folder of your own with mode 0700 in GATE_HOME, or mend this one.",
    )
