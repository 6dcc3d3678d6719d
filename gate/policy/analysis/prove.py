"""Whether the invariants of a policy hold for all requests: proven, or a request for which one does not. Pure.

One name of each dimension at a time decides whether something comes out that is too mild: a request with more names is
never milder than with each of them alone. What is too strict is looked for with all names at once, which is strictest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any

from gate.intent.intent import DIMENSIONS
from gate.policy.analysis.diagram import Box, Diagram, Outcome
from gate.policy.analysis.kinds import Kind
from gate.policy.analysis.sides import Side
from gate.policy.analysis.space import ORDER, Space, space_of
from gate.policy.analysis.strictness import short_of
from gate.policy.analysis.witness import Witness, ask, fewest_names
from gate.policy.decide import decide
from gate.policy.rules import DENY, NEVER, REQUIRE, VERDICTS, Invariant, Rule, RuleSet, rule_set
from gate.policy.verdict import Needs, Verdict

_HOLDS, _BROKEN = (False, True)
# A verb that no decision looks at: conditions of invariants are indexed beside the rules.
_CONDITION = "condition"
# Counterexamples to choose the plainest from.
_MOST_LOOKED_AT = 200


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of one invariant: proven where there is no counterexample. `vacuous`: it speaks of no request at all.

    `lacking`: the keys of its needs that the counterexample is short of.
    """

    invariant: Invariant
    vacuous: bool
    counterexample: Witness | None
    lacking: tuple[str, ...] = ()

    @property
    def proven(self) -> bool:
        """Whether it holds for every request."""
        return self.counterexample is None

    def to_json(self) -> dict[str, Any]:
        """Every key is always there."""
        cited, found = self.invariant.cited, self.counterexample
        return {
            "id": cited.id,
            "at": cited.at,
            "because": cited.because,
            "proven": self.proven,
            "vacuous": self.vacuous,
            "lacking": list(self.lacking),
            "counterexample": None if found is None else found.to_json(),
        }


def prove(side: Side) -> Iterator[Proof]:
    """Prove every invariant of `side`, in the order of the files, or find a request for which it does not hold.

    Raises GateError `limit` where the rules tell too many kinds of requests apart.
    """
    invariants = side.rules.invariants
    if not invariants:
        return
    space = space_of([replace(side, rules=_with_conditions(side.rules, invariants))])
    first = len(side.rules.rules)
    for number, invariant in enumerate(invariants):
        yield _proof(side, space, invariant, 1 << (first + number))


def _with_conditions(rules: RuleSet, invariants: Sequence[Invariant]) -> RuleSet:
    conditions = [Rule(_CONDITION, invariant.conditions, None, invariant.cited) for invariant in invariants]
    return rule_set([*rules.rules, *conditions])


def _proof(side: Side, space: Space, invariant: Invariant, condition: int) -> Proof:
    bad = _bad(invariant)
    if "deny" in bad:
        space = _with_all_names(space, condition)
    told_apart = invariant.floor is not None
    diagrams = [
        Diagram(part, lambda out: _breaks(invariant, out[0]), condition, told_apart=told_apart)
        for part in space.parts()
    ]
    vacuous = not any(label is not None for diagram in diagrams for label in diagram.root.labels)
    found = chain.from_iterable(diagram.boxes(lambda label: label is _BROKEN) for diagram in diagrams)
    broken = min(islice(found, _MOST_LOOKED_AT), key=_plainness, default=None)
    if broken is None:
        return Proof(invariant, vacuous, None)
    return _counterexample(side, space, invariant, broken)


def _bad(invariant: Invariant) -> frozenset[str]:
    """The verdicts that break an invariant."""
    if invariant.verb == NEVER:
        return frozenset(invariant.verdicts)
    return frozenset(VERDICTS) - frozenset(invariant.verdicts or VERDICTS)


def _breaks(invariant: Invariant, outcome: Outcome) -> bool:
    return outcome.verdict in _bad(invariant) or bool(_lacking(invariant, outcome.needs))


def _lacking(invariant: Invariant, needs: Needs | None) -> tuple[str, ...]:
    return () if invariant.floor is None or needs is None else short_of(needs, invariant.floor)


def _plainness(box: Box) -> tuple[int, int]:
    """Requests that can be made today come first, and of these the ones with one name where any are."""
    unlisted = sum(not kind.listed for name, kind in zip(ORDER, box.point, strict=True) if name not in DIMENSIONS)
    return sum(isinstance(kind.value, tuple) and len(kind.value) > 1 for kind in box.point), unlisted


def _counterexample(side: Side, space: Space, invariant: Invariant, box: Box) -> Proof:
    def breaks(verdict: Verdict) -> bool:
        return _breaks(invariant, Outcome(verdict.verdict, verdict.needs))

    found = ask(side, space.question(box.point), breaks).question
    fewest = fewest_names(found, lambda question: breaks(decide(side.rules, question)))
    witness = ask(side, fewest, breaks)
    return Proof(invariant, vacuous=False, counterexample=witness, lacking=_lacking(invariant, witness.verdict.needs))


def _with_all_names(space: Space, condition: int) -> Space:
    """`space` with one more kind in each resource dimension: every kind of name that the condition takes, at once."""
    levels = dict(zip(ORDER, space.kinds, strict=True))
    for dimension in DIMENSIONS:
        named = [kind for kind in levels[dimension] if isinstance(kind.value, str) and kind.bits & condition]
        if len(named) > 1:
            levels[dimension] = (*levels[dimension], _together(space, named))
    return replace(space, kinds=tuple(levels.values()))


def _together(space: Space, named: Sequence[Kind]) -> Kind:
    """Several names at once: an `allow` has to name them all, a `deny` or `require` one."""
    rules = space.sides[0].rules
    every, some = named[0].bits, 0
    for kind in named:
        every &= kind.bits
        some |= kind.bits
    either = rules.verbs[DENY] | rules.verbs[REQUIRE]
    return Kind(every & ~either | some & either, tuple(str(kind.value) for kind in named), "several")
