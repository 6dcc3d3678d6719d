"""The keeper's socket: connections, limits, peers, and which handler gets which operation. Knows no policy."""

import asyncio
import contextlib
import os
import socket
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gate import __version__
from gate.errors import ConfigInvalid, GateError
from gate.identity.peer import Peer, peer_of
from gate.keeper import members, places, protocol

Message = dict[str, Any]
_FIRST_FRAME_SECONDS = 5
# How a keeper of another version is found out about and ended.
_ANY_VERSION = ("status", "stop")
_SESSIONS = 256
_SESSIONS_PER_UID = 96


@dataclass(slots=True)
class Session:
    """One connection of a door: who it is, and frames both ways. `tokens`: of the upstreams that it keeps (mux)."""

    peer: Peer
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    tokens: dict[str, str] = field(default_factory=dict, repr=False)

    async def send(self, message: Message) -> None:
        """Send one frame. Raises protocol.Gone when the door has left."""
        try:
            self.writer.write(protocol.encode(message))
            await self.writer.drain()
        except OSError as error:
            raise protocol.Gone from error

    async def fetch(self, name: str) -> bytes | None:
        """Content of a file of the door's, by a name that the activated bundle holds; None where it has none.

        Raises protocol.Gone, and GateError for what is no answer.
        """
        await self.send({"want": name})
        answer = await self.receive()
        if answer is None:
            raise protocol.Gone
        return None if answer.get("file") is None else members.octets(answer["file"])

    async def receive(self) -> Message | None:
        """The next frame, None when the door has left. Raises GateError for what is no frame."""
        try:
            size = protocol.size_of(await self.reader.readexactly(4))
            return protocol.decode(await self.reader.readexactly(size))
        except (asyncio.IncompleteReadError, OSError):
            return None


Handler = Callable[[Session, Message], Awaitable[None]]


@dataclass(slots=True)
class Server:
    """Serves the state folder `root` until `stopping` is set, it has been idle for `idle_seconds`, or was replaced.

    `shared`: callers of other users may connect (an installed keeper). Promise: one answer or an end for every frame,
    whatever a handler raises; the reason for an unexpected one goes to the keeper's log, never to the door.
    """

    root: str
    handlers: Mapping[str, Handler]
    idle_seconds: float
    stopping: asyncio.Event
    shared: bool = False
    _sessions: Counter[int] = field(default_factory=Counter)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _idle_since: float = 0.0

    async def serve(self, ready: Callable[[], None]) -> None:
        """Listen, call `ready` once doors can connect, and return when it is time to end."""
        listener = self._listen()
        identity = os.stat(places.socket_in(self.root))
        server = await asyncio.start_unix_server(self._accept, sock=listener)
        self._idle_since = asyncio.get_running_loop().time()
        ready()
        try:
            while not self.stopping.is_set() and not self._idle() and self._is_ours(identity):
                await _wait(self.stopping, min(self.idle_seconds, 1.0))
        finally:
            if self._is_ours(identity):
                os.unlink(places.socket_in(self.root))
            server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _listen(self) -> socket.socket:
        path = places.socket_in(self.root)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with places.Address(path) as address:
            # Only the holder of the lock comes here, so a socket that is already there is stale.
            if os.path.lexists(path):
                os.unlink(path)
            listener.bind(address)
        os.chmod(path, 0o666 if self.shared else 0o600)
        return listener

    def _is_ours(self, identity: os.stat_result) -> bool:
        try:
            now = os.stat(places.socket_in(self.root))
        except OSError:
            return False
        return (now.st_dev, now.st_ino) == (identity.st_dev, identity.st_ino)

    def _idle(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._tasks:
            self._idle_since = now
        return now - self._idle_since >= self.idle_seconds

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._tasks.add(task)
        session = Session(peer_of(writer.get_extra_info("socket")), reader, writer)
        self._sessions[session.peer.uid] += 1
        try:
            # Cancelled when the keeper ends: asyncio would log that as if nobody had meant it.
            with contextlib.suppress(asyncio.CancelledError):
                await self._converse(session)
        finally:
            self._sessions[session.peer.uid] -= 1
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, session: Session) -> None:
        try:
            message = await self._first(session)
        except GateError as error:
            message = None
            await _tell(session, error)
        if message is not None:
            # A run lasts for hours: nothing here may hold on to what started it.
            answering = answer(self.handlers, session, message)
            del message
            await answering

    async def _first(self, session: Session) -> Message | None:
        """The frame that begins a conversation, None when the door left before. Raises GateError for one too many."""
        if self._sessions.total() > _SESSIONS or self._sessions[session.peer.uid] > _SESSIONS_PER_UID:
            raise GateError("limit", "the keeper serves too many doors at once", remedy="Let some of them end.")
        try:
            async with asyncio.timeout(_FIRST_FRAME_SECONDS):
                message = await session.receive()
        except TimeoutError as error:
            raise GateError("usage", "the door sent no message in time", remedy="Call again.") from error
        if message is not None and message.get("gate") != __version__ and message.get("op") not in _ANY_VERSION:
            raise GateError(
                "keeper_unavailable",
                f"this keeper runs gate {__version__}, the door another version",
                remedy="Stop the keeper; the next call starts one of the door's version.",
                argv=["gate", "keeper", "stop"],
            )
        return message


async def answer(handlers: Mapping[str, Handler], session: Session, message: Message) -> None:
    """Serve the conversation that `message` begins: one answer or an end, whatever its handler raises."""
    try:
        answering = handlers.get(str(message.get("op")), _unknown)(session, message)
        del message
        await answering
    except GateError as error:
        await _tell(session, error)
    except protocol.Gone:
        return
    except Exception:  # noqa: BLE001 - the one place where the unforeseen ends: logged here, refused there
        traceback.print_exc(file=sys.stderr)
        sys.stderr.flush()
        await _tell(session, _unforeseen())


async def _unknown(session: Session, message: Message) -> None:
    del session, message
    raise GateError("usage", "the keeper knows no such operation", remedy="Update gate.")


async def _tell(session: Session, error: GateError) -> None:
    with contextlib.suppress(protocol.Gone):
        await session.send({"error": frame_of(error)})


def frame_of(error: GateError) -> Message:
    """`error` member of a frame (docs/protocol.md)."""
    remedy = {"text": error.remedy, "argv": error.argv}
    findings = error.findings if isinstance(error, ConfigInvalid) else None
    return {"code": error.code, "message": error.message, "exit": error.exit, "remedy": remedy, "findings": findings}


def _unforeseen() -> GateError:
    return GateError("internal", "the keeper failed; nothing ran", remedy="See keeper.log in the state folder.")


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
