"""The nouns that go into and come out of a policy decision: Question, Needs, Verdict. Decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the policy: whether `principal` may have `effects` on `resources` of `deployment`.

    `groups`: of the principal. `implied`: effects that the stated ones bring with them (require rules only).
    `resources`: dimension -> names, None for unknown, absent where the dimension does not apply.
    `cls` and `deployment` are None for commands without a target. `indeterminate`: what the caller already
    could not tell (`kind`).
    """

    principal: str
    groups: frozenset[str]
    effects: tuple[str, ...]
    implied: tuple[str, ...]
    resources: Mapping[str, tuple[str, ...] | None]
    deployment: str | None
    cls: str | None
    door: str
    indeterminate: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Approvals:
    """One block of approvals that has to be met: `count` signatures of distinct persons out of `from_`."""

    count: int
    from_: tuple[str, ...]
    not_: tuple[str, ...]
    touch: bool

    def to_json(self) -> dict[str, Any]:
        """Shape of the decision object (docs/contract.md, Decision)."""
        return {"count": self.count, "from": list(self.from_), "not": list(self.not_), "touch": self.touch}


@dataclass(frozen=True, slots=True)
class Needs:
    """Merged needs of all matching require rules: least ttl and uses, greatest reason, all tickets and approvals."""

    grant: bool = False
    ticket: tuple[str, ...] = ()
    reason_min: int = 0
    ack_risk: bool = False
    ttl_max_seconds: int | None = None
    max_uses: int | None = None
    approvals: tuple[Approvals, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Shape of the decision object (docs/contract.md, Decision)."""
        return {
            "grant": self.grant,
            "ticket": list(self.ticket),
            "reason_min": self.reason_min,
            "ack_risk": self.ack_risk,
            "ttl_max_seconds": self.ttl_max_seconds,
            "max_uses": self.max_uses,
            "approvals": [block.to_json() for block in self.approvals],
        }


@dataclass(frozen=True, slots=True)
class Cited:
    """A rule as a decision names it: `at` is `FILE:LINE:COL` of the rule."""

    id: str
    verb: str
    at: str
    because: str
    fix: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Shape of the decision object (docs/contract.md, Decision): without `fix`, which is part of the remedy."""
        return {"id": self.id, "verb": self.verb, "at": self.at, "because": self.because}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The policy's answer.

    `verdict`: allow | deny | grant_required. `code`: ok | denied_by_rule | no_rule | grant_required.
    `rule`: id of the first deciding rule by file order, None for `no_rule` and for an empty question.
    `effect`: the effect that decided (the strictest), None for an empty question.
    `rules`: every rule that matched and bears on the verdict, the deciding one first.
    """

    verdict: str
    code: str
    rule: str | None
    effect: str | None
    rules: tuple[Cited, ...]
    needs: Needs | None
    indeterminate: tuple[str, ...] = field(default=())
