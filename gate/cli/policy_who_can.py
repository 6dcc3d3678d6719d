"""`gate policy who-can`: who can have an effect on a deployment, and by which live grants. Changes nothing."""

import json
from collections.abc import Sequence
from typing import Any

import click

from gate.cli import policy_files, policy_screen, refusal, screen, sight
from gate.cli.convex import Options
from gate.cli.policy_screen import CLEAN
from gate.config.values import hint
from gate.errors import GateError
from gate.grant.grant import ACTIVE, SCHEDULED
from gate.intent.effects import EFFECTS
from gate.keeper import client
from gate.policy.analysis.reach import Access, mute, who_can as accesses_to
from gate.policy.analysis.sides import Side


@click.command("who-can", epilog="Example: gate policy who-can deployment:data:write prod")
@click.argument("effect", metavar="EFFECT")
@click.argument("deployment", metavar="DEPLOYMENT")
@click.option("--in", "source", metavar=policy_files.METAVAR, help=f"Whose policies: {policy_files.SOURCES}.")
@click.pass_obj
@policy_screen.inspection
def who_can(options: Options, effect: str, deployment: str, source: str | None) -> int:
    """Say exactly who can have EFFECT on DEPLOYMENT, under which conditions, each with a request that shows it.

    And which live grants, of those that you may see, cover it now. Exits 0, 1 with invalid files, 3 when it cannot
    tell.
    """
    side = policy_files.read_side(source)
    _insist_known(side, effect, deployment)
    accesses = list(accesses_to(side, effect, deployment))
    grants, unknown = _live(effect, deployment)
    if options.json:
        told = [access.to_json() for access in accesses]
        shown = {"access": told, "cannot_call": list(mute(side)), "grants": grants, "grants_unknown": unknown}
        click.echo(json.dumps(shown))
    else:
        _show(side, accesses, grants, unknown)
    return CLEAN


def _insist_known(side: Side, effect: str, deployment: str) -> None:
    if effect not in EFFECTS:
        raise GateError("usage", "there is no such effect" + hint(effect, EFFECTS), remedy="See docs/policy.md.")
    if deployment not in side.deployments:
        raise GateError(
            "unknown_deployment",
            "no such deployment in the registry" + hint(deployment, side.deployments),
            remedy=f"It has: {', '.join(side.deployments)}.",
        )


def _live(effect: str, deployment: str) -> tuple[list[Any] | None, str | None]:
    """The grants that cover it now, or why nobody can tell; no keeper is started for that."""
    connection = client.running()
    if connection is None:
        return None, "no keeper runs"
    try:
        with connection:
            told: Any = client.ask(connection, "grants", gate_yaml=sight.gate_yaml(), all=False)["result"]
    except GateError as error:
        return None, error.message
    return [grant for grant in told["grants"] if covers(grant, effect, deployment)], None


def covers(grant: Any, effect: str, deployment: str) -> bool:
    """Whether a grant, as the keeper lists it, lets its holder have `effect` on `deployment` now or at first use."""
    return grant["deployment"] == deployment and effect in grant["effects"] and grant["state"] in (ACTIVE, SCHEDULED)


def _show(side: Side, accesses: Sequence[Access], grants: list[Any] | None, unknown: str | None) -> None:
    for access in accesses:
        told = access.to_json()
        click.echo(policy_screen.verdict_line(told["verdict"], told["needs"]))
        click.echo(f"  who      {refusal.escaped(', '.join(access.principals))}")
        if access.conditions:
            click.echo(f"  where    {policy_screen.region_line(access.conditions)}")
        click.echo(f"  request  {policy_screen.request_line(told['witness']['request'])}")
        for line in policy_screen.rules_lines(told["witness"]["rules"]):
            click.echo(f"  rule     {line}")
    if not accesses:
        click.echo("nobody")
    if silent := mute(side):
        click.echo(f"not counted: no system user is mapped to {', '.join(silent)}, who cannot call", err=True)
    for grant in grants or ():
        click.echo(f"live grant {screen.grant_row(grant)}")
    if unknown is not None:
        click.echo(f"live grants are not known: {refusal.escaped(unknown)}", err=True)
