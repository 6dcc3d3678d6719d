"""What somebody writes into a ledger who knows every rule and can link it anew, and has no approver's key.

Each makes a history whose forged events are in `bad`. Those in RULES are seen only by who evaluates the policies.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from granted_kit import ADA, DEV, HOUR, LOCAL, ORIGIN, WRITES, Office, office, touch_key
from granted_stories import WRITE, intent, said

from gate.config.bundle import load_bundle
from gate.grant import filing, using
from gate.grant.event import Event
from gate.grant.grant import Grant
from gate.grant.request import DAY_MS, Request
from gate.grant.scope import Ask
from gate.grant.statement import render

Attack = Callable[[], Office]
VIEW = ("deployment:data:view",)


def made(grant: str, request: Request, ask: Ask, *nonces: str) -> Event:
    """A row that says a grant was made."""
    body = {"id": grant, "request": request.id, "ask": ask.to_json(), "approvals": nonces, "boot": "b", "boot_ms": 1}
    return Event("grant.made", grant, body)


def approval(change: Callable[[Office, Request], dict[str, Any]], person: str = "human:lee") -> Attack:
    """An approval of a pending request that is wrong in one thing."""

    def attack() -> Office:
        o = Office()
        request = o.ask()
        o.forge(o.approval(request, person, **change(o, request)))
        return o

    return attack


def wider(_: Office, request: Request) -> dict[str, Any]:
    return {"ask": replace(request.ask, ttl_seconds=3600)}


def edited(o: Office, request: Request) -> dict[str, Any]:
    """The signature stays, the text is another: done below."""
    return {"signed": render(o.stated(request))}


def edited_statement() -> Office:
    o = Office()
    request = o.ask()
    event = o.approval(request, ask=replace(request.ask, max_uses=1))
    o.forge(Event(event.type, event.subject, {**event.body, "statement": o.approval(request).body["statement"]}))
    return o


def replayed_nonce() -> Office:
    """The nonce of an approval that was taken, in another one; and the very same approval again."""
    o = Office(office(count=2))
    request = o.ask()
    o.approve(request, nonce="once")
    o.forge(o.approval(request, "human:kim", nonce="once"))
    o.forge(Event("approval.given", request.id, json.loads(o.entries[3].body)))
    return o


def revoked_signer() -> Office:
    o = Office()
    request = o.ask()
    o.activate(office(signers=("kim",)), {"human:ada": ADA})
    o.forge(o.approval(request))
    return o


def former_bundle() -> Office:
    """Signed before the bundle changed, handed in after."""
    o = Office()
    request = o.ask()
    event = o.approval(request)
    o.activate(office(note="2"), {"human:ada": ADA})
    o.forge(event)
    return o


def approval_of_the_decided() -> Office:
    o = Office()
    request = o.ask()
    signed = o.objection("deny", request.id)
    o.put(filing.deny(o.book, request.id, *signed, o.against))
    o.forge(o.approval(request))
    return o


def limited(limits: str) -> Attack:
    """An approval with a key that is not listed for approvals, or not for now."""

    def attack() -> Office:
        o = Office(office(limits=limits))
        o.forge(o.approval(o.ask()))
        return o

    return attack


def after_the_change(person: str, change: Callable[[Office, Request], dict[str, Any]]) -> Attack:
    """An approval that is wrong in one thing, of a request that outlived a change of the bundle."""

    def attack() -> Office:
        o = Office()
        request = o.ask()
        o.activate(office(note="2"), {"human:ada": ADA})
        o.forge(o.approval(request, person, **change(o, request)))
        return o

    return attack


def nothing_in_common() -> Office:
    """Approvals that could never be met together."""
    o = Office(office(count=2))
    request = o.ask()
    o.approve(request, ask=replace(request.ask, effects=VIEW))
    o.forge(o.approval(request, "human:kim", ask=replace(request.ask, effects=("deployment:data:write",))))
    return o


def nonces_used_up() -> Office:
    """Events without a signature that would use up a nonce, so that an approval could not be handed in."""
    o = Office()
    request, grant = o.ask(), o.granted()
    for event in (
        Event("request.cancelled", request.id, {"request": request.id, "by": "agent:codex", "nonce": "n"}),
        Event("grant.ended", grant.id, {**using.end(o.book, grant.id, "expired").body, "nonce": "n"}),
    ):
        o.forge(event)
    return o


def forged_grant() -> Office:
    """A row with a correct link is no approval; what runs under it is found as well."""
    o = Office()
    request = o.ask()
    grant = Grant("grt-forged", request.id, "agent:codex", "human:ada", 1000, request.ask, (), o.moment)
    o.forge(made("grt-forged", request, request.ask))
    body = o.decision("grt-forged")
    o.forge(Event("decision", body["id"], body))
    o.forge(
        Event("grant.used", grant.id, {"grant": grant.id, "decision": body["id"], "use": 1, "boot": "b", "boot_ms": 2})
    )
    return o


def widened_grant() -> Office:
    o = Office()
    request = o.ask()
    o.approve(request, ask=replace(request.ask, max_uses=1), nonce="n")
    o.forge(made("grt-1", request, request.ask, "n"))
    return o


def too_few() -> Office:
    o = Office(office(count=2))
    request = o.ask()
    o.approve(request, nonce="n")
    o.forge(made("grt-1", request, request.ask, "n"))
    return o


def one_person_twice() -> Office:
    o = Office(office(count=2))
    request = o.ask()
    o.approve(request, nonce="n")
    o.approve(request, nonce="m")
    o.forge(made("grt-1", request, request.ask, "n", "m"))
    return o


def second_grant() -> Office:
    o = Office()
    grant = o.granted()
    request = o.book.request(grant.request)
    nonces = [one.stated.nonce for one in grant.given]
    o.forge(made("grt-2", request, request.ask, *nonces))
    return o


def second_answer() -> Office:
    """An approved request is denied, by a signature that holds."""
    o = Office()
    grant = o.granted()
    statement, signature = (text.decode() for text in o.objection("deny", grant.request, nonce="n"))
    body = {"request": grant.request, "by": "human:kim", "reason": "not today", "nonce": "n"}
    o.forge(Event("request.denied", grant.request, {**body, "statement": statement, "signature": signature}))
    return o


def running(change: Callable[[Office, Grant, str], None], **ask: Any) -> Attack:
    """Something that follows a run under a grant of `ask`."""

    def attack() -> Office:
        o = Office()
        grant = o.granted(ask=Ask("prod", ORIGIN, ("deployment:data:view", "deployment:data:write"), 1800, **ask))
        decision = o.run(grant)
        change(o, o.book.grant(grant.id), decision)
        return o

    return attack


def used(grant: Grant, decision: str, number: int, o: Office) -> Event:
    body = {"grant": grant.id, "decision": decision, "use": number, **o.moment.to_json()}
    return Event("grant.used", grant.id, body)


def wrote(grant: Grant, decision: str, number: int, o: Office) -> Event:
    what = {"place": "POST /api/function", "function": "messages:send", "component": None, "sha256": "0" * 64}
    return Event("grant.write", grant.id, {**used(grant, decision, number, o).body, **what})


def wrote_else(effects: tuple[str, ...] = WRITES, /, decided: dict[str, Any] | None = None, **what: Any) -> Attack:
    """A write that the run which it is charged to was not let through for."""

    def attack() -> Office:
        o = Office()
        grant = o.granted(ask=Ask("prod", ORIGIN, effects, 1800))
        decision = o.run(grant, effects, **({} if decided is None else {"intent": decided}))
        event = wrote(grant, decision, 1, o)
        o.forge(Event(event.type, event.subject, {**event.body, **what}))
        return o

    return attack


def decided_else(limits: dict[str, tuple[str, ...]], decided: dict[str, Any]) -> Attack:
    """A run of something that the grant does not name."""

    def attack() -> Office:
        o = Office()
        effects = ("deployment:data:view", "deployment:env:write")
        grant = o.granted(ask=Ask("prod", ORIGIN, effects, 1800, **limits))  # type: ignore[arg-type]
        body = o.decision(grant.id, intent=decided)
        o.forge(Event("decision", body["id"], body))
        # What would be charged to it is not on record either.
        o.forge(used(grant, body["id"], 1, o))
        return o

    return attack


def let_through(**changes: Any) -> Attack:
    """A run that takes no grant, or seems to."""

    def attack() -> Office:
        o = Office()
        body = o.decision(None, **changes)
        o.forge(Event("decision", body["id"], body))
        return o

    return attack


def refused_but_run(o: Office, grant: Grant, _: str) -> None:
    refused: tuple[dict[str, Any], ...] = ({"verdict": "deny"}, {"verdict": "grant_required"}, {"id": "dec-other"})
    for changes in refused:
        body = o.decision(grant.id, **changes)
        o.forge(Event("decision", body["id"], body))


def without_an_object() -> Office:
    o = Office()
    shapes: tuple[dict[str, Any], ...] = ({}, {"object": None}, {"object": {}})
    for number, members in enumerate(shapes):
        o.forge(Event("decision", f"dec-{number}", {"id": f"dec-{number}", "runs": True, **members}))
    return o


def former_rules() -> Office:
    """A run by a bundle that was superseded long before, and by one that is not in force yet."""
    o = Office()
    late, soon = o.decision(None, target=said(DEV)), office(note="2")
    early = o.decision(None, target=said(DEV), bundle=soon.digest)
    o.forge(Event("decision", early["id"], early))
    o.activate(soon, {"human:ada": ADA})
    o.now_ms += 61_000
    o.forge(Event("decision", late["id"], late))
    return o


def after_the_outcome(o: Office, grant: Grant, decision: str) -> None:
    o.add("outcome", o.outcome(decision))
    o.forge(wrote(grant, decision, 1, o))
    o.forge(used(grant, decision, 2, o))


def counted(*writes: Any) -> Attack:
    """Runs under a grant that wrote once, on record, and say that they wrote as often."""

    def attack() -> Office:
        o = Office()
        grant = o.granted(ask=Ask("prod", ORIGIN, WRITES, 1800))
        for count in writes:
            decision = o.run(grant)
            o.put(o.writing(grant, decision, o.book.grant(grant.id).used))
            body = o.outcome(decision, 1)
            o.forge(Event("outcome", decision, {**body, "counts": {**body["counts"], "writes": count}}))
            # A run has ended, whatever its outcome says.
            o.forge(wrote(grant, decision, o.book.grant(grant.id).used, o))
        decision = o.run(grant)
        o.forge(Event("outcome", decision, {**o.outcome(decision), "counts": None}))
        return o

    return attack


def closed_in(*latencies: Any) -> Attack:
    """A cut that took no time that it can have taken."""

    def attack() -> Office:
        o = Office()
        grant = o.granted()
        o.put(using.end(o.book, grant.id, "revoked"))
        o.put(using.closing(grant.id))
        for latency in latencies:
            o.forge(using.closed(grant.id, latency))
        o.forge(using.cut_failed(grant.id, 7))  # type: ignore[arg-type]
        return o

    return attack


def ended_untruly(o: Office, grant: Grant, _: str) -> None:
    """Uses are left, time is left, and no other bundle came in force."""
    o.now_ms += 1_700_000
    for why in ("exhausted", "expired", "bundle_changed"):
        o.forge(using.end(o.book, grant.id, why))


def unused_in_time() -> Office:
    """Nobody has used it; it waits for eight hours."""
    o = Office()
    grant = o.granted()
    o.now_ms += 8 * HOUR + 1_700_000
    o.forge(using.end(o.book, grant.id, "expired"))
    return o


def bundle_before() -> Office:
    """The bundle that it was asked and approved under followed on another one, just now."""
    o = Office(office(count=2))
    o.activate(office(), {"human:ada": ADA})
    o.forge(using.end(o.book, o.granted().id, "bundle_changed"))
    return o


def mapped_approver() -> Office:
    """By the bundle in force the approver is the requesting system user: denied, and no part of a grant."""
    o = Office(office(count=2))
    request = o.ask()
    o.activate(office(user="lee"), {"human:ada": ADA})
    o.forge(o.approval(request, nonce="n"))
    o.forge(made("grt-1", request, request.ask, "n"))
    return o


def mapped_later() -> Office:
    """The approval was taken before that bundle: the grant is made by it no more."""
    o = Office(office(count=2))
    request = o.ask()
    o.approve(request, nonce="n")
    o.activate(office(count=2, user="lee"), {"human:ada": ADA})
    o.approve(request, "human:kim", nonce="m")
    o.forge(made("grt-1", request, request.ask, "n", "m"))
    return o


def fell_untruly() -> Office:
    """Another bundle came in force, under which it stands as before."""
    o = Office()
    grant = o.granted()
    o.activate(office(note="2"), {"human:ada": ADA})
    o.forge(using.end(o.book, grant.id, "bundle_changed"))
    return o


def run_of_the_fallen() -> Office:
    """The grant fell with the bundle in force."""
    o = Office()
    grant = o.granted()
    o.activate(office(count=2), {"human:ada": ADA})
    body = o.decision(grant.id)
    o.forge(Event("decision", body["id"], body))
    return o


def run_against_the_rules() -> Office:
    """A grant gives no leave to what a later bundle denies, nor to what nobody is asked about."""
    o = Office()
    grant = o.granted()
    for effects in ((), ("deployment:data:view",)):
        if effects:
            files = {**o.bundle.files, "policies/default.yaml": _NOTHING}
            o.activate(load_bundle(files), {"human:ada": ADA})
        body = o.decision(grant.id, effects)
        o.forge(Event("decision", body["id"], body))
    return o


_NOTHING = b"""\
policy: 1
name: default
rules:
  - id: enough
    deny: {effects: ["deployment:*"]}
    because: It was enough.
