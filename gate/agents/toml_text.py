"""TOML edited in place: an edit is proposed as text and taken when it means what it should. Knows no file, no agent.

Every edit puts text in or takes it out, so that what others wrote keeps its bytes; and none counts before the standard
library's parser has read the result as exactly what was there plus, or minus, the piece.
"""

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from typing import Any

from gate.agents import block, pieces
from gate.agents.pieces import Item, Piece

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_HEADER = re.compile(r"^[ \t]*(\[{1,2})[^\n]*$", re.MULTILINE)
_POSITION = re.compile(r"\(at line (\d+), column (\d+)\)")
_Path = tuple[str, ...]


class NoWay(Exception):
    """The text has a form in which the piece cannot be put in or taken out without touching anything else."""


def data(text: str) -> dict[str, Any]:
    """What a text means. Raises tomllib.TOMLDecodeError. Floats stay text: NaN would not equal itself."""
    return tomllib.loads(text, parse_float=str)


def position(text: str, error: tomllib.TOMLDecodeError) -> tuple[int, int]:
    """Line and column of an error, from one; a text that ends too early is at fault on its last line."""
    found = _POSITION.search(str(error))
    if found is not None:
        return int(found[1]), int(found[2])
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def add(text: str, piece: Piece) -> str:
    """`text` with the piece, which is not there. Raises TOMLDecodeError, Misfit, NoWay."""
    now = data(text)
    goals = [pieces.added(now, piece, first=first) for first in (True, False)]
    return _first(_additions(text, piece), goals)


def remove(text: str, piece: Piece, before: str | None) -> str:
    """`text` without the piece of any version, nor the empty tables around it that `before` does not have.

    Raises TOMLDecodeError, Misfit, NoWay.
    """
    now = data(text)
    wanted = pieces.removed(now, piece)
    if wanted == now:
        return text
    goals = pieces.prunings(wanted, piece.path, None if before is None else data(before))
    return _first(_removals(text, piece, before or ""), goals)


def _first(candidates: Iterable[str], goals: list[Any]) -> str:
    for candidate in candidates:
        try:
            meant = data(candidate)
        except tomllib.TOMLDecodeError:
            continue
        if meant in goals:
            return candidate
    raise NoWay


def _additions(text: str, piece: Piece) -> Iterator[str]:
    if isinstance(piece, Item):
        yield from _within(text, piece.path, "[", (value(piece.value), value(piece.value) + ", "))
        if isinstance(piece.value, dict):
            yield block.appended(text, _chunk(piece.path, piece.value, "[[]]"))
    content = [piece.value] if isinstance(piece, Item) else piece.value
    if isinstance(content, dict):
        yield block.appended(text, _chunk(piece.path, content, "[]"))
    for depth in range(len(piece.path) - 1, -1, -1):
        yield from _below(text, piece.path[:depth], f"{_key(piece.path[depth:])} = {value(content)}")
        if depth:
            yield block.appended(text, _chunk(piece.path[:depth], {piece.path[depth:]: content}, "[]"))
            pair = f"{_key(piece.path[depth:])} = {value(content)}"
            yield from _within(text, piece.path[:depth], "{", (pair + ", ", pair))


def _below(text: str, path: _Path, line: str) -> Iterator[str]:
    """The line right below each header of the table `path`; for the whole document, at its top."""
    newline = block.newline_of(text)
    if not path:
        yield line + newline + text
    for _, end in _headers(text, path):
        yield text[:end] + line + newline + text[end:] if text[:end].endswith("\n") else text + newline + line


def _within(text: str, path: _Path, opening: str, forms: Iterable[str]) -> Iterator[str]:
    """The form right behind the bracket of each value whose key ends as `path` does."""
    name = path[-1]
    for found in re.finditer(rf"(?:\b{re.escape(name)}|{re.escape(json.dumps(name))})\s*=\s*\{opening}\s*", text):
        for form in forms:
            yield text[: found.end()] + form + text[found.end() :]


