"""What the keeper says about itself and a project: whoami and doctor. Changes nothing."""

import asyncio
import base64
import grp
import os
import pwd
from collections.abc import Mapping
from typing import Any

from gate import __version__
from gate.audit.verify import verify_database
from gate.config.bundle import load_bundle
from gate.errors import ConfigInvalid, GateError
from gate.grant.grant import CUT_FAILED
from gate.grant.history import Grants
from gate.identity.peer import Peer
from gate.invocation import from_wire
from gate.keeper import members, places
from gate.keeper.project import NO_PROJECT, Project
from gate.keeper.server import Message, Session
from gate.proxy import kinds
from gate.target.target import Target

# Groups that give a whole machine away: sudo's, and those that start containers.
_ROOTS = frozenset({"sudo", "wheel", "admin", "docker", "lxd", "podman"})


def insist_on_reader(project: Project, session: Session) -> None:
    """Only the keeper's own user, root and system users that the bundle maps to people see history and set keys.

    Raises GateError `denied_by_rule` for anybody else.
    """
    if not reads(project, session):
        raise GateError(
            "denied_by_rule",
            "history and keys are for the people that the activated bundle maps to system users",
            remedy="Ask an owner of the project; the decision object of your own call says what was decided.",
        )


def reads(project: Project, session: Session) -> bool:
    """Whether the caller may see the history."""
    bundle = project.active.bundle
    people = () if bundle is None else bundle.document.principals.values()
    return session.peer.privileged or any(session.peer.uid in person.uids for person in people)


async def whoami(project: Project, session: Session, message: Message) -> None:
    """Answer who the caller is to the gate and what is in force."""
    invocation = from_wire(members.table(message, "invocation"))
    caller = project.caller(invocation.principal, session.peer)
    ground = project.ground(session.peer)
    bundle = project.active.bundle
    await session.send(
        {
            "result": {
                "principal": {"id": caller.id, "proof": caller.proof, "owner": caller.owner},
                "uid": session.peer.uid,
                "project": None if project.name == NO_PROJECT else project.name,
                "enforcement": ground.enforcement,
                "keeper": {"version": __version__, "pid": os.getpid(), "uid": os.geteuid()},
                "bundle": None
                if bundle is None
                else {"digest": bundle.digest, "at": project.active.at, "signers": list(project.active.signers)},
                "draft": draft_state(project, _files(message)),
                "production": ground.distrusted or "trusted, and refused where the policy wants a grant",
                "deployments": {} if bundle is None else _registry(project),
            }
        }
    )


async def doctor(project: Project, session: Session, message: Message) -> None:
    """Answer with what the keeper finds amiss: `findings` to mend, `notes` to know."""
    findings = [
        *await _ledger(project),
        *_uncut(project),
        *_draft(project, message),
        *await _keys(project, session, message),
    ]
    notes = [f"advisory: {reason}" for reason in _advisory(project, session.peer)]
    distrusted = project.ground(session.peer).distrusted
    if distrusted is not None:
        notes.append(f"production is not served: {distrusted}")
    await session.send({"result": {"findings": findings, "notes": notes, "signers": _signers(project)}})


def _signers(project: Project) -> list[Mapping[str, Any]]:
    """Who signs with which keys, as OpenSSH writes them: the door looks for them in its caller's ssh-agent."""
    entries = () if project.active.bundle is None else project.active.bundle.signers.entries
    keys: dict[str, list[str]] = {}
    for entry in entries:
        keys.setdefault(entry.principal, []).append(f"{entry.key_type} {base64.b64encode(entry.key).decode()}")
    return [{"person": person, "keys": listed} for person, listed in keys.items()]


def _advisory(project: Project, peer: Peer) -> list[str]:
    """What keeps promises 5, 7, 8 and 9 from holding against a hostile process here; they hold against mistakes."""
    rich = sorted(_groups(peer.uid) & _ROOTS)
    reasons = (
        (peer.uid == os.geteuid(), "the keeper runs as your own user: `gate keeper install` gives it one of its own"),
        (peer.uid == 0, "you are root, whom no other user is safe from: let agents run as somebody else"),
        (bool(rich), f"members of the group {', '.join(rich)}, which you are in, can become root"),
        (
            not project.installed,
            f"the genesis is pinned in the state folder only: {places.TRUST} is the administrator's",
        ),
    )
    return [reason for holds, reason in reasons if holds]


def _groups(uid: int) -> set[str]:
    """Names of the groups of a system user; none where the system does not know the user."""
    try:
        person = pwd.getpwuid(uid)
        return {grp.getgrgid(gid).gr_name for gid in os.getgrouplist(person.pw_name, person.pw_gid)}
    except KeyError:
        return set()


def draft_state(project: Project, files: Mapping[str, bytes] | None) -> str:
    """How the workspace's files stand to what is in force: `none`, `active`, `differs` or `invalid`."""
    if not files:
        return "none"
    try:
        bundle = load_bundle(files)
    except ConfigInvalid:
        return "invalid"
    return (
        "active" if project.active.bundle is not None and bundle.digest == project.active.bundle.digest else "differs"
    )


def _files(message: Message) -> dict[str, bytes]:
    return {} if message.get("files") is None else members.files(message)


def _registry(project: Project) -> Mapping[str, Any]:
    bundle = project.active.bundle
    entries = {} if bundle is None else bundle.document.deployments
    return {name: {"class": entry.cls, "name": entry.name, "url": entry.url} for name, entry in entries.items()}


async def _ledger(project: Project) -> list[str]:
    if project.ledger.latched is not None:
        return [f"ledger: closed: {project.ledger.latched}"]
    found = await asyncio.to_thread(verify_database, project.state / "ledger.db", more=[Grants()])
    return [f"ledger: {finding}" for finding in found.findings]


def _uncut(project: Project) -> list[str]:
    """Grants whose access could not be shown to be gone: an alarm until somebody looks."""
    grants = project.desk.book.state.grants.values()
    return [
        f"grant {grant.id} on {grant.ask.deployment}: cut_failed: rotate the key of that deployment"
        for grant in grants
        if grant.state == CUT_FAILED
    ]


def _draft(project: Project, message: Message) -> list[str]:
    state = draft_state(project, _files(message))
    if state == "differs":
        before = "nothing is activated yet" if project.active.bundle is None else "the activated bundle counts"
        return [f"bundle: the files in the workspace are not in force ({before}): `gate activate --key FILE`"]
    return ["bundle: the files in the workspace cannot be taken: `gate activate --key FILE` says why"] * (
        state == "invalid"
    )


async def _keys(project: Project, session: Session, message: Message) -> list[str]:
    """Probe the key of every registered deployment."""
    invocation, bundle = from_wire(members.table(message, "invocation")), project.active.bundle
    found = []
    for name, entry in ({} if bundle is None else bundle.document.deployments).items():
        target = Target(name, entry.cls, entry.name, entry.url, entry.custody, "doctor")
        try:
            await kinds.probe(await project.upstream(target, invocation.files, session.fetch))
        except GateError as error:
            found.append(f"deployment {name}: {error.message}")
    return found
