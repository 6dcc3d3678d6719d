"""`gate doctor`: what is amiss on this machine and in this project. Mends nothing."""

import json
from pathlib import Path
from typing import Any

import click

from gate import world
from gate.agents import check
from gate.cli import project_files, sight
from gate.cli.convex import Options
from gate.errors import GateError
from gate.execution import convex, ssh
from gate.keeper import client

# A key that stands in these files can be read by whatever the agent runs.
_KEY_NAMES = ("CONVEX_DEPLOY_KEY", "CONVEX_DEPLOYMENT_TOKEN", "CONVEX_SELF_HOSTED_ADMIN_KEY")
_CANNOT_TELL = 3


@click.command(epilog="Example: gate doctor")
@click.pass_obj
def doctor(options: Options) -> int:
    """Check keeper, bundle, ledger, keys, Node and Convex. Exits 0 clean, 1 with findings, 3 when it cannot tell."""
    found = [*_tools(), *_keys_about(), *check.findings(Path.cwd(), Path.home())]
    try:
        invocation = sight.invocation([], options.principal, options.grant)
        files = _draft(found)
        result: Any = client.request("doctor", sight.read_text, invocation=invocation, files=files)
    except GateError as error:
        if error.code == "config_invalid":
            return _report(options, found or [error.message], [], 1)
        found.append(f"{error.code}: {error.message}")
        return _report(options, found, [], 1 if error.code == "ledger_tampered" else _CANNOT_TELL)
    found += [*result["findings"], *_agent(result.get("signers", []))]
    return _report(options, found, [*result["notes"], *check.ways_around(Path.cwd())], 1 if found else 0)


def _draft(found: list[str]) -> dict[str, str]:
    try:
        return project_files.draft_files()
    except GateError as error:
        if error.code != "config_invalid":
            raise
        found.append(f"bundle: {error.message}")
        return {}


def _tools() -> list[str]:
    try:
        convex.command(convex.package_in("."), world.variable("PATH") or "")
    except GateError as error:
        return [f"tools: {error.message}. {error.remedy}"]
    return []


def _keys_about() -> list[str]:
    """Deploy and admin keys in the agent's reach, by the names of their variables only."""
    found = [f"key in reach: {name} is set in the environment" for name in _KEY_NAMES if world.variable(name)]
    for file in (".env.local", ".env"):
        data, _ = sight.read_file(file)
        lines = [] if data is None else data.decode("utf-8", "replace").splitlines()
        names = {
            line.partition("=")[0].strip().removeprefix("export ") for line in lines if line.partition("=")[2].strip()
        }
        found += [
            f"key in reach: {file} holds {name}; store it with `gate key set`" for name in _KEY_NAMES if name in names
        ]
    return found


def _agent(signers: list[Any]) -> list[str]:
    """Keys of people who may sign that the caller's ssh-agent uses without asking: whoever calls it signs as them."""
    socket = world.variable("SSH_AUTH_SOCK")
    whose = {key: signer["person"] for signer in signers for key in signer["keys"]}
    if socket is None or not whose:
        return []
    mine = [key for key in ssh.agent_keys(socket) if key in whose and ssh.signs_silently(socket, key)]
    return [
        f"signer's key in an agent: the ssh-agent signs as {whose[key]} without asking; take it out (`ssh-add -d`), "
        "add it with `ssh-add -c`, or use a security key"
        for key in mine
    ]


def _report(options: Options, findings: list[str], notes: list[str], status: int) -> int:
    if options.json:
        click.echo(json.dumps({"findings": findings, "notes": notes}))
        return status
    for finding in findings:
        click.echo(f"finding: {finding}")
    for note in notes:
        click.echo(f"note: {note}")
    if not findings:
        click.echo("clean")
    return status
