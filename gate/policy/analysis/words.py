"""The words that globs tell apart: the product of their automata, walked shortest words first. Knows no rule.

A glob is a row of places, one before each of its characters and one behind the last; a place after a `*` is kept
whatever comes. A state of the product is the set of places that a word has reached, an integer: bit N for place N.
"""

import string
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from gate.errors import GateError
from gate.policy.index import members

# What a laptop walks in a few seconds.
MOST_STATES = 60_000

_READABLE = string.ascii_lowercase + string.digits + string.ascii_uppercase


@dataclass(frozen=True, slots=True)
class Language:
    """Which words there are: one of `heads`, then 1 to `most` characters out of `alphabet`, the first out of `first`.

    None: any character, any length.
    """

    heads: tuple[str, ...] = ("",)
    first: str | None = None
    alphabet: str | None = None
    most: int | None = None


# Names of functions, tables, variables and components come from a caller: any text.
NAMES = Language()


def kinds_of_words(globs: Mapping[str, int], language: Language, most: int = MOST_STATES) -> dict[int, str]:
    """Each union of bits that a word of `language` can get from the `globs` it matches, with a shortest such word.

    Raises GateError `limit` when more than `most` states have to be walked.
    """
    product = _Product(globs)
    found: dict[int, str] = {}
    seen: set[tuple[int, int]] = set()
    queue = deque((product.after(head), head, 0) for head in language.heads)
    while queue:
        state, word, length = queue.popleft()
        if length == language.most:
            continue
        for char in _chars(product.awaited(state), language.alphabet if length else language.first):
            reached = product.step(state, char)
            if reached in seen:
                continue
            seen.add(reached)
            found.setdefault(product.matched(reached), word + char)
            queue.append((reached, word + char, length + 1))
        if len(seen) > most:
            raise GateError(
                "limit",
                f"the globs tell more than {most} kinds of words apart",
                remedy="Write fewer rules with a `*` in the middle or at the start of a glob.",
            )
    return found


def _chars(awaited: Iterable[str], alphabet: str | None) -> Iterator[str]:
    """One character that no glob waits for, where there is one, then each that some glob waits for."""
    wanted = set(awaited)
    fresh = next((char for char in _readable(alphabet) if char not in wanted), None)
    if fresh is not None:
        yield fresh
    yield from sorted(wanted if alphabet is None else wanted.intersection(alphabet))


def _readable(alphabet: str | None) -> Iterator[str]:
    if alphabet is not None:
        yield from alphabet
        return
    yield from _READABLE
    yield from map(chr, range(0x100, 0xD800))


@dataclass(slots=True)
class _Product:
    """All globs at once. A state: bits that are certain whatever comes, and the places that can still add to them."""

    globs: Mapping[str, int]
    start: int = 0
    stars: int = 0
    awaits: dict[int, str] = field(default_factory=dict)
    on: dict[str, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    ending: int = 0
    places: list[tuple[int, int]] = field(default_factory=list)
    _useless: dict[int, int] = field(default_factory=dict)
    _awaited: dict[int, frozenset[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at = 0
        for glob, bits in self.globs.items():
            begun = at
            self.start |= 1 << at
            for char in glob:
                if char == "*":
                    self.stars |= 1 << at
                    continue
                self.awaits[at] = char
                self.on[char] = self.on.get(char, 0) | 1 << at
                at += 1
            self.ends[at] = bits
            self.ending |= 1 << at
            at += 1
            self.places.append((bits, (1 << at) - (1 << begun)))

    def after(self, head: str) -> tuple[int, int]:
        """The state that `head` leads to."""
        state = self._settled(0, self.start)
        for char in head:
            state = self.step(state, char)
        return state

    def step(self, state: tuple[int, int], char: str) -> tuple[int, int]:
        """The state after one more character."""
        certain, active = state
        return self._settled(certain, (active & self.on.get(char, 0)) << 1 | active & self.stars)

    def awaited(self, state: tuple[int, int]) -> frozenset[str]:
        """The characters that make a difference in `state`."""
        active = state[1] & ~self.ending
        if active not in self._awaited:
            self._awaited[active] = frozenset(self.awaits[place] for place in members(active))
        return self._awaited[active]

    def matched(self, state: tuple[int, int]) -> int:
        """The bits of a word that ends in `state`."""
        certain, active = state
        for place in members(active & self.ending):
            certain |= self.ends[place]
        return certain

    def _settled(self, certain: int, active: int) -> tuple[int, int]:
        """Take over what no later character can undo, and forget the globs that could add nothing to it."""
        for place in members(active & self.stars & self.ending):
            certain |= self.ends[place]
        return certain, active & ~self._no_use(certain)

    def _no_use(self, certain: int) -> int:
        if certain not in self._useless:
            self._useless[certain] = sum(places for bits, places in self.places if not bits & ~certain)
        return self._useless[certain]
