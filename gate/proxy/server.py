"""The listener: one loopback port, and for each request who asks, which lease, and its end. Knows no route.

A request is answered only for the very address that the lease was given for: another Host or any Origin means that a
browser or another name stands in between.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from aiohttp import HttpVersion11, web

from gate.errors import GateError
from gate.proxy import control_plane, exchange, sync
from gate.proxy.book import Book, Entry
from gate.proxy.lease import Lease
from gate.proxy.listener import Busy, Listener
from gate.proxy.probe import probe
from gate.proxy.refusal import Refused
from gate.proxy.routes import SYNC
from gate.proxy.upstream import Pool

HOST = "127.0.0.1"
_CUT_SECONDS = 0.08
# aiohttp's own log names requests, and a request may hold a credential.
_SILENT = logging.getLogger("gate.proxy.silent")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False


def _ignore(_: Lease, __: str) -> None:
    """Tell nobody."""


@dataclass(slots=True)
class Proxy:
    """The proxy of one project. `on_refused` is called with the lease and the reason for every refused request."""

    on_refused: Callable[[Lease, str], None] = _ignore
    port: int = 0
    _book: Book = field(default_factory=Book)
    _pool: Pool = field(default_factory=Pool)
    _busy: Busy = field(default_factory=Busy)
    _runner: web.ServerRunner | None = None

    @classmethod
    async def start(cls, port: int | None, on_refused: Callable[[Lease, str], None] = _ignore) -> "Proxy":
        """A proxy that listens on 127.0.0.1, on `port` or on one that the system picks.

        Raises GateError `keeper_unavailable` when the port is taken.
        """
        proxy = cls(on_refused)
        server = Listener(proxy._serve, proxy._busy, access_log=None, logger=_SILENT, auto_decompress=False)
        runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, port or 0, backlog=256).start()
        except OSError as error:
            await runner.cleanup()
            raise GateError(
                "keeper_unavailable",
                f"the proxy's port {port} on {HOST} is taken",
                remedy="End what listens there, or stop the keeper that still does.",
            ) from error
        proxy._runner = runner
        proxy.port = runner.addresses[0][1]
        return proxy

    @property
    def url(self) -> str:
        """Origin that leases are given for."""
        return f"http://{HOST}:{self.port}"

    def open(self, lease: Lease) -> None:
        """From now on `lease` is worth its scope, until `close`."""
        self._book.add(lease)

    async def close(self, lease_id: str, why: str) -> None:
        """The cut: the lease ends with `why`, and everything that runs under it is torn down before this returns.

        Does nothing for a lease that ended already or is not known.
        """
        entry = self._book.entry(lease_id)
        if entry is None or entry.lease.ended is not None:
            return
        entry.lease.ended = why
        entry.over.set()
        for task, transport in entry.exchanges.items():
            task.cancel()
            if transport is not None:
                transport.abort()
        pending = {*entry.exchanges, *entry.sockets}
        if pending:
            await asyncio.wait(pending, timeout=_CUT_SECONDS)
        for task in entry.sockets:
            task.cancel()

    async def probe(self, lease: Lease) -> str | None:
        """None when this very proxy, asked over TCP, refuses `lease` for its end everywhere; else what it did not."""
        return await probe(self.url, lease)

    async def stop(self) -> None:
        """End every lease, every connection and the listener."""
        for entry in self._book.all():
            await self.close(entry.lease.id, "the keeper stops")
        if self._runner is not None:
            await self._runner.cleanup()
        await self._pool.close()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        place = f"{request.method} {path}"
        try:
            self._check_origin(request)
            if control_plane.serves(place):
                return await control_plane.answer(place, request, self._book, self.url)
            if request.method == "GET" and SYNC.fullmatch(request.raw_path):
                return await self._sync(request)
            return await self._exchange(request, path)
        except Refused as refused:
            return exchange.shape(path, refused)

    def _check_origin(self, request: web.BaseRequest) -> None:
        if request.headers.getall("Host", []) != [f"{HOST}:{self.port}"]:
            raise Refused("the request is for another host")
        if "Origin" in request.headers:
            raise Refused("requests from a page are not taken")
        if len(request.headers.getall("Authorization", [])) > 1:
            raise Refused("the request carries several credentials")
        if request.version != HttpVersion11:
            # In an older one the end of an answer is the end of its connection: half of it looks whole.
            raise Refused("the request is not of HTTP 1.1")

    async def _exchange(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        entry, user = self._book.by_header(request.headers.get("Authorization"))
        task, transport = asyncio.current_task(), request.transport
        assert task is not None  # noqa: S101 - aiohttp runs handlers in tasks
        entry.exchanges[task] = transport
        try:
            with self._busy.hold(transport):
                return await exchange.forward(request, entry, user, self._pool)
        except Refused as refused:
            return exchange.shape(path, self._refused(entry, refused))
        finally:
            del entry.exchanges[task]

    async def _sync(self, request: web.BaseRequest) -> web.StreamResponse:
        # Compression is not offered: a compressed stream could not be looked at.
        socket = web.WebSocketResponse(compress=False, max_msg_size=sync.LARGEST, timeout=0.05, autoping=True)
        await socket.prepare(request)
        client = sync.Client(socket)
        introduced = await sync.introduce(client, self._book)
        if introduced is not None:
            with self._busy.hold(request.transport):
                await self._relay(client, introduced, request.raw_path)
        return socket

    async def _relay(self, client: sync.Client, introduced: sync.Introduced, path: str) -> None:
        entry, task = introduced.entry, asyncio.current_task()
        assert task is not None  # noqa: S101 - aiohttp runs handlers in tasks
        entry.sockets.add(task)
        try:
            await sync.relay(client, introduced, path, self._pool)
        except Refused as refused:
            self._refused(entry, refused)
            await sync.farewell(client, refused.why)
        finally:
            entry.sockets.discard(task)

    def _refused(self, entry: Entry, refused: Refused) -> Refused:
        entry.lease.counts.refused += 1
        self.on_refused(entry.lease, refused.why)
        return refused
