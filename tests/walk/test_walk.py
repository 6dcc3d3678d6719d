"""The path of one invocation: what comes out for whom, where, under which rules. Pure: nothing runs here."""

from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st

from gate.config.document import parse_document
from gate.errors import EXITS
from gate.identity.caller import Caller
from gate.invocation import Invocation
from gate.policy.decision import Decision
from gate.policy.load import shipped_rules
from gate.walk import Ground, walk

_GATE_YAML = b"""\
gate: 1
project: chat
signers: gate.signers
roots: [human:ada]
policies: [policies/default.yaml, policies/production.yaml]
deployments:
  dev: {class: dev, name: happy-otter-123, url: "https://happy-otter-123.convex.cloud", custody: k}
  prod: {class: prod, name: proud-lynx-456, url: "https://proud-lynx-456.convex.cloud", custody: k}
principals:
  agent:codex: {owner: human:ada}
  human:ada: {}
custody:
  k: {file: keys/k}
"""
GROUND = Ground(parse_document(_GATE_YAML), shipped_rules(), "sha256:" + "0" * 64, "advisory", None, {})
CODEX = Caller("agent:codex", "claimed", "human:ada", frozenset(), 1000)
AT = "2026-02-19T10:04:05.123Z"


def call(*argv: str, env_local: str = "CONVEX_DEPLOYMENT=dev:happy-otter-123\n", **changes: object) -> Invocation:
    made = Invocation(
        door="cli",
        argv=argv,
        cwd="/w",
        variables={},
        files={".env.local": env_local.encode()},
        problems={},
        gate_yaml=None,
        principal="agent:codex",
        grant=None,
        local_config=None,
        cli_version="1.48.0",
        tty=False,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def decide(invocation: Invocation, ground: Ground = GROUND) -> Decision:
    return walk(invocation, CODEX, ground, decision_id="dec-7k3f9q2m", time=AT)


@pytest.mark.parametrize(
    ("argv", "verdict", "code", "deployment"),
    [
        (("run", "messages:list"), "allow", "ok", "dev"),
        (("data", "messages", "--prod"), "grant_required", "grant_required", "prod"),
        (("logs", "--prod"), "grant_required", "grant_required", "prod"),
        (("env", "list", "--prod"), "deny", "no_rule", "prod"),
        (("export", "--path", "x", "--prod"), "deny", "no_rule", "prod"),
        (("deploy",), "deny", "no_rule", "prod"),
        (("deployment", "token", "create", "x"), "deny", "denied_by_rule", "dev"),
        (("insights",), "deny", "denied_by_rule", "dev"),
        (("data", "--deployment", "sly-fox-666"), "deny", "unknown_deployment", None),
        (("data", "--url", "https://x.convex.cloud", "--admin-key", "k"), "deny", "key_in_argv", None),
        (("login",), "deny", "unknown_command", None),
        (("run", "--nonsense"), "deny", "unknown_option", None),
        (("--help",), "allow", "ok", None),
    ],
)
def test_what_comes_of_a_call(argv: tuple[str, ...], verdict: str, code: str, deployment: str | None) -> None:
    decision = decide(call(*argv))
    target = None if decision.target is None else decision.target.deployment
    assert (decision.verdict, decision.code, decision.exit, target) == (verdict, code, EXITS[code], deployment)
    assert (decision.remedy is None) == (verdict == "allow")


def test_a_grant_is_asked_for_with_one_pasted_line() -> None:
    decision = decide(call("data", "--prod"))
    assert decision.remedy is not None
    assert decision.remedy.argv is not None
    assert " ".join(decision.remedy.argv) == (
        "gate request --for dec-7k3f9q2m --ticket <ticket> --reason <reason> --ttl 30m --ack-risk"
    )


def test_an_unknown_kind_is_the_least_where_nothing_ran_and_the_strictest_where_it_is_not_listed() -> None:
    unknown = decide(call("run", "messages:send", "--prod"))
    assert (unknown.code, unknown.indeterminate) == ("grant_required", ("kind",))
    unlisted = decide(call("run", "messages:send", "--prod"), replace(GROUND, kinds={"prod": {}}))
    assert unlisted.intent is not None
    assert unlisted.code == "no_rule"
    assert "deployment:functions:runInternalMutations" in unlisted.intent.effects
    known = decide(call("run", "messages:list", "--prod"), replace(GROUND, kinds={"prod": {"messages:list": "query"}}))
    assert (known.code, known.indeterminate) == ("grant_required", ())


def test_a_keeper_that_is_not_trusted_serves_own_deployments_only() -> None:
    ground = replace(GROUND, distrusted="the project's genesis is not the one that is pinned")
    assert decide(call("data", "--prod"), ground).code == "untrusted_keeper"
    assert decide(call("data"), ground).code == "ok"


@pytest.mark.parametrize("version", ["1.49.0", "without a version"])
def test_tables_are_facts_about_known_versions(version: str) -> None:
    assert decide(call("data", cli_version=version)).code == "unknown_version"
    assert decide(call("data", cli_version=None)).code == "ok"


def test_without_anonymous_state_only_what_makes_it_passes() -> None:
    assert decide(call("data", env_local="")).code == "unknown_deployment"
    assert decide(call("dev", "--once", env_local="")).code == "ok"
    state = b'{"deploymentName": "anonymous-agent"}'
    assert decide(call("data", env_local="", local_config=state)).code == "ok"


def test_every_key_of_the_object_is_always_there() -> None:
    shapes = [decide(call(*argv)).to_json() for argv in (("data",), ("data", "--prod"), ("nonsense",), ("--help",))]
    assert {frozenset(shape) for shape in shapes} == {frozenset(shapes[0])}
    assert shapes[2]["intent"] is shapes[2]["target"] is shapes[2]["needs"] is None


_WORDS = st.one_of(
    st.sampled_from(
        [
            "run",
            "data",
            "env",
            "set",
            "deploy",
            "dev",
            "--prod",
            "--push",
            "--",
            "--deployment",
            "prod",
            "-y",
            "--url",
            "=",
        ]
    ),
    st.text(max_size=12),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_WORDS, max_size=8), st.binary(max_size=60), st.dictionaries(st.text(max_size=8), st.text(max_size=8)))
def test_the_walk_is_total_and_never_lets_production_through(
    argv: list[str], env_local: bytes, variables: dict[str, str]
) -> None:
    """Whatever arrives, one decision comes out, with a code of the contract, and production wants a grant at least."""
    decision = decide(call(*argv, files={".env.local": env_local}, variables=variables))
    assert decision.exit == EXITS[decision.code]
    assert decision.verdict in {"allow", "deny", "grant_required"}
    if decision.target is not None and decision.target.cls == "prod":
        assert decision.verdict != "allow"
    assert (decision.verdict == "allow") == (decision.code == "ok")
