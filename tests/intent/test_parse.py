"""Command lines as intents: effects, resources, what the child gets, and what is refused."""

import time

import pytest
from hypothesis import given, settings, strategies as st

from gate.errors import GateError
from gate.intent.commander import parse
from gate.intent.commands import COMMANDS, ROOT, SELECTING
from gate.intent.effects import EFFECTS
from gate.intent.intent import DIMENSIONS, Intent, Selection
from gate.intent.parse import read_intent

_PUSH = ("deployment:deploy", "deployment:env:view", "local:run")
_VIEW = ("deployment:data:view",)


def _read(line: str) -> Intent:
    return read_intent(line.split())


@pytest.mark.parametrize(
    ("line", "effects"),
    [
        ("run f", ()),
        ("run f --identity {}", ("deployment:functions:actAsUser",)),
        ("run f --push", _PUSH),
        ("run f --identity {} --push", (_PUSH[0], _PUSH[1], "deployment:functions:actAsUser", _PUSH[2])),
        ("run --inline-query 1", (*_VIEW, "deployment:functions:runTestQuery")),
        ("run --inline-query 1 --push", (*_VIEW, *_PUSH[:2], "deployment:functions:runTestQuery", _PUSH[2])),
        ("run _system/cli/queryEnvironmentVariables", ("deployment:env:view",)),
        (
            "run _system/frontend/addDocument",
            (*_VIEW, "deployment:data:write", "deployment:functions:runInternalMutations"),
        ),
        (
            "run api._system.frontend.somethingNew",
            (*_VIEW, "deployment:data:write", "deployment:env:view", "deployment:functions:runInternalMutations"),
        ),
        ("data", _VIEW),
        ("function-spec", _VIEW),
        ("logs", ("deployment:logs:view",)),
        ("insights", ("deployment:insights:view",)),
        ("export --path x.zip", ("deployment:backups:create", "deployment:backups:download")),
        ("import x.zip", ("deployment:backups:import", "deployment:data:write")),
        ("env list", ("deployment:env:view",)),
        ("env get A", ("deployment:env:view",)),
        ("env set A b", ("deployment:env:write",)),
        ("env rm A", ("deployment:env:write",)),
        ("deploy", _PUSH),
        ("dev", _PUSH),
        ("dev --once", _PUSH),
        ("codegen", _PUSH),
        ("init", ("local:write",)),
        ("deployment token create x", ("deployment:token:create",)),
        ("deployment token delete x", ("deployment:token:delete",)),
        ("dash --no-open", ()),
        ("docs", ()),
        ("update", ()),
        ("help run", ()),
        ("run f --help", ()),
        ("run f --version", ()),
    ],
)
def test_effects_of_each_command(line: str, effects: tuple[str, ...]) -> None:
    intent = _read(line)
    assert intent.effects == effects
    assert set(effects) <= EFFECTS


@pytest.mark.parametrize(
    ("line", "resources"),
    [
        ("run messages:send", {"functions": ("messages:send",), "tables": None}),
        (
            "run f --component workflow/pool",
            {"functions": ("f:default",), "tables": None, "components": ("workflow/pool",)},
        ),
        ("run f --component=", {"functions": ("f:default",), "tables": None}),
        ("run f --push", dict.fromkeys(DIMENSIONS)),
        ("run --inline-query 1", {"functions": None, "tables": None}),
        ("run --inline-query 1 --component _App", {"functions": None, "tables": None}),
        ("run --inline-query 1 --component w", {"functions": None, "tables": None, "components": ("w",)}),
        (
            "run _system/cli/queryEnvironmentVariables:get",
            {"functions": ("_system/cli/queryEnvironmentVariables:get",), "tables": None, "variables": None},
        ),
        ("data messages", {"tables": ("messages",)}),
        ("data messages --component w", {"tables": ("messages",), "components": ("w",)}),
        ("data", {"tables": None}),
        ("export --path x", {"tables": None}),
        ("import x.zip", {"tables": None}),
        ("import --table t x.jsonl", {"tables": ("t",)}),
        ("import --table t x.jsonl --replace-all", {"tables": None}),
        ("env list", {"variables": None}),
        ("env get A", {"variables": ("A",)}),
        ("env unset A", {"variables": ("A",)}),
        ("env set A", {"variables": ("A",)}),
        ("env set A=b=c", {"variables": ("A",)}),
        ("env set _A=b", {"variables": ("_A=b",)}),
        ("env set", {"variables": None}),
        ("env set --from-file x", {"variables": None}),
        ("env set A --from-file x", {"variables": ("A",)}),
        ("deploy", dict.fromkeys(DIMENSIONS)),
        ("dev --run f", dict.fromkeys(DIMENSIONS)),
        ("logs", {}),
        ("function-spec", {}),
    ],
)
def test_resources_of_each_command(line: str, resources: dict[str, object]) -> None:
    assert dict(_read(line).resources) == resources


