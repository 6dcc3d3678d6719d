"""Kinds of values: what one is, and how it reads. Finds none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gate.policy.globs import matches
from gate.policy.index import members


@dataclass(frozen=True, slots=True)
class Place:
    """A deployment as a request names it. `classes`: of each side, None where that side does not register it."""

    deployment: str | None
    classes: tuple[str | None, ...]
    listed: bool


@dataclass(frozen=True, slots=True)
class Wording:
    """How kinds of words of one dimension read. `items`: rule (its number in the space) -> its items there.

    `before` comes first; `others` is said of words that no item matches.
    """

    items: Mapping[int, tuple[str, ...]]
    rules: int
    before: str
    others: str

    def of(self, bits: int) -> str:
        """Say what words meet just the rules in `bits`, as far as these have items: one item of each at least."""
        lists = dict.fromkeys(tuple(sorted(self.items[number])) for number in members(bits & self.rules))
        narrow = [one for one in lists if not any(other != one and _within(other, one) for other in lists)]
        return f"{self.before} {' and '.join(' or '.join(items) for items in narrow) or self.others}".strip()


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of value: the rules that it meets, one such value, and whether that is the only one.

    The value is a word, a Place, a tuple of names, or None for names that nobody knows. `word` is the value as text,
    `opposite` how every other kind reads. `wording`: of a kind that stands for many words.
    """

    bits: int
    value: str | tuple[str, ...] | Place | None
    word: str
    other: str = ""
    wording: Wording | None = field(default=None, compare=False, repr=False)

    @property
    def listed(self) -> bool:
        """Whether it is this very value and no other."""
        return self.wording is None

    @property
    def words(self) -> str:
        """How the kind reads."""
        return self.word if self.wording is None else self.wording.of(self.bits)

    @property
    def opposite(self) -> str:
        """How every other kind reads."""
        return self.other or f"not {self.words}"


def _within(items: Sequence[str], wider: Sequence[str]) -> bool:
    """Whether every word that one of `items` matches is matched by one of `wider`, as far as the globs tell."""
    return all(any(matches(glob, item) for glob in wider) for item in items)
