"""Under a leave: on record and charged before anything is forwarded, and nothing forwarded that is not."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from hypothesis import given, strategies as st
from leases import (
    DEPLOY,
    ENV_WRITE,
    IMPORT,
    KEY,
    TEST_QUERY,
    TOKEN,
    VIEW,
    WRITE,
    GrantingProxy,
    Noting,
    bearer,
    lease,
    scope,
)

from gate.demo.standin import StandIn
from gate.errors import LedgerError
from gate.proxy import body, sync
from gate.proxy.functions import HELPERS, Call, check, check_untyped, writes
from gate.proxy.lease import Lease, Passing, Scope
from gate.proxy.refusal import Refused
from gate.proxy.routes import ROUTES
from gate.proxy.server import Proxy

QUERY = scope("run", VIEW, functions=["messages:list"], kinds=["query"])
SEND = scope("run", VIEW, WRITE, functions=["messages:send"], kinds=["mutation"])
WORK = scope("run", VIEW, WRITE, functions=["tasks:work"])
FUNCTION = "POST /api/function"
LIST = {"path": "messages:list", "args": {}}
CONNECT = {"type": "Connect", "sessionId": "s", "connectionCount": 0, "lastCloseReason": None, "clientTs": 1}
FULL = LedgerError("ledger_unavailable", "the ledger cannot be written", remedy="Free the disk.")


@pytest.fixture
async def deployment() -> AsyncIterator[StandIn]:
    async with StandIn(KEY) as standin:
        standin.app.insert("messages", {"body": "first"})
        yield standin


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    listening = await GrantingProxy.start(None)
    yield listening
    await listening.stop()


@pytest.fixture
async def http(proxy: Proxy) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(proxy.url) as session:
        yield session


def opened(proxy: Proxy, deployment: StandIn, of: Scope, leave: Noting) -> Lease:
    leave.arrived = lambda: len(deployment.requests)
    fresh = lease(deployment.url, of, leave=leave)
    proxy.open(fresh)
    return fresh


def calling(path: str, component: str | None = None, **arguments: Any) -> dict[str, Any]:
    inside = {} if component is None else {"componentPath": component}
    return {"path": path, "format": "convex_encoded_json", "args": [arguments], **inside}


def digest(message: dict[str, Any]) -> str:
    shown = {name: value for name, value in message.items() if name != "adminKey"}
    return hashlib.sha256(json.dumps(shown, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


async def error_of(answer: aiohttp.ClientResponse) -> str:
    told = await answer.json()
    return str(told.get("message") or told["errorMessage"])


API_SPEC, ADD = "_system/cli/modules:apiSpec", "_system/frontend/addDocument:default"


@pytest.mark.parametrize(
    ("of", "path", "message", "passes"),
    [
        (QUERY, "function", calling("messages:list"), ("messages:list", None, False, True)),
        (QUERY, "function", calling("messages.js:list"), ("messages:list", None, False, True)),
        (SEND, "function", calling("messages:send"), ("messages:send", None, True, True)),
        (WORK, "function", calling("tasks:work"), ("tasks:work", None, True, True)),
        (
            scope("run", VIEW, WRITE, functions=["tasks:work"], kinds=["query"], components=["billing"]),
            "function",
            calling("tasks:work", "billing"),
            ("tasks:work", "billing", True, True),
        ),
        (QUERY, "function", calling(API_SPEC), None),
        (scope("run", VIEW, functions=[API_SPEC]), "function", calling(API_SPEC), (API_SPEC, None, False, True)),
        (
            scope("run", VIEW, WRITE, functions=[ADD]),
            "function",
            calling(ADD, table="messages", documents=[{}]),
            (ADD, None, True, True),
        ),
        (scope("import", *IMPORT), "query", calling("_system/cli/queryImport:list"), None),
        (scope("run", VIEW, TEST_QUERY), "run_test_function", {"adminKey": ""}, (None, None, False, True)),
        (
            scope("env set", ENV_WRITE),
            "update_environment_variables",
            {"changes": [{"name": "A", "value": "b"}]},
            (None, None, True, True),
        ),
        (scope("deploy", DEPLOY), "get_config_hashes", {"adminKey": ""}, None),
        (scope("deploy", DEPLOY), "deploy2/start_push", {"adminKey": ""}, (None, None, True, False)),
        (scope("deploy", DEPLOY), "deploy2/finish_push", {"adminKey": "", "dryRun": False}, (None, None, True, True)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_is_on_record_before_it_arrives(
    proxy: Proxy,
    deployment: StandIn,
    http: aiohttp.ClientSession,
    *,
    of: Scope,
    path: str,
    message: dict[str, Any],
    passes: tuple[Any, ...] | None,
) -> None:
    leave = Noting()
    ours = opened(proxy, deployment, of, leave)
    sent = message | ({"adminKey": ours.credential} if "adminKey" in message else {})
    answer = await http.post(f"/api/{path}", json=sent, headers=bearer(ours))
    assert answer.status == 200, await answer.text()
    arrived = deployment.requests[0].body
    assert TOKEN not in repr(deployment.requests)
    if passes is None:
        assert leave.passed == []
    else:
        function, component, changes, charges = passes
        passing = Passing(f"POST /api/{path}", function, component, digest(arrived), changes, charges)
        assert leave.passed == [(passing, 0)]
    assert (ours.counts.writes, ours.counts.reads) == ((1, 0) if passes and passes[2] else (0, 1))


async def test_an_import_is_confirmed_once_it_is_on_record(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession
) -> None:
    """Nothing is charged but what writes, and only what this lease uploaded can be confirmed."""
    leave = Noting()
    ours = opened(proxy, deployment, scope("import", *IMPORT, tables=["messages"]), leave)
    theirs = deployment.app.finish_upload(
        deployment.app.start_upload(), {"tableName": "users", "format": "jsonLines", "mode": "replace"}
    )
    answer = await http.post("/api/perform_import", json={"importId": theirs}, headers=bearer(ours))
    assert "not one that was uploaded" in await error_of(answer)
    token = (await (await http.post("/api/import/start_upload", headers=bearer(ours))).json())["uploadToken"]
    part = f"/api/import/upload_part?uploadToken={token}&partNumber=1"
    assert (await http.post(part, data=b'{"body":"one"}\n', headers=bearer(ours))).status == 200
    settings = {"tableName": "messages", "format": "jsonLines", "mode": "append"}
    finish = {"uploadToken": token, "partTokens": ["part-1"], "import": settings}
    answer = await http.post("/api/import/finish_upload", json=finish, headers=bearer(ours))
    made = await answer.json()
    assert leave.passed == []
    before = len(deployment.requests)
    assert (await http.post("/api/perform_import", json=made, headers=bearer(ours))).status == 200
    assert leave.passed == [(Passing("POST /api/perform_import", None, None, digest(made), True, True), before)]
    assert [row["body"] for row in deployment.app.tables["messages"]] == ["first", "one"]
    answer = await http.post("/api/perform_import", json=made, headers=bearer(opened(proxy, deployment, SEND, leave)))
    assert "not part of run" in await error_of(answer)


def test_what_costs_a_use() -> None:
    """The routes of docs/contract.md, Command line; and what is recorded has been read."""
    assert {place for place, route in ROUTES.items() if route.charges} == {
        FUNCTION,
        "POST /api/run_test_function",
        "POST /api/update_environment_variables",
        "POST /api/perform_import",
        "POST /api/deploy2/finish_push",
    }
    assert all(route.body != "none" for route in ROUTES.values() if route.writes or route.charges)


NAMES = [*HELPERS, "messages:send"]
READERS = st.builds(
    Scope,
    st.frozensets(st.sampled_from([VIEW, DEPLOY, "deployment:backups:import", "deployment:env:view"])),
    st.sampled_from(["run", "dev", "data", "import", "deploy"]),
    functions=st.none() | st.frozensets(st.sampled_from(NAMES)),
    kinds=st.none() | st.frozensets(st.sampled_from(["query", "mutation", "internal action"])),
)


@given(READERS, st.sampled_from(NAMES), st.sampled_from([None, "", "billing"]))
def test_a_lease_without_the_effect_of_writing_never_writes(of: Scope, path: str, component: str | None) -> None:
    asked = Call(path, component, {})
    for kind in ("Mutation", "Action"):
        with pytest.raises(Refused):
            sync.check_call({"type": kind, "udfPath": path, "componentPath": component, "args": []}, of)
    try:
        check(asked, of)
        check_untyped(asked, of)
    except Refused:
        return
    assert not writes(asked, of)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.text(max_size=3), JSON, JSON)
async def test_a_digest_tells_messages_apart_but_not_their_credentials(
    message: dict[str, Any], name: str, value: Any, key: Any
) -> None:
    was = await body.digest(message, 0)
    assert await body.digest({"adminKey": key} | dict(reversed(message.items())), 0) == was
    changed = message | {name: value}
    same = json.dumps(changed, sort_keys=True) == json.dumps(message, sort_keys=True)
    assert (await body.digest(changed, 10**9) == was) is same
    assert was == digest(message)


async def test_what_is_not_on_record_does_not_arrive(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession
) -> None:
    leave = Noting(fails=FULL)
    ours = opened(proxy, deployment, QUERY, leave)
    answer = await http.post("/api/function", json=LIST, headers=bearer(ours))
    assert (answer.status, "the ledger cannot be written" in await error_of(answer)) == (560, True)
    leave.fails, leave.left = None, 0
    answer = await http.post("/api/function", json=LIST, headers=bearer(ours))
    assert (answer.status, "every use of the grant is charged" in await error_of(answer)) == (560, True)
    ours = opened(proxy, deployment, scope("env set", ENV_WRITE, variables=["A"]), leave)
    changes = {"changes": [{"name": "A", "value": "b"}]}
    answer = await http.post("/api/update_environment_variables", json=changes, headers=bearer(ours))
    assert (answer.status, "every use" in await error_of(answer)) == (403, True)
    assert deployment.requests == []
    assert (ours.counts.refused, ours.counts.writes) == (1, 0)


@pytest.mark.parametrize("how", ["closed", "over"])
async def test_a_grant_that_ends_while_its_record_is_written(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, how: str
) -> None:
    leave = Noting()
    leave.free.clear()
    ours = opened(proxy, deployment, SEND, leave)
    asked = asyncio.ensure_future(http.post("/api/function", json=calling("messages:send"), headers=bearer(ours)))
    await leave.asked.wait()
    assert deployment.requests == []
    if how == "closed":
        await proxy.close(ours.id, "revoked")
        leave.free.set()
        with pytest.raises(aiohttp.ClientError):
            await asked
        assert leave.passed == []
    else:
        leave.why = "revoked"
        leave.free.set()
        assert "revoked" in await error_of(await asked)
        assert len(leave.passed) == 1
    await asyncio.sleep(0.02)
    assert deployment.requests == []


async def test_five_hundred_at_once_with_a_hundred_uses(proxy: Proxy, deployment: StandIn) -> None:
    ours = opened(proxy, deployment, SEND, Noting(left=100))

    async def call(session: aiohttp.ClientSession) -> int:
        async with session.post("/api/function", json=calling("messages:send"), headers=bearer(ours)) as answer:
            return answer.status

    # As many connections as the proxy keeps open before they have carried anything.
    async with aiohttp.ClientSession(proxy.url, connector=aiohttp.TCPConnector(limit=200)) as session:
        statuses = await asyncio.gather(*(call(session) for _ in range(500)))
    assert (statuses.count(200), statuses.count(560)) == (100, 400)
    assert len(deployment.requests) == 100
    assert (ours.counts.writes, ours.counts.refused) == (100, 400)


async def socket_of(http: aiohttp.ClientSession, ours: Lease, **more: Any) -> aiohttp.ClientWebSocketResponse:
    socket = await http.ws_connect("/api/1.48.0/sync")
    await socket.send_json(CONNECT)
    shown = {"type": "Authenticate", "tokenType": "Admin", "value": ours.credential, "baseVersion": 0}
    await socket.send_json(shown | more)
    return socket


def watching(*paths: str) -> dict[str, Any]:
    added = [{"type": "Add", "queryId": number, "udfPath": path, "args": [{}]} for number, path in enumerate(paths)]
    return {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": added}


def types(deployment: StandIn) -> list[str]:
    return [request.body["type"] for request in deployment.requests]


@pytest.mark.parametrize(
    ("of", "message", "functions", "changes"),
    [
        (QUERY, watching("messages:list"), ["messages:list"], False),
        (scope("run", VIEW), watching("messages:list", "messages:fail"), ["messages:list", "messages:fail"], False),
        (scope("run", VIEW), watching(API_SPEC, "messages:list"), ["messages:list"], False),
        (scope("data", VIEW), watching("_system/cli/tables"), [], False),
        (SEND, {"type": "Mutation", "requestId": 1, "udfPath": "messages:send", "args": [{}]}, ["messages:send"], True),
        (WORK, {"type": "Action", "requestId": 1, "udfPath": "tasks:work", "args": [{}]}, ["tasks:work"], True),
    ],
)
async def test_what_a_socket_passes_is_on_record_before(
    proxy: Proxy,
    deployment: StandIn,
    http: aiohttp.ClientSession,
    *,
    of: Scope,
    message: dict[str, Any],
    functions: list[str],
    changes: bool,
) -> None:
    leave = Noting()
    ours = opened(proxy, deployment, of, leave)
    leave.arrived = lambda: types(deployment).count(message["type"])
    socket = await socket_of(http, ours)
    await socket.send_json(message)
    assert (await socket.receive_json())["type"] in {"Transition", "MutationResponse", "ActionResponse"}
    place = f"WS {'Query' if message['type'] == 'ModifyQuerySet' else message['type']}"
    assert deployment.requests[-1].body == message
    assert leave.passed == [
        (Passing(place, function, None, digest(message), changes, charges=True), 0) for function in functions
    ]
    await socket.close()


@pytest.mark.parametrize("kind", ["Mutation", "Action", "Query"])
@pytest.mark.parametrize("leave", [Noting(fails=FULL), Noting(left=0)], ids=["full disk", "spent"])
async def test_what_a_socket_may_not_pass(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, kind: str, leave: Noting
) -> None:
    ours = opened(proxy, deployment, scope("run", VIEW, WRITE), leave)
    socket = await socket_of(http, ours)
    call = {"type": kind, "requestId": 1, "udfPath": "messages:send", "args": [{}]}
    await socket.send_json(watching("messages:list") if kind == "Query" else call)
    told = await socket.receive_json()
    if kind == "Query":
        told = {"success": False, "result": told["modifications"][0]["errorMessage"]}
    assert told["success"] is False
    assert "cannot be written" in told["result"] or "every use" in told["result"]
    assert types(deployment) == ["Connect", "Authenticate"]
    await socket.close()


async def test_a_message_of_two_queries_passes_whole_or_not_at_all(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession
) -> None:
    leave = Noting(left=1)
    socket = await socket_of(http, opened(proxy, deployment, scope("run", VIEW), leave))
    await socket.send_json(watching("messages:list", "messages:list"))
    assert len((await socket.receive_json())["modifications"]) == 2
    assert len(leave.passed) == 1
    assert types(deployment) == ["Connect", "Authenticate"]
    await socket.close()


@pytest.mark.parametrize("how", ["closed", "over"])
async def test_a_grant_that_ends_while_a_message_is_recorded(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, how: str
) -> None:
    leave = Noting()
    leave.free.clear()
    ours = opened(proxy, deployment, SEND, leave)
    socket = await socket_of(http, ours)
    await socket.send_json({"type": "Mutation", "requestId": 1, "udfPath": "messages:send", "args": [{}]})
    await leave.asked.wait()
    if how == "closed":
        await proxy.close(ours.id, "revoked")
    leave.why = "revoked"
    leave.free.set()
    if how == "over":
        assert "revoked" in (await socket.receive_json())["result"]
    await asyncio.sleep(0.02)
    assert types(deployment) == ["Connect", "Authenticate"]
    await socket.close()


async def test_acting_as_a_user_is_no_part_of_a_grant_that_does_not_say_so(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession
) -> None:
    leave = Noting()
    effect = "deployment:functions:actAsUser"
    user = base64.b64encode(b"{}").decode()
    for of in (scope("run", VIEW, acts_as_user=True), scope("run", VIEW, effect)):
        ours = opened(proxy, deployment, of, leave)
        headers = {"Authorization": f"Convex {ours.credential}:{user}"}
        assert "acting as a user" in await error_of(await http.post("/api/function", json=LIST, headers=headers))
        socket = await socket_of(http, ours, impersonating={"name": "J"})
        await socket.send_json(watching("messages:list"))
        told = await socket.receive_json()
        assert "acting as a user" in told["modifications"][0]["errorMessage"]
        await socket.close()
    assert deployment.requests == []
    assert leave.passed == []