def _removals(text: str, piece: Piece, before: str) -> Iterator[str]:
    yield from _paragraphs(text, piece, before)
    content = piece.value
    forms = [f"{_key(piece.path[depth:])} = {value(content)}" for depth in range(len(piece.path))]
    if isinstance(piece, Item):
        forms += [f"{_key(piece.path[depth:])} = {value([content])}" for depth in range(len(piece.path))]
        forms += [value(content), *map(value, pieces.handlers(content))]
    for form in forms:
        yield from _lines_gone(text, form)
        yield from _gone(text, (form + ", ", ", " + form, form))
    yield from _regions(text, piece.path)


def _paragraphs(text: str, piece: Piece, before: str) -> Iterator[str]:
    """Without one paragraph as it was appended; a header that was there before is none of it."""
    newline = block.newline_of(text)
    for chunk in (chunk for path, chunk in _chunks(piece) if chunk.startswith("[[") or not any(_headers(before, path))):
        for found in re.finditer(re.escape(chunk.replace("\n", newline)), text):
            yield block.cut(text, found.start(), found.end())


def _chunks(piece: Piece) -> Iterator[tuple[_Path, str]]:
    """Each form in which the piece may have been appended, with the table that it opens."""
    if isinstance(piece.value, dict):
        yield piece.path, _chunk(piece.path, piece.value, "[[]]" if isinstance(piece, Item) else "[]")
    content = [piece.value] if isinstance(piece, Item) else piece.value
    for depth in range(len(piece.path) - 1, 0, -1):
        yield piece.path[:depth], _chunk(piece.path[:depth], {piece.path[depth:]: content}, "[]")


def _lines_gone(text: str, form: str) -> Iterator[str]:
    for found in re.finditer(rf"^{re.escape(form)}(?:\r?\n)", text, re.MULTILINE):
        yield text[: found.start()] + text[found.end() :]
    for found in re.finditer(rf"\r?\n{re.escape(form)}\Z", text):
        yield text[: found.start()]


def _gone(text: str, forms: Iterable[str]) -> Iterator[str]:
    for form in forms:
        for found in re.finditer(re.escape(form), text):
            yield text[: found.start()] + text[found.end() :]


def _regions(text: str, path: _Path) -> Iterator[str]:
    """Without one whole table, from its header to its last line that is no comment."""
    starts = [found.start() for found in _HEADER.finditer(text)] + [len(text)]
    for start, end in _headers(text, path):
        following = next(place for place in starts if place >= end)
        head = len(text[start:end].rstrip("\r\n"))
        yield block.cut(text, start, start + head + len(_content(text[start + head : following])))


def _content(body: str) -> str:
    """The body up to its last line that says something, without that line's end."""
    last = [found.end() for found in re.finditer(r"^[ \t]*[^\s#][^\r\n]*", body, re.MULTILINE)]
    return body[: last[-1]] if last else ""


def _headers(text: str, path: _Path) -> Iterator[tuple[int, int]]:
    """[start, end) of each line that is a header of the table `path`, its line end included."""
    for found in _HEADER.finditer(text):
        if _named(found[0]) == path:
            yield found.start(), min(found.end() + 1, len(text))


def _named(header: str) -> _Path | None:
    """The path that a header names."""
    try:
        inner: Any = tomllib.loads(header.strip())
    except tomllib.TOMLDecodeError:
        return None
    names: list[str] = []
    while isinstance(inner, dict) and inner:
        name, inner = next(iter(inner.items()))
        names.append(name)
        inner = inner[0] if isinstance(inner, list) and inner else inner
    return tuple(names)


def _chunk(path: _Path, members: dict[Any, Any], brackets: str) -> str:
    """A table with its header, one line for each member."""
    half = len(brackets) // 2
    lines = [f"{brackets[:half]}{_key(path)}{brackets[half:]}"]
    lines += [
        f"{_key(name if isinstance(name, tuple) else (name,))} = {value(member)}" for name, member in members.items()
    ]
    return "\n".join(lines)


def value(content: Any) -> str:
    """A value on one line."""
    if isinstance(content, dict):
        inside = ", ".join(f"{_key((name,))} = {value(member)}" for name, member in content.items())
        return f"{{ {inside} }}"
    if isinstance(content, list):
        return f"[{', '.join(map(value, content))}]"
    return json.dumps(content, ensure_ascii=False)


def _key(path: _Path) -> str:
    return ".".join(name if _BARE.fullmatch(name) else json.dumps(name, ensure_ascii=False) for name in path)
