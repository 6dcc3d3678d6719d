"""All requests there are: a product of dimensions, each cut into the kinds that the rules tell apart. Decides nothing.

A kind of value is a set of rules: those whose condition on the dimension it meets. A request is one kind of each
dimension, and the rules that match it are those in all of these sets. Source of the semantics: docs/policy.md and
gate/policy/decide.py; the sets come from the very columns that it reads.
"""

import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gate.config.values import CLASSES, PRINCIPAL_KINDS
from gate.intent.effects import DEPLOYMENT_EFFECTS, EFFECTS, implied
from gate.intent.intent import DIMENSIONS
from gate.policy.analysis.kinds import Kind, Place, Wording
from gate.policy.analysis.sides import Side
from gate.policy.analysis.words import NAMES, Language, kinds_of_words
from gate.policy.index import Column
from gate.policy.rules import ALLOW, DOORS, GROUP
from gate.policy.verdict import Question

EFFECT, PLACE, PRINCIPAL, DOOR = ("effect", "deployment", "principal", "door")
ORDER = (EFFECT, PLACE, PRINCIPAL, DOOR, *DIMENSIONS)

_LETTERS = string.ascii_lowercase + string.ascii_uppercase + string.digits
_LONGEST_ID = 63
_IDS = Language(("",), _LETTERS, _LETTERS + "-._", _LONGEST_ID)


@dataclass(frozen=True, slots=True)
class Space:
    """The requests that one bundle, or several side by side, can be asked. Made by `space_of`.

    `kinds`: of each dimension of ORDER. The rules of side N are the bits from `offsets[N]` on.
    """

    sides: tuple[Side, ...]
    offsets: tuple[int, ...]
    kinds: tuple[tuple[Kind, ...], ...]

    def only(self, keep: Mapping[str, Callable[[Kind], bool]]) -> "Space":
        """The same with just the kinds that `keep` takes, of the dimensions that it names."""
        kinds = [
            tuple(kind for kind in self.kinds[level] if keep[name](kind)) if name in keep else self.kinds[level]
            for level, name in enumerate(ORDER)
        ]
        return replace(self, kinds=tuple(kinds))

    def parts(self) -> tuple["Space", ...]:
        """The space without what no command is: an effect on a deployment, and no deployment."""
        aimed = self.only({EFFECT: lambda it: it.value in DEPLOYMENT_EFFECTS, PLACE: _is_somewhere})
        return aimed, self.only({EFFECT: lambda it: it.value not in DEPLOYMENT_EFFECTS})

    def question(self, point: Sequence[Kind], side: int = 0) -> Question | None:
        """The request that `point` (one kind of each dimension) stands for; None where this side does not take it."""
        values = dict(zip(ORDER, (kind.value for kind in point), strict=True))
        place, principal, effect = values[PLACE], str(values[PRINCIPAL]), str(values[EFFECT])
        if not isinstance(place, Place) or (place.deployment is not None and place.classes[side] is None):
            return None
        return Question(
            principal=principal,
            groups=self.sides[side].groups(principal),
            effects=(effect,),
            implied=implied((effect,)),
            resources={name: _names(values[name]) for name in DIMENSIONS if values[name] != ()},
            deployment=place.deployment,
            cls=place.classes[side],
            door=str(values[DOOR]),
        )


def space_of(sides: Sequence[Side], callers: Iterable[str] = ()) -> Space:
    """Cut the requests to `sides` into kinds; `callers` are told apart from all other principals too.

    Every id of the four kinds is a principal, listed or not, and every word may be registered under any class some
    day. Raises GateError `limit` where the globs tell too many words apart.
    """
    offsets = tuple(sum(len(side.rules.rules) for side in sides[:number]) for number in range(len(sides)))
    cut = _Cut(tuple(sides), offsets)
    kinds = {EFFECT: cut.effects(), PLACE: cut.places(), PRINCIPAL: cut.principals(callers), DOOR: cut.doors()}
    kinds |= {name: cut.names(name) for name in DIMENSIONS}
    return Space(tuple(sides), offsets, tuple(tuple(kinds[name]) for name in ORDER))


def _is_somewhere(kind: Kind) -> bool:
    return isinstance(kind.value, Place) and kind.value.deployment is not None


def _names(value: str | tuple[str, ...] | Place | None) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return (value,)
    return value if isinstance(value, tuple) else None


