"""One invocation of a door from decision to outcome: decide, record, lease, wait, cut, record."""

import asyncio
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from gate import world
from gate.errors import GateError
from gate.intent.intent import Intent
from gate.invocation import Invocation, from_wire
from gate.keeper import members, protocol
from gate.keeper.leave import charge
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
# What calls the one function that was decided; `dev` may call any.
_RUNS = frozenset({"run", "mcp:run"})


async def explain(project: Project, session: Session, message: Message) -> None:
    """Answer with the decision that `run` would begin with. Recorded, looks nothing up, runs nothing."""
    decision = project.decide(from_wire(members.table(message, "invocation")), session.peer, world.new_id("dec"))
    await _record(project, decision, session, runs=False)
    await session.send({"decision": decision.to_json()})


async def run(project: Project, session: Session, message: Message) -> None:
    """Serve one invocation (docs/protocol.md, `run`): nothing starts unless its decision is durably on record."""
    invocation, shared = from_wire(members.table(message, "invocation")), members.optional_text(message, "upstream")
    del message
    decision, upstream = await _decide(project, invocation, session)
    answer = _answer(decision)
    allowed = decision.verdict == "allow" and answer is None
    await _record(project, decision, session, runs=allowed)
    if not allowed or decision.intent is None:
        await session.send({"decision": decision.to_json()} | ({} if answer is None else {"answer": answer}))
        return
    live = Run(
        invocation,
        session.peer,
        decision,
        None,
        asyncio.get_running_loop().create_future(),
        token=_token(session, shared),
    )
    project.runs[decision.id] = live
    # Another bundle may have come in force between the decision and its record.
    project.cut_fallen()
    if decision.grant is not None and not project.still(decision):
        project.cut(live, "the activated bundle changed")
    outcome: Mapping[str, Any] = {"outcome": "unknown", "why": "the keeper failed"}
    try:
        outcome, refusal = await _attempt(project, live, decision.intent, upstream, session)
    finally:
        # In this order: who presents the same credential next must not be taken for this run.
        await _end(project, live, "the invocation ended")
        project.runs.pop(decision.id, None)
        _forget_kinds(project, decision)
        # Whatever happened: what was let through has an outcome as long as there is a ledger to write it to.
        if project.ledger.latched is None:
            await project.record("outcome", decision.id, {"decision": decision.id, **outcome, **_counts(live)})
    if refusal is not None:
        raise refusal
    await session.send({"recorded": decision.id})


def _token(session: Session, shared: str | None) -> str:
    """The secret half of the run's credential: of its own, or the one of the `shared` upstream of this connection.

    An upstream that serves one call after the other keeps its credential; each call's lease is worth that call.
    """
    return world.secret() if shared is None else session.tokens.setdefault(shared, world.secret())


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
            _insist_alone(project, live)
            live.lease = await _lease(project, live.decision, intent, upstream, live.token)
            _insist_uncut(live)
        start = await _start(project, live, intent)
    except GateError as error:
        return {"outcome": "not_started", "why": error.message}, error
    try:
        return await _serve(project, live, start, session), None
    except protocol.Gone:
        return {"outcome": "unknown", "why": "the door left"}, None
    except GateError as error:
        return {"outcome": "unknown", "why": error.message}, error


def _insist_alone(project: Project, live: Run) -> None:
    """One credential is one lease's: of the runs that share it only the first to come has it, until it has ended."""
    for run in project.runs.values():
        if run is live:
            return
        if run.token == live.token:
            raise GateError("limit", "the upstream serves another call", remedy="Call again.")


def _insist_uncut(live: Run) -> None:
    """A grant may have ended while its lease was made: nothing starts then."""
    if live.cut.done():
        raise GateError("grant_ended", live.cut.result(), remedy="Ask for a new one.")


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
    if target is None or _answer(decision) is not None or not _may_run(project, decision, session):
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


def _may_run(project: Project, decision: Decision, session: Session) -> bool:
    """Whether it is let through, or may be once the kind of its function is known: the caller holds a live grant."""
    if decision.verdict != "grant_required" or decision.target is None:
        return decision.verdict == "allow"
    holds = any(
        grant.uid == session.peer.uid
        for grant in project.desk.book.live_for(decision.principal.id, decision.target.deployment, project.desk.now())
    )
    return holds and decision.intent is not None and _calls_users_function(decision.intent)


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


async def _lease(project: Project, decision: Decision, intent: Intent, upstream: Upstream, token: str) -> Lease:
    """A lease that is worth this invocation and nothing more, live in the project's proxy.

    Under a grant one use is charged first, and the grant's end is the lease's. Raises GateError `grant_ended`.
    """
    proxy = await project.proxy()
    leave = None if decision.grant is None else await charge(project.desk, decision.grant, decision.id)
    presented = credential(upstream, token)
    lease = Lease(decision.id, presented, _scope(project, intent, decision), upstream, leave=leave)
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
    if intent.function is None or decision.target is None or intent.command not in _RUNS:
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
        "grant": _granted(project, live.decision),
    }


def _granted(project: Project, decision: Decision) -> Mapping[str, str] | None:
    """The grant that the run is under, and when that ends at the latest."""
    if decision.grant is None:
        return None
    now = project.desk.now()
    ends = now.wall_ms + project.desk.book.grant(decision.grant).remaining_ms(now)
    return {"id": decision.grant, "ends": world.iso(ends)}


async def _serve(project: Project, live: Run, start: Message, session: Session) -> Mapping[str, Any]:
    """Hand out the lease, wait until the child has ended or access has, and say what came of it."""
    # A door that does not read must not keep what the cut takes: neither end waits for the other.
    answering = asyncio.ensure_future(_hand_out(session, {"decision": live.decision.to_json(), "start": start}))
    waited: set[asyncio.Future[Any]] = {answering, live.cut}
    await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
    if live.cut.done():
        return await _after_cut(project, live, session, answering)
    frame = await answering
    if frame is None:
        return {"outcome": "unknown", "why": "the door left"}
    if "failed" in frame:
        return {"outcome": "not_started", "why": str(frame["failed"])[:200]}
    return _outcome(frame.get("done"))


async def _hand_out(session: Session, start: Message) -> Message | None:
    """Tell the door to start, and return what it says next, None when it has left. Raises protocol.Gone, GateError."""
    await session.send(start)
    return await session.receive()


async def _after_cut(
    project: Project, live: Run, session: Session, answering: asyncio.Future[Message | None]
) -> Mapping[str, Any]:
    """Access first, then the process: the door ends its child and says so, or is not waited for any longer."""
    why = live.cut.result()
    await _end(project, live, why)
    try:
        async with asyncio.timeout(_CUT_SECONDS):
            await asyncio.gather(session.send({"cut": {"code": "cut", "message": why}}), answering)
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
        "counts": asdict(counts),
        "refusals": [{"why": why, "times": times} for why, times in live.refusals.most_common(_REASONS)],
    }


async def _record(project: Project, decision: Decision, session: Session, *, runs: bool) -> None:
    owner = {"boot": world.boot_id(), "pid": os.getpid()}
    members = {"id": decision.id, "object": decision.to_json(), "runs": runs, "uid": session.peer.uid, "keeper": owner}
    await project.record("decision", decision.id, members)
