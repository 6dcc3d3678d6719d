"""A registry, and calls of a door, for the tests of this room."""

from collections.abc import Mapping, Sequence

from gate.config.document import DeploymentEntry
from gate.intent.parse import read_intent
from gate.invocation import Invocation
from gate.target.select import choose_target
from gate.target.target import Target

DEV, PROD, STAGING, PREVIEW = "happy-otter-123", "proud-lynx-456", "calm-heron-789", "brave-fox-12"


def entry(cls: str, name: str | None, url: str | None = None, **more: str) -> DeploymentEntry:
    where = url or f"https://{name}.convex.cloud"
    return DeploymentEntry.model_validate({"class": cls, "url": where, "custody": "keys", "name": name, **more})


REGISTRY: Mapping[str, DeploymentEntry] = {
    "dev": entry("dev", DEV, team="acme", slug="chat", reference="dev/ada"),
    "prod": entry("prod", PROD, team="acme", slug="chat"),
    "staging": entry("custom", STAGING, team="acme", slug="chat", reference="staging"),
    "preview": entry("preview", PREVIEW, reference="my-branch"),
    "own-dev": entry("dev", None, "http://127.0.0.1:3210"),
    "own-prod": entry("prod", None, "https://convex.example.com:8443"),
}


def seen(
    argv: Sequence[str],
    variables: Mapping[str, str] | None = None,
    files: Mapping[str, str | bytes] | None = None,
    problems: Mapping[str, str] | None = None,
    local_config: bytes | None = None,
) -> Invocation:
    """What a door would have sent for `convex ARGV`."""
    raw = {name: text.encode() if isinstance(text, str) else text for name, text in (files or {}).items()}
    return Invocation(
        "cli",
        tuple(argv),
        "/project",
        variables or {},
        raw,
        problems or {},
        None,
        None,
        None,
        local_config,
        "1.48.0",
        False,
    )


def choose(invocation: Invocation, registry: Mapping[str, DeploymentEntry] = REGISTRY) -> Target | None:
    return choose_target(read_intent(invocation.argv), invocation, registry)
