"""Which calls a scope covers, and which paths are understood at all."""

import string

import pytest
from hypothesis import assume, given, strategies as st
from leases import ENV_VIEW, VIEW, WRITE, scope

from gate.proxy import functions
from gate.proxy.functions import HELPERS, Call, canonical, check, check_untyped, read_call, typed, writes
from gate.proxy.lease import Scope
from gate.proxy.refusal import Refused

WRITERS = sorted(path for path, helper in HELPERS.items() if helper.writes)
COMMANDS = sorted({command for helper in HELPERS.values() for command in helper.commands} | {"logs", "export"})
EFFECTS = sorted({effect for helper in HELPERS.values() for need in helper.needs for effect in need})


def call(path: str, component: str | None = None, **arguments: object) -> Call:
    return Call(path, component, arguments)


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("messages:list", "messages:list"),
        ("messages.js:list", "messages:list"),
        ("a/b/c", "a/b/c:default"),
        ("_system/cli/tables", "_system/cli/tables:default"),
        ("my-mod/x.y:f", "my-mod/x.y:f"),
    ],
)
def test_paths_have_one_plain_form(path: str, plain: str) -> None:
    assert canonical(path) == plain
    assert canonical(plain) == plain


@pytest.mark.parametrize(
    "path",
    [
        "",
        ":",
        "/messages:list",
        "a//b",
        "a/../b",
        "./a",
        "..",
        "a:b:c",
        "a:",
        "a%2fb",
        "a\\b",
        "a b",
        "a\n",
        "\uff41:b",
        "a\0",
    ],
)
def test_paths_in_other_spellings_are_not_understood(path: str) -> None:
    with pytest.raises(Refused):
        canonical(path)


@given(st.text(alphabet=string.printable + "\u017f\u2026\uff0f", max_size=40))
def test_no_other_spelling_is_a_system_path(path: str) -> None:
    """No spelling of a system path passes for one of the application's."""
    try:
        plain = canonical(path)
    except Refused:
        return
    assert plain.startswith("_system/") == path.startswith("_system/")


@given(
    st.sampled_from(WRITERS),
    st.sampled_from(COMMANDS),
    st.frozensets(st.sampled_from(EFFECTS)),
    st.frozensets(st.sampled_from([*WRITERS, "messages:send"])),
)
def test_system_writes_pass_only_by_name_and_with_the_effect(
    path: str, command: str, effects: frozenset[str], named: frozenset[str]
) -> None:
    try:
        check(call(path, table="messages"), Scope(effects, command, functions=named))
    except Refused:
        return
    assert path in named
    assert {VIEW, WRITE} <= effects
    assert command in {"run", "dev"}


@given(st.from_regex(r"_system/[a-z]{1,8}/[a-z]{1,8}:[a-z]{1,8}", fullmatch=True), st.sampled_from(COMMANDS))
def test_unlisted_system_functions_are_refused_even_when_named(path: str, command: str) -> None:
    assume(path not in HELPERS)
    everything = Scope(frozenset(EFFECTS), command, functions=frozenset({path}))
    with pytest.raises(Refused):
        check(call(path), everything)


@pytest.mark.parametrize(
    ("asked", "of"),
    [
        (call("messages:list"), scope("run", VIEW)),
        (call("messages:list"), scope("run", VIEW, functions=["messages:list"], components=[""])),
        (call("messages:list", ""), scope("run", VIEW, components=[])),
        (call("messages:list", "billing"), scope("run", VIEW, components=["billing"])),
        (call("_system/cli/tableData:default", table="messages"), scope("data", VIEW, tables=["messages"])),
        (call("_system/cli/queryEnvironmentVariables:get", name="A"), scope("env get", ENV_VIEW, variables=["A"])),
        (call("_system/cli/queryEnvironmentVariables:default"), scope("env list", ENV_VIEW)),
        (call("_system/cli/queryEnvironmentVariables:default"), scope("dev", "deployment:deploy")),
        (
            call("_system/cli/queryEnvironmentVariables:default"),
            scope("run", ENV_VIEW, functions=["_system/cli/queryEnvironmentVariables:default"]),
        ),
    ],
)
def test_what_was_decided_passes(asked: Call, of: Scope) -> None:
    check(asked, of)


