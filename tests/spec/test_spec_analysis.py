"""What the analysis says of all requests is what one finds by asking them, one by one, of the page's reading."""

from dataclasses import replace
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from policies_drawn import EVERY, INVARIANTS, NAMES, QUESTIONS, RULES, WORLD, by_chance, possible, side, tiny_world
from reference_policy import answer, glob_fits, rule_fits

from gate.errors import GateError
from gate.policy.analysis.diagram import Diagram, Node, Outcome
from gate.policy.analysis.diff import diff
from gate.policy.analysis.prove import prove
from gate.policy.analysis.reach import can, never, who_can
from gate.policy.analysis.sides import Side
from gate.policy.analysis.space import ORDER, space_of
from gate.policy.analysis.strictness import milder, normal, short_of
from gate.policy.analysis.words import NAMES as ANY_NAME, Language, kinds_of_words
from gate.policy.decide import merge
from gate.policy.rules import NEVER, Floor, Invariant, Rule, rule_set
from gate.policy.verdict import Needs, Question

QUICK = settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_ASKED = st.integers(0, 2**32).map(lambda seed: by_chance(seed, 40))
_CHANCE = st.integers(0, 2**32).map(Random)
TINY = [question for question in tiny_world() if possible(question)]


def outcome(rules: tuple[Rule, ...], question: Question) -> Outcome:
    """By the independent reading."""
    found = answer(rules, question, EVERY)
    return Outcome(found.verdict, normal(merge(found.needs)) if found.needs else None)


def broken(invariant: Invariant, found: Outcome) -> bool:
    """Whether an answer is not as `invariant` wants it."""
    if invariant.verb == NEVER:
        return found.verdict in invariant.verdicts
    wrong = bool(invariant.verdicts) and found.verdict not in invariant.verdicts
    return wrong or (found.needs is not None and invariant.floor is not None and short(found.needs, invariant.floor))


def short(needs: Needs, floor: Floor) -> bool:
    """Whether a grant could lack what `floor` wants."""
    count = max([1, *(block.count for block in needs.approvals)])
    return (
        (floor.ticket and not needs.ticket)
        or needs.reason_min < floor.reason_min
        or (floor.ttl_max_seconds or 10**9) < (needs.ttl_max_seconds or 10**9)
        or count < floor.approvals
    )


def within(invariant: Invariant, question: Question) -> bool:
    """Whether an invariant is about a request: as an `allow` of its conditions."""
    condition = Rule("allow", invariant.conditions, None, invariant.cited)
    return all(rule_fits(condition, question, effect) for effect in question.effects)


@QUICK
@given(RULES, INVARIANTS, _ASKED)
def test_what_is_proven_holds_and_what_is_not_has_a_counterexample(
    rules: tuple[Rule, ...], invariant: Invariant, asked: list[Question]
) -> None:
    (proof,) = prove(side(rules, (invariant,)))
    if proof.counterexample is not None:
        found = proof.counterexample.question
        assert within(invariant, found)
        assert possible(found)
        assert broken(invariant, outcome(rules, found))
    for question in asked:
        if within(invariant, question) and broken(invariant, outcome(rules, question)):
            assert not proof.proven
        assert not (proof.vacuous and within(invariant, question))


@settings(QUICK, max_examples=60)
@given(RULES, INVARIANTS)
def test_enumeration_of_a_tiny_world_breaks_nothing_that_is_proven(
    rules: tuple[Rule, ...], invariant: Invariant
) -> None:
    (proof,) = prove(side(rules, (invariant,)))
    if proof.proven:
        wrong = [asked for asked in TINY if within(invariant, asked) and broken(invariant, outcome(rules, asked))]
        assert wrong == []


@QUICK
@given(RULES, RULES, _ASKED)
def test_every_answer_that_differs_is_in_the_difference(
    old: tuple[Rule, ...], new: tuple[Rule, ...], asked: list[Question]
) -> None:
    changes = diff(side(old), side(new))
    pairs = {(change.before, change.after) for change in changes}
    assert len({change.id for change in changes}) == len(changes)
    for change in changes:
        assert change.old is not None
        assert change.new is not None
        assert outcome(old, change.old.question) == change.before
        assert outcome(new, change.new.question) == change.after
        assert change.before != change.after
    for question in asked:
        single = replace(question, resources={name: _one(names) for name, names in question.resources.items()})
        before, after = outcome(old, single), outcome(new, single)
        if len(single.effects) == 1 and before != after:
            assert (before, after) in pairs


