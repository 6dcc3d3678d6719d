"""The port of commander against the real CLI's own parser and tree."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commander_script import SCRIPT
from hypothesis import HealthCheck, given, settings, strategies as st
from node_peer import Ask, peer

from gate.errors import GateError
from gate.intent.commander import Node, Option, Parsed, parse
from gate.intent.commands import BY_PATH, COMMANDS, ROOT

# What the port leaves to the CLI: it prints an error of its own and runs nothing.
_LEFT_TO_CONVEX = {
    "commander.invalidArgument",
    "commander.missingMandatoryOptionValue",
    "commander.conflictingOption",
}

_PATHS = [list(command.path) for command in COMMANDS]
_FLAGS = sorted(
    {flag for command in COMMANDS for option in command.options for flag in (option.long, option.short) if flag}
)
_ODD = [
    "--",
    "-",
    "",
    "-5",
    "-.5e+1",
    "--version",
    "-V",
    "--help",
    "-h",
    "-vy",
    "-yV",
    "-Vy",
    "help",
    "--prod=true",
    "-=",
    "--=x",
]
_VALUES = ["messages", "prod", "enable", "pause-on-deploy", "3", "A=b", "rm", "dash", "f:g", "--nothing", "x y", "ü"]
_words = st.one_of(
    st.sampled_from(_FLAGS),
    st.sampled_from(_VALUES),
    st.sampled_from(_ODD),
    st.builds("{}={}".format, st.sampled_from(_FLAGS), st.sampled_from(["", *_VALUES])),
)


@pytest.fixture(scope="module")
def real_commander(convex_package: Path) -> Iterator[Ask]:
    """Asked with words: how the real CLI parses them. Asked with None: its tree of commands."""
    with peer(SCRIPT, str(convex_package / "dist" / "cli.bundle.cjs"), cwd=convex_package) as ask:
        yield ask


@st.composite
def _lines(draw: st.DrawFn) -> list[str]:
    """A command with words of its own and of others strewn in, or any words."""
    words = draw(st.lists(_words, max_size=6))
    for word in reversed(draw(st.sampled_from([*_PATHS, []]))):
        words.insert(draw(st.sampled_from([0, 0, 0, 0, len(words)])), word)
    return words


def _attribute(name: str) -> str:
    first, *rest = name.removeprefix("no-").split("-")
    return first + "".join(word.capitalize() for word in rest)


def _ours(words: list[str]) -> dict[str, Any]:
    try:
        parsed = parse(ROOT, words)
    except GateError as error:
        return {"kind": "error", "code": error.code}
    if parsed.kind != "run":
        return {"kind": parsed.kind}
    options = {
        _attribute(name): "false" if name.startswith("no-") else str(value).replace("True", "true")
        for name, value in parsed.options.items()
    }
    return {"kind": "run", "path": list(parsed.path), "options": options, "operands": list(parsed.operands)}


@given(_lines())
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_reads_every_line_as_the_real_cli_does(real_commander: Ask, words: list[str]) -> None:
    """Same command, options and operands; where one runs nothing, so does the other."""
    real, ours = real_commander(words), _ours(words)
    for answer in (real, ours):
        # --push and --no-push write one attribute; the gate counts --push whatever follows it.
        answer.get("options", {}).pop("push", None)
    if ours.get("code") == "unknown_command":
        assert tuple(real.get("path", ())) not in BY_PATH
    elif real["kind"] == "error":
        assert ours["kind"] == "error" or real["code"] in _LEFT_TO_CONVEX
    else:
        assert ours == real


def test_table_holds_every_option_of_its_commands(real_commander: Ask) -> None:
    """Flags, values, choices, arguments, aliases and hidden options are the real tree's, command by command."""
    _compare(ROOT, real_commander(None))


def _compare(node: Node, real: dict[str, Any]) -> None:
    assert [_plain(option) for option in node.options] == real["options"]
    assert list(node.arguments) == real["arguments"]
    assert list(node.aliases) == real["aliases"]
    below = {command["name"]: command for command in real["commands"]}
    for child in node.commands:
        _compare(child, below[child.name])
    assert not node.commands or node.helps == real["helps"]


def _plain(option: Option) -> dict[str, Any]:
    return {"flags": option.flags, "value": option.value, "choices": list(option.choices)}


def _read(line: str) -> Parsed:
    return parse(ROOT, line.split())


def test_required_value_swallows_what_looks_like_an_option() -> None:
    assert _read("run f --component --prod").options == {"component": "--prod"}


def test_optional_value_does_not() -> None:
    assert _read("logs --history --prod").options == {"history": True, "prod": True}


def test_option_of_the_parent_is_taken_before_the_childs_value() -> None:
    parsed = _read("env set --from-file --prod x")
    assert (parsed.options, parsed.operands) == ({"prod": True, "from-file": "x"}, ())


def test_last_repetition_wins_and_every_place_is_known() -> None:
    parsed = _read("data --deployment dev t --deployment=prod")
    assert parsed.options == {"deployment": "prod"}
    assert parsed.places == {"deployment": {1, 2, 4}}


def test_two_dashes_end_the_options() -> None:
    assert _read("run f -- --prod").operands == ("f", "--prod")


@pytest.mark.parametrize(
    ("line", "code", "named"),
    [
        ("rum f", "unknown_command", "did you mean `run`"),
        ("env lost", "unknown_command", "did you mean `list`"),
        ("run f --produ", "unknown_option", "did you mean `--prod`"),
        ("run f --prod=true", "unknown_option", "--prod"),
        ("run f --component", "unknown_option", "--component wants a value"),
        ("run f --typecheck maybe", "unknown_option", "enable, try, disable"),
        ("run a b c", "unknown_option", "takes 2 arguments, not 3"),
        ("env get", "unknown_option", "wants <name>"),
    ],
)
def test_refusal_names_what_is_wrong(line: str, code: str, named: str) -> None:
    with pytest.raises(GateError) as refusal:
        _read(line)
    assert refusal.value.code == code
    assert named in refusal.value.message


@pytest.mark.parametrize(
    "line",
    ["docs --admin-key=s3cret", "docs --admin-key s3cret", "data t s3cret", "docs -s3cret", "run f --typecheck s3cret"],
)
def test_refusal_repeats_no_value(line: str) -> None:
    with pytest.raises(GateError) as refusal:
        _read(line)
    assert "s3cret" not in refusal.value.message + refusal.value.remedy


def test_short_option_with_a_value_takes_the_rest_of_the_word() -> None:
    """Convex has none yet; commander reads `-vx1` as `-v -x 1`."""
    root = Node("tool", options=(Option("-v, --verbose"), Option("-x, --extra <n>")))
    assert parse(root, ["-vx1"]).options == {"verbose": True, "extra": "1"}
