"""The proxy's connections, bounded: whoever opens many must not take the keeper's last descriptor. Reads no request."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

MOST = 256


@dataclass(slots=True)
class Busy:
    """The connections that carry something under a lease now."""

    _transports: set[asyncio.BaseTransport | None] = field(default_factory=set)

    def __contains__(self, transport: asyncio.BaseTransport | None) -> bool:
        return transport in self._transports

    @contextmanager
    def hold(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """Inside the block `transport` is not given up for another one."""
        self._transports.add(transport)
        try:
            yield
        finally:
            self._transports.discard(transport)


class Listener(web.Server):
    """aiohttp's server with at most MOST connections besides the busy ones: the one that sat idle longest goes first.

    Opening a connection takes no credential, so that any user of the machine can.
    """

    def __init__(self, handler: Any, busy: Busy, **settings: Any) -> None:
        super().__init__(handler, **settings)
        self._busy = busy

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        """Count `transport` in, and drop the oldest one that is not busy when they are too many."""
        super().connection_made(handler, transport)
        here = (old.transport for old in self.connections)
        idle = [old for old in here if old is not None and not old.is_closing() and old not in self._busy]
        if len(idle) > MOST:
            idle[0].abort()
