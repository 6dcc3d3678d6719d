"""Requests that try to get more out of a lease than it is worth, or to reach past it."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp
import brotli  # type: ignore[import-untyped]
import pytest
from aiohttp import WSMsgType, web
from leases import (
    AS_USER,
    DEPLOY,
    ENV_WRITE,
    IMPORT,
    KEY,
    TEST_QUERY,
    TOKEN,
    VIEW,
    WRITE,
    GrantingProxy,
    bearer,
    lease,
    scope,
)

from gate.demo.standin import StandIn
from gate.errors import GateError
from gate.proxy import listener
from gate.proxy.lease import Lease, Scope
from gate.proxy.server import Proxy

QUERY = scope("run", VIEW, functions=["messages:list"], kinds=["query"])
LIST = {"path": "messages:list", "format": "convex_encoded_json", "args": {}}
USER = base64.b64encode(b'{"name": "J"}').decode()
CONNECT = {"type": "Connect", "sessionId": "s", "connectionCount": 0, "lastCloseReason": None, "clientTs": 1}
MEBIBYTE = 1024 * 1024


@pytest.fixture
async def deployment() -> AsyncIterator[StandIn]:
    async with StandIn(KEY) as standin:
        standin.app.insert("messages", {"body": "first"})
        yield standin


@pytest.fixture(params=[Proxy, GrantingProxy], ids=["free", "granted"])
async def proxy(request: pytest.FixtureRequest) -> AsyncIterator[Proxy]:
    """Twice each: nothing that is refused or cut without a grant passes under one."""
    listening: Proxy = await request.param.start(None)
    yield listening
    await listening.stop()


@pytest.fixture
async def http(proxy: Proxy) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(proxy.url) as session:
        yield session


def opened(proxy: Proxy, url: str, of: Scope, *, token: str = TOKEN) -> Lease:
    fresh = lease(url, of, token=token)
    proxy.open(fresh)
    return fresh


def authenticate(value: str, **more: Any) -> dict[str, Any]:
    return {"type": "Authenticate", "tokenType": "Admin", "value": value, "baseVersion": 0, **more}


def watch(path: str, **more: Any) -> dict[str, Any]:
    add = {"type": "Add", "queryId": 7, "udfPath": path, "args": [{}], **more}
    return {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [add]}


async def error_of(answer: aiohttp.ClientResponse) -> tuple[int, str]:
    body = await answer.json()
    return answer.status, body.get("message") or body.get("errorMessage")


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Host": "localhost"}, "another host"),
        ({"Host": "evil.example"}, "another host"),
        ({"Origin": "http://127.0.0.1"}, "from a page"),
        ({"Origin": "null"}, "from a page"),
        ({"Authorization": ""}, "no Convex credential"),
        ({"Authorization": "Bearer eyJ"}, "no Convex credential"),
        ({"Authorization": f"Bearer dev:happy-otter-123|{TOKEN}"}, "no Convex credential"),
        ({"Authorization": f"Convex {TOKEN}"}, "not one of a lease"),
        ({"Authorization": f"Convex dev:happy-otter-123|{TOKEN}x"}, "not one of a lease"),
        ({"Authorization": f"Convex {KEY}"}, "not one of a lease"),
        ({"Authorization": f"Convex dev:happy-otter-123|{TOKEN}:{USER}"}, "acting as a user"),
        ({"Authorization": f"Convex dev:happy-otter-123|{TOKEN}:"}, "malformed"),
        ({"Authorization": f"Convex dev:happy-otter-123|{TOKEN}:a\tb"}, "malformed"),
    ],
)
async def test_who_may_not_ask(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, headers: dict[str, str], why: str
) -> None:
    ours = opened(proxy, deployment.url, QUERY)
    status, message = await error_of(await http.post("/api/function", json=LIST, headers=bearer(ours) | headers))
    assert status == 560
    assert why in message
    assert TOKEN not in message
    assert deployment.requests == []


async def test_raw_oddities_do_not_reach_the_deployment(proxy: Proxy, deployment: StandIn) -> None:
    ours = opened(proxy, deployment.url, QUERY)
    host, auth = f"Host: 127.0.0.1:{proxy.port}\r\n", f"Authorization: Convex {ours.credential}\r\n"
    body = json.dumps(LIST)
    end = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    for request in (
        f"POST /api/function HTTP/1.1\r\n{host}{host}{auth}{end}",
        f"POST /api/function HTTP/1.1\r\n{host}{auth}{auth}{end}",
        f"POST /api/function HTTP/1.0\r\n{auth}{end}",
        f"POST http://127.0.0.1:{proxy.port}/api/function HTTP/1.1\r\n{host}{auth}{end}",
        f"POST /api/./function HTTP/1.1\r\n{host}{auth}{end}",
        f"POST /api%2ffunction HTTP/1.1\r\n{host}{auth}{end}",
        f"POST //api/function HTTP/1.1\r\n{host}{auth}{end}",
        f"POST /api/function?adminKey={ours.credential} HTTP/1.1\r\n{host}{end}",
        f"POST /api/function?adminKey={ours.credential} HTTP/1.1\r\n{host}{auth}{end}",
        f"POST /api/function HTTP/1.0\r\n{host}{auth}{end}",
        f"CONNECT 127.0.0.1:1 HTTP/1.1\r\n{host}{auth}{end}",
        f"POST /api/function HTTP/1.1\r\n{host}{auth}Transfer-Encoding: chunked\r\n{end}",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(request.encode())
        async with asyncio.timeout(5):
            answer = await reader.read(65536)
        writer.close()
        assert answer.split(b" ")[1] in {b"400", b"403", b"560"}, request
        assert b"first" not in answer
    assert deployment.requests == []


@pytest.mark.parametrize(
    ("of", "path", "body", "why"),
    [
        (scope("deploy", DEPLOY), "/api/deploy2/start_push", {"adminKey": KEY}, "different credentials"),
        (scope("deploy", DEPLOY), "/api/deploy2/start_push", {"adminKey": 1}, "different credentials"),
        (scope("deploy", DEPLOY), "/api/deploy2/start_push", {"dryRun": True}, "carries no credential"),
        (QUERY, "/api/function", LIST | {"adminKey": "x"}, "different credentials"),
        (QUERY, "/api/function", LIST | {"path": "messages:../list"}, "plain form"),
        (QUERY, "/api/function", LIST | {"path": "messages:send"}, "not the function"),
        (QUERY, "/api/function", LIST | {"componentPath": "billing"}, "component|mutation"),
        (QUERY, "/api/function", [], "not one plain JSON object"),
        (scope("env set", ENV_WRITE, variables=["A"]), "/api/update_environment_variables", {}, "malformed"),
        (scope("env set", ENV_WRITE), "/api/update_environment_variables", {"changes": [1]}, "malformed"),
        (
            scope("env set", ENV_WRITE, variables=["A"]),
            "/api/update_environment_variables",
            {"changes": [{"name": "A", "value": ""}, {"name": "B", "value": ""}]},
            "not those that were decided",
        ),
        (scope("import", *IMPORT), "/api/import/finish_upload", {"import": 1}, "malformed"),
        (
            scope("import", *IMPORT, tables=["a"]),
            "/api/import/finish_upload",
            {"import": {"tableName": "b"}},
            "table",
        ),
        (
            scope("import", *IMPORT, components=[]),
            "/api/import/finish_upload",
            {"import": {"tableName": "b", "componentPath": "billing"}},
            "component",
        ),
        (scope("import", *IMPORT), "/api/import/finish_upload", {"import": {"componentPath": ["x"]}}, "malformed"),
        (
            scope("import", *IMPORT, components=["billing"]),
            "/api/import/finish_upload",
            {"import": {"tableName": "b"}},
            "component",
        ),
        *(
            (
                scope("import", *IMPORT, tables=["a"]),
                "/api/import/finish_upload",
                {"import": {"tableName": "a"} | more},
                "table",
            )
            for more in ({"format": "zip"}, {"mode": "replaceAll"}, {"tableName": ["a"]}, {"tableName": None})
        ),
        (
            scope("env set", ENV_WRITE, variables=["A"]),
            "/api/update_environment_variables",
            {"changes": [{"name": ["A"], "value": ""}]},
            "not those that were decided",
        ),
        (scope("import", *IMPORT), "/api/perform_import", {"importId": "import-1"}, "not one that was uploaded"),
        (scope("import", *IMPORT), "/api/perform_import", {"importId": ["import-1"]}, "not one that was uploaded"),
        (scope("import", *IMPORT), "/api/perform_import", {}, "not one that was uploaded"),
        (
            scope("run", VIEW, TEST_QUERY, components=[]),
            "/api/run_test_function",
            {"adminKey": f"dev:happy-otter-123|{TOKEN}", "componentId": "k1"},
            "component",
        ),
    ],
)
async def test_bodies_that_were_not_decided(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, *, of: Scope, path: str, body: Any, why: str
) -> None:
    ours = opened(proxy, deployment.url, of)
    answer = await http.post(path, json=body, headers=bearer(ours))
    status, message = await error_of(answer)
    assert status in {403, 560}
    assert any(part in message for part in why.split("|"))
    assert deployment.requests == []
    assert ours.counts.refused == 1


def compressed(message: Any) -> bytes:
    return bytes(brotli.compress(json.dumps(message).encode(), quality=1))


@pytest.mark.parametrize(
    ("data", "encoding", "status"),
    [
        (b'{"adminKey":"a","adminKey":"b"}', None, 403),
        (b'{"n":NaN}', None, 403),
        (b"\xff\xfe{}", None, 403),
        (b"[" * 100_000, None, 403),
        (b"", None, 403),
        (b"{}", "gzip", 415),
        (b"{}", "br, br", 415),
        (b"not brotli", "br", 403),
        (compressed({"adminKey": "x"})[:-2], "br", 403),
        (brotli.compress(b" " * (65 * MEBIBYTE), quality=1), "br", 413),
    ],
    ids=["twice", "nan", "latin", "deep", "empty", "gzip", "double", "noise", "cut short", "bomb"],
)
async def test_bodies_that_cannot_be_looked_at(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, *, data: bytes, encoding: str | None, status: int
) -> None:
    ours = opened(proxy, deployment.url, scope("deploy", DEPLOY))
    headers = bearer(ours) | ({"Content-Encoding": encoding} if encoding else {})
    answer = await http.post("/api/deploy2/start_push", data=data, headers=headers)
    assert answer.status == status
    assert deployment.requests == []


async def test_an_oversized_body_is_not_read_to_its_end(proxy: Proxy, deployment: StandIn) -> None:
    ours = opened(proxy, deployment.url, QUERY)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * MEBIBYTE

    async with aiohttp.ClientSession(proxy.url) as session:
        try:
            answer = await session.post("/api/function", data=endless(), headers=bearer(ours))
        except aiohttp.ClientError:
            return
        assert answer.status == 560
    assert deployment.requests == []


async def test_a_compressed_upload_is_refused(proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession) -> None:
    ours = opened(proxy, deployment.url, scope("import", *IMPORT))
    headers = bearer(ours) | {"Content-Encoding": "br"}
    answer = await http.post("/api/import/upload_part?uploadToken=u&partNumber=1", data=b"x", headers=headers)
    assert answer.status == 415


async def test_large_brotli_bodies_arrive_whole_with_the_real_key(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession
) -> None:
    ours = opened(proxy, deployment.url, scope("deploy", DEPLOY))
    message = {"adminKey": ours.credential, "source": "x" * 300_000, "lone": "\ud800", "big": 2**70, "f": 0.1}
    headers = bearer(ours) | {"Content-Encoding": "br", "Content-Type": "application/json"}
    answer = await http.post("/api/deploy2/start_push", data=compressed(message), headers=headers)
    assert answer.status == 200
    assert deployment.requests[0].body == message | {"adminKey": KEY}


async def test_headers_of_the_caller_stay_here(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    seen: list[dict[str, str]] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(dict(request.headers))
        return web.json_response({"status": "success", "value": 1}, headers={"Set-Cookie": "a=b", "X-Convex": "1"})

    async with upstream(note) as url:
        ours = opened(proxy, url, QUERY)
        hostile = {"Cookie": "a=b", "X-Forwarded-For": "1.2.3.4", "Forwarded": "for=x", "Connection": "x-secret"}
        answer = await http.post(
            "/api/function", json=LIST, headers=bearer(ours) | hostile | {"Convex-Client": "npm-1"}
        )
        assert answer.headers["Set-Cookie"] == "a=b"
        assert answer.headers["X-Convex"] == "1"
    assert seen[0]["Authorization"] == f"Convex {KEY}"
    assert seen[0]["Convex-Client"] == "npm-1"
    assert not set(seen[0]) & {"Cookie", "X-Forwarded-For", "Forwarded"}


class upstream:  # noqa: N801 - reads as the function it stands for
    """A deployment that answers everything with one handler."""

    def __init__(self, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> None:
        self._application = web.Application()
        self._application.router.add_route("*", "/{tail:.*}", handler)
        self._runner = web.AppRunner(self._application, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> str:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, status: int
) -> None:
    async def elsewhere(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": f"{deployment.url}{request.path}"})

    async with upstream(elsewhere) as url:
        ours = opened(proxy, url, scope("deploy", DEPLOY))
        answer = await http.post(
            "/api/get_config_hashes", json={"adminKey": ours.credential}, headers=bearer(ours), allow_redirects=False
        )
        assert answer.status == 502
        assert "Location" not in answer.headers
        assert "RedirectError" in (await answer.json())["message"]
        told = await fails(http, CONNECT, authenticate(ours.credential), watch("messages:list"))
        assert told is not None
        assert "RedirectError" in told
    assert deployment.requests == []


async def test_a_deployment_that_is_not_there(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    ours = opened(proxy, "http://127.0.0.1:9", scope("logs", "deployment:logs:view"))
    status, message = await error_of(await http.get("/api/stream_function_logs?cursor=0", headers=bearer(ours)))
    assert (status, "cannot be reached" in message) == (502, True)
    assert KEY not in message
    async with http.ws_connect("/api/1.48.0/sync") as socket:
        await socket.send_json(CONNECT)
        await socket.send_json(authenticate(ours.credential))
        await socket.send_json(watch("messages:list"))
        assert "cannot be reached" in (await socket.receive_json())["modifications"][0]["errorMessage"]


async def test_half_an_answer_does_not_look_whole(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    async def breaks(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async with upstream(breaks) as url:
        ours = opened(proxy, url, scope("export", "deployment:backups:download"))
        with pytest.raises(aiohttp.ClientError):
            await (await http.get("/api/export/zip/1", headers=bearer(ours))).read()


async def test_the_cut_stops_a_stream_at_once(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"row" * 1000)
            await asyncio.sleep(0.001)

    async with upstream(endless) as url:
        ours = opened(proxy, url, scope("export", "deployment:backups:download"))
        answer = await http.get("/api/export/zip/1", headers=bearer(ours))
        assert await answer.content.read(3) == b"row"
        loop = asyncio.get_running_loop()
        began = loop.time()
        await proxy.close(ours.id, "revoked")
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
        assert loop.time() - began < 0.1
        flowed = ours.counts.bytes_out
        await asyncio.sleep(0.02)
        assert ours.counts.bytes_out == flowed
        status, message = await error_of(await http.get("/api/export/zip/1", headers=bearer(ours)))
        assert (status, "revoked" in message) == (403, True)
        await proxy.close(ours.id, "again")
        await proxy.close("no such lease", "again")
        assert ours.ended == "revoked"


async def test_a_lease_that_ends_while_its_body_is_read(proxy: Proxy, deployment: StandIn) -> None:
    ours = opened(proxy, deployment.url, QUERY)
    going = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield json.dumps(LIST)[:-1].encode()
        await going.wait()
        yield b"}"

    async with aiohttp.ClientSession(proxy.url) as session:
        request = asyncio.ensure_future(session.post("/api/function", data=slow(), headers=bearer(ours)))
        await asyncio.sleep(0.05)
        await proxy.close(ours.id, "expired")
        going.set()
        with pytest.raises(aiohttp.ClientError):
            await request
    assert deployment.requests == []


async def test_two_leases_do_not_mix(proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession) -> None:
    async with StandIn(KEY, "other-fox-1") as other:
        one = opened(proxy, deployment.url, scope("deploy", DEPLOY))
        two = opened(proxy, other.url, scope("deploy", DEPLOY), token="another")
        answer = await http.post("/api/get_config_hashes", json={"adminKey": two.credential}, headers=bearer(one))
        assert answer.status == 403
        await proxy.close(one.id, "over")
        answer = await http.post("/api/get_config_hashes", json={"adminKey": two.credential}, headers=bearer(two))
        assert answer.status == 200
    assert deployment.requests == []


async def test_acting_as_a_user_keeps_the_user(proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession) -> None:
    ours = opened(proxy, deployment.url, scope("run", VIEW, AS_USER, acts_as_user=True))
    headers = {"Authorization": f"Convex {ours.credential}:{USER}"}
    assert (await http.post("/api/function", json=LIST, headers=headers)).status == 200
    assert deployment.keys() == {f"{KEY}:{USER}"}


async def fails(http: aiohttp.ClientSession, *messages: Any) -> str | None:
    """Why the socket's query failed; None when it just closed."""
    async with http.ws_connect("/api/1.48.0/sync") as socket:
        for message in messages:
            await (socket.send_str(message) if isinstance(message, str) else socket.send_json(message))
        async with asyncio.timeout(5):
            frame = await socket.receive()
        if frame.type is not WSMsgType.TEXT:
            return None
        return str(json.loads(frame.data)["modifications"][0].get("errorMessage"))


