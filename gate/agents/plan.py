"""What `gate install` and `gate uninstall` would change, and the difference as text. Writes nothing by itself."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from gate.agents import catalogue, edit, files
from gate.agents.catalogue import File
from gate.agents.files import Change, Seen
from gate.errors import GateError


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes of one call, and what a person has to know: findings are to be mended, notes are not."""

    changes: tuple[Change, ...]
    findings: tuple[str, ...]

    def diff(self) -> str:
        """The unified difference of all files; empty where nothing changes."""
        return "".join(_diff(change) for change in self.changes)

    def carry_out(self) -> None:
        """Write all files or none. Raises GateError `usage`."""
        files.write(self.changes)


def install(agent: str, gate: str, base: Path, *, managed: bool = False) -> Plan:
    """The plan that puts the gate's part into the files of `agent`.

    `base` is the project's folder; of the administrator's files it is the root.

    `gate` is the program's absolute path. Raises GateError `usage` for a file that may not be written, ConfigInvalid
    with FILE:LINE:COL for one that cannot be parsed; then nothing at all is to be changed.
    """
    changes, findings = [], []
    for file in catalogue.files(agent, gate, managed=managed):
        seen = files.look(base, file.path)
        change, found = _with(file, seen)
        changes.append(change)
        findings += found
    return Plan(_distinct(changes), tuple(findings))


def uninstall(agent: str, gate: str, base: Path, *, managed: bool = False) -> Plan:
    """The plan that takes out what `install` put in, and nothing else. Raises as `install` does."""
    seen = [(file, files.look(base, file.path)) for file in catalogue.files(agent, gate, managed=managed)]
    return Plan(_distinct([_without(file, found) for file, found in seen]), ())


def _with(file: File, seen: Seen) -> tuple[Change, list[str]]:
    text = _text(seen.name, seen.data)
    after, found = edit.installed(file, seen.name, text)
    if text is None or text == after:
        return Change(seen, after.encode(), seen.backup), found
    # The backup is from before the gate, not from before its last version.
    return Change(seen, after.encode(), seen.backup if edit.holds(file, text) else seen.data), found


def _without(file: File, seen: Seen) -> Change:
    text = _text(seen.name, seen.data)
    if text is None:
        return Change(seen, None, seen.backup)
    before = _text(seen.name + files.BACKUP, seen.backup)
    after = edit.uninstalled(file, seen.name, text, before)
    return Change(seen, None if after is None else after.encode(), None if after != text else seen.backup)


def _text(name: str, data: bytes | None) -> str | None:
    return None if data is None else edit.decoded(name, data)


def _distinct(changes: list[Change]) -> tuple[Change, ...]:
    """Only what changes. Two names of one file cannot both be edited from the same bytes."""
    changes = [change for change in changes if change.after != change.seen.data]
    if len({change.seen.real for change in changes}) < len(changes):
        names = ", ".join(change.seen.name for change in changes)
        raise GateError("usage", f"two of {names} are the same file", remedy="Make them two files; then call again.")
    return tuple(changes)


def _diff(change: Change) -> str:
    name = change.seen.name.removeprefix("/")
    before, after = (_lines(data) for data in (change.seen.data, change.after))
    old = "/dev/null" if change.seen.data is None else f"a/{name}"
    new = "/dev/null" if change.after is None else f"b/{name}"
    lines = difflib.unified_diff(before, after, old, new)
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(data: bytes | None) -> list[str]:
    """Lines with their ends; those that `str.splitlines` sees besides are none for a diff."""
    return [] if not data else [line for line in data.decode().replace("\n", "\n\0").split("\0") if line]
