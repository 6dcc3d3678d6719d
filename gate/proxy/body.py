"""Bodies that are looked at before they are forwarded: decoded within bounds, parsed strictly, written anew.

Writing them anew means that the deployment reads exactly what was checked. Knows no lease and no route.
"""

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import brotli  # type: ignore[import-untyped]
from aiohttp import web

from gate.proxy.refusal import Refused

# What a push may weigh, and every other request: a small text can become a thousand times its size in memory.
LARGEST = 64 * 1024 * 1024
COMMON = 8 * 1024 * 1024
P = ParamSpec("P")
T = TypeVar("T")

# Above this, or when its size is not known yet, parsing would hold up the other leases.
_INLINE = 64 * 1024
_STEP = 64 * 1024


async def read_object(request: web.BaseRequest, largest: int = COMMON) -> dict[str, Any]:
    """The JSON object that `request` carries, of at most `largest` bytes, on the wire and expanded.

    Raises Refused for anything else: another encoding, a repeated name, NaN, text that is not UTF-8.
    """
    raw = await _read(request, largest)
    encoding = request.headers.get("Content-Encoding", "identity")
    size = len(raw) if encoding == "identity" else largest
    return await aside(size, _parse, raw, encoding, largest)


async def write_object(message: dict[str, Any], size: int) -> bytes:
    """`message` as JSON; `size` tells about how large it was when it came."""
    return await aside(size, _write, message)


async def read_answer(data: bytes | bytearray | str, largest: int = LARGEST) -> object:
    """The JSON that a deployment answered; None when there is none, or more than `largest` bytes of it."""
    return None if len(data) > largest else await aside(len(data), _parse_answer, data)


async def digest(message: Mapping[str, Any], size: int) -> str:
    """SHA-256 of `message` in a form of its own (sorted, no spaces), without its credential; `size` as above."""
    return await aside(size, _digest, {name: value for name, value in message.items() if name != "adminKey"})


async def aside(size: int, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """What `work` returns, done in another thread when it has `size` bytes to go through and they are many."""
    if size <= _INLINE:
        return work(*arguments, **named)
    return await asyncio.to_thread(work, *arguments, **named)


async def _read(request: web.BaseRequest, largest: int) -> bytes:
    data = bytearray()
    async for chunk in request.content.iter_any():
        data += chunk
        if len(data) > largest:
            raise Refused("the request is larger than the gate takes", status=413)
    return bytes(data)


def _parse(raw: bytes, encoding: str, largest: int) -> dict[str, Any]:
    try:
        text = _expand(raw, encoding, largest).decode("utf-8")
        message = json.loads(text, object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError, brotli.error) as error:
        raise Refused("the request body is not one plain JSON object") from error
    if not isinstance(message, dict):
        raise Refused("the request body is not one plain JSON object")
    return message


def _parse_answer(data: bytes | bytearray | str) -> object:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _expand(raw: bytes, encoding: str, largest: int) -> bytes:
    if encoding == "identity":
        return raw
    if encoding != "br":
        raise Refused("the encoding of the body is not one that the gate lets through", status=415)
    decoder, out = brotli.Decompressor(), bytearray()
    out += decoder.process(raw, output_buffer_limit=_STEP)
    while not decoder.is_finished():
        if len(out) > largest:
            raise Refused("the request expands to more than the gate takes", status=413)
        more = decoder.process(b"", output_buffer_limit=_STEP)
        if not more and decoder.can_accept_more_data():
            raise ValueError
        out += more
    return bytes(out)


def _write(message: dict[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode("ascii")


def _digest(message: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(message, sort_keys=True, separators=(",", ":")).encode("ascii")).hexdigest()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _constant(_: str) -> Any:
    raise ValueError
