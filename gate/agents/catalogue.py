"""What the gate puts where for each agent: the one table of files and pieces. Reads and writes nothing.

Sources: the agents' own references and what the real programs took (docs/agents.md). Keys stand here only as they are
documented there, since an agent may refuse a whole file for one key more.
"""

import functools
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from gate.agents.block import paragraph
from gate.agents.pieces import Item, Member, Piece
from gate.hook import wrapper

AGENTS = ("codex", "claude", "gemini", "cursor")
Format = Literal["json", "toml", "text"]

# What an agent types for the Convex CLI. Rules are steering: other spellings of the same pass (docs/agents.md).
COMMANDS = (
    "convex",
    "npx convex",
    "npx convex@latest",
    "npx -y convex",
    "npx -y convex@latest",
    "npx --yes convex",
    "npm exec convex",
    "npm exec -- convex",
    "pnpm convex",
    "pnpm exec convex",
    "pnpm dlx convex",
    "yarn convex",
    "yarn dlx convex",
    "bunx convex",
    "bun x convex",
    "node_modules/.bin/convex",
    "./node_modules/.bin/convex",
)
# The model reads this when a rule stops it.
JUSTIFICATION = "Run `gate convex ARGS` (the same arguments), or use the tools of the MCP server `gate`."
_ADVICE = """## Convex

Convex is reached through gate only.

- Instead of `npx convex ARGS` run `gate convex ARGS`; the arguments are the same. Where the sandbox lets no socket be
  opened, use the tools of the MCP server `gate`.
- A refusal names its rule and what would help. `gate explain convex ARGS` says what a call would need, without running.
- Production needs a grant: run the `gate request` line of the refusal, tell the user its id, and go on with something
  else. Somebody else signs for it; do not wait and do not look for another way.
"""
_NAME = "gate"
_SHELL_AND_MCP = "Bash|mcp__.*"


@dataclass(frozen=True, slots=True)
class File:
    """One file with the gate's part of it. `path` is relative to the project, or absolute for the administrator's.

    `pieces` are for JSON and TOML, `marks` and `body` for a paragraph of text.
    """

    path: str
    format: Format
    pieces: tuple[Piece, ...] = ()
    marks: tuple[str, str] = ("", "")
    body: str = ""


def files(agent: str, gate: str, *, managed: bool = False) -> tuple[File, ...]:
    """The files of an agent: the project's, or the administrator's. `gate` is the program's absolute path."""
    return _TABLE[agent, managed](gate)


def notes(agent: str, *, managed: bool = False) -> tuple[str, ...]:
    """What a person has to know about when the agent reads those files."""
    return _MANAGED_NOTES[agent] if managed else _NOTES[agent]


def is_server(entry: Any) -> bool:
    """Whether an entry of an MCP server starts this program."""
    if not isinstance(entry, dict):
        return False
    command = entry.get("command")
    return isinstance(command, str) and PurePath(command).name == _NAME and entry.get("args") == ["mcp"]


@functools.cache
def is_handler(agent: str) -> Callable[[Any], bool]:
    """Whether an entry of a hook runs the gate for `agent`, with the wrapper line or without it."""
    runs = re.compile(rf"(?:^|[\s/'\"]){_NAME}['\"]?\s+hook\s+{agent}\b")

    def mine(entry: Any) -> bool:
        command = entry.get("command") if isinstance(entry, dict) else None
        return isinstance(command, str) and runs.search(command) is not None

    return mine


def _server(agent: str, gate: str, **more: Any) -> dict[str, Any]:
    # Without a name of its own an agent may ask for nothing (docs/contract.md, agent:unknown).
    return {"command": gate, "args": ["mcp"], "env": {"GATE_PRINCIPAL": f"agent:{agent}"}, **more}


def _group(agent: str, gate: str, matcher: str) -> dict[str, Any]:
    # No timeout of the agent's: when that ends the hook, the tool runs. The wrapper line has its own.
    return {"matcher": matcher, "hooks": [{"type": "command", "command": wrapper.line(agent, gate)}]}