CREDENTIAL = f"dev:happy-otter-123|{TOKEN}"


async def test_only_a_push_may_be_large(proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession) -> None:
    ours = opened(proxy, deployment.url, QUERY)
    bomb = brotli.compress(b'{"args":[' + b"{}," * (3 * MEBIBYTE) + b"{}]}", quality=1)
    asked = http.post("/api/function", data=bomb, headers=bearer(ours) | {"Content-Encoding": "br"})
    status, why = await error_of(await asked)
    assert (status, "expands to more" in why) == (560, True)
    assert deployment.requests == []


async def test_the_real_key_goes_where_convex_reads_it_only(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession
) -> None:
    ours = opened(proxy, deployment.url, QUERY)
    answer = await http.post("/api/function", json=LIST | {"adminKey": CREDENTIAL}, headers=bearer(ours))
    assert answer.status == 200
    assert "adminKey" not in deployment.requests[0].body


async def test_strangers_cannot_make_the_proxy_expand_or_read_much(http: aiohttp.ClientSession) -> None:
    bomb = brotli.compress(b" " * MEBIBYTE, quality=1)
    answer = await http.post("/api/deployment/url_for_key", data=bomb, headers={"Content-Encoding": "br"})
    assert answer.status == 413
    async with http.ws_connect("/api/1.48.0/sync") as socket:
        await socket.send_str("x" * (MEBIBYTE + 1))
        assert (await socket.receive()).type in {WSMsgType.CLOSE, WSMsgType.CLOSED}


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ((CONNECT, watch("messages:list")), "authenticated"),
        ((watch("messages:list"), watch("messages:list")), "authenticated"),
        ((CONNECT, {"type": "Event"}, watch("messages:list")), "authenticated"),
        ((CONNECT, CONNECT, watch("messages:list")), "authenticated"),
        ((CONNECT, authenticate(KEY), watch("messages:list")), "not one of a lease"),
        ((CONNECT, authenticate(CREDENTIAL, tokenType="User"), watch("messages:list")), "user's own"),
        ((CONNECT, {"type": "Authenticate", "tokenType": "None"}, watch("messages:list")), "not one of a lease"),
        ((CONNECT, authenticate(CREDENTIAL, impersonating={"name": "J"}), watch("messages:list")), "acting as a user"),
        ((CONNECT, authenticate(CREDENTIAL), watch("messages:send")), "not the function"),
        ((CONNECT, authenticate(CREDENTIAL), watch("_system/cli/queryEnvironmentVariables")), "not part of run"),
        ((CONNECT, authenticate(CREDENTIAL), watch("messages:list", type="Replace")), "malformed"),
        ((CONNECT, authenticate(CREDENTIAL), watch("messages:list", queryId="x"), watch("a:b")), "malformed"),
        ((CONNECT, authenticate(CREDENTIAL), {"type": "ModifyQuerySet"}, watch("a:b")), "malformed"),
        ((CONNECT, authenticate(CREDENTIAL), authenticate(KEY), watch("messages:list")), "different credentials"),
        ((CONNECT, authenticate(CREDENTIAL), {"type": "Other"}, watch("messages:list")), "of a type"),
        ((CONNECT, authenticate(CREDENTIAL), {"type": ["Event"]}, watch("messages:list")), "of a type"),
        ((CONNECT, authenticate(CREDENTIAL), "[]", watch("messages:list")), "plain JSON"),
        ((CONNECT, authenticate(CREDENTIAL), "{", watch("messages:list")), "plain JSON"),
        (
            (CONNECT, authenticate(CREDENTIAL), '{"type":"Event","type":"Connect"}', watch("messages:list")),
            "plain JSON",
        ),
    ],
)
async def test_what_a_socket_may_not_say(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, messages: tuple[Any, ...], why: str
) -> None:
    opened(proxy, deployment.url, QUERY)
    told = await fails(http, *messages)
    assert told is not None
    assert why in told
    assert told.startswith("You do not have permission to perform this operation: ")
    assert not any(request.body["type"] == "ModifyQuerySet" for request in deployment.requests)
    assert TOKEN not in repr(deployment.requests)


