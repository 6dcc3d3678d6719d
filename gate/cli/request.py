"""`gate request` and what follows it: requests, show, wait, cancel. The keeper decides; nothing here does."""

import json
from typing import Any

import click

from gate import world
from gate.cli import screen, sight
from gate.cli.convex import Options
from gate.cli.refusal import escaped
from gate.config.values import duration
from gate.errors import GateError
from gate.keeper import client

# The keeper holds a `wait` for this long at most (docs/protocol.md).
_HELD_SECONDS = 30


def seconds(text: str) -> int:
    """Seconds of a duration as gate.yaml writes it, for an option. Raises click.BadParameter."""
    try:
        return duration(text)
    except ValueError as error:
        raise click.BadParameter(f"it {error}") from error


def call(op: str, **members: object) -> Any:
    """`result` of one operation in the project of this folder. Raises what the keeper refuses with."""
    return client.request(op, gate_yaml=sight.gate_yaml(), **members)


def caller(options: Options) -> str | None:
    """Who calls, as claimed; None where nobody says."""
    return options.principal or world.variable("GATE_PRINCIPAL")


def tell(options: Options, result: Any, sentence: str) -> None:
    """What was done: the object on stdout where it was asked for, else a sentence on stderr."""
    if options.json:
        click.echo(json.dumps(result))
    else:
        click.echo(sentence, err=True)


@click.command(
    epilog="Example: gate request --for dec-7k3f9q2m --ticket OPS-1 --reason 'stale data' --ttl 30m --ack-risk"
)
@click.option("--for", "decision", metavar="DEC", help="What was refused in the decision DEC, and nothing else.")
@click.option("--deployment", metavar="D", help="A deployment of the registry, instead of --for.")
@click.option("--effect", "effects", metavar="E", multiple=True, help="With --deployment; may be repeated.")
@click.option("--ticket", metavar="T", default="", help="The ticket that the change belongs to.")
@click.option("--reason", metavar="R", default="", help="Why, for the person who decides.")
@click.option("--ttl", metavar="DUR", type=seconds, help="How long from first use, such as 30m.")
@click.option("--ack-risk", is_flag=True, help="Acknowledge that this is production.")
@click.option("--max-uses", metavar="N", type=click.IntRange(1), help="How many calls; any number without it.")
@click.pass_obj
def request(
    options: Options,
    *,
    decision: str | None,
    deployment: str | None,
    effects: tuple[str, ...],
    ticket: str,
    reason: str,
    ttl: int | None,
    ack_risk: bool,
    max_uses: int | None,
) -> None:
    """Ask for access to production. Prints the id of the request.

    Nobody is told: hand the id to somebody who can approve, then `gate wait ID`.
    """
    fields = {"for": decision, "deployment": deployment, "effects": list(effects), "ticket": ticket, "reason": reason}
    limits = {"ttl_seconds": ttl or 0, "ack_risk": ack_risk, "max_uses": max_uses}
    made = call("request", principal=caller(options), **fields, **limits)
    click.echo(json.dumps(made["request"]) if options.json else made["id"])
    if made["merged"]:
        click.echo("The same is asked for already; this is that request.", err=True)
    click.echo(f"Can approve: {', '.join(map(screen.word, made['approvers'])) or 'nobody'}", err=True)
    click.echo(f"Then: gate wait {made['id']}", err=True)


@click.command(epilog="Example: gate requests --all")
@click.option("--all", "every", is_flag=True, help="Those that are decided too.")
@click.pass_obj
def requests(options: Options, every: bool) -> None:
    """List the requests that wait for an answer."""
    found = call("requests", all=every)["requests"]
    if options.json:
        click.echo(json.dumps({"requests": found}))
        return
    for one in found:
        click.echo(screen.request_row(one))


@click.command(epilog="Example: gate show req-7k3f9q2m")
@click.argument("id_", metavar="ID")
@click.option("--portable", is_flag=True, help="The request as a text for `gate approve -` on another machine.")
@click.pass_obj
def show(options: Options, id_: str, portable: bool) -> None:
    """Show a request or a grant: the gate's own facts first, then what the agent says."""
    if portable:
        text = call("portable", id=id_)["portable"]
        # In short lines: a terminal takes no line of more than 4 KB when it is pasted.
        click.echo(json.dumps(text, indent=None if options.json else 1))
        return
    found = call("show", id=id_)
    grant = found.get("grant")
    if options.json:
        click.echo(json.dumps(grant or found["request"]))
        return
    shown = screen.grant_screen(grant, found["request"]) if grant else screen.request_screen(found["request"])
    click.echo(shown.encode())


@click.command(epilog="Example: gate wait req-7k3f9q2m --timeout 10m")
@click.argument("id_", metavar="ID")
@click.option("--timeout", metavar="DUR", type=seconds, help="Give up then, with exit status 75.")
@click.pass_obj
def wait(options: Options, id_: str, timeout: int | None) -> None:
    """Wait until a request is decided. Prints the id of the grant when it is approved."""
    decided = _await_decision(id_, timeout)
    if decided["state"] == "pending":
        raise GateError(
            "request_pending",
            f"nobody has decided about {escaped(id_)} yet",
            remedy="Ask somebody who can approve, and wait again.",
            argv=["gate", "wait", id_],
        )
    if decided["state"] != "approved":
        why = screen.ended(decided["ended"] or {"how": decided["state"], "by": None, "reason": None})
        raise GateError("change_control", f"no grant comes of it: {why}", remedy="Make a new request, or leave it.")
    click.echo(json.dumps(decided) if options.json else decided["grant"])


def _await_decision(id_: str, timeout: int | None) -> Any:
    """The request as soon as it is decided, or as it is after `timeout` seconds."""
    deadline = None if timeout is None else world.boot_ms() + timeout * 1000
    while True:
        held = _HELD_SECONDS if deadline is None else min(_left(deadline), _HELD_SECONDS)
        found = call("wait", id=id_, seconds=held)["request"]
        if found["state"] != "pending" or (deadline is not None and world.boot_ms() >= deadline):
            return found


def _left(deadline: int) -> int:
    """Whole seconds until `deadline`, rounded up: none left is still a look."""
    return max(0, -((world.boot_ms() - deadline) // 1000))


@click.command(epilog="Example: gate cancel req-7k3f9q2m")
@click.argument("id_", metavar="ID")
@click.pass_obj
def cancel(options: Options, id_: str) -> None:
    """Take your own request back."""
    found = call("cancel", principal=caller(options), id=id_)["request"]
    tell(options, found, f"{found['id']} is {found['state']}")