"""


def after_the_end(event: Callable[[Grant, str, int, Office], Event], number: int) -> Attack:
    def change(o: Office, grant: Grant, decision: str) -> None:
        o.ended(grant)
        o.forge(event(grant, decision, number, o))

    return running(change, max_uses=5)


def after_the_time(event: Callable[[Grant, str, int, Office], Event], number: int) -> Attack:
    """The grant is over, and nobody has said so yet."""

    def change(o: Office, grant: Grant, decision: str) -> None:
        o.now_ms += HOUR
        o.forge(event(grant, decision, number, o))

    return running(change, max_uses=5)


def beyond_the_last(event: Callable[[Grant, str, int, Office], Event]) -> Attack:
    return running(lambda o, grant, decision: _void(o.forge(event(grant, decision, 2, o))), max_uses=1)


def _void(_: object) -> None:
    return None


def too_early() -> Office:
    o = Office()
    ask = Ask("prod", ORIGIN, VIEW, 1800, not_before_ms=o.now_ms + HOUR)
    grant = o.granted(ask=ask)
    body = o.decision(grant.id, VIEW)
    o.add("decision", body)
    o.forge(used(grant, body["id"], 1, o))
    return o


def somebody_elses_use(o: Office, grant: Grant, decision: str) -> None:
    other = o.decide(grant)
    o.forge(wrote(grant, other, 1, o))
    o.forge(wrote(grant, "dec-none", 1, o))
    o.forge(wrote(grant, decision, 3, o))
    o.forge(used(grant, "dec-none", 2, o))
    o.forge(Event("grant.write", grant.id, {**wrote(grant, decision, 1, o).body, "sha256": "none"}))


def decisions(o: Office, grant: Grant, _: str) -> None:
    """Let through by no grant, another's, for more than it gives, and long after its end."""
    there = {"deployment": "other", "url": ORIGIN}
    somebody = {"id": "agent:claude", "proof": "claimed", "owner": "human:ada"}
    for body in (
        o.decision("grt-none"),
        o.decision(grant.id, ("deployment:deploy",)),
        o.decision(grant.id, target=there),
        o.decision(grant.id, target=None),
        o.decision(grant.id, principal=somebody),
        {**o.decision(grant.id), "uid": 1001},
        o.decision(["x"]),  # type: ignore[arg-type]
    ):
        o.forge(Event("decision", body["id"], body))
    o.ended(grant)
    o.now_ms += 61_000
    body = o.decision(grant.id)
    o.forge(Event("decision", body["id"], body))


