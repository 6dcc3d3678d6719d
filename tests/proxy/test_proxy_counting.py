"""What is counted under a leave, and that counting neither changes an answer, nor holds it up, nor keeps it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import aiohttp
import brotli  # type: ignore[import-untyped]
import pytest
from aiohttp import web
from hypothesis import given, strategies as st
from leases import BACKUP, IMPORT, TEST_QUERY, VIEW, WRITE, Noting, bearer, lease, scope

from gate.proxy import answer as answers
from gate.proxy.lease import Counts, Lease, Scope
from gate.proxy.rows import count_answer, count_message, rows
from gate.proxy.server import Proxy

QUERY = scope("run", VIEW, functions=["messages:list"], kinds=["query"])
LIST = {"path": "messages:list", "args": {}}
MEBIBYTE = 1024 * 1024
CONNECT = {"type": "Connect", "sessionId": "s", "connectionCount": 0, "lastCloseReason": None, "clientTs": 1}
ADD = {"type": "Add", "queryId": 7, "udfPath": "messages:list", "args": [{}]}
WATCH = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [ADD]}
VERSION = {"querySet": 1, "ts": "BQAAAAAAAAA=", "identity": 1}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    listening = await Proxy.start(None)
    yield listening
    await listening.stop()


@pytest.fixture
async def http(proxy: Proxy) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(proxy.url, auto_decompress=False) as session:
        yield session


@asynccontextmanager
async def upstream(handler: Handler) -> AsyncIterator[str]:
    application = web.Application(client_max_size=1 << 30)
    application.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def opened(proxy: Proxy, url: str, of: Scope, *, leave: bool = True) -> Lease:
    fresh = lease(url, of, leave=Noting() if leave else None)
    proxy.open(fresh)
    return fresh


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@given(st.lists(JSON), st.dictionaries(st.text(), JSON))
def test_rows_of_a_list_and_of_a_page_are_its_length(items: list[Any], more: dict[str, Any]) -> None:
    assert rows(items) == len(items)
    assert rows(more | {"page": items}) == len(items)


@pytest.mark.parametrize(
    ("value", "count"), [(None, 0), (0, 1), ("", 1), (False, 1), ({}, 1), ({"page": 1}, 1), ({"page": None}, 1)]
)
def test_any_other_value_is_one_row_and_null_is_none(value: Any, count: int) -> None:
    assert rows(value) == count


@given(JSON)
def test_whatever_answers_is_counted_or_said_to_be_unknown(message: Any) -> None:
    for status in ("success", "error", ["success"], None):
        counts = Counts()
        count_answer(counts, {"status": status, "value": message})
        assert counts.rows == (rows(message) if status == "success" else 0)
        assert counts.rows_unknown is (status not in ("success", "error"))
    count_answer(counts, message)
    if isinstance(message, dict):
        before = counts.rows
        count_message(counts, message | {"type": "Transition"})
        assert counts.rows >= before
    assert counts.rows_unknown


@given(st.lists(st.binary(min_size=1, max_size=5)), st.booleans())
async def test_what_is_overheard_comes_out_as_it_went_in(pieces: list[bytes], breaks: bool) -> None:
    """And its listener hears of it once: before the last piece, or with nothing where it broke off."""
    out: list[bytes] = []
    heard: list[tuple[object, bytes]] = []

    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece
        if breaks:
            raise ConnectionError

    async def take() -> None:
        async for piece in answers.overheard(chunks(), lambda message: heard.append((message, b"".join(out)))):
            out.append(piece)  # noqa: PERF401 - what broke off has to be in it as well

    with pytest.raises(ConnectionError) if breaks else nullcontext():
        await take()
    whole = b"".join(pieces)
    [(message, before)] = heard
    if breaks:
        assert message is None
        assert whole.startswith(b"".join(out))
    else:
        assert b"".join(out) == whole
        assert before != whole or not whole


@pytest.mark.parametrize(
    ("path", "of", "answer", "counted"),
    [
        ("function", QUERY, {"status": "success", "value": [1, 2, 3]}, 3),
        ("function", QUERY, {"status": "success", "value": {"page": [1, 2], "isDone": True}}, 2),
        ("function", QUERY, {"status": "success", "value": None}, 0),
        ("function", QUERY, {"status": "error", "errorMessage": "no"}, 0),
        ("query", scope("import", *IMPORT), {"status": "success", "value": {"state": {}}}, 1),
        ("run_test_function", scope("run", VIEW, TEST_QUERY), {"status": "success", "value": ["a"]}, 1),
        ("import/finish_upload", scope("import", *IMPORT), {"importId": "i"}, 0),
    ],
)
async def test_rows_of_an_answer(
    proxy: Proxy, http: aiohttp.ClientSession, *, path: str, of: Scope, answer: dict[str, Any], counted: int
) -> None:
    """Counted by the time that the caller has the answer, and asked for in a form that can be read."""
    seen: list[str] = []

    async def answers_so(request: web.Request) -> web.Response:
        seen.append(request.headers["Accept-Encoding"])
        return web.json_response(answer)

    async with upstream(answers_so) as url:
        ours = opened(proxy, url, of)
        sent = {"path": "_system/cli/queryImport:list", "args": {}, "adminKey": ours.credential}
        sent |= {"import": {}} if path.startswith("import") else {}
        sent |= LIST if path == "function" else {}
        got = await http.post(f"/api/{path}", json=sent, headers=bearer(ours) | {"Accept-Encoding": "br, gzip"})
        told = await got.content.readexactly(int(got.headers["Content-Length"]))
        assert (json.loads(told), ours.counts.rows, ours.counts.rows_unknown) == (answer, counted, False)
        assert ours.counts.bytes_out in {0, len(told)}
    assert seen == ["identity"]


async def test_without_a_leave_nothing_changes(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    seen: list[str] = []

    async def compressed(request: web.Request) -> web.Response:
        seen.append(request.headers["Accept-Encoding"])
        data = brotli.compress(b'{"status":"success","value":[1]}')
        return web.Response(body=data, headers={"Content-Encoding": "br"})

    async with upstream(compressed) as url:
        ours = opened(proxy, url, QUERY, leave=False)
        got = await http.post("/api/function", json=LIST, headers=bearer(ours) | {"Accept-Encoding": "br"})
        assert json.loads(brotli.decompress(await got.read()))["value"] == [1]
        assert (seen, ours.counts.rows, ours.counts.rows_unknown) == (["br"], 0, False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[",
        b"[" * 200_000,
        b"[]",
        b"null",
        b'{"status":"maybe","value":[1]}',
        brotli.compress(b'{"status":"success","value":[1]}'),
        b'{"status":"success","value":"' + b"x" * 8 * MEBIBYTE + b'"}',
    ],
    ids=["empty", "half", "deep", "list", "null", "neither", "compressed", "large"],
)
async def test_what_cannot_be_counted_is_said_to_be_unknown(
    proxy: Proxy, http: aiohttp.ClientSession, data: bytes
) -> None:
    async def odd(_: web.Request) -> web.Response:
        return web.Response(body=data)

    async with upstream(odd) as url:
        ours = opened(proxy, url, QUERY)
        assert await (await http.post("/api/function", json=LIST, headers=bearer(ours))).read() == data
        assert (ours.counts.rows, ours.counts.rows_unknown, ours.counts.bytes_out) == (0, True, len(data))


async def test_an_answer_of_the_largest_size_is_counted(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    start, end = b'{"status":"success","value":["', b'",2]}'
    data = start + b"x" * (answers.LARGEST - len(start + end)) + end

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=data)

    async with upstream(large) as url:
        ours = opened(proxy, url, QUERY)
        await (await http.post("/api/function", json=LIST, headers=bearer(ours))).read()
        assert (ours.counts.rows, ours.counts.rows_unknown) == (2, False)


async def test_a_long_answer_flows_while_it_is_made(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    going = asyncio.Event()

    async def slow(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b'{"status":"success",', b'"value":['):
            await response.write(piece)
            await asyncio.sleep(0.01)
        await going.wait()
        await response.write(b"1]}")
        return response

    async with upstream(slow) as url:
        ours = opened(proxy, url, QUERY)
        got = await http.post("/api/function", json=LIST, headers=bearer(ours))
        assert await got.content.readexactly(20) == b'{"status":"success",'
        going.set()
        assert await got.read() == b'"value":[1]}'
        assert ours.counts.rows == 1


async def watched(
    proxy: Proxy, http: aiohttp.ClientSession, texts: list[str], *, leave: bool = True
) -> tuple[Counts, list[str]]:
    """What was counted and seen by the time that a caller had everything the deployment sent."""

    async def sends(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        while (await socket.receive_json())["type"] != "ModifyQuerySet":
            pass
        for text in texts:
            await socket.send_str(text)
        await socket.close()
        return socket

    async with upstream(sends) as url, http.ws_connect("/api/1.48.0/sync") as socket:
        ours = opened(proxy, url, scope("run", VIEW, WRITE), leave=leave)
        shown = {"type": "Authenticate", "tokenType": "Admin", "value": ours.credential, "baseVersion": 0}
        for message in (CONNECT, shown, WATCH):
            await socket.send_json(message)
        got = [frame.data async for frame in socket]
    return ours.counts, got


def transition(*values: Any) -> str:
    changes = [{"type": "QueryUpdated", "queryId": 7, "value": value} for value in values]
    failed = {"type": "QueryFailed", "queryId": 8, "value": [1, 2, 3]}
    return json.dumps(
        {"type": "Transition", "endVersion": VERSION, "modifications": [*changes, failed, None]}, ensure_ascii=False
    )


async def test_each_transition_is_counted_with_its_rows_and_bytes(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    call = {"type": "ActionResponse", "requestId": 1, "success": True, "result": ["a", "b"]}
    failed = {"type": "MutationResponse", "requestId": 1, "success": False, "result": "no"}
    odd = {"type": "Transition", "endVersion": VERSION, "modifications": 1}
    texts = [transition([1, 2], {"page": [3]}), transition(None, "\u00e9\U0001f40b"), transition()]
    texts += [json.dumps(one) for one in (call, failed, odd, {"type": "Ping"})]
    counts, got = await watched(proxy, http, texts)
    assert got == texts
    assert (counts.transitions, counts.rows, counts.rows_unknown) == (4, 2 + 1 + 1 + 2, False)
    assert counts.bytes_out == sum(len(text.encode()) for text in texts)
    counts, got = await watched(proxy, http, texts, leave=False)
    assert got == texts
    assert (counts.transitions, counts.rows) == (0, 0)


async def test_a_transition_in_pieces_is_one(proxy: Proxy, http: aiohttp.ClientSession) -> None:
    text = transition(["x" * 50_000, "y" * 50_000])
    pieces = [
        json.dumps({"type": "TransitionChunk", "chunk": part, "partNumber": n, "totalParts": 2, "transitionId": "t"})
        for n, part in enumerate((text[:50_000], text[50_000:]))
    ]
    counts, got = await watched(proxy, http, pieces)
    assert got == pieces
    assert (counts.transitions, counts.rows, counts.rows_unknown) == (1, 2, False)
    counts, got = await watched(proxy, http, pieces[:1])
    assert got == pieces[:1]
    assert (counts.transitions, counts.rows, counts.rows_unknown) == (0, 0, True)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"type":"Transition","endVersion":1}',
        '{"type":"TransitionChunk","chunk":"[]","totalParts":1}',
        '{"type":"TransitionChunk","totalParts":1}',
    ],
)
async def test_what_is_not_understood_does_not_pass(proxy: Proxy, http: aiohttp.ClientSession, text: str) -> None:
    counts, got = await watched(proxy, http, [text])
    [told] = [json.loads(one) for one in got]
    assert "not of the sync protocol" in told["modifications"][0]["errorMessage"]
    assert (counts.transitions, counts.bytes_out) == (0, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("way", ["export", "function", "import"])
async def test_two_hundred_megabytes_stay_within_fifty(proxy: Proxy, http: aiohttp.ClientSession, way: str) -> None:
    """All three parties of the exchange in one process: caller, proxy and deployment."""
    size, piece = 200 * MEBIBYTE, bytes(MEBIBYTE)

    async def bulk(request: web.Request) -> web.StreamResponse:
        got = 0
        async for chunk in request.content.iter_any():
            got += len(chunk)
        if way == "import":
            return web.Response(text=str(got))
        response = web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        for _ in range(200):
            await response.write(piece)
        return response

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(200):
            yield piece

    async with upstream(bulk) as url:
        effects: Any = {"export": BACKUP, "function": (VIEW,), "import": IMPORT}[way]
        ours = opened(proxy, url, scope("run" if way == "function" else way, *effects))
        before = memory("VmRSS")
        if way == "export":
            answer = await http.get("/api/export/zip/1", headers=bearer(ours))
        elif way == "function":
            answer = await http.post("/api/function", json=LIST, headers=bearer(ours))
        else:
            length = {"Content-Length": str(size)}
            path = "/api/import/upload_part?uploadToken=u&partNumber=1"
            answer = await http.post(path, data=pieces(), headers=bearer(ours) | length)
        assert answer.status == 200
        told = sum([len(chunk) async for chunk in answer.content.iter_any()])
        assert memory("VmHWM") - before < 50
        assert told == (size if way != "import" else len(str(size)))
        assert ours.counts.bytes_out == told
        assert ours.counts.rows_unknown is (way == "function")


def memory(field: str) -> float:
    """Resident memory in MiB; reading it as it is now sets the peak back (proc(5), clear_refs)."""
    if field == "VmRSS":
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))
