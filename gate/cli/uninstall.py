"""`gate uninstall`: take the gate's part out of the files of an agent. Shows the difference first; asks nothing."""

import click

from gate.agents import plan
from gate.cli.convex import Options
from gate.cli.install import agent_argument, base, carry_out, dry_run_option, insist, managed_option, program


@click.command(epilog="Example: gate uninstall codex --dry-run")
@agent_argument
@managed_option
@dry_run_option
@click.pass_obj
def uninstall(options: Options, *, agent: str, managed: bool, dry_run: bool) -> None:
    """Take out what `gate install AGENT` put in, and nothing else; files that only gate made go."""
    insist(managed, dry_run)
    made = plan.uninstall(agent, program(), base(managed), managed=managed)
    carry_out(options, made, dry_run, findings=[], notes=())
