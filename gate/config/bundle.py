"""The bundle: gate.yaml, policies and signers as one set of bytes with one digest. Reads no disk.

What a policy says is checked where it is understood, in gate/policy/load.py.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from gate.config.document import GATE_YAML, PROJECT, Document, parse_document, parse_placed, people
from gate.config.values import hint
from gate.config.yaml import Loaded, load, place
from gate.errors import ConfigInvalid
from gate.identity.signers import Signers, parse_signers

_TAG = b"gate-bundle1\n"

# An activation has to fit into one event and one frame, whatever its characters are.
MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Bundle:
    """One set of trust: `files` by path relative to gate.yaml, its `digest` (`sha256:<hex>`), and what they say."""

    files: Mapping[str, bytes]
    digest: str
    document: Document
    signers: Signers


@lru_cache(maxsize=64)
def project_of(gate_yaml: bytes) -> str:
    """Name of the project whose activated bundle a draft refers to; nothing else in the draft has to be right.

    An edited draft changes nothing, so it must not hide its project either. Raises ConfigInvalid where the file is
    no YAML or names no project.
    """
    loaded = load(gate_yaml, GATE_YAML)
    name = loaded.data.get("project") if isinstance(loaded.data, dict) else None
    if not isinstance(name, str) or re.fullmatch(PROJECT, name) is None:
        raise ConfigInvalid([loaded.finding(("project",), "names no project")])
    return name


def bundle_paths(gate_yaml: bytes) -> tuple[str, ...]:
    """Paths of the files that belong to this gate.yaml: signers, then policies in their order. Raises ConfigInvalid."""
    return _paths(parse_document(gate_yaml))


def load_bundle(files: Mapping[str, bytes]) -> Bundle:
    """Read a bundle from exactly its files, `gate.yaml` among them (docs/contract.md, gate.yaml).

    Raises ConfigInvalid when one is missing, is not part of it, is not UTF-8 or is not valid, when a signer is no
    listed person, and when no root can sign.
    """
    if sum(map(len, files.values())) > MOST_BYTES:
        raise ConfigInvalid([place(GATE_YAML, 1, 1) + ": the files of the bundle hold more than 1 MiB"])
    if GATE_YAML not in files:
        raise ConfigInvalid([place(GATE_YAML, 1, 1) + ": is missing"])
    document, loaded = parse_placed(files[GATE_YAML])
    if findings := [*_exactly(document, loaded, files)]:
        raise ConfigInvalid(findings)
    signers = parse_signers(files[document.signers], document.signers)
    if findings := [*_strangers(document, signers), *_rootless(document, loaded, signers)]:
        raise ConfigInvalid(findings)
    return Bundle(dict(files), digest(files), document, signers)


def digest(files: Mapping[str, bytes]) -> str:
    """`sha256:<hex>` over a tag and, for each path in byte order, length and bytes of path and content.

    The tag is `gate-bundle1` and a line feed; a length is 8 bytes, big-endian, so no two sets have one serialisation.
    """
    state = hashlib.sha256(_TAG)
    for path, data in sorted((path.encode(), data) for path, data in files.items()):
        for part in (path, data):
            state.update(len(part).to_bytes(8) + part)
    return f"sha256:{state.hexdigest()}"


def _paths(document: Document) -> tuple[str, ...]:
    return (document.signers, *document.policies)


def _exactly(document: Document, loaded: Loaded, files: Mapping[str, bytes]) -> Iterator[str]:
    wanted = {document.signers: ("signers",)} | {
        path: ("policies", index) for index, path in enumerate(document.policies)
    }
    for path, steps in wanted.items():
        if path not in files:
            yield loaded.finding(steps, f"{path} is missing")
        elif not _is_text(files[path]):
            yield place(path, 1, 1) + ": is not UTF-8"
    for path in sorted(files.keys() - wanted.keys() - {GATE_YAML}):
        yield place(path, 1, 1) + ": is not part of the bundle"


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _strangers(document: Document, signers: Signers) -> Iterator[str]:
    listed = people(document)
    for entry in signers.entries:
        if entry.principal not in listed:
            near = hint(entry.principal, listed)
            yield place(document.signers, entry.line, 1) + f": {entry.principal} is not listed in {GATE_YAML}{near}"


def _rootless(document: Document, loaded: Loaded, signers: Signers) -> Iterator[str]:
    if signers.principals.isdisjoint(document.roots):
        yield loaded.finding(("roots",), f"none of the roots has a line in {document.signers}", key=True)
