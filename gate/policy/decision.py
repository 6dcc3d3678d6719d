"""The one object of every door, explain and dry run: Decision (docs/contract.md, Decision). Decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gate.errors import GateError
from gate.intent.intent import DIMENSIONS, Intent
from gate.policy.verdict import Cited, Needs
from gate.target.target import Target


@dataclass(frozen=True, slots=True)
class Remedy:
    """What would help: a sentence, and the exact command where there is one."""

    text: str
    argv: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks: `proof` is `claimed` or `peer` (a uid that the bundle maps to a person); `owner` may be None."""

    id: str
    proof: str
    owner: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about one invocation, and why. `time` is ISO text, `exit` the status of a refused door."""

    id: str
    time: str
    enforcement: str
    verdict: str
    code: str
    exit: int
    message: str
    principal: Principal
    door: str
    intent: Intent | None
    target: Target | None
    rules: tuple[Cited, ...]
    needs: Needs | None
    indeterminate: tuple[str, ...]
    remedy: Remedy | None
    bundle: str | None
    grant: str | None = None
    request: str | None = None

    def refused(self, error: GateError) -> "Decision":
        """The same decision, refused by `error`: what a later step found out."""
        remedy = Remedy(error.remedy, None if error.argv is None else tuple(error.argv))
        return replace(
            self,
            verdict="deny",
            code=error.code,
            exit=error.exit,
            message=error.message,
            rules=(),
            needs=None,
            remedy=remedy,
            grant=None,
            request=None,
        )

    def to_json(self) -> dict[str, Any]:
        """The decision object; every key is always present, what could not be resolved is null."""
        return {
            "gate": 1,
            "kind": "decision",
            "id": self.id,
            "time": self.time,
            "enforcement": self.enforcement,
            "verdict": self.verdict,
            "code": self.code,
            "exit": self.exit,
            "message": self.message,
            "principal": {"id": self.principal.id, "proof": self.principal.proof, "owner": self.principal.owner},
            "door": self.door,
            "intent": None if self.intent is None else _intent(self.intent),
            "target": None if self.target is None else _target(self.target),
            "rules": [rule.to_json() for rule in self.rules],
            "needs": None if self.needs is None else self.needs.to_json(),
            "indeterminate": list(self.indeterminate),
            "grant": self.grant,
            "request": self.request,
            "remedy": None if self.remedy is None else _remedy(self.remedy),
            "bundle": self.bundle,
        }


def _intent(intent: Intent) -> Mapping[str, Any]:
    known = {name: intent.resources[name] for name in DIMENSIONS if name in intent.resources}
    return {
        "command": intent.command,
        "effects": list(intent.effects),
        "resources": {name: None if items is None else list(items) for name, items in known.items()},
    }


def _target(target: Target) -> Mapping[str, Any]:
    return {
        "deployment": target.deployment,
        "class": target.cls,
        "name": target.name,
        "url": target.url,
        "chosen_by": target.chosen_by,
    }


def _remedy(remedy: Remedy) -> Mapping[str, Any]:
    return {"text": remedy.text, "argv": None if remedy.argv is None else list(remedy.argv)}
