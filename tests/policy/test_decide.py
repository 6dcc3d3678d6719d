"""The decision against a naive oracle, and each promise of the policy language by itself."""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from gate.intent.effects import implied
from gate.intent.intent import DIMENSIONS
from gate.policy.decide import decide, merge
from gate.policy.rules import Rule, RuleSet, rule_set
from gate.policy.verdict import Approvals, Cited, Needs, Question, Verdict

VIEW, WRITE, DEPLOY = "deployment:data:view", "deployment:data:write", "deployment:deploy"


# The oracle: docs/contract.md, Policy document, one rule and one effect at a time, without an index.


def _glob(pattern: str, text: str | None) -> bool:
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    return text is not None and re.fullmatch(expression, text, re.DOTALL) is not None


def _who(item: str, question: Question) -> bool:
    if item.startswith("group:"):
        return item.removeprefix("group:") in question.groups
    return _glob(item, question.principal)


def _what(rule: Rule, key: str, question: Question, *, unknown: bool) -> bool:
    """Whether a resource condition holds; `unknown` is the answer where nobody knows."""
    values = question.resources.get(key, ())
    if values is None:
        return unknown
    hits = [any(_glob(item, value) for item in rule.conditions[key]) for value in values]
    return bool(hits) and (all(hits) if rule.verb == "allow" else any(hits))


def _speaks(rule: Rule, question: Question, effect: str, *, unknown: bool) -> bool:
    for key, items in rule.conditions.items():
        value = {"effects": effect, "classes": question.cls, "deployments": question.deployment}.get(key, question.door)
        if key == "principals":
            holds = any(_who(item, question) for item in items)
        elif key in DIMENSIONS:
            holds = _what(rule, key, question, unknown=unknown)
        else:
            holds = any(_glob(item, value) for item in items)
        if not holds:
            return False
    return True


def _found(rules: RuleSet, question: Question, verb: str, effects: Iterable[str], *, unknown: bool) -> list[Rule]:
    wanted = [rule for rule in rules.rules if rule.verb == verb]
    return [rule for rule in wanted if any(_speaks(rule, question, effect, unknown=unknown) for effect in effects)]


def _unsure(question: Question, hanging: list[Rule]) -> tuple[str, ...]:
    unknown = [key for key in DIMENSIONS if question.resources.get(key, ()) is None]
    return (*question.indeterminate, *(key for key in unknown if any(key in rule.conditions for rule in hanging)))


def _oracle(rules: RuleSet, question: Question) -> tuple[str, list[str], tuple[str, ...]]:
    """Code, ids of the rules that bear on it, and what could not be told."""
    if not question.effects:
        return "ok", [], question.indeterminate
    denying = _found(rules, question, "deny", question.effects, unknown=True)
    if denying:
        return "denied_by_rule", [rule.cited.id for rule in denying], _unsure(question, denying)
    for effect in question.effects:
        if not _found(rules, question, "allow", [effect], unknown=False):
            return "no_rule", [], _unsure(question, _found(rules, question, "allow", [effect], unknown=True))
    requiring = _found(rules, question, "require", (*question.effects, *question.implied), unknown=True)
    if requiring:
        return "grant_required", [rule.cited.id for rule in requiring], _unsure(question, requiring)
    allowing = _found(rules, question, "allow", question.effects, unknown=False)
    return "ok", [rule.cited.id for rule in allowing], question.indeterminate


def _some(*items: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(items), min_size=1, max_size=2, unique=True).map(tuple)


_NAMES = ("a", "ab", "*", "a*", "*b", "a*b", "b*a*b")
_CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "principals": _some("agent:a", "agent:*", "*:a", "human:ada", "group:g", "*", "a*a"),
        "effects": _some(VIEW, "deployment:data:*", "deployment:*", "*:view", "local:run", "*", DEPLOY),
        "classes": _some("dev", "prod", "local"),
        "deployments": _some("d1", "d*", "*1"),
        "doors": _some("cli", "mcp"),
        **{key: _some(*_NAMES) for key in DIMENSIONS},
    },
)
_NEEDS = Needs(grant=True)


def _rules(drawn: list[tuple[str, dict[str, tuple[str, ...]]]]) -> RuleSet:
    rules = []
    for number, (verb, conditions) in enumerate(drawn):
        cited = Cited(f"r{number}", verb, f"p.yaml:{number + 1}:5", "because")
        rules.append(Rule(verb, conditions, _NEEDS if verb == "require" else None, cited))
    return rule_set(rules)


