"""Foreign text around the gate's part keeps its bytes, whatever it is and wherever it goes afterwards."""

import dataclasses
import json
import tomllib
from typing import Any

import pytest
from hypothesis import assume, example, given, settings, strategies as st

from gate.agents import catalogue, edit, jsonc, toml_text
from gate.agents.catalogue import File
from gate.agents.pieces import Item, Member, Misfit, added, never, state
from gate.errors import ConfigInvalid

GATE = "/opt/gate tools/bin/gate"
FILES = [
    file
    for agent in catalogue.AGENTS
    for managed in (False, True)
    for file in catalogue.files(agent, GATE, managed=managed)
]
JSON_FILES = [file for file in FILES if file.format == "json"]
# One of the many rules stands for all; the whole file has its round trip in test_plan.py.
TOML_FILES = [dataclasses.replace(file, pieces=file.pieces[:7]) for file in FILES if file.format == "toml"]
TEXT_FILES = [file for file in FILES if file.format == "text"]
_NAMES = st.sampled_from(
    ["hooks", "PreToolUse", "mcpServers", "gate", "other", "env", "permissions", "deny", "mcp", "version", "ü 🗝", '"\\']
)
_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@st.composite
def json_texts(draw: st.DrawFn, newline: str | None = None) -> str:
    """A JSON object as a person might write it: comments, tabs, trailing commas, any spacing."""
    eol = newline or draw(st.sampled_from(["\n", "\r\n"]))
    spaces = st.sampled_from(
        ["", " ", "\t", eol, eol + "  ", eol + "\t", f" // , {{ ] {eol}", '/* } " */', f" {eol}{eol} "]
    )

    def value(depth: int) -> str:
        kind = draw(st.sampled_from("sso" if depth else "o"))
        if kind == "s" or depth > 3:
            return json.dumps(draw(_SCALARS), ensure_ascii=draw(st.booleans()))
        if draw(st.booleans()) and depth:
            inner = [value(depth + 1) for _ in range(draw(st.integers(0, 3)))]
            return many("[", inner, "]")
        names = draw(st.lists(_NAMES, unique=True, max_size=4))
        return many("{", [f"{json.dumps(name)}{gap()}:{gap()}{value(depth + 1)}" for name in names], "}")

    def gap() -> str:
        return draw(spaces)

    def many(opening: str, children: list[str], closing: str) -> str:
        body = ",".join(f"{gap()}{child}{gap()}" for child in children)
        commas = draw(st.booleans())
        trailing = "," + gap() if children and commas else ""
        return opening + (body + trailing or gap()) + closing

    return gap() + value(0) + gap()


@settings(max_examples=150, deadline=None)
@given(json_texts(), st.sampled_from(JSON_FILES))
@example("{}", JSON_FILES[0])
@example('{"a": 1}', JSON_FILES[0])
@example('{\r\n\t"hooks": { },\r\n\t"mcpServers": {\r\n\t}\r\n}', JSON_FILES[1])
def test_json_comes_back_to_the_byte(text: str, file: File) -> None:
    """Also with a comment put before it since, when no copy of what was there can be compared."""
    try:
        after, _ = edit.installed(file, "f", text)
    except ConfigInvalid as refused:
        if "is no" not in refused.message:
            raise
        return
    _holds_all(file, text, after)
    assert edit.installed(file, "f", after)[0] == after
    assert edit.uninstalled(file, "f", after, text) == text
    assert edit.uninstalled(file, "f", "// mine\n" + after, text) == "// mine\n" + text


def _holds_all(file: File, before: str, after: str) -> None:
    """The data is what it was with each piece added that was not there, and nothing else."""
    read: Any = jsonc.data if file.format == "json" else toml_text.data
    wanted = read(before)
    foreign = 0
    for piece in file.pieces:
        how = state(wanted, piece)
        foreign += how == "foreign"
        wanted = added(wanted, piece, first=file.format == "json") if how == "absent" else wanted
    assert read(after) == wanted
    assert foreign <= 2


