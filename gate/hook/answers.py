"""What each agent takes for an answer of its hook: documented members only, and nothing beside them.

Standard library only. Why exit status 2 with a text on stderr, and what agents take for leave: docs/hooks.md.
"""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_DENIED = 2
_SHORT = "The Convex CLI runs through gate only."


def passed() -> tuple[str, str, int]:
    """Stdout, stderr and status that leave the call as it is."""
    return "", "", 0


def refused(agent: str, reason: str) -> tuple[str, str, int]:
    """Stdout, stderr and status by which `agent` does not run the tool. `reason` is for the model; never empty."""
    if agent == "cursor":
        return _object({"permission": "deny", "user_message": _SHORT, "agent_message": reason}), "", 0
    return "", reason + "\n", _DENIED


def rewritten(updated: "Mapping[str, Any]") -> tuple[str, str, int]:
    """Stdout, stderr and status by which Codex and Claude Code run the tool with the input `updated`.

    Both want the whole input; Codex takes it with `permissionDecision` only.
    """
    output = {"hookEventName": "PreToolUse", "permissionDecision": "allow", "updatedInput": updated}
    return _object({"hookSpecificOutput": output}), "", 0


def _object(members: "Mapping[str, Any]") -> str:
    return json.dumps(members, separators=(",", ":")) + "\n"
