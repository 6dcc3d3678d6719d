"""The path of one invocation: Invocation -> Intent -> Target -> Decision -> Grant. Runs, records and leases nothing.

Every door and the dry run walk this function (ADR-0029: one path); only the keeper calls it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gate import CONVEX_VERSIONS
from gate.config.document import Document
from gate.errors import EXITS, GateError
from gate.grant.leave import Leave, Standing, leave_for
from gate.identity.caller import Caller
from gate.intent.effects import implied
from gate.intent.intent import Intent
from gate.intent.kind import KIND_EFFECTS, UNLISTED, with_kind
from gate.intent.parse import read_intent
from gate.intent.tools import read_tool
from gate.invocation import Invocation
from gate.policy.decide import decide
from gate.policy.decision import Decision, Principal, Remedy
from gate.policy.rules import RuleSet
from gate.policy.verdict import Question, Verdict
from gate.target.select import choose_target
from gate.target.target import Target

# Classes whose deployments belong to the caller: what runs there needs no trust in the keeper's pin.
OWN_CLASSES = frozenset({"anonymous", "local", "dev"})


# Convex answers these to a person's login only, or they mint credentials: never run with a key of the gate's.
WANTS_LOGIN = frozenset({"insights", "mcp:insights", "deployment token create", "deployment token delete"})

# Commands that make an anonymous deployment where there is none.
MAKES_STATE = frozenset({"dev", "init"})


def _resolve_none(selector: str | None) -> str:
    del selector
    raise GateError("unknown_deployment", "this keeper gave out no selector", remedy="Call the tool `status`.")


@dataclass(frozen=True, slots=True)
class Ground:
    """What the keeper stands on when it decides for one project.

    `document` and `bundle` (digest) are None before the first activation. `enforcement`: enforced | advisory.
    `distrusted`: why this keeper may not serve production (docs/threat-model.md), None where it may.
    `kinds`: for each deployment of the registry the last known kinds of its functions, by canonical path.
    `standing` is None where there can be no grant. `resolve`: the deployment of a selector that this keeper gave out
    (raises GateError `unknown_deployment`).
    """

    document: Document | None
    rules: RuleSet
    bundle: str | None
    enforcement: str
    distrusted: str | None
    kinds: Mapping[str, Mapping[str, str]]
    standing: Standing | None = None
    resolve: Callable[[str | None], str] = _resolve_none


def walk(invocation: Invocation, caller: Caller, ground: Ground, *, decision_id: str, time: str) -> Decision:
    """Decide about `invocation` of `caller`; a step that fails is a decision with its reasons, never an exception.

    Pure: the same arguments give the same decision. `time` is ISO text, printed only.
    """
    intent: Intent | None = None
    target: Target | None = None
    verdict: Verdict | None = None
    leave = Leave()
    refusal: GateError | None = None
    try:
        _insist_on_version(invocation.cli_version)
        intent = _intent(invocation)
        target = _target(intent, invocation, ground)
        _insist_on_state(intent, target)
        intent = _settle_kind(intent, target, ground)
        _insist_on_trust(target, ground)
        verdict = decide(ground.rules, _question(intent, target, caller, invocation.door))
        _insist_on_lease(intent, target, verdict)
        if verdict.verdict == "grant_required" and target is not None and ground.standing is not None:
            leave = leave_for(ground.standing, caller, target, intent, verdict.needs, wanted=invocation.grant)
            verdict = _by_leave(verdict, leave)
    except GateError as error:
        refusal, verdict = error, None
    code = refusal.code if refusal else verdict.code if verdict else "internal"
    allowed = verdict is not None and verdict.verdict == "allow"
    return Decision(
        id=decision_id,
        time=time,
        enforcement=ground.enforcement,
        verdict="deny" if verdict is None else verdict.verdict,
        code=code,
        exit=EXITS[code],
        message=refusal.message if refusal else _message(verdict, target, leave),
        principal=Principal(caller.id, caller.proof, caller.owner),
        door=invocation.door,
        intent=intent,
        target=target,
        rules=() if verdict is None else verdict.rules,
        needs=None if verdict is None else verdict.needs,
        indeterminate=() if verdict is None else verdict.indeterminate,
        remedy=None if allowed else _remedy(refusal, verdict, leave, decision_id),
        bundle=ground.bundle,
        grant=leave.grant,
        request=leave.request,
    )


def _intent(invocation: Invocation) -> Intent:
    if invocation.tool is None:
        return read_intent(invocation.argv)
    return read_tool(invocation.tool, invocation.arguments)


def _target(intent: Intent, invocation: Invocation, ground: Ground) -> Target | None:
    """Where it goes: by Convex's own precedence, or, for a tool, by a selector that this keeper gave out."""
    deployments = {} if ground.document is None else ground.document.deployments
    if invocation.tool is None:
        return choose_target(intent, invocation, deployments)
    named = ground.resolve(invocation.selector)
    entry = deployments.get(named)
    if entry is not None:
        return Target(named, entry.cls, entry.name, entry.url, entry.custody, "selector")
    own = choose_target(intent, invocation, deployments)
    if own is None or own.deployment != named:
        raise GateError(
            "unknown_deployment",
            "what the selector named is not selected here any more",
            remedy="Call the tool `status` again.",
        )
    return own