@dataclass(frozen=True, slots=True)
class _Cut:
    """The kinds of each dimension over all sides."""

    sides: tuple[Side, ...]
    offsets: tuple[int, ...]

    def joined(self, bits: Callable[[Side], int]) -> int:
        """The rules of all sides that `bits` gives for each."""
        return sum(bits(side) << offset for side, offset in zip(self.sides, self.offsets, strict=True))

    def effects(self) -> Iterator[Kind]:
        for effect in sorted(EFFECTS):
            yield Kind(self.joined(lambda side, effect=effect: side.what(effect)), effect, effect)  # type: ignore[misc]

    def doors(self) -> Iterator[Kind]:
        for door in DOORS:
            yield Kind(self.joined(lambda side, door=door: side.rules.doors[door]), door, door)  # type: ignore[misc]

    def wording(self, key: str, before: str = "", others: str = "any other", head: str = "") -> Wording:
        """How words of the dimension `key` read; `head`: how all these words begin."""
        items: dict[int, tuple[str, ...]] = {}
        for side, offset in zip(self.sides, self.offsets, strict=True):
            for number, rule in enumerate(side.rules.rules):
                named = tuple(item for item in rule.conditions.get(key, ()) if _can_begin(item, head))
                items |= {number + offset: named} if named else {}
        return Wording(items, sum(1 << number for number in items), before, others)

    def principals(self, callers: Iterable[str]) -> Iterator[Kind]:
        listed = dict.fromkeys([*callers, *(name for side in self.sides for name in side.principals)])
        for name in listed:
            yield Kind(self._who(name), name, name)
        globs = self._globs(lambda side: side.rules.principals)
        for head in PRINCIPAL_KINDS:
            said = self.wording("principals", "other", f"{head}*", head)
            for word in self._unlisted(globs, replace(_IDS, heads=(head,)), listed):
                yield Kind(self._who(word), word, word, wording=said)

    def _who(self, name: str) -> int:
        return self.joined(lambda side: side.who(name))

    def places(self) -> Iterator[Kind]:
        registered = [side.deployments for side in self.sides]
        known = dict.fromkeys(name for entries in registered for name in entries)
        for name in known:
            place = Place(name, tuple(entries.get(name) for entries in registered), listed=True)
            yield Kind(self._where(place), place, name)
        globs = self._globs(lambda side: side.rules.deployments)
        said = {cls: self.wording("deployments", f"unregistered {cls} deployments", "") for cls in CLASSES}
        for word in self._unlisted(globs, _IDS, known):
            for cls in CLASSES:
                place = Place(word, (cls,) * len(self.sides), listed=False)
                yield Kind(self._where(place), place, word, wording=said[cls])
        nowhere = self.joined(lambda side: side.where(None, None))
        yield Kind(nowhere, Place(None, (None,) * len(self.sides), listed=True), "no deployment")

    def _where(self, place: Place) -> int:
        bits = [
            0 if cls is None else side.where(place.deployment, cls)
            for side, cls in zip(self.sides, place.classes, strict=True)
        ]
        return self._sum(bits)

    def names(self, dimension: str) -> Iterator[Kind]:
        """Not applicable, each kind of name, not known."""
        columns = [side.column(dimension) for side in self.sides]
        every = [side.every for side in self.sides]
        pairs = [*zip(columns, every, strict=True)]
        free = self._sum([whole if column is None else column.free for column, whole in pairs])
        yield Kind(free, (), f"no {dimension}", f"some {dimension}")
        globs = self._globs(lambda side: side.column(dimension))
        said = self.wording(dimension)
        for word in kinds_of_words(globs, NAMES).values():
            named = [0 if column is None else column.naming(word) for column in columns]
            yield Kind(free | self._sum(named), word, word, wording=said)
        unsure = self._sum([side.every & ~side.rules.verbs[ALLOW] & ~_asked(side) for side in self.sides])
        yield Kind(free | unsure, None, f"unknown {dimension}", f"known {dimension}")

    def _sum(self, bits: Sequence[int]) -> int:
        return sum(part << offset for part, offset in zip(bits, self.offsets, strict=True))

    def _globs(self, column_of: Callable[[Side], Column | None]) -> dict[str, int]:
        """Every item of a column, with the rules of all sides that have it."""
        globs: dict[str, int] = {}
        for side, offset in zip(self.sides, self.offsets, strict=True):
            column = column_of(side)
            for item, bits in () if column is None else _items(column):
                globs[item] = globs.get(item, 0) | bits << offset
        return globs

    def _unlisted(self, globs: Mapping[str, int], language: Language, listed: Iterable[str]) -> Iterator[str]:
        """A word of each kind, told apart from those that are listed."""
        known = set(listed)
        mark = 1 << (self.offsets[-1] + len(self.sides[-1].rules.rules))
        marked = dict(globs)
        for number, name in enumerate(known):
            marked[name] = marked.get(name, 0) | mark << number
        yield from (word for word in kinds_of_words(marked, language).values() if word not in known)


def _asked(side: Side) -> int:
    """The conditions of invariants: as an `allow` they do not match what nobody knows."""
    return side.every & ~sum(side.rules.verbs.values())


def _items(column: Column) -> Iterator[tuple[str, int]]:
    yield from ((item, bits) for item, bits in column.exact.items() if not item.startswith(GROUP))
    yield from ((head + "*", bits) for head, bits in column.prefixes.items())
    yield from (pair for pairs in column.globs.values() for pair in pairs)


def _can_begin(item: str, head: str) -> bool:
    """Whether words that begin with `head` can match a glob; never so for a group."""
    begins, star, _ = item.partition("*")
    return not item.startswith(GROUP) and (begins.startswith(head) or bool(star and head.startswith(begins)))
