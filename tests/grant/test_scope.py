"""What lies inside what: nothing narrower ever permits more, and nothing unknown is covered by a name."""

from dataclasses import replace

import pytest
from grant_kit import ORIGIN, VIEW, ask_of
from hypothesis import given, strategies as st

from gate.grant.scope import Ask, ask_from, covers, intersection, limits, touched, within
from gate.intent.intent import DIMENSIONS

EFFECT_NAMES = ("deployment:data:view", "deployment:data:write", "deployment:env:view")
NAMES = st.none() | st.frozensets(st.sampled_from(["a", "b", "c"])).map(lambda names: tuple(sorted(names)))
EFFECT_SETS = st.frozensets(st.sampled_from(EFFECT_NAMES), min_size=1).map(lambda names: tuple(sorted(names)))
ASKS = st.builds(
    Ask,
    deployment=st.sampled_from(["prod", "prod", "eu"]),
    origin=st.just(ORIGIN),
    effects=EFFECT_SETS,
    ttl_seconds=st.integers(1, 4),
    **dict.fromkeys(DIMENSIONS, NAMES),
    max_uses=st.none() | st.integers(1, 3),
    not_before_ms=st.none() | st.integers(1, 3),
)
RESOURCES = st.dictionaries(st.sampled_from(DIMENSIONS), NAMES)


@given(ASKS, ASKS, EFFECT_SETS, RESOURCES, st.none() | st.sampled_from(["a", "b"]))
def test_what_is_within_covers_nothing_more(
    narrow: Ask, wide: Ask, effects: tuple[str, ...], resources: dict[str, tuple[str, ...] | None], function: str | None
) -> None:
    if within(narrow, wide) and covers(narrow, effects, resources, function):
        assert covers(wide, effects, resources, function)


@given(ASKS, ASKS)
def test_an_intersection_is_within_both_and_the_same_from_either_side(one: Ask, other: Ask) -> None:
    both = intersection(one, other)
    assert both == intersection(other, one)
    assert both is None or (within(both, one) and within(both, other))


@given(ASKS, ASKS, EFFECT_SETS, RESOURCES)
def test_an_intersection_covers_what_both_cover(
    one: Ask, other: Ask, effects: tuple[str, ...], resources: dict[str, tuple[str, ...] | None]
) -> None:
    both = intersection(replace(one, deployment="prod"), replace(other, deployment="prod"))
    if covers(one, effects, resources) and covers(other, effects, resources):
        assert both is not None
        assert covers(both, effects, resources)


@given(ASKS)
def test_an_ask_survives_its_event_and_contains_itself(ask: Ask) -> None:
    assert ask_from(ask.to_json()) == ask
    assert within(ask, ask)
    assert covers(ask, ask.effects, touched(ask))
    assert limits(touched(ask)) == ask.resources


@pytest.mark.parametrize(
    ("resources", "covered"),
    [
        ({"tables": ("messages",)}, True),
        ({"tables": ("messages", "users")}, False),
        ({"tables": None}, False),
        ({"tables": ()}, False),
        ({}, False),
        ({"tables": ("messages",), "components": ("mail",)}, True),
    ],
)
def test_a_limited_dimension_covers_named_resources_only(
    resources: dict[str, tuple[str, ...] | None], covered: bool
) -> None:
    assert covers(ask_of(tables=("messages",)), VIEW, resources) is covered


def test_a_grant_for_one_function_browses_no_table() -> None:
    ask = ask_of(**limits({"functions": ("messages:list",), "tables": None}))
    assert covers(ask, VIEW, {"functions": ("messages:list",), "tables": None}, "messages:list")
    assert not covers(ask, VIEW, {"tables": ("users",), "components": ("mail",)})
    assert not covers(ask, VIEW, {"tables": ("users",)})
    assert not covers(ask, VIEW, {"functions": ("messages:list",), "tables": None}, "messages:clear")


def test_an_unknown_function_is_covered_by_any_only() -> None:
    unknown = {"functions": None}
    assert covers(ask_of(), VIEW, unknown, "messages:list")
    assert not covers(ask_of(functions=("messages:list",)), VIEW, unknown, "messages:list")


@pytest.mark.parametrize(
    "wider",
    [
        {"effects": ("deployment:data:view", "deployment:data:write")},
        {"tables": None},
        {"tables": ("messages", "users")},
        {"tables": ()},
        {"ttl_seconds": 1801},
        {"max_uses": None},
        {"max_uses": 3},
        {"not_before_ms": None},
        {"not_before_ms": 9},
        {"deployment": "eu"},
        {"origin": "https://elsewhere.convex.cloud"},
    ],
)
def test_wider_in_one_respect_is_not_within(wider: dict[str, object]) -> None:
    ask = ask_of(tables=("messages",), max_uses=2, not_before_ms=10)
    assert not within(ask_of(**{"tables": ("messages",), "max_uses": 2, "not_before_ms": 10, **wider}), ask)


@pytest.mark.parametrize(
    "wrong",
    [
        {"effects": ()},
        {"effects": ("deployment:data:write", "deployment:data:view")},
        {"effects": ("deployment:data:view", "deployment:data:view")},
        {"effects": ("deployment:everything",)},
        {"effects": "deployment:data:view"},
        {"tables": ("b", "a")},
        {"tables": ("",)},
        {"tables": "ab"},
        {"tables": (1,)},
        {"ttl_seconds": 0},
        {"ttl_seconds": True},
        {"ttl_seconds": -1},
        {"ttl_seconds": 1.5},
        {"max_uses": 0},
        {"not_before_ms": 0},
        {"deployment": ""},
        {"origin": None},
    ],
)
def test_an_ask_of_another_form_is_none(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        ask_of(**wrong)
