"""`gate init`: write a commented draft for the project at hand. Overwrites nothing, copies no key, asks nothing."""

import json
import os
import pwd
import re
from pathlib import Path
from typing import Any

import click

from gate.cli import sight
from gate.cli.convex import Options
from gate.errors import GateError
from gate.keeper import client

# What the draft is made from; nothing else of an env file leaves the door.
_READ = ("CONVEX_DEPLOYMENT", "CONVEX_SELF_HOSTED_URL")


@click.command(epilog="Example: gate init --signer ~/.ssh/id_ed25519.pub")
@click.option(
    "--signer", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Public key of the first root."
)
@click.option("--project", metavar="NAME", help="Name of the project (else the package's or the folder's).")
@click.pass_obj
def init(options: Options, signer: Path | None, project: str | None) -> None:
    """Write gate.yaml, gate.signers and policies/ as a draft, and create the project's ledger.

    Reads .env.local, package.json and convex.json. Nothing counts before `gate activate`.
    """
    if os.path.lexists(sight.CONFIG):
        raise GateError(
            "usage", "there is a gate.yaml here already", remedy="Edit it, then `gate activate --key FILE`."
        )
    package = _json("package.json")
    name = _project_name(project or (package or {}).get("name") or Path.cwd().name)
    public = signer or next(iter(sorted((Path.home() / ".ssh").glob("id_*.pub"), key=_preference)), None)
    result: Any = client.request(
        "init",
        gate_yaml=f"gate: 1\nproject: {name}\n",
        env=_env(),
        convex_json=_json("convex.json"),
        human="human:" + _project_name(pwd.getpwuid(os.geteuid()).pw_name),
        public_key=None if public is None else public.read_text(encoding="utf-8", errors="replace"),
    )
    # gate.yaml comes last: where something else cannot be written, `gate init` can be called again.
    for path in sorted(result["files"], key=lambda path: path == sight.CONFIG):
        _write(Path(path), result["files"][path])
    if options.json:
        click.echo(json.dumps({"project": name, "ledger": result["ledger"], "files": sorted(result["files"])}))
        return
    click.echo(f"project {name}, ledger {result['ledger']}")
    for path in sorted(result["files"]):
        click.echo(f"wrote {path}")
    key = "FILE" if public is None else public.with_suffix("")
    click.echo(f"Read gate.yaml and gate.signers, then put them in force: gate activate --key {key}")


def _preference(key: Path) -> tuple[bool, bool, str]:
    """Keys that want a touch first, then ed25519."""
    return (not key.name.endswith("_sk.pub"), "ed25519" not in key.name, key.name)


def _project_name(text: str) -> str:
    """`text` as a name that gate.yaml takes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40] or "project"


def _env() -> dict[str, str]:
    data, _ = sight.read_file(".env.local")
    values = {}
    for line in ("" if data is None else data.decode("utf-8", "replace")).splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        if name.strip() in _READ:
            values[name.strip()] = value.partition(" #")[0].strip().strip("'\"`")
    return values


def _json(path: str) -> dict[str, Any] | None:
    data, _ = sight.read_file(path)
    try:
        found = None if data is None else json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, text: str) -> None:
    """Write a new file; one that is there stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        click.echo(f"kept {path}, which is there already", err=True)