_TOML_TEXTS = [
    "",
    "# only a comment",
    'model = "o5"',
    "a = 1\n\n[b]\nc = [\n  1, # one\n  2,\n]\n",
    'title = """\n[shell_environment_policy]\nexclude = [\n"""\n[shell_environment_policy] # mine\ninherit = "all"\n',
    "[shell_environment_policy]",
    '[shell_environment_policy]\nexclude = []\nset = { A = "1" }\n',
    '[shell_environment_policy]\nexclude = ["AWS_*"] # keep\n\n[shell_environment_policy.set]\n# nothing\n',
    'shell_environment_policy = { inherit = "core", exclude = ["X"] }\n',
    'shell_environment_policy.inherit = "all"\nshell_environment_policy.set.A = "ü"\n',
    '[mcp_servers.other]\ncommand = "x"\n[mcp_servers.other.env]\nA = "b"',
    'mcp_servers = { other = { command = "x" } }\n',
    "[mcp_servers]\n",
    "x = nan\ny = inf\nd = 1979-05-27T07:32:00Z\n",
    "\t[ features ]  # spaced\n\tunified_exec = true\n",
    'hooks.PreToolUse = []\n[rules]\nprefix_rules = [{ pattern = [{ token = "rm" }], decision = "prompt" }]\n',
    '[[hooks.PreToolUse]]\nmatcher = "Bash"\n[[hooks.PreToolUse.hooks]]\ntype = "command"\ncommand = "mine"\n',
    '[[rules.prefix_rules]]\npattern = [{ token = "rm" }]\ndecision = "forbidden"\n',
    'allow_managed_hooks_only = false\nallowed_sandbox_modes = ["read-only"]\n[features]\n',
]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("text", _TOML_TEXTS)
@pytest.mark.parametrize("file", TOML_FILES, ids=lambda file: str(file.path))
def test_toml_comes_back_to_the_byte(file: File, text: str, newline: str) -> None:
    """Every form in which the same tables can be written."""
    _round_trip(file, text.replace("\n", newline))


def _round_trip(file: File, text: str) -> None:
    after, _ = edit.installed(file, "f", text)
    read = toml_text.data(after)
    assert all(state(read, piece) != "absent" for piece in file.pieces)
    assert edit.installed(file, "f", after)[0] == after
    assert edit.uninstalled(file, "f", after, text) == text
    newline = "\r\n" if "\r\n" in text else "\n"
    assert edit.uninstalled(file, "f", f"# mine{newline}{after}", text) == f"# mine{newline}{text}"


_TOML_NAMES = st.sampled_from(["a", "b-c", "mcp_servers", "other", "set", "exclude", "features", '"ü 🗝"'])
_TOML_VALUES = st.sampled_from(
    ["1", "-0.5", "nan", "true", '"x # [y]"', "'''a\n[z]\n'''", "[1, 2]", "[\n  'a', # b\n]", '{ k = "v" }', "07:32:00"]
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(_TOML_NAMES, _TOML_VALUES).map(lambda pair: f"{pair[0]} = {pair[1]}"),
            st.lists(_TOML_NAMES, min_size=1, max_size=3).map(lambda names: f"[{'.'.join(names)}]"),
            st.sampled_from(["", "# [mcp_servers.gate]", "   ", "\t# é"]),
        ),
        max_size=8,
    ),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.sampled_from(TOML_FILES),
)
def test_generated_toml_comes_back_or_is_refused_whole(lines: list[str], newline: str, ends: bool, file: File) -> None:
    """What is taken holds exactly the pieces more; a form that cannot be edited is refused."""
    text = "\n".join([*lines, ""] if ends else lines).replace("\n", newline)
    try:
        before = toml_text.data(text)
    except tomllib.TOMLDecodeError:
        with pytest.raises(ConfigInvalid, match=r"^f:\d+:\d+: no TOML"):
            edit.installed(file, "f", text)
        return
    try:
        _round_trip(file, text)
    except ConfigInvalid as refused:
        if "by hand" not in refused.message and "is no" not in refused.message:
            raise
    assert toml_text.data(text) == before


@settings(max_examples=100, deadline=None)
@given(st.text().filter(lambda text: "gate:" not in text), st.text(), st.sampled_from(TEXT_FILES))
def test_a_paragraph_of_text_comes_back_to_the_byte(text: str, more: str, file: File) -> None:
    """Also after text was written above it, and under it where the file ended with a newline."""
    after, _ = edit.installed(file, "f", text)
    assert after.startswith(text)
    assert edit.installed(file, "f", after)[0] == after
    assert edit.uninstalled(file, "f", after, text) == text
    assume("gate:" not in more)
    # Where nothing was, no blank line was put in: one that somebody left above the paragraph is taken for it.
    if text or not more.endswith("\n"):
        assert edit.uninstalled(file, "f", f"{more}\n{after}", text) == f"{more}\n{text}"
    if text.endswith("\n") and "\r" not in text + more:
        assert edit.uninstalled(file, "f", after + more, text) == text + more


