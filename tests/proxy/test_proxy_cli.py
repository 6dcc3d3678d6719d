"""The real CLI through the proxy: works as without it; the deployment sees the key only, the CLI the token only."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
from convex_cli import Ran, convex, end, start, until, workspace
from leases import (
    AS_USER,
    BACKUP,
    DEPLOY,
    ENV_VIEW,
    ENV_WRITE,
    IMPORT,
    KEY,
    TEST_QUERY,
    TOKEN,
    VIEW,
    WRITE,
    Noting,
    lease,
    scope,
    variables,
)

from gate.demo.standin import StandIn
from gate.proxy.lease import Lease, Scope
from gate.proxy.server import Proxy

QUERY = scope("run", VIEW, functions=["messages:list"], kinds=["query"])
MUTATION = scope("run", VIEW, WRITE, functions=["messages:send"], kinds=["mutation"])
ACTION = scope("run", VIEW, WRITE, functions=["tasks:work"], kinds=["action"])
AS_JOE = scope("run", VIEW, AS_USER, functions=["messages:list"], acts_as_user=True)
PUSH = (DEPLOY, ENV_VIEW, "local:run")


@pytest.fixture
async def deployment() -> AsyncIterator[StandIn]:
    async with StandIn(KEY) as standin:
        standin.app.insert("messages", {"body": "first", "author": "ada"})
        standin.app.env["STRIPE"] = "sk_test"
        yield standin


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    listening = await Proxy.start(None)
    yield listening
    await listening.stop()


@pytest.fixture
def project(tmp_path: Path, node_modules: Path) -> Path:
    return workspace(tmp_path, node_modules)


def opened(
    proxy: Proxy, deployment: StandIn, of: Scope, *, name: str | None = "happy-otter-123", leave: Noting | None = None
) -> Lease:
    fresh = lease(deployment.url, of, name=name, team="acme", slug="chat", leave=leave)
    proxy.open(fresh)
    return fresh


def insist_on_the_swap(deployment: StandIn, ran: Ran, env: Mapping[str, str]) -> None:
    """The token never reached the deployment; the key never reached the child."""
    assert deployment.requests
    assert TOKEN not in repr(deployment.requests)
    keys = deployment.keys()
    assert all(key == KEY or key.startswith(KEY + ":") for key in keys)
    assert KEY not in ran.out + ran.err + json.dumps(dict(env))


@pytest.mark.parametrize(
    ("of", "argv", "says"),
    [
        (QUERY, ("run", "messages:list"), "first"),
        (MUTATION, ("run", "messages:send", '{"body": "hi"}'), "messages-2"),
        (ACTION, ("run", "tasks:work"), "worked"),
        (AS_JOE, ("run", "messages:list", "--identity", "{name: 'J'}"), "first"),
        (scope("run", VIEW, TEST_QUERY), ("run", "--inline-query", "1"), "1"),
        (scope("data", VIEW), ("data",), "users"),
        (scope("data", VIEW, tables=["messages"]), ("data", "messages"), "first"),
        (scope("env list", ENV_VIEW), ("env", "list"), "STRIPE"),
        (scope("env get", ENV_VIEW, variables=["STRIPE"]), ("env", "get", "STRIPE"), "sk_test"),
        (scope("env set", ENV_WRITE, variables=["A"]), ("env", "set", "A", "b"), ""),
        (scope("env remove", ENV_WRITE, variables=["STRIPE"]), ("env", "remove", "STRIPE"), ""),
        (scope("function-spec", VIEW), ("function-spec",), "messages.js:send"),
        (scope("export", *BACKUP), ("export", "--path", "out.zip"), ""),
        (scope("deploy", *PUSH), ("deploy", "--typecheck", "disable"), ""),
        (scope("codegen", *PUSH), ("codegen", "--typecheck", "disable"), ""),
        (scope("dev", *PUSH), ("dev", "--once", "--typecheck", "disable"), ""),
        (scope("run", VIEW, *PUSH), ("run", "messages:list", "--push", "--typecheck", "disable"), "first"),
        (
            scope("import", *IMPORT, tables=["messages"]),
            ("import", "--table", "messages", "rows.jsonl", "--append", "-y"),
            "",
        ),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
async def test_commands_work_and_keys_are_swapped(
    proxy: Proxy, deployment: StandIn, project: Path, *, of: Scope, argv: tuple[str, ...], says: str
) -> None:
    (project / "rows.jsonl").write_text('{"body": "one"}\n')
    ours = opened(proxy, deployment, of)
    env = variables(ours, proxy.url)
    ran = await convex(project, env, *argv)
    assert ran.code == 0, ran
    assert says in ran.out
    assert ours.counts.refused == 0
    insist_on_the_swap(deployment, ran, env)


@pytest.mark.parametrize(
    ("of", "argv", "recorded", "rows"),
    [
        (QUERY, ("run", "messages:list"), ["POST /api/function"], 1),
        (MUTATION, ("run", "messages:send"), ["POST /api/function"], 1),
        (AS_JOE, ("run", "messages:list", "--identity", "{name: 'J'}"), ["POST /api/function"], 1),
        (scope("run", VIEW, TEST_QUERY), ("run", "--inline-query", "1"), ["POST /api/run_test_function"], 1),
        (scope("data", VIEW, tables=["messages"]), ("data", "messages"), [], 1),
        (scope("function-spec", VIEW), ("function-spec",), [], 7),
        (scope("env set", ENV_WRITE, variables=["A"]), ("env", "set", "A", "b"), ["POST /api/update_env"], 0),
        (scope("export", *BACKUP), ("export", "--path", "out.zip"), [], None),
        (
            scope("import", *IMPORT, tables=["messages"]),
            ("import", "--table", "messages", "rows.jsonl", "--append", "-y"),
            ["POST /api/perform_import"],
            None,
        ),
        (
            scope("deploy", *PUSH),
            ("deploy", "--typecheck", "disable"),
            ["POST /api/deploy2/start_push", "POST /api/deploy2/finish_push"],
            None,
        ),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
async def test_under_a_leave_the_same_commands_work_and_are_recorded(
    proxy: Proxy,
    deployment: StandIn,
    project: Path,
    *,
    of: Scope,
    argv: tuple[str, ...],
    recorded: list[str],
    rows: int | None,
) -> None:
    (project / "rows.jsonl").write_text('{"body": "one"}\n')
    leave = Noting()
    ours = opened(proxy, deployment, of, leave=leave)
    ran = await convex(project, variables(ours, proxy.url), *argv)
    assert ran.code == 0, ran
    assert (ours.counts.refused, ours.counts.rows_unknown) == (0, False)
    places = [passing.place for passing, _ in leave.passed]
    assert len(places) == len(recorded)
    assert all(place.startswith(start) for place, start in zip(places, recorded, strict=True))
    assert rows is None or ours.counts.rows == rows
    await proxy.close(ours.id, "the invocation ended")
    assert await proxy.probe(ours) is None
    insist_on_the_swap(deployment, ran, variables(ours, proxy.url))


@pytest.mark.parametrize(
    ("of", "argv"),
    [
        (QUERY, ("run", "messages:list")),
        (scope("data", VIEW), ("data",)),
        (scope("deploy", *PUSH), ("deploy", "--typecheck", "disable")),
    ],
    ids=["run", "data", "deploy"],
)
async def test_deployments_without_a_name_work_as_self_hosted(
    proxy: Proxy, deployment: StandIn, project: Path, of: Scope, argv: tuple[str, ...]
) -> None:
    ours = opened(proxy, deployment, of, name=None)
    env = variables(ours, proxy.url)
    ran = await convex(project, env, *argv)
    assert ran.code == 0, ran
    assert ours.counts.refused == 0
    insist_on_the_swap(deployment, ran, env)


async def test_a_bulk_set_reads_before_it_writes(proxy: Proxy, deployment: StandIn, project: Path) -> None:
    ours = opened(proxy, deployment, scope("env set", ENV_WRITE, ENV_VIEW))
    ran = await convex(project, variables(ours, proxy.url), "env", "set", stdin=b"C=d\n")
    assert ran.code == 0, ran
    assert deployment.app.env["C"] == "d"
    assert (ours.counts.reads, ours.counts.writes) == (1, 1)


@pytest.mark.parametrize(
    ("of", "argv"),
    [
        (QUERY, ("run", "messages:send")),
        (QUERY, ("run", "messages:list", "--identity", "{name: 'J'}")),
        (QUERY, ("run", "_system/frontend/addDocument", '{"table": "messages", "documents": [{}]}')),
        (QUERY, ("run", "--inline-query", "1")),
        (QUERY, ("run", "messages:send", "--watch")),
        (scope("data", VIEW, tables=["users"]), ("data", "messages")),
        (scope("env get", ENV_VIEW, variables=["A"]), ("env", "get", "STRIPE")),
        (scope("env set", ENV_WRITE, variables=["A"]), ("env", "set", "B", "b")),
        (scope("data", VIEW), ("env", "list")),
        (scope("data", VIEW), ("logs",)),
        (scope("data", VIEW), ("export", "--path", "out.zip")),
        (scope("codegen", DEPLOY), ("deploy", "--typecheck", "disable")),
        (scope("import", *IMPORT, tables=["users"]), ("import", "--table", "messages", "r.jsonl", "--append", "-y")),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
async def test_what_was_not_decided_is_refused_cleanly(
    proxy: Proxy, deployment: StandIn, project: Path, *, of: Scope, argv: tuple[str, ...]
) -> None:
    (project / "r.jsonl").write_text("{}\n")
    reasons: list[str] = []
    proxy.on_refused = lambda _, why: reasons.append(why)
    before = json.dumps([deployment.app.tables, deployment.app.env])
    ours = opened(proxy, deployment, of)
    ran = await convex(project, variables(ours, proxy.url), *argv)
    assert ran.code == 1, ran
    assert "You do not have permission to perform this operation: " in ran.err
    assert "    at " not in ran.err, "a stack trace"
    assert json.dumps([deployment.app.tables, deployment.app.env]) == before
    assert deployment.app.pushes == 0
    assert len(reasons) == ours.counts.refused > 0


async def test_a_function_that_is_not_of_the_decided_kind_does_not_run(
    proxy: Proxy, deployment: StandIn, project: Path
) -> None:
    ours = opened(proxy, deployment, scope("run", VIEW, functions=["messages:send"], kinds=["query"]))
    ran = await convex(project, variables(ours, proxy.url), "run", "messages:send")
    assert (ran.code, "defined as Mutation" in ran.err) == (1, True)
    assert deployment.paths() == ["POST /api/query"]
    assert len(deployment.app.tables["messages"]) == 1


@pytest.mark.parametrize(
    ("of", "argv", "sign"),
    [
        (QUERY, ("run", "messages:list", "--watch"), "first"),
        (scope("logs", "deployment:logs:view"), ("logs", "--history", "5"), "messages:send ran"),
    ],
    ids=["watch", "logs"],
)
@pytest.mark.parametrize("leave", [None, Noting()], ids=["free", "granted"])
async def test_the_cut_ends_what_stays(
    proxy: Proxy,
    deployment: StandIn,
    project: Path,
    *,
    of: Scope,
    argv: tuple[str, ...],
    sign: str,
    leave: Noting | None,
) -> None:
    deployment.app.call("messages:send", None, {"body": "early"})
    ours = opened(proxy, deployment, of, leave=leave)
    process = await start(project, variables(ours, proxy.url), *argv)
    try:
        await until(process, sign)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await proxy.close(ours.id, "the grant was revoked")
        assert loop.time() - began < 0.1
        deployment.app.call("messages:send", None, {"body": "afterwards"})
        async with asyncio.timeout(10):
            out, err = await process.communicate()
        assert process.returncode == 1
        assert b"afterwards" not in out
        assert b"the grant was revoked" in err
    finally:
        await end(process)


async def test_hostile_files_of_the_workspace_choose_nothing(proxy: Proxy, deployment: StandIn, project: Path) -> None:
    async with StandIn("other-key") as elsewhere:
        (project / ".env.local").write_text(
            f"CONVEX_SELF_HOSTED_URL={elsewhere.url}\nCONVEX_SELF_HOSTED_ADMIN_KEY=other-key\n"
            "CONVEX_DEPLOYMENT=prod:proud-lynx-456\nCONVEX_OVERRIDE_ACCESS_TOKEN=x\n"
            f"CONVEX_DEPLOYMENT_TOKEN=prod:a|b\nHTTP_PROXY={elsewhere.url}\nDOTENV_KEY=x\n"
        )
        for name in ("happy-otter-123", None):
            ours = opened(proxy, deployment, QUERY, name=name)
            ran = await convex(project, variables(ours, proxy.url), "run", "messages:list")
            assert ran.code == 0, ran
        assert elsewhere.requests == []


async def test_dev_leaves_the_env_file_as_the_bare_cli_would(proxy: Proxy, deployment: StandIn, project: Path) -> None:
    ours = opened(proxy, deployment, scope("dev", *PUSH))
    ran = await convex(project, variables(ours, proxy.url), "dev", "--once", "--typecheck", "disable")
    assert ran.code == 0, ran
    written = (project / ".env.local").read_text() if (project / ".env.local").exists() else ""
    assert TOKEN not in written
    assert str(proxy.port) not in written
