"""`gate install`: put the gate's part into the files of an agent. Shows the difference first; asks nothing."""

import json
import os
import shutil
import sys
from pathlib import Path

import click

from gate.agents import catalogue, check, plan
from gate.agents.plan import Plan
from gate.cli import refusal
from gate.cli.convex import Options
from gate.errors import GateError

agent_argument = click.argument("agent", type=click.Choice(catalogue.AGENTS))
managed_option = click.option("--managed", is_flag=True, help="The administrator's files, for everybody. As root.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Show the difference, write nothing.")


@click.command(epilog="Example: gate install codex --dry-run")
@agent_argument
@managed_option
@dry_run_option
@click.pass_obj
def install(options: Options, *, agent: str, managed: bool, dry_run: bool) -> None:
    """Set AGENT up to reach Convex through gate: MCP server, hook, rules and advice, in the current folder.

    What others wrote keeps its bytes; each changed file leaves FILE.gate-backup. Calling again changes nothing.
    """
    insist(managed, dry_run)
    made = plan.install(agent, program(), base(managed), managed=managed)
    # The administrator's lists keep other servers from starting.
    around = [] if managed else check.direct_servers(Path.cwd(), Path.home(), agent)
    found = [*made.findings, *around]
    carry_out(options, made, dry_run, findings=found, notes=catalogue.notes(agent, managed=managed))


def insist(managed: bool, dry_run: bool) -> None:
    """Raise GateError `usage` where the administrator's files are to be written and this is not root."""
    if managed and not dry_run and os.geteuid() != 0:
        raise GateError("usage", "the administrator's files are root's", remedy="Call it as root, or with --dry-run.")


def base(managed: bool) -> Path:
    """Below which folder the files are."""
    return Path("/") if managed else Path.cwd()


def program() -> str:
    """The absolute path by which an agent starts this very gate. Raises GateError `usage` where there is none."""
    beside = Path(sys.executable).with_name("gate")
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("gate")
    if found is None:
        raise GateError("usage", "no program `gate` is installed", remedy="Install the package, then call again.")
    return str(Path(found).absolute())


def carry_out(options: Options, made: Plan, dry_run: bool, *, findings: list[str], notes: tuple[str, ...]) -> None:
    """Show the difference on stderr, write unless `dry_run`, and say what was done on stdout."""
    click.echo(_shown(made.diff()), err=True, nl=False)
    if not dry_run:
        made.carry_out()
    names = [change.seen.name for change in made.changes]
    if options.json:
        what = {"done": not dry_run, "files": names, "findings": findings, "notes": list(notes)}
        click.echo(json.dumps(what))
        return
    for name in names or ["nothing"]:
        click.echo(f"{'would change' if dry_run else 'changed'} {refusal.escaped(name)}")
    for finding in findings:
        click.echo(f"finding: {refusal.escaped(finding)}")
    for note in notes:
        click.echo(f"note: {note}")


def _shown(text: str) -> str:
    """The text as it is, but for characters that a terminal would act on."""
    return "".join(char if char.isprintable() or char in "\t\r\n" else f"\\x{ord(char):02x}" for char in text)
