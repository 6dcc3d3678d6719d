"""The draft that `gate init` writes: texts made from what a project's own files say. Reads no file of the project's.

A key never gets in: the only values taken over are names, origins and one public key, each checked for its form.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from gate.config.document import GATE_YAML
from gate.config.values import CLASSES, origin
from gate.errors import GateError

SIGNERS = "gate.signers"
POLICIES = ("policies/default.yaml", "policies/production.yaml")

_CLOUD = re.compile(r"https://([a-z]+-[a-z]+-[0-9]+)(?:\.[a-z0-9-]+)?\.convex\.cloud")
_SELECTED = re.compile(r"(dev|preview|prod):([a-z]+-[a-z]+-[0-9]+)")
_PUBLIC_KEY = re.compile(r"((?:ssh|ecdsa|sk-ssh|sk-ecdsa)-[a-z0-9@.-]+) ([A-Za-z0-9+/]+=*)(?: .*)?")
_HUMAN = re.compile(r"human:[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_LOOPBACK = "http://"

_SIGNERS_HEAD = """\
# Who may sign approvals and activations, one person a line: `human:NAME KEY-TYPE KEY`
# Add the public key of each person listed in gate.yaml. Production approvals want a key on a security key
# (`ssh-keygen -t ed25519-sk`).
"""

_GATE_YAML = """\
# A draft: it counts once a root has signed it with `gate activate --key FILE` (docs/contract.md, gate.yaml).
gate: 1
project: "{project}"
signers: {signers}
# May sign an activation alone. Everybody else needs a second signer.
roots: [{human}]
policies: [{policies}]
# Deployments that agents may name. What is not listed here is refused. `class` decides which rules hold: a label in
# an env file is no proof of it, so compare it with the dashboard.
deployments:{deployments}
# Everybody who asks, and who answers for them. Someone else than the owner approves: list a second person.
principals:
  agent:claude: {{owner: {human}}}
  agent:codex: {{owner: {human}}}
  {human}: {{groups: [leads]}}
# Where the keys are. Store one with `gate key set NAME`; it stays out of this folder.
custody:{custody}
"""


@dataclass(frozen=True, slots=True)
class _Proposal:
    """One entry of the registry, and the custody of the same id."""

    id: str
    cls: str
    url: str
    source: str
    name: str | None = None
    env_file: str | None = None


def draft(
    project_name: str,
    env: Mapping[str, str],
    package: Mapping[str, Any] | None,
    convex_json: Mapping[str, Any] | None,
    human: str,
    *,
    public_key: str | None = None,
) -> dict[str, str]:
    """Write the texts of a bundle's files, by path, for the project that the arguments describe.

    `env`: variables of `.env.local`. `package`, `convex_json`: package.json and convex.json as read, None where there
    is none. `human`: id of the first root (`human:NAME`). `public_key`: its OpenSSH public key line. With a key the
    draft is a bundle that loads. Raises GateError `usage` when `human` or `public_key` has another form.
    """
    if _HUMAN.fullmatch(human) is None:
        raise GateError("usage", "a person's id is `human:NAME`", remedy="Use letters, digits, `.`, `_` and `-`.")
    proposals = _proposals(env, convex_json or {})
    text = _GATE_YAML.format(
        project=_project(project_name, package or {}),
        signers=SIGNERS,
        human=human,
        policies=", ".join(POLICIES),
        deployments=_block([_deployment(proposal) for proposal in proposals]),
        custody=_block([_custody(proposal) for proposal in proposals]),
    )
    return {GATE_YAML: text, SIGNERS: _signers(human, public_key)} | shipped()


def shipped() -> dict[str, str]:
    """Return the texts of the policies that come with the gate, by path: in force before any activation."""
    folder = resources.files("gate.config")
    return {path: folder.joinpath(path).read_text(encoding="utf-8") for path in POLICIES}


def _project(name: str, package: Mapping[str, Any]) -> str:
    for candidate in (package.get("name"), name):
        words = re.findall(r"[a-z0-9]+", str(candidate or "").lower())
        if words:
            return "-".join(words)[:63].rstrip("-")
    return "project"


def _proposals(env: Mapping[str, str], convex_json: Mapping[str, Any]) -> list[_Proposal]:
    """Collect what the files name; of two proposals for one URL or one id the first stands, production before dev."""
    found = [_produced(convex_json), _selected(env), _self_hosted(env)]
    chosen: list[_Proposal] = []
    for proposal in found:
        if proposal is not None and all(proposal.id != one.id and proposal.url != one.url for one in chosen):
            chosen.append(proposal)
    return chosen


def _produced(convex_json: Mapping[str, Any]) -> _Proposal | None:
    url = str(convex_json.get("prodUrl", "")).rstrip("/")
    match = _CLOUD.fullmatch(url)
    return None if match is None else _Proposal("prod", "prod", url, "prodUrl in convex.json", match[1])


def _selected(env: Mapping[str, str]) -> _Proposal | None:
    match = _SELECTED.fullmatch(env.get("CONVEX_DEPLOYMENT", ""))
    if match is None:
        return None
    cls, name = match.groups()
    return _Proposal(cls, cls, _url(name, env), "CONVEX_DEPLOYMENT in .env.local", name)


def _url(name: str, env: Mapping[str, str]) -> str:
    """Find the URL that a client variable gives for `name` (it may hold a region), or Convex's usual one."""
    for variable, value in sorted(env.items()):
        match = _CLOUD.fullmatch(value.rstrip("/"))
        if variable.endswith("CONVEX_URL") and match is not None and match[1] == name:
            return match[0]
    return f"https://{name}.convex.cloud"


def _self_hosted(env: Mapping[str, str]) -> _Proposal | None:
    """Propose the pair's deployment: dev on loopback; anywhere else production, until a person says it is not."""
    try:
        url = origin(env.get("CONVEX_SELF_HOSTED_URL", ""))
    except ValueError:
        return None
    source = "CONVEX_SELF_HOSTED_URL in .env.local"
    if url.startswith(_LOOPBACK):
        return _Proposal("dev", "dev", url, source, env_file=".env.local")
    return _Proposal("self-hosted", "prod", url, source)


def _block(entries: list[str]) -> str:
    return "".join(f"\n  {entry}" for entry in entries) if entries else " {}"


def _deployment(proposal: _Proposal) -> str:
    name = "" if proposal.name is None else f"name: {proposal.name}, "
    entry = f'{proposal.id}: {{class: {proposal.cls}, {name}url: "{proposal.url}", custody: {proposal.id}}}'
    return f"# from {proposal.source}; classes: {', '.join(CLASSES)}\n  {entry}"


def _custody(proposal: _Proposal) -> str:
    if proposal.env_file is not None:
        return f"{proposal.id}: {{env_file: {proposal.env_file}}}"
    return f"{proposal.id}: {{file: keys/{proposal.id}}}"


def _signers(human: str, public_key: str | None) -> str:
    if public_key is None:
        return _SIGNERS_HEAD + f"# {human} ssh-ed25519 AAAA...\n"
    match = _PUBLIC_KEY.fullmatch(public_key.strip())
    if match is None:
        raise GateError("usage", "this is no OpenSSH public key", remedy="Give the line of a file `*.pub`.")
    return _SIGNERS_HEAD + f"{human} {match[1]} {match[2]}\n"
