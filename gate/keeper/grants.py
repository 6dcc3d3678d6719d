"""Operations on grants: listed, given back, revoked (docs/protocol.md). Signs nothing."""

from collections.abc import Callable

from gate.grant import using
from gate.grant.event import Event
from gate.grant.grant import Grant
from gate.identity.caller import Caller
from gate.keeper import ends, members, report
from gate.keeper.project import Project
from gate.keeper.server import Message, Session
from gate.keeper.shown import grant_object

_MOST_LISTED = 500


async def list_(project: Project, session: Session, message: Message) -> None:
    """List the grants that the caller may see: those that have not ended, or all."""
    book, every = project.desk.book, message.get("all") is True
    grants = list(book.state.grants.values()) if every else book.open_grants()
    grants.sort(key=lambda one: (one.made.wall_ms, one.id))
    seen = [one for one in grants if one.uid == session.peer.uid or report.reads(project, session)]
    await session.send({"result": {"grants": [grant_object(project, one) for one in seen[-_MOST_LISTED:]]}})


async def drop(project: Project, session: Session, message: Message) -> None:
    """Let the requester give a grant back."""
    grant = project.desk.book.grant(members.text(message, "id"))
    caller = project.caller(members.optional_text(message, "principal") or grant.requester, session.peer)
    await _end(project, session, grant, lambda: using.drop(project.desk.book, grant.id, caller))


async def revoke(project: Project, session: Session, message: Message) -> None:
    """Revoke: the requester and the owner as they are, any signer by signature."""
    book, grant = project.desk.book, project.desk.book.grant(members.text(message, "id"))
    if message.get("signature") is None:
        caller = _authority(project, session, grant, members.optional_text(message, "principal"))
        reason = members.text(message, "reason")
        await _end(project, session, grant, lambda: using.revoke(book, grant.id, caller, reason))
        return
    signed, signature = members.octets(message.get("statement")), members.octets(message.get("signature"))
    await _end(
        project, session, grant, lambda: using.revoke_signed(book, grant.id, signed, signature, project.against())
    )


def _authority(project: Project, session: Session, grant: Grant, claimed: str | None) -> Caller:
    """Who revokes: as claimed, else the requester or the owner, whom the system user stands for."""
    if claimed is None and session.peer.uid != grant.uid:
        return project.caller(grant.owner, session.peer)
    return project.caller(claimed or grant.requester, session.peer)


async def _end(project: Project, session: Session, grant: Grant, make: Callable[[], Event]) -> None:
    await ends.end(project, grant.id, make)
    await session.send({"result": {"grant": grant_object(project, project.desk.book.grant(grant.id))}})
