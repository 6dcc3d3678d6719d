"""Policies of a bundle as rules: parsed, checked against the bundle, held to their own examples. Decides nothing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gate.config.bundle import Bundle
from gate.config.document import Document
from gate.config.draft import shipped
from gate.config.findings import validate
from gate.config.values import BUILT_IN, hint
from gate.config.yaml import Loaded, Steps, load, place
from gate.errors import ConfigInvalid
from gate.intent.effects import implied
from gate.intent.intent import DIMENSIONS
from gate.policy.decide import decide
from gate.policy.globs import matches
from gate.policy.rules import CONDITIONS, GROUP, RULE_CLASSES, Floor, Invariant, Rule, RuleSet, rule_set
from gate.policy.schema import (
    ApprovalsText,
    Conditions,
    Example,
    FloorText,
    InvariantText,
    NeedsText,
    Policy,
    RuleText,
)
from gate.policy.verdict import Approvals, Cited, Needs, Question, Verdict

_Text = TypeVar("_Text", RuleText, InvariantText)


@dataclass(frozen=True, slots=True)
class _Placed(Generic[_Text]):
    """One rule or invariant as written, and where: `steps` lead to it in its file."""

    text: _Text
    loaded: Loaded
    steps: Steps

    @property
    def conditions(self) -> Conditions:
        conditions: Conditions = getattr(self.text, self.text.verb)
        return conditions

    @property
    def at(self) -> str:
        """Where it is cited: the place of its verb."""
        return place(self.loaded.file, *self.loaded.at((*self.steps, self.text.verb), key=True))

    def finding(self, steps: Steps, text: str) -> str:
        return self.loaded.finding((*self.steps, *steps), f"{self.text.id}: {text}")


def load_rules(bundle: Bundle) -> RuleSet:
    """Read the policies of `bundle`, in its order, all of them or nothing.

    Raises ConfigInvalid for what is not in the language, for ids that stand twice, for deployments, groups and
    approvers that the bundle does not have, and for examples that do not come out.
    """
    files = {path: bundle.files[path] for path in bundle.document.policies}
    return _load(files, bundle.document)


def shipped_rules() -> RuleSet:
    """Read the policies that hold before any activation, when nothing is registered."""
    return _load({path: text.encode() for path, text in shipped().items()}, None)


def _load(files: Mapping[str, bytes], document: Document | None) -> RuleSet:
    placed, invariants = _parse(files)
    _refuse([*_twice(placed), *_twice(invariants), *_strange(placed, invariants, document)])
    rules = rule_set([_rule(one) for one in placed], [_invariant(one) for one in invariants])
    _refuse([*_failing(placed, rules, document)])
    return rules


def _refuse(findings: Sequence[str]) -> None:
    if findings:
        raise ConfigInvalid(findings)


def _parse(files: Mapping[str, bytes]) -> tuple[list[_Placed[RuleText]], list[_Placed[InvariantText]]]:
    placed: list[_Placed[RuleText]] = []
    invariants: list[_Placed[InvariantText]] = []
    findings: list[str] = []
    for path, data in files.items():
        try:
            loaded = load(data, path)
            policy = validate(Policy, loaded)
        except ConfigInvalid as error:
            findings += error.findings
        else:
            placed += [_Placed(rule, loaded, ("rules", number)) for number, rule in enumerate(policy.rules)]
            wanted = enumerate(policy.invariants)
            invariants += [_Placed(text, loaded, ("invariants", number)) for number, text in wanted]
    _refuse(findings)
    return placed, invariants


def _items(conditions: Conditions) -> dict[str, tuple[str, ...]]:
    return {key: items for key in CONDITIONS if (items := getattr(conditions, key))}


def _rule(one: _Placed[RuleText]) -> Rule:
    text, conditions = one.text, _items(one.conditions)
    needs = None if text.needs is None else _needs(text.needs)
    return Rule(text.verb, conditions, needs, Cited(text.id, text.verb, one.at, text.because, text.fix))


def _invariant(one: _Placed[InvariantText]) -> Invariant:
    text, conditions = one.text, _items(one.conditions)
    said = text.always or text.never
    verdicts = () if said is None else said.verdicts
    floor = None if text.always is None or text.always.needs is None else _floor(text.always.needs)
    return Invariant(text.verb, conditions, verdicts, floor, Cited(text.id, text.verb, one.at, text.because))


def _floor(text: FloorText) -> Floor:
    return Floor(
        grant=text.grant,
        ticket=text.ticket,
        reason_min=text.reason_min,
        ack_risk=text.ack_risk,
        ttl_max_seconds=text.ttl_max,
        max_uses=text.max_uses,
        approvals=text.approvals,
    )


def _needs(text: NeedsText) -> Needs:
    return Needs(
        grant=text.grant,
        ticket=(text.ticket,) if text.ticket else (),
        reason_min=text.reason_min,
        ack_risk=text.ack_risk,
        ttl_max_seconds=text.ttl_max,
        max_uses=text.max_uses,
        approvals=() if text.approvals is None else (_approvals(text.approvals),),
    )


def _approvals(text: ApprovalsText) -> Approvals:
    return Approvals(text.count, text.from_, text.not_, text.touch)


def _twice(placed: Sequence[_Placed[_Text]]) -> Iterator[str]:
    first: dict[str, str] = {}
    for one in placed:
        if one.text.id in first:
            yield one.finding(("id",), f"this id stands twice, first at {first[one.text.id]}")
        first.setdefault(one.text.id, one.at)


def _strange(
    placed: Sequence[_Placed[RuleText]], invariants: Sequence[_Placed[InvariantText]], document: Document | None
) -> Iterator[str]:
    """Find names that the bundle does not have: a rule about them would load and never speak."""
    if document is None:
        return
    for one in placed:
        yield from _strange_conditions(one, document)
        approvals = None if one.text.needs is None else one.text.needs.approvals
        if approvals is not None:
            yield from _strange_groups(one, ("needs", "approvals", "from"), approvals.from_, document)
            yield from _impossible(one, approvals, document)
    for invariant in invariants:
        yield from _strange_conditions(invariant, document)


def _strange_conditions(one: _Placed[_Text], document: Document) -> Iterator[str]:
    yield from _strange_deployments(one, document)
    yield from _strange_groups(one, (one.text.verb, "principals"), one.conditions.principals, document)


def _strange_deployments(one: _Placed[_Text], document: Document) -> Iterator[str]:
    known = (*document.deployments, *BUILT_IN)
    for index, item in enumerate(one.conditions.deployments):
        if not any(matches(item, name) for name in known) and "*" not in item:
            steps = (one.text.verb, "deployments", index)
            yield one.finding(steps, f"no such deployment in the registry{hint(item, known)}")


def _strange_groups(one: _Placed[_Text], steps: Steps, items: Sequence[str], document: Document) -> Iterator[str]:
    known = {GROUP + group for entry in document.principals.values() for group in entry.groups}
    for index, item in enumerate(items):
        if item.startswith(GROUP) and item not in known:
            yield one.finding((*steps, index), f"nobody is in this group{hint(item, known)}")


def _impossible(one: _Placed[RuleText], approvals: ApprovalsText, document: Document) -> Iterator[str]:
    """Find a block that no set of persons can meet: it would read as strict and close the door for good."""
    able = [name for name, entry in document.principals.items() if _may_approve(name, entry.groups, approvals.from_)]
    if len(able) < approvals.count:
        steps = ("needs", "approvals")
        yield one.finding(
            steps, f"asks for {approvals.count} approvals, and {len(able)} of the listed persons can give one"
        )


def _may_approve(name: str, groups: Sequence[str], wanted: Sequence[str]) -> bool:
    ids = [name, *(GROUP + group for group in groups)]
    return name.startswith("human:") and any(matches(item, id_) for item in wanted for id_ in ids)


def _failing(placed: Sequence[_Placed[RuleText]], rules: RuleSet, document: Document | None) -> Iterator[str]:
    for one in placed:
        for index, example in enumerate(one.text.examples):
            if text := _failure(example, rules, document):
                yield one.finding(("examples", index), text)


def _failure(example: Example, rules: RuleSet, document: Document | None) -> str | None:
    """Say why the effective answer over all policies is not what `example` asserts; None: it is."""
    cls = None if example.deployment is None else _class_of(example.deployment, document)
    if cls is None and example.deployment is not None:
        known = (*RULE_CLASSES, *(() if document is None else document.deployments))
        return f"the example's deployment is neither registered nor a class{hint(example.deployment, known)}"
    verdict = decide(rules, _question(example, cls, document))
    if (verdict.verdict, verdict.rule) == (example.verdict, example.rule):
        return None
    return f"the example says {_said(example)}, the policies say {_said(verdict)}"


def _said(answer: Example | Verdict) -> str:
    return f"{answer.verdict} by {answer.rule or 'no rule'}"


def _class_of(deployment: str, document: Document | None) -> str | None:
    entry = None if document is None else document.deployments.get(deployment)
    if entry is not None:
        return entry.cls
    return deployment if deployment in RULE_CLASSES else None


def _question(example: Example, cls: str | None, document: Document | None) -> Question:
    listed = None if document is None else document.principals.get(example.principal)
    return Question(
        principal=example.principal,
        groups=frozenset(() if listed is None else listed.groups),
        effects=example.effects,
        implied=implied(example.effects),
        resources={name: getattr(example, name) for name in DIMENSIONS if name in example.model_fields_set},
        deployment=example.deployment,
        cls=cls,
        door=example.door,
    )