def _insist_on_version(version: str | None) -> None:
    """The tables of commands and routes are facts about certain versions of Convex's CLI, and about no others."""
    if version is not None and version not in CONVEX_VERSIONS:
        raise GateError(
            "unknown_version",
            f"the gate does not know the Convex CLI {version[:40]}",
            remedy=f"Install a version that it knows: `npm install convex@{CONVEX_VERSIONS[-1]}`.",
            argv=["npm", "install", f"convex@{CONVEX_VERSIONS[-1]}"],
        )


def _insist_on_state(intent: Intent, target: Target | None) -> None:
    """Convex's CLI fails with a stack trace where it looks for an anonymous deployment that nobody has made."""
    if target is not None and target.cls == "anonymous" and target.name is None and intent.command not in MAKES_STATE:
        raise GateError(
            "unknown_deployment",
            "nothing is selected here, and there is no anonymous deployment yet",
            remedy="Make one, or select a registered deployment (CONVEX_DEPLOYMENT in .env.local).",
            argv=["gate", "convex", "dev", "--once"],
        )


def _insist_on_lease(intent: Intent, target: Target | None, verdict: Verdict) -> None:
    if (
        verdict.verdict != "deny"
        and target is not None
        and target.custody is not None
        and intent.command in WANTS_LOGIN
    ):
        raise GateError(
            "denied_by_rule",
            f"`{intent.command}` wants a Convex login; a lease carries none",
            remedy="A person does this in Convex's dashboard, or with a login of their own.",
        )


def _settle_kind(intent: Intent, target: Target | None, ground: Ground) -> Intent:
    """Effects of the function that `intent` calls: by its last known kind; strictest where no key of ours is used.

    Without a known kind the least is stated, `kind_known` stays False, and the decision says so.
    """
    if intent.kind_known or intent.function is None or target is None:
        return intent
    if target.custody is None or intent.resources.get("components"):
        # Functions of a component are in no apiSpec that the gate can read.
        return with_kind(intent, UNLISTED)
    known = ground.kinds.get(target.deployment)
    if known is None:
        return replace(intent, effects=tuple(sorted({*intent.effects, *KIND_EFFECTS["query"]})))
    return with_kind(intent, known.get(intent.function, UNLISTED))


def _insist_on_trust(target: Target | None, ground: Ground) -> None:
    if target is not None and target.cls not in OWN_CLASSES and ground.distrusted is not None:
        raise GateError(
            "untrusted_keeper",
            f"this keeper serves anonymous, local and dev deployments only: {ground.distrusted}",
            remedy="Let a person restore the pinned state of the project (docs/operations.md, Trust).",
        )


def _by_leave(verdict: Verdict, leave: Leave) -> Verdict:
    """What the policy said, met with the leave that there is."""
    if leave.grant is not None:
        return replace(verdict, verdict="allow", code="ok")
    return verdict if leave.request is None else replace(verdict, code="request_pending")


def _question(intent: Intent, target: Target | None, caller: Caller, door: str) -> Question:
    """What the policy is asked."""
    return Question(
        principal=caller.id,
        groups=caller.groups,
        effects=intent.effects,
        implied=implied(intent.effects),
        resources=intent.resources,
        deployment=None if target is None else target.deployment,
        cls=None if target is None else target.cls,
        door=door,
        indeterminate=() if intent.kind_known else ("kind",),
    )


def _message(verdict: Verdict | None, target: Target | None, leave: Leave) -> str:
    if verdict is None or verdict.effect is None:
        return "touches no deployment"
    subject = f"{verdict.effect} on {'this machine' if target is None else target.deployment}"
    return {
        "ok": f"{subject} is allowed" + (f" under {leave.grant}" if leave.grant else ""),
        "grant_required": f"{subject} needs a grant",
        "request_pending": f"{subject} needs a grant, and {leave.request} is pending",
        "denied_by_rule": f"{subject} is denied by the rule {verdict.rule}",
        "no_rule": f"no rule allows {subject}",
    }[verdict.code]


def _remedy(refusal: GateError | None, verdict: Verdict | None, leave: Leave, decision_id: str) -> Remedy:
    if refusal is not None:
        return Remedy(refusal.remedy, None if refusal.argv is None else tuple(refusal.argv))
    if leave.grant is None and leave.request is not None:
        return Remedy("Wait for the answer", ("gate", "wait", leave.request))
    if verdict is not None and verdict.code == "grant_required":
        return Remedy("Ask for access", _request(verdict, decision_id))
    cited = () if verdict is None else verdict.rules
    fix = next((rule.fix for rule in cited if rule.fix), None)
    return Remedy(fix or "Work on a deployment of your own: `gate convex dev --once` sets one up.", None)


def _request(verdict: Verdict, decision_id: str) -> tuple[str, ...]:
    longest = None if verdict.needs is None else verdict.needs.ttl_max_seconds
    minutes = 30 if longest is None else min(30, longest // 60)
    ttl = f"{minutes}m" if minutes else f"{longest}s"
    head = ("gate", "request", "--for", decision_id, "--ticket", "<ticket>", "--reason", "<reason>")
    return (*head, "--ttl", ttl, "--ack-risk")
