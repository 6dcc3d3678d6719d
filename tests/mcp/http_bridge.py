"""HTTP in front of a server that speaks on stdin and stdout, for suites that know addresses only. Judges no message.

The older form has sessions: each has a process of its own. The newer has none: each request has one. Statuses, sessions
and streams are the bridge's; what stands in a body is the server's.
"""

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

_PATIENCE_SECONDS = 20
_LONGEST_LINE = 1 << 22
_SESSION = "Mcp-Session-Id"
_STREAM = "subscriptions/listen"
# How the newer form's transport answers an error of the server's.
_STATUSES = {-32601: 404, -32602: 400, -32600: 400, -32700: 400, -32022: 400}


@dataclass(frozen=True, slots=True)
class Talk:
    """A server's `process`, which is asked one thing at a time. It cannot be ended before an answer has come."""

    process: Process
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def ask(self, body: bytes) -> bytes | None:
        """The server's answer to a message; None for one that wants none."""
        async with self.turn:
            await self.say(body)
            message = _object(body)
            if "method" in message and "id" not in message:
                return None
            async for line in self.heard():
                if "method" not in _object(line):
                    return line
            raise EOFError

    async def say(self, body: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(body.replace(b"\n", b" ") + b"\n")
        await self.process.stdin.drain()

    async def heard(self) -> AsyncIterator[bytes]:
        """Each message of the server's."""
        assert self.process.stdout is not None
        while line := await asyncio.wait_for(self.process.stdout.readline(), _PATIENCE_SECONDS):
            yield line.strip()

    async def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        await asyncio.wait_for(self.process.wait(), _PATIENCE_SECONDS)


@dataclass(frozen=True, slots=True)
class Bridge:
    """Starts `command` in `folder` with `environment`, for sessions and for requests without one."""

    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    _sessions: dict[str, Talk] = field(default_factory=dict)

    async def post(self, request: web.Request) -> web.StreamResponse:
        """What the server says to the one message in `request`."""
        body = await request.read()
        message = _object(body)
        name = request.headers.get(_SESSION)
        if name is not None:
            talk = self._sessions.get(name)
            return web.Response(status=404) if talk is None else _response(await talk.ask(body))
        talk = await self._start()
        if message.get("method") == "initialize" and "_meta" not in message.get("params", {}):
            name = str(talk.process.pid)
            self._sessions[name] = talk
            return _response(await talk.ask(body), headers={_SESSION: name})
        try:
            if message.get("method") == _STREAM:
                return await _stream(request, talk, body)
            return _response(await talk.ask(body), _STATUSES)
        finally:
            await talk.end()

    async def delete(self, request: web.Request) -> web.Response:
        """End a session."""
        talk = self._sessions.pop(request.headers.get(_SESSION, ""), None)
        if talk is None:
            return web.Response(status=404)
        await talk.end()
        return web.Response()

    async def close(self) -> None:
        """End what is left."""
        for talk in self._sessions.values():
            await talk.end()

    async def _start(self) -> Talk:
        environment = dict(self.environment)
        return Talk(
            await asyncio.create_subprocess_exec(
                *self.command, cwd=self.folder, env=environment, stdin=PIPE, stdout=PIPE, limit=_LONGEST_LINE
            )
        )


@asynccontextmanager
async def bridged(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> AsyncIterator[str]:
    """The address at which the server can be asked."""
    bridge = Bridge(command, folder, environment)
    app = web.Application()
    app.router.add_post("/mcp", bridge.post)
    app.router.add_delete("/mcp", bridge.delete)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/mcp"
    finally:
        await runner.cleanup()
        await bridge.close()


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _response(
    said: bytes | None, statuses: Mapping[int, int] | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    if said is None:
        return web.Response(status=202)
    code = _object(said).get("error", {}).get("code")
    status = (statuses or {}).get(code, 200)
    return web.Response(status=status, body=said, content_type="application/json", headers=headers)


async def _stream(request: web.Request, talk: Talk, body: bytes) -> web.StreamResponse:
    """Everything that the server says from here on, until the client leaves."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await talk.say(body)
    async for line in talk.heard():
        await response.write(b"data: " + line + b"\n\n")
    return response
