"""Requests and grants as doors show them (docs/contract.md): the gate's own facts, and what the agent says apart."""

import json
from collections.abc import Mapping
from typing import Any

from gate import world
from gate.grant.grant import Grant
from gate.grant.request import LAPSED, LAPSES_MS, PENDING, Request
from gate.grant.scope import Ask
from gate.grant.statement import parse_statement
from gate.keeper.project import Project, enforcement
from gate.keeper.server import Session

Json = dict[str, Any]


def request_object(project: Project, session: Session, request: Request) -> Json:
    """A request as it stands."""
    ask, bundle = request.ask, project.active.bundle
    entry = None if bundle is None else bundle.document.deployments.get(ask.deployment)
    events = _events(project, request.id)
    return {
        "gate": 1,
        "kind": "request",
        "id": request.id,
        "digest": request.digest,
        "state": LAPSED if request.state == PENDING and request.lapsed(world.now_ms()) else request.state,
        "requester": request.requester,
        "owner": request.owner,
        "uid": request.uid,
        "excluded": list(request.excluded),
        "class": None if entry is None else entry.cls,
        **_ask(ask),
        "made": world.iso(request.time_ms),
        "lapses": world.iso(request.time_ms + LAPSES_MS),
        "needs": request.needs.to_json(),
        "bundle": request.bundle,
        "decision": request.decision,
        "grant": project.desk.book.state.grant_of.get(request.id),
        "approvals": [_approval(event) for event in events if event["type"] == "approval.given"],
        "ended": next((_ended(event) for event in events if event["type"] in _ENDS), None),
        "enforcement": enforcement(session.peer),
        "claims": {"ticket": request.ticket, "reason": request.reason, "ack_risk": request.ack_risk},
    }


def grant_object(project: Project, grant: Grant) -> Json:
    """A grant as it stands."""
    events, own = _events(project, grant.request), _events(project, grant.id)
    nonces = {given.stated.nonce for given in grant.given}
    approvals = [event for event in events if event["type"] == "approval.given" and event["nonce"] in nonces]
    return {
        "gate": 1,
        "kind": "grant",
        "id": grant.id,
        "request": grant.request,
        "state": grant.state,
        "requester": grant.requester,
        "owner": grant.owner,
        **_ask(grant.ask),
        "used": grant.used,
        "made": world.iso(grant.made.wall_ms),
        "first_use": None if grant.first_use is None else world.iso(grant.first_use.wall_ms),
        "ends": world.iso(grant.ends_ms),
        "why": grant.why,
        "ended": None if grant.ended_ms is None else world.iso(grant.ended_ms),
        "cut": next((_cut(event) for event in own if event["type"] in _CUTS), None),
        "approvals": [event["signer"] for event in approvals],
        "single_person": any(event["single_person"] for event in approvals),
    }


def _events(project: Project, subject: str) -> list[Json]:
    return [json.loads(entry.body) for entry in project.ledger.read(subject=subject)]


_CUTS = ("grant.closed", "grant.cut_failed")


def _cut(event: Mapping[str, Any]) -> Json:
    """How the cut came out: how long after the end a probe was refused, or what came through."""
    return {"latency_ms": event.get("latency_ms"), "failed": event.get("why")}


_ENDS = {"request.denied": "denied", "request.cancelled": "cancelled", "request.lapsed": "lapsed"}


def _ended(event: Mapping[str, Any]) -> Json:
    return {"how": _ENDS[event["type"]], "by": event.get("by"), "reason": event.get("reason", event.get("why"))}


def _approval(event: Mapping[str, Any]) -> Json:
    ask = parse_statement(event["statement"].encode("ascii")).ask
    return {
        "signer": event["signer"],
        "touched": event["touched"],
        "single_person": event["single_person"],
        "at": world.iso(event["at_ms"]),
        "effects": list(ask.effects),
        "ttl_seconds": ask.ttl_seconds,
        "max_uses": ask.max_uses,
    }


def _ask(ask: Ask) -> Json:
    return {
        "deployment": ask.deployment,
        "origin": ask.origin,
        "effects": list(ask.effects),
        "resources": {name: None if names is None else list(names) for name, names in ask.resources.items()},
        "ttl_seconds": ask.ttl_seconds,
        "max_uses": ask.max_uses,
        "not_before": None if ask.not_before_ms is None else world.iso(ask.not_before_ms),
    }
