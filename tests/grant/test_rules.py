"""The rules about an ask: what has to be met, and what no grant can help."""

from typing import Any

import pytest
from grant_kit import ORIGIN, bundle_with

from gate.config.bundle import Bundle, load_bundle
from gate.errors import GateError
from gate.grant.rules import needs_of
from gate.grant.scope import Ask
from gate.policy.load import load_rules, shipped_rules
from gate.policy.verdict import Needs

_RULES = """\
policy: 1
name: p
rules:
  - {id: reach, allow: {classes: [prod], effects: ["deployment:*"]}, because: b}
  - {id: admin, deny: {classes: [prod], functions: ["admin:*"]}, because: b, fix: Leave it to people.}
  - {id: leave, require: {classes: [prod], effects: ["deployment:data:write"]}, needs: {grant: true}, because: b}
  - {id: pushed, require: {effects: ["deployment:deploy"]}, needs: {grant: true}, because: b}
"""


def _with(policy: str) -> Bundle:
    bundle = bundle_with()
    return load_bundle({**bundle.files, "p.yaml": policy.encode()})


def _ask(*effects: str, **changes: Any) -> Ask:
    return Ask("prod", changes.pop("origin", ORIGIN), tuple(sorted(effects)), 1800, **changes)


def _refused(ask: Ask, bundle: Bundle) -> GateError:
    with pytest.raises(GateError) as caught:
        needs_of(ask, "agent:codex", bundle, load_rules(bundle))
    return caught.value


def test_the_shipped_rules() -> None:
    bundle = bundle_with()
    needs = needs_of(_ask("deployment:data:view"), "agent:codex", bundle, shipped_rules())
    assert (needs.grant, needs.ticket, needs.ttl_max_seconds) == (True, ("OPS-[0-9]+",), 3600)
    for effect in ("deployment:env:view", "deployment:backups:create", "deployment:data:write"):
        with pytest.raises(GateError, match="out of a grant's reach") as caught:
            needs_of(_ask(effect), "agent:codex", bundle, shipped_rules())
        assert caught.value.code == "no_rule"


def test_any_function_meets_a_rule_about_some() -> None:
    bundle = _with(_RULES)
    refused = _refused(_ask("deployment:data:view"), bundle)
    assert (refused.code, refused.remedy) == ("denied_by_rule", "Leave it to people.")
    assert _refused(_ask("deployment:data:view", functions=("admin:wipe",)), bundle).code == "denied_by_rule"
    narrow = _ask("deployment:data:write", functions=("messages:send",))
    assert needs_of(narrow, "agent:codex", bundle, load_rules(bundle)).grant


def test_what_needs_nothing() -> None:
    bundle = _with(_RULES)
    seen = _ask("deployment:data:view", functions=("messages:list",))
    assert needs_of(seen, "agent:codex", bundle, load_rules(bundle)) == Needs()


def test_deploys_take_a_plan() -> None:
    bundle = _with(_RULES.replace("admin:*", "none"))
    refused = _refused(_ask("deployment:deploy", functions=(), tables=(), variables=(), components=()), bundle)
    assert refused.code == "plan_required"


def test_the_registry_has_moved() -> None:
    bundle = _with(_RULES)
    assert _refused(_ask("deployment:data:view", origin="https://else.convex.cloud"), bundle).code == "bundle_changed"
    gone = Ask("staging", ORIGIN, ("deployment:data:view",), 1800)
    assert _refused(gone, bundle).code == "unknown_deployment"
