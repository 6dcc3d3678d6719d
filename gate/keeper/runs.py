"""One invocation of a door from decision to outcome: decide, record, lease, wait, cut, record."""

import asyncio
import os
from collections.abc import Mapping
from typing import Any

from gate import world
from gate.errors import GateError
from gate.intent.intent import Intent
from gate.invocation import Invocation, from_wire
from gate.keeper import members, protocol
from gate.keeper.project import Project, Run
from gate.keeper.server import Message, Session
from gate.policy.decision import Decision
from gate.proxy import kinds
from gate.proxy.lease import Lease, Scope, Upstream
from gate.proxy.pins import credential, pins, pins_anonymous, pins_local
from gate.target.target import Target

# How long a door has to end its child after a cut; access is gone before it starts.
_CUT_SECONDS = 15
_REASONS = 20


async def explain(project: Project, session: Session, message: Message) -> None:
    """Answer with the decision that `run` would begin with. Recorded, looks nothing up, runs nothing."""
    decision = project.decide(from_wire(members.table(message, "invocation")), session.peer, world.new_id("dec"))
    await _record(project, decision, session, runs=False)
    await session.send({"decision": decision.to_json()})


async def run(project: Project, session: Session, message: Message) -> None:
    """Serve one invocation (docs/protocol.md, `run`): nothing starts unless its decision is durably on record."""
    invocation = from_wire(members.table(message, "invocation"))
    del message
    decision, upstream = await _decide(project, invocation, session)
    answer = _answer(decision)
    allowed = decision.verdict == "allow" and answer is None
    await _record(project, decision, session, runs=allowed)
    if not allowed or decision.intent is None:
        await session.send({"decision": decision.to_json()} | ({} if answer is None else {"answer": answer}))
        return
    live = Run(invocation, session.peer, decision, None, asyncio.get_running_loop().create_future())
    project.runs[decision.id] = live
    # Another bundle may have come in force between the decision and its record.
    project.cut_fallen()
    outcome: Mapping[str, Any] = {"outcome": "unknown", "why": "the keeper failed"}
    try:
        outcome, refusal = await _attempt(project, live, decision.intent, upstream, session)
    finally:
        project.runs.pop(decision.id, None)
        _forget_kinds(project, decision)
        await _end(project, live, "the invocation ended")
        # Whatever happened: what was let through has an outcome as long as there is a ledger to write it to.
        if project.ledger.latched is None:
            await project.record("outcome", decision.id, {"decision": decision.id, **outcome, **_counts(live)})
    if refusal is not None:
        raise refusal
    await session.send({"recorded": decision.id})


def _forget_kinds(project: Project, decision: Decision) -> None:
    """After a push the functions of the deployment may be others."""
    if decision.intent is not None and decision.target is not None and "deployment:deploy" in decision.intent.effects:
        project.kinds.pop(decision.target.deployment, None)


async def _attempt(
    project: Project, live: Run, intent: Intent, upstream: Upstream | None, session: Session
) -> tuple[Mapping[str, Any], GateError | None]:
    """What came of a run that is on record, and the refusal that the door has to hear, if there is one."""
    if live.cut.done():
        return {"outcome": "not_started", "why": live.cut.result()}, _changed()
    try:
        if upstream is not None:
            live.lease = await _lease(project, live.decision, intent, upstream)
        start = await _start(project, live, intent)
    except GateError as error:
        return {"outcome": "not_started", "why": error.message}, error
    try:
        return await _serve(project, live, start, session), None
    except protocol.Gone:
        return {"outcome": "unknown", "why": "the door left"}, None
    except GateError as error:
        return {"outcome": "unknown", "why": error.message}, error


def _changed() -> GateError:
    return GateError("bundle_changed", "another bundle came in force meanwhile; nothing ran", remedy="Call again.")


def _answer(decision: Decision) -> str | None:
    """What the gate says itself: the dashboard of a registered deployment, which takes no lease."""
    intent, target = decision.intent, decision.target
    if decision.verdict != "allow" or intent is None or intent.command != "dashboard":
        return None
    if target is None or target.custody is None:
        return None
    if target.name is None:
        return f"{target.deployment} is self-hosted at {target.url}: its dashboard is where its operator put it."
    return f"https://dashboard.convex.dev/d/{target.name}"


async def _decide(project: Project, invocation: Invocation, session: Session) -> tuple[Decision, Upstream | None]:
    """The final decision, and the deployment behind it where the walk lets it through and a key is needed."""
    decision_id = world.new_id("dec")
    decision = _first_look(project, invocation, session, decision_id)
    target = decision.target
    if decision.verdict != "allow" or target is None or _answer(decision) is not None:
        return decision, None
    if target.custody is None:
        return decision, _this_machine(target)
    try:
        upstream = await project.upstream(target, invocation.files, session.fetch)
        await _probe(project, target, upstream)
        if decision.intent is not None and _calls_users_function(decision.intent):
            project.kinds[target.deployment] = await kinds.look_up(upstream)
            decision = project.decide(invocation, session.peer, decision_id)
    except GateError as error:
        return decision.refused(error), None
    return decision, upstream if decision.verdict == "allow" else None


def _first_look(project: Project, invocation: Invocation, session: Session, decision_id: str) -> Decision:
    """The decision by the last known kinds, or by none where a look-up may show that those are out of date."""
    decision = project.decide(invocation, session.peer, decision_id)
    intent, target = decision.intent, decision.target
    if decision.verdict == "allow" or target is None or intent is None or not _calls_users_function(intent):
        return decision
    known = project.kinds.pop(target.deployment, None)
    if known is None:
        return decision
    least = project.decide(invocation, session.peer, decision_id)
    if least.verdict == "allow":
        return least
    project.kinds[target.deployment] = known
    return decision