def _text(agent: str, path: str) -> File:
    marks = (f"<!-- gate:begin {agent} -->", f"<!-- gate:end {agent} -->")
    return File(path, "text", marks=marks, body=_ADVICE)


def _codex(gate: str) -> tuple[File, ...]:
    server = _server(
        "codex",
        gate,
        required=True,
        default_tools_approval_mode="approve",
        startup_timeout_sec=10,
        tool_timeout_sec=120,
    )
    return (
        File(
            ".codex/config.toml",
            "toml",
            (
                Member(("mcp_servers", _NAME), server, is_server),
                Item(("shell_environment_policy", "exclude"), "CONVEX_*"),
                Member(("shell_environment_policy", "set", "CONVEX_AGENT_MODE"), "anonymous"),
            ),
        ),
        File(".codex/hooks.json", "json", (_hook("codex", gate, "PreToolUse", _SHELL_AND_MCP),)),
        File(
            ".codex/rules/gate.rules",
            "text",
            marks=("# gate:begin codex", "# gate:end codex"),
            body="\n".join(map(_rule, COMMANDS)),
        ),
        _text("codex", "AGENTS.md"),
    )


def _rule(command: str) -> str:
    words = ", ".join(f'"{word}"' for word in command.split())
    return f'prefix_rule(pattern = [{words}], decision = "forbidden", justification = "{JUSTIFICATION}")'


def _hook(agent: str, gate: str, event: str, matcher: str) -> Item:
    return Item(("hooks", event), _group(agent, gate, matcher), is_handler(agent))


def _codex_managed(gate: str) -> tuple[File, ...]:
    rules = (
        Item(
            ("rules", "prefix_rules"),
            {
                "pattern": [{"token": word} for word in command.split()],
                "decision": "forbidden",
                "justification": JUSTIFICATION,
            },
        )
        for command in COMMANDS
    )
    return (
        File(
            "/etc/codex/requirements.toml",
            "toml",
            (
                Member(("allow_managed_hooks_only",), value=True),
                Member(("allowed_sandbox_modes",), ["read-only", "workspace-write"]),
                Member(("allowed_approval_policies",), ["untrusted", "on-request", "never"]),
                Member(("features", "unified_exec"), value=False),
                Member(("mcp_servers", _NAME, "identity"), {"command": gate}, _is_identity),
                _hook("codex", gate, "PreToolUse", _SHELL_AND_MCP),
                *rules,
            ),
        ),
    )


def _is_identity(value: Any) -> bool:
    return isinstance(value, dict) and PurePath(str(value.get("command"))).name == _NAME


def _claude(gate: str) -> tuple[File, ...]:
    return (
        File(".mcp.json", "json", (_json_server("claude", gate, type="stdio"),)),
        File(
            ".claude/settings.json",
            "json",
            (Member(("env", "CONVEX_AGENT_MODE"), "anonymous"), _hook("claude", gate, "PreToolUse", _SHELL_AND_MCP)),
        ),
        _text("claude", "CLAUDE.md"),
    )


def _json_server(agent: str, gate: str, **more: Any) -> Member:
    return Member(("mcpServers", _NAME), {**more, **_server(agent, gate)}, is_server)


def _claude_managed(gate: str) -> tuple[File, ...]:
    denied = (Item(("permissions", "deny"), f"Bash({command}:*)") for command in COMMANDS)
    return (
        File(
            f"{_system('/etc/claude-code', 'ClaudeCode')}/managed-settings.json",
            "json",
            (
                Member(("allowManagedHooksOnly",), value=True),
                Member(("allowManagedMcpServersOnly",), value=True),
                Item(("allowedMcpServers",), {"serverCommand": [gate, "mcp"]}, _is_allowed),
                Member(("permissions", "disableBypassPermissionsMode"), "disable"),
                *denied,
                Member(("env", "CONVEX_AGENT_MODE"), "anonymous"),
                _hook("claude", gate, "PreToolUse", _SHELL_AND_MCP),
            ),
        ),
    )


