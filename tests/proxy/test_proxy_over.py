"""Under a leave that ends in the middle: nothing flows any more, and half an answer never looks like a whole one."""

import asyncio
import json
import socket as sockets
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from leases import BACKUP, IMPORT, KEY, TOKEN, VIEW, WRITE, GrantingProxy, Noting, bearer, lease, scope

from gate.demo.standin import StandIn
from gate.proxy.lease import Lease, Scope, Upstream
from gate.proxy.server import Proxy

QUERY = scope("run", VIEW, functions=["messages:list"], kinds=["query"])
SEND = scope("run", VIEW, WRITE, functions=["messages:send"], kinds=["mutation"])
LIST = {"path": "messages:list", "args": {}}
PART = "/api/import/upload_part?uploadToken=upload-1&partNumber=1"
CONNECT = {"type": "Connect", "sessionId": "s", "connectionCount": 0, "lastCloseReason": None, "clientTs": 1}
ADD = {"type": "Add", "queryId": 7, "udfPath": "messages:list", "args": [{}]}
WATCH = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [ADD]}
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


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


@pytest.fixture
def leave() -> Noting:
    return Noting()


def opened(proxy: Proxy, url: str, of: Scope, leave: Noting) -> Lease:
    fresh = lease(url, of, leave=leave)
    proxy.open(fresh)
    return fresh


