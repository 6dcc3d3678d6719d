"""`gate mcp`: speak MCP on stdin and stdout, in front of Convex's own tools. Decides nothing.

Standard library only: an agent waits for it when it starts (docs/performance.md).
"""

from gate.cli import refusal, sight
from gate.mcp.door import Door
from gate.mcp.stdio import serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def main(principal: str | None, grant: str | None) -> int:
    """Serve until the client is gone or a signal ends it; returns the exit status (gate.mcp.stdio.serve)."""

    def see(more: "Mapping[str, Any]") -> "dict[str, Any]":
        try:
            return {**sight.invocation([], principal, grant, "mcp"), **more}
        except OSError as error:
            raise refusal.of_system(error) from error

    return serve(Door(see, sight.read_text))
