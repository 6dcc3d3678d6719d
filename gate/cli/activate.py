"""`gate activate`: show what would change, sign it, put it in force. The keeper verifies; nothing here does."""

import json
from pathlib import Path
from typing import Any

import click

from gate.cli import project_files
from gate.cli.convex import Options
from gate.execution.ssh import sign
from gate.keeper import client

NAMESPACE = "activate@convex-gate"


@click.command(epilog="Example: gate activate --key ~/.ssh/id_ed25519")
@click.option(
    "--key",
    "keys",
    type=click.Path(path_type=Path),
    multiple=True,
    required=True,
    help="Private key; twice for two signers.",
)
@click.pass_obj
def activate(options: Options, keys: tuple[Path, ...]) -> None:
    """Put gate.yaml, its policies and signers in force, signed by a root (or two signers).

    The difference to the bundle in force is shown first. Without this, edited files change nothing.
    """
    project_files.config_folder()
    files = project_files.draft_files()
    prepared: Any = client.request("activate.prepare", gate_yaml=files["gate.yaml"], files=files)
    if prepared["unchanged"]:
        _say(options, prepared, f"{prepared['digest']} is in force already")
        return
    for line in prepared["difference"]:
        click.echo(line, err=True)
    click.echo(prepared["statement"], err=True)
    statement = prepared["statement"]
    signatures = [sign(statement.encode("ascii"), key, NAMESPACE) for key in keys]
    result: Any = client.request(
        "activate.commit", gate_yaml=files["gate.yaml"], files=files, statement=statement, signatures=signatures
    )
    _say(options, result, f"{result['digest']} is in force, signed by {', '.join(result['signers'])}")


def _say(options: Options, result: Any, sentence: str) -> None:
    click.echo(
        json.dumps({name: value for name, value in result.items() if name != "statement"}) if options.json else sentence
    )
