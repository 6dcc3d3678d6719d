"""Histories of requests and grants as the gate itself writes them, from beginning to end."""

from dataclasses import replace

from granted_kit import ADA, CODEX, HOUR, Office, office

from gate.grant import filing, using
from gate.grant.request import DAY_MS


def story() -> Office:
    """A grant from request to end."""
    o = Office()
    grant = o.granted()
    first, second = o.run(grant), o.run(grant)
    o.put(o.writing(grant, first, 1))
    o.put(o.writing(grant, second, None))
    o.put(o.writing(grant, second, 2))
    o.put(o.writing(grant, second, 3))
    o.add("outcome", {"decision": first, "outcome": "ok", "status": 0})
    o.now_ms += HOUR
    o.ended(grant)
    return o


def ends() -> Office:
    """Denied, cancelled, lapsed, dropped, revoked with and without a signature, never closed."""
    o = Office()
    denied = o.ask()
    o.put(filing.deny(o.book, denied.id, *o.objection("deny", denied.id, "human:eve"), o.against))
    o.put(filing.cancel(o.book, o.ask().id, CODEX, o.moment.wall_ms))
    o.put(using.drop(o.book, o.granted().id, CODEX))
    o.put(using.revoke(o.book, o.granted().id, CODEX, "done"))
    grant = o.granted()
    o.put(using.revoke_signed(o.book, grant.id, *o.objection("revoke", grant.id, "human:lee"), o.against))
    o.put(using.closing(grant.id))
    o.put(using.cut_failed(grant.id, "the probe was answered"))
    o.ask()
    o.now_ms += 3 * DAY_MS
    for event in list(filing.lapses(o.book, o.moment.wall_ms)):
        o.put(event)
    return o


def two_approvals() -> Office:
    """What both say is given."""
    o = Office(office(count=2))
    request = o.ask()
    o.approve(request, ask=replace(request.ask, max_uses=2))
    o.approve(request, "human:kim", ask=replace(request.ask, ttl_seconds=60))
    grant = o.complete(request)
    o.run(grant)
    return o


def stricter() -> Office:
    """Its own rules are held against what comes after it, and only that."""
    o = Office()
    waiting = o.ask(reason="another good reason")
    grant = o.granted()
    o.activate(office(count=2, note="stricter"), {"human:ada": ADA})
    o.put(using.end(o.book, grant.id, "bundle_changed"))
    o.put(filing.lapse(o.book, waiting.id))
    request = o.ask()
    o.approve(request)
    o.approve(request, "human:kim")
    o.complete(request)
    return o


def late() -> Office:
    """What was in time by the keeper's clock is no forgery where the disk took seconds."""
    o = Office()
    grant = o.granted(ask=replace(o.draft().ask, ttl_seconds=60))
    o.run(grant)
    o.now_ms += 50_000
    decision = o.decide(grant)
    event = using.charge(o.book, grant.id, decision, now=o.moment)
    o.now_ms += 8_000
    o.put(event)
    o.ended(grant)
    o.now_ms += 30_000
    o.decide(grant)
    return o


def outlived() -> Office:
    """A request outlives a change of the rules, and is approved by the new ones."""
    o = Office()
    request = o.ask()
    o.activate(office(count=2, note="stricter"), {"human:ada": ADA})
    o.approve(request)
    o.approve(request, "human:kim")
    o.run(o.complete(request))
    return o


def enrolled() -> Office:
    """A key that is listed for approvals, and for a time."""
    limits = 'namespaces="approve@convex-gate",valid-after="20260101Z",valid-before="202612312359Z"'
    o = Office(office(signers=("lee",), limits=limits))
    o.run(o.granted())
    return o


STORY, ENDS = story(), ends()
STORIES = {
    "story": STORY,
    "ends": ENDS,
    "two approvals": two_approvals(),
    "stricter": stricter(),
    "late": late(),
    "outlived": outlived(),
    "enrolled": enrolled(),
}
# What nothing hangs on: words, clocks, and what somebody says about an alarm. The chain alone keeps these.
LOOSE = {
    ("grant.write", "place"),
    ("grant.write", "function"),
    ("grant.write", "component"),
    ("grant.ended", "reason"),
    ("grant.closed", "latency_ms"),
    ("grant.cut_failed", "why"),
    ("outcome", "outcome"),
    ("outcome", "status"),
    *((f"grant.{kind}", name) for kind in ("made", "used", "write") for name in ("boot", "boot_ms")),
}
