"""JSON as people and editors write it (comments, trailing commas), edited in place. Knows no file and no agent.

Own code: libraries that read such JSON do not keep its bytes. What is put in goes first in its object or list, so
that no comma, comment or space of anybody else's moves, and taking it out is the exact reverse.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from gate.agents import pieces
from gate.agents.block import newline_of
from gate.agents.pieces import Item, Member, Misfit, Piece

_DEEPEST = 100
_SPACE = re.compile(r"(?:[ \t\r\n]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SCALAR = re.compile(
    r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?'
    r"|true|false|null",
    re.ASCII,
)
_CLOSING = {"{": "}", "[": "]"}


class Broken(Exception):
    """The text cannot be parsed at `offset`."""

    def __init__(self, offset: int, what: str) -> None:
        super().__init__(what)
        self.offset = offset


@dataclass(slots=True)
class Node:
    """One value and where it stands: [start, end). `children`: key or None, where the child begins, the child."""

    start: int
    value: Any = None
    end: int = 0
    children: list[tuple[str | None, int, "Node"]] = field(default_factory=list)


def parse(text: str) -> Node:
    """The tree of a text. Raises Broken, also for members of the same name: agents differ in which one counts."""
    reader = _Reader(text)
    reader.skip()
    root = reader.value(0)
    reader.skip()
    if reader.at < len(text):
        raise Broken(reader.at, "nothing may follow the value")
    return root


class _Reader:
    """Reads one text from left to right."""

    __slots__ = ("at", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip(self) -> None:
        """Go over white space and comments."""
        found = _SPACE.match(self.text, self.at)
        self.at = self.at if found is None else found.end()

    def value(self, depth: int) -> Node:
        opening = self.text[self.at : self.at + 1]
        if opening in _CLOSING:
            if depth >= _DEEPEST:
                raise Broken(self.at, f"nested more than {_DEEPEST} deep")
            return self._many(opening, depth)
        start = self.at
        return Node(start, json.loads(self._scalar()), self.at)

    def _scalar(self) -> str:
        found = _SCALAR.match(self.text, self.at)
        if found is None:
            raise Broken(self.at, "a value is expected")
        self.at = found.end()
        return found[0]

    def _many(self, opening: str, depth: int) -> Node:
        node = Node(self.at, {} if opening == "{" else [])
        self._take(opening)
        while self.text[self.at : self.at + 1] != _CLOSING[opening]:
            self._child(node, depth)
            if self.text[self.at : self.at + 1] != ",":
                break
            self._take(",")
        self._take(_CLOSING[opening], skip=False)
        node.end = self.at
        return node

    def _child(self, node: Node, depth: int) -> None:
        start = self.at
        name = self._name(node.value) if isinstance(node.value, dict) else None
        child = self.value(depth + 1)
        self.skip()
        node.children.append((name, start, child))
        if name is None:
            node.value.append(child.value)
        else:
            node.value[name] = child.value

    def _name(self, members: dict[str, Any]) -> str:
        start = self.at
        if self.text[start : start + 1] != '"':
            raise Broken(start, "a name in double quotes is expected")
        name = json.loads(self._scalar())
        if name in members:
            raise Broken(start, f"{name} is there twice")
        self.skip()
        self._take(":")
        return str(name)

    def _take(self, char: str, *, skip: bool = True) -> None:
        if self.text[self.at : self.at + 1] != char:
            raise Broken(self.at, f"`{char}` is expected")
        self.at += 1
        if skip:
            self.skip()


def data(text: str) -> Any:
    """What a text means. Raises Broken."""
    return parse(text).value


def offset(text: str, path: tuple[str, ...]) -> int:
    """Where the value at `path` begins, or the last one on the way that is there. Raises Broken."""
    return _deepest(parse(text), path)[0].start


def add(text: str, piece: Piece) -> str:
    """`text` with the piece, which is not there. Raises Broken and Misfit."""
    node, rest = _deepest(parse(text), piece.path)
    value = piece.value if isinstance(piece, Member) or rest == () else [piece.value]
    for name in reversed(rest[1:]):
        value = {name: value}
    want, kind = ("table", dict) if rest else ("list", list)
    if not isinstance(node.value, kind):
        raise Misfit(piece.path[: len(piece.path) - len(rest)], want)
    return _put(text, node, rest[0] if rest else None, value)


def _deepest(root: Node, path: tuple[str, ...]) -> tuple[Node, tuple[str, ...]]:
    """The last value on the way that is there, and what of the way is missing."""
    node = root
    for depth, name in enumerate(path):
        inside = next((child for key, _, child in node.children if key == name), None)
        if inside is None:
            return node, path[depth:]
        node = inside
    return node, ()


def _put(text: str, node: Node, name: str | None, value: Any) -> str:
    """Insert one child right behind the opening bracket."""
    place = node.start + 1
    newline = newline_of(text)
    outer = _indent(text, node.start)
    if node.children:
        lead = _lead(text, place, node.children[0][1])
        tail = ","
    else:
        lead, tail = newline + outer + _unit(text), newline + outer
    child = _rendered(name, value, lead, _unit(text), newline)
    return text[:place] + lead + child + tail + text[place:]


def _lead(text: str, place: int, first: int) -> str:
    """White space as it stands before the first child."""
    space = re.search(r"(?:\r?\n)?[ \t]*\Z", text[place:first])
    return "" if space is None else space[0]


def _rendered(name: str | None, value: Any, lead: str, unit: str, newline: str) -> str:
    if "\n" in lead:
        shown = json.dumps(value, ensure_ascii=False, indent=unit)
        shown = shown.replace("\n", newline + lead.lstrip("\r\n"))
    else:
        shown = json.dumps(value, ensure_ascii=False)
    return shown if name is None else f"{json.dumps(name)}: {shown}"


def _indent(text: str, place: int) -> str:
    """White space at the start of the line that holds `place`."""
    line = text[text.rfind("\n", 0, place) + 1 : place]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    """What the text indents by: that of its first indented line, else two spaces."""
    found = re.search(r"\n([ \t]+)[\"\]{}\[]", text)
    return "  " if found is None else found[1]


def remove(text: str, piece: Piece, before: str | None) -> str:
    """`text` without the piece of any version, nor the empty tables around it that `before` does not have.

    Raises Broken and Misfit.
    """
    wanted = pieces.removed(data(text), piece)
    for chain in reversed(list(_gone(parse(text), piece))):
        text = _take_out(text, chain)
    goal = pieces.prunings(wanted, piece.path, None if before is None else data(before))[-1]
    depth = len(piece.path)
    while depth and data(text) != goal:
        node, rest = _deepest(parse(text), piece.path[:depth])
        if not rest and not node.value:
            text = _take_out(text, (_deepest(parse(text), piece.path[: depth - 1])[0], node))
        depth -= 1
    return text


def _gone(root: Node, piece: Piece) -> Iterator[tuple[Node, Node]]:
    """Each value to take out, with the one that holds it; in order of the text."""
    node, rest = _deepest(root, piece.path)
    if rest:
        return
    if isinstance(piece, Member):
        if pieces.removed(root.value, piece) != root.value:
            yield _deepest(root, piece.path[:-1])[0], node
        return
    for _, _, child in node.children:
        if pieces.goes(child.value, piece):
            yield node, child
        else:
            yield from _handlers_gone(child, piece)


def _handlers_gone(group: Node, piece: Item) -> Iterator[tuple[Node, Node]]:
    ours = pieces.inner(group.value, piece)
    if ours:
        handlers, _ = _deepest(group, ("hooks",))
        yield from ((handlers, handlers.children[index][2]) for index in ours)


def _take_out(text: str, chain: tuple[Node, Node]) -> str:
    """Take one child out of what holds it, with the one comma that is too many then."""
    parent, child = chain
    index = next(place for place, (_, _, node) in enumerate(parent.children) if node.start == child.start)
    start = _space_before(text, parent.children[index][1])
    end = child.end
    behind = _past_space(text, end)
    if text[behind] == ",":
        return text[:start] + text[end:behind] + text[behind + 1 :]
    if index == 0:
        # The only child: what `_put` set before the closing bracket goes too.
        lead = text[start : parent.children[index][1]]
        tail = ("\r\n" if "\r\n" in lead else "\n") + _indent(text, parent.start)
        return text[:start] + text[end:].removeprefix(tail)
    comma = _past_space(text, parent.children[index - 1][2].end)
    return text[:comma] + text[comma + 1 : start] + text[end:]


def _space_before(text: str, place: int) -> int:
    return len(text[:place].rstrip(" \t\r\n"))


def _past_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return place if found is None else found.end()
