"""A tool asks for what the command asks for that does the same, and for nothing else."""

from typing import Any

import pytest
from hypothesis import given, strategies as st

from gate.errors import GateError
from gate.intent.effects import EFFECTS
from gate.intent.intent import Intent
from gate.intent.parse import read_intent
from gate.intent.tools import PREFIX, TOOLS, read_tool

ARGUMENTS: dict[str, dict[str, str]] = {
    "data": {"tableName": "messages"},
    "envGet": {"name": "A"},
    "envRemove": {"name": "A"},
    "envSet": {"name": "A", "value": "b"},
    "run": {"functionName": "messages:send", "args": "{}"},
    "runOneoffQuery": {"query": "1"},
}
# What each tool may ever ask for, whatever it is told.
EFFECTS_OF: dict[str, set[str]] = {
    "data": {"data:view"},
    "envGet": {"env:view"},
    "envList": {"env:view"},
    "envRemove": {"env:write"},
    "envSet": {"env:write"},
    "functionSpec": {"data:view"},
    "insights": {"insights:view"},
    "logs": {"logs:view"},
    "runOneoffQuery": {"data:view", "functions:runTestQuery"},
    "tables": {"data:view"},
}
COMMANDS = {
    "data": ["data", "messages"],
    "envGet": ["env", "get", "A"],
    "envList": ["env", "list"],
    "envRemove": ["env", "remove", "A"],
    "envSet": ["env", "set", "A", "b"],
    "functionSpec": ["function-spec"],
    "insights": ["insights"],
    "logs": ["logs"],
    "run": ["run", "messages:send", "{}"],
    "runOneoffQuery": ["run", "--inline-query", "1"],
    "tables": ["data"],
}


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_a_tool_asks_for_what_its_command_asks_for(tool: str) -> None:
    """Effects, resources, and the function that is called."""
    asked, command = read_tool(tool, ARGUMENTS.get(tool, {})), read_intent(COMMANDS[tool])
    assert asked.command == PREFIX + tool
    assert (asked.effects, asked.function, asked.kind_known) == (command.effects, command.function, command.kind_known)
    assert dict(asked.resources) == dict(command.resources)


def _read(tool: str, arguments: dict[str, str]) -> Intent | GateError:
    try:
        return read_tool(tool, arguments)
    except GateError as error:
        return error


@given(tool=st.sampled_from(sorted(EFFECTS_OF)), value=st.text(), other=st.text())
def test_no_word_of_a_caller_changes_what_a_tool_is(tool: str, value: str, other: str) -> None:
    """Options, assignments and anything else are names and values here."""
    given_arguments = dict(zip(ARGUMENTS.get(tool, {}), (value, other), strict=False))
    intent = _read(tool, given_arguments)
    if isinstance(intent, GateError):
        assert intent.code in ("usage", "unknown_option", "key_in_argv", "limit")
        return
    assert set(intent.effects) == {f"deployment:{action}" for action in EFFECTS_OF[tool]}
    assert set(intent.effects) <= set(EFFECTS)
    named = {"data": "tables", "envGet": "variables", "envSet": "variables", "envRemove": "variables"}.get(tool)
    if named is not None:
        assert intent.resources[named] == (value,)


@pytest.mark.parametrize("word", ["--prod", "--push", "--identity", "-h", "--help", "--", "--url"])
def test_a_word_that_looks_like_an_option_is_none(word: str) -> None:
    """Not even `--help`, with which a command would do nothing."""
    for tool, arguments in ARGUMENTS.items():
        changed = {**arguments, list(arguments)[-1]: word}
        assert read_tool(tool, changed).effects == read_tool(tool, arguments).effects, tool


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("envSet", {"name": "", "value": "x"}),
        ("envSet", {"name": "A=b", "value": "x"}),
        ("envSet", {"name": "A"}),
        ("envGet", {"name": ""}),
        ("envRemove", {"name": ["A"]}),
        ("data", {}),
        ("data", {"tableName": ""}),
        ("run", {"functionName": "a:b", "args": {"x": 1}}),
        ("run", {"functionName": "", "args": "{}"}),
        ("runOneoffQuery", {"query": None}),
    ],
)
def test_what_names_nothing_is_refused(tool: str, arguments: dict[str, Any]) -> None:
    """For an empty name Convex's server would read variables from the stream of the protocol."""
    with pytest.raises(GateError) as caught:
        read_tool(tool, arguments)
    assert caught.value.code == "usage"


@pytest.mark.parametrize("tool", ["", "status", "deploy", "gate_drop", "mcp:data", "DATA"])
def test_another_tool_is_no_tool(tool: str) -> None:
    """What is not listed cannot be decided about."""
    with pytest.raises(GateError) as caught:
        read_tool(tool, {})
    assert caught.value.code == "unknown_command"


def test_a_selector_among_the_arguments_means_nothing() -> None:
    """Which deployment it is, no argument says."""
    for tool, arguments in ARGUMENTS.items():
        assert read_tool(tool, {**arguments, "deploymentSelector": "prod"}) == read_tool(tool, arguments)
