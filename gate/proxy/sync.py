"""One WebSocket of Convex's sync protocol through the proxy: authenticated, relayed message by message, cut cleanly.

The CLI reconnects for ever when a socket just closes, so every end is told to it first as failed queries. After a
refusal a socket is not relayed any more: the versions of its two sides would not match again.
"""

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType, web
from yarl import URL

from gate.proxy import body as bodies, functions, refusal
from gate.proxy.book import Book, Entry, same
from gate.proxy.functions import AS_USER, Call
from gate.proxy.lease import Passing, Scope
from gate.proxy.leave import admit, check_live
from gate.proxy.refusal import Refused
from gate.proxy.rows import count_message
from gate.proxy.upstream import Pool

Message = dict[str, Any]
_FIRST_SECONDS = 2.0
_FAREWELL_SECONDS = 0.05
# More than the CLI's words can hold; a message is parsed where every other lease waits.
LARGEST = 1024 * 1024
_LARGEST_ANSWER = 64 * 1024 * 1024
_NEVER = {"querySet": 0, "ts": "AAAAAAAAAAA=", "identity": 0}


@dataclass(slots=True)
class Client:
    """The caller's side of a socket, and what it knows: its state's version and the queries that it watches."""

    socket: web.WebSocketResponse
    version: Message = field(default_factory=lambda: dict(_NEVER))
    queries: dict[int, None] = field(default_factory=dict)
    query_set: int = 0

    async def receive(self) -> Message | None:
        """The next message, None at the end. Raises Refused for what is no JSON object."""
        frame = await self.socket.receive()
        if frame.type is not WSMsgType.TEXT:
            return None
        try:
            message = json.loads(frame.data, object_pairs_hook=_object)
        except (ValueError, RecursionError) as error:
            raise Refused("a message is not one plain JSON object") from error
        if not isinstance(message, dict):
            raise Refused("a message is not one plain JSON object")
        return message

    async def send(self, message: Message) -> None:
        """Send `message` if the caller is still there."""
        await self.send_text(json.dumps(message, separators=(",", ":")))

    async def send_text(self, text: str) -> None:
        """Send `text` if the caller is still there; that it left is learned by receiving."""
        with contextlib.suppress(ConnectionError):
            await self.socket.send_str(text)

    def note(self, message: Mapping[str, Any]) -> None:
        """Keep in mind which queries `message` adds and removes. Raises Refused when it is malformed."""
        changes, version = message.get("modifications"), message.get("newVersion")
        if not isinstance(changes, list) or not isinstance(version, int):
            raise Refused("the query set is malformed")
        for change in changes:
            if not isinstance(change, Mapping) or not isinstance(change.get("queryId"), int):
                raise Refused("the query set is malformed")
            if change.get("type") == "Remove":
                self.queries.pop(change["queryId"], None)
            else:
                self.queries[change["queryId"]] = None
        self.query_set = version

    async def fail_queries(self, why: str) -> None:
        """Tell the caller that everything it watches failed because of `why`."""
        after = self.version | {"querySet": self.query_set}
        await self.send(refusal.of_queries(why, list(self.queries), self.version, after))
        self.version = after


@dataclass(frozen=True, slots=True)
class Introduced:
    """A socket that showed the credential of `entry`; `first` are its messages so far, the last is Authenticate."""

    entry: Entry
    first: list[Message]


