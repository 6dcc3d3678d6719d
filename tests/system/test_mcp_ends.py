"""How access ends within a session of `gate mcp`: by time, by revocation, with the keeper; and two sessions at once."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from production_kit import POLICY, WRITE, Production, production
from session_kit import WORKING, session
from system_kit import gone, until
from upstream_kit import code, forged_server, genuine_tools, told

VIEW = "deployment:data:view"


@pytest.fixture(scope="module")
def tools(convex_package: Path) -> Any:
    return genuine_tools(convex_package)


@pytest.fixture(scope="module")
def granting(node_modules: Path) -> Iterator[Production]:
    with production(node_modules) as made:
        yield made


@pytest.fixture(scope="module")
def folder(granting: Production, tools: Any) -> Path:
    return forged_server(granting.project.made, "server", tools)


def test_a_grant_that_expires_between_two_calls(granting: Production) -> None:
    """The server of the first call still runs, with a credential that is worth nothing."""
    fresh = granting.fresh()
    with session(fresh.project, GATE_PRINCIPAL=fresh.agent) as one:
        selector = one.selector("prod")
        fresh.grant(uses=1)
        one.works("functionSpec", selector)
        (server,) = one.children()
        grant = fresh.grant(ttl="3s")
        assert one.works("data", selector, **WORKING["data"])["isDone"] is True
        assert until(lambda: fresh.state(grant)["state"] in ("closed", "expired"), seconds=8)
        reached = len(fresh.reached())
        result = one.call("data", selector, **WORKING["data"])
        assert result["structuredContent"]["decision"]["code"] in ("grant_required", "grant_ended")
        assert len(fresh.reached()) == reached
        assert one.children() == [server]


@pytest.mark.parametrize("end", ["revoked", "expired"])
def test_a_grant_that_ends_during_a_call(granting: Production, folder: Path, end: str) -> None:
    """The client hears within a second, the server is gone, and the record says `cut`."""
    fresh = granting.fresh()
    after = fresh.project.events()[-1]["seq"]
    with session(fresh.project, cwd=folder, GATE_PRINCIPAL=fresh.agent) as one:
        selector = one.selector("prod")
        grant = fresh.grant(VIEW, ttl="3s" if end == "expired" else "30m")
        number = one.begin("run", selector, functionName="messages:list", args="hangs")
        assert until(lambda: bool(one.children()))
        assert until(lambda: fresh.state(grant)["state"] == "active")
        (server,) = one.children()
        if end == "revoked":
            assert fresh.gate("revoke", grant, "--reason", "enough of it").code == 0
        else:
            assert until(lambda: fresh.state(grant)["state"] != "active", seconds=8)
        started = time.monotonic()
        result = one.answer(number)
        assert time.monotonic() - started < 1
        assert code(result) == "cut"
        assert until(lambda: gone(server), seconds=1)
        assert until(lambda: list(fresh.project.outcomes(after).values()) == [["cut"]])


def test_a_direct_call_is_cut_too(granting: Production) -> None:
    """The bundle that let it through is no longer in force; the thread that waits for the network is not waited for."""
    made = granting.project.made
    with session(granting.project) as one:
        selector = one.selector("own")
        # A cursor at the end: the stand-in holds the answer back until something happens.
        number = one.begin("logs", selector, cursor=10_000)
        assert until(lambda: any("cursor=10000" in request.path for request in made.dev.requests))
        before = (made.work / "policies" / "default.yaml").read_text()
        denies = (
            '  - id: no-logs\n    deny: {effects: ["deployment:logs:view"]}\n    because: Not now.\n'
            '    examples:\n      - {principal: agent:codex, deployment: own, effects: ["deployment:logs:view"],'
            " verdict: deny, rule: no-logs}\n"
        )
        try:
            (made.work / "policies" / "default.yaml").write_text(before + denies)
            assert granting.gate("activate", "--key", str(granting.keys["ada"])).code == 0
            assert code(one.answer(number, 2)) == "cut"
            assert one.refused("logs", selector) == "denied_by_rule"
        finally:
            (made.work / "policies" / "default.yaml").write_text(before)
            assert granting.gate("activate", "--key", str(granting.keys["ada"])).code == 0
        one.works("logs", selector)


def test_a_write_is_refused_under_a_grant_to_read(granting: Production) -> None:
    """Each tool is decided for what it would do, whatever server it goes through."""
    fresh = granting.fresh()
    fresh.grant(VIEW)
    with session(fresh.project, GATE_PRINCIPAL=fresh.agent) as one:
        selector = one.selector("prod")
        one.works("run", selector, functionName="messages:list", args="{}")
        before = len(fresh.prod.app.tables["messages"])
        assert one.refused("run", selector, functionName="messages:send", args="{}") == "grant_required"
        assert one.refused("envList", selector) == "grant_required"
        assert len(fresh.prod.app.tables["messages"]) == before
        fresh.grant(VIEW, WRITE, uses=1)
        one.works("run", selector, functionName="messages:send", args="{}")
        assert len(fresh.prod.app.tables["messages"]) == before + 1
        assert one.refused("run", selector, functionName="messages:send", args="{}") == "grant_required"


def test_the_keeper_s_end_is_the_end_of_every_call_and_a_new_one_serves_the_next(
    granting: Production, folder: Path
) -> None:
    """What was under way is unknown, on record and to the client."""
    project = granting.project
    after = project.events()[-1]["seq"]
    with session(project, cwd=folder) as one:
        selector = one.selector("dev")
        number = one.begin("run", selector, functionName="messages:list", args="hangs")
        assert until(lambda: bool(one.children()))
        (server,) = one.children()
        project.kill_keeper()
        assert code(one.answer(number, 2)) == "keeper_unavailable"
        assert until(lambda: gone(server), seconds=1)
        assert code(told(one, selector, "ok")) == "fine"
        assert sorted(project.outcomes(after).values()) == [["ok"], ["unknown"]]


def test_two_projects_at_once_see_nothing_of_each_other(granting: Production, node_modules: Path) -> None:
    """Neither by selector nor by what comes back."""
    with (
        production(node_modules, POLICY) as other,
        session(granting.project) as here,
        session(other.project) as there,
    ):
        granting.project.made.dev.app.env["WHERE"], other.project.made.dev.app.env["WHERE"] = "here", "there"
        both = (here, there)
        for where in ("dev", "own"):
            numbers = [one.begin("envGet", one.selector(where), name="WHERE") for one in both * 2]
            answers = [one.answer(number) for one, number in zip(both * 2, numbers, strict=True)]
            assert [found["structuredContent"]["value"] for found in answers] == ["here", "there"] * 2
        for one, stranger in (both, both[::-1]):
            for where in ("dev", "own", "prod"):
                assert one.refused("data", stranger.selector(where), **WORKING["data"]) == "unknown_deployment"


def test_a_session_of_somebody_unknown(granting: Production) -> None:
    """Who names nobody is nobody: own deployments as ever, and nobody answers for a request."""
    with session(granting.project, GATE_PRINCIPAL="") as one:
        listed = one.status()
        one.works("functionSpec", listed["own"]["deploymentSelector"])
        reason = {"ticket": "OPS-1", "reason": "the data looks stale", "ttl": "30m", "ack_risk": True}
        asked = {"deployment": "prod", "effects": [VIEW], **reason}
        assert one.refused("gate_request_access", **asked) == "change_control"
        assert one.works("gate_grants") == {"grants": []}


def test_without_a_keeper_every_tool_says_so(granting: Production, tmp_path: Path) -> None:
    """The session stays."""
    (tmp_path / "state").touch()
    with session(granting.project, GATE_HOME=str(tmp_path / "state")) as one:
        assert one.refused("status") == "keeper_unavailable"
        assert one.refused("data", "anything", **WORKING["data"]) == "keeper_unavailable"
