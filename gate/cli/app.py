"""The command line but for the doors: gate's own options, and one file per verb beside this one. Decides nothing."""

import itertools
import sys

import click
from click.shell_completion import get_completion_class

from gate import __version__
from gate.cli import convex, refusal
from gate.cli.convex import Options
from gate.cli.verbs import Verbs
from gate.errors import GateError

_VERBS = {
    "accept": "gate.cli.review:accept",
    "activate": "gate.cli.activate:activate",
    "approve": "gate.cli.review:approve",
    "audit": "gate.cli.audit:audit",
    "cancel": "gate.cli.request:cancel",
    "demo": "gate.cli.demo:demo",
    "deny": "gate.cli.review:deny",
    "doctor": "gate.cli.doctor:doctor",
    "drop": "gate.cli.grants:drop",
    "explain": "gate.cli.explain:explain",
    "grants": "gate.cli.grants:grants",
    "hook": "gate.cli.hook:hook",
    "init": "gate.cli.init:init",
    "install": "gate.cli.install:install",
    "keeper": "gate.cli.keeper:keeper",
    "key": "gate.cli.key:key",
    "mcp": "gate.cli.mcp_help:mcp",
    "policy": "gate.cli.policy:policy",
    "request": "gate.cli.request:request",
    "requests": "gate.cli.request:requests",
    "revoke": "gate.cli.grants:revoke",
    "show": "gate.cli.request:show",
    "uninstall": "gate.cli.uninstall:uninstall",
    "wait": "gate.cli.request:wait",
    "whoami": "gate.cli.whoami:whoami",
}


@click.group(
    cls=Verbs,
    table=_VERBS,
    epilog="Example: gate convex run messages:list",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per result.")
@click.option("--as", "principal", metavar="ID", help="Who calls, such as agent:codex (else GATE_PRINCIPAL).")
@click.option("--grant", metavar="ID", help="Use this grant and no other.")
@click.option("--status-fd", type=int, metavar="N", help="Write gate's own verdict as JSON to descriptor N.")
@click.version_option(__version__, prog_name="gate")
@click.pass_context
def gate(
    context: click.Context, as_json: bool, principal: str | None, grant: str | None, status_fd: int | None
) -> None:
    """Sudo for coding agents on Convex: free on a deployment of their own, signed and time-boxed on production."""
    context.obj = Options(as_json, principal, grant, status_fd)


@gate.command(
    "convex",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []},
    epilog="Example: gate convex dev --once",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def run_convex(options: Options, arguments: tuple[str, ...]) -> int:
    """Run the real Convex CLI where the policy allows it. After `convex` nothing is gate's."""
    return convex.main(list(arguments), options)


@gate.command(epilog='Example: eval "$(gate completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for SHELL."""
    found = get_completion_class(shell)
    if found is None:
        raise GateError("usage", f"no completion for {shell}", remedy="Use bash, zsh or fish.")
    click.echo(found(gate, {}, "gate", "_GATE_COMPLETE").source())


def main(arguments: list[str]) -> int:
    """Run the command line `arguments`; returns the exit status (docs/contract.md, exit codes)."""
    try:
        status = gate.main(arguments, prog_name="gate", standalone_mode=False)
    except GateError as error:
        status = _refuse(error, arguments)
    except click.UsageError as error:
        status = _refuse(GateError("usage", error.format_message(), remedy=_usage(error)), arguments)
    except click.exceptions.Exit as leaving:
        status = leaving.exit_code
    except click.Abort:
        status = 130
    except BrokenPipeError:
        sys.stderr.close()
        status = 141
    except OSError as error:
        status = _refuse(refusal.of_system(error), arguments)
    return status if isinstance(status, int) else 0


def _refuse(error: GateError, arguments: list[str]) -> int:
    convex.tell(_status_fd(arguments), refusal.verdict_of(error))
    return refusal.show_error(error, "--json" in arguments)


def _usage(error: click.UsageError) -> str:
    verb = "gate" if error.ctx is None else error.ctx.command_path
    return f"See `{verb} --help`."


def _status_fd(arguments: list[str]) -> int | None:
    """The value of --status-fd, which stands before the verb."""
    for option, value in itertools.pairwise(arguments):
        if option == "--status-fd" and value.isascii() and value.isdecimal():
            return int(value)
    return None