def test_a_paragraph_of_another_version_is_replaced_in_its_place() -> None:
    """What stands above and below stays where it is."""
    file = TEXT_FILES[-1]
    begin, end = file.marks
    text = f"above\r\n{begin}\r\nold\r\n{end}\r\nbelow\r\n"
    after, _ = edit.installed(file, "f", text)
    assert after == "above\r\n" + catalogue.marked(file).replace("\n", "\r\n") + "\r\nbelow\r\n"


@pytest.mark.parametrize("text", ["{begin}\n", "{end}\n{begin}\n", "{begin}\n{begin}\n{end}\n", "x\n{end}"])
def test_marks_that_make_no_pair_are_refused(text: str) -> None:
    """The gate cannot know what is its own then."""
    file = TEXT_FILES[-1]
    broken = text.format(begin=file.marks[0], end=file.marks[1])
    with pytest.raises(ConfigInvalid, match=r"^CLAUDE.md:1:1: .*one pair of the marks"):
        edit.installed(file, "CLAUDE.md", broken)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("", "1:1"),
        ("{", "1:2"),
        ('{"a": 1}}', "1:9"),
        ('{\n  "a": tru\n}', "2:8"),
        ('{"a": 1, "a": 2}', "1:10"),
        ("{'a': 1}", "1:2"),
        ('{"a" 1}', "1:6"),
        ('{"a": 1 "b": 2}', "1:9"),
        ('{"a": "\n"}', "1:7"),
        ('{"a": 01}', "1:8"),
        ('{"a": NaN}', "1:7"),
        ("[" * 200, "1:101"),
        ('{"mcpServers": 3}', "1:16"),
        ('{\n "mcpServers": []}', "2:16"),
        ('["a"]', "1:1"),
    ],
)
def test_broken_json_is_refused_with_its_position(text: str, position: str) -> None:
    """Nothing is guessed; duplicates are broken too, for readers differ in which one counts."""
    file = next(file for file in JSON_FILES if file.path == ".mcp.json")
    with pytest.raises(ConfigInvalid) as refused:
        edit.installed(file, ".mcp.json", text)
    assert refused.value.message.startswith(f".mcp.json:{position}: ")


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a = 1\nb = = 2\n", "f:2:5: "),
        ("a = [", "f:1:6: "),
        ("mcp_servers = 1\n", "f:1:1: mcp_servers is no table"),
        ("[shell_environment_policy]\nexclude = 3\n", "f:1:1: shell_environment_policy.exclude is no list"),
    ],
)
def test_broken_toml_is_refused_with_its_position(text: str, start: str) -> None:
    """And so is a table that is something else."""
    with pytest.raises(ConfigInvalid) as refused:
        edit.installed(TOML_FILES[0], "f", text)
    assert refused.value.message.startswith(start)


def test_bytes_that_are_no_text_are_refused_with_their_position() -> None:
    """A byte order mark too: the agents' readers differ."""
    with pytest.raises(ConfigInvalid, match=r"^f:2:3: not UTF-8"):
        edit.decoded("f", b"ok\nab\xff")
    with pytest.raises(ConfigInvalid, match=r"^f:1:1: .*byte order mark"):
        edit.decoded("f", b"\xef\xbb\xbf{}")


def test_what_somebody_else_set_stays_and_is_said() -> None:
    """An administrator's stricter list, and a server of that name that is none of ours."""
    strict = 'allowed_sandbox_modes = ["read-only"]\nallow_managed_hooks_only = 1\n'
    after, found = edit.installed(TOML_FILES[1], "r", strict)
    assert [line.split(" ", 2)[1] for line in found] == ["allow_managed_hooks_only", "allowed_sandbox_modes"]
    assert after.endswith(strict) is False
    assert toml_text.data(after)["allowed_sandbox_modes"] == ["read-only"]
    server = next(file for file in JSON_FILES if file.path == ".mcp.json")
    text = '{"mcpServers": {"gate": {"command": "/usr/bin/turnstile"}}}'
    assert edit.installed(server, "m", text)[0] == text
    assert edit.uninstalled(server, "m", text, None) == text


def test_what_was_there_before_is_not_taken_out() -> None:
    """A person had excluded the variables already, and set the mode."""
    text = '[shell_environment_policy]\nexclude = ["CONVEX_*"]\nset = { CONVEX_AGENT_MODE = "anonymous" }\n'
    after, _ = edit.installed(TOML_FILES[0], "c", text)
    assert edit.uninstalled(TOML_FILES[0], "c", "# new\n" + after, text) == "# new\n" + text


