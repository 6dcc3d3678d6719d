"""Keys kept as files of the keeper's own. Knows no deployment."""

import os
import stat
from pathlib import Path

from gate.errors import GateError

LARGEST = 64 * 1024
_PRINTABLE = range(0x21, 0x7F)


def read(path: Path, custody: str) -> str:
    """The key in `path`, without the line end. Raises GateError `custody_failed` unless the file is private."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise GateError(
            "custody_failed",
            f"custody {custody} has no readable key ({error.strerror})",
            remedy=f"Store the key with `gate key set {custody}`.",
            argv=["gate", "key", "set", custody],
        ) from error
    with os.fdopen(descriptor, "rb") as opened:
        _insist_private(os.fstat(opened.fileno()), custody)
        return clean(opened.read(LARGEST + 1), custody)


def write(path: Path, key: str, custody: str) -> None:
    """Store `key` in `path` at once or not at all, readable by the keeper only. Raises GateError `custody_failed`."""
    whole = clean(key.encode("utf-8", "surrogatepass"), custody)
    fresh = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            opened.write(whole + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        fresh.replace(path)
    except OSError as error:
        raise GateError(
            "custody_failed",
            f"the key of custody {custody} could not be stored ({error.strerror})",
            remedy="Make room or mend the rights of the state folder, then store it again.",
        ) from error


def clean(raw: bytes, custody: str) -> str:
    """A key as Convex takes it: one line of printable ASCII. Raises GateError `custody_failed` without the bytes."""
    if len(raw) <= LARGEST:
        line = raw.removesuffix(b"\n").removesuffix(b"\r")
        if line and line.isascii() and all(byte in _PRINTABLE for byte in line):
            return line.decode("ascii")
    raise GateError(
        "custody_failed",
        f"custody {custody} does not hold a key (one line of printable characters)",
        remedy=f"Store it again with `gate key set {custody}`.",
        argv=["gate", "key", "set", custody],
    )


def _insist_private(status: os.stat_result, custody: str) -> None:
    private = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
    if not private:
        raise GateError(
            "custody_failed",
            f"the key file of custody {custody} is not a private regular file of the keeper's",
            remedy="Give it mode 0600 and the keeper as owner, and replace the key if others could read it.",
        )
