"""The bundles that `gate policy` is asked about: the files here, in a folder, or in force. Decides nothing.

Files are read and checked in this process: no keeper is needed but for what is in force.
"""

import json
from pathlib import Path
from typing import Any

from gate.cli import project_files, sight
from gate.config.bundle import Bundle, bundle_paths, load_bundle
from gate.config.yaml import place
from gate.errors import ConfigInvalid, GateError
from gate.keeper import client
from gate.policy.analysis.sides import Side
from gate.policy.load import load_rules, shipped_rules

ACTIVE = "active"
SOURCES = f"a folder, a gate.yaml, or `{ACTIVE}` for what is in force"
METAVAR, OPTIONAL = ("SOURCE", "[SOURCE]")


def read_side(source: str | None) -> Side:
    """The policies of `source` (a folder, a gate.yaml, `active`; None: the project here) and what they are about.

    Raises ConfigInvalid for files that cannot be taken, and what the keeper refuses for `active`.
    """
    if source == ACTIVE:
        return in_force()
    folder = project_files.config_folder() if source is None else Path(source)
    path = folder if folder.is_file() else folder / sight.CONFIG
    return side_of(bundle_at(path))


def bundle_at(path: Path) -> Bundle:
    """The bundle of the gate.yaml at `path`. Raises ConfigInvalid with every finding."""
    document = _content(path, sight.CONFIG)
    names = bundle_paths(document)
    return load_bundle({sight.CONFIG: document, **{name: _content(path.parent / name, name) for name in names}})


def side_of(bundle: Bundle) -> Side:
    """A bundle as the analysis takes it. Raises ConfigInvalid where its policies cannot be taken."""
    return Side(load_rules(bundle), bundle.document)


def in_force() -> Side:
    """What the keeper holds as activated in the project here. Raises GateError as the keeper refuses."""
    told: Any = client.request("whoami", invocation=sight.invocation([], None, None), files={})
    return of_digest(None if told["bundle"] is None else told["bundle"]["digest"])


def of_digest(digest: str | None) -> Side:
    """The activated bundle of that digest; None: the shipped policies, which hold before any activation.

    The files here are taken where they are those in force; else the keeper's record is read, which is for those who may
    read the history. Raises GateError as the keeper refuses.
    """
    if digest is None:
        return Side(shipped_rules(), None)
    here = _here()
    return side_of(here if here is not None and here.digest == digest else _recorded(digest))


def _here() -> Bundle | None:
    """The bundle of the files here, None where there is none that can be taken."""
    path = sight.config_path()
    try:
        return None if path is None else bundle_at(Path(path))
    except ConfigInvalid:
        return None


def _recorded(digest: str) -> Bundle:
    """The files of an activation, as they are on record; what they are is checked by their digest."""
    told: Any = client.request("audit.show", gate_yaml=sight.gate_yaml(), id=digest)
    bodies = [json.loads(json.loads(line)["body"]) for line in told["events"]]
    files: dict[str, str] = next((body["files"] for body in bodies if body["type"] == "bundle.activated"), {})
    bundle = load_bundle({name: text.encode() for name, text in files.items()})
    if bundle.digest != digest:
        raise GateError(
            "ledger_tampered",
            "the recorded files are not those in force",
            remedy="Run `gate audit verify`.",
            argv=["gate", "audit", "verify"],
        )
    return bundle


def _content(path: Path, name: str) -> bytes:
    data, problem = sight.read_file(str(path))
    if data is None:
        raise ConfigInvalid([place(name, 1, 1) + f": {problem or 'is not there'}"])
    return data
