"""The tools of Convex's own MCP server as this version of the gate knows them, by digest. Compares, and runs nothing.

A server whose tools have other names, schemas or descriptions is not the one whose effects the gate's tables describe.
The pins are part of the gate's version: what changes them is an update of the gate (docs/mcp.md).

Standard library only: this is the hot path of `gate mcp`.
"""

import hashlib
import json
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# SHA-256 of each entry of `tools/list` of convex 1.48.0: JSON with sorted members, ASCII, no blanks.
TOOLS = {
    "data": "7402d06d6619b6faa3eea463422690ad41b6c58a080eef56256bec9b72254054",
    "envGet": "ceabf8f3d347325b5f35d218282b418d59f94a7d16eb699eae5cb9517b8cfa9e",
    "envList": "bede7a13ce0d1b993acee830995d7ddce18dce6ce706202b8ffba4f1e306eba9",
    "envRemove": "d7f04e63f83f72e0de4282e9897689b9509d5cb4cc054a65b6b1f0a415d801d8",
    "envSet": "96e281bbb63d8b9efa9afeef05ea0a11a482b3128be5d6b522627320e6a31775",
    "functionSpec": "ca435ca6606a790f90111b1126b52e39d830c3368d7fd817d1c07f72c45c22d2",
    "insights": "2b7eb194e8e79bd88ef7b84570b52f72579cac7a36ab981fe5aeb1af4b85fc8d",
    "logs": "8dccf48937b9357c1a5b468dc601c69cd1543b004613282cc1e3cec8c4a8a3f9",
    "run": "cb04515fad6d005b4d6ded0f82aa255a94013f2eaa135f2f91b3ffa2b9f6590a",
    "runOneoffQuery": "e44c54a2beab8a7e1af216853b102e32b62e71c0b3332e6148f08ea82f592b26",
    "status": "8ce10459517b1d683317b25c7dc8ecc8fd00073d9902b19b6c281fbe937838a6",
    "tables": "29555e3a86cdb7c25e0316a908b33c66f0358d64ada3d635bdada29e3e016dbe",
}
_MOST_NAMED = 5
_LONGEST_NAME = 40
_OTHERS = re.compile(r"[^\w-]", re.ASCII)


def differences(result: "dict[str, Any] | None") -> str | None:
    """What of an answer to `tools/list` is not as it is pinned, in words for a refusal; None where nothing is."""
    tools = None if result is None else result.get("tools")
    if result is None or not isinstance(tools, list) or set(result) - {"tools", "_meta"}:
        return "its list of tools has another form"
    names = [tool.get("name") if isinstance(tool, dict) else None for tool in tools]
    found = dict(zip(map(str, names), map(_digest, tools), strict=True))
    changed = sorted(name for name in found.keys() & TOOLS.keys() if found[name] != TOOLS[name])
    groups = (
        ("changed", changed),
        ("new", sorted(found.keys() - TOOLS.keys())),
        ("missing", sorted(TOOLS.keys() - found.keys())),
        ("listed twice", sorted({str(name) for name in names if names.count(name) > 1})),
    )
    return "; ".join(f"{what}: {_named(some)}" for what, some in groups if some) or None


def _digest(tool: "Any") -> str:
    text = json.dumps(tool, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _named(names: "list[str]") -> str:
    """Names as another program says them: bounded, and nothing that a terminal or a model would take for more."""
    shown = [_OTHERS.sub("?", name[:_LONGEST_NAME]) for name in names[:_MOST_NAMED]]
    return ", ".join(shown) + (f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else "")
