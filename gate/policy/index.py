"""One condition of all rules at once: which rules name a value. Knows no verb and no question.

A set of rules is an integer, bit N for the Nth rule by file order: intersections of thousands of rules are one `&`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gate.policy.globs import matches


@dataclass(frozen=True, slots=True)
class Column:
    """The condition of one key: `free` are the rules without it, the others are found by value.

    `exact`: by the item. `prefixes`: by the text before the `*` of an item that ends in its only one. `globs`: every
    other item with its rules, by the text before its first `*`. `heads`: the lengths of those texts.
    """

    free: int
    exact: Mapping[str, int]
    prefixes: Mapping[str, int]
    globs: Mapping[str, tuple[tuple[str, int], ...]]
    heads: tuple[int, ...]

    def naming(self, value: str) -> int:
        """Collect the rules whose condition names `value`."""
        bits = self.exact.get(value, 0)
        for length in self.heads:
            head = value[:length]
            bits |= self.prefixes.get(head, 0)
            for pattern, rules in self.globs.get(head, ()):
                if matches(pattern, value):
                    bits |= rules
        return bits


def column(conditions: Sequence[tuple[str, ...]]) -> Column:
    """Index the items that each rule, by file order, has under one key; no items: the rule is free of it."""
    free = 0
    items: dict[str, int] = {}
    for number, named in enumerate(conditions):
        free |= 0 if named else 1 << number
        for item in named:
            items[item] = items.get(item, 0) | 1 << number
    prefixes: dict[str, int] = {}
    globs: dict[str, tuple[tuple[str, int], ...]] = {}
    for item, rules in items.items():
        head, star, rest = item.partition("*")
        if rest:
            globs[head] = (*globs.get(head, ()), (item, rules))
        elif star:
            prefixes[head] = rules
    lengths = tuple(sorted({len(head) for head in (*prefixes, *globs)}))
    return Column(free, {item: rules for item, rules in items.items() if "*" not in item}, prefixes, globs, lengths)


def members(bits: int) -> list[int]:
    """List the numbers of the rules in `bits`, in file order."""
    numbers: list[int] = []
    while bits:
        lowest = bits & -bits
        numbers.append(lowest.bit_length() - 1)
        bits ^= lowest
    return numbers
