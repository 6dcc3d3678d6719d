"""What the gate itself asks a deployment, with the real key: the kinds of its functions, and whether the key fits.

Decides nothing and forwards nothing. No redirect is followed, and no answer of a deployment is repeated in an error.
"""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import ClientError, ClientSession

from gate.errors import GateError
from gate.intent.kind import KIND_EFFECTS
from gate.proxy.functions import canonical
from gate.proxy.lease import Upstream
from gate.proxy.refusal import Refused
from gate.proxy.upstream import open_session

_SECONDS = 5.0
_LARGEST = 32 * 1024 * 1024
_API_SPEC = {"path": "_system/cli/modules:apiSpec", "format": "convex_encoded_json", "args": [{}]}
_OK = 200
_REFUSED = frozenset({401, 403})


async def look_up(upstream: Upstream) -> dict[str, str]:
    """Kind of every function of `upstream`, by canonical path: `query`, `internal mutation`, ... (KIND_EFFECTS).

    Raises GateError `custody_failed` when the deployment refuses the key, `upstream_unreachable` when there is no
    proper answer within five seconds.
    """
    async with open_session(upstream, _SECONDS) as session:
        answer = await _ask(session, upstream, "POST", "/api/query", body=_API_SPEC)
    if not isinstance(answer, Mapping) or not isinstance(answer.get("value"), list):
        raise _unreachable(upstream, "it gave no list of its functions")
    return dict(filter(None, map(_entry, answer["value"])))


async def probe(upstream: Upstream) -> None:
    """Return only when the deployment at the upstream's url has its name and takes its key.

    The key is sent after the name was right (docs/threat-model.md: a key goes to the origin and instance it belongs
    to). Raises GateError `custody_failed` or `upstream_unreachable`.
    """
    async with open_session(upstream, _SECONDS) as session:
        if upstream.name is not None:
            await _check_name(session, upstream)
        answer = await _ask(session, upstream, "GET", "/api/check_admin_key")
    if not isinstance(answer, Mapping) or answer.get("success") is not True:
        raise _misfit(upstream, "the deployment does not take it")


async def _check_name(session: ClientSession, upstream: Upstream) -> None:
    name = await _fetch(session, upstream, "GET", "/instance_name", body=None, headers={})
    if name.strip() != (upstream.name or "").encode():
        raise _misfit(upstream, "the deployment at its url has another name")


async def _ask(session: ClientSession, upstream: Upstream, method: str, path: str, *, body: Any = None) -> Any:
    raw = await _fetch(session, upstream, method, path, body=body, headers={"Authorization": f"Convex {upstream.key}"})
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _unreachable(upstream, "its answer is no JSON") from error


async def _fetch(
    session: ClientSession, upstream: Upstream, method: str, path: str, *, body: Any, headers: Mapping[str, str]
) -> bytes:
    try:
        async with session.request(
            method,
            upstream.url + path,
            json=body,
            headers={"Accept-Encoding": "identity", **headers},
        ) as answer:
            if answer.status in _REFUSED:
                raise _misfit(upstream, f"the deployment refuses it with status {answer.status}")
            if answer.status != _OK:
                raise _unreachable(upstream, f"it answers with status {answer.status}")
            return await _bounded(answer.content.iter_any(), upstream)
    except (ClientError, OSError, ValueError) as error:
        raise _unreachable(upstream, type(error).__name__) from error


async def _bounded(chunks: Any, upstream: Upstream) -> bytes:
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > _LARGEST:
            raise _unreachable(upstream, "its answer is too large")
    return bytes(data)


def _entry(function: Any) -> tuple[str, str] | None:
    """Path and kind of one entry of an apiSpec; None for HTTP actions and for what the gate does not understand."""
    if not isinstance(function, Mapping):
        return None
    visibility = function.get("visibility")
    inner = "internal " if not isinstance(visibility, Mapping) or visibility.get("kind") != "public" else ""
    kind = inner + str(function.get("functionType", "")).lower()
    try:
        return (canonical(str(function.get("identifier", ""))), kind) if kind in KIND_EFFECTS else None
    except Refused:
        return None


def _misfit(upstream: Upstream, why: str) -> GateError:
    return GateError(
        "custody_failed",
        f"the key kept for {upstream.name or upstream.url} does not fit: {why}",
        remedy="Store the key of this very deployment with `gate key set`.",
    )


def _unreachable(upstream: Upstream, why: str) -> GateError:
    return GateError(
        "upstream_unreachable",
        f"{upstream.url} gave no proper answer: {why}",
        remedy="See whether the deployment is up and its url in gate.yaml is right.",
    )