def _one(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    return names if names is None else names[:1]


@QUICK
@given(RULES, _CHANCE)
def test_a_diagram_answers_every_request_of_its_space_and_its_boxes_are_a_partition(
    rules: tuple[Rule, ...], chance: Random
) -> None:
    made = side(rules)
    space = space_of([made])
    diagram = Diagram(space, lambda outcomes: outcomes[0])
    boxes = list(diagram.boxes(lambda label: label is not None))
    for _ in range(20):
        picked = [chance.randrange(len(kinds)) for kinds in space.kinds]
        point = tuple(kinds[number] for kinds, number in zip(space.kinds, picked, strict=True))
        question = space.question(point)
        assert question is not None
        expected = outcome(rules, question)
        assert _walk(diagram.root, picked) == expected
        holding = [box for box in boxes if all(point[ORDER.index(name)] in kinds for name, kinds in box.kinds.items())]
        assert [box.label for box in holding] == [expected]


def _walk(node: Node, picked: list[int]) -> object:
    while node.edges:
        node = next(below for kinds, below in node.edges if kinds >> picked[node.level] & 1)
    return node.label


@QUICK
@given(RULES, QUESTIONS)
def test_who_can_is_who_is_let_through(rules: tuple[Rule, ...], question: Question) -> None:
    made = side(rules)
    effect = question.effects[0]
    for deployment, cls in (("p1", "prod"), ("dev", "dev")):
        asked = replace(question, effects=(effect,), deployment=deployment, cls=cls)
        asked = replace(asked, resources={name: _one(names) for name, names in asked.resources.items()})
        expected = outcome(rules, asked)
        mine = list(who_can(made, effect, deployment))
        for access in mine:
            assert access.witness.question.effects == (effect,)
            assert outcome(rules, access.witness.question) == access.outcome
        if expected.verdict != "deny" and not asked.principal.startswith("human:zoe"):
            assert expected in [access.outcome for access in mine]
        own = dict(can(made, asked.principal))[deployment]
        assert {access.witness.question.principal for access in own} <= {asked.principal}
        assert (expected.verdict == "deny") or expected in [
            access.outcome for access in own if effect in access.effects
        ]
        assert not (expected.verdict != "deny" and effect in never(own))


@QUICK
@given(RULES, RULES)
def test_order_changes_no_meaning_and_more_rules_no_less(old: tuple[Rule, ...], more: tuple[Rule, ...]) -> None:
    """But for the first block of approvals: it takes the place of the usual one, which may want more."""
    assert diff(side(old), side(old[::-1])) == []
    stricter = (*old, *(rule for rule in more if rule.verb != "allow"))
    wider = [change for change in diff(side(old), side(stricter)) if change.wider]
    assert all(change.less == ("approvals",) for change in wider)
    assert not any(change.before.needs and change.before.needs.approvals for change in wider)


_GLOB = st.text("ab*", min_size=1, max_size=4)


@settings(max_examples=500, deadline=None)
@given(st.lists(_GLOB, min_size=1, max_size=5, unique=True), st.lists(st.text("abc", min_size=1), max_size=20))
def test_every_word_is_of_a_kind_that_was_found(globs: list[str], words: list[str]) -> None:
    """And every kind's word is matched by just the globs that it stands for."""
    found = kinds_of_words({glob: 1 << number for number, glob in enumerate(globs)}, ANY_NAME)
    for bits, word in found.items():
        assert bits == _matched(globs, word)
    assert {_matched(globs, word) for word in words} <= found.keys()


def _matched(globs: list[str], word: str) -> int:
    return sum(1 << number for number, glob in enumerate(globs) if glob_fits(glob, word))


@settings(max_examples=200, deadline=None)
@given(st.lists(_GLOB, min_size=1, max_size=4, unique=True))
def test_a_language_is_kept_to(globs: list[str]) -> None:
    """Just the words of one to three letters a and b behind the head `a`, the first no b."""
    language = Language(("a",), "a", "ab", 3)
    every = ["a" + "a" + rest for rest in ("", "a", "b", "aa", "ab", "ba", "bb")]
    found = kinds_of_words({glob: 1 << number for number, glob in enumerate(globs)}, language)
    assert set(found.values()) <= set(every)
    assert found.keys() == {_matched(globs, word) for word in every}


def test_a_word_beyond_all_letters_is_found() -> None:
    """Where every readable character is taken."""
    globs = {f"{char}*": 1 for char in "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    found = kinds_of_words(globs, ANY_NAME)
    assert found.keys() == {0, 1}
    assert not any(glob_fits(glob, found[0]) for glob in globs)


def test_too_many_kinds_are_no_answer() -> None:
    globs = {f"*{a}{b}*": 1 << number for number, (a, b) in enumerate((a, b) for a in "abcdef" for b in "uvwxyz")}
    with pytest.raises(GateError) as caught:
        kinds_of_words(globs, ANY_NAME, most=1000)
    assert caught.value.code == "limit"


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 3)), max_size=4))
def test_milder_is_what_lets_more_through(changes: list[tuple[str, int]]) -> None:
    """Each way in which needs can become less is seen, and nothing is milder than itself."""
    needs = Needs(grant=True, ticket=tuple(name for name, _ in changes), reason_min=len(changes))
    assert milder(needs, needs) == ()
    assert milder(needs, merge([needs, Needs(ticket=("more",), ttl_max_seconds=5, max_uses=1)])) == ()
    assert short_of(needs, Floor()) == ()


def test_nobody_registered_is_a_world_too() -> None:
    """Before any activation nothing is registered, and every word may be some day."""
    bare = Side(rule_set([]), None)
    assert (bare.principals, set(bare.deployments), bare.groups("agent:a")) == ((), {"anonymous", "local"}, frozenset())
    assert list(who_can(bare, EVERY[0], "local")) == []
    assert diff(bare, Side(rule_set([]), WORLD)) == []
