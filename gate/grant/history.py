"""A ledger's requests and grants held against signatures alone: each event is decided again, as the keeper decides it.

What would not have been written then, under the bundle in force, does not hold and counts for nothing. Reads no
database and changes nothing; gate/audit/verify.py hands it the events.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gate.audit import canonical
from gate.audit.chain import Entry, milliseconds, subject_of, tampered
from gate.config.bundle import Bundle
from gate.errors import GateError
from gate.grant import filing, using
from gate.grant.approval import Against
from gate.grant.book import Book
from gate.grant.event import APART_MS, Event, Moment, moment_of
from gate.grant.grant import DROPPED, REVOKED, Grant
from gate.grant.request import Request, mapped, request_from
from gate.grant.rules import needs_of
from gate.identity.caller import Caller, who
from gate.policy.load import load_rules
from gate.policy.rules import RuleSet
from gate.policy.verdict import Needs

DECISION = "decision"
# A decision is on record once its deployment's key was fetched and probed; its grant may have ended meanwhile.
_LOOKED_UP_MS = 60_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class Grants:
    """Takes the events of one ledger in order, each with the bundle that was in force then (None: none was).

    `book`: what stands as of the last event that holds.
    """

    book: Book = field(default_factory=Book)
    _seqs: dict[str, int] = field(default_factory=dict)
    _runs: dict[str, str] = field(default_factory=dict)
    _payers: dict[tuple[str, int], str] = field(default_factory=dict)
    _rules: tuple[str, RuleSet] | None = None

    def take(
        self, ledger_id: str | None, bundle: Bundle | None, entry: Entry, members: Mapping[str, Any]
    ) -> Iterator[str]:
        """What is wrong with this event; the reason alone, nothing where all is well."""
        try:
            if entry.type in _KNOWN:
                self._take(ledger_id or "", bundle, entry, members)
        except GateError as error:
            yield error.message.removeprefix(f"event {entry.seq} does not hold: ")
        except (KeyError, TypeError, AttributeError, ValueError):
            yield f"no {entry.type} like it can stand here"
        self._seqs[entry.hash] = entry.seq

    def seq_of(self, head: str) -> int | None:
        """Number of the event with this hash, among those before; None when there is none."""
        return self._seqs.get(head)

    def rules(self, bundle: Bundle) -> RuleSet:
        """The rules of `bundle`. Raises ConfigInvalid."""
        if self._rules is None or self._rules[0] != bundle.digest:
            self._rules = bundle.digest, load_rules(bundle)
        return self._rules[1]

    def let_through(self, decision: str) -> str | None:
        """The grant under which a decision let something run; None when there was none, or no such decision."""
        return self._runs.get(decision)

    def payer(self, grant_id: str, number: int) -> str | None:
        """The decision that the use of that `number` was charged to."""
        return self._payers.get((grant_id, number))

    def _take(self, ledger_id: str, bundle: Bundle | None, entry: Entry, members: Mapping[str, Any]) -> None:
        if entry.type == DECISION:
            self._take_decision(entry, members)
            return
        if bundle is None:
            raise tampered(entry.seq, "no bundle was in force")
        ledger = _Ledger(ledger_id, self)
        _insist_on_same(_Case(self, bundle, ledger, entry, members, milliseconds(entry.time)))
        self.book.apply(entry)
        if entry.type in _CHARGED:
            self._payers.setdefault((members["grant"], members["use"]), members["decision"])

    def _take_decision(self, entry: Entry, members: Mapping[str, Any]) -> None:
        """Hold a decision that let something run by a grant's leave against that grant."""
        decided = members.get("object")
        grant_id = decided.get("grant") if isinstance(decided, Mapping) else None
        if members.get("runs") is not True or grant_id is None:
            return
        grant = self.book.state.grants.get(grant_id)
        if grant is None or not _is_about(grant, entry, members):
            raise tampered(entry.seq, "it was let through by a grant that did not give it")
        self._runs[members["id"]] = grant_id


@dataclass(frozen=True, slots=True)
class _Ledger:
    """The history so far, as the room of grants reads it."""

    id: str
    history: Grants

    def seq_of(self, head: str) -> int | None:
        return self.history.seq_of(head)


@dataclass(frozen=True, slots=True)
class _Case:
    """One event to decide again, at `now_ms`."""

    history: Grants
    bundle: Bundle
    ledger: _Ledger
    entry: Entry
    body: Mapping[str, Any]
    now_ms: int

    @property
    def book(self) -> Book:
        return self.history.book

    @property
    def now(self) -> Moment:
        return moment_of(self.now_ms, self.body)

    @property
    def against(self) -> Against:
        return Against(self.bundle, self.ledger, self.book.state.nonces, self.now_ms)

    @property
    def signed(self) -> tuple[bytes, bytes]:
        """Statement and signature."""
        return self.body["statement"].encode("ascii"), self.body["signature"].encode("ascii")

    @property
    def charged(self) -> tuple[str, str]:
        """A grant, and the decision that let something run under it. Raises LedgerError where it did not."""
        grant_id, decision = self.body["grant"], self.body["decision"]
        if self.history.let_through(decision) != grant_id:
            raise self.wrong("no decision let anything run under this grant")
        return grant_id, decision

    def needs(self, request: Request) -> Needs:
        """What the rules in force want for `request`. Raises GateError where they leave it to no grant."""
        return needs_of(request.ask, request.requester, self.bundle, self.history.rules(self.bundle))

    def wrong(self, why: str) -> GateError:
        return tampered(self.entry.seq, why)


