"""What comes out for every request of a space, as one decision diagram: shared where it is the same, exact, searchable.

A node is what is left to decide once the kinds of the first dimensions are known; it hangs on nothing but the rules
that still match. Rules that can change nothing any more are forgotten, so that equal futures become one node.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from gate.errors import GateError
from gate.policy.analysis.kinds import Kind
from gate.policy.analysis.space import ORDER, Space
from gate.policy.analysis.strictness import normal
from gate.policy.decide import merge
from gate.policy.index import members
from gate.policy.rules import ALLOW, DENY, REQUIRE, RuleSet
from gate.policy.verdict import Needs

# What a laptop builds in a minute.
MOST_NODES = 300_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one side answers: its verdict, and what a grant needs where one is required."""

    verdict: str
    needs: Needs | None = None


DENIED = Outcome("deny")
Label = Callable[[tuple[Outcome, ...]], Hashable]


@dataclass(frozen=True, slots=True)
class Node:
    """A branch on dimension `level` (`edges`: kinds as bits by their place in it, and what follows), or a leaf."""

    level: int
    edges: tuple[tuple[int, "Node"], ...] = ()
    label: Hashable = None
    labels: frozenset[Hashable] = frozenset()


@dataclass(frozen=True, slots=True)
class Box:
    """Requests that get one label: in each dimension of `kinds` one of these, in every other any."""

    label: Hashable
    kinds: Mapping[str, tuple[Kind, ...]]
    point: tuple[Kind, ...]