def _is_allowed(value: Any) -> bool:
    argv = value.get("serverCommand") if isinstance(value, dict) else None
    return isinstance(argv, list) and argv[1:] == ["mcp"] and PurePath(str(argv[0])).name == _NAME


def _system(linux: str, mac: str) -> str:
    return f"/Library/Application Support/{mac}" if sys.platform == "darwin" else linux


def _gemini(gate: str) -> tuple[File, ...]:
    pieces = (
        _json_server("gemini", gate),
        _hook("gemini", gate, "BeforeTool", "run_shell_command|mcp_.*"),
    )
    return (File(".gemini/settings.json", "json", pieces), _text("gemini", "GEMINI.md"))


def _gemini_managed(gate: str) -> tuple[File, ...]:
    pieces = (
        _json_server("gemini", gate),
        Item(("mcp", "allowed"), _NAME),
        _hook("gemini", gate, "BeforeTool", "run_shell_command|mcp_.*"),
    )
    return (File(f"{_system('/etc/gemini-cli', 'GeminiCli')}/settings.json", "json", pieces),)


def _cursor_hooks(path: str, gate: str) -> File:
    handler = {"command": wrapper.line("cursor", gate)}
    events = ("beforeShellExecution", "beforeMCPExecution")
    hooks = (Item(("hooks", event), handler, is_handler("cursor")) for event in events)
    return File(path, "json", (Member(("version",), 1, stays=True), *hooks))


def _cursor(gate: str) -> tuple[File, ...]:
    server = File(".cursor/mcp.json", "json", (_json_server("cursor", gate),))
    return (server, _cursor_hooks(".cursor/hooks.json", gate), _text("cursor", "AGENTS.md"))


def _cursor_managed(gate: str) -> tuple[File, ...]:
    return (_cursor_hooks(f"{_system('/etc/cursor', 'Cursor')}/hooks.json", gate),)


_TABLE: dict[tuple[str, bool], Callable[[str], tuple[File, ...]]] = {
    ("codex", False): _codex,
    ("codex", True): _codex_managed,
    ("claude", False): _claude,
    ("claude", True): _claude_managed,
    ("gemini", False): _gemini,
    ("gemini", True): _gemini_managed,
    ("cursor", False): _cursor,
    ("cursor", True): _cursor_managed,
}
_NOTES: dict[str, tuple[str, ...]] = {
    "codex": (
        "Codex reads .codex/ only in a folder that it trusts: start `codex` here once and say so",
        "Codex runs a project's hook only after its review with `/hooks`; until then `codex exec` skips it silently",
    ),
    "claude": ("Claude Code asks once, in a session, before it starts the server of .mcp.json and trusts this folder",),
    "gemini": (
        "where folder trust is on, Gemini CLI reads .gemini/settings.json only in a trusted folder",
        "add `agent:gemini` with its owner to gate.yaml before it may ask for access",
    ),
    "cursor": (
        "Cursor reads .cursor/ only in a workspace that it trusts; switch the server on once in its settings",
        "add `agent:cursor` with its owner to gate.yaml before it may ask for access",
    ),
}
_PER_PROJECT = "this sets what is allowed, not the server itself: also run `gate install {}` in each project"
_MANAGED_NOTES: dict[str, tuple[str, ...]] = {
    "codex": (_PER_PROJECT.format("codex"), "every other MCP server has to be listed under [mcp_servers] to start"),
    "claude": (_PER_PROJECT.format("claude"), "every other MCP server has to be listed in allowedMcpServers to start"),
    "gemini": (
        "hooks run in trusted folders only, also those of the system settings",
        "every other MCP server has to be listed in mcp.allowed to start",
    ),
    "cursor": (_PER_PROJECT.format("cursor"), "Cursor has no list of allowed MCP servers in a file"),
}


def marked(file: File) -> str:
    """The gate's paragraph of a text file, its marks included."""
    return paragraph(file.marks[0], file.body, file.marks[1])
