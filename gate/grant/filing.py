"""What may happen to a request, each as the event that records it: made, approved, denied, cancelled, lapsed, granted.

The keeper calls these under its lock, appends the event, and applies it to the book; nothing counts before that.
"""

from collections.abc import Iterable
from typing import Any

from gate.errors import GateError
from gate.grant.approval import (
    Against,
    Approval,
    agreed,
    check_approval,
    check_objection,
    counting,
    insist_on_pending,
    met,
)
from gate.grant.book import Book
from gate.grant.event import Event, Moment
from gate.grant.proof import holding
from gate.grant.request import (
    A_DAY_MAX,
    PENDING_MAX,
    Request,
    insist_on_change_control,
    insist_on_size,
)
from gate.grant.statement import DENY
from gate.identity.caller import Caller
from gate.policy.verdict import Needs


def twin(book: Book, request: Request) -> Request | None:
    """The pending request for the same, which `request` merges with; None when there is none."""
    waiting = book.pending_of(request.owner, request.time_ms)
    return next((one for one in waiting if one.likeness == request.likeness), None)


def file_request(book: Book, request: Request) -> Event:
    """Make `request`, after `twin` found none.

    Raises GateError `change_control` (see `insist_on_change_control`), `limit` when it is too large or its owner has
    too many (docs/contract.md: 5 pending, 20 a day).
    """
    insist_on_change_control(request, request.ask, request.needs)
    insist_on_size(request)
    if len(book.pending_of(request.owner, request.time_ms)) >= PENDING_MAX:
        raise GateError(
            "limit",
            f"{PENDING_MAX} requests of {request.owner} are pending",
            remedy="Wait for an answer, or cancel one with `gate cancel ID`.",
            argv=["gate", "requests"],
        )
    if book.busy_day(request.owner, request.time_ms):
        raise GateError(
            "limit", f"{request.owner} has asked {A_DAY_MAX} times within a day", remedy="Ask again tomorrow."
        )
    body = {"id": request.id, "digest": request.digest, "request": request.to_json()}
    return Event("request.made", request.id, body)


def approve(book: Book, request_id: str, signed: bytes, signature: bytes, *, needs: Needs, against: Against) -> Event:
    """Take a signed approval. Raises GateError as `check_approval` does.

    Also `change_control` where it permits nothing that the approvals before it do: they could never be met together.
    """
    request = book.request(request_id)
    approval = check_approval(signed, signature, request, needs, against)
    before = (one.given for one in _counting(book, request, needs, against))
    if agreed([*before, approval.given]) is None:
        raise GateError(
            "change_control",
            "it has nothing in common with the approvals given before",
            remedy="Approve at least a part of what the others did.",
        )
    body = {
        "request": request.id,
        "nonce": approval.given.stated.nonce,
        "at_ms": against.now_ms,
        "signer": approval.signer,
        "touched": approval.touched,
        "single_person": approval.signer == request.owner,
        **_signed(signed, signature),
    }
    return Event("approval.given", request.id, body)


def complete(
    book: Book, request_id: str, needs: Needs, against: Against, *, now: Moment, grant_id: str
) -> Event | None:
    """Make a grant of a request whose approvals are enough; None while they are not.

    To be called behind every approval and, for every pending request, when a keeper starts: an approval that was
    recorded last before a crash is not lost. Raises GateError `change_control` when the request is not pending.
    """
    request = book.request(request_id)
    insist_on_pending(request, against.now_ms)
    approvals = _counting(book, request, needs, against)
    ask = agreed(one.given for one in approvals)
    if ask is None or not met(approvals, needs.approvals, request, against.bundle):
        return None
    nonces = [one.given.stated.nonce for one in approvals]
    body = {"id": grant_id, "request": request.id, "ask": ask.to_json(), "approvals": nonces, **now.to_json()}
    return Event("grant.made", grant_id, body)


def deny(book: Book, request_id: str, signed: bytes, signature: bytes, against: Against) -> Event:
    """Deny a pending request by any signer's signature. Raises GateError as `check_objection` does.

    Also `change_control` when it is not pending: a second decision never overwrites the first.
    """
    request = book.request(request_id)
    signer, stated = check_objection(signed, signature, DENY, request.id, against)
    insist_on_pending(request, against.now_ms)
    body = {"by": signer, "reason": stated.reason, "nonce": stated.nonce, **_signed(signed, signature)}
    return _ended("denied", request, body)


def cancel(book: Book, request_id: str, caller: Caller, now_ms: int) -> Event:
    """Let the requester take a request back. Raises GateError `denied_by_rule`, or `change_control` if decided."""
    request = book.request(request_id)
    if not request.asked_by(caller):
        raise GateError(
            "denied_by_rule", "only the requester cancels a request", remedy="A signer may deny it: `gate deny ID`."
        )
    insist_on_pending(request, now_ms)
    return _ended("cancelled", request, {"by": caller.id})


def lapse(book: Book, request_id: str) -> Event:
    """Let a pending request lapse that no longer stands under the bundle in force."""
    return _ended("lapsed", book.request(request_id), {"why": "bundle_changed"})


def lapses(book: Book, now_ms: int) -> Iterable[Event]:
    """The pending requests that nobody answered within 72 hours."""
    for request in book.pending():
        if request.lapsed(now_ms):
            yield _ended("lapsed", request, {"why": "lapsed"})


def _counting(book: Book, request: Request, needs: Needs, against: Against) -> tuple[Approval, ...]:
    """Approvals on record, verified again, that were signed under the bundle in force and count for its rules."""
    given = [one for one in book.given(request.id) if one.stated.bundle == against.bundle.digest]
    held = [holding(one, request, against.bundle, against.ledger) for one in given]
    approvals = (one for one in held if one is not None)
    return counting(approvals, needs.approvals, request, against.bundle)


def _ended(how: str, request: Request, body: dict[str, Any]) -> Event:
    return Event(f"request.{how}", request.id, {"request": request.id, **body})


def _signed(signed: bytes, signature: bytes) -> dict[str, str]:
    return {"statement": signed.decode("ascii"), "signature": signature.decode("ascii")}
