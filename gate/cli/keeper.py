"""`gate keeper`: the trusted process by hand. Normally a door starts it."""

import json
from typing import Any

import click

from gate.cli.convex import Options
from gate.cli.verbs import Verbs
from gate.errors import KeeperUnavailable
from gate.keeper import client

_VERBS = {
    "install": "gate.cli.keeper_install:install",
    "run": "gate.cli.keeper_run:run",
    "uninstall": "gate.cli.keeper_install:uninstall",
}


@click.group(cls=Verbs, epilog="Example: gate keeper status", table=_VERBS)
def keeper() -> None:
    """The trusted process that holds the ledger, the bundle and the keys."""


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
