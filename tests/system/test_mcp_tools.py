"""`gate mcp` in front of the real Convex MCP server: every tool where it may, none where it may not."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from production_kit import SECRET, VIEW, WRITE, Production, production
from session_kit import WORKING, Session, session
from system_kit import until

from gate.demo.stage import PROD

ENV = ("deployment:env:view", "deployment:env:write")


@pytest.fixture(scope="module")
def granting(node_modules: Path) -> Iterator[Production]:
    with production(node_modules) as made:
        yield made


@pytest.fixture(scope="module")
def client(granting: Production) -> Iterator[Session]:
    with session(granting.project) as one:
        yield one


def _like_convex(kind: str, folder: Path, **members: str) -> str:
    """A selector in Convex's own form."""
    payload = {"projectDir": str(folder), "deployment": {"kind": kind, **members}}
    return f"{kind}:" + base64.b64encode(json.dumps(payload).encode()).decode()


def test_every_tool_gives_the_same_through_convex_s_server_and_directly(granting: Production, client: Session) -> None:
    """`dev` and `own` are one stand-in: by its name Convex's server serves it, by its address the door itself."""
    granting.project.made.dev.app.env["GREETING"] = "hi"
    client.works("run", client.selector("dev"), functionName="messages:send", args='{"body": "first"}')
    for tool, arguments in WORKING.items():
        through = client.works(tool, client.selector("dev"), **arguments)
        directly = client.works(tool, client.selector("own"), **arguments)
        assert directly == through, tool
        assert through, tool


def test_more_forms_of_a_call_come_to_the_same(granting: Production, client: Session) -> None:
    """Variants with an answer of their own, failures included."""
    app = granting.project.made.dev.app
    app.env |= {"A": "1", "B": "2"}
    variants: list[tuple[str, dict[str, Any]]] = [
        ("envList", {"includeValues": True}),
        ("envGet", {"name": "ABSENT"}),
        ("data", {"tableName": "messages", "order": "desc", "limit": 5}),
        ("data", {"tableName": "nowhere", "order": "asc"}),
        ("logs", {"status": "failure"}),
        ("logs", {"jsonl": True, "entriesLimit": 1}),
        ("logs", {"tokensLimit": 1}),
        ("run", {"functionName": "api.messages.list", "args": "{}"}),
        ("run", {"functionName": "convex/messages.ts:list", "args": "{}"}),
    ]
    for tool, arguments in variants:
        through = client.works(tool, client.selector("dev"), **arguments)
        assert client.works(tool, client.selector("own"), **arguments) == through, (tool, arguments)
    for where in ("dev", "own"):
        failed = client.call("run", client.selector(where), functionName="messages:fail", args="{}")
        assert "it failed on purpose" in failed["structuredContent"]["error"]["message"]


def test_writes_take_effect(granting: Production, client: Session) -> None:
    """A tool that says it wrote has written."""
    app = granting.project.made.dev.app
    for where in ("dev", "own"):
        assert client.works("envSet", client.selector(where), name="N", value=where) == {"success": True}
        assert app.env["N"] == where
        assert client.works("envGet", client.selector(where), name="N") == {"value": where}
        client.works("envRemove", client.selector(where), name="N")
        assert "N" not in app.env
        before = len(app.tables["messages"])
        client.works("run", client.selector(where), functionName="messages:send", args="{}")
        assert len(app.tables["messages"]) == before + 1


def test_insights_wants_a_login_and_says_so(client: Session) -> None:
    """No lease carries one."""
    for where in ("dev", "own"):
        result = client.call("insights", client.selector(where))
        assert result["structuredContent"]["decision"]["code"] == "denied_by_rule"
        assert "dashboard" in result["content"][0]["text"]


def test_each_tool_is_refused_on_production_without_a_grant(granting: Production, client: Session) -> None:
    """The genuine selector changes nothing about that, and nothing reaches production."""
    production_now = granting.since_now()
    selector = client.selector("prod")
    for tool, arguments in WORKING.items():
        result = client.call(tool, selector, **arguments)
        decision = result["structuredContent"]["decision"]
        assert (result["isError"], decision["code"]) == (True, "grant_required"), tool
        assert f'gate_request_access {{"decision": "{decision["id"]}"' in result["content"][0]["text"]
    assert client.refused("insights", selector) == "no_rule"
    assert production_now.reached() == []