@pytest.mark.parametrize(
    ("asked", "of", "why"),
    [
        (call("messages:list"), scope("run"), "needs deployment:data:view"),
        (call("messages:list"), scope("data", VIEW), "calls no functions"),
        (call("messages:send"), scope("run", VIEW, functions=["messages:list"]), "not the function"),
        (call("messages:list", "billing"), scope("run", VIEW, components=[]), "component"),
        (call("messages:list"), scope("run", VIEW, components=["billing"]), "component"),
        (call("_system/cli/tableData:default", table="users"), scope("data", VIEW, tables=["messages"]), "table"),
        (call("_system/cli/tableData:default"), scope("data", VIEW, tables=["messages"]), "table"),
        (call("_system/cli/tableData:default", table=["messages"]), scope("data", VIEW, tables=["messages"]), "table"),
        (call("_system/cli/tableData:default", componentId="k1"), scope("data", VIEW, components=[]), "component"),
        (call("_system/cli/tableData:default", table="a"), scope("run", VIEW), "not part of run"),
        (call("_system/cli/tables:default"), scope("data"), "needs deployment:data:view"),
        (call("_system/cli/tableSize:default", tableName="a"), scope("run", VIEW), "needs deployment:deploy"),
        (
            call("_system/cli/queryEnvironmentVariables:default"),
            scope("env list", ENV_VIEW, variables=["A"]),
            "variables",
        ),
        (call("_system/cli/queryEnvironmentVariables:get"), scope("env get", ENV_VIEW, variables=["A"]), "variables"),
        (
            call("_system/cli/queryEnvironmentVariables:get", name={"A": 1}),
            scope("env get", ENV_VIEW, variables=["A"]),
            "variables",
        ),
        (
            call("_system/cli/queryEnvironmentVariables:default"),
            scope("run", "deployment:deploy", functions=["_system/cli/queryEnvironmentVariables:default"]),
            "needs deployment:env:view",
        ),
    ],
)
def test_what_was_not_decided_is_refused(asked: Call, of: Scope, why: str) -> None:
    with pytest.raises(Refused, match=why):
        check(asked, of)


@pytest.mark.parametrize(
    ("asked", "of", "kind", "changes"),
    [
        (call("m:f"), scope("run", VIEW, kinds=["query"]), "query", False),
        (call("m:f"), scope("run", VIEW), "query", False),
        (call("m:f"), scope("run", VIEW, WRITE, kinds=["internal mutation"]), "mutation", True),
        (call("m:f"), scope("run", VIEW, WRITE, kinds=["action", "internal action"]), "action", True),
        (call("m:f"), scope("run", VIEW, WRITE), None, True),
        (call("m:f"), scope("run", VIEW, WRITE, kinds=["query", "mutation"]), None, True),
        (call("m:f", "billing"), scope("run", VIEW, WRITE, kinds=["query"]), None, True),
        (call("_system/cli/tables:default"), scope("run", VIEW, WRITE, kinds=["internal mutation"]), "query", False),
        (call("_system/cli/tables:default", "billing"), scope("run", VIEW), None, False),
        (call("_system/frontend/createTable:default"), scope("run", VIEW, WRITE), "mutation", True),
    ],
)
def test_calls_go_out_as_the_kind_that_was_decided(asked: Call, of: Scope, kind: str | None, changes: bool) -> None:
    assert typed(asked, of) == kind
    assert writes(asked, of) is changes
    check_untyped(asked, of)


def test_a_call_inside_a_component_counts_as_a_mutation() -> None:
    with pytest.raises(Refused, match="may turn out to be a mutation"):
        check_untyped(call("m:f", "billing"), scope("run", VIEW, kinds=["query"]))


@given(st.frozensets(st.sampled_from(["query", "mutation", "action", "internal query"])), st.booleans())
def test_without_the_effect_nothing_but_a_query_goes_out(kinds: frozenset[str], some: bool) -> None:
    of = scope("run", VIEW, kinds=kinds if some else None)
    assert typed(call("m:f"), of) == "query"


@pytest.mark.parametrize("message", [{}, {"path": 1}, {"path": "m:f", "args": [1]}, {"path": "m:f", "args": [{}, {}]}])
def test_malformed_calls_are_refused(message: dict[str, object]) -> None:
    with pytest.raises(Refused, match="malformed"):
        read_call(message, "path")
    with pytest.raises(Refused, match="malformed"):
        read_call({"path": "m:f", "componentPath": 1}, "path")


def test_arguments_come_as_an_object_or_in_a_list() -> None:
    for args in ({"a": 1}, [{"a": 1}]):
        assert read_call({"path": "m:f", "args": args}, "path").arguments == {"a": 1}
    assert read_call({"path": "m:f", "args": []}, "path").arguments == {}
    assert functions.read_call({"path": "m:f"}, "path").arguments == {}
