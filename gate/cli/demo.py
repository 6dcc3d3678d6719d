"""`gate demo`: the gate at work, with the real Convex CLI and a stand-in deployment."""

import click

from gate.demo.story import play


@click.command(epilog="Example: gate demo")
def demo() -> int:
    """Play what an agent may do, what it may not, and what stops it. Exits non-zero when a step does not come out."""
    return play(click.echo)
