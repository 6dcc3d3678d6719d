"""`gate keeper`: the trusted process by hand. Normally a door starts it."""

import json
from typing import Any

import click

from gate.cli import keeper_install
from gate.cli.convex import Options
from gate.errors import KeeperUnavailable
from gate.keeper import client, places
from gate.keeper.run import IDLE_SECONDS, keep


@click.group()
def keeper() -> None:
    """The trusted process that holds the ledger, the bundle and the keys."""


keeper.add_command(keeper_install.install)
keeper.add_command(keeper_install.uninstall)


@keeper.command(epilog="Example: gate keeper run")
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


@keeper.command(epilog="Example: gate keeper status")
@click.pass_obj
def status(options: Options) -> None:
    """Say whether a keeper runs, which, and for whom. Starts none."""
    result = _ask("status")
    if options.json:
        click.echo(json.dumps(result))
        return
    click.echo(f"gate {result['version']}, pid {result['pid']}, uid {result['uid']}, since {result['since']}")
    click.echo(f"state {result['state']}")
    for name, runs in result["projects"].items():
        click.echo(f"project {name}: {runs} running")


@keeper.command(epilog="Example: gate keeper stop")
@click.pass_obj
def stop(options: Options) -> None:
    """End the keeper; what runs through it ends too."""
    result = _ask("stop")
    click.echo(json.dumps(result) if options.json else f"stopping the keeper {result['pid']}")


def _ask(op: str) -> Any:
    connection = client.running()
    if connection is None:
        raise KeeperUnavailable("keeper_unavailable", "no keeper runs", remedy="The next call of a door starts one.")
    with connection:
        return client.ask(connection, op)["result"]
