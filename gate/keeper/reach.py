"""What a caller of MCP can reach: the deployments of the bundle, and what is selected here. Runs nothing."""

from typing import Any

from gate import world
from gate.errors import GateError
from gate.identity.caller import Caller
from gate.intent.parse import read_intent
from gate.invocation import Invocation, from_wire
from gate.keeper import members
from gate.keeper.project import Project
from gate.keeper.selectors import selector
from gate.keeper.server import Message, Session
from gate.policy.decide import decide
from gate.policy.verdict import Question
from gate.target.select import choose_target
from gate.target.target import Target

# What the tools need; a deployment on which a caller may have none of it is none of the caller's.
_WANTED = tuple(
    f"deployment:{action}"
    for action in ("data:view", "data:write", "env:view", "env:write", "logs:view", "functions:runTestQuery")
)


async def deployments(project: Project, session: Session, message: Message) -> None:
    """List the deployments that this caller could ever reach, each with the selector that only this keeper resolves."""
    invocation = from_wire(members.table(message, "invocation"))
    caller = project.caller(invocation.principal, session.peer)
    own = _own(project, invocation)
    rows = [_row(project, caller, target, own) for target in _targets(project, own)]
    await session.send({"result": {"deployments": [row for row in rows if row is not None]}})


def _targets(project: Project, own: Target | None) -> list[Target]:
    """Every registered deployment, and the anonymous or local one that is selected here."""
    bundle = project.active.bundle
    entries = {} if bundle is None else bundle.document.deployments
    targets = [
        Target(name, entry.cls, entry.name, entry.url, entry.custody, "selector") for name, entry in entries.items()
    ]
    return targets if own is None or own.deployment in entries else [own, *targets]


def _own(project: Project, invocation: Invocation) -> Target | None:
    """What Convex's own precedence selects in the door's folder; None where that is nothing that can be reached."""
    bundle = project.active.bundle
    try:
        return choose_target(read_intent(["data"]), invocation, {} if bundle is None else bundle.document.deployments)
    except GateError:
        return None


def _row(project: Project, caller: Caller, target: Target, own: Target | None) -> dict[str, Any] | None:
    verdicts = {effect: _verdict(project, caller, target, effect) for effect in _WANTED}
    free = [effect for effect, verdict in verdicts.items() if verdict == "allow"]
    asked = [effect for effect, verdict in verdicts.items() if verdict == "grant_required"]
    if not free and not asked:
        return None
    now = project.desk.now()
    live = project.desk.book.live_for(caller.id, target.deployment, now)
    return {
        "deployment": target.deployment,
        "class": target.cls,
        "name": target.name,
        "url": target.url,
        "selected": own is not None and own.deployment == target.deployment,
        "selector": selector(project.state, project.name, target.deployment),
        "free": free,
        "under_grant": asked,
        "grants": [
            {
                "id": grant.id,
                "effects": list(grant.ask.effects),
                "ends": world.iso(now.wall_ms + grant.remaining_ms(now)),
                "seconds_left": grant.remaining_ms(now) // 1000,
            }
            for grant in live
            if grant.uid == caller.uid
        ],
    }


def _verdict(project: Project, caller: Caller, target: Target, effect: str) -> str:
    question = Question(caller.id, caller.groups, (effect,), (), {}, target.deployment, target.cls, "mcp")
    return decide(project.active.rules, question).verdict
