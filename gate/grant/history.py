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
from gate.grant.grant import DROPPED, EXHAUSTED, EXPIRED, REVOKED, Grant
from gate.grant.request import DAY_MS, Request, mapped, request_from
from gate.grant.rules import needs_of
from gate.grant.runs import LOOKED_UP_MS, Bundles, Run, judge, place, run_under
from gate.identity.caller import Caller, who
from gate.policy.load import load_rules
from gate.policy.rules import RuleSet
from gate.policy.verdict import Needs

DECISION, OUTCOME, WRITE = "decision", "outcome", "grant.write"
# How much longer than the grant is old its end may seem to have taken, to who set a clock meanwhile.
_CLOCK_SET_MS = 10 * DAY_MS
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class Grants:
    """Takes the events of one ledger in order, each with the bundle that was in force then (None: none was).

    `book`: what stands as of the last event that holds.
    """

    book: Book = field(default_factory=Book)
    _seqs: dict[str, int] = field(default_factory=dict)
    _bundles: Bundles = field(default_factory=Bundles)
    _runs: dict[str, Run] = field(default_factory=dict)
    _payers: dict[tuple[str, int], str] = field(default_factory=dict)
    _rules: tuple[str, RuleSet] | None = None

    def take(
        self, ledger_id: str | None, bundle: Bundle | None, entry: Entry, members: Mapping[str, Any]
    ) -> Iterator[str]:
        """What is wrong with this event; the reason alone, nothing where all is well."""
        self._bundles.tell(bundle, milliseconds(entry.time))
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

    def run(self, decision: str) -> Run | None:
        """What a decision let run under a grant and has not ended; None when there is no such run."""
        return self._runs.get(decision)

    def recent(self, since_ms: int) -> list[Bundle]:
        """The bundle in force, and those until just now that were after `since_ms`."""
        return [bundle for bundle in self._bundles.recent(since_ms) if bundle is not None]

    def payer(self, grant_id: str, number: int) -> str | None:
        """The decision that the use of that `number` was charged to."""
        return self._payers.get((grant_id, number))

    def _take(self, ledger_id: str, bundle: Bundle | None, entry: Entry, members: Mapping[str, Any]) -> None:
        ledger = _Ledger(ledger_id, self)
        if entry.type == DECISION:
            self._take_decision(ledger, entry, members)
        elif entry.type == OUTCOME:
            self._take_outcome(entry, members)
        elif bundle is None:
            raise tampered(entry.seq, "no bundle was in force")
        else:
            _insist_on_same(_Case(self, bundle, ledger, entry, members, milliseconds(entry.time)))
            self.book.apply(entry)
            self._charge(entry, members)

    def _charge(self, entry: Entry, members: Mapping[str, Any]) -> None:
        if entry.type in _CHARGED:
            self._payers.setdefault((members["grant"], members["use"]), members["decision"])
        if entry.type == WRITE:
            self._runs[members["decision"]].writes += 1

    def _take_decision(self, ledger: "_Ledger", entry: Entry, members: Mapping[str, Any]) -> None:
        """Hold a decision that let something run against the rules, and against the grant that gave leave."""
        if members.get("runs") is not True:
            return
        decided = members["object"]
        bundle = self._bundles.named(decided["bundle"])
        grant_id = decided["grant"]
        if (decided["verdict"], decided["id"]) != ("allow", members["id"]):
            raise tampered(entry.seq, "it let something run that it did not allow")
        if grant_id is not None:
            self._runs[members["id"]] = self._by_leave(ledger, entry, members, bundle)
        elif bundle is None:
            place(decided["target"], None)
        elif judge(decided, members["uid"], bundle, self.rules(bundle)).verdict != "allow":
            raise tampered(entry.seq, "the rules did not let it through without a grant")

    def _by_leave(self, ledger: "_Ledger", entry: Entry, members: Mapping[str, Any], bundle: Bundle | None) -> Run:
        """The run that a grant gave leave to, which stood under `bundle`. Raises GateError where it did not."""
        decided, uid = members["object"], members["uid"]
        grant = self.book.state.grants.get(decided["grant"])
        if grant is None or bundle is None or _ended_before(grant, entry):
            raise tampered(entry.seq, "it was let through by a grant that there was not")
        run = run_under(grant, decided, uid)
        if run is None:
            raise tampered(entry.seq, "it was let through by a grant that did not give it")
        verdict = judge(decided, uid, bundle, self.rules(bundle))
        if verdict.verdict != "grant_required":
            raise tampered(entry.seq, "the rules did not leave it to a grant")
        self.book.verify_again(grant.id, bundle, verdict.needs or Needs(), ledger)
        return run

    def _take_outcome(self, entry: Entry, members: Mapping[str, Any]) -> None:
        """End a run: nothing is charged to it any more, and no more was written than is on record."""
        run = self._runs.pop(members["decision"], None)
        if run is None or "counts" not in members:
            return
        writes = members["counts"]["writes"]
        if type(writes) is not int or not 0 <= writes <= run.writes:
            raise tampered(entry.seq, "it says that more was written than is on record")


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
    def run(self) -> Run:
        """What runs under the grant that it names, by the decision that it names. Raises LedgerError: nothing does."""
        run = self.history.run(self.body["decision"])
        if run is None or run.grant != self.body["grant"]:
            raise self.wrong("no decision lets anything run under this grant")
        return run

    def needs(self, request: Request) -> Needs:
        """What the rules in force want for `request`. Raises GateError where they leave it to no grant."""
        return needs_of(request.ask, request.requester, self.bundle, self.history.rules(self.bundle))

    def stands(self, grant: Grant, bundle: Bundle) -> bool:
        """Whether `grant` as a whole stands under `bundle`."""
        try:
            needs = needs_of(grant.ask, grant.requester, bundle, self.history.rules(bundle))
            self.book.verify_again(grant.id, bundle, needs, self.ledger)
        except GateError:
            return False
        return True

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
    return using.charge(case.book, case.run.grant, case.body["decision"], now=case.now)