def objected(kind: str, change: Callable[[Office], dict[str, Any]], person: str = "human:kim") -> Attack:
    """A denial or a revocation whose signature does not hold here."""

    def attack() -> Office:
        o = Office()
        grant = o.granted() if kind == "revoke" else None
        subject = o.ask().id if grant is None else grant.id
        changes = change(o)
        by = changes.pop("by", person)
        name = {"deny": "request", "revoke": "grant"}[kind]
        statement, signature = o.objection(
            changes.pop("kind", kind), changes.pop("subject", subject), person, **changes
        )
        nonce = next(line[7:] for line in statement.decode().split("\n") if line.startswith("nonce: "))
        texts = {"nonce": nonce, "statement": statement.decode(), "signature": signature.decode()}
        body = {name: subject, "by": by, "reason": "not today", **({"why": "revoked"} if grant else {}), **texts}
        o.forge(Event("grant.ended" if grant else "request.denied", subject, body))
        return o

    return attack


_OBJECTIONS: dict[str, tuple[Callable[[Office], dict[str, Any]], str]] = {
    "stranger": (lambda _: {}, "human:mallory"),
    "of another": (lambda _: {"subject": "xyz-1"}, "human:kim"),
    "by another name": (lambda _: {"by": "human:lee"}, "human:kim"),
    "late": (lambda o: {"sign_by_ms": o.now_ms - 60_000}, "human:kim"),
    "elsewhere": (lambda _: {"ledger": "led-00000000"}, "human:kim"),
    "another bundle": (lambda _: {"bundle": "sha256:" + "0" * 64}, "human:kim"),
    "another history": (lambda _: {"head": "0" * 64}, "human:kim"),
}