_RULES = st.lists(st.tuples(st.sampled_from(["allow", "allow", "deny", "require"]), _CONDITIONS), max_size=8).map(
    _rules
)
_EFFECTS = st.lists(
    st.sampled_from([VIEW, WRITE, DEPLOY, "local:run", "deployment:env:write"]), max_size=3, unique=True
)
_VALUES = st.none() | st.lists(st.sampled_from(["a", "b", "ab", "aab", "bab", ""]), max_size=2).map(tuple)
_QUESTIONS = st.builds(
    lambda effects, question: replace(question, effects=tuple(sorted(effects)), implied=implied(effects)),
    _EFFECTS,
    st.builds(
        Question,
        principal=st.sampled_from(["agent:a", "agent:b", "human:ada", "group:g", "ci:a", ""]),
        groups=st.sampled_from([frozenset(), frozenset({"g"}), frozenset({"g", "h"})]),
        effects=st.just(()),
        implied=st.just(()),
        resources=st.dictionaries(st.sampled_from(DIMENSIONS), _VALUES),
        deployment=st.sampled_from([None, "d1", "d2", "local"]),
        cls=st.sampled_from([None, "dev", "prod", "local"]),
        door=st.sampled_from(["cli", "mcp", "hook", "ci"]),
        indeterminate=st.sampled_from([(), ("kind",)]),
    ),
)


@settings(max_examples=400, deadline=None)
@given(_RULES, _QUESTIONS)
def test_the_decision_is_the_oracle_s(rules: RuleSet, question: Question) -> None:
    verdict = decide(rules, question)
    code, ids, indeterminate = _oracle(rules, question)
    assert (verdict.code, [rule.id for rule in verdict.rules], verdict.indeterminate) == (code, ids, indeterminate)
    assert verdict.rule == (ids[0] if ids else None)
    assert verdict.verdict == {"ok": "allow", "grant_required": "grant_required"}.get(code, "deny")
    assert (verdict.needs is not None) == (code == "grant_required")
    assert (verdict.effect is None) == (not question.effects)


@settings(deadline=None)
@given(_RULES, _QUESTIONS, st.tuples(st.sampled_from(["deny", "require"]), _CONDITIONS))
def test_no_deny_and_no_require_ever_opens_anything(
    rules: RuleSet, question: Question, more: tuple[str, dict[str, tuple[str, ...]]]
) -> None:
    strictness = {"allow": 0, "grant_required": 1, "deny": 2}
    added = rule_set([*rules.rules, *_rules([more]).rules])
    assert strictness[decide(added, question).verdict] >= strictness[decide(rules, question).verdict]


@settings(deadline=None)
@given(_RULES, _QUESTIONS)
def test_order_changes_no_verdict(rules: RuleSet, question: Question) -> None:
    turned = decide(rule_set(rules.rules[::-1]), question)
    forward = decide(rules, question)
    assert (turned.verdict, turned.code, turned.effect is None) == (
        forward.verdict,
        forward.code,
        forward.effect is None,
    )
    assert {rule.id for rule in turned.rules} == {rule.id for rule in forward.rules}


# Each promise by itself.


def _ask(
    *rules: tuple[str, Mapping[str, tuple[str, ...]]], effects: tuple[str, ...] = (VIEW,), **more: object
) -> Verdict:
    question = Question("agent:a", frozenset(), effects, implied(effects), {}, "d1", "prod", "cli")
    return decide(_rules([(verb, dict(conditions)) for verb, conditions in rules]), replace(question, **more))  # type: ignore[arg-type]


ANY: tuple[str, Mapping[str, tuple[str, ...]]] = ("allow", {"principals": ("*",)})


def test_nothing_is_allowed_by_default_and_nothing_asked_is_allowed() -> None:
    assert (_ask().verdict, _ask().code, _ask().effect) == ("deny", "no_rule", VIEW)
    empty = _ask(("deny", {"principals": ("*",)}), effects=())
    assert (empty.verdict, empty.code, empty.rules, empty.needs) == ("allow", "ok", (), None)


def test_an_effect_outside_the_vocabulary_is_allowed_by_nothing() -> None:
    assert _ask(ANY, effects=("deployment:everything",)).code == "no_rule"


def test_implied_effects_bring_needs_only() -> None:
    deploys = ("allow", {"effects": (DEPLOY,)})
    assert _ask(deploys, ("deny", {"effects": (WRITE,)}), effects=(DEPLOY,)).verdict == "allow"
    wanted = _ask(deploys, ("require", {"effects": (WRITE,)}), effects=(DEPLOY,))
    assert (wanted.verdict, wanted.rule, wanted.effect) == ("grant_required", "r1", WRITE)


def test_a_claim_to_be_a_group_is_no_membership() -> None:
    leads = ("allow", {"principals": ("group:leads",)})
    assert _ask(leads, principal="group:leads").verdict == "deny"
    assert _ask(leads, groups=frozenset({"leads"})).verdict == "allow"


