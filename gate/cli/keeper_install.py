"""`gate keeper install` and `uninstall`: a keeper under a user of its own. Parses, calls, prints; decides nothing."""

import json
import shlex

import click

from gate.cli.convex import Options
from gate.keeper import install as installer
from gate.keeper.unit import PYTHON, entrypoint

_dry_run = click.option("--dry-run", is_flag=True, help="Print the steps, take none.")


@click.command(epilog="Example: gate keeper install --from convex_gate-0.1.0-py3-none-any.whl --dry-run")
@click.option("--user", default="gate", show_default=True, metavar="NAME", help="System user of the keeper.")
@click.option("--from", "source", metavar="PATH", help="Wheel or source folder to install (else this very version).")
@click.option("--python", metavar="FILE", help="Interpreter that only root can change (else this one's base).")
@click.option("--container", is_flag=True, help="Without systemd: say what to run instead.")
@_dry_run
@click.pass_obj
def install(
    options: Options, *, user: str, source: str | None, python: str | None, container: bool, dry_run: bool
) -> int:
    """Set up a keeper under a system user of its own, so that decisions say `enforced`. Linux, as root.

    Every step can be repeated; what is pinned in /etc/gate/trust stays.
    """
    installer.insist_on_linux()
    found = installer.look(user)
    interpreter = installer.trusted_python(python or installer.base_python())
    steps = installer.plan(user, interpreter, installer.package_source(source), found, container=container)
    notes = [
        "pin each project in /etc/gate/trust after its first activation (docs/operations.md, Trust)",
        f"doors are of the same version: {PYTHON} -m gate, or any installation of it",
    ]
    if container:
        notes.insert(0, f"as the entry point: {shlex.join(entrypoint(user))}")
    return _carry_out(options, steps, notes, dry_run)


@click.command(epilog="Example: gate keeper uninstall --dry-run")
@_dry_run
@click.pass_obj
def uninstall(options: Options, dry_run: bool) -> int:
    """Take the keeper and its environment away. Ledgers, keys, pins and the user stay."""
    installer.insist_on_linux()
    notes = ["/var/lib/gate (ledgers and keys), /etc/gate/trust and the user are still there; remove them by hand"]
    return _carry_out(options, installer.removal(service=installer.has_service()), notes, dry_run)


def _carry_out(options: Options, steps: list[installer.Step], notes: list[str], dry_run: bool) -> int:
    if not dry_run:
        installer.perform(steps, lambda line: click.echo(line, err=options.json))
    if options.json:
        click.echo(json.dumps({"done": not dry_run, "steps": [step.to_json() for step in steps], "notes": notes}))
        return 0
    for line in (line for step in steps if dry_run for line in step.lines()):
        click.echo(line)
    for note in notes:
        click.echo(f"note: {note}")
    return 0