def unsigned_ends(o: Office, grant: Grant, _: str) -> None:
    """Persons who cannot end a grant without a signature."""
    for why, by in (("revoked", "human:lee"), ("dropped", "human:ada"), ("expired", "human:ada")):
        o.forge(using.end(o.book, grant.id, why, by=by))
    o.forge(using.end(o.book, grant.id, "tired"))


def requests_end() -> Office:
    """A cancellation by somebody else, a lapse before its time, one for no reason, one of another kind."""
    o = Office()
    request = o.ask()
    o.forge(Event("request.cancelled", request.id, {"request": request.id, "by": "human:ada"}))
    for why in ("lapsed", "bundle_changed", "tired"):
        o.forge(Event("request.lapsed", request.id, {"request": request.id, "why": why}))
    return o


def lapsed() -> Office:
    """What nobody answered in time is not answered any more."""
    o = Office()
    request = o.ask()
    o.now_ms += 3 * DAY_MS + 60_000
    o.forge(o.approval(request))
    o.forge(Event("request.cancelled", request.id, {"request": request.id, "by": "agent:codex"}))
    return o


def request(change: Callable[[Office], dict[str, Any]]) -> Attack:
    """A request that nobody could have made."""

    def attack() -> Office:
        o = Office()
        drafted = o.draft()
        changed = replace(drafted, **change(o))
        o.forge(
            Event(
                "request.made", changed.id, {"id": changed.id, "digest": changed.digest, "request": changed.to_json()}
            )
        )
        return o

    return attack


