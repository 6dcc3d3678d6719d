"""What two bundles answer differently, by meaning: grouped boxes of requests, each with a request that shows it. Pure.

About requests with one name of each resource, as every command has: a request with several is decided by all of them.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from gate.policy.analysis.diagram import Box, Diagram, Outcome, merged
from gate.policy.analysis.region import Region, region
from gate.policy.analysis.sides import Side
from gate.policy.analysis.space import Space, space_of
from gate.policy.analysis.strictness import milder, strictness
from gate.policy.analysis.witness import Witness, ask, comes_out, request

_ID_LENGTH = 8
# Boxes that a change lists; the others are counted.
MOST_BOXES = 50
_MOST_COUNTED = 5000


@dataclass(frozen=True, slots=True)
class _Turn:
    """One way in which answers change. `less`: the needs that become milder."""

    before: Outcome
    after: Outcome
    less: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """All requests whose answer turns from `before` to `after`.

    `wider`: something is let through that was not, or with less. `regions`: the requests in words, `more` boxes of
    them are not listed; `requests`: one word of each kind in every box. The witnesses are one request, asked of both;
    None where that side does not register the deployment.
    """

    before: Outcome
    after: Outcome
    less: tuple[str, ...]
    regions: tuple[Region, ...]
    more: int
    requests: tuple[Region, ...]
    old: Witness | None
    new: Witness | None

    @property
    def wider(self) -> bool:
        """Whether it is to be acknowledged."""
        return strictness(self.after.verdict) < strictness(self.before.verdict) or bool(self.less)

    @property
    def id(self) -> str:
        """Names this very change: another set of requests or other answers have another id."""
        told = json.dumps([_said(self.before), _said(self.after), self.requests], sort_keys=True)
        return f"chg-{hashlib.sha256(told.encode()).hexdigest()[:_ID_LENGTH]}"

    def to_json(self) -> dict[str, Any]:
        """Every key is always there."""
        shown = self.new or self.old
        return {
            "id": self.id,
            "from": _said(self.before),
            "to": _said(self.after),
            "wider": self.wider,
            "less": list(self.less),
            "requests": [{name: list(words) for name, words in one.items()} for one in self.regions],
            "more": self.more,
            "witness": None if shown is None else request(shown.question),
            "rules": [_rules(self.old), _rules(self.new)],
        }


def diff(old: Side, new: Side) -> list[Change]:
    """Every change from `old` to `new`, those that widen first. Empty: they answer every request alike.

    Raises GateError `limit` where the rules tell too many kinds of requests apart.
    """
    found: dict[_Turn, list[tuple[Space, Box]]] = {}
    for part in space_of([old, new]).parts():
        diagram = Diagram(part, _turn)
        for turn in diagram.root.labels:
            if isinstance(turn, _Turn):
                found.setdefault(turn, []).extend((part, box) for box in merged(_boxes(diagram, turn)))
    changes = [_change(old, new, turn, boxes) for turn, boxes in found.items()]
    return sorted(changes, key=lambda change: (not change.wider, _rank(change), change.id))


def _boxes(diagram: Diagram, turn: _Turn) -> Iterator[Box]:
    return islice(diagram.boxes(lambda label: label == turn), _MOST_COUNTED)


def _turn(outcomes: tuple[Outcome, ...]) -> _Turn | None:
    before, after = outcomes
    if before == after:
        return None
    needs = before.needs is not None and after.needs is not None
    return _Turn(before, after, milder(before.needs, after.needs) if needs else ())  # type: ignore[arg-type]


def _change(old: Side, new: Side, turn: _Turn, boxes: list[tuple[Space, Box]]) -> Change:
    space, plainest = boxes[0]
    return Change(
        before=turn.before,
        after=turn.after,
        less=turn.less,
        regions=tuple(region(part, box) for part, box in boxes[:MOST_BOXES]),
        more=len(boxes[MOST_BOXES:]),
        requests=tuple(_kinds(box) for _, box in boxes),
        old=_asked(old, space, plainest, 0, turn.before),
        new=_asked(new, space, plainest, 1, turn.after),
    )


def _kinds(box: Box) -> Region:
    return {name: tuple(sorted(kind.word for kind in kinds)) for name, kinds in box.kinds.items()}


def _asked(side: Side, space: Space, box: Box, number: int, outcome: Outcome) -> Witness | None:
    question = space.question(box.point, number)
    if question is None and outcome.verdict == "deny":
        return None
    return ask(side, question, comes_out(outcome.verdict, outcome.needs))


def _rank(change: Change) -> tuple[int, int]:
    return strictness(change.after.verdict), strictness(change.before.verdict)


def _said(outcome: Outcome) -> dict[str, Any]:
    return {"verdict": outcome.verdict, "needs": None if outcome.needs is None else outcome.needs.to_json()}


def _rules(witness: Witness | None) -> list[dict[str, Any]]:
    return [] if witness is None else [rule.to_json() for rule in witness.verdict.rules]