def test_without_a_target_no_condition_on_one_holds() -> None:
    for key, item in (("classes", "prod"), ("deployments", "*")):
        assert _ask(("allow", {key: (item,)}), cls=None, deployment=None).verdict == "deny"
        assert _ask(ANY, ("deny", {key: (item,)}), cls=None, deployment=None).verdict == "allow"


def test_what_nobody_knows_closes_and_is_reported() -> None:
    tables = {"tables": ("messages",)}
    unknown = {"tables": None}
    denied = _ask(ANY, ("deny", tables), resources=unknown)
    assert (denied.verdict, denied.rule, denied.indeterminate) == ("deny", "r1", ("tables",))
    wanted = _ask(ANY, ("require", tables), resources=unknown, indeterminate=("kind",))
    assert (wanted.verdict, wanted.indeterminate) == ("grant_required", ("kind", "tables"))
    closed = _ask(("allow", tables), resources=unknown)
    assert (closed.code, closed.indeterminate) == ("no_rule", ("tables",))
    assert _ask(ANY, ("allow", tables), resources=unknown).indeterminate == ()


def test_a_dimension_that_does_not_apply_matches_nothing() -> None:
    assert _ask(("allow", {"tables": ("*",)})).verdict == "deny"
    assert _ask(ANY, ("deny", {"tables": ("*",)})).verdict == "allow"


def test_an_allow_has_to_name_every_value_a_deny_one() -> None:
    both = {"tables": ("messages", "users")}
    assert _ask(("allow", {"tables": ("messages",)}), resources=both).verdict == "deny"
    assert _ask(("allow", {"tables": ("messages", "u*")}), resources=both).verdict == "allow"
    assert _ask(ANY, ("deny", {"tables": ("users",)}), resources=both).verdict == "deny"
    assert _ask(("allow", {"tables": ("*",)}), resources={"tables": ()}).verdict == "deny"


def test_the_strictest_effect_decides() -> None:
    view, write = ("allow", {"effects": (VIEW,)}), ("deny", {"effects": (WRITE,)})
    assert _ask(view, effects=(VIEW, WRITE)).effect == WRITE
    denied = _ask(view, write, effects=(VIEW, WRITE, "local:run"))
    assert (denied.code, denied.rule, denied.effect) == ("denied_by_rule", "r1", WRITE)


def test_needs_merge_towards_the_stricter() -> None:
    leads = Approvals(1, ("group:leads",), ("requester",), touch=True)
    ops = Approvals(2, ("human:*",), ("requester", "owner"), touch=False)
    one = Needs(True, ("OPS-[0-9]+",), 12, False, 3600, None, (leads,))
    other = Needs(False, ("OPS-[0-9]+", "SEC-.*"), 40, True, 600, 3, (ops, leads))
    merged = Needs(True, ("OPS-[0-9]+", "SEC-.*"), 40, True, 600, 3, (leads, ops))
    assert merge([one, other]) == merged
    assert merge([one]) == one
    assert merge([Needs(), Needs()]) == Needs()


_SIDES = st.builds(
    Needs,
    grant=st.booleans(),
    ticket=st.lists(st.sampled_from("AB"), unique=True, max_size=2).map(tuple),
    reason_min=st.integers(0, 9),
    ack_risk=st.booleans(),
    ttl_max_seconds=st.none() | st.integers(1, 9),
    max_uses=st.none() | st.integers(1, 9),
    approvals=st.just(()),
)


@settings(deadline=None)
@given(st.lists(_SIDES, min_size=1, max_size=4))
def test_a_merge_is_at_least_as_strict_as_each_side(sides: list[Needs]) -> None:
    merged = merge(sides)
    for side in sides:
        assert merged.grant >= side.grant
        assert merged.ack_risk >= side.ack_risk
        assert merged.reason_min >= side.reason_min
        assert set(merged.ticket) >= set(side.ticket)
        for ours, theirs in ((merged.ttl_max_seconds, side.ttl_max_seconds), (merged.max_uses, side.max_uses)):
            assert theirs is None or (ours is not None and ours <= theirs)


@pytest.mark.parametrize(("size", "milliseconds"), [(50, 1), (10_000, 5)])
def test_ten_thousand_rules_cost_about_as_much_as_fifty(size: int, milliseconds: int) -> None:
    """Far above the budget (tests/bench measures that), far below what looking at each rule in turn costs."""
    rules = _rules([("allow", {"principals": (f"agent:a{n}",), "deployments": (f"d{n}*",)}) for n in range(size)])
    question = Question("agent:a7", frozenset(), (VIEW,), (), {}, "d7", "dev", "cli")
    taken = []
    for _ in range(20):
        started = time.perf_counter()
        assert decide(rules, question).rule == "r7"
        taken.append(time.perf_counter() - started)
    assert min(taken) * 1000 < milliseconds