def test_empty_variable_name_is_bulk_input() -> None:
    """The CLI reads stdin then, whatever follows."""
    assert read_intent(["env", "set", "", "x"]).resources == {"variables": None}


@pytest.mark.parametrize(
    ("line", "command", "default"),
    [
        ("deploy", "deploy", "prod"),
        ("data", "data", "own"),
        ("env unset A", "env remove", "own"),
        ("dash", "dashboard", "own"),
        ("docs", "docs", "none"),
        ("update", "update", "none"),
        ("", "--help", "none"),
        ("env", "--help", "none"),
        ("help nothing", "--help", "none"),
        ("deployment help", "--help", "none"),
        ("-V run f", "--version", "none"),
    ],
)
def test_names_and_defaults(line: str, command: str, default: str) -> None:
    intent = _read(line)
    assert (intent.command, intent.default) == (command, default)


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        ("logs", True),
        ("dev", True),
        ("dev --once", False),
        ("run f --watch", True),
        ("run f", False),
        ("deploy", False),
    ],
)
def test_what_stays_until_it_is_stopped(line: str, stays: bool) -> None:
    assert _read(line).stays is stays


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("api.foo.bar", "foo:bar"),
        ("internal.a.b.c", "a/b:c"),
        ("foo", "foo:default"),
        ("foo.js:bar", "foo:bar"),
        ("dir/foo.mts:bar", "dir/foo:bar"),
        ("convex/foo:bar", "foo:bar"),
        ("convex/foo.ts", "foo:default"),
        ("foo:bar:baz", "foo:bar"),
    ],
)
def test_function_names_are_canonical(name: str, path: str) -> None:
    intent = _read(f"run {name}")
    assert (intent.function, intent.kind_known) == (path, False)


@pytest.mark.parametrize(
    "name",
    ["api.foo", "foo:", "", "./foo:bar", "../foo:bar", "a//b:c", "/a:b", "a/:b", "foo.js.js:bar", "foo:b c",
     "foo:ünder", "a\\b:c", "_system\\frontend:x", "convex/../_system/cli/x:y", "a%2fb:c", "foo:a-b", ":x"],
)  # fmt: skip
def test_other_spellings_of_a_function_are_refused(name: str) -> None:
    """Nothing that a rule about functions could miss and the backend could take."""
    with pytest.raises(GateError) as refusal:
        read_intent(["run", name])
    assert refusal.value.code == "unknown_option"


def test_functions_of_convex_itself_need_no_look_up() -> None:
    intent = _read("run _system/cli/tables")
    assert (intent.function, intent.kind_known) == ("_system/cli/tables:default", True)


def test_dev_run_calls_a_function() -> None:
    intent = _read("dev --once --run api.init.go")
    assert (intent.function, intent.kind_known) == ("init:go", False)


@pytest.mark.parametrize(
    "line",
    ["deploy --write-push-request x", "deploy --debug-bundle-path x", "deploy --preview-create x", "dev --prod",
     "dev --configure", "dev --configure=new", "dev --team t", "dev --project p", "dev --dev-deployment local",
     "dev --deployment x", "dev --local", "dev --cloud", "dev --override-auth-url x", "dev --local-force-upgrade",
     "codegen --system-udfs", "run", "run --push"],
)  # fmt: skip
def test_options_that_open_more_are_refused(line: str) -> None:
    with pytest.raises(GateError) as refusal:
        _read(line)
    assert refusal.value.code == "unknown_option"
    assert refusal.value.remedy


@pytest.mark.parametrize(
    "line", ["login", "mcp start", "deployment create x", "project create", "env default list", "network-test", "runn"]
)
def test_other_commands_are_unknown(line: str) -> None:
    with pytest.raises(GateError) as refusal:
        _read(line)
    assert refusal.value.code == "unknown_command"