@dataclass(slots=True)
class Relay:
    """What one authenticated socket needs: both sides, its lease, and the messages that came before authentication."""

    client: Client
    entry: Entry
    first: list[Message]
    path: str

    async def run(self, session: ClientSession) -> None:
        """Relay until either side goes. Raises Refused when a message may not pass or the deployment is not there."""
        url = URL(self.entry.lease.upstream.url + self.path, encoded=True)
        try:
            async with session.ws_connect(url, max_msg_size=_LARGEST_ANSWER, compress=0, autoping=True) as upstream:
                for message in self.first:
                    check_live(self.entry.lease)
                    await upstream.send_str(json.dumps(message))
                await self._both_ways(upstream)
        except (ClientError, OSError) as error:
            raise Refused(f"the deployment cannot be reached ({type(error).__name__})", status=502) from error

    async def _both_ways(self, upstream: ClientWebSocketResponse) -> None:
        tasks = [
            asyncio.create_task(self._towards(upstream)),
            asyncio.create_task(self._back(upstream)),
            asyncio.create_task(self.entry.over.wait()),
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        check_live(self.entry.lease)
        for task in done:
            task.result()

    async def _towards(self, upstream: ClientWebSocketResponse) -> None:
        checks: dict[str, Callable[[Message], Awaitable[Message]]] = {
            "Connect": self._check_nothing,
            "Event": self._check_nothing,
            "Authenticate": self._check_identity,
            "ModifyQuerySet": self._check_watched,
            "Mutation": self._check_call,
            "Action": self._check_call,
        }
        while (message := await self.client.receive()) is not None:
            check = checks.get(str(message.get("type")))
            if check is None:
                raise Refused("a message is of a type that the gate does not let through")
            await upstream.send_str(json.dumps(await check(message)))

    async def _check_nothing(self, message: Message) -> Message:
        await admit(self.entry.lease)
        return message

    async def _check_identity(self, message: Message) -> Message:
        await admit(self.entry.lease)
        return authenticate(message, self.entry)

    async def _check_watched(self, message: Message) -> Message:
        scope = self.entry.lease.scope
        self.client.note(message)
        calls = check_queries(message, scope)
        await self._admit(message, [call for call in calls if functions.decided(call, scope)], "WS Query", writes=False)
        self.entry.lease.counts.reads += len(calls)
        return message

    async def _check_call(self, message: Message) -> Message:
        try:
            call = check_call(message, self.entry.lease.scope)
            await self._admit(message, [call], f"WS {message['type']}", writes=True)
        except Refused as refused:
            await self.client.send(refusal.of_call(refused.why, message))
            raise
        self.entry.lease.counts.writes += 1
        return message

    async def _admit(self, message: Message, calls: list[Call], place: str, *, writes: bool) -> None:
        lease = self.entry.lease
        await admit(lease)
        if lease.leave is None:
            return
        digest = await bodies.digest(message, 0)
        for call in calls:
            await admit(lease, Passing(place, call.path, call.component or None, digest, writes, charges=True))

    async def _back(self, upstream: ClientWebSocketResponse) -> None:
        pieces: list[str] = []
        try:
            async for frame in upstream:
                if frame.type is not WSMsgType.TEXT:
                    return
                message = await _read(frame.data, pieces)
                check_live(self.entry.lease)
                self._follow(frame.data, message)
                await self.client.send_text(frame.data)
        finally:
            self.entry.lease.counts.rows_unknown |= bool(pieces)

    def _follow(self, text: str, message: Message | None) -> None:
        """Count what goes out, and keep the version that the caller's state has after it."""
        counts = self.entry.lease.counts
        counts.bytes_out += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        if message is None:
            return
        if self.entry.lease.leave is not None:
            count_message(counts, message)
        if message.get("type") == "Transition":
            self.client.version = message.get("endVersion", self.client.version)


async def _read(text: str, pieces: list[str]) -> Message | None:
    """The message that ends with `text`; None while `pieces` of a large transition are not all here.

    Raises Refused for what is none of the sync protocol: where its caller's state is cannot be told from there on.
    """
    message = await bodies.read_answer(text)
    if isinstance(message, dict) and message.get("type") == "TransitionChunk":
        pieces.append(str(message.get("chunk")))
        if len(pieces) != message.get("totalParts") and sum(map(len, pieces)) <= _LARGEST_ANSWER:
            return None
        message = await bodies.read_answer("".join(pieces))
        pieces.clear()
    if not isinstance(message, dict) or not isinstance(message.get("endVersion", {}), dict):
        raise Refused("the deployment sent a message that is not of the sync protocol", status=502)
    return message


async def introduce(client: Client, book: Book) -> Introduced | None:
    """The lease that the first Authenticate names; nothing but Connect comes before it, and not for long.

    None when the socket showed no credential of a lease: it has been told so, or has left.
    """
    first: list[Message] = []
    try:
        async with asyncio.timeout(_FIRST_SECONDS):
            while (message := await client.receive()) is not None:
                first.append(message)
                if message.get("type") == "Authenticate":
                    return Introduced(_named(message, book), first)
                _insist_on_connect(message, client, len(first))
    except TimeoutError:
        await client.socket.close()
    except Refused as refused:
        await farewell(client, refused.why)
    return None


async def relay(client: Client, introduced: Introduced, path: str, pool: Pool) -> None:
    """Relay an introduced socket until either side goes or its lease ends. Raises Refused when it has to stop."""
    entry = introduced.entry
    check_live(entry.lease)
    first = [*introduced.first[:-1], authenticate(introduced.first[-1], entry)]
    await Relay(client, entry, first, path).run(pool.session(entry.lease.upstream))


async def farewell(client: Client, why: str) -> None:
    """Fail what the caller watches, or the first that it asks for: only then it ends instead of reconnecting."""
    try:
        async with asyncio.timeout(_FIRST_SECONDS):
            while not client.queries and (message := await client.receive()) is not None:
                if message.get("type") == "ModifyQuerySet":
                    client.note(message)
        async with asyncio.timeout(_FAREWELL_SECONDS):
            await client.fail_queries(why)
            await client.socket.close()
    except (TimeoutError, Refused, OSError):
        return


def _named(message: Message, book: Book) -> Entry:
    value = message.get("value")
    return book.by_credential(value if isinstance(value, str) else "")


def _insist_on_connect(message: Message, client: Client, number: int) -> None:
    if message.get("type") == "ModifyQuerySet":
        client.note(message)
    if message.get("type") != "Connect" or number > 1:
        raise Refused("the socket has not authenticated")


def authenticate(message: Message, entry: Entry) -> Message:
    """`message` with the real key in it. Raises Refused for another credential, a user's token or an undecided user."""
    if message.get("tokenType") != "Admin" or not isinstance(message.get("value"), str):
        raise Refused("a user's own token does not pass")
    if not same(message["value"], entry.lease.credential):
        raise Refused("the socket carries different credentials")
    scope = entry.lease.scope
    if message.get("impersonating") is not None and not (scope.acts_as_user and AS_USER in scope.effects):
        raise Refused(f"acting as a user needs {AS_USER} and --identity")
    return message | {"value": entry.lease.upstream.key}


def check_queries(message: Mapping[str, Any], scope: Scope) -> list[Call]:
    """The queries that `message` adds, all of which `scope` covers. Raises Refused for the first it does not."""
    added = [change for change in message["modifications"] if change.get("type") != "Remove"]
    return [_check_query(change, scope) for change in added]


def _check_query(change: Mapping[str, Any], scope: Scope) -> Call:
    if change.get("type") != "Add":
        raise Refused("the query set is malformed")
    call = functions.read_call(change, "udfPath")
    functions.check(call, scope)
    return call


def check_call(message: Mapping[str, Any], scope: Scope) -> Call:
    """The mutation or action in `message`. Raises Refused unless `scope` covers it, its kind included."""
    call = functions.read_call(message, "udfPath")
    functions.check(call, scope)
    kinds = None if scope.kinds is None else {kind.removeprefix("internal ") for kind in scope.kinds}
    if functions.WRITE not in scope.effects or (kinds is not None and str(message["type"]).lower() not in kinds):
        raise Refused(f"{call.path} was not decided as a {str(message['type']).lower()}")
    return call


def _object(pairs: list[tuple[str, Any]]) -> Message:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members
