"""What somebody does who may write the ledger and has no approver's key: rows that are linked as they should be."""

import asyncio
from pathlib import Path

from gate import world
from gate.audit.ledger import Ledger
from gate.execution.ssh import sign
from gate.grant.book import EVENTS, Book
from gate.grant.event import Moment
from gate.grant.request import DAY_MS, Request
from gate.grant.statement import NAMESPACE, Statement, render

_NONCE_BYTES = 16


def forge_grant(path: Path, request_id: str, signer: str, key: Path) -> None:
    """Append to the ledger at `path`, which nobody holds, an approval and a grant of the pending request.

    The rows say that `signer` approved; the signature is made with `key`. Raises GateError `usage` when there is no
    such request, and LedgerError.
    """
    asyncio.run(_forge(path, request_id, signer, key))


async def _forge(path: Path, request_id: str, signer: str, key: Path) -> None:
    ledger = await Ledger.open(path)
    try:
        book = Book.replay(entry for kind in EVENTS for entry in ledger.read(type=kind))
        request = book.request(request_id)
        nonce, now = world.secret(_NONCE_BYTES), world.now_ms()
        text = render(_stated(request, ledger, nonce, now))
        given = {
            "request": request.id,
            "nonce": nonce,
            "at_ms": now,
            "signer": signer,
            "touched": True,
            "single_person": False,
            "statement": text.decode("ascii"),
            "signature": sign(text, key, NAMESPACE),
        }
        await ledger.append("approval.given", given, subject=request.id)
        grant, clocks = world.new_id("grt"), Moment(now, world.boot_ms(), world.boot_id()).to_json()
        made = {"id": grant, "request": request.id, "ask": request.ask.to_json(), "approvals": [nonce]}
        await ledger.append("grant.made", {**made, **clocks}, subject=grant)
    finally:
        await ledger.close()


def _stated(request: Request, ledger: Ledger, nonce: str, now_ms: int) -> Statement:
    return Statement(
        ledger=ledger.id,
        head=ledger.head,
        request=request.id,
        request_digest=request.digest,
        requester=request.requester,
        owner=request.owner,
        ask=request.ask,
        bundle=request.bundle,
        sign_by_ms=now_ms + DAY_MS,
        nonce=nonce,
    )