def _this_machine(target: Target) -> Upstream | None:
    """A local deployment needs no key, but its CLI asks the control plane for names; an anonymous one asks nobody."""
    return Upstream("", target.name, target.cls, "") if target.cls == "local" else None


def _calls_users_function(intent: Intent) -> bool:
    """Whether a function is called whose kind only the deployment knows: not Convex's own."""
    return intent.function is not None and not intent.function.startswith("_system/")


async def _probe(project: Project, target: Target, upstream: Upstream) -> None:
    """Insist that the key works and belongs to the registered deployment, once for each key and deployment."""
    mark = (target.deployment, upstream.key)
    if mark not in project.probed:
        await kinds.probe(upstream)
        project.probed.add(mark)


async def _lease(project: Project, decision: Decision, intent: Intent, upstream: Upstream) -> Lease:
    """A lease that is worth this invocation and nothing more, live in the project's proxy."""
    proxy = await project.proxy()
    presented = credential(upstream, world.secret())
    lease = Lease(decision.id, presented, _scope(project, intent, decision), upstream)
    proxy.open(lease)
    return lease


def _scope(project: Project, intent: Intent, decision: Decision) -> Scope:
    """What `intent` needs, in the words of the proxy."""
    names = {dimension: _names(intent, dimension) for dimension in ("tables", "variables", "components")}
    return Scope(
        effects=frozenset(intent.effects),
        command=intent.command,
        functions=frozenset() if intent.function is None else frozenset({intent.function}),
        kinds=_kinds(project, intent, decision),
        acts_as_user=intent.acts_as_user,
        **names,
    )


def _names(intent: Intent, dimension: str) -> frozenset[str] | None:
    """Names that the lease is good for: none where the dimension does not apply, None for any."""
    items = intent.resources.get(dimension, ())
    return None if items is None else frozenset(items)


def _kinds(project: Project, intent: Intent, decision: Decision) -> frozenset[str] | None:
    """The one kind that was decided for the called function; None where the command may call anything."""
    if intent.function is None or decision.target is None or intent.command != "run":
        return None
    known = project.kinds.get(decision.target.deployment, {})
    return frozenset({known[intent.function]}) if intent.function in known else None


async def _start(project: Project, live: Run, intent: Intent) -> Message:
    """What the door needs to start the child."""
    return {
        "argv": list(intent.child_argv),
        "pins": await _pins(project, live),
        "project": project.name,
        "command": intent.command,
    }


async def _serve(project: Project, live: Run, start: Message, session: Session) -> Mapping[str, Any]:
    """Hand out the lease, wait until the child has ended or access has, and say what came of it."""
    await session.send({"decision": live.decision.to_json(), "start": start})
    reading = asyncio.ensure_future(session.receive())
    waited: set[asyncio.Future[Any]] = {reading, live.cut}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if live.cut.done():
        return await _after_cut(project, live, session, reading)
    frame = await reading
    if frame is None:
        return {"outcome": "unknown", "why": "the door left"}
    if "failed" in frame:
        return {"outcome": "not_started", "why": str(frame["failed"])[:200]}
    return _outcome(frame.get("done"))


async def _after_cut(
    project: Project, live: Run, session: Session, reading: asyncio.Future[Message | None]
) -> Mapping[str, Any]:
    """Access first, then the process: the door ends its child and says so, or is not waited for any longer."""
    why = live.cut.result()
    await _end(project, live, why)
    await session.send({"cut": {"code": "cut", "message": why}})
    try:
        async with asyncio.timeout(_CUT_SECONDS):
            await reading
    except TimeoutError:
        why += "; the door did not end its process in time"
    except GateError:
        why += "; the door did not say that its process ended"
    return {"outcome": "cut", "why": why}


async def _end(project: Project, live: Run, why: str) -> None:
    if live.lease is not None:
        await (await project.proxy()).close(live.lease.id, why)


async def _pins(project: Project, live: Run) -> dict[str, str]:
    """The variables that select the deployment for the child, and nothing else."""
    target = live.decision.target
    if target is None or live.lease is None:
        return pins_anonymous(None if target is None else target.name)
    url = (await project.proxy()).url
    if target.cls == "local":
        return pins_local(target.name or "", url)
    return pins(live.lease.credential, url, live.lease.upstream)


def _outcome(done: object) -> Mapping[str, Any]:
    status = done.get("status") if isinstance(done, dict) else None
    if not isinstance(status, int):
        return {"outcome": "unknown", "why": "the door did not say how its child ended"}
    return {"outcome": "ok" if status == 0 else "failed", "status": status}


def _counts(live: Run) -> Mapping[str, Any]:
    """What went through the lease, and what the proxy refused, with how often for each reason."""
    if live.lease is None:
        return {}
    counts = live.lease.counts
    return {
        "counts": {
            "reads": counts.reads,
            "writes": counts.writes,
            "refused": counts.refused,
            "bytes_out": counts.bytes_out,
        },
        "refusals": [{"why": why, "times": times} for why, times in live.refusals.most_common(_REASONS)],
    }


async def _record(project: Project, decision: Decision, session: Session, *, runs: bool) -> None:
    owner = {"boot": world.boot_id(), "pid": os.getpid()}
    members = {"id": decision.id, "object": decision.to_json(), "runs": runs, "uid": session.peer.uid, "keeper": owner}
    await project.record("decision", decision.id, members)
