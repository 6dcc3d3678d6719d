"""Globs against regular expressions, and in linear time: the text may be an agent's."""

import re
import time

from hypothesis import given, settings, strategies as st

from gate.policy.globs import matches
from gate.policy.index import column, members


@settings(deadline=None)
@given(st.text(st.sampled_from("ab*.\n"), max_size=6), st.text(st.sampled_from("ab.\n"), max_size=8))
def test_a_glob_is_its_regular_expression(pattern: str, text: str) -> None:
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    assert matches(pattern, text) == (re.fullmatch(expression, text, re.DOTALL) is not None)


def test_many_stars_cost_no_time() -> None:
    started = time.perf_counter()
    assert not matches("*a" * 50 + "*b", "a" * 20_000)
    assert time.perf_counter() - started < 2


_ITEMS = st.lists(st.text(st.sampled_from("ab*:"), min_size=1, max_size=4), max_size=3).map(tuple)


@settings(deadline=None)
@given(st.lists(_ITEMS, max_size=6), st.text(st.sampled_from("ab:"), max_size=5))
def test_a_column_finds_the_rules_that_name_a_value(conditions: list[tuple[str, ...]], value: str) -> None:
    indexed = column(conditions)
    naming = [n for n, items in enumerate(conditions) if any(matches(item, value) for item in items)]
    assert members(indexed.naming(value)) == naming
    assert members(indexed.free) == [n for n, items in enumerate(conditions) if not items]
