"""Operations on requests: made, shown, waited for, approved, denied, cancelled (docs/protocol.md). Signs nothing."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from gate import world
from gate.config.bundle import Bundle
from gate.errors import GateError
from gate.grant import filing
from gate.grant.approval import ANYBODY, insist_on_pending
from gate.grant.request import PENDING, Request, capped, mapped
from gate.grant.rules import needs_of
from gate.grant.scope import Ask, limits
from gate.grant.statement import parse_statement
from gate.identity.caller import Caller
from gate.intent.effects import EFFECTS
from gate.keeper import members, report
from gate.keeper.desk import Turn
from gate.keeper.project import Project
from gate.keeper.server import Message, Session
from gate.keeper.shown import grant_object, request_object
from gate.policy.verdict import Needs

_LONGEST_WAIT = 30
_MOST_LISTED = 500
# Where the rules set no bound: nobody remembers what a longer grant was for.
_LONGEST_SECONDS = 30 * 86_400


async def file(project: Project, session: Session, message: Message) -> None:
    """Make a request, or find the pending one that asks for the same."""
    async with project.desk.turn() as turn:
        request, merged = await _place(project, turn, _drafted(project, session, message))
    result = {
        "id": request.id,
        "merged": merged,
        "approvers": [item for block in request.needs.approvals or (ANYBODY,) for item in block.from_],
        "request": request_object(project, session, request),
    }
    await session.send({"result": result})


def _drafted(project: Project, session: Session, message: Message) -> Request:
    """The request that the door asks to be made, under the bundle in force. Raises GateError for what is no grant's."""
    bundle = project.bundle()
    ask, claimed, decision = _asked(project, session, message, bundle)
    caller = project.caller(claimed, session.peer)
    needs = needs_of(ask, caller.id, bundle, project.active.rules)
    if needs == Needs():
        raise GateError("change_control", "this needs no grant", remedy="Just call it.")
    if not needs.grant:
        raise GateError(
            "change_control",
            "the rules have needs for this and leave it to no grant",
            remedy="Let a root put `grant: true` beside them.",
        )
    return replace(_request(message, caller, capped(ask, needs), bundle, needs), decision=decision)


async def _place(project: Project, turn: Turn, request: Request) -> tuple[Request, bool]:
    book = project.desk.book
    twin = filing.twin(book, request)
    if twin is not None:
        return twin, True
    await turn.take(filing.file_request(book, request))
    return book.request(request.id), False


def _request(message: Message, caller: Caller, ask: Ask, bundle: Bundle, needs: Needs) -> Request:
    return Request(
        id=world.new_id("req"),
        requester=caller.id,
        owner=caller.owner or "",
        uid=caller.uid,
        excluded=mapped(caller, bundle.document.principals),
        ask=ask,
        ticket=members.text(message, "ticket"),
        reason=members.text(message, "reason"),
        ack_risk=message.get("ack_risk") is True,
        bundle=bundle.digest,
        decision=None,
        needs=needs,
        time_ms=world.now_ms(),
    )


def _asked(project: Project, session: Session, message: Message, bundle: Bundle) -> tuple[Ask, str | None, str | None]:
    """What is asked for, who claims to ask, and the refusal that it answers."""
    claimed, decision = members.optional_text(message, "principal"), members.optional_text(message, "for")
    named = members.optional_text(message, "deployment")
    if (decision is None) == (named is None):
        raise GateError("usage", "ask for what?", remedy="Give `--for DEC`, or `--deployment D --effect E`.")
    if decision is not None:
        refused = _refused(project, session, decision)
        # One pasted line has to do: who was refused, as this system user, is who asks.
        return _ask_for(refused, message), claimed or refused["principal"]["id"], decision
    entry = bundle.document.deployments.get(str(named))
    url = "" if entry is None else entry.url
    if entry is None:
        raise GateError(
            "unknown_deployment",
            "no deployment of that id is registered",
            remedy=f"Registered are: {', '.join(bundle.document.deployments)}.",
        )
    return _ask(str(named), url, _effects(message), {}, message), claimed, None


