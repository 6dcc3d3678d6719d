"""Who can have an effect on a deployment, and what one caller can: every box of requests that is not refused. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from gate.intent.effects import EFFECTS
from gate.policy.analysis.diagram import DENIED, Box, Diagram, Outcome, merged
from gate.policy.analysis.kinds import Kind, Place
from gate.policy.analysis.region import Region, region
from gate.policy.analysis.sides import Side
from gate.policy.analysis.space import EFFECT, ORDER, PLACE, PRINCIPAL, Space, space_of
from gate.policy.analysis.witness import Witness, ask, comes_out


@dataclass(frozen=True, slots=True)
class Access:
    """A box of requests that one answer lets through, at once or under a grant.

    `effects`, `principals`: what the box is about. `conditions`: of doors and resources, where it hangs on them.
    """

    effects: tuple[str, ...]
    principals: tuple[str, ...]
    conditions: Region
    outcome: Outcome
    witness: Witness

    def to_json(self) -> dict[str, Any]:
        """Every key is always there; a dimension that `conditions` does not name is free."""
        needs = self.outcome.needs
        return {
            "effects": list(self.effects),
            "principals": list(self.principals),
            "conditions": {name: list(words) for name, words in self.conditions.items()},
            "verdict": self.outcome.verdict,
            "needs": None if needs is None else needs.to_json(),
            "witness": self.witness.to_json(),
        }


def mute(side: Side) -> tuple[str, ...]:
    """The listed persons who cannot call: no system user is mapped to them (docs/contract.md, Caller)."""
    entries = {} if side.document is None else side.document.principals
    return tuple(name for name, entry in entries.items() if name.startswith("human:") and not entry.uids)


def who_can(side: Side, effect: str, deployment: str) -> Iterator[Access]:
    """Who can have `effect` on `deployment` (an id of the registry or a built-in one), and under which conditions.

    Raises GateError `limit` where the rules tell too many kinds of requests apart.
    """
    silent = {*mute(side)}
    space = space_of([side]).only(
        {
            EFFECT: lambda kind: kind.value == effect,
            PLACE: lambda kind: _is(kind, deployment),
            PRINCIPAL: lambda kind: kind.value not in silent and (kind.listed or not _person(kind)),
        }
    )
    yield from _accesses(side, space)


def can(side: Side, caller: str) -> Iterator[tuple[str | None, list[Access]]]:
    """What `caller` can have, for every deployment that is listed or built in, and for none (None) at the end.

    What is in no Access is refused. Raises as `who_can`.
    """
    space = space_of([side], [caller]).only({PRINCIPAL: lambda kind: kind.value == caller})
    for deployment in side.deployments:
        yield deployment, [*_accesses(side, space.only({PLACE: lambda kind, it=deployment: _is(kind, it)}))]  # type: ignore[misc]
    aimless = space.parts()[-1].only({PLACE: lambda kind: _is(kind, None)})
    yield None, [*_accesses(side, aimless)]


def never(accesses: Iterable[Access]) -> tuple[str, ...]:
    """The effects that none of `accesses` is about."""
    return tuple(sorted(EFFECTS - {effect for access in accesses for effect in access.effects}))


def _is(kind: Kind, deployment: str | None) -> bool:
    return isinstance(kind.value, Place) and kind.value.deployment == deployment and kind.value.listed


def _person(kind: Kind) -> bool:
    return str(kind.value).startswith("human:")


def _accesses(side: Side, space: Space) -> Iterator[Access]:
    diagram = Diagram(space, lambda outcomes: outcomes[0])
    for box in merged(diagram.boxes(lambda label: label != DENIED)):
        if isinstance(box.label, Outcome):
            yield _access(side, space, box, box.label)


def _access(side: Side, space: Space, box: Box, outcome: Outcome) -> Access:
    witness = ask(side, space.question(box.point), comes_out(outcome.verdict, outcome.needs))
    about = {EFFECT, PRINCIPAL}
    return Access(
        effects=tuple(kind.word for kind in _kinds(space, box, EFFECT)),
        principals=tuple(dict.fromkeys(kind.words for kind in _kinds(space, box, PRINCIPAL))),
        conditions={name: words for name, words in region(space, box).items() if name not in about},
        outcome=outcome,
        witness=witness,
    )


def _kinds(space: Space, box: Box, dimension: str) -> tuple[Kind, ...]:
    return box.kinds.get(dimension, space.kinds[ORDER.index(dimension)])
