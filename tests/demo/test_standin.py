"""The real CLI works against the stand-in: every command of the slice, with the self-hosted pair."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from convex_cli import Ran, convex, end, start, until, workspace

from gate.demo.standin import StandIn
from gate.demo.standin_app import App, AppError, canonical

KEY = "happy-otter-123|0a1b2c"


@pytest.fixture
async def deployment() -> AsyncIterator[StandIn]:
    async with StandIn(KEY) as standin:
        standin.app.insert("messages", {"body": "first", "author": "ada"})
        standin.app.env["STRIPE"] = "sk_test"
        yield standin


@pytest.fixture
def project(tmp_path: Path, node_modules: Path) -> Path:
    return workspace(tmp_path, node_modules)


def pair(standin: StandIn, key: str = KEY) -> dict[str, str]:
    return {"CONVEX_SELF_HOSTED_URL": standin.url, "CONVEX_SELF_HOSTED_ADMIN_KEY": key}


async def run(standin: StandIn, project: Path, *argv: str, stdin: bytes | None = None) -> Ran:
    ran = await convex(project, pair(standin), *argv, stdin=stdin)
    assert ran.code == 0, ran
    return ran


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("run", "messages:list"), "first"),
        (("run", "messages:send", '{"body": "hi"}'), "messages-2"),
        (("run", "tasks:work"), "worked"),
        (("run", "messages:list", "--identity", "{name: 'J'}"), "first"),
        (("run", "--inline-query", "1"), "1"),
        (("data",), "messages\nusers"),
        (("data", "messages"), "first"),
        (("env", "list"), "STRIPE"),
        (("env", "get", "STRIPE"), "sk_test"),
        (("function-spec",), "messages.js:list"),
        (("deployment", "usage-limits", "list"), ""),
    ],
)
async def test_reading_commands(deployment: StandIn, project: Path, argv: tuple[str, ...], says: str) -> None:
    ran = await run(deployment, project, *argv)
    assert says in ran.out
    keys = deployment.keys()
    assert all(key.startswith(KEY) for key in keys)


async def test_variables_are_set_and_removed(deployment: StandIn, project: Path) -> None:
    await run(deployment, project, "env", "set", "A", "b")
    await run(deployment, project, "env", "set", stdin=b"C=d\n")
    assert deployment.app.env == {"STRIPE": "sk_test", "A": "b", "C": "d"}
    await run(deployment, project, "env", "remove", "A")
    assert "A" not in deployment.app.env


async def test_export_and_import(deployment: StandIn, project: Path) -> None:
    await run(deployment, project, "export", "--path", "out.zip")
    assert (project / "out.zip").read_bytes() == deployment.app.snapshot()
    (project / "rows.jsonl").write_text('{"body": "one"}\n{"body": "two"}\n')
    (project / "rows.json").write_text('[{"body": "three"}]')
    ran = await run(deployment, project, "import", "--table", "messages", "rows.jsonl", "--append", "-y")
    assert "Added 2 documents" in ran.err
    assert len(deployment.app.tables["messages"]) == 3
    await run(deployment, project, "import", "--table", "messages", "rows.json", "--replace", "-y")
    assert [row["body"] for row in deployment.app.tables["messages"]] == ["three"]


@pytest.mark.parametrize(
    ("argv", "pushes"),
    [
        (("deploy",), 1),
        (("deploy", "--dry-run"), 0),
        (("dev", "--once"), 1),
        (("codegen",), 0),
        (("run", "messages:list", "--push"), 1),
    ],
)
async def test_pushing_commands(deployment: StandIn, project: Path, argv: tuple[str, ...], pushes: int) -> None:
    await run(deployment, project, *argv, "--typecheck", "disable")
    assert deployment.app.pushes == pushes
    assert (project / "convex" / "_generated" / "api.js").exists() != ("--dry-run" in argv)


async def test_watching_a_query_shows_each_change(deployment: StandIn, project: Path) -> None:
    process = await start(project, pair(deployment), "run", "messages:list", "--watch")
    try:
        await until(process, "first")
        deployment.app.call("messages:send", None, {"body": "second"})
        await until(process, "second")
    finally:
        await end(process)


async def test_logs_follow(deployment: StandIn, project: Path) -> None:
    deployment.app.call("messages:send", None, {})
    process = await start(project, pair(deployment), "logs", "--history", "5")
    try:
        await until(process, "messages:send ran")
        deployment.app.call("tasks:work", None, {})
        await until(process, "tasks:work ran")
    finally:
        await end(process)


async def test_the_cloud_form_of_a_key_goes_through_the_control_plane(project: Path) -> None:
    key = "dev:happy-otter-123|secret"
    async with StandIn(key) as deployment:
        cloud = {"CONVEX_DEPLOY_KEY": key, "CONVEX_PROVISION_HOST": deployment.url}
        ran = await convex(project, cloud, "run", "messages:list")
        assert ran.code == 0, ran
        assert "POST /api/deployment/url_for_key" in deployment.paths()


async def test_another_key_is_refused(deployment: StandIn, project: Path) -> None:
    ran = await convex(project, pair(deployment, "happy-otter-123|guess"), "env", "set", "A", "b")
    assert (ran.code, "was invalid" in ran.err) == (1, True)
    ran = await convex(project, pair(deployment, "happy-otter-123|guess"), "data")
    assert "permission" in ran.err
    assert deployment.app.env == {"STRIPE": "sk_test"}


async def test_plain_http_callers(deployment: StandIn) -> None:
    auth = {"Authorization": f"Convex {KEY}"}
    bearer = {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(deployment.url) as session:
        for path in ("/version", "/instance_version", "/instance_name", "/v1/version"):
            assert (await session.get(path)).status == 200
        assert await (await session.post("/echo", data=b"abc")).read() == b"abc"
        assert (await session.head("/api/authorize", headers=bearer)).status == 200
        assert (await session.head("/api/authorize")).status == 401
        assert (await session.get("/api/check_admin_key", headers=auth)).status == 200
        assert (await session.get("/api/check_admin_key")).status == 403
        assert (await session.get("/api/nowhere", headers=auth)).status == 404
        wrong = {"deployKey": "guess"}
        for path in ("url_for_key", "team_and_project_for_key"):
            assert (await session.post(f"/api/deployment/{path}", json=wrong)).status == 403
        fails = {"path": "messages:fail", "format": "convex_encoded_json", "args": [{}]}
        answer = await session.post("/api/query", json=fails, headers=auth)
        assert (answer.status, "on purpose" in await answer.text()) == (560, True)


async def test_the_websocket_runs_mutations_and_drops_queries(deployment: StandIn) -> None:
    async with aiohttp.ClientSession(deployment.url) as session, session.ws_connect("/api/1.48.0/sync") as socket:
        add = {"type": "Add", "queryId": 0, "udfPath": "messages:list", "args": [{}]}
        await socket.send_json({"type": "Connect", "sessionId": "s"})
        await socket.send_json({"type": "Authenticate", "tokenType": "Admin", "value": KEY, "baseVersion": 0})
        await socket.send_json({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]})
        assert (await socket.receive_json())["modifications"][0]["type"] == "QueryUpdated"
        gone = {"type": "Remove", "queryId": 0}
        await socket.send_json({"type": "ModifyQuerySet", "baseVersion": 1, "newVersion": 2, "modifications": [gone]})
        assert (await socket.receive_json())["endVersion"]["querySet"] == 2
        call = {"type": "Mutation", "requestId": 0, "udfPath": "messages:send", "args": []}
        await socket.send_json(call)
        assert (await socket.receive_json())["success"] is True
        await socket.send_json(call | {"udfPath": "messages:list"})
        assert (await socket.receive_json())["success"] is False


def test_the_app_is_strict_about_kinds_and_names() -> None:
    app = App()
    with pytest.raises(AppError, match="defined as Query"):
        app.call("messages:list", "Mutation", {})
    with pytest.raises(AppError, match="Could not find"):
        app.call("messages:none", None, {})
    assert app.latest_export() is None
    assert canonical("messages.js") == "messages:default"
    assert json.loads(json.dumps(app.push()))["environmentVariables"] == {}


async def test_logs_wait_for_the_next_entry(deployment: StandIn) -> None:
    deployment.app.call("messages:send", None, {})
    auth = {"Authorization": f"Convex {KEY}"}
    async with aiohttp.ClientSession(deployment.url) as session:
        poll = asyncio.ensure_future(session.get("/api/stream_function_logs?cursor=1", headers=auth))
        await asyncio.sleep(0.05)
        assert not poll.done()
        deployment.app.call("tasks:work", None, {})
        assert [entry["identifier"] for entry in (await (await poll).json())["entries"]] == ["tasks:work"]
