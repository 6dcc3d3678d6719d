"""After the cut: asking the proxy from outside whether a lease is really worth nothing any more. Ends nothing itself.

A refusal proves that only where it says the reason for which the lease ended; any other failure proves nothing.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable

from aiohttp import ClientError, ClientSession, DummyCookieJar

from gate.proxy import refusal
from gate.proxy.lease import Lease

_SECONDS = 1.0
_QUERY = {"type": "Add", "queryId": 0, "udfPath": "probe:probe", "args": [{}]}
_WATCH = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [_QUERY]}


async def probe(url: str, lease: Lease) -> str | None:
    """None when the proxy at `url` refuses the credential of `lease` on every way in, naming the reason for its end.

    Else what did not, in words without a credential. Asks a data route, the control plane and the sync socket, at the
    same time and for a second at most. The proxy counts these requests among those that it refused.
    """
    why = lease.stopped
    if why is None:
        return "the lease has not ended"
    proof = json.dumps(refusal.sentence(why))
    async with ClientSession(url, cookie_jar=DummyCookieJar()) as session:
        found = await asyncio.gather(*(_ask(place, ask, session, lease, proof) for place, ask in _WAYS.items()))
    return "; ".join(filter(None, found)) or None


async def _ask(place: str, ask: "_Way", session: ClientSession, lease: Lease, proof: str) -> str | None:
    try:
        async with asyncio.timeout(_SECONDS):
            said = await ask(session, lease.credential)
    except TimeoutError:
        return f"{place} did not answer in time"
    except (ClientError, OSError) as error:
        return f"{place} could not be asked ({type(error).__name__})"
    return None if proof in said else f"{place} did not refuse for the end of the lease"


async def _data(session: ClientSession, credential: str) -> str:
    async with session.post("/api/function", json={}, headers={"Authorization": f"Convex {credential}"}) as answer:
        return await answer.text(errors="replace")


async def _control_plane(session: ClientSession, credential: str) -> str:
    async with session.post("/api/deployment/url_for_key", json={"deployKey": credential}) as answer:
        return await answer.text(errors="replace")


async def _socket(session: ClientSession, credential: str) -> str:
    async with session.ws_connect("/api/1.0.0/sync") as socket:
        await socket.send_json({"type": "Authenticate", "tokenType": "Admin", "value": credential, "baseVersion": 0})
        await socket.send_json(_WATCH)
        return str((await socket.receive()).data)


_Way = Callable[[ClientSession, str], Awaitable[str]]
_WAYS: dict[str, _Way] = {"the data route": _data, "the control plane": _control_plane, "the sync socket": _socket}
