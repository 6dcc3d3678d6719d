"""The ledger's files on disk: who owns them, who holds them, and whether they are still the same. Reads none of them.

A file of the database is never opened here: closing a descriptor of it would drop SQLite's locks in this process.
"""

import fcntl
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from gate.errors import LedgerError

_OTHERS = 0o077
_MODE = 0o600
_SIDES = ("", "-wal", "-shm", "-journal")


def refused(code: str, why: str) -> LedgerError:
    """A refusal for the ledger as a whole; `code` is `ledger_unavailable` or `ledger_tampered`."""
    return LedgerError(
        code,
        f"the ledger cannot be used: {why}",
        remedy="Mend the state folder; the keeper opens and verifies the ledger anew (docs/operations.md).",
        argv=["gate", "doctor"],
    )


def side(path: Path, suffix: str) -> Path:
    """The file that SQLite keeps beside `path`."""
    return path.with_name(path.name + suffix)


def lock(path: Path) -> int:
    """Hold the ledger at `path` for this process; returns the descriptor that holds it.

    Raises LedgerError `ledger_unavailable` when another process does, or the lock file is not a private file.
    """
    beside = side(path, ".lock")
    descriptor = None
    try:
        descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if descriptor is not None:
            os.close(descriptor)
        taken = isinstance(error, BlockingIOError)
        raise refused("ledger_unavailable", "another keeper holds it" if taken else _strerror(error)) from error
    return descriptor


def prepare(path: Path) -> None:
    """Make an empty private file at `path` when nothing is there.

    Raises LedgerError `ledger_unavailable` when it or a file beside it is a link, no file, another user's or open to
    others, and `ledger_tampered` when the ledger is gone while its log is still there.
    """
    try:
        for suffix in _SIDES:
            _insist_private(side(path, suffix))
        if not os.path.lexists(path):
            _create(path)
    except OSError as error:
        raise refused("ledger_unavailable", _strerror(error)) from error


def _create(path: Path) -> None:
    if os.path.lexists(side(path, "-wal")):
        raise refused("ledger_tampered", "it is gone while its log is still there")
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE))
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _insist_private(path: Path) -> None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        raise refused("ledger_unavailable", f"{path.name} is not a regular file")
    if status.st_uid != os.geteuid():
        raise refused("ledger_unavailable", f"{path.name} belongs to another user")
    if status.st_mode & _OTHERS:
        raise refused("ledger_unavailable", f"{path.name} is open to others (mode 0600 is wanted)")


@dataclass(slots=True)
class Marks:
    """What the ledger's two files looked like when they were last seen: the same files, and never shorter."""

    path: Path
    _seen: dict[Path, tuple[int, int, int]] = field(default_factory=dict)

    def note(self) -> None:
        """Remember the files as they are. Raises OSError when one is missing."""
        for suffix in ("", "-wal"):
            path = side(self.path, suffix)
            status = path.lstat()
            self._seen[path] = (status.st_dev, status.st_ino, status.st_size)

    def changed(self) -> str | None:
        """What is no longer as it was, in words; None when all is."""
        for path, (device, inode, size) in self._seen.items():
            try:
                status = path.lstat()
            except OSError as error:
                return f"{path.name} is gone ({_strerror(error)})"
            if (status.st_dev, status.st_ino) != (device, inode):
                return f"{path.name} was replaced"
            if status.st_size < size:
                return f"{path.name} was cut short"
        return None


def _strerror(error: OSError) -> str:
    return error.strerror or type(error).__name__
