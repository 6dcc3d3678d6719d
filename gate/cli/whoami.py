"""`gate whoami`: who the caller is to the gate, and what is in force."""

import json
from typing import Any

import click

from gate.cli import project_files, sight
from gate.cli.convex import Options
from gate.keeper import client

_DRAFT = {
    "none": "no gate.yaml here",
    "active": "the files here are in force",
    "differs": "the files here are NOT in force: `gate activate --key FILE`",
    "invalid": "the files here cannot be taken: `gate doctor` says why",
}


@click.command(epilog="Example: gate --as agent:codex whoami")
@click.pass_obj
def whoami(options: Options) -> None:
    """Say who you are to the gate, which bundle is in force and what it registers."""
    invocation = sight.invocation([], options.principal, options.grant)
    result: Any = client.request("whoami", invocation=invocation, files=project_files.known_files())
    if options.json:
        click.echo(json.dumps(result))
        return
    who, bundle = result["principal"], result["bundle"]
    click.echo(f"you         {who['id']} ({who['proof']}), owner {who['owner'] or 'nobody'}, uid {result['uid']}")
    click.echo(f"project     {result['project'] or 'none: anonymous and local only'}")
    in_force = (
        "none: anonymous and local only" if bundle is None else f"{bundle['digest']} by {', '.join(bundle['signers'])}"
    )
    click.echo(f"bundle      {in_force}")
    click.echo(f"draft       {_DRAFT[result['draft']]}")
    for name, entry in result["deployments"].items():
        click.echo(f"deployment  {name} ({entry['class']}) {entry['url']}")
    click.echo(f"production  {result['production']}")
    click.echo(
        f"keeper      {result['enforcement']}, version {result['keeper']['version']}, uid {result['keeper']['uid']}"
    )
