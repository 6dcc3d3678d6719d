"""`gate whoami`: who the caller is to the gate, and what is in force."""

import json
from typing import Any

import click

from gate.cli import policy_files, policy_screen, project_files, refusal, sight
from gate.cli.convex import Options
from gate.keeper import client
from gate.policy.analysis import reach
from gate.policy.analysis.region import families

# As sudo -l tells it.
_WHEN = {"allow": "at once", "grant_required": "under grant"}

_DRAFT = {
    "none": "no gate.yaml here",
    "active": "the files here are in force",
    "differs": "the files here are NOT in force: `gate activate --key FILE`",
    "invalid": "the files here cannot be taken: `gate doctor` says why",
}


@click.command(epilog="Example: gate --as agent:codex whoami --can")
@click.option("--can", "abilities", is_flag=True, help="What you can do where: at once, under a grant, never.")
@click.pass_obj
def whoami(options: Options, *, abilities: bool) -> None:
    """Say who you are to the gate, which bundle is in force and what it registers."""
    invocation = sight.invocation([], options.principal, options.grant)
    result: Any = client.request("whoami", invocation=invocation, files=project_files.known_files())
    found = _abilities(result) if abilities else None
    if options.json:
        click.echo(json.dumps(result if found is None else {**result, "can": found}))
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
    for row in found or ():
        _show(row)


def _abilities(result: Any) -> list[Any]:
    """What the caller can do on each deployment, and without one, by the bundle in force."""
    digest = None if result["bundle"] is None else result["bundle"]["digest"]
    rows = reach.can(policy_files.of_digest(digest), result["principal"]["id"])
    return [
        {"deployment": deployment, "can": [one.to_json() for one in accesses], "never": list(reach.never(accesses))}
        for deployment, accesses in rows
    ]


def _show(row: Any) -> None:
    click.echo(f"on {row['deployment'] or 'no deployment'}")
    for one in row["can"]:
        told = [f"{_WHEN[one['verdict']]:<12} {', '.join(families(one['effects']))}"]
        told += [f"where {policy_screen.region_line(one['conditions'])}"] if one["conditions"] else []
        told += [] if one["needs"] is None else [f"with {policy_screen.needs_line(one['needs'])}"]
        click.echo(f"  {refusal.escaped(' '.join(told))}")
    click.echo(f"  never        {', '.join(families(row['never'])) if row['can'] else 'anything'}")
