"""What may happen to a grant, each as the event that records it: a use, an end, and the cut that follows the end.

The keeper calls these under its lock, appends the event, and applies it to the book; nothing counts before that.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from gate.errors import GateError
from gate.grant.approval import Against, check_objection
from gate.grant.book import Book
from gate.grant.event import Event, Moment
from gate.grant.grant import DROPPED, EXHAUSTED, EXPIRED, REVOKED, Grant
from gate.grant.statement import REVOKE
from gate.identity.caller import Caller

# Who ends a grant when nobody asked for it.
GATE = "gate"


def charge(book: Book, grant_id: str, decision: str, *, now: Moment) -> Event:
    """Charge one use to `decision`, before what it pays for happens; the first one starts the clock.

    Raises GateError `grant_ended` when the grant is over, barred or spent: the caller then records that it ended.
    """
    grant = book.grant(grant_id)
    if grant.spent or not book.permits(grant, now):
        raise _over("every use of the grant is charged") if grant.spent else _over()
    body = {"grant": grant.id, "decision": decision, "use": grant.used + 1, **now.to_json()}
    return Event("grant.used", grant.id, body)


def write(
    book: Book, grant_id: str, decision: str, number: int | None, what: Mapping[str, Any], *, now: Moment
) -> Event:
    """Record a write on production before it is forwarded, paid for by use `number`, or by one more where it is None.

    `what`: where it goes, which function, and the digest of what is forwarded. Raises GateError `grant_ended`.
    """
    paying = charge(book, grant_id, decision, now=now).body if number is None else _paid(book, grant_id, number, now)
    return Event("grant.write", grant_id, {**paying, "decision": decision, **what})


def _paid(book: Book, grant_id: str, number: int, now: Moment) -> dict[str, Any]:
    if not book.permits(book.grant(grant_id), now):
        raise _over()
    return {"grant": grant_id, "use": number, **now.to_json()}


def drop(book: Book, grant_id: str, caller: Caller) -> Event:
    """Let the requester give a grant back. Raises GateError `denied_by_rule` for others, `grant_ended`."""
    grant = book.grant(grant_id)
    if not _is_requester(caller, grant):
        raise _no_authority("only the requester drops a grant")
    return end(book, grant_id, DROPPED, by=caller.id)


def revoke(book: Book, grant_id: str, caller: Caller, reason: str) -> Event:
    """Revoke without a signature: the requester, or the owner as the kernel knows them (docs/contract.md).

    Raises GateError `denied_by_rule` for others, `grant_ended`.
    """
    grant = book.grant(grant_id)
    is_owner = (caller.id, caller.proof) == (grant.owner, "peer")
    if not (is_owner or _is_requester(caller, grant)):
        raise _no_authority("only the requester and the owner revoke without a signature")
    return end(book, grant_id, REVOKED, by=caller.id, reason=reason)


def revoke_signed(book: Book, grant_id: str, signed: bytes, signature: bytes, against: Against) -> Event:
    """Revoke by the signature of any enrolled signer. Raises GateError as `check_objection` does, `grant_ended`."""
    grant = book.grant(grant_id)
    signer, stated = check_objection(signed, signature, REVOKE, grant.id, against)
    texts = {"statement": signed.decode("ascii"), "signature": signature.decode("ascii")}
    return end(book, grant_id, REVOKED, by=signer, reason=stated.reason, nonce=stated.nonce, **texts)


def end(book: Book, grant_id: str, why: str, *, by: str = GATE, **more: str) -> Event:
    """End an open grant; `why` is a key of `grant.ENDS`. Raises GateError `grant_ended` when it has ended before."""
    grant = book.grant(grant_id)
    if not grant.open:
        raise GateError("grant_ended", f"the grant is {grant.state} already", remedy="Nothing is left to end.")
    return Event("grant.ended", grant.id, {"grant": grant.id, "why": why, "by": by, **more})


def overdue(book: Book, *, now: Moment, busy: Collection[str]) -> Iterable[Event]:
    """The open grants whose end has come. `busy`: those with a lease, whose last use may still be running."""
    for grant in book.open_grants():
        if grant.remaining_ms(now) <= 0:
            yield end(book, grant.id, EXPIRED)
        elif grant.spent and grant.id not in busy:
            yield end(book, grant.id, EXHAUSTED)


def closing(grant_id: str) -> Event:
    """The cut of an ended grant begins."""
    return Event("grant.closing", grant_id, {"grant": grant_id})


def closed(grant_id: str, latency_ms: int) -> Event:
    """No access is left: a probe was refused, `latency_ms` after the end."""
    return Event("grant.closed", grant_id, {"grant": grant_id, "latency_ms": latency_ms})


def cut_failed(grant_id: str, why: str) -> Event:
    """Access could not be shown to be gone: an alarm."""
    return Event("grant.cut_failed", grant_id, {"grant": grant_id, "why": why})


def _over(why: str = "the grant has ended") -> GateError:
    return GateError("grant_ended", why, remedy="Ask for a new one.")


def _is_requester(caller: Caller, grant: Grant) -> bool:
    return (caller.id, caller.uid) == (grant.requester, grant.uid)


def _no_authority(what: str) -> GateError:
    return GateError("denied_by_rule", what, remedy="A signer may revoke it: `gate revoke ID --key FILE`.")