def _insist_on_same(case: _Case) -> None:
    """Hold that the event is the one that the keeper would have written."""
    again = _AGAIN[case.entry.type]
    try:
        event = again(case)
    except GateError:
        # By the clock that it was decided by it may have been in time.
        event = again(replace(case, now_ms=case.now_ms - APART_MS))
    # Where nobody signed, no nonce is used up either.
    expected = {"nonce": None, **event.body}
    said = {name: case.body.get(name) for name in expected}
    if canonical.encode(said) != canonical.encode(expected) or subject_of(case.body) != event.subject:
        raise case.wrong("it says something else than what was asked for, signed or charged")


def _request_made(case: _Case) -> Event:
    request = request_from(case.body["request"], case.entry.seq)
    principals = case.bundle.document.principals
    caller = who(request.requester, request.uid, principals)
    behind = (request.owner, request.excluded)
    if behind != (caller.owner or "", mapped(caller, principals)):
        raise case.wrong("the request names other persons behind it than the bundle in force")
    if request.bundle != case.bundle.digest:
        raise case.wrong("the request names another bundle than the one in force")
    if abs(case.now_ms - request.time_ms) > APART_MS:
        raise case.wrong("the request was made at another time")
    if request.needs != case.needs(request):
        raise case.wrong("the request says something else than the rules in force about what it needs")
    return filing.file_request(case.book, request)


def _approval_given(case: _Case) -> Event:
    request = case.book.request(case.body["request"])
    against = replace(case.against, now_ms=case.body["at_ms"])
    return filing.approve(case.book, request.id, *case.signed, needs=case.needs(request), against=against)


def _request_denied(case: _Case) -> Event:
    return filing.deny(case.book, case.body["request"], *case.signed, case.against)


def _request_cancelled(case: _Case) -> Event:
    request = case.book.request(case.body["request"])
    requester = Caller(request.requester, "claimed", request.owner, frozenset(), request.uid)
    return filing.cancel(case.book, request.id, requester, case.now_ms)


def _request_lapsed(case: _Case) -> Event:
    request = case.book.request(case.body["request"])
    due = {"lapsed": request.lapsed(case.now_ms), "bundle_changed": request.bundle != case.bundle.digest}
    if not due[case.body["why"]]:
        raise case.wrong("the request did not lapse")
    event = filing.lapse(case.book, request.id)
    return replace(event, body={**event.body, "why": case.body["why"]})


def _grant_made(case: _Case) -> Event:
    request = case.book.request(case.body["request"])
    needs = case.needs(request)
    made = filing.complete(case.book, request.id, needs, case.against, now=case.now, grant_id=case.body["id"])
    if made is None:
        raise case.wrong("its approvals are not enough under the rules in force")
    return made


def _grant_used(case: _Case) -> Event:
    return using.charge(case.book, *case.charged, now=case.now)


def _grant_write(case: _Case) -> Event:
    grant_id, decision = case.charged
    number = case.body["use"]
    what = {name: case.body[name] for name in ("place", "function", "component", "sha256")}
    if not _SHA256.fullmatch(what["sha256"]):
        raise case.wrong("it does not say what was written")
    payer = case.history.payer(grant_id, number)
    if payer not in (None, decision):
        raise case.wrong("the use that pays for it was charged to another decision")
    return using.write(case.book, grant_id, decision, None if payer is None else number, what, now=case.now)


def _grant_ended(case: _Case) -> Event:
    grant, why = case.book.grant(case.body["grant"]), case.body["why"]
    if "signature" in case.body:
        return using.revoke_signed(case.book, grant.id, *case.signed, case.against)
    enders = {REVOKED: {using.GATE, grant.requester, grant.owner}, DROPPED: {grant.requester}}
    if case.body["by"] not in enders.get(why, {using.GATE}):
        raise case.wrong("it was ended by somebody who cannot end it without a signature")
    return using.end(case.book, grant.id, why, by=case.body["by"])


def _is_about(grant: Grant, entry: Entry, members: Mapping[str, Any]) -> bool:
    """Whether a decision is one that `grant` may have given leave to: open then, and of this caller and place."""
    decided = members["object"]
    ended_ms = grant.ended_ms
    if ended_ms is not None and milliseconds(entry.time) - ended_ms > _LOOKED_UP_MS:
        return False
    principal, target, intent = decided["principal"], decided["target"], decided["intent"]
    said = (principal["id"], principal["owner"], members["uid"], target["deployment"], target["url"], decided["id"])
    given = (grant.requester, grant.owner, grant.uid, grant.ask.deployment, grant.ask.origin, members["id"])
    return said == given and {*intent["effects"]} <= {*grant.ask.effects}


# Every type of event of a book: the function that decides it again.
_AGAIN: dict[str, Callable[[_Case], Event]] = {
    "request.made": _request_made,
    "approval.given": _approval_given,
    "request.denied": _request_denied,
    "request.cancelled": _request_cancelled,
    "request.lapsed": _request_lapsed,
    "grant.made": _grant_made,
    "grant.used": _grant_used,
    "grant.write": _grant_write,
    "grant.ended": _grant_ended,
    "grant.closing": lambda case: using.closing(case.body["grant"]),
    "grant.closed": lambda case: using.closed(case.body["grant"], case.body["latency_ms"]),
    "grant.cut_failed": lambda case: using.cut_failed(case.body["grant"], case.body["why"]),
}
_CHARGED = frozenset({"grant.used", "grant.write"})
_KNOWN = frozenset({*_AGAIN, DECISION})
