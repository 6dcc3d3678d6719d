"""The probe after a cut: it says that access is gone only where the proxy said so itself, for that reason."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from leases import KEY, TOKEN, VIEW, Noting, lease, scope

from gate.demo.standin import StandIn
from gate.proxy import refusal
from gate.proxy.lease import Lease
from gate.proxy.probe import probe
from gate.proxy.server import Proxy

QUERY = scope("run", VIEW)
EVERY_WAY = ("the data route", "the control plane", "the sync socket")


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    listening = await Proxy.start(None)
    yield listening
    await listening.stop()


@pytest.fixture
async def ours(proxy: Proxy) -> AsyncIterator[Lease]:
    async with StandIn(KEY) as deployment:
        opened = lease(deployment.url, QUERY, leave=Noting())
        proxy.open(opened)
        yield opened
        assert deployment.requests == []


def told(said: str | None) -> str:
    assert said is not None
    assert TOKEN not in said
    assert KEY not in said
    return said


@pytest.mark.parametrize("name", ["happy-otter-123", None])
async def test_after_the_cut_every_way_is_refused_for_it(proxy: Proxy, name: str | None) -> None:
    """No deployment is there: what the lease is worth is not asked of one."""
    opened = lease("http://127.0.0.1:9", QUERY, name=name, leave=Noting())
    proxy.open(opened)
    await proxy.close(opened.id, 'revoked: "\u00e9"')
    assert await proxy.probe(opened) is None


async def test_a_lease_that_is_over_without_being_closed(proxy: Proxy, ours: Lease) -> None:
    assert await proxy.probe(ours) == "the lease has not ended"
    ours.leave = Noting(why="the ledger was not confirmed for 2 s")
    assert await proxy.probe(ours) is None


async def test_a_credential_that_is_still_worth_something(proxy: Proxy) -> None:
    async with StandIn(KEY) as deployment:
        ended = lease(deployment.url, QUERY)
        proxy.open(ended)
        await proxy.close(ended.id, "revoked")
        proxy.open(lease(deployment.url, QUERY))
        said = told(await proxy.probe(ended))
    assert all(f"{way} did not refuse for the end of the lease" in said for way in EVERY_WAY)


async def test_a_refusal_for_another_reason_proves_nothing(proxy: Proxy, ours: Lease) -> None:
    await proxy.close(ours.id, "revoked")
    ours.ended = "expired"
    assert await proxy.probe(ours) is None
    other = lease("http://127.0.0.1:9", QUERY, token="never-opened")
    other.ended = "revoked"
    said = told(await proxy.probe(other))
    assert all(f"{way} did not refuse" in said for way in EVERY_WAY)


async def elsewhere(handler: Callable[[web.Request], Awaitable[web.StreamResponse]], opened: Lease) -> str | None:
    """What the probe says of another server."""
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        return await probe(f"http://127.0.0.1:{runner.addresses[0][1]}", opened)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", [200, 403, 500, 560])
async def test_a_status_alone_proves_nothing(proxy: Proxy, ours: Lease, status: int) -> None:
    async def refuses(_: web.Request) -> web.Response:
        return web.Response(status=status, body=b"revoked \xff")

    await proxy.close(ours.id, "revoked")
    said = told(await elsewhere(refuses, ours))
    assert "the data route did not refuse" in said
    assert "the control plane did not refuse" in said
    assert "the sync socket could not be asked (WSServerHandshakeError)" in said


async def test_one_way_that_is_open_is_named(proxy: Proxy, ours: Lease) -> None:
    async def refuses(request: web.Request) -> web.Response:
        open_way = request.path == "/api/deployment/url_for_key"
        return web.json_response({"message": "https://x" if open_way else refusal.sentence("revoked")}, status=403)

    await proxy.close(ours.id, "revoked")
    said = told(await elsewhere(refuses, ours))
    assert "the control plane did not refuse" in said
    assert "the data route" not in said


async def test_silence_is_waited_for_a_second(proxy: Proxy, ours: Lease) -> None:
    async def sleeps(_: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    await proxy.close(ours.id, "revoked")
    loop = asyncio.get_running_loop()
    began = loop.time()
    said = told(await elsewhere(sleeps, ours))
    assert all(f"{way} did not answer in time" in said for way in EVERY_WAY)
    assert loop.time() - began < 1.5


async def test_a_proxy_that_is_gone_proves_nothing(ours: Lease) -> None:
    ended = Proxy()
    ended.port = 9
    ours.ended = "revoked"
    said = told(await ended.probe(ours))
    assert all(f"{way} could not be asked (ClientConnectorError)" in said for way in EVERY_WAY)
