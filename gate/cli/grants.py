"""`gate grants`, `gate drop` and `gate revoke`: which grants there are, and their end. The keeper decides who may."""

import json
from pathlib import Path

import click

from gate.cli import screen
from gate.cli.convex import Options
from gate.cli.request import call, caller, tell
from gate.cli.review import objection
from gate.grant.statement import REVOKE


@click.command(epilog="Example: gate grants --all")
@click.option("--all", "every", is_flag=True, help="Those that have ended too.")
@click.pass_obj
def grants(options: Options, every: bool) -> None:
    """List the grants that have not ended."""
    found = call("grants", all=every)["grants"]
    if options.json:
        click.echo(json.dumps({"grants": found}))
        return
    for one in found:
        click.echo(screen.grant_row(one))


@click.command(epilog="Example: gate drop grt-7k3f9q2m")
@click.argument("id_", metavar="ID")
@click.pass_obj
def drop(options: Options, id_: str) -> None:
    """Give your own grant back."""
    found = call("drop", principal=caller(options), id=id_)["grant"]
    tell(options, found, f"{found['id']} is {found['state']}")


@click.command(epilog="Example: gate revoke grt-7k3f9q2m --reason 'wrong table' --key ~/.ssh/id_ed25519_sk")
@click.argument("id_", metavar="ID")
@click.option("--reason", metavar="R", required=True, help="Why, for the record.")
@click.option("--key", metavar="FILE", type=click.Path(path_type=Path), help="Sign it, as any signer may.")
@click.pass_obj
def revoke(options: Options, id_: str, reason: str, key: Path | None) -> None:
    """End a grant and cut what runs under it: its requester and owner without a key, any signer with one."""
    by = {"principal": caller(options), "reason": reason} if key is None else objection(REVOKE, id_, reason, key)
    found = call("revoke", id=id_, **by)["grant"]
    tell(options, found, f"{found['id']} is {found['state']}")
