"""An answer of a deployment on its way back: streamed, counted, read in passing, never half of it as a whole one."""

from collections.abc import AsyncGenerator, AsyncIterable, Callable
from contextlib import aclosing

from aiohttp import ClientError, ClientResponse, web
from multidict import CIMultiDict

from gate.proxy import body as bodies
from gate.proxy.lease import Lease
from gate.proxy.leave import check_live

# Gets the JSON of an answer before its last piece goes out; None when it broke off, is too large or is no JSON.
Listener = Callable[[object], None]

LARGEST = 8 * 1024 * 1024

_HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


async def stream(
    request: web.BaseRequest, answer: ClientResponse, lease: Lease, listener: Listener | None
) -> web.StreamResponse:
    """Pass `answer` on as it comes, as long as `lease` goes on. Raises Refused when it ended before the first byte."""
    check_live(lease)
    kept = CIMultiDict((name, value) for name, value in answer.headers.items() if name.lower() not in _HOP_BY_HOP)
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=kept)
    await response.prepare(request)
    if not await _whole(response, answer, lease, listener) and request.transport is not None:
        # Half an answer must not look like a whole one.
        request.transport.abort()
    return response


async def _whole(response: web.StreamResponse, answer: ClientResponse, lease: Lease, listener: Listener | None) -> bool:
    if listener is None:
        return await _pass_on(response, answer.content.iter_any(), lease)
    async with aclosing(overheard(answer.content.iter_any(), listener)) as chunks:
        return await _pass_on(response, chunks, lease)


async def _pass_on(response: web.StreamResponse, chunks: AsyncIterable[bytes], lease: Lease) -> bool:
    """Whether everything went out."""
    try:
        async for chunk in chunks:
            if lease.stopped is not None:
                return False
            await response.write(chunk)
            lease.counts.bytes_out += len(chunk)
        await response.write_eof()
    except (ClientError, OSError):
        return False
    return True


async def overheard(chunks: AsyncIterable[bytes], listener: Listener) -> AsyncGenerator[bytes, None]:
    """`chunks` as they come, but the last one is held until `listener` has heard the whole.

    Who has the whole answer may end at once, and its lease with it: what it read has been counted by then.
    """
    data, held, message = bytearray(), b"", None
    try:
        async for chunk in chunks:
            if held:
                yield held
            held = chunk
            data += chunk if len(data) <= LARGEST else b""
        message = await bodies.read_answer(data, LARGEST)
    finally:
        listener(message)
    if held:
        yield held
