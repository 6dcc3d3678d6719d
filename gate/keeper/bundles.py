"""Operations that change what counts: init, activation, keys. Signs nothing: people do that on their side."""

import asyncio
from collections.abc import Mapping

from gate.config.activation import statement
from gate.config.bundle import Bundle, load_bundle
from gate.config.draft import draft
from gate.errors import ConfigInvalid, GateError
from gate.keeper import ends, members, report
from gate.keeper.difference import difference
from gate.keeper.project import Project
from gate.keeper.server import Message, Session
from gate.policy.load import load_rules


def checked_bundle(files: Mapping[str, bytes]) -> Bundle:
    """The bundle in `files` with its policies read too. Raises ConfigInvalid with every finding."""
    bundle = load_bundle(files)
    load_rules(bundle)
    return bundle


async def _bundle_for(project: Project, message: Message) -> Bundle:
    """The bundle that a door sent for `project`, read beside the event loop: large policies take seconds."""
    bundle = await asyncio.to_thread(checked_bundle, members.files(message))
    if bundle.document.project != project.name:
        raise ConfigInvalid([f"gate.yaml:1:1: is about another project than {project.name}"])
    return bundle


async def init(project: Project, session: Session, message: Message) -> None:
    """Answer with the texts of a draft for what the door saw; the project's ledger exists from now on.

    The door sends a minimal gate.yaml that only names the project.
    """
    texts = draft(
        project.name,
        {name: str(value) for name, value in members.table(message, "env").items()},
        package=None,
        convex_json=members.optional_table(message, "convex_json"),
        human=members.text(message, "human"),
        public_key=members.optional_text(message, "public_key"),
    )
    if message.get("public_key") is not None:
        checked_bundle({path: text.encode() for path, text in texts.items()})
    await session.send({"result": {"files": texts, "ledger": project.ledger.id}})


async def prepare(project: Project, session: Session, message: Message) -> None:
    """Answer with what activating the sent files would change, and the statement to sign."""
    bundle = await _bundle_for(project, message)
    before = project.active.bundle
    text = statement(project.ledger.id, project.ledger.head, None if before is None else before.digest, bundle)
    await session.send(
        {
            "result": {
                "project": project.name,
                "digest": bundle.digest,
                "genesis": before is None,
                "unchanged": before is not None and before.digest == bundle.digest,
                "difference": difference(before, bundle),
                "statement": text.decode("ascii"),
            }
        }
    )


async def commit(project: Project, session: Session, message: Message) -> None:
    """Activate the sent files under the sent statement and signatures; what does not stand under them any more ends.

    Raises GateError `bundle_changed` when another activation came between, `bad_signature`, `not_a_signer`.
    """
    bundle = await _bundle_for(project, message)
    _insist_on_administrator(project, session)
    signed = members.octets(message.get("statement"))
    signers = await project.activate(bundle, signed, members.octets_list(message, "signatures"))
    await ends.tick(project)
    await session.send(
        {"result": {"digest": bundle.digest, "signers": list(signers), "genesis": project.active.genesis}}
    )


async def set_key(project: Project, session: Session, message: Message) -> None:
    """Store a key where its custody keeps it. On record without the key."""
    report.insist_on_reader(project, session)
    custody, key = members.text(message, "custody"), members.text(message, "key")
    bundle = project.active.bundle
    entries = {} if bundle is None else bundle.document.custody
    if custody not in entries:
        raise GateError(
            "custody_failed",
            "the activated bundle lists no custody of that name",
            remedy=f"It lists: {', '.join(entries) or 'none'}. Activate the bundle that names it first.",
        )
    project.keys.check(custody, entries[custody], key)
    await project.record("key.set", custody, {"custody": custody, "uid": session.peer.uid})
    project.keys.store(custody, entries[custody], key)
    project.keys.forget()
    project.probed.clear()
    await session.send({"result": {"custody": custody}})


def _insist_on_administrator(project: Project, session: Session) -> None:
    """On an installed keeper the first bundle is the administrator's: whoever signs it says what the keeper may run."""
    if project.installed and project.active.bundle is None and not session.peer.privileged:
        raise GateError(
            "denied_by_rule",
            "the first activation on an installed keeper is for its administrator",
            remedy="Let root run `gate activate` once; later ones are for the signers.",
        )