def edited_request() -> Office:
    """Edited after its digest was made."""
    o = Office()
    event = filing.file_request(o.book, o.draft())
    o.forge(Event(event.type, event.subject, {**event.body, "request": {**event.body["request"], "ticket": "OPS-1"}}))
    return o


def sixth() -> Office:
    o = Office()
    for number in range(5):
        o.ask(reason=f"users see stale messages {number}")
    drafted = o.draft()
    o.forge(
        Event("request.made", drafted.id, {"id": drafted.id, "digest": drafted.digest, "request": drafted.to_json()})
    )
    return o


def shapeless() -> Office:
    """Members that are missing or of another type."""
    o = Office()
    request = o.ask()
    for kind in ("request.made", "approval.given", "request.denied", "grant.made", "grant.used", "grant.write"):
        o.forge(Event(kind, "x", {}))
        o.forge(Event(kind, "x", dict.fromkeys(("request", "grant", "statement", "signature", "id"), 7)))
        o.forge(Event(kind, "x", {"request": request.id, "grant": [], "statement": "é", "at_ms": "now"}))
    for kind in ("grant.closing", "grant.closed", "grant.cut_failed"):
        o.forge(Event(kind, "x", {"grant": "grt-none"}))
    return o


def open_closing() -> Office:
    """A grant that did not end is not closed."""
    o = Office()
    grant = o.granted()
    o.forge(using.closing(grant.id))
    o.forge(using.closed(grant.id, 1))
    return o