def _grant_write(case: _Case) -> Event:
    run, decision, number = case.run, case.body["decision"], case.body["use"]
    what = {name: case.body[name] for name in ("place", "function", "component", "sha256")}
    if not _SHA256.fullmatch(what["sha256"]):
        raise case.wrong("it does not say what was written")
    if not run.gives(what["place"], what["function"], what["component"]):
        raise case.wrong("it is a write that the decision did not let through")
    payer = case.history.payer(run.grant, number)
    if payer not in (None, decision):
        raise case.wrong("the use that pays for it was charged to another decision")
    return using.write(case.book, run.grant, decision, None if payer is None else number, what, now=case.now)


def _grant_ended(case: _Case) -> Event:
    grant, why = case.book.grant(case.body["grant"]), case.body["why"]
    if "signature" in case.body:
        return using.revoke_signed(case.book, grant.id, *case.signed, case.against)
    enders = {REVOKED: {using.GATE, grant.requester, grant.owner}, DROPPED: {grant.requester}}
    if case.body["by"] not in enders.get(why, {using.GATE}):
        raise case.wrong("it was ended by somebody who cannot end it without a signature")
    if why in _COMES_TO and not _COMES_TO[why](case, grant):
        raise case.wrong("the grant had not come to this end")
    return using.end(case.book, grant.id, why, by=case.body["by"])


def _is_over(case: _Case, grant: Grant) -> bool:
    """Whether its time is up. The end says no time since boot; that of its use or making may be known late."""
    return grant.remaining_ms(Moment(case.now_ms + APART_MS, 0, "")) <= 0


def _has_fallen(case: _Case, grant: Grant) -> bool:
    return not all(case.stands(grant, bundle) for bundle in case.history.recent(grant.made.wall_ms))


def _grant_closed(case: _Case) -> Event:
    grant, latency_ms = case.book.grant(case.body["grant"]), case.body["latency_ms"]
    longest = case.now_ms - grant.made.wall_ms + _CLOCK_SET_MS
    if type(latency_ms) is not int or not 0 <= latency_ms <= longest:
        raise case.wrong("it does not say how long the cut took")
    return using.closed(grant.id, latency_ms)


def _cut_failed(case: _Case) -> Event:
    if not isinstance(case.body["why"], str):
        raise case.wrong("it does not say why")
    return using.cut_failed(case.body["grant"], case.body["why"])


def _ended_before(grant: Grant, entry: Entry) -> bool:
    """Whether `grant` had ended when the decision that is on record as `entry` was made."""
    return grant.ended_ms is not None and milliseconds(entry.time) - grant.ended_ms > LOOKED_UP_MS


# The ends that nobody asks for, and whether a grant has come to one.
_COMES_TO: dict[str, Callable[[_Case, Grant], bool]] = {
    EXHAUSTED: lambda _, grant: grant.spent,
    EXPIRED: _is_over,
    "bundle_changed": _has_fallen,
}
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
    "grant.closed": _grant_closed,
    "grant.cut_failed": _cut_failed,
}
_CHARGED = frozenset({"grant.used", WRITE})
_KNOWN = frozenset({*_AGAIN, DECISION, OUTCOME})