def _refused(project: Project, session: Session, decision_id: str) -> Mapping[str, Any]:
    """The object of a decision that a grant can turn. Raises GateError for others, and those of other system users."""
    entries = project.ledger.read(type="decision", subject=decision_id)
    body = json.loads(entries[0].body) if entries else {}
    if body.get("uid") != session.peer.uid:
        raise GateError("usage", "no such decision of yours is on record", remedy="Paste the id out of the refusal.")
    decided: Mapping[str, Any] = body["object"]
    if decided["code"] == "plan_required":
        raise GateError("plan_required", decided["message"], remedy=decided["remedy"]["text"])
    if decided["verdict"] != "grant_required":
        raise GateError(
            "change_control",
            f"no grant helps there: it was {decided['code']}",
            remedy=f"See `gate audit show {decision_id}`.",
        )
    return decided


def _ask_for(decided: Mapping[str, Any], message: Message) -> Ask:
    intent, target = decided["intent"], decided["target"]
    resources = {name: None if names is None else tuple(names) for name, names in intent["resources"].items()}
    return _ask(target["deployment"], target["url"], tuple(intent["effects"]), limits(resources), message)


def _ask(
    deployment: str,
    origin: str,
    effects: Sequence[str],
    resources: Mapping[str, tuple[str, ...] | None],
    message: Message,
) -> Ask:
    names: dict[str, Any] = {
        dimension: None if some is None else tuple(sorted(set(some))) for dimension, some in resources.items()
    }
    uses = None if message.get("max_uses") is None else members.number(message, "max_uses", 0)
    ttl = members.number(message, "ttl_seconds", 0)
    if ttl > _LONGEST_SECONDS:
        raise GateError("change_control", "no grant lasts longer than 30 days", remedy="Ask for less time: `--ttl 1h`.")
    try:
        return Ask(
            deployment,
            origin,
            tuple(sorted(set(effects))),
            ttl,
            **names,
            max_uses=uses,
        )
    except ValueError as error:
        raise GateError(
            "change_control",
            "how long, or for what, is missing, or a number is out of range",
            remedy="Give `--ttl`, such as 30m, and at least one `--effect`.",
        ) from error


def _effects(message: Message) -> list[str]:
    effects = message.get("effects")
    if not isinstance(effects, list) or not all(isinstance(effect, str) for effect in effects):
        raise GateError("usage", "the door sent no proper message (effects)", remedy="Update the door.")
    for effect in effects:
        if effect not in EFFECTS:
            raise GateError("usage", "no such effect", remedy="Effects are listed in docs/policy.md.")
    return effects


async def list_(project: Project, session: Session, message: Message) -> None:
    """List the requests that the caller may see, the newest last: pending ones, or all."""
    every = message.get("all") is True
    now = world.now_ms()
    seen = [
        one
        for one in project.desk.book.state.requests.values()
        if _visible(project, session, one.uid) and (every or (one.state == PENDING and not one.lapsed(now)))
    ]
    await session.send(
        {"result": {"requests": [request_object(project, session, one) for one in seen[-_MOST_LISTED:]]}}
    )


async def show(project: Project, session: Session, message: Message) -> None:
    """One request, or one grant with its request."""
    book, named = project.desk.book, members.text(message, "id")
    result: dict[str, Any] = {}
    if named.startswith("grt-"):
        grant = book.grant(named)
        result["grant"] = grant_object(project, grant)
        named = grant.request
    result["request"] = request_object(project, session, _seen(project, session, named))
    await session.send({"result": result})


async def portable(project: Project, session: Session, message: Message) -> None:
    """What a reviewer needs on another machine to look at a request and sign."""
    bundle, request = project.bundle(), _seen(project, session, members.text(message, "id"))
    insist_on_pending(request, world.now_ms())
    entry = bundle.document.deployments.get(request.ask.deployment)
    members_ = {
        "gate": 1,
        "kind": "portable",
        "ledger": project.ledger.id,
        "head": project.ledger.head,
        "bundle": bundle.digest,
        "project": project.name,
        "class": None if entry is None else entry.cls,
        "request": request.to_json(),
        "digest": request.digest,
    }
    await session.send({"result": {"portable": members_}})


