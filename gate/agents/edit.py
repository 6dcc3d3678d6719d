"""One file's text with the gate's part put in or taken out, in whichever format it has. Touches no file."""

import tomllib
from collections.abc import Callable
from typing import Any

from gate.agents import block, jsonc, toml_text
from gate.agents.catalogue import File, marked
from gate.agents.pieces import Member, Misfit, Piece, lookup, never, state
from gate.errors import ConfigInvalid

_EMPTY = {"json": "{}\n", "toml": "", "text": ""}
_DATA: dict[str, Callable[[str], Any]] = {"json": jsonc.data, "toml": toml_text.data}
_ADD: dict[str, Callable[[str, Piece], str]] = {"json": jsonc.add, "toml": toml_text.add}
_REMOVE: dict[str, Callable[[str, Piece, str | None], str]] = {"json": jsonc.remove, "toml": toml_text.remove}


def decoded(path: str, data: bytes) -> str:
    """The text of a file. Raises ConfigInvalid with the position of what is no UTF-8, or of a byte order mark."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        lines = data[: error.start].split(b"\n")
        raise _invalid(path, len(lines), len(lines[-1]) + 1, "not UTF-8") from error
    if text.startswith("\ufeff"):
        raise _invalid(path, 1, 1, "starts with a byte order mark, which not every agent reads")
    return text


def installed(file: File, path: str, text: str | None) -> tuple[str, list[str]]:
    """The text with the gate's part, and findings on what somebody else wrote in its place (which stays).

    `text` is None where there is no file. Raises ConfigInvalid, positions in `path`, for a text that cannot be edited.
    """
    found: list[str] = []

    def put() -> str:
        now = _EMPTY[file.format] if text is None else text
        if file.format == "text":
            return _with_paragraph(file, now)
        for piece in file.pieces:
            now = _with(file, piece, now, found, path)
        return now

    return _guarded(file, path, text, put), found


def uninstalled(file: File, path: str, text: str, before: str | None) -> str | None:
    """The text without the gate's part; None where nothing is left of a file that was not there before.

    `before` is the text from before the first installation, None where there was no file; what it has stays.
    Raises ConfigInvalid for a text that cannot be edited.
    """
    if installed(file, path, before)[0] == text:
        return before
    left = _guarded(file, path, text, lambda: _without(file, text, before))
    return None if before is None and left != text and _is_nothing(file, left) else left


def holds(file: File, text: str) -> bool:
    """Whether something that only the gate writes is in a text that can be parsed: it was installed before."""
    if file.format == "text":
        return block.find(text, *file.marks) is not None
    data = _DATA[file.format](text)
    return any(state(data, piece) in ("there", "old") for piece in file.pieces if piece.mine is not never)


def parsed(file: File, path: str, text: str) -> Any:
    """What a text means. Raises ConfigInvalid."""
    return _guarded(file, path, text, lambda: _DATA[file.format](text))


def _with_paragraph(file: File, text: str) -> str:
    there = block.find(text, *file.marks)
    if there is None:
        return block.appended(text, marked(file))
    start, end = there
    chunk = marked(file).replace("\n", "\r\n" if "\r\n" in text[start:end] else "\n")
    return text[:start] + chunk + text[end:]


def _with(file: File, piece: Piece, text: str, found: list[str], path: str) -> str:
    how = state(_DATA[file.format](text), piece)
    if how == "there":
        return text
    if how == "foreign":
        found.append(
            f"{path}: {'.'.join(piece.path)} is set to something else and stays so; gate wants {piece.value!r}"
        )
        return text
    if how == "old":
        # An empty table keeps its place where the format has one for it.
        text = _REMOVE[file.format](text, piece, text if file.format == "json" else None)
    return _ADD[file.format](text, piece)


def _without(file: File, text: str, before: str | None) -> str:
    if file.format == "text":
        there = block.find(text, *file.marks)
        return text if there is None else block.cut(text, *there)
    # The reverse order of putting them in is the exact way back, and what stays for others was put in first.
    for piece in reversed(file.pieces):
        if not (_was_there(file, before, piece) or _is_relied_on(file, piece, text, before)):
            text = _REMOVE[file.format](text, piece, before)
    return text


def _is_relied_on(file: File, piece: Piece, text: str, before: str | None) -> bool:
    """Whether something that came beside the gate's part since needs the piece."""
    stays = isinstance(piece, Member) and piece.stays
    return stays and _has_others(file, text) and (before is None or not _has_others(file, before))


def _has_others(file: File, text: str) -> bool:
    """Whether the tables of the pieces hold anything."""
    data = _DATA[file.format](text)
    tables = [lookup(data, piece.path[:-1])[1] for piece in file.pieces if len(piece.path) > 1]
    return any(any(table.values()) for table in tables if isinstance(table, dict))


def _was_there(file: File, before: str | None, piece: Piece) -> bool:
    """Whether the very same was there before, and so is not the gate's to take."""
    old = None if before is None else _DATA[file.format](before)
    return isinstance(old, dict) and lookup(old, piece.path[:-1])[0] and state(old, piece) == "there"


def _is_nothing(file: File, text: str) -> bool:
    if file.format != "json":
        return not text.strip()
    return jsonc.data(text) == {} and "//" not in text and "/*" not in text


def _guarded(file: File, path: str, text: str | None, edit: Callable[[], Any]) -> Any:
    """Run an edit; what it cannot do is said with a position in the file."""
    text = text or ""
    try:
        return edit()
    except jsonc.Broken as error:
        raise _at(path, text, error.offset, str(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise _invalid(path, *toml_text.position(text, error), "no TOML") from error
    except Misfit as error:
        offset = jsonc.offset(text, error.path) if file.format == "json" else 0
        raise _at(path, text, offset, str(error)) from error
    except toml_text.NoWay as error:
        raise _invalid(
            path, 1, 1, "has a form that cannot be edited without touching the rest; do it by hand"
        ) from error


def _at(path: str, text: str, offset: int, what: str) -> ConfigInvalid:
    return _invalid(path, text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset), what)


def _invalid(path: str, line: int, column: int, what: str) -> ConfigInvalid:
    return ConfigInvalid([f"{path}:{line}:{column}: {what}"])
