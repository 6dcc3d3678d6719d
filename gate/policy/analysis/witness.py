"""A request that an analysis found, asked of the decision itself and told. Finds nothing."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gate.errors import GateError
from gate.intent.intent import DIMENSIONS
from gate.policy.analysis.sides import Side
from gate.policy.analysis.strictness import normal
from gate.policy.decide import decide
from gate.policy.verdict import Needs, Question, Verdict


@dataclass(frozen=True, slots=True)
class Witness:
    """One request and what the policies answer."""

    question: Question
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """The request and the answer; every key is always there."""
        verdict = self.verdict
        return {
            "request": request(self.question),
            "verdict": verdict.verdict,
            "code": verdict.code,
            "rules": [rule.to_json() for rule in verdict.rules],
            "needs": None if verdict.needs is None else verdict.needs.to_json(),
            "indeterminate": list(verdict.indeterminate),
        }


def ask(side: Side, question: Question | None, claimed: Callable[[Verdict], bool]) -> Witness:
    """Ask the policies of `side`. Raises GateError `internal` where it is not as `claimed`: a defect."""
    verdict = None if question is None else decide(side.rules, question)
    if question is None or verdict is None or not claimed(verdict):
        raise GateError(
            "internal",
            "the analysis and the decision disagree about a request",
            remedy="Report this with the policies; trust no result of the analysis until then.",
        )
    return Witness(question, verdict)


def comes_out(verdict: str, needs: Needs | None) -> Callable[[Verdict], bool]:
    """The claim that a verdict with just these needs (in normal order) comes out."""
    return lambda found: (found.verdict, normal(found.needs)) == (verdict, needs)


def fewest_names(question: Question, still: Callable[[Question], bool]) -> Question:
    """`question` without the names that it does not hang on: of which `still` holds without them."""
    for dimension, names in question.resources.items():
        for name in names if names is not None and len(names) > 1 else ():
            fewer = tuple(one for one in question.resources[dimension] or () if one != name)
            smaller = replace(question, resources={**question.resources, dimension: fewer})
            question = smaller if fewer and still(smaller) else question
    return question


def request(question: Question) -> Mapping[str, Any]:
    """The members of a request that a policy looks at."""
    known = {name: question.resources[name] for name in DIMENSIONS if name in question.resources}
    return {
        "principal": question.principal,
        "groups": sorted(question.groups),
        "effect": question.effects[0],
        "deployment": question.deployment,
        "class": question.cls,
        "door": question.door,
        "resources": {name: None if names is None else list(names) for name, names in known.items()},
    }
