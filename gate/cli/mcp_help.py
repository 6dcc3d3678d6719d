"""`gate mcp --help`, and `gate mcp` where other words came before it. The server itself is in gate/cli/mcp.py."""

import click

from gate.cli import mcp as server
from gate.cli.convex import Options


@click.command(epilog="Example: gate --as agent:codex mcp")
@click.pass_obj
def mcp(options: Options) -> int:
    """Serve Convex's MCP tools on stdin and stdout, each call decided for itself (docs/mcp.md)."""
    return server.main(options.principal, options.grant)
