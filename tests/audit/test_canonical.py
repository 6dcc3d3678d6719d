"""The canonical JSON of events: one text for one meaning."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from gate.audit import canonical

KEYS = st.text(st.characters(max_codepoint=127), max_size=8)
INTEGERS = st.integers(-canonical.LARGEST_INTEGER, canonical.LARGEST_INTEGER)
VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=5)


@settings(max_examples=50, deadline=None)
@given(OBJECTS)
def test_what_is_written_is_read(value: dict[str, Any]) -> None:
    """Property: ASCII, no blanks, sorted, and the same value again; the order of insertion does not matter."""
    text = canonical.encode(value)
    assert text.isascii()
    assert canonical.decode(text) == value
    assert canonical.encode(dict(reversed(value.items()))) == text
    assert text == json.dumps(value, sort_keys=True, separators=(",", ":"))


@settings(max_examples=50, deadline=None)
@given(OBJECTS, OBJECTS)
def test_members_join_to_the_whole(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Property: values encoded one by one make the same text as all at once."""
    assert canonical.join({**canonical.members(one), **canonical.members(two)}) == canonical.encode({**one, **two})


def deep(levels: int) -> Any:
    """Lists in lists."""
    return [] if levels == 0 else [deep(levels - 1)]


@pytest.mark.parametrize(
    "value",
    [
        {"a": 1.0},
        {"a": float("nan")},
        {"a": 2**53},
        {"a": [-(2**53)]},
        {1: "a"},
        {"é": 1},
        {"a": {"b": {2: 1}}},
        {"a": b"bytes"},
        {"a": {1, 2}},
        {"a": deep(40)},
    ],
)
def test_what_has_no_canonical_form(value: Any) -> None:
    """Floats, large integers, other keys, bytes, sets and bottomless nesting are refused."""
    with pytest.raises(ValueError, match=r".+"):
        canonical.encode(value)


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":1}',
        '{"a":{"b":1,"b":2}}',
        '{"a":1.5}',
        '{"a":1e3}',
        '{"a":NaN}',
        '{"a":-Infinity}',
        '{"a":9007199254740992}',
        '{"a":' + "9" * 5000 + "}",
        "[1]",
        '"a"',
        "{}{}",
        "{",
        "",
        '{"a":' + "[" * 100_000 + "}",
    ],
)
def test_what_is_no_event(text: str) -> None:
    """Duplicates, floats, large integers, other values and broken text are refused with one kind of error."""
    with pytest.raises(ValueError, match=r".+"):
        canonical.decode(text)
