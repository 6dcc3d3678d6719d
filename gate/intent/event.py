"""What an agent's pre-tool event asks for: a shell text, a call of an MCP server, or neither. Judges nothing.

Standard library only and no dataclasses: the door of hooks imports it. Source of the members: the agents' hook
contracts (docs/hooks.md).
"""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# Whether the agent takes another input for the tool in place of its own.
AGENTS = {"codex": True, "claude": True, "gemini": False, "cursor": False}
_COMMANDS = ("command", "cmd")
_FOLDERS = ("workdir", "dir_path", "directory", "cwd")
_SHELLS = frozenset({"bash", "shell", "local_shell", "exec_command", "run_shell_command"})
_MCP = "mcp__"
_NO_COMMAND: "tuple[str, str | None]" = ("", None)


class Asked:
    """One event. `shell`: the text that a shell would run, None where there is none; `member`: its name in `input`.

    `servers`: names that the called MCP server may have. `folder`: where it would run, as far as the event says.
    `input`: the tool's whole input. `unread`: a shell is called, but with no text that can be read.
    """

    __slots__ = ("folder", "input", "member", "servers", "shell", "unread")

    def __init__(self, event: "Mapping[str, Any]") -> None:
        inner = event.get("tool_input")
        self.input: Mapping[str, Any] = inner if isinstance(inner, dict) else {}
        self.servers = _servers(event)
        self.member, self.shell = _command(self.input) or _command(event) or _NO_COMMAND
        self.folder = _folder(event, self.input)
        tool = event.get("tool_name")
        self.unread = isinstance(tool, str) and tool.lower() in _SHELLS and self.shell is None

    @property
    def of_gate(self) -> bool:
        """Whether it is a call of the gate's own MCP server."""
        return self.servers[:1] == ("gate",)

    @property
    def around(self) -> bool:
        """Whether it is a call of an MCP server of Convex's."""
        return not self.of_gate and any("convex" in server.lower() for server in self.servers)

    @property
    def rewritable(self) -> bool:
        """Whether another text can be put in place of the one that was read."""
        return not self.servers and isinstance(self.input.get(self.member), str)


def read_event(data: bytes) -> Asked:
    """Read an event as the agent wrote it. Raises ValueError for anything but one JSON object."""
    try:
        event = json.loads(data.decode("utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(event, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one kind of error for one kind of mistake
    return Asked(event)


def _command(members: "Mapping[str, Any]") -> tuple[str, str] | None:
    for name in _COMMANDS:
        value = members.get(name)
        if isinstance(value, str):
            return name, value
        if isinstance(value, list) and value and all(isinstance(word, str) for word in value):
            return name, " ".join(_quoted(word) for word in value)
    return None


def _quoted(word: str) -> str:
    return "'" + word.replace("'", "'\\''") + "'"


def _servers(event: "Mapping[str, Any]") -> tuple[str, ...]:
    """`mcp__a__b__c` may be tool `b__c` of server `a`, or `c` of `a__b`: both names count."""
    context, tool = event.get("mcp_context"), event.get("tool_name")
    named = context.get("server_name") if isinstance(context, dict) else None
    if isinstance(named, str):
        return (named,)
    if not isinstance(tool, str) or not tool.startswith(_MCP):
        return ()
    rest = tool[len(_MCP) :]
    return rest.partition("__")[0], rest.rpartition("__")[0]


def _folder(event: "Mapping[str, Any]", inner: "Mapping[str, Any]") -> tuple[str, ...]:
    """Folders to enter one after the other: the session's, then the call's own."""
    roots = event.get("workspace_roots")
    first = roots[0] if isinstance(roots, list) and roots else None
    named = [event.get("cwd") or first, *(inner.get(name) for name in _FOLDERS)]
    return tuple(folder for folder in named if isinstance(folder, str) and folder)
