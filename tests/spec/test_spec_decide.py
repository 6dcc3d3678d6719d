"""The decision and an independent reading of docs/policy.md answer every drawn policy alike."""

from hypothesis import given, settings
from policies_drawn import EVERY, QUESTIONS, RULE, RULES, made
from reference_policy import answer, glob_fits

from gate.policy.decide import decide, merge
from gate.policy.globs import matches
from gate.policy.rules import Rule, rule_set
from gate.policy.verdict import Needs, Question


@settings(max_examples=600, deadline=None)
@given(RULES, QUESTIONS)
def test_the_decision_is_what_the_page_says(rules: tuple[Rule, ...], question: Question) -> None:
    verdict, expected = decide(rule_set(rules), question), answer(rules, question, EVERY)
    assert verdict.verdict == expected.verdict
    if expected.rules:
        assert [rule.id for rule in verdict.rules] == expected.rules
    assert verdict.needs == (merge(expected.needs) if expected.needs else None)


@settings(max_examples=200, deadline=None)
@given(RULES, RULE, QUESTIONS)
def test_one_more_deny_never_allows(
    rules: tuple[Rule, ...], more: tuple[str, dict[str, tuple[str, ...]], Needs], question: Question
) -> None:
    _, conditions, needs = more
    denying = (*rules, *made([("deny", conditions, needs)]))
    assert not (answer(rules, question, EVERY).verdict == "deny" and answer(denying, question, EVERY).verdict != "deny")
    assert decide(rule_set(denying), question).verdict in {decide(rule_set(rules), question).verdict, "deny"}


@settings(max_examples=200, deadline=None)
@given(RULES, QUESTIONS)
def test_order_changes_no_verdict(rules: tuple[Rule, ...], question: Question) -> None:
    assert decide(rule_set(rules[::-1]), question).verdict == answer(rules, question, EVERY).verdict


def test_both_read_globs_alike() -> None:
    """Every glob and word of up to four characters out of three."""
    words = ["", *(a + b + c + d for a in "ab*" for b in "ab*" for c in "ab*" for d in "ab*")]
    texts = [word for word in words if "*" not in word] + ["a", "ab", "b", "ba", "aab"]
    assert all(matches(glob, text) == glob_fits(glob, text) for glob in words for text in texts)
