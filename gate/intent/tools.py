"""Convex's MCP tools as the commands that do the same, so that a tool is decided exactly as its command is.

One table. Reads no selector: which deployment a tool acts on is not for its caller to say. Source: the tools of
Convex's own MCP server (convex 1.48.0, `mcp start`), whose handlers call what the commands call.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gate.errors import GateError
from gate.intent.intent import Intent
from gate.intent.parse import read_intent

# What stands before the name of a tool where a command stands in decisions, leases and routes.
PREFIX = "mcp:"
# Arguments that name something. For an empty name of a variable Convex's server would read the stream of the protocol.
_NAMES = frozenset({"functionName", "name", "tableName"})


@dataclass(frozen=True, slots=True)
class Tool:
    """The `command` that does what a tool does, and the arguments of the tool that are its words, in order."""

    command: tuple[str, ...]
    arguments: tuple[str, ...] = ()


TOOLS: dict[str, Tool] = {
    "data": Tool(("data",), ("tableName",)),
    "envGet": Tool(("env", "get"), ("name",)),
    "envList": Tool(("env", "list")),
    "envRemove": Tool(("env", "remove"), ("name",)),
    "envSet": Tool(("env", "set"), ("name", "value")),
    "functionSpec": Tool(("function-spec",)),
    "insights": Tool(("insights",)),
    "logs": Tool(("logs",)),
    "run": Tool(("run",), ("functionName", "args")),
    "runOneoffQuery": Tool(("run", "--inline-query"), ("query",)),
    "tables": Tool(("data",)),
}


def read_tool(name: str, arguments: Mapping[str, Any]) -> Intent:
    """What a call of the tool `name` asks for; its command is `mcp:NAME`.

    Raises GateError `unknown_command` for another tool, `usage` for an argument that is missing, no text, or an empty
    name, and whatever the command's own words would be refused with.
    """
    tool = TOOLS.get(name)
    if tool is None:
        raise GateError("unknown_command", "there is no such tool", remedy="`tools/list` has the tools.")
    words = [_word(arguments, argument) for argument in tool.arguments]
    # Behind `--` nothing that a caller says is an option; an inline query is the value of its own option.
    split = tool.command if "--inline-query" in tool.command or not words else (*tool.command, "--")
    return replace(read_intent([*split, *words]), command=PREFIX + name)


def _word(arguments: Mapping[str, Any], name: str) -> str:
    value = arguments.get(name)
    if not isinstance(value, str):
        raise GateError("usage", f"the argument {name} is missing", remedy="See the tool's input schema.")
    if (name in _NAMES and not value) or (name == "name" and "=" in value):
        # On a command line the second would be a name with its value.
        raise GateError("usage", f"the argument {name} names nothing", remedy="Give the plain name.")
    return value