@dataclass(slots=True)
class Diagram:
    """The outcomes of `space` by `label`; requests outside of the rules `must` are in no leaf but None.

    `told_apart`: whether labels look at needs; where not, any two requires are as one.
    """

    space: Space
    label: Label
    must: int = 0
    told_apart: bool = True
    root: Node = field(init=False)
    _sides: list["_Side"] = field(init=False)
    _binding: list[int] = field(init=False)
    _later: list[int] = field(init=False)
    _memo: dict[tuple[int, int], Node] = field(default_factory=dict)
    _same: dict[tuple[int, tuple[tuple[int, int], ...]], Node] = field(default_factory=dict)
    _leaves: dict[Hashable, Node] = field(default_factory=dict)
    _parted: dict[tuple[int, int], tuple[tuple[int, int], ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        end = self.space.offsets[-1] + len(self.space.sides[-1].rules.rules)
        everything = (1 << end) - 1
        self._sides = []
        for side, offset in zip(self.space.sides, self.space.offsets, strict=True):
            made = _side(side.rules, offset, end, told_apart=self.told_apart)
            self._sides.append(made)
            end += 1 + len(made.classes)
        self._binding = [everything & ~_common(kinds, everything) for kinds in self.space.kinds]
        self._later = [0] * (len(ORDER) + 1)
        for level in reversed(range(len(ORDER))):
            self._later[level] = self._later[level + 1] | self._binding[level]
        empty = any(not kinds for kinds in self.space.kinds)
        self.root = Node(len(ORDER)) if empty else self._node(0, everything)

    def boxes(self, wanted: Callable[[Hashable], bool]) -> Iterator[Box]:
        """Disjoint boxes that together are all requests with a label that is `wanted`."""
        yield from self._boxes(self.root, {}, wanted)

    def first(self, wanted: Callable[[Hashable], bool]) -> Box | None:
        """One such box, None where there is none."""
        return next(self.boxes(wanted), None)

    def _boxes(self, node: Node, chosen: dict[int, int], wanted: Callable[[Hashable], bool]) -> Iterator[Box]:
        if not any(wanted(label) for label in node.labels):
            return
        if not node.edges:
            yield self._box(node.label, chosen)
        for kinds, below in node.edges:
            yield from self._boxes(below, {**chosen, node.level: kinds}, wanted)

    def _box(self, label: Hashable, chosen: Mapping[int, int]) -> Box:
        kinds = {
            ORDER[level]: tuple(self.space.kinds[level][number] for number in members(bits))
            for level, bits in chosen.items()
        }
        point = tuple(kinds.get(name, self.space.kinds[level])[0] for level, name in enumerate(ORDER))
        return Box(label, kinds, point)

    def _node(self, level: int, alive: int) -> Node:
        if alive & self.must != self.must:
            return self._leaf(None)
        alive = self._canonical(level, alive)
        while level < len(ORDER) and not alive & self._binding[level]:
            level += 1
        known = self._memo.get((level, alive))
        if known is None:
            known = self._memo[level, alive] = self._made(level, alive)
            if len(self._memo) > MOST_NODES:
                raise GateError(
                    "limit",
                    f"the rules tell more than {MOST_NODES} kinds of requests apart",
                    remedy="Ask about less, or write rules that hang on fewer conditions each.",
                )
        return known

    def _made(self, level: int, alive: int) -> Node:
        if level == len(ORDER):
            return self._leaf(self.label(tuple(side.outcome(alive) for side in self._sides)))
        edges: dict[int, tuple[int, Node]] = {}
        held = alive & ~self._binding[level]
        for matching, kinds in self._parts(level, alive & self._binding[level]):
            below = self._node(level + 1, held | matching)
            edges[id(below)] = (edges.get(id(below), (0, below))[0] | kinds, below)
        if len(edges) == 1:
            return next(iter(edges.values()))[1]
        return self._branch(level, tuple(sorted(edges.values(), key=lambda edge: edge[0] & -edge[0])))

    def _branch(self, level: int, edges: tuple[tuple[int, Node], ...]) -> Node:
        key = (level, tuple((kinds, id(below)) for kinds, below in edges))
        if key not in self._same:
            labels = frozenset[Hashable]().union(*(below.labels for _, below in edges))
            self._same[key] = Node(level, edges, None, labels)
        return self._same[key]

    def _leaf(self, label: Hashable) -> Node:
        if label not in self._leaves:
            self._leaves[label] = Node(len(ORDER), (), label, frozenset({label}))
        return self._leaves[label]

    def _parts(self, level: int, rules: int) -> tuple[tuple[int, int], ...]:
        """The kinds of a dimension, grouped by which of `rules` they meet."""
        key = (level, rules)
        if key not in self._parted:
            parts: dict[int, int] = {}
            for number, kind in enumerate(self.space.kinds[level]):
                meets = kind.bits & rules
                parts[meets] = parts.get(meets, 0) | 1 << number
            self._parted[key] = tuple(parts.items())
        return self._parted[key]

    def _canonical(self, level: int, alive: int) -> int:
        """The rules of `alive` that can still change something; the same for all sets with the same future."""
        later = self._later[level]
        kept = alive & self.must
        for side in self._sides:
            kept |= side.canonical(alive, later)
        return kept


def merged(boxes: Iterable[Box]) -> list[Box]:
    """The same requests in fewer boxes: those of one label that differ in one dimension only become one."""
    left = list(boxes)
    for name in ORDER:
        alike: dict[Hashable, Box] = {}
        for box in left:
            rest = frozenset((key, kinds) for key, kinds in box.kinds.items() if key != name)
            key = (box.label, rest, name in box.kinds)
            known = alike.get(key)
            alike[key] = box if known is None else _with(known, name, box)
        left = list(alike.values())
    return left


def _with(box: Box, name: str, other: Box) -> Box:
    return replace(box, kinds={**box.kinds, name: (*box.kinds[name], *other.kinds[name])})


def _common(kinds: tuple[Kind, ...], everything: int) -> int:
    """The rules that every kind meets: they do not hang on the dimension."""
    common = everything
    for kind in kinds:
        common &= kind.bits
    return common


@dataclass(frozen=True, slots=True)
class _Side:
    """One side's rules as bits of the space. Bits beyond all rules stand for what is certain.

    `allowed`: some allow matches. `classes`: the requires with the same needs, each with the bit that one matches.
    """

    allow: int
    deny: int
    require: int
    allowed: int
    classes: tuple[tuple[int, int, Needs], ...]

    def canonical(self, alive: int, later: int) -> int:
        """See Diagram; `later`: the rules that hang on a dimension which is still open. Denied for certain: 0."""
        if alive & self.deny & ~later or not alive & (self.allow | self.allowed):
            return 0
        certain = alive & (self.allow & ~later | self.allowed)
        kept = self.allowed if certain else alive & self.allow
        return kept | alive & self.deny | self._needed(alive, later)

    def _needed(self, alive: int, later: int) -> int:
        kept = 0
        if alive & self.require:
            for rules, certain, _ in self.classes:
                kept |= certain if alive & (rules & ~later | certain) else alive & rules
        return kept

    def outcome(self, alive: int) -> Outcome:
        """What a side answers once nothing is open any more."""
        if not alive & self.allowed:
            return DENIED
        needed = [needs for _, certain, needs in self.classes if certain & alive]
        return Outcome("grant_required", normal(merge(needed))) if needed else Outcome("allow")


def _side(rules: RuleSet, offset: int, end: int, *, told_apart: bool) -> _Side:
    classes: dict[Needs, int] = {}
    for number in members(rules.verbs[REQUIRE]):
        needs = (rules.rules[number].needs if told_apart else None) or Needs()
        classes[needs] = classes.get(needs, 0) | 1 << (number + offset)
    certain = [1 << (end + 1 + number) for number in range(len(classes))]
    return _Side(
        allow=rules.verbs[ALLOW] << offset,
        deny=rules.verbs[DENY] << offset,
        require=rules.verbs[REQUIRE] << offset | sum(certain),
        allowed=1 << end,
        classes=tuple((same, bit, needs) for (needs, same), bit in zip(classes.items(), certain, strict=True)),
    )
