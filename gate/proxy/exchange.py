"""One HTTP request through the proxy: checked, its credential swapped, forwarded, streamed back. Keeps no lease."""

import re
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import ClientError, ClientSession, web
from multidict import CIMultiDict
from yarl import URL

from gate.proxy import answer as answers, body as bodies, functions, refusal, routes
from gate.proxy.answer import Listener
from gate.proxy.book import Entry, same
from gate.proxy.functions import AS_USER, Call
from gate.proxy.lease import Lease, Passing, Scope
from gate.proxy.leave import admit, check_live
from gate.proxy.refusal import Refused
from gate.proxy.routes import Route
from gate.proxy.rows import count_answer
from gate.proxy.upstream import Pool

# What the deployment gets to see of the caller's headers. Everything else, cookies and forwarding notes included,
# stays here.
_REQUEST_HEADERS = (
    "Accept",
    "Accept-Encoding",
    "Accept-Language",
    "Content-Type",
    "Convex-Client",
    "Traceparent",
    "User-Agent",
)
_FUNCTION_ROUTES = frozenset({"/api/function", "/api/query"})
_LENGTH = re.compile(r"\d{1,15}", re.ASCII)


@dataclass(slots=True)
class Outgoing:
    """What is sent to the deployment: where to, the body, and what there is to know about it.

    `writes`, `charges`: as in Passing. `passing`: what its lease's leave has to be asked for. `listener`: who reads
    the answer in passing.
    """

    path: str
    writes: bool
    charges: bool
    call: Call | None = None
    data: bytes | AsyncIterable[bytes] | None = None
    length: str | None = None
    passing: Passing | None = None
    listener: Listener | None = None


def shape(path: str, refused: Refused) -> web.Response:
    """The answer to a refused request for `path`, in the form that its client reads."""
    return refusal.of_function(refused) if path in _FUNCTION_ROUTES else refusal.plain(refused)


async def forward(request: web.BaseRequest, entry: Entry, user: str | None, pool: Pool) -> web.StreamResponse:
    """Forward `request` under the lease of `entry`, acting as `user` (base64) where there is one.

    Raises Refused for everything that the lease's scope does not cover, and when the deployment cannot be reached.
    """
    lease = entry.lease
    check_live(lease)
    route = routes.find(request.method, request.raw_path, lease.scope)
    _check_user(user, request.path, lease.scope)
    outgoing = await _prepare(request, route, entry)
    await admit(lease, outgoing.passing)
    if outgoing.writes:
        lease.counts.writes += 1
    else:
        lease.counts.reads += 1
    return await _send(request, outgoing, lease, user, pool.session(lease.upstream))


def _check_user(user: str | None, path: str, scope: Scope) -> None:
    if user is not None and not (scope.acts_as_user and AS_USER in scope.effects and path == "/api/function"):
        raise Refused(f"acting as a user needs {AS_USER} and --identity")


async def _prepare(request: web.BaseRequest, route: Route, entry: Entry) -> Outgoing:
    outgoing = Outgoing(request.raw_path, route.writes, route.charges, listener=_listener(route, entry))
    if route.body == "none":
        if request.can_read_body:
            outgoing.data, outgoing.length = _while_live(request.content.iter_any(), entry.lease), _length(request)
        return outgoing
    pushes = functions.DEPLOY in entry.lease.scope.effects
    message = await bodies.read_object(request, bodies.LARGEST if pushes else bodies.COMMON)
    _swap(message, route, entry)
    _inspect(message, route, entry, outgoing)
    outgoing.data = await bodies.write_object(message, request.content.total_bytes)
    if entry.lease.leave is not None:
        await _prepare_leave(request, message, outgoing, entry.lease)
    return outgoing


def _listener(route: Route, entry: Entry) -> Listener | None:
    match route.answer:
        case "import":
            return partial(_note_import, entry)
        case "rows" if entry.lease.leave is not None:
            return partial(count_answer, entry.lease.counts)
    return None


def _note_import(entry: Entry, answer: object) -> None:
    if isinstance(answer, Mapping) and isinstance(answer.get("importId"), str):
        entry.imports.add(answer["importId"])


async def _prepare_leave(
    request: web.BaseRequest, message: Mapping[str, Any], outgoing: Outgoing, lease: Lease
) -> None:
    """What the leave has to be asked for, and a body that waits for its connection no longer than the lease lasts."""
    if outgoing.writes or outgoing.charges:
        digest = await bodies.digest(message, request.content.total_bytes)
        path, component = (outgoing.call.path, outgoing.call.component) if outgoing.call else (None, None)
        place = f"{request.method} {request.path}"
        outgoing.passing = Passing(place, path, component or None, digest, outgoing.writes, outgoing.charges)
    if isinstance(outgoing.data, bytes):
        outgoing.length = str(len(outgoing.data))
        outgoing.data = _while_live(_once(outgoing.data), lease)


