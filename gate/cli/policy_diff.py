"""`gate policy diff`: what two bundles answer differently, by meaning. Changes nothing."""

import json
from collections.abc import Sequence

import click

from gate.cli import policy_files, policy_screen, refusal
from gate.cli.convex import Options
from gate.cli.policy_screen import CLEAN, FINDINGS
from gate.policy.analysis.diff import Change, diff as changes_between

# Regions of a change that are shown to a person; --json gives more.
_MOST_SHOWN = 5


@click.command(epilog="Example: gate policy diff active .")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="NEW")
@click.option("--ack", "acknowledged", metavar="ID", multiple=True, help="This widening is meant; may be repeated.")
@click.pass_obj
@policy_screen.inspection
def diff(options: Options, old: str, new: str, acknowledged: tuple[str, ...]) -> int:
    """Show which requests NEW answers in another way than OLD, in groups, each with one such request.

    OLD and NEW are folders, files gate.yaml, or `active`. What is let through that was refused, or with less, is a
    finding until --ack names it. Exits 0 without findings, 1 with some or with invalid files, 3 when it cannot tell.
    """
    changes = changes_between(policy_files.read_side(old), policy_files.read_side(new))
    for unknown in sorted({*acknowledged} - {change.id for change in changes if change.wider}):
        refusal.warn(f"--ack {refusal.escaped(unknown)} names no widening of this difference")
    found = [change for change in changes if change.wider and change.id not in acknowledged]
    if options.json:
        told = [{**change.to_json(), "acknowledged": change.id in acknowledged} for change in changes]
        click.echo(json.dumps({"findings": [change.id for change in found], "changes": told}))
    else:
        _show(changes, acknowledged)
    return FINDINGS if found else CLEAN


def _show(changes: Sequence[Change], acknowledged: Sequence[str]) -> None:
    for change in changes:
        told = change.to_json()
        click.echo(f"{_kind(change, acknowledged)} {change.id}")
        for name in ("from", "to"):
            click.echo(f"  {name:<8} {policy_screen.verdict_line(told[name]['verdict'], told[name]['needs'])}")
        if change.less:
            click.echo(f"  less     {', '.join(change.less)}")
        for region in change.regions[:_MOST_SHOWN]:
            click.echo(f"  where    {policy_screen.region_line(region)}")
        if hidden := len(change.regions[_MOST_SHOWN:]) + change.more:
            click.echo(f"  where    and {hidden} more such groups of requests")
        _show_witness(change)
    if not changes:
        click.echo("no request is answered in another way")


def _show_witness(change: Change) -> None:
    told = change.to_json()
    if told["witness"] is not None:
        click.echo(f"  request  {policy_screen.request_line(told['witness'])}")
    for name, witness, rules in zip(("before", "after"), (change.old, change.new), told["rules"], strict=True):
        for line in policy_screen.rules_lines(rules) if witness else ("that deployment is not registered",):
            click.echo(f"  {name:<8} {line}")


def _kind(change: Change, acknowledged: Sequence[str]) -> str:
    if not change.wider:
        return "stricter"
    return "wider, acknowledged" if change.id in acknowledged else "WIDER"