@asynccontextmanager
async def peer(answer: Peer) -> AsyncIterator[str]:
    """A deployment that speaks raw bytes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def said(answer: aiohttp.ClientResponse) -> str:
    told = await answer.json()
    return str(told.get("message") or told["errorMessage"])


async def test_nothing_starts_once_it_is_over(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, leave: Noting
) -> None:
    """Asked anew every time: a ledger that is confirmed again lets the same lease pass again."""
    ours = opened(proxy, deployment.url, QUERY, leave)
    leave.why = "the ledger was not confirmed for 2 s"
    assert leave.why in await said(await http.post("/api/function", json=LIST, headers=bearer(ours)))
    key = {"deployKey": ours.credential}
    assert leave.why in await said(await http.post("/api/deployment/url_for_key", json=key))
    head = await http.head("/api/authorize", headers={"Authorization": f"Bearer {ours.credential}"})
    assert head.status == 403
    async with http.ws_connect("/api/1.48.0/sync") as socket:
        await introduce(socket, ours)
        await socket.send_json(WATCH)
        assert leave.why in (await socket.receive_json())["modifications"][0]["errorMessage"]
    assert (deployment.requests, leave.passed) == ([], [])
    leave.why = None
    assert (await http.post("/api/function", json=LIST, headers=bearer(ours))).status == 200


async def introduce(socket: aiohttp.ClientWebSocketResponse, ours: Lease) -> None:
    await socket.send_json(CONNECT)
    shown = {"type": "Authenticate", "tokenType": "Admin", "value": ours.credential, "baseVersion": 0}
    await socket.send_json(shown)


@pytest.mark.parametrize("length", ["Content-Length: 4000000", "Transfer-Encoding: chunked", "Connection: close"])
@pytest.mark.parametrize("path", ["/api/export/zip/1", "/api/function"])
async def test_an_answer_that_is_over_in_the_middle(
    proxy: Proxy, http: aiohttp.ClientSession, leave: Noting, length: str, path: str
) -> None:
    more = asyncio.Event()
    piece = b"%x\r\n%s\r\n" % (1000, b"x" * 1000) if "chunked" in length else b"x" * 1000

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode() + piece)
        await asyncio.sleep(0.01)
        writer.write(piece)
        await more.wait()
        writer.write(piece * 2 + (b"0\r\n\r\n" if "chunked" in length else b""))

    async with peer(slow) as url:
        of = scope("export", *BACKUP) if "export" in path else QUERY
        ours = opened(proxy, url, of, leave)
        asked = (
            http.get(path, headers=bearer(ours))
            if "export" in path
            else http.post(path, json=LIST, headers=bearer(ours))
        )
        answer = await asked
        assert (await answer.content.readexactly(1000)) == b"x" * 1000
        leave.why = "expired"
        flowed = ours.counts.bytes_out
        more.set()
        with pytest.raises(aiohttp.ClientError):
            await answer.read()
        assert ours.counts.bytes_out == flowed
        assert ours.counts.rows_unknown is ("function" in path)


async def test_an_answer_that_comes_after_the_end_is_a_refusal(
    proxy: Proxy, http: aiohttp.ClientSession, leave: Noting
) -> None:
    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        leave.why = "expired"
        writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 34\r\n\r\n{"status":"success","value":["a"]}')

    async with peer(late) as url:
        answer = await http.post("/api/function", json=LIST, headers=bearer(opened(proxy, url, QUERY, leave)))
        assert (answer.status, "expired" in await said(answer)) == (560, True)


async def test_an_upload_stops_where_it_is(proxy: Proxy, http: aiohttp.ClientSession, leave: Noting) -> None:
    got, ended, going = bytearray(), asyncio.Event(), asyncio.Event()

    async def takes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            got.extend(data)
            if b"one" in got:
                going.set()
        ended.set()
        await writer.drain()

    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        await going.wait()
        leave.why = "revoked"
        yield b"two"
        yield b"three"

    async with peer(takes) as url:
        ours = opened(proxy, url, scope("import", *IMPORT), leave)
        with suppress(aiohttp.ClientError):
            answer = await http.post(PART, data=pieces(), headers=bearer(ours))
            assert "revoked" in await said(answer)
        async with asyncio.timeout(5):
            await ended.wait()
        assert b"one" in got
        assert b"two" not in got
        assert not got.endswith(b"0\r\n\r\n"), "half an upload looks whole"
        assert ours.counts.refused == 1


async def test_a_connection_that_comes_about_after_the_end_carries_no_call(
    proxy: Proxy, http: aiohttp.ClientSession, leave: Noting
) -> None:
    got = bytearray()

    async def takes(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            got.extend(data)

    async with peer(takes) as url:
        ours = opened(proxy, url, SEND, leave)
        hold_back(proxy, ours, leave)
        answer = await http.post("/api/function", json=LIST | {"path": "messages:send"}, headers=bearer(ours))
        assert "expired" in await said(answer)
        await asyncio.sleep(0.02)
    assert b"messages:send" not in got


async def test_a_socket_that_comes_about_after_the_end_carries_no_key(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, leave: Noting
) -> None:
    ours = opened(proxy, deployment.url, QUERY, leave)
    hold_back(proxy, ours, leave)
    async with http.ws_connect("/api/1.48.0/sync") as socket:
        await introduce(socket, ours)
        await socket.send_json(WATCH)
        assert "expired" in (await socket.receive_json())["modifications"][0]["errorMessage"]
    assert deployment.requests == []


def hold_back(proxy: Proxy, ours: Lease, leave: Noting) -> None:
    """The leave is over by the time that a connection to the deployment stands."""
    connector = proxy._pool.session(ours.upstream).connector  # noqa: SLF001 - the only way to hold one back
    assert connector is not None
    connect = connector.connect

    async def slowly(*arguments: Any, **named: Any) -> Any:
        connection = await connect(*arguments, **named)
        leave.why = "expired"
        return connection

    connector.connect = slowly  # type: ignore[method-assign]


@pytest.mark.parametrize("fault", ["stalls", "resets", "half a head", "half a chunk"])
@pytest.mark.parametrize("how", ["closed", "over and closed"])
async def test_a_faulty_deployment_does_not_delay_the_cut(
    proxy: Proxy, http: aiohttp.ClientSession, leave: Noting, fault: str, how: str
) -> None:
    here, told = asyncio.Event(), asyncio.Event()
    begins = {
        "stalls": b"",
        "resets": b"",
        "half a head": b"HTTP/1.1 200 OK\r\nContent-",
        "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\nxx",
    }

    async def faulty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(begins[fault])
        here.set()
        await told.wait()
        if fault == "resets":
            raw = writer.get_extra_info("socket")
            raw.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async with peer(faulty) as url:
        ours = opened(proxy, url, scope("export", *BACKUP), leave)

        async def fetch() -> bytes:
            async with http.get("/api/export/zip/1", headers=bearer(ours)) as answer:
                assert answer.status == 200, "no answer"
                return await answer.read()

        asked = asyncio.ensure_future(fetch())
        await here.wait()
        await asyncio.sleep(0.02)
        if how != "closed":
            leave.why = "revoked"
        if fault == "resets":
            told.set()
        loop = asyncio.get_running_loop()
        began = loop.time()
        await proxy.close(ours.id, "revoked")
        assert loop.time() - began < 0.1
        with pytest.raises((aiohttp.ClientError, AssertionError)):
            await asked
        told.set()
        assert await proxy.probe(ours) is None


async def test_a_watched_query_is_cut_at_once(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, leave: Noting
) -> None:
    ours = opened(proxy, deployment.url, QUERY, leave)
    async with http.ws_connect("/api/1.48.0/sync") as socket:
        await introduce(socket, ours)
        await socket.send_json(WATCH)
        assert "first" in (await socket.receive()).data
        loop = asyncio.get_running_loop()
        began = loop.time()
        leave.why = "revoked"
        deployment.app.call("messages:send", None, {"body": "afterwards"})
        await proxy.close(ours.id, "revoked")
        last = await socket.receive_json()
        assert "revoked" in last["modifications"][0]["errorMessage"]
        assert (await socket.receive()).type is WSMsgType.CLOSE
        assert loop.time() - began < 0.1
    assert await proxy.probe(ours) is None


async def test_a_stalled_keeper_still_stops_a_watched_query(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, leave: Noting
) -> None:
    """Nobody closes the lease: neither a transition nor a message passes."""
    ours = opened(proxy, deployment.url, QUERY, leave)
    async with http.ws_connect("/api/1.48.0/sync") as one, http.ws_connect("/api/1.48.0/sync") as two:
        for socket in (one, two):
            await introduce(socket, ours)
            await socket.send_json(WATCH)
            assert "first" in (await socket.receive()).data
        leave.why = "the ledger was not confirmed for 2 s"
        before = len(deployment.requests)
        await one.send_json({"type": "Event", "eventType": "x", "event": {}})
        assert leave.why in (await one.receive_json())["modifications"][0]["errorMessage"]
        deployment.app.call("messages:send", None, {"body": "afterwards"})
        assert leave.why in (await two.receive_json())["modifications"][0]["errorMessage"]
        assert (await two.receive()).type is WSMsgType.CLOSE
        assert len(deployment.requests) == before


@pytest.mark.parametrize(
    "message",
    [
        {"type": "Connect"},
        {"type": "Event"},
        {"type": "Authenticate", "tokenType": "Admin", "value": f"dev:happy-otter-123|{TOKEN}", "baseVersion": 1},
        WATCH,
        WATCH | {"modifications": [ADD | {"udfPath": "_system/cli/modules:apiSpec"}]},
        WATCH | {"modifications": [{"type": "Remove", "queryId": 7}]},
        {"type": "Mutation", "requestId": 1, "udfPath": "messages:send", "args": [{}]},
        {"type": "Action", "requestId": 1, "udfPath": "messages:send", "args": [{}]},
    ],
    ids=lambda message: message["type"],
)
async def test_no_message_passes_once_it_is_over(
    proxy: Proxy, deployment: StandIn, http: aiohttp.ClientSession, leave: Noting, message: dict[str, Any]
) -> None:
    ours = opened(proxy, deployment.url, scope("run", VIEW, WRITE), leave)
    async with http.ws_connect("/api/1.48.0/sync") as socket:
        await introduce(socket, ours)
        await socket.send_json(WATCH | {"modifications": [ADD | {"queryId": 6}]})
        assert "first" in (await socket.receive()).data
        before, recorded = len(deployment.requests), len(leave.passed)
        leave.why = "revoked"
        await socket.send_json(message)
        assert "revoked" in (await socket.receive()).data
        assert (len(deployment.requests), len(leave.passed)) == (before, recorded)


async def test_a_local_deployment_is_not_named_once_it_is_over(
    proxy: Proxy, http: aiohttp.ClientSession, leave: Noting
) -> None:
    upstream = Upstream("", "local-acme-chat", "local", "", team="acme", slug="chat")
    proxy.open(Lease("lease-local", "unused", scope("data", VIEW), upstream, leave=leave))
    assert (await http.get("/api/deployment/local-acme-chat/team_and_project")).status == 200
    leave.why = "over"
    assert (await http.get("/api/deployment/local-acme-chat/team_and_project")).status == 403


async def test_half_a_frame_of_the_deployment_while_the_leave_ends(
    proxy: Proxy, http: aiohttp.ClientSession, leave: Noting
) -> None:
    going = asyncio.Event()
    text = json.dumps({"type": "Transition", "modifications": [], "endVersion": {}, "note": "afterwards"}).encode()

    async def halves(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        while (await socket.receive_json())["type"] != "ModifyQuerySet":
            pass
        assert request.transport is not None
        request.transport.write(b"\x81\x7e" + len(text).to_bytes(2, "big") + text[:10])
        await going.wait()
        request.transport.write(text[10:])
        await socket.receive()
        return socket

    application = web.Application()
    application.router.add_get("/api/1.48.0/sync", halves)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ours = opened(proxy, f"http://127.0.0.1:{runner.addresses[0][1]}", QUERY, leave)
    async with http.ws_connect("/api/1.48.0/sync") as socket:
        await introduce(socket, ours)
        await socket.send_json(WATCH)
        await leave.asked.wait()
        await asyncio.sleep(0.02)
        leave.why = "expired"
        going.set()
        last = await socket.receive_json()
        assert "expired" in last["modifications"][0]["errorMessage"]
        assert "note" not in last
    await runner.cleanup()


@pytest.mark.parametrize("pieces", [1, 2, 7])
async def test_split_frames_are_read_whole(proxy: Proxy, deployment: StandIn, leave: Noting, pieces: int) -> None:
    """A mutation does not pass as the continuation of something else, nor does a query escape its record."""
    ours = opened(proxy, deployment.url, QUERY, leave)
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    writer.write(
        f"GET /api/1.48.0/sync HTTP/1.1\r\nHost: 127.0.0.1:{proxy.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    await reader.readuntil(b"\r\n\r\n")
    shown = {"type": "Authenticate", "tokenType": "Admin", "value": ours.credential, "baseVersion": 0}
    send = {"type": "Mutation", "requestId": 3, "udfPath": "messages:send", "args": [{}]}
    told = b""
    async with asyncio.timeout(5):
        for message, answer in ((CONNECT, b""), (shown, b""), (WATCH, b"QueryUpdated"), (send, b"MutationResponse")):
            writer.writelines(fragments(json.dumps(message).encode(), pieces))
            while answer not in told:
                told += await reader.read(65536)
    writer.close()
    assert b"not the function that was decided" in told
    assert [request.body["type"] for request in deployment.requests] == ["Connect", "Authenticate", "ModifyQuerySet"]
    assert [passing.place for passing, _ in leave.passed] == ["WS Query"]


def fragments(text: bytes, pieces: int) -> list[bytes]:
    """`text` in `pieces` frames with a ping between them; the mask is zero."""
    size = len(text) // pieces + 1
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    frames = []
    for number, part in enumerate(parts):
        head = (0x80 if number == len(parts) - 1 else 0) | (0 if number else 1)
        frames.append(bytes([head, 0xFE]) + len(part).to_bytes(2, "big") + b"\0\0\0\0" + part)
        frames.append(b"\x89\x80\0\0\0\0")
    return frames