def test_selection_is_taken_out_of_the_childs_words() -> None:
    intent = read_intent(
        ["run", "--env-file=.env.x", "f", '{"a": " --prod "}', "--prod", "--deployment", "dev", "-w", "--url", "--prod"]
    )
    assert intent.child_argv == ("run", "f", '{"a": " --prod "}', "-w")
    assert intent.selection == Selection(url="--prod", prod=True, deployment="dev", env_file=".env.x")


def test_value_of_the_admin_key_goes_nowhere() -> None:
    intent = _read("run f --url u --admin-key s3cret")
    assert intent.selection.admin_key
    assert "s3cret" not in repr(intent)


def test_options_are_told_without_selection_and_identity() -> None:
    assert _read("run f --prod --identity {} --codegen disable -w").options == {"codegen": "disable", "watch": True}


def test_words_that_would_change_their_meaning_are_refused() -> None:
    """`--save-env --prod NAME`: without --prod the name would become the file."""
    for line in ("deployment token create --save-env --prod name", "logs --history --prod -- 5"):
        with pytest.raises(GateError, match=r"mean something else|takes 0 arguments"):
            _read(line)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("run f --component --env-file", "bad_env_file"),
        ("run f -- --env-file=x", "bad_env_file"),
        ("--version --env-file x", "bad_env_file"),
        ("run f --component --admin-key", "key_in_argv"),
        ("run f -- --admin-key=s3cret", "key_in_argv"),
        ("--help run --admin-key s3cret", "key_in_argv"),
    ],
)
def test_no_key_and_no_env_file_stays_among_the_words(line: str, code: str) -> None:
    """Node looks for --env-file in every word, whatever Convex takes it for."""
    with pytest.raises(GateError) as refusal:
        _read(line)
    assert refusal.value.code == code
    assert "s3cret" not in str(refusal.value) + refusal.value.remedy


_FLAGS = sorted({option.long for command in COMMANDS for option in command.options if option.refused is None})
_WORDS = st.one_of(st.sampled_from(_FLAGS), st.sampled_from(["f", "t", "--", "x=y", "-w", "", "--help", "--prod=x"]))


@given(st.sampled_from([command.path for command in COMMANDS]), st.lists(_WORDS, max_size=7))
@settings(max_examples=400, deadline=None)
def test_child_gets_the_same_command_without_selection(path: tuple[str, ...], words: list[str]) -> None:
    """Any line that is taken: the child's words are the caller's in order, select nothing, and mean the same."""
    argv = [*path, *words]
    try:
        intent = read_intent(argv)
    except GateError:
        return
    left = iter(argv)
    assert all(word in left for word in intent.child_argv)
    again = parse(ROOT, intent.child_argv)
    if again.kind == "run":
        assert not SELECTING & again.options.keys()
        assert read_intent(intent.child_argv).resources == intent.resources
    assert set(intent.effects) <= EFFECTS


def test_columns_of_the_table_are_words_of_the_vocabulary() -> None:
    for command in COMMANDS:
        assert set(command.effects) <= EFFECTS
        assert set(command.resources) <= set(DIMENSIONS)


@pytest.mark.parametrize(
    "words",
    [
        ["data", *["x"] * 1000],
        ["data", "x" * 513],
        ["run", "x" * 513],
        ["run", "f", "--component", "x" * 513],
        ["env", "set", "X" * 513 + "=1"],
        ["deploy", "-" + "v" * 33],
        ["deploy", "-" + "vy" * 1_000_000],
        ["x" * 1_000_000],
    ],
    ids=["words", "table", "function", "component", "variable", "cluster", "long cluster", "command"],
)
def test_what_would_fill_the_record_or_the_keepers_time_is_refused(words: list[str]) -> None:
    before = time.process_time()
    with pytest.raises(GateError) as refused:
        read_intent(words)
    assert refused.value.code in {"unknown_option", "unknown_command"}
    assert len(refused.value.message) < 200
    assert time.process_time() - before < 0.5


@pytest.mark.parametrize("word", ["-vvyv", "-" + "v" * 32])
def test_clusters_are_their_letters(word: str) -> None:
    assert read_intent(["deploy", word]).options.keys() <= {"verbose", "yes"}
