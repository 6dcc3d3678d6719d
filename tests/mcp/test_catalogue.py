"""The catalogue against Convex's own server, and against what its own refusals look like."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from mcp_door import DENIAL

from gate.errors import GateError
from gate.mcp import answers, catalogue, schema

# What our entries say that Convex's do not, and the reverse.
_OURS = {"outputSchema", "annotations"}
_WRITES = {"run", "envSet", "envRemove", "gate_request_access", "gate_drop"}
_DESTROYS = {"run", "envSet", "envRemove", "gate_drop"}
_REPEATS_DIFFERENTLY = {"run"}


@pytest.fixture(scope="module")
def real(convex_package: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The tools of the real `convex mcp start`, by name, in its order."""
    folder = tmp_path_factory.mktemp("real")
    told = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    asked = [
        {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": told},
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
    ]
    child = subprocess.Popen(
        ["node", str(convex_package / "bin" / "main.js"), "mcp", "start"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "CI": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdin.write("".join(json.dumps(message) + "\n" for message in asked).encode())
        child.stdin.flush()
        lines = [json.loads(child.stdout.readline()) for _ in range(2)]
    finally:
        child.kill()
        child.communicate()
    return {tool["name"]: tool for tool in lines[1]["result"]["tools"]}


def accepted(value: Any) -> Any:
    """A schema without what only describes."""
    if not isinstance(value, dict):
        return value
    kept = {name: inner for name, inner in value.items() if name not in {"$schema", "description", "default"}}
    return {
        name: {key: accepted(member) for key, member in inner.items()} if name == "properties" else inner
        for name, inner in kept.items()
    }


def test_convex_tools_have_convex_names_in_its_order(real: dict[str, Any], convex_package: Path) -> None:
    assert json.loads((convex_package / "package.json").read_text())["version"] == catalogue.CONVEX_VERSION
    assert list(real) == list(catalogue.CONVEX)


@pytest.mark.parametrize("name", catalogue.CONVEX)
def test_input_schemas_accept_what_convex_accepts(real: dict[str, Any], name: str) -> None:
    """Word for word but for descriptions and `$schema`; and every difference of an entry is one of these."""
    ours, theirs = catalogue.TOOLS[name].listed(), real[name]
    assert accepted(ours["inputSchema"]) == accepted(theirs["inputSchema"])
    assert list(ours["inputSchema"]["properties"]) == list(theirs["inputSchema"]["properties"])
    defaults = [
        {key: inner["default"] for key, inner in entry["inputSchema"]["properties"].items() if "default" in inner}
        for entry in (ours, theirs)
    ]
    assert defaults[0] == defaults[1]
    assert theirs["inputSchema"]["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert set(ours) - set(theirs) == _OURS
    assert set(theirs) - set(ours) == set()


def test_annotations_say_what_the_tools_do() -> None:
    """Convex sets none, and a client that holds its users to them refuses its tools."""
    hints = {name: tool.annotations for name, tool in catalogue.TOOLS.items()}
    assert {name for name, hint in hints.items() if not hint["readOnlyHint"]} == _WRITES
    assert {name for name, hint in hints.items() if hint["destructiveHint"]} == _DESTROYS
    assert {name for name, hint in hints.items() if not hint["idempotentHint"]} == _REPEATS_DIFFERENTLY
    assert {name for name, hint in hints.items() if hint["openWorldHint"]} == {"run"}
    assert {len(hint) for hint in hints.values()} == {4}


def test_the_list_is_the_same_at_all_times() -> None:
    before = json.dumps(catalogue.listing())
    answers.data(catalogue.TOOLS["status"], {})
    assert json.dumps(catalogue.listing()) == before
    assert [tool["name"] for tool in catalogue.listing()] == list(catalogue.TOOLS)
    assert {*catalogue.TOOLS} - {*catalogue.CONVEX} == {
        "gate_explain", "gate_request_access", "gate_grants", "gate_drop",
    }  # fmt: skip


@pytest.mark.parametrize("name", catalogue.TOOLS)
def test_schemas_are_proper_and_of_the_form_that_clients_take(name: str) -> None:
    """An object at the root; no choice at the root of an input schema, which some model APIs refuse."""
    tool = catalogue.TOOLS[name]
    for one in (tool.input, tool.output):
        jsonschema.Draft202012Validator.check_schema(one)
        assert one["type"] == "object"
    assert not set(tool.input) & {"oneOf", "anyOf", "allOf", "not"}
    assert tool.input["additionalProperties"] is False


def keywords(one: dict[str, Any]) -> set[str]:
    inner = [*one.get("properties", {}).values(), *([one["items"]] if "items" in one else [])]
    return set(one).union(*map(keywords, inner))


@pytest.mark.parametrize("name", catalogue.TOOLS)
def test_every_keyword_of_an_input_schema_is_checked(name: str) -> None:
    """None is carried along and ignored."""
    assert keywords(catalogue.TOOLS[name].input) <= schema.KEYWORDS | schema.ANNOTATIONS


_EXAMPLES: dict[str, Any] = {
    "status": {"availableDeployments": [
        {"kind": "ownDev", "class": "dev", "access": "free", "deploymentSelector": "s", "url": "u", "grant": None,
         "seconds_left": None},
    ]},
    "data": {"page": [{"_id": "1"}], "isDone": True, "continueCursor": "c"},
    "tables": {"tables": {"messages": {"inferredSchema": {}}}},
    "functionSpec": [{"identifier": "a.js:b"}],
    "run": {"result": None, "logLines": ["log: x"]},
    "envList": {"variables": [{"name": "A"}]},
    "envGet": {"value": None},
    "envSet": {"success": True},
    "envRemove": {"success": True},
    "runOneoffQuery": {"result": {"a": [1]}, "logLines": []},
    "logs": {"entries": "", "newCursor": 1.5},
    "insights": {"insights": [], "summary": "No issues.", "dashboardUrl": "https://x"},
    "gate_explain": {"decision": DENIAL},
    "gate_request_access": {"id": "req-1", "merged": False, "approvers": ["human:ada"]},
    "gate_grants": {"grants": [{}]},
    "gate_drop": {"grant": {"id": "grt-1"}},
}  # fmt: skip


@pytest.mark.parametrize("name", catalogue.TOOLS)
def test_results_refusals_and_nothing_else_fit_the_output_schema(name: str) -> None:
    """Clients drop an answer that does not: a refusal has to reach the model as much as a result."""
    tool = catalogue.TOOLS[name]
    validator = jsonschema.Draft202012Validator(tool.output)
    error = GateError("limit", "m", remedy="r")
    for result in (
        answers.data(tool, _EXAMPLES[name]),
        answers.denial(DENIAL),
        answers.failure(error),
        answers.wrong_arguments(tool, ["x"]),
    ):
        validator.validate(result["structuredContent"])
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({})
    with pytest.raises(jsonschema.ValidationError):
        validator.validate([])


@pytest.mark.parametrize(
    ("more", "good"),
    [
        ({"decision": "dec-1"}, True),
        ({"deployment": "prod", "effects": ["deployment:data:view"]}, True),
        ({"decision": "dec-1", "max_uses": 3}, True),
        ({}, False),
        ({"deployment": "prod"}, False),
        ({"effects": ["deployment:data:view"]}, False),
        ({"decision": "dec-1", "deployment": "prod"}, False),
        ({"decision": "dec-1", "deployment": "prod", "effects": ["x"]}, False),
        ({"deployment": "prod", "effects": []}, False),
        ({"decision": "dec-1", "ttl": "30"}, False),
        ({"decision": "dec-1", "ttl": "0m"}, False),
        ({"decision": "dec-1", "ttl": "30m\n"}, False),
        ({"decision": "dec-1", "max_uses": 0}, False),
        ({"decision": "dec-1", "max_uses": 1.5}, False),
        ({"decision": "dec-1", "ack_risk": "yes"}, False),
        ({"decision": 5}, False),
        ({"decision": "dec-1", "approve": True}, False),
    ],
)
def test_access_is_asked_for_in_one_of_two_ways(more: dict[str, Any], good: bool) -> None:
    asked = {"ticket": "OPS-1", "reason": "because", "ttl": "30m", "ack_risk": True} | more
    assert (catalogue.TOOLS["gate_request_access"].problems(asked) == []) == good
