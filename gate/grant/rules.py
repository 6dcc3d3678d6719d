"""What the rules in force say about an ask, as they say it about an invocation. Knows no request and no signature."""

from gate.config.bundle import Bundle
from gate.errors import GateError
from gate.grant.scope import Ask, touched
from gate.intent.effects import implied
from gate.policy.decide import decide
from gate.policy.rules import RuleSet
from gate.policy.verdict import Needs, Question, Verdict

DEPLOY = "deployment:deploy"
# Requests are made on the command line, whatever door uses the grant: each door is asked again for its invocation.
_DOOR = "cli"


def needs_of(ask: Ask, requester: str, bundle: Bundle, rules: RuleSet) -> Needs:
    """What has to be met before `requester` may have `ask`; `rules` are those of `bundle`.

    Raises GateError `denied_by_rule` or `no_rule` where no grant can help, `unknown_deployment` or `bundle_changed`
    where the deployment is not registered as the ask names it, and `plan_required` for deploying: deployed code
    outlives every grant.
    """
    entry = bundle.document.deployments.get(ask.deployment)
    if entry is None:
        raise GateError(
            "unknown_deployment", f"{ask.deployment} is not registered", remedy="Name a deployment of gate.yaml."
        )
    if entry.url != ask.origin:
        raise GateError(
            "bundle_changed", f"{ask.deployment} is registered at another url now", remedy="Ask for access anew."
        )
    verdict = decide(rules, _question(ask, requester, bundle, entry.cls))
    _insist_on_reach(verdict, ask)
    return verdict.needs or Needs()


def _question(ask: Ask, requester: str, bundle: Bundle, cls: str) -> Question:
    listed = bundle.document.principals.get(requester)
    return Question(
        principal=requester,
        groups=frozenset() if listed is None else frozenset(listed.groups),
        effects=ask.effects,
        implied=implied(ask.effects),
        resources=touched(ask),
        deployment=ask.deployment,
        cls=cls,
        door=_DOOR,
    )


def _insist_on_reach(verdict: Verdict, ask: Ask) -> None:
    if verdict.verdict == "deny":
        fix = next((rule.fix for rule in verdict.rules if rule.fix), None)
        by = "no rule allows it" if verdict.rule is None else f"the rule {verdict.rule} denies it"
        raise GateError(
            verdict.code,
            f"{verdict.effect} on {ask.deployment} is out of a grant's reach: {by}",
            remedy=fix or "Ask for less, such as reading only.",
        )
    if verdict.verdict == "grant_required" and DEPLOY in ask.effects:
        raise plan_required(ask.deployment)


def plan_required(deployment: str) -> GateError:
    """The refusal for a deploy that needs a grant: deployed code outlives every grant, so it takes a plan."""
    return GateError(
        "plan_required",
        f"deploying to {deployment} needs an approved plan",
        remedy="This version makes no plans: let a person or CI deploy with a key of its own.",
    )
