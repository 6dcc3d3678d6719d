"""What each agent's event says: the members of the hook contracts, and what is no event."""

import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gate.intent.event import AGENTS, Asked, read_event

CODEX = {
    "session_id": "s",
    "turn_id": "t",
    "cwd": "/work",
    "hook_event_name": "PreToolUse",
    "model": "m",
    "permission_mode": "default",
    "tool_name": "Bash",
    "tool_input": {"command": "ls"},
    "tool_use_id": "u",
}
GEMINI = {"session_id": "s", "cwd": "/work", "hook_event_name": "BeforeTool", "tool_name": "run_shell_command"}
CURSOR = {"conversation_id": "c", "workspace_roots": ["/work"], "hook_event_name": "beforeShellExecution"}


def asked(event: Any) -> Asked:
    return read_event(json.dumps(event).encode())


def test_the_shell_text_of_every_agent() -> None:
    """Wherever it stands, and where it would run."""
    for event in (
        CODEX,
        {**GEMINI, "tool_input": {"command": "ls", "description": "d"}},
        {**CURSOR, "command": "ls"},
        {"tool_name": "exec_command", "tool_input": {"cmd": "ls"}, "cwd": "/work"},
    ):
        read = asked(event)
        assert (read.shell, read.servers, read.unread, read.folder) == ("ls", (), False, ("/work",))


def test_the_call_may_have_a_folder_of_its_own() -> None:
    """After the session's."""
    assert asked({**CODEX, "tool_input": {"command": "ls", "workdir": "web"}}).folder == ("/work", "web")
    assert asked({**CURSOR, "command": "ls", "cwd": "/other"}).folder == ("/other",)
    assert asked({"cwd": 1, "workspace_roots": []}).folder == ()


def test_words_become_a_text() -> None:
    """As a shell takes them."""
    read = asked({"tool_name": "shell", "tool_input": {"command": ["bash", "-lc", "it's"]}})
    assert read.shell == "'bash' '-lc' 'it'\\''s'"
    assert not read.rewritable


@pytest.mark.parametrize("given_input", [{}, {"command": 1}, {"command": []}, {"command": ["a", 1]}, "ls", None])
def test_a_shell_without_a_text_is_not_taken_for_nothing(given_input: Any) -> None:
    """It is said that it could not be read."""
    read = asked({"tool_name": "Bash", "tool_input": given_input})
    assert (read.shell, read.unread) == (None, True)


@pytest.mark.parametrize(
    ("event", "of_gate", "around"),
    [
        ({"tool_name": "mcp__gate__run"}, True, False),
        ({"tool_name": "mcp__convex__run"}, False, True),
        ({"tool_name": "mcp__plugin_Convex_x__run"}, False, True),
        ({"tool_name": "mcp__my__convex__run"}, False, True),
        ({"tool_name": "mcp__gate2__run"}, False, False),
        ({"tool_name": "mcp__github__convex_search"}, False, False),
        ({"tool_name": "mcp_convex_run", "mcp_context": {"server_name": "convex"}}, False, True),
        ({"tool_name": "mcp_gate_run", "mcp_context": {"server_name": "gate"}}, True, False),
        ({"tool_name": "Bash"}, False, False),
        ({"tool_name": 1, "mcp_context": {"server_name": 1}}, False, False),
    ],
)
def test_servers_by_their_names(event: Any, of_gate: bool, around: bool) -> None:
    """The gate's own exactly, Convex's by what its name holds."""
    read = asked(event)
    assert (read.of_gate, read.around) == (of_gate, around)


def test_a_command_of_a_server_is_read_and_never_rewritten() -> None:
    """Cursor sends how the server is started; other servers run commands themselves."""
    read = asked({**CURSOR, "hook_event_name": "beforeMCPExecution", "tool_name": "run", "command": "npx x mcp"})
    assert read.shell == "npx x mcp"
    assert not read.rewritable
    assert not asked({"tool_name": "mcp__shell__run", "tool_input": {"command": "ls"}}).rewritable


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b"\xff{}", b"[" * 100_000, b"{} x"])
def test_what_is_no_event(data: bytes) -> None:
    """One kind of error for all of it."""
    with pytest.raises(ValueError, match=r".*"):
        read_event(data)


@given(
    st.dictionaries(st.text(max_size=8), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
)
def test_no_object_is_too_strange(event: dict[str, Any]) -> None:
    """Whatever its members are."""
    read = asked({**CODEX, **event, "tool_input": event})
    assert read.shell is None or isinstance(read.shell, str)


def test_the_agents_are_those_of_the_contract() -> None:
    """And two of them take another input."""
    assert {agent for agent, rewrites in AGENTS.items() if rewrites} == {"codex", "claude"}
    assert set(AGENTS) == {"codex", "claude", "gemini", "cursor"}
