"""Members of a door's message: each is of its type, or the message is a usage error."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gate.errors import GateError
from gate.keeper import members

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
_Read = Callable[[dict[str, Any]], object]
_READS: dict[str, tuple[_Read, Callable[[Any], bool]]] = {
    "text": (lambda message: members.text(message, "m"), lambda value: isinstance(value, str)),
    "optional text": (
        lambda message: members.optional_text(message, "m"),
        lambda value: value is None or isinstance(value, str),
    ),
    "number": (
        lambda message: members.number(message, "m", 20),
        lambda value: type(value) is int and 0 <= value < 1 << 63,
    ),
    "table": (lambda message: members.table(message, "m"), lambda value: isinstance(value, dict)),
    "optional table": (
        lambda message: members.optional_table(message, "m"),
        lambda value: value is None or isinstance(value, dict),
    ),
    "files": (
        lambda message: members.files(message, "m"),
        lambda value: isinstance(value, dict) and all(map(latin, value.values())),
    ),
    "octets": (
        lambda message: members.octets_list(message, "m"),
        lambda value: isinstance(value, list) and all(map(latin, value)),
    ),
}


def latin(value: Any) -> bool:
    return isinstance(value, str) and all(ord(char) < 256 for char in value)


@pytest.mark.parametrize("kind", _READS)
@given(value=_JSON)
def test_a_member_is_taken_exactly_when_it_is_of_its_type(kind: str, value: Any) -> None:
    read, proper = _READS[kind]
    if proper(value):
        read({"m": value})
        return
    with pytest.raises(GateError) as caught:
        read({"m": value})
    assert caught.value.code == "usage"


@pytest.mark.parametrize("kind", ["text", "table", "files", "octets"])
def test_a_member_that_is_missing_is_a_usage_error(kind: str) -> None:
    with pytest.raises(GateError) as caught:
        _READS[kind][0]({})
    assert caught.value.code == "usage"


@given(data=st.binary(max_size=50))
def test_every_byte_arrives(data: bytes) -> None:
    assert members.octets(data.decode("latin-1")) == data


def test_what_may_be_absent_has_its_default() -> None:
    assert members.number({}, "count", 20) == 20
    assert members.optional_text({}, "key") is None
    assert members.optional_table({}, "env") is None
