"""Connections to deployments: one pool per origin and certificate authority. Never follows a redirect."""

import asyncio
import ssl
from dataclasses import dataclass, field

from aiohttp import (
    ClientError,
    ClientHandlerType,
    ClientRequest,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    TCPConnector,
)

from gate.errors import GateError
from gate.proxy.lease import Upstream

# Short, as Node's own client has it: a pooled connection that slept with the laptop is worse than a new one.
_KEPT_SECONDS = 4
_CONNECT_SECONDS = 10
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class RedirectError(ClientError):
    """The deployment sends a request elsewhere; a key goes to its own origin only."""


@dataclass(slots=True)
class Pool:
    """Sessions for as many upstreams as there are; `close` ends them all."""

    _sessions: dict[tuple[str, str | None], ClientSession] = field(default_factory=dict)

    def session(self, upstream: Upstream) -> ClientSession:
        """The session for `upstream`. Raises GateError `config_invalid` when its ca file cannot be read."""
        place = (upstream.url, upstream.ca)
        if place not in self._sessions:
            self._sessions[place] = open_session(upstream)
        return self._sessions[place]

    async def close(self) -> None:
        """End every session and its connections."""
        sessions = list(self._sessions.values())
        self._sessions.clear()
        await asyncio.gather(*(session.close() for session in sessions))


def open_session(upstream: Upstream, seconds: float | None = None) -> ClientSession:
    """A session that knows no proxy, no cookies and no time limit but `seconds` for a whole exchange.

    Raises GateError `config_invalid` when the upstream's ca file cannot be read.
    """
    return ClientSession(
        connector=TCPConnector(ssl=_trust(upstream.ca), limit=0, keepalive_timeout=_KEPT_SECONDS),
        timeout=ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS),
        cookie_jar=DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        middlewares=(_stay,),
    )


async def _stay(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Refuse redirects for every kind of request: the WebSocket handshake has no option of its own against them."""
    answer = await handler(request)
    if answer.status in _REDIRECTS:
        answer.close()
        raise RedirectError
    return answer


def _trust(ca: str | None) -> ssl.SSLContext | bool:
    if ca is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ValueError) as error:
        raise GateError(
            "config_invalid",
            "the ca file of the deployment cannot be read as certificates",
            remedy="Mend `ca` in gate.yaml: a PEM file that the keeper may read.",
        ) from error
