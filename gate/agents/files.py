"""Files of other people's programs: read whole, and changed all together or not at all. Knows no format, no agent."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from gate.errors import GateError

BACKUP = ".gate-backup"
LARGEST = 1024 * 1024
_NEW_MODE = 0o644
_OWNER_WRITES = 0o200


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was found. `name`: as it is called; `real`: where its bytes are, links followed.

    `data` and `backup` are None where there is no such file; `mode`, `uid` and `gid` are those of the file there.
    """

    name: str
    real: Path
    data: bytes | None
    backup: bytes | None
    mode: int = _NEW_MODE
    uid: int | None = None
    gid: int | None = None

    @property
    def beside(self) -> Path:
        """Where the backup is."""
        return self.real.with_name(self.real.name + BACKUP)


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of one file: `after` is None where it goes. `keep`: the backup to leave beside it, None for none."""

    seen: Seen
    after: bytes | None
    keep: bytes | None


def look(base: Path, path: str) -> Seen:
    """Read the file `path` below `base` with its backup. Raises GateError `usage`.

    A link is followed where the file that it means belongs to the owner of `base`: so nobody makes a person of more
    rights write elsewhere. What is no regular file, is marked read-only or holds over 1 MiB is refused.
    """
    plain = Path(os.path.realpath(base)) / path.removeprefix("/")
    real = Path(os.path.realpath(plain))
    if real != plain and _owner(real) != _owner(base):
        raise _refused(path, "is a link to a file of somebody else's")
    found = _read(path, real)
    backup = _read(f"{path}{BACKUP}", real.with_name(real.name + BACKUP))
    if found is None:
        return Seen(path, real, None, None if backup is None else backup[0])
    data, status = found
    if not status.st_mode & _OWNER_WRITES:
        raise _refused(path, "is read-only")
    mode = stat.S_IMODE(status.st_mode)
    return Seen(path, real, data, None if backup is None else backup[0], mode, status.st_uid, status.st_gid)


def _read(name: str, real: Path) -> tuple[bytes, os.stat_result] | None:
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _refused(name, f"cannot be opened ({error.strerror})") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise _refused(name, "is no regular file")
    with os.fdopen(descriptor, "rb") as opened:
        data = opened.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise _refused(name, "is larger than 1 MiB")
    return data, status


def _owner(path: Path) -> int:
    """Who owns the file, or the nearest folder above it that is there."""
    while not path.exists():
        path = path.parent
    return path.stat().st_uid


def write(changes: Iterable[Change]) -> None:
    """Carry out all changes, each file replaced at once, mode and owner kept. Raises GateError `usage`.

    All that can fail is done beside the files first; where a replacement fails after that, those before it are undone.
    """
    wanted = [pair for change in changes for pair in _pairs(change)]
    staged: list[tuple[Path, Path | None, Seen]] = []
    try:
        for path, data, seen in wanted:
            _same_bytes(seen)
            staged.append((path, None if data is None else _stage(path, data, seen), seen))
        _replace(staged)
    except OSError as error:
        raise _refused(str(error.filename), f"cannot be written ({error.strerror})") from error
    finally:
        for _, fresh, _ in staged:
            if fresh is not None:
                fresh.unlink(missing_ok=True)
    for path, data, seen in wanted:
        if data is None:
            _drop_empty(path, seen.name)


def _pairs(change: Change) -> list[tuple[Path, bytes | None, Seen]]:
    """The backup comes first: no moment is without the bytes that were there."""
    pairs = []
    if change.keep != change.seen.backup:
        pairs.append((change.seen.beside, change.keep, change.seen))
    if change.after != change.seen.data:
        pairs.insert(len(pairs) if change.keep is not None else 0, (change.seen.real, change.after, change.seen))
    return pairs


def _same_bytes(seen: Seen) -> None:
    found = _read(seen.name, seen.real)
    if (None if found is None else found[0]) != seen.data:
        raise _refused(seen.name, "was changed meanwhile")


def _stage(path: Path, data: bytes, seen: Seen) -> Path:
    """The whole content in a file beside its place, safe on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".gate-new", dir=path.parent)
    with os.fdopen(descriptor, "wb") as opened:
        if seen.uid is not None and seen.gid is not None and (seen.uid, seen.gid) != (os.geteuid(), os.getegid()):
            os.fchown(descriptor, seen.uid, seen.gid)
        os.fchmod(descriptor, seen.mode)
        opened.write(data)
        opened.flush()
        os.fsync(descriptor)
    return Path(name)


def _replace(staged: list[tuple[Path, Path | None, Seen]]) -> None:
    undo: list[tuple[Path, bytes | None, Seen]] = []
    try:
        for path, fresh, seen in staged:
            before = path.read_bytes() if path.exists() else None
            if fresh is None:
                path.unlink(missing_ok=True)
            else:
                fresh.replace(path)
            undo.append((path, before, seen))
    except OSError:
        for path, before, seen in reversed(undo):
            if before is None:
                path.unlink(missing_ok=True)
            else:
                _stage(path, before, seen).replace(path)
        raise


def _drop_empty(path: Path, name: str) -> None:
    """Take away the folders of a project's file that hold nothing any more; the system's stay."""
    inside = 0 if name.startswith("/") else len(Path(name).parts) - 1
    for folder in list(path.parents)[:inside]:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _refused(name: str, what: str) -> GateError:
    return GateError("usage", f"{name} {what}; nothing was changed", remedy="Mend that, then call again.")
