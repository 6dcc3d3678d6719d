"""By whose leave: a call on production met with the grants and requests that there are. Pure: nothing runs here."""

from dataclasses import replace

import pytest
from grant_kit import CLAUDE, CODEX, HOUR, NEEDS, ORIGIN, World, ask_of, bundle_with

from gate.errors import EXITS
from gate.grant import using
from gate.grant.event import Event
from gate.grant.leave import Standing
from gate.identity.caller import Caller
from gate.invocation import Invocation
from gate.policy.decision import Decision
from gate.policy.load import shipped_rules
from gate.walk import Ground, walk

_KINDS = {"prod": {"messages:list": "query", "messages:send": "mutation"}}
_SECRET = {"CONVEX_SELF_HOSTED_URL": ORIGIN, "CONVEX_SELF_HOSTED_ADMIN_KEY": "x"}


def call(*argv: str, **changes: object) -> Invocation:
    made = Invocation(
        door="cli",
        argv=argv,
        cwd="/w",
        variables=_SECRET,
        files={},
        problems={},
        gate_yaml=None,
        principal="agent:codex",
        grant=None,
        local_config=None,
        cli_version="1.48.0",
        tty=False,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def decide(w: World, invocation: Invocation, caller: Caller = CODEX) -> Decision:
    bundle = w.bundle
    standing = Standing(w.book, bundle, w.chain, w.now)
    ground = Ground(bundle.document, shipped_rules(), bundle.digest, "advisory", None, _KINDS, standing)
    return walk(invocation, caller, ground, decision_id="dec-7k3f9q2m", time="2026-02-19T10:04:05.123Z")


def test_a_grant_lets_through_what_it_covers_and_nothing_else() -> None:
    w = World()
    grant = w.granted(ask=ask_of(functions=("messages:list",), components=(), variables=()))
    listed = decide(w, call("run", "messages:list"))
    assert (listed.verdict, listed.code, listed.grant, listed.request) == ("allow", "ok", grant.id, grant.request)
    assert listed.remedy is None
    assert grant.id in listed.message
    for other in (call("run", "messages:other"), call("data", "messages"), call("logs"), call("run", "messages:send")):
        decision = decide(w, other)
        assert decision.verdict != "allow"
        assert decision.grant is None


@pytest.mark.parametrize(
    "caller",
    [
        CLAUDE,
        replace(CODEX, uid=1001),
        replace(CODEX, owner="human:lee"),
        replace(CODEX, id="agent:other"),
    ],
)
def test_nobody_else_uses_it(caller: Caller) -> None:
    w = World()
    w.granted()
    assert decide(w, call("data", "messages"), caller).code == "grant_required"


def test_the_end_of_a_grant_is_the_end_of_its_leave() -> None:
    w = World()
    grant = w.charge(w.granted())
    assert decide(w, call("data")).grant == grant.id
    w.pass_ms(grant.ask.ttl_seconds * 1000)
    ended = decide(w, call("data"))
    assert (ended.code, ended.grant) == ("grant_required", None)
    wanted = decide(w, call("data", grant=grant.id))
    assert (wanted.code, wanted.exit) == ("grant_ended", 77)


def test_one_named_grant_and_no_other() -> None:
    w = World()
    one, other = w.granted(), w.granted()
    assert decide(w, call("data", grant=other.id)).grant == other.id
    assert decide(w, call("data", grant=one.id)).grant == one.id
    assert decide(w, call("data", grant="grt-none")).code == "grant_ended"


def test_a_request_that_waits_is_said() -> None:
    w = World()
    request = w.file()
    decision = decide(w, call("data", "messages"))
    assert (decision.verdict, decision.code, decision.exit) == ("grant_required", "request_pending", 75)
    assert decision.request == request.id
    assert decision.remedy is not None
    assert decision.remedy.argv == ("gate", "wait", request.id)
    assert decision.needs is not None
    assert decide(w, call("logs")).code == "grant_required"
    assert decide(w, call("data"), CLAUDE).code == "grant_required"
    w.pass_ms(72 * HOUR)
    assert decide(w, call("data", "messages")).code == "grant_required"


def test_a_grant_is_verified_again_at_every_use() -> None:
    w = World()
    w.granted()
    assert decide(w, call("data")).code == "ok"
    w.bundle = bundle_with(("human:ada", "human:kim"), "lee left")
    fallen = decide(w, call("data"))
    assert (fallen.code, fallen.verdict, fallen.grant) == ("bundle_changed", "deny", None)


def test_a_row_is_not_a_signature() -> None:
    w = World()
    request = w.file()
    forged = {"id": "grt-1", "request": request.id, "ask": request.ask.to_json(), "approvals": [], **w.now.to_json()}
    w.record(Event("grant.made", "grt-1", forged))
    assert (decide(w, call("data")).code, EXITS["ledger_tampered"]) == ("ledger_tampered", 74)


def test_a_barred_or_spent_grant_gives_no_leave() -> None:
    w = World()
    grant = w.granted(ask=ask_of(max_uses=1))
    w.book.bar(grant.id)
    assert decide(w, call("data")).code == "grant_required"
    w = World()
    w.charge(w.granted(ask=ask_of(max_uses=1)))
    assert decide(w, call("data")).code == "grant_required"


def test_what_needs_no_grant_charges_none() -> None:
    w = World()
    w.granted()
    helped = decide(w, call("--help"))
    assert (helped.code, helped.grant) == ("ok", None)


def test_a_login_is_not_made_up_for_by_a_grant() -> None:
    w = World()
    w.granted(ask=ask_of(effects=("deployment:insights:view",)))
    assert decide(w, call("insights")).code in ("denied_by_rule", "no_rule")


def test_uses_pay_for_writes() -> None:
    w = World(needs=NEEDS)
    grant = w.charge(w.granted(ask=ask_of(max_uses=2)))
    what = {"place": "POST /api/function", "function": "messages:send", "component": None, "sha256": "0" * 64}
    w.record(using.write(w.book, grant.id, "dec-1", 1, what, now=w.now))
    assert w.book.grant(grant.id).used == 1
    w.record(using.write(w.book, grant.id, "dec-1", None, what, now=w.now))
    assert w.book.grant(grant.id).used == 2
    for number in (3, 0, -1, True):
        body = {"grant": grant.id, "use": number, **w.now.to_json()}
        with pytest.raises(Exception, match=r"no grant\.write like it"):
            w.book.apply(w.chain.append(Event("grant.write", grant.id, body), w.now.wall_ms))
        w.chain.entries.pop()