_F = {"function": "f", "component": "b"}
ATTACKS: dict[str, Attack] = {
    "approval by a stranger": approval(lambda _, __: {"key": touch_key("mallory")}),
    "approval by one who is not asked": approval(lambda _, __: {}, "human:eve"),
    "approval under another name": approval(lambda _, __: {"signer": "human:kim"}),
    "self-approval": approval(lambda _, __: {"key": ADA, "flags": 0}, "human:ada"),
    "approval without a touch": approval(lambda _, __: {"flags": 0}),
    "a touch that never was": approval(lambda _, __: {"flags": 0, "touched": True}),
    "approval in another ledger": approval(lambda _, __: {"ledger": "led-00000000"}),
    "approval of another request": approval(lambda _, __: {"request_digest": "sha256:" + "0" * 64}),
    "approval for another owner": approval(lambda _, __: {"owner": "human:kim"}),
    "approval under another bundle": approval(lambda _, __: {"bundle": "sha256:" + "0" * 64}),
    "approval of no history": approval(lambda _, __: {"head": "0" * 64}),
    "approval before the request": approval(lambda o, _: {"head": o.entries[1].hash}),
    "approval after its time": approval(lambda o, _: {"sign_by_ms": o.now_ms - 1}),
    "approval taken at another time": approval(lambda o, _: {"at_ms": o.now_ms - 60_000}),
    "wider approval": approval(wider),
    "approval with a line more": approval(lambda o, one: {"signed": render(o.stated(one)) + b"note: all\n"}),
    "single person unsaid": approval(lambda _, __: {"single_person": True}),
    "edited statement": edited_statement,
    "replayed nonce": replayed_nonce,
    "approval by a former signer": revoked_signer,
    "approval under the former bundle": former_bundle,
    "approval of what was decided": approval_of_the_decided,
    "approval with a key for activations": limited('namespaces="activate@convex-gate"'),
    "approval with a key of the past": limited('valid-before="20260101120000Z"'),
    "approval with a key of the future": limited('valid-after="20270101Z"'),
    "self-approval after a change": after_the_change("human:ada", lambda _, __: {"key": ADA, "flags": 0}),
    "wider approval after a change": after_the_change("human:lee", wider),
    "nothing in common": nothing_in_common,
    "nonces used up": nonces_used_up,
    "forged grant": forged_grant,
    "widened grant": widened_grant,
    "too few approvals": too_few,
    "one person twice": one_person_twice,
    "second grant": second_grant,
    "second answer": second_answer,
    "use after the end": after_the_end(used, 2),
    "write after the end": after_the_end(wrote, 1),
    "use after the time": after_the_time(used, 2),
    "write after the time": after_the_time(wrote, 1),
    "use beyond the last": beyond_the_last(used),
    "write beyond the last": beyond_the_last(wrote),
    "use too early": too_early,
    "use of somebody else's": running(somebody_elses_use, max_uses=5),
    "decisions": running(decisions),
    "unsigned ends": running(unsigned_ends),
    **{f"denial: {name}": objected("deny", *how) for name, how in _OBJECTIONS.items()},
    **{f"revocation: {name}": objected("revoke", *how) for name, how in _OBJECTIONS.items()},
    "denial that is a revocation": objected("deny", lambda _: {"kind": "revoke"}),
    "ends of a request": requests_end,
    "lapsed request": lapsed,
    "request of another owner": request(lambda _: {"owner": "human:kim"}),
    "request that excludes nobody": request(lambda _: {"excluded": ()}),
    "request of a person unproven": request(lambda _: {"requester": "human:kim", "owner": "human:kim"}),
    "request under another bundle": request(lambda _: {"bundle": "sha256:" + "0" * 64}),
    "request of another time": request(lambda o: {"time_ms": o.now_ms + HOUR}),
    "request that nobody owns up to": request(lambda _: {"ack_risk": False}),
    "request for another address": request(
        lambda o: {
            "ask": Ask("prod", "https://evil.example", VIEW, 60),
            "needs": o.needs(Ask("prod", ORIGIN, VIEW, 60)),
        }
    ),
    "request for nowhere": request(lambda _: {"ask": Ask("nowhere", ORIGIN, VIEW, 60)}),
    "edited request": edited_request,
    "sixth request": sixth,
    "events of no shape": shapeless,
    "open closing": open_closing,
    "run that was refused": running(refused_but_run),
    "run that was refused, without a grant": let_through(verdict="deny", target=said(DEV)),
    "run of no object": without_an_object,
    "run under another bundle": former_rules,
    "run under no bundle": let_through(bundle=None),
    "run of another function": decided_else(
        {"functions": ("messages:list",)}, intent("run", *VIEW, functions=["messages:send"], tables=None)
    ),
    "run of more functions": decided_else(
        {"functions": ("messages:list",)}, intent("run", *VIEW, functions=["messages:list", "messages:send"])
    ),
    "run of any function": decided_else({"functions": ("messages:list",)}, intent("run", *VIEW, functions=None)),
    "run of no function": decided_else({"functions": ("messages:list",)}, intent("data", *VIEW, tables=["messages"])),
    "run on another table": decided_else({"tables": ("messages",)}, intent("data", *VIEW, tables=["users"])),
    "run on every table": decided_else({"tables": ("messages",)}, intent("run", *VIEW, functions=["a:b"], tables=None)),
    "run on a table where there is none": decided_else({"tables": ()}, intent("data", *VIEW, tables=["users"])),
    "run on another variable": decided_else(
        {"variables": ("MODE",)}, intent("env set", "deployment:env:write", variables=["KEY"])
    ),
    "run in another component": decided_else({"components": ("a",)}, intent("data", *VIEW, components=["b"])),
    "write by a grant of reading": wrote_else(VIEW),
    "write by a run that reads": wrote_else(WRITES, intent("run", *VIEW, functions=["messages:send"], tables=None)),
    "write by a run of another command": wrote_else(WRITES, intent("import", WRITE, tables=["messages"])),
    "write of another function": wrote_else(function="users:wipe"),
    "write of no function": wrote_else(function=None),
    "write of a helper that writes": wrote_else(function="_system/frontend/clearTablePage:default"),
    "write in a component": wrote_else(component="shop"),
    "write in another component": wrote_else(WRITES, intent("run", *WRITES, components=["a"], functions=["f"]), **_F),
    "write outside of its component": wrote_else(
        WRITES, intent("run", *WRITES, components=["a"], functions=["f:g"]), function="f:g"
    ),
    "write of variables": wrote_else(place="POST /api/update_environment_variables", function=None),
    "write of a function as of variables": wrote_else(
        ("deployment:env:write",),
        intent("env set", "deployment:env:write", variables=["MODE"]),
        place="POST /api/update_environment_variables",
    ),
    "write of an import": wrote_else(place="POST /api/perform_import", function=None),
    "write nowhere": wrote_else(place="POST /api/wipe"),
    "write at no place": wrote_else(place=None),
    "use after the outcome": running(after_the_outcome, max_uses=5),
    "more writes than on record": counted(2, 99, -1, True, "1", None),
    "cut in no time": closed_in(-5, "12", None, True, 10**15, 10 * DAY_MS + HOUR),
    "ends that had not come": running(ended_untruly, max_uses=5),
    "expired unused": unused_in_time,
    "fallen with a bundle before it": bundle_before,
    "approval by the requesting user": mapped_approver,
    "approval by who is the requesting user now": mapped_later,
}
# Found only by who evaluates the policies: docs/verify/gate_verify.py says that it does not.
RULES: dict[str, Attack] = {
    "needs lowered": request(lambda o: {"needs": replace(o.needs(o.draft().ask), approvals=(), ticket=())}),
    "needs raised": request(lambda o: {"needs": replace(o.needs(o.draft().ask), reason_min=13)}),
    "request out of reach": request(lambda _: {"ask": Ask("prod", ORIGIN, ("deployment:env:view",), 60)}),
    "request of another ticket": request(lambda _: {"ticket": "please"}),
    "run without a grant": let_through(),
    "run on an unknown deployment": let_through(target={**said(DEV), "deployment": "other"}),
    "run on production under another name": let_through(target={**said(DEV), "url": ORIGIN}),
    "run on production that is called local": let_through(target={**said(LOCAL), "url": ORIGIN}),
    "run of another class": let_through(target={**said(DEV), "class": "local"}),
    "run of effects that no rule allows": let_through(intent=intent("login", "account:login"), target=None),
    "run by a person unproven": let_through(
        target=said(DEV), principal={"id": "human:kim", "proof": "peer", "owner": "human:kim"}
    ),
    "run of another owner": let_through(
        target=said(DEV), principal={"id": "agent:codex", "proof": "claimed", "owner": "human:kim"}
    ),
    "run of the fallen": run_of_the_fallen,
    "run against the rules": run_against_the_rules,
    "fallen without a cause": fell_untruly,
}