async def frame(project: Project, session: Session, message: Message) -> None:
    """What a denial or a revocation is tied to."""
    del message
    tied = {"ledger": project.ledger.id, "head": project.ledger.head, "bundle": project.bundle().digest}
    await session.send({"result": tied})


async def wait(project: Project, session: Session, message: Message) -> None:
    """Answer when the request is not pending any more, or when the time is over."""
    named = members.text(message, "id")
    until = world.boot_ms() + 1000 * min(members.number(message, "seconds", 0), _LONGEST_WAIT)
    leaving = asyncio.ensure_future(session.receive())
    try:
        while (left := until - world.boot_ms()) > 0 and not leaving.done():
            request = _seen(project, session, named)
            if request.state != PENDING or request.lapsed(world.now_ms()):
                break
            await project.desk.change(min(left / 1000, 1.0))
    finally:
        leaving.cancel()
    await session.send({"result": {"request": request_object(project, session, _seen(project, session, named))}})


async def cancel(project: Project, session: Session, message: Message) -> None:
    """Take a request back."""
    request = _seen(project, session, members.text(message, "id"))
    caller = project.caller(members.optional_text(message, "principal") or request.requester, session.peer)
    async with project.desk.turn() as turn:
        await turn.take(filing.cancel(project.desk.book, request.id, caller, turn.now.wall_ms))
    await _answer(project, session, request.id)


async def accept(project: Project, session: Session, message: Message) -> None:
    """Take a signed approval; where it completes the request, a grant comes of it."""
    signed, signature = members.octets(message.get("statement")), members.octets(message.get("signature"))
    request = project.desk.book.request(parse_statement(signed).request)
    async with project.desk.turn() as turn:
        bundle = project.bundle()
        needs = needs_of(request.ask, request.requester, bundle, project.active.rules)
        against = project.against()
        event = filing.approve(project.desk.book, request.id, signed, signature, needs=needs, against=against)
        await turn.take(event)
        await _complete(project, turn, request.id, bundle)
    made = project.desk.book.state.grant_of.get(request.id)
    grant = None if made is None else grant_object(project, project.desk.book.grant(made))
    shown = request_object(project, session, project.desk.book.request(request.id))
    await session.send({"result": {"request": shown, "grant": grant}})


async def deny(project: Project, session: Session, message: Message) -> None:
    """Take a signed denial."""
    signed, signature = members.octets(message.get("statement")), members.octets(message.get("signature"))
    subject = members.text(message, "id")
    async with project.desk.turn() as turn:
        against = project.against()
        await turn.take(filing.deny(project.desk.book, subject, signed, signature, against))
    await _answer(project, session, subject)


async def resume(project: Project) -> None:
    """Complete what was approved last before a keeper died. Raises LedgerError."""
    bundle = project.active.bundle
    for request in project.desk.book.pending() if bundle is not None else ():
        async with project.desk.turn() as turn:
            await _complete(project, turn, request.id, project.bundle())


async def _complete(project: Project, turn: Turn, request_id: str, bundle: Bundle) -> None:
    book, request = project.desk.book, project.desk.book.request(request_id)
    needs = needs_of(request.ask, request.requester, bundle, project.active.rules)
    against = project.against()
    event = filing.complete(book, request_id, needs, against, now=turn.now, grant_id=world.new_id("grt"))
    if event is not None:
        await turn.take(event)


async def _answer(project: Project, session: Session, request_id: str) -> None:
    request = project.desk.book.request(request_id)
    await session.send({"result": {"request": request_object(project, session, request)}})


def _seen(project: Project, session: Session, request_id: str) -> Request:
    """A request that the caller may see. Raises GateError `usage` for others as for those that are not there."""
    request = project.desk.book.request(request_id)
    if not _visible(project, session, request.uid):
        return project.desk.book.request("")
    return request


def _visible(project: Project, session: Session, uid: int) -> bool:
    """Their own, and everything for those who may read the history."""
    return uid == session.peer.uid or report.reads(project, session)
