"""`gate hook AGENT` where click is loaded already, and its help. The door itself is gate/hook/door.py."""

import click

from gate.hook import door
from gate.intent.event import AGENTS


@click.command(epilog="Example: gate hook codex < event.json")
@click.argument("agent", type=click.Choice(sorted(AGENTS)))
def hook(agent: str) -> int:
    """Answer the pre-tool event of AGENT on stdin: pass, rewrite to `gate convex`, or refuse (docs/hooks.md)."""
    return door.main([agent])
