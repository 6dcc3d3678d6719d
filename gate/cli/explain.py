"""`gate explain`: the walk without running. Prints the decision."""

import json
from typing import Any

import click

from gate.cli import sight
from gate.cli.convex import Options, tell
from gate.cli.refusal import command, escaped
from gate.errors import GateError
from gate.keeper import client


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Example: gate explain convex data messages --prod",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def explain(options: Options, words: tuple[str, ...]) -> int:
    """Say what would be decided about a call, and why; nothing runs.

    Exits as the call would: 0 if it would run.
    """
    if words[:1] != ("convex",):
        raise GateError("usage", "explain what?", remedy="Name the call: `gate explain convex ARG...`.")
    invocation = sight.invocation(list(words[1:]), options.principal, options.grant)
    with client.connect() as connection:
        decision: Any = client.ask(connection, "explain", invocation=invocation)["decision"]
    if options.json:
        click.echo(json.dumps(decision))
    else:
        _show(decision)
    tell(options.status_fd, decision)
    if decision["verdict"] != "allow":
        click.echo(f"gate: {decision['code']}: {escaped(decision['message'])}", err=True)
    return int(decision["exit"])


def _show(decision: Any) -> None:
    """One fact a line: what, where, by which rules, what is missing, what helps."""
    target, intent = decision["target"], decision["intent"]
    click.echo(f"{decision['verdict']}: {escaped(decision['message'])}")
    if intent is not None:
        click.echo(f"  command  {intent['command']}: {', '.join(intent['effects']) or 'no effects'}")
        for dimension, names in intent["resources"].items():
            click.echo(f"  {dimension:<8} {'not known' if names is None else escaped(', '.join(names))}")
    if target is not None:
        click.echo(f"  target   {target['deployment']} ({target['class']}), chosen by {escaped(target['chosen_by'])}")
    for rule in decision["rules"]:
        click.echo(f"  rule     {rule['verb']} {rule['id']} at {rule['at']}: {escaped(rule['because'])}")
    for name in decision["indeterminate"]:
        click.echo(f"  unknown  {name}: denies and needs match, permits do not")
    if decision["needs"] is not None:
        click.echo(f"  needs    {json.dumps(decision['needs'])}")
    remedy = decision["remedy"]
    if remedy is not None:
        click.echo(f"  remedy   {remedy['text']}")
        if remedy["argv"]:
            click.echo(f"           {escaped(command(remedy['argv']))}")