async def test_malformed_after_a_refusal_just_ends(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession
) -> None:
    opened(proxy, deployment.url, QUERY)
    assert await fails(http, CONNECT, authenticate(KEY), {"type": "Event"}, {"type": "ModifyQuerySet"}) is None
    assert await fails(http, CONNECT, authenticate(KEY), "{") is None


async def test_a_socket_that_says_nothing_is_closed_after_two_seconds(
    proxy: Proxy, http: aiohttp.ClientSession
) -> None:
    loop = asyncio.get_running_loop()
    async with http.ws_connect("/api/1.48.0/sync") as socket:
        began = loop.time()
        await socket.send_json(CONNECT)
        assert (await socket.receive()).type is not WSMsgType.TEXT
        assert 1.9 < loop.time() - began < 3
    assert proxy.port


async def test_a_socket_of_another_page_or_version(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    for path, headers in (
        ("/api/1.48.0/sync", {"Origin": "http://x"}),
        ("/api/sync", {}),
        ("/api/1.0.0/sync?adminKey=x", {}),
    ):
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await http.ws_connect(path, headers=headers)
    assert proxy.url


async def test_no_extension_is_agreed_on(proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession) -> None:
    ours = opened(proxy, deployment.url, QUERY)
    async with http.ws_connect("/api/1.48.0/sync", compress=15) as socket:
        assert socket.compress == 0
        await socket.send_json(CONNECT)
        await socket.send_json(authenticate(ours.credential))
        await socket.send_json(watch("messages:list"))
        assert (await socket.receive_json())["modifications"][0]["type"] == "QueryUpdated"
        await socket.send_json({"type": "Event", "eventType": "x", "event": {}})
        gone = {"type": "Remove", "queryId": 7}
        await socket.send_json({"type": "ModifyQuerySet", "baseVersion": 1, "newVersion": 2, "modifications": [gone]})
        assert (await socket.receive_json())["endVersion"]["querySet"] == 2
        await socket.send_json(authenticate(ours.credential) | {"baseVersion": 1})


@pytest.mark.parametrize(
    ("of", "kind", "path", "success"),
    [
        (scope("run", VIEW, WRITE, functions=["messages:send"], kinds=["mutation"]), "Mutation", "messages:send", True),
        (scope("run", VIEW, WRITE, functions=["tasks:work"]), "Action", "tasks:work", True),
        (scope("run", VIEW, WRITE, functions=["tasks:work"], kinds=["mutation"]), "Action", "tasks:work", False),
        (QUERY, "Mutation", "messages:list", False),
        (QUERY, "Mutation", "messages:send", False),
    ],
)
async def test_calls_on_a_socket(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, *, of: Scope, kind: str, path: str, success: bool
) -> None:
    ours = opened(proxy, deployment.url, of)
    async with http.ws_connect("/api/1.48.0/sync") as socket:
        await socket.send_json(CONNECT)
        await socket.send_json(authenticate(ours.credential))
        await socket.send_json({"type": kind, "requestId": 3, "udfPath": path, "args": [{}]})
        answer = await socket.receive_json()
    assert (answer["type"], answer["requestId"], answer["success"]) == (f"{kind}Response", 3, success)
    assert any(request.body["type"] == kind for request in deployment.requests) is success


async def test_transitions_in_pieces_keep_their_version(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    """A cut after a transition that came in pieces starts from the version that the caller has by then."""
    after = {"querySet": 1, "ts": "BQAAAAAAAAA=", "identity": 1}
    text = json.dumps({"type": "Transition", "startVersion": {}, "endVersion": after, "modifications": []})

    async def pieces(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        while (await socket.receive_json())["type"] != "ModifyQuerySet":
            pass
        for number, part in enumerate((text[:20], text[20:])):
            chunk = {"type": "TransitionChunk", "chunk": part, "partNumber": number, "totalParts": 2}
            await socket.send_json(chunk | {"transitionId": "t"})
        await socket.send_json({"type": "Ping"})
        await socket.receive()
        return socket

    async with upstream(pieces) as url:
        ours = opened(proxy, url, QUERY)
        async with http.ws_connect("/api/1.48.0/sync") as socket:
            for message in (CONNECT, authenticate(ours.credential), watch("messages:list")):
                await socket.send_json(message)
            assert [(await socket.receive_json())["type"] for _ in range(3)] == ["TransitionChunk"] * 2 + ["Ping"]
            await proxy.close(ours.id, "over")
            last = await socket.receive_json()
            assert (last["startVersion"], last["endVersion"]) == (after, after)
            assert (await socket.receive()).type is WSMsgType.CLOSE


async def test_a_deployment_that_closes_the_socket_closes_ours(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    async def closes(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket

    async with upstream(closes) as url:
        ours = opened(proxy, url, QUERY)
        assert await fails(http, CONNECT, authenticate(ours.credential)) is None
        assert ours.counts.refused == 0


async def test_a_caller_that_does_not_read_cannot_delay_the_cut(proxy: Proxy) -> None:
    async def floods(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        while not socket.closed:
            await socket.send_str(json.dumps({"type": "Ping", "x": "x" * MEBIBYTE}))
        return socket

    async with upstream(floods) as url:
        ours = opened(proxy, url, QUERY)
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=1024)
        writer.write(
            f"GET /api/1.48.0/sync HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        await reader.readuntil(b"\r\n\r\n")
        for message in (CONNECT, authenticate(ours.credential), watch("messages:list")):
            text = json.dumps(message).encode()
            writer.write(b"\x81\xfe" + len(text).to_bytes(2, "big") + b"\0\0\0\0" + text)
        await asyncio.sleep(0.3)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await proxy.close(ours.id, "over")
        assert loop.time() - began < 0.2
        writer.close()


async def test_a_port_that_is_taken(proxy: Proxy) -> None:
    with pytest.raises(GateError, match="is taken") as caught:
        await Proxy.start(proxy.port)
    assert caught.value.code == "keeper_unavailable"


async def test_a_fixed_port_and_a_second_life(deployment: StandIn) -> None:
    first = await Proxy.start(None)
    port = first.port
    ours = opened(first, deployment.url, QUERY)
    await first.stop()
    assert ours.ended == "the keeper stops"
    second = await Proxy.start(port)
    assert second.url == f"http://127.0.0.1:{port}"
    await second.stop()


async def test_the_default_callback_takes_refusals(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession
) -> None:
    seen: list[tuple[str, str]] = []
    proxy.on_refused = lambda refused, why: seen.append((refused.id, why))
    ours = opened(proxy, deployment.url, QUERY)
    await http.get("/api/nowhere", headers=bearer(ours))
    assert seen == [(ours.id, "this route is not one that the gate lets through")]


async def test_idle_connections_take_no_place_from_others(
    proxy: Proxy, deployment: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "MOST", 3)
    ours = opened(proxy, deployment.url, QUERY)
    async with aiohttp.ClientSession(proxy.url) as http, http.ws_connect("/api/1.48.0/sync") as socket:
        await socket.send_json(CONNECT)
        await socket.send_json(authenticate(ours.credential))
        await socket.send_json(watch("messages:list"))
        assert "first" in (await socket.receive()).data
        idle = [await asyncio.open_connection("127.0.0.1", proxy.port) for _ in range(10)]
        async with asyncio.timeout(5):
            for reader, _ in idle[:7]:
                with suppress(ConnectionError):
                    assert await reader.read() == b""
        assert not any(reader.at_eof() for reader, _ in idle[8:])
        assert (await http.post("/api/function", json=LIST, headers=bearer(ours))).status == 200
        await socket.send_json(watch("messages:list", queryId=8) | {"baseVersion": 1, "newVersion": 2})
        assert "first" in (await socket.receive()).data
        for _, writer in idle:
            writer.close()
