"""`gate key set`: hand a deployment's key to the keeper. The key comes on stdin and is shown nowhere."""

import sys

import click

from gate.cli import sight
from gate.cli.convex import Options
from gate.errors import GateError
from gate.keeper import client

_LARGEST = 64 * 1024


@click.group(epilog="Example: gate key set dev < key.txt")
def key() -> None:
    """Keys of deployments, kept by the keeper."""


@key.command("set", epilog="Example: gate key set dev < key.txt")
@click.argument("custody")
@click.pass_obj
def set_(options: Options, custody: str) -> None:
    """Store the key of CUSTODY, read from stdin, and replace the one before."""
    del options
    value = (
        click.prompt("Key", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.read(_LARGEST).strip("\r\n")
    )
    if not value:
        raise GateError("usage", "stdin held no key", remedy=f"Pipe it in: `gate key set {custody} < FILE`.")
    client.request("key.set", gate_yaml=sight.gate_yaml(), custody=custody, key=value)
    click.echo(f"stored the key of custody {custody}", err=True)