def test_no_crafted_selector_chooses_anything(granting: Production, client: Session, tmp_path: Path) -> None:
    """What reached production past Convex's own guard is refused here for what it is: nobody gave it out."""
    production_now = granting.since_now()
    work = granting.project.made.work
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".env.local").write_text(f"CONVEX_DEPLOY_KEY=prod:{PROD}|key\n")
    genuine = client.selector("prod")
    crafted = [
        _like_convex("prod", work),
        _like_convex("implicitProd", work),
        _like_convex("unspecified", work),
        _like_convex("deploymentName", work, deploymentName=PROD),
        _like_convex("deploymentSelector", work, selector="prod"),
        _like_convex("deploymentSelector", work, selector=PROD),
        _like_convex("deploymentSelector", work, selector="acme:chat:prod"),
        _like_convex("previewName", work, previewName="main"),
        _like_convex("unspecified", elsewhere),
        "prod",
        PROD,
        "acme:chat:prod",
        "",
        "unspecified:",
        base64.b64encode(b'["demo", "prod"]').decode(),
        base64.urlsafe_b64encode(bytes(16) + b'["demo", "prod"]').decode(),
        genuine + "=",
        genuine[:-1],
        genuine.swapcase(),
    ]
    for selector in crafted:
        for tool in ("run", "data", "envList"):
            assert client.refused(tool, selector, **WORKING[tool]) == "unknown_deployment", selector
    assert production_now.reached() == []


def test_a_selector_of_another_folder_of_state_is_no_selector_here(granting: Production, client: Session) -> None:
    """Also not once this project's own folder was given a new secret."""
    old = client.selector("dev")
    secret = granting.project.state / "demo" / "selectors"
    kept = secret.read_bytes()
    secret.unlink()
    try:
        assert client.selector("dev") != old
        assert client.refused("data", old, **WORKING["data"]) == "unknown_deployment"
    finally:
        secret.write_bytes(kept)


def test_status_shows_this_project_whatever_folder_is_named(
    granting: Production, client: Session, tmp_path: Path
) -> None:
    """Convex's own server follows that argument, and its first project stays for the rest."""
    shown = client.works("status", projectDir=str(tmp_path))["availableDeployments"]
    assert {one["deployment"]: one["url"] for one in shown} == {
        "dev": granting.project.made.dev.url,
        "own": granting.project.own_url,
        "prod": granting.prod.url,
    }
    by_name = {one["deployment"]: one for one in shown}
    assert [by_name[name]["access"] for name in ("dev", "own", "prod")] == ["free", "free", "needs_grant"]
    assert [by_name[name]["kind"] for name in ("dev", "own", "prod")] == ["ownDev", "urlWithAdminKey", "prod"]
    assert by_name["dev"]["selected"]


def test_each_tool_works_on_production_under_a_fitting_grant(granting: Production) -> None:
    """And the door, its server and its results never hold the key."""
    fresh = granting.fresh()
    grant = fresh.grant(VIEW, WRITE, "deployment:logs:view", "deployment:functions:runTestQuery", *ENV)
    with session(fresh.project, GATE_PRINCIPAL=fresh.agent) as one:
        selector = one.selector("prod")
        for tool, arguments in WORKING.items():
            assert one.works(tool, selector, **arguments), tool
        assert one.refused("insights", selector) == "no_rule"
        shown = one.status()["prod"]
        assert (shown["access"], shown["grant"]) == ("granted", grant)
        assert 0 < shown["seconds_left"] <= 1800
        environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in one.children()]
        assert environments
        assert not [found for found in environments if SECRET.encode() in found]
    assert fresh.reached()


def test_every_call_is_on_record_with_how_it_ended(granting: Production, client: Session) -> None:
    """The decision names the door and the tool; the outcome is there before the answer is."""
    after = granting.project.events()[-1]["seq"]
    client.works("tables", client.selector("dev"))
    client.call("run", client.selector("own"), functionName="messages:fail", args="{}")
    events = granting.project.events(after)
    decided = [one["object"] for one in events if one["type"] == "decision"]
    assert [(one["door"], one["intent"]["command"]) for one in decided] == [("mcp", "mcp:tables"), ("mcp", "mcp:run")]
    assert [one["outcome"] for one in events if one["type"] == "outcome"] == ["ok", "failed"]


