"""The two ends of the proxy's benchmark, each a process of its own: a bare deployment, and the proxy before it.

Run as `bench_peers.py deployment BYTES DELAY_MS` or `bench_peers.py proxy URL`. Prints one line of JSON when it
serves, and ends when its stdin does.
"""

import asyncio
import json
import os
import sys

from aiohttp import web

from gate.proxy.lease import Lease, Scope, Upstream
from gate.proxy.pins import credential
from gate.proxy.server import Proxy

KEY = "the-real-key-of-the-benchmark"
_CHUNK = bytes(1 << 16)
_SCOPES = {
    "run": Scope(frozenset({"deployment:data:view"}), "run", frozenset({"messages:list"}), kinds=frozenset({"query"})),
    "export": Scope(frozenset({"deployment:backups:create", "deployment:backups:download"}), "export"),
    "import": Scope(frozenset({"deployment:backups:import", "deployment:data:write"}), "import"),
}


async def _deployment(size: int, delay: float) -> None:
    async def call(request: web.Request) -> web.Response:
        await request.read()
        if delay:
            await asyncio.sleep(delay)
        return web.json_response({"status": "success", "value": [{"body": "hello"}], "logLines": []})

    async def download(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": str(size)})
        await response.prepare(request)
        for _ in range(size // len(_CHUNK)):
            await response.write(_CHUNK)
        return response

    async def upload(request: web.Request) -> web.Response:
        total = 0
        async for chunk in request.content.iter_any():
            total += len(chunk)
        return web.json_response(total)

    application = web.Application()
    application.router.add_post("/api/query", call)
    application.router.add_post("/api/function", call)
    application.router.add_get("/api/export/zip/1", download)
    application.router.add_post("/api/import/upload_part", upload)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    _say({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"})
    await _until_told()
    await runner.cleanup()


async def _proxy(url: str) -> None:
    proxy = await Proxy.start(None)
    upstream = Upstream(url, "happy-otter-123", "dev", KEY)
    credentials = {name: credential(upstream, f"token-of-{name}") for name in _SCOPES}
    for name, scope in _SCOPES.items():
        proxy.open(Lease(name, credentials[name], scope, upstream))
    _say({"url": proxy.url, "pid": os.getpid(), **credentials})
    await _until_told()
    await proxy.stop()


def _say(members: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(members) + "\n")
    sys.stdout.flush()


async def _until_told() -> None:
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    asyncio.run(_deployment(int(rest[0]), float(rest[1]) / 1000) if role == "deployment" else _proxy(rest[0]))
