"""Histories of requests and grants as the gate itself writes them, from beginning to end."""

from dataclasses import replace

from granted_kit import ADA, CODEX, DEV, HOUR, LOCAL, ORIGIN, WRITES, Office, office

from gate.grant import filing, using
from gate.grant.request import DAY_MS
from gate.grant.scope import Ask
from gate.target.target import Target

WRITE = "deployment:data:write"


def story() -> Office:
    """A grant from request to end."""
    o = Office()
    grant = o.granted()
    first, second = o.run(grant), o.run(grant)
    o.put(o.writing(grant, first, 1))
    o.put(o.writing(grant, second, None))
    o.put(o.writing(grant, second, 2))
    o.put(o.writing(grant, second, 3))
    o.add("outcome", o.outcome(first, 1))
    o.now_ms += HOUR
    o.ended(grant, "expired")
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
    o.ended(grant, "expired")
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


def writes() -> Office:
    """Every kind of write that passes, and an end by the last use; what was recorded last may not have passed."""
    o = Office()
    effects = ("deployment:backups:import", "deployment:data:view", WRITE, "deployment:env:write")
    grant = o.granted(ask=Ask("prod", ORIGIN, effects, 1800, max_uses=5))
    calls = o.run(grant, intent=intent("run", *WRITES, functions=["messages:send"], tables=None))
    o.put(o.writing(grant, calls, 1, place="WS Mutation"))
    o.put(o.writing(grant, calls, None, place="WS Action", function="_system/frontend/components:list"))
    o.add("outcome", o.outcome(calls, 1))
    inside = o.run(grant, intent=intent("run", WRITE, functions=["a:b"], tables=None, components=["shop"]))
    o.put(o.writing(grant, inside, 3, function="a:b", component="shop"))
    sets = o.run(grant, intent=intent("env set", "deployment:env:write", variables=["MODE"]))
    o.put(o.writing(grant, sets, 4, place="POST /api/update_environment_variables", function=None))
    brings = o.run(grant, intent=intent("import", "deployment:backups:import", WRITE, tables=["messages"]))
    o.put(o.writing(grant, brings, 5, place="POST /api/perform_import", function=None))
    o.add("outcome", {"decision": inside, "outcome": "unknown", "why": "the keeper ended"})
    o.ended(grant, "exhausted")
    return o


def intent(command: str, *effects: str, **resources: list[str] | None) -> dict[str, object]:
    """What a decision says about its command line."""
    return {"command": command, "effects": sorted(effects), "resources": resources}


def free() -> Office:
    """Runs that take no grant, and some that were decided before the bundle that they are on record behind."""
    o = Office()
    where = [said(target) for target in (DEV, LOCAL)]
    for target in (None, where[1]):
        o.add("decision", o.decision(None, target=target, bundle=None))
    for target in where:
        o.add("decision", o.decision(None, target=target))
    o.add("decision", o.decision(None, (), target=None))
    late = o.decision(None, target=where[0])
    o.activate(office(note="2"), {"human:ada": ADA})
    o.add("decision", late)
    o.add("decision", o.decision(None, target=where[1]))
    ada = {"id": "human:ada", "proof": "peer", "owner": "human:ada"}
    o.add("decision", o.decision(None, target=where[0], principal=ada))
    return o


def said(target: Target) -> dict[str, object]:
    """What a decision says about its deployment."""
    named = {"deployment": target.deployment, "class": target.cls, "name": target.name}
    return {**named, "url": target.url, "chosen_by": target.chosen_by}


def fallen() -> Office:
    """A grant by somebody who then is the requesting system user falls; one by somebody else stays."""
    o = Office()
    grant, request = o.granted(), o.ask()
    o.approve(request, "human:kim")
    other = o.complete(request)
    decided = o.decision(grant.id)
    o.activate(office(user="lee"), {"human:ada": ADA})
    o.add("decision", decided)
    o.ended(grant, "bundle_changed")
    o.run(other)
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
    "writes": writes(),
    "free": free(),
    "fallen": fallen(),
}
# What nothing hangs on: words, clocks, and what somebody says about an alarm. The chain alone keeps these.
LOOSE = {
    ("grant.ended", "reason"),
    ("grant.closed", "latency_ms"),
    ("grant.cut_failed", "why"),
    ("outcome", "outcome"),
    ("outcome", "status"),
    ("outcome", "refusals"),
    ("outcome", "why"),
    *((f"grant.{kind}", name) for kind in ("made", "used", "write") for name in ("boot", "boot_ms")),
}