async def _while_live(chunks: AsyncIterable[bytes], lease: Lease) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        check_live(lease)
        yield chunk


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _length(request: web.BaseRequest) -> str | None:
    if "Content-Encoding" in request.headers:
        raise Refused("the encoding of the body is not one that the gate lets through", status=415)
    length = request.headers.get("Content-Length", "")
    return length if _LENGTH.fullmatch(length) else None


def _swap(message: dict[str, Any], route: Route, entry: Entry) -> None:
    """Put the real key where Convex reads it and nowhere else; both carriers of a request have to agree."""
    if "adminKey" not in message:
        if route.body == "key":
            raise Refused("the request body carries no credential")
        return
    key = message["adminKey"]
    if not isinstance(key, str) or not same(key, entry.lease.credential):
        raise Refused("header and body carry different credentials")
    if route.body == "key":
        message["adminKey"] = entry.lease.upstream.key
    else:
        del message["adminKey"]


def _inspect(message: dict[str, Any], route: Route, entry: Entry, outgoing: Outgoing) -> None:
    scope = entry.lease.scope
    match route.check:
        case "function" | "query":
            _inspect_call(message, route, scope, outgoing)
        case "variables":
            _inspect_variables(message, scope)
        case "import":
            _inspect_import(message, scope)
        case "confirm":
            _inspect_confirmation(message, entry)
        case "test":
            _inspect_test(message, scope)


def _inspect_call(message: dict[str, Any], route: Route, scope: Scope, outgoing: Outgoing) -> None:
    call = functions.read_call(message, "path")
    functions.check(call, scope)
    outgoing.call = call
    outgoing.writes = functions.writes(call, scope)
    outgoing.charges = route.charges and functions.decided(call, scope)
    if route.check == "function":
        functions.check_untyped(call, scope)
        kind = functions.typed(call, scope)
        if kind is not None:
            outgoing.path = f"/api/{kind}"
            message.pop("componentPath", None)


def _inspect_variables(message: Mapping[str, Any], scope: Scope) -> None:
    changes = message.get("changes")
    if not isinstance(changes, list) or not all(isinstance(change, Mapping) for change in changes):
        raise Refused("the changes are malformed")
    names = [change.get("name") for change in changes]
    if not all(functions.among(name, scope.variables) for name in names):
        raise Refused("the variables are not those that were decided")


def _inspect_import(message: Mapping[str, Any], scope: Scope) -> None:
    settings = message.get("import")
    if not isinstance(settings, Mapping):
        raise Refused("the import is malformed")
    component = settings.get("componentPath")
    if not isinstance(component, str | None):
        raise Refused("the import is malformed")
    functions.check_component(component, scope)
    # A zip brings tables of its own, and this mode empties those that are not imported.
    every = settings.get("format") == "zip" or settings.get("mode") == "replaceAll"
    if scope.tables is not None and (every or not functions.among(settings.get("tableName"), scope.tables)):
        raise Refused("the table is not one that was decided")


def _inspect_confirmation(message: Mapping[str, Any], entry: Entry) -> None:
    """What somebody else uploaded goes into tables that nobody decided on here."""
    if not functions.among(message.get("importId"), frozenset(entry.imports)):
        raise Refused("the import is not one that was uploaded in this run")


def _inspect_test(message: Mapping[str, Any], scope: Scope) -> None:
    """Components are named by id here, which no decision knows: one may be named where one was decided."""
    if message.get("componentId") is not None and scope.components is not None and not scope.components - {""}:
        raise Refused("the component is not the one that was decided")


async def _send(
    request: web.BaseRequest, outgoing: Outgoing, lease: Lease, user: str | None, session: ClientSession
) -> web.StreamResponse:
    headers = _headers(request, outgoing, lease)
    headers["Authorization"] = f"Convex {lease.upstream.key}" + (f":{user}" if user is not None else "")
    try:
        answer = await session.request(
            request.method,
            URL(lease.upstream.url + outgoing.path, encoded=True),
            headers=headers,
            data=outgoing.data,
        )
    except (ClientError, OSError) as error:
        check_live(lease)
        raise Refused(f"the deployment cannot be reached ({type(error).__name__})", status=502) from error
    async with answer:
        return await answers.stream(request, answer, lease, outgoing.listener)


def _headers(request: web.BaseRequest, outgoing: Outgoing, lease: Lease) -> CIMultiDict[str]:
    headers = CIMultiDict({name: request.headers[name] for name in _REQUEST_HEADERS if name in request.headers})
    headers.setdefault("Accept-Encoding", "identity")
    if lease.leave is not None or outgoing.listener is not None:
        headers["Accept-Encoding"] = "identity"
    if outgoing.length is not None:
        headers["Content-Length"] = outgoing.length
    return headers