@pytest.mark.parametrize("file", JSON_FILES + TOML_FILES, ids=lambda file: str(file.path))
def test_pieces_of_another_version_are_replaced_and_taken_out(file: File) -> None:
    """The program moved: its old entries are known by what they run, and none is left beside the new."""
    twin = next(
        other
        for agent in catalogue.AGENTS
        for managed in (False, True)
        for other in catalogue.files(agent, "/old/bin/gate", managed=managed)
        if other.path == file.path
    )
    twin = dataclasses.replace(twin, pieces=twin.pieces[: len(file.pieces)])
    text = "# x\n" if file.format == "toml" else '{\n  "x": [1, 2],\n  "hooks": {}\n}\n'
    old, _ = edit.installed(twin, "f", text)
    new, _ = edit.installed(file, "f", old)
    assert "/old/bin" not in new
    assert edit.installed(file, "f", new)[0] == new
    assert edit.uninstalled(file, "f", old, text) == text
    assert edit.uninstalled(file, "f", new, text) == text


def test_a_handler_put_beside_ours_stays() -> None:
    """Somebody added a hook of their own to the gate's group: only the gate's handler goes, in either format."""
    for file in (JSON_FILES[0], TOML_FILES[1]):
        text = "{}\n" if file.format == "json" else ""
        after, _ = edit.installed(file, "f", text)
        mark = '"hooks": [' if file.format == "json" else "hooks = ["
        own = '{"type": "command", "command": "mine"}, ' if file.format == "json" else '{ command = "mine" }, '
        mixed = after.replace(mark, mark + own)
        assert mixed != after
        assert edit.installed(file, "f", mixed)[0] == mixed
        left = edit.uninstalled(file, "f", mixed, text) or ""
        assert '"mine"' in left
        assert "hook codex" not in left


def test_members_that_others_rely_on_stay_with_them() -> None:
    """Cursor reads no hooks without `version`; alone it is nothing worth keeping."""
    file = next(file for file in JSON_FILES if file.path == ".cursor/hooks.json")
    after, _ = edit.installed(file, "f", None)
    assert edit.uninstalled(file, "f", after, None) is None
    assert edit.uninstalled(file, "f", after.replace("timeout 2", "timeout 1"), None) is None
    own = after.replace('"hooks": {', '"hooks": {\n    "stop": [{"command": "mine"}],')
    assert jsonc.data(edit.uninstalled(file, "f", own, None) or "") == {
        "version": 1,
        "hooks": {"stop": [{"command": "mine"}]},
    }


def test_a_file_that_gate_had_no_part_in_stays() -> None:
    """Even an empty object: nobody said that it may go."""
    for file in JSON_FILES:
        assert edit.uninstalled(file, "f", "{}", None) == "{}"
    for file in TOML_FILES + TEXT_FILES:
        assert edit.uninstalled(file, "f", "\n", None) == "\n"


def test_lines_changed_inside_our_table_go_with_it() -> None:
    """A timeout that somebody tuned is still the gate's server; the comment above the next table is not."""
    text = 'model = "x"\n'
    after, _ = edit.installed(TOML_FILES[0], "f", text)
    tuned = after.replace("tool_timeout_sec = 120\n", "tool_timeout_sec = 5 # slow\n\n# about the policy\n")
    left = edit.uninstalled(TOML_FILES[0], "f", tuned, text)
    assert left == 'model = "x"\n\n# about the policy\n'


def test_a_form_that_cannot_be_edited_is_refused() -> None:
    """A server of the gate's in an inline table, of another version: a person has to do that."""
    text = 'mcp_servers = { gate = { args = ["mcp"], command = "/old/gate" } }\n'
    with pytest.raises(ConfigInvalid, match="by hand"):
        edit.installed(TOML_FILES[0], "f", text)


def test_paths_through_what_is_no_table_are_misfits() -> None:
    """The way to a piece is checked as its end is."""
    assert never("x") is False
    for data in ({"a": 1}, {"a": {"b": 2}}):
        with pytest.raises(Misfit):
            added(data, Member(("a", "b", "c"), 1))
    with pytest.raises(Misfit):
        state({"a": {}}, Item(("a",), 1))
    assert state({"a": [True]}, Item(("a",), 1)) == "absent"
