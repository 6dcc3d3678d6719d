"""gate.yaml as typed data: registry, principals, custody references. Holds no key, reads no file, decides nothing.

The rules are those of docs/contract.md, gate.yaml.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from gate.config.findings import NOT_EMPTY, NOT_NULL, Closed, Version, in_order, validate
from gate.config.values import (
    BUILT_IN,
    CLASSES,
    PRINCIPAL_KINDS,
    duration,
    hint,
    key_path,
    matching,
    one_of,
    origin,
    relative_path,
)
from gate.config.yaml import Loaded, Steps, load
from gate.errors import ConfigInvalid

GATE_YAML = "gate.yaml"

PROJECT = "[a-z0-9][a-z0-9-]{0,62}"
_PROJECT_WORDS = "1 to 63 lower-case letters, digits and `-`, the first no `-`"
_ID = matching("[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "an id of letters, digits, `.`, `_` and `-`")
_PRINCIPAL = matching(
    f"(?:{'|'.join(PRINCIPAL_KINDS)})[A-Za-z0-9][A-Za-z0-9._-]{{0,62}}",
    "`agent:NAME`, `ci:NAME`, `human:NAME` or `runtime:NAME`",
)
_LARGEST_UID = 2**32 - 2

Id = Annotated[str, AfterValidator(_ID)]
PrincipalId = Annotated[str, AfterValidator(_PRINCIPAL)]
Project = Annotated[str, AfterValidator(matching(PROJECT, _PROJECT_WORDS))]
Path = Annotated[str, AfterValidator(relative_path)]
Word = Annotated[str, AfterValidator(matching("[A-Za-z0-9][A-Za-z0-9._/@+-]{0,127}", "one word of Convex's"))]
Uid = Annotated[int, Field(ge=0, le=_LARGEST_UID)]


def _seconds(value: object, info: ValidationInfo) -> object:
    if isinstance(value, str):
        return duration(value)
    if info.context:
        raise ValueError("must be a duration such as `10s`")
    return value


Seconds = Annotated[int, BeforeValidator(_seconds)]

_Name = Annotated[str, AfterValidator(matching("[a-z]+-[a-z]+-[0-9]+", "as `happy-otter-123`"))]
_Command = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], NOT_EMPTY]
_OptionalPath = Annotated[Path | None, NOT_NULL]
_OptionalKey = Annotated[Annotated[str, AfterValidator(key_path)] | None, NOT_NULL]
_OptionalWord = Annotated[Word | None, NOT_NULL]


class DeploymentEntry(Closed):
    """One deployment of the registry. `url` is its origin; without `name` it is self-hosted.

    `ca`: certificates to trust for it, a file in the project's state folder. `team`, `slug` and `reference` are how
    Convex's control plane calls it.
    """

    cls: Annotated[str, AfterValidator(one_of(CLASSES, "class"))] = Field(validation_alias="class")
    url: Annotated[str, AfterValidator(origin)]
    custody: Id
    name: Annotated[_Name | None, NOT_NULL] = None
    ca: _OptionalPath = None
    team: _OptionalWord = None
    slug: _OptionalWord = None
    reference: _OptionalWord = None


class PrincipalEntry(Closed):
    """One principal: the person who answers for it, its groups, and the system users that are this person."""

    owner: Annotated[PrincipalId | None, NOT_NULL] = None
    groups: tuple[Id, ...] = ()
    uids: tuple[Uid, ...] = ()


class CustodyEntry(Closed):
    """Where a key comes from, exactly one of: `file` of the gate's own, the project's `env_file`, a `command`.

    `timeout`: seconds that the command may take.
    """

    file: _OptionalKey = None
    env_file: _OptionalPath = None
    command: Annotated[_Command | None, NOT_NULL] = None
    timeout: Seconds = 10


class Document(Closed):
    """gate.yaml: everything but the bytes of its policies and signers."""

    gate: Version
    project: Project
    signers: Path
    roots: Annotated[tuple[PrincipalId, ...], NOT_EMPTY]
    policies: Annotated[tuple[Path, ...], NOT_EMPTY]
    deployments: dict[Id, DeploymentEntry]
    principals: dict[PrincipalId, PrincipalEntry]
    custody: dict[Id, CustodyEntry]


def parse_document(data: bytes, file: str = GATE_YAML) -> Document:
    """Read gate.yaml, all of it or nothing. Raises ConfigInvalid with `FILE:LINE:COL` findings."""
    return parse_placed(data, file)[0]


def parse_placed(data: bytes, file: str = GATE_YAML) -> tuple[Document, Loaded]:
    """As `parse_document`, with the place of every key and value for further findings."""
    loaded = load(data, file)
    document = validate(Document, loaded)
    found = [finding for rule in _RULES for finding in rule(document)]
    if found:
        raise ConfigInvalid(in_order(loaded, found))
    return document, loaded


def people(document: Document) -> frozenset[str]:
    """Return the ids of the listed persons."""
    return frozenset(name for name in document.principals if name.startswith("human:"))


# What is wrong: where (its key or its value), and what.
_Finding = tuple[Steps, bool, str]


def _paths(document: Document) -> Iterator[_Finding]:
    """Hold that a file is named once: its path is its name in the digest."""
    seen = {GATE_YAML, document.signers}
    if document.signers == GATE_YAML:
        yield ("signers",), False, "signers must be a file of its own"
    for index, path in enumerate(document.policies):
        if path in seen:
            yield ("policies", index), False, f"policies.{index} names a file of the bundle a second time"
        seen.add(path)


def _roots(document: Document) -> Iterator[_Finding]:
    for index, root in enumerate(document.roots):
        yield from _is_person(document, root, ("roots", index))
        if root in document.roots[:index]:
            yield ("roots", index), False, f"roots.{index} stands twice"


def _owners(document: Document) -> Iterator[_Finding]:
    for name, entry in document.principals.items():
        steps = ("principals", name, "owner")
        if entry.owner is not None:
            if name.startswith("human:"):
                yield steps, True, "a person has no owner"
            yield from _is_person(document, entry.owner, steps)


def _uids(document: Document) -> Iterator[_Finding]:
    """Hold that a uid is one person: who acts by it must not be a matter of order."""
    uses = Counter(uid for entry in document.principals.values() for uid in entry.uids)
    for name, entry in document.principals.items():
        if entry.uids and not name.startswith("human:"):
            yield ("principals", name, "uids"), True, "only a person has uids"
        for index, uid in enumerate(entry.uids):
            if uses[uid] > 1:
                yield ("principals", name, "uids", index), False, "this uid is listed more than once"


def _is_person(document: Document, name: str, steps: Steps) -> Iterator[_Finding]:
    if name not in people(document):
        near = hint(name, people(document))
        yield steps, False, f"{'.'.join(map(str, steps))} must be a `human:*` listed under principals{near}"


def _reserved(document: Document) -> Iterator[_Finding]:
    for name in document.deployments:
        if name in BUILT_IN:
            yield ("deployments", name), True, f"`{name}` is built in and reserved"


def _unique(document: Document) -> Iterator[_Finding]:
    entries = document.deployments.items()
    names = Counter(entry.name for _, entry in entries if entry.name is not None)
    urls = Counter(entry.url for _, entry in entries)
    for id_, entry in entries:
        if names[entry.name or ""] > 1:
            yield ("deployments", id_, "name"), False, f"deployments.{id_}.name is that of another entry too"
        if urls[entry.url] > 1:
            yield ("deployments", id_, "url"), False, f"deployments.{id_}.url is that of another entry too"


def _custody_of(document: Document) -> Iterator[_Finding]:
    for id_, entry in document.deployments.items():
        steps = ("deployments", id_, "custody")
        backend = document.custody.get(entry.custody)
        if backend is None:
            near = hint(entry.custody, document.custody)
            yield steps, False, f"deployments.{id_}.custody is not listed under custody{near}"
        elif backend.env_file is not None and entry.cls != "dev":
            yield steps, False, f"deployments.{id_}.custody is an env_file, which is for class dev only"


def _backends(document: Document) -> Iterator[_Finding]:
    for id_, entry in document.custody.items():
        if sum(backend is not None for backend in (entry.file, entry.env_file, entry.command)) != 1:
            yield ("custody", id_), False, f"custody.{id_} must have exactly one of file, env_file and command"
        elif entry.command is None and "timeout" in entry.model_fields_set:
            yield ("custody", id_, "timeout"), True, f"custody.{id_}.timeout belongs to a command"


_RULES = (_paths, _roots, _owners, _uids, _reserved, _unique, _custody_of, _backends)
