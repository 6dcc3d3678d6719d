"""Request: who asks for which access and why, what may become of it, and what change control wants. Signs nothing."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gate.audit import canonical
from gate.errors import GateError
from gate.grant.scope import Ask, ask_from
from gate.identity.caller import UNKNOWN_AGENT, Caller, Listed
from gate.policy.verdict import Approvals, Needs

# Bounds for each owner (ADR-0029): a reviewer who is flooded reads nothing.
PENDING_MAX = 5
A_DAY_MAX = 20
BYTES_MAX = 4096
DAY_MS = 24 * 3_600_000
LAPSES_MS = 72 * 3_600_000

PENDING, APPROVED, DENIED, CANCELLED, LAPSED = "pending", "approved", "denied", "cancelled", "lapsed"

# What may become of a request; a state that is no key here is its last.
REQUEST_MOVES: dict[str, frozenset[str]] = {PENDING: frozenset({APPROVED, DENIED, CANCELLED, LAPSED})}


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `requester` claims its id and runs as system user `uid`; `owner` is the person behind it.

    `excluded`: every person whom the bundle maps to `uid`. `ticket` and `reason` are the requester's words.
    `bundle`: digest of the bundle in force when it was made, `needs` what that bundle's rules want for `ask`.
    `decision`: the refusal that it answers. `state` and `seq` (number of its event) are no part of its digest.
    """

    id: str
    requester: str
    owner: str
    uid: int
    excluded: tuple[str, ...]
    ask: Ask
    ticket: str
    reason: str
    ack_risk: bool
    bundle: str
    decision: str | None
    needs: Needs
    time_ms: int
    state: str = PENDING
    seq: int = 0

    def to_json(self) -> dict[str, Any]:
        """What was asked, as members of an event: everything that the digest is over."""
        return {
            "id": self.id,
            "requester": self.requester,
            "owner": self.owner,
            "uid": self.uid,
            "excluded": list(self.excluded),
            "ask": self.ask.to_json(),
            "ticket": self.ticket,
            "reason": self.reason,
            "ack_risk": self.ack_risk,
            "bundle": self.bundle,
            "decision": self.decision,
            "needs": self.needs.to_json(),
            "time_ms": self.time_ms,
        }

    @property
    def digest(self) -> str:
        """`sha256:<hex>` over the canonical JSON of the request: what an approval names."""
        return _digest(self.to_json())

    @property
    def likeness(self) -> str:
        """Digest that two requests for the same thing share: id, time and occasion do not count."""
        return _digest({**self.to_json(), "id": "", "time_ms": 0, "decision": None})

    def asked_by(self, caller: Caller) -> bool:
        """Whether `caller` made it: the id that it claims, as the same system user."""
        return (caller.id, caller.uid) == (self.requester, self.uid)

    def lapsed(self, now_ms: int) -> bool:
        """Whether nobody has answered within 72 hours."""
        return now_ms - self.time_ms >= LAPSES_MS

    def moved(self, state: str) -> "Request":
        """The same request in `state`. Raises ValueError for a move that is not in the table."""
        if state not in REQUEST_MOVES.get(self.state, ()):
            raise ValueError(f"a request that is {self.state} does not become {state}")
        return replace(self, state=state)


def request_from(members: Mapping[str, Any], seq: int) -> Request:
    """Read what `to_json` wrote, as event number `seq` has it. Raises ValueError, KeyError or TypeError."""
    read = {"excluded": tuple(members["excluded"]), "ask": ask_from(members["ask"]), "needs": _needs(members["needs"])}
    request = Request(**{**members, **read, "seq": seq})
    words = (request.id, request.requester, request.owner, request.ticket, request.reason, request.bundle)
    numbers = (request.time_ms, request.uid)
    if request.to_json() != members or {*map(type, words)} != {str} or {*map(type, numbers)} != {int}:
        raise ValueError("a request of another form")
    return request


def mapped(caller: Caller, principals: Mapping[str, Listed]) -> tuple[str, ...]:
    """Every person whom the bundle maps to the caller's system user: none of them approves what it asks for."""
    return tuple(sorted(name for name, listed in principals.items() if caller.uid in listed.uids))


def capped(ask: Ask, needs: Needs) -> Ask:
    """`ask` with no more uses than `needs` grant: the one field that a refusal's remedy does not spell out."""
    uses = [number for number in (ask.max_uses, needs.max_uses) if number is not None]
    return replace(ask, max_uses=min(uses, default=None))


def insist_on_change_control(request: Request, ask: Ask, needs: Needs) -> None:
    """Hold that `request`, narrowed to `ask`, is accounted for as `needs` want (docs/contract.md, Command line).

    Raises GateError `change_control`: nobody answers for the requester, a field is missing or not of its form, the
    access is longer or has more uses than the rules allow.
    """
    if problem := _problem(request, ask, needs):
        what, remedy = problem
        raise GateError("change_control", what, remedy=remedy)


def _problem(request: Request, ask: Ask, needs: Needs) -> tuple[str, str] | None:
    cap, uses = needs.ttl_max_seconds, needs.max_uses
    checks = (
        (request.requester == UNKNOWN_AGENT, "nobody knows who asks", "Say who with `--as agent:NAME`."),
        (not request.owner, "no person answers for the requester", "Let an owner be listed in gate.yaml."),
        (not request.ticket.strip(), "a ticket is missing", "Give one with `--ticket`."),
        (not _fits(request.ticket, needs), "the ticket is not of the form that the rules want", _ticket_remedy(needs)),
        (_length(request.reason) < max(1, needs.reason_min), "the reason is too short", _reason_remedy(needs)),
        (not request.ack_risk, "the risk is not acknowledged", "Acknowledge it with `--ack-risk`."),
        (cap is not None and ask.ttl_seconds > cap, "the rules allow no access that long", f"Ask for {cap}s at most."),
        (
            uses is not None and (ask.max_uses is None or ask.max_uses > uses),
            "the rules allow no more uses",
            f"Ask for {uses} at most.",
        ),
    )
    return next(((what, remedy) for wrong, what, remedy in checks if wrong), None)


def _fits(ticket: str, needs: Needs) -> bool:
    return all(re.fullmatch(pattern, ticket) for pattern in needs.ticket)


def _length(reason: str) -> int:
    """Characters that say something: blanks do not make a reason longer."""
    return len(" ".join(reason.split()))


def _ticket_remedy(needs: Needs) -> str:
    return f"It has to match {' and '.join(needs.ticket)} as a whole."


def _reason_remedy(needs: Needs) -> str:
    return f"Give at least {max(1, needs.reason_min)} characters with `--reason`."


def insist_on_size(request: Request) -> None:
    """Hold that a person can read it. Raises GateError `limit`."""
    if len(canonical.encode(request.to_json())) > BYTES_MAX:
        raise GateError(
            "limit", f"the request is larger than {BYTES_MAX} bytes", remedy="Ask for less, in fewer words."
        )


def _digest(members: Mapping[str, Any]) -> str:
    return "sha256:" + hashlib.sha256(canonical.encode(members).encode("ascii")).hexdigest()


def _needs(members: Mapping[str, Any]) -> Needs:
    blocks = [
        Approvals(one["count"], tuple(one["from"]), tuple(one["not"]), one["touch"]) for one in members["approvals"]
    ]
    return Needs(**{**members, "ticket": tuple(members["ticket"]), "approvals": tuple(blocks)})
