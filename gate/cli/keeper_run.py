"""`gate keeper run`: be the trusted process."""

import click

from gate.keeper import places
from gate.keeper.run import IDLE_SECONDS, keep


@click.command(epilog="Example: gate keeper run")
@click.option("--ready-fd", type=int, hidden=True)
@click.option(
    "--idle-seconds",
    type=click.FloatRange(0.1),
    default=IDLE_SECONDS,
    show_default=True,
    help="End after so long without a door.",
)
def run(ready_fd: int | None, idle_seconds: float) -> int:
    """Be the keeper, in the foreground, until stopped or idle. Where one lives already there is nothing to do."""
    return keep(places.state_root(), ready_fd=ready_fd, idle_seconds=idle_seconds)
