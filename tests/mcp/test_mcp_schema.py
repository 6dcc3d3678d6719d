from typing import Any

import jsonschema
import pytest
from hypothesis import given, strategies as st

from gate.mcp import catalogue, schema

_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 2000)
    | st.floats(-3, 2000)
    | st.sampled_from(["asc", "desc", "all", "30m", "3x", "data", ""]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)


def fitting(one: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Arguments for the tool's members: mostly of the names that it knows."""
    names = st.sampled_from([*one["properties"], "unknown"])
    return st.dictionaries(names, _VALUES) | _VALUES


@given(st.data())
def test_the_validator_agrees_with_a_complete_one(data: st.DataObject) -> None:
    """For every input schema of the catalogue and any arguments."""
    tool = data.draw(st.sampled_from(list(catalogue.TOOLS.values())))
    value = data.draw(fitting(tool.input))
    assert (schema.problems(tool.input, value) == []) == jsonschema.Draft202012Validator(tool.input).is_valid(value)


_LOGS = catalogue.TOOLS["logs"].input


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({}, "arguments: `deploymentSelector` is missing"),
        ([], "arguments: has to be of type object"),
        ({"deploymentSelector": True}, "deploymentSelector: has to be of type string"),
        ({"deploymentSelector": "s", "status": "x"}, "status: has to be one of all, success, failure"),
        ({"deploymentSelector": "s", "entriesLimit": 0}, "entriesLimit: has to be more than 0"),
        ({"deploymentSelector": "s", "entriesLimit": 1001}, "entriesLimit: has to be at most 1000"),
        ({"deploymentSelector": "s", "entriesLimit": True}, "entriesLimit: has to be of type integer"),
        ({"deploymentSelector": "s", "entriesLimit": 1.5}, "entriesLimit: has to be of type integer"),
        ({"deploymentSelector": "s", "a\nb" + "c" * 100: 1}, f"arguments: there is no `a?b{'c' * 57}`"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(value: object, told: str) -> None:
    assert schema.problems(_LOGS, value) == [told]


def test_a_whole_number_is_an_integer_however_it_was_written() -> None:
    """As JSON Schema has it."""
    assert schema.problems(_LOGS, {"deploymentSelector": "s", "entriesLimit": 5.0}) == []


def test_sentences_never_quote_a_value() -> None:
    """It may be the secret that envSet was to set."""
    wrong = schema.problems(catalogue.TOOLS["envSet"].input, {"name": ["sk_live_1"], "value": {"sk_live_2": 1}})
    assert wrong
    assert "sk_live" not in str(wrong)
