"""The gate's pieces of an agent's configuration, and what they mean for parsed data. Knows no text and no file."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

_HANDLERS = "hooks"
State = Literal["there", "absent", "old", "foreign"]


class Misfit(Exception):
    """Where a piece belongs stands something of another kind; `path` says where, `want` what was looked for."""

    def __init__(self, path: tuple[str, ...], want: str) -> None:
        super().__init__(f"{'.'.join(path) or 'the whole'} is no {want}")
        self.path = path


def never(value: Any) -> bool:
    """No value but the very one that was put in is the gate's."""
    del value
    return False


@dataclass(frozen=True, slots=True)
class Member:
    """One key with a value. `mine` tells a value of another version of the gate's from what somebody else wrote.

    `stays`: what others rely on once it is there; taken out only where nothing but such members is left.
    """

    path: tuple[str, ...]
    value: Any
    mine: Callable[[Any], bool] = never
    stays: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """One item of the list at `path`. `mine` tells the gate's item, or handler within an item, of any version."""

    path: tuple[str, ...]
    value: Any
    mine: Callable[[Any], bool] = never


Piece = Member | Item


def lookup(data: Any, path: tuple[str, ...]) -> tuple[bool, Any]:
    """Whether there is a value at `path`, and which. Raises Misfit where the way there is no table."""
    for depth, name in enumerate(path):
        if not isinstance(data, dict):
            raise Misfit(path[:depth], "table")
        if name not in data:
            return False, None
        data = data[name]
    return True, data


def state(data: Any, piece: Piece) -> State:
    """How `data` stands to a piece: `old` is the gate's own but not of this version, `foreign` is somebody else's.

    Raises Misfit.
    """
    found, value = lookup(data, piece.path)
    if isinstance(piece, Item):
        return _state_of_items(_list(value, piece.path) if found else [], piece)
    if not found:
        return "absent"
    if _same(value, piece.value):
        return "there"
    return "old" if piece.mine(value) else "foreign"


def _state_of_items(items: list[Any], piece: Item) -> State:
    if any(_covers(item, piece.value) for item in items):
        return "there"
    return "old" if any(goes(item, piece) or inner(item, piece) for item in items) else "absent"


def _same(one: Any, other: Any) -> bool:
    """Equal, and not merely as True equals 1."""
    return type(one) is type(other) and bool(one == other)


def _covers(item: Any, value: Any) -> bool:
    """Whether the item is ours, or a group of the same matcher into which somebody put handlers beside ours."""
    if _same(item, value):
        return True
    if not (isinstance(item, dict) and isinstance(value, dict) and isinstance(item.get(_HANDLERS), list)):
        return False
    rest = {key: content for key, content in item.items() if key != _HANDLERS}
    ours = value.get(_HANDLERS)
    return (
        ours is not None
        and rest == {key: content for key, content in value.items() if key != _HANDLERS}
        and all(handler in item[_HANDLERS] for handler in ours)
    )


def goes(item: Any, piece: Item) -> bool:
    """Whether a whole item is taken out with the piece: it is the gate's and nothing of anybody else's is in it."""
    if _same(item, piece.value) or piece.mine(item):
        return True
    found = handlers(item)
    return bool(found) and all(piece.mine(handler) for handler in found)


def inner(item: Any, piece: Item) -> list[int]:
    """Indexes of the gate's handlers within an item that is also somebody else's."""
    return [index for index, handler in enumerate(handlers(item)) if piece.mine(handler)]


def handlers(item: Any) -> list[Any]:
    """What a group of hooks holds; nothing where the item is no such group."""
    found = item.get(_HANDLERS) if isinstance(item, dict) else None
    return found if isinstance(found, list) else []


def _list(value: Any, path: tuple[str, ...]) -> list[Any]:
    if not isinstance(value, list):
        raise Misfit(path, "list")
    return value


def added(data: Any, piece: Piece, *, first: bool = True) -> Any:
    """A copy of `data` with the piece, an item as the first or the last of its list. Raises Misfit."""
    whole = copy.deepcopy(data)
    table = whole
    for depth, name in enumerate(piece.path[:-1]):
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise Misfit(piece.path[: depth + 1], "table")
    value = copy.deepcopy(piece.value)
    if isinstance(piece, Member):
        table[piece.path[-1]] = value
    else:
        items = _list(table.setdefault(piece.path[-1], []), piece.path)
        items.insert(0 if first else len(items), value)
    return whole


def removed(data: Any, piece: Piece) -> Any:
    """A copy of `data` without the piece, of any version; tables and lists that are left empty stay. Raises Misfit."""
    whole = copy.deepcopy(data)
    found, value = lookup(whole, piece.path)
    if not found:
        return whole
    _, table = lookup(whole, piece.path[:-1])
    if isinstance(piece, Member):
        if _same(value, piece.value) or piece.mine(value):
            del table[piece.path[-1]]
        return whole
    table[piece.path[-1]] = [_without_inner(item, piece) for item in _list(value, piece.path) if not goes(item, piece)]
    return whole


def _without_inner(item: Any, piece: Item) -> Any:
    ours = inner(item, piece)
    if ours:
        item[_HANDLERS] = [handler for index, handler in enumerate(item[_HANDLERS]) if index not in ours]
    return item


def prunings(data: Any, path: tuple[str, ...], before: Any) -> list[Any]:
    """`data`, and copies of it with ever more of the empty tables and lists on the way to `path` taken away.

    What `before` has stays, empty or not.
    """
    steps = [data]
    for depth in range(len(path), 0, -1):
        found, value = lookup(steps[-1], path[:depth])
        if not found:
            continue
        if not isinstance(value, dict | list) or value or _has(before, path[:depth]):
            break
        whole = copy.deepcopy(steps[-1])
        del lookup(whole, path[: depth - 1])[1][path[depth - 1]]
        steps.append(whole)
    return steps


def _has(data: Any, path: tuple[str, ...]) -> bool:
    return isinstance(data, dict) and lookup(data, path)[0]