def test_the_gate_s_own_tools(granting: Production) -> None:
    """From a refusal to a grant and back, without ever waiting for a person."""
    fresh = granting.fresh()
    with session(fresh.project, GATE_PRINCIPAL=fresh.agent) as one:
        asked = {"tool": "data", "arguments": {"deploymentSelector": one.selector("prod"), **WORKING["data"]}}
        told = one.answer(one.say("tools/call", {"name": "gate_explain", "arguments": asked}))
        decision = told["structuredContent"]["decision"]
        assert (told["isError"], decision["code"]) == (False, "grant_required")
        reason = {"ticket": "OPS-1", "reason": "the data looks stale", "ttl": "30m", "ack_risk": True}
        requested = one.works("gate_request_access", decision=decision["id"], **reason)
        assert (requested["merged"], requested["approvers"]) == (False, ["group:leads"])
        assert one.works("gate_request_access", decision=decision["id"], **reason)["merged"] is True
        assert one.refused("data", one.selector("prod"), **WORKING["data"]) == "request_pending"
        assert one.works("gate_grants") == {"grants": []}
        assert fresh.accept(fresh.envelope(requested["id"])).code == 0
        assert one.works("data", one.selector("prod"), **WORKING["data"])["isDone"] is True
        (grant,) = one.works("gate_grants")["grants"]
        assert grant["requester"] == fresh.agent
        assert one.works("gate_drop", grant=grant["id"])["grant"]["state"] == "closed"
        assert one.refused("data", one.selector("prod"), **WORKING["data"]) == "grant_required"
        assert one.refused("gate_drop", grant="grt-00000000") == "usage"


def test_what_cannot_be_explained_is_refused_with_the_reason(client: Session) -> None:
    """A call that nobody could make has no decision."""
    for asked in ({"tool": "data", "arguments": {}}, {"tool": "status", "arguments": {}}):
        result = client.answer(client.say("tools/call", {"name": "gate_explain", "arguments": asked}))
        assert result["structuredContent"]["error"]["code"] == "usage"


def test_many_calls_at_once_each_get_their_own_answer(client: Session) -> None:
    """Over one server of Convex's they wait for each other; directly they do not."""
    for where in ("dev", "own"):
        selector = client.selector(where)
        tools = ["tables", "functionSpec", "envList", "data"] * 4
        numbers = [client.begin(tool, selector, **WORKING[tool]) for tool in tools]
        shapes = [frozenset(client.answer(number)["structuredContent"]) for number in numbers]
        wanted = {"data": {"page", "isDone", "continueCursor"}, "envList": {"variables"}}
        assert shapes == [frozenset(wanted.get(tool, {tool.replace("Spec", "s")})) for tool in tools]


def test_one_server_for_each_deployment_and_none_after_the_client_left(granting: Production) -> None:
    """However many calls there were."""
    with session(granting.project) as one:
        for _ in range(3):
            one.works("functionSpec", one.selector("dev"))
            one.works("functionSpec", one.selector("own"))
        (server,) = one.children()
        assert one.leave() == 0
        assert not Path(f"/proc/{server}").exists()


def test_a_door_that_is_killed_leaves_no_server(granting: Production) -> None:
    """Convex's server ends with its stdin."""
    with session(granting.project) as one:
        one.works("functionSpec", one.selector("dev"))
        (server,) = one.children()
        one.process.kill()
        assert until(lambda: not Path(f"/proc/{server}").exists() or _is_zombie(server))


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True


def test_who_could_reach_nothing_of_a_deployment_does_not_see_it(granting: Production) -> None:
    """And a folder that selects nothing hides nothing."""
    folder = granting.project.made.work / "unselected"
    folder.mkdir()
    (folder / ".env.local").write_text("CONVEX_DEPLOYMENT=dev:no-such-1\n")
    with session(granting.project, cwd=folder, GATE_PRINCIPAL="ci:build") as one:
        listed = one.status()
        assert set(listed) == {"dev", "own"}
        assert not any(one["selected"] for one in listed.values())


def test_a_folder_that_is_gone_is_a_refusal_of_the_call(granting: Production) -> None:
    """The session stays, and says so each time."""
    folder = granting.project.made.work / "leaving"
    folder.mkdir()
    with session(granting.project, cwd=folder) as one:
        selector = one.selector("own")
        folder.rmdir()
        assert one.refused("status") == "usage"
        assert one.refused("tables", selector) == "usage"


def test_the_verb_explains_itself_and_starts_in_any_spelling(granting: Production) -> None:
    """`gate mcp` is dispatched early; other words around it come to the same."""
    assert "MCP tools" in granting.gate("mcp", "--help").out
    assert granting.gate("mcp", "more").code == 64
    for words in (("mcp",), ("mcp", "--"), ("--json", "--as", "agent:codex", "mcp")):
        came = granting.project.gate(*words, stdin='{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
        assert (came.code, json.loads(came.out)) == (0, {"jsonrpc": "2.0", "id": 1, "result": {}})
