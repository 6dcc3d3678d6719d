"""The two ends of the proxy's benchmark, each a process of its own: a bare deployment, and the proxy before it.

Run as `bench_peers.py deployment BYTES DELAY_MS` or `bench_peers.py proxy URL [FOLDER]`. With an empty folder there is
also a lease `granted` under a real grant, whose ledger is made there. Prints one line of JSON when it serves, and ends
when its stdin does.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

from aiohttp import web
from bench_office import Office, office

from gate import world
from gate.keeper.leave import charge
from gate.proxy.lease import Lease, Scope, Upstream
from gate.proxy.pins import credential
from gate.proxy.server import Proxy

KEY = "the-real-key-of-the-benchmark"
_CHUNK = bytes(1 << 16)
_CONFIRM_SECONDS = 0.25
_WRITES = Scope(
    frozenset({"deployment:data:view", "deployment:data:write"}),
    "run",
    frozenset({"messages:send"}),
    kinds=frozenset({"mutation"}),
)
_SCOPES = {
    "write": _WRITES,
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
    application.router.add_post("/api/mutation", call)
    application.router.add_post("/api/function", call)
    application.router.add_get("/api/export/zip/1", download)
    application.router.add_post("/api/import/upload_part", upload)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    _say({"url": f"http://127.0.0.1:{runner.addresses[0][1]}"})
    await _until_told()
    await runner.cleanup()


async def _proxy(url: str, place: Path | None) -> None:
    proxy = await Proxy.start(None)
    upstream = Upstream(url, "happy-otter-123", "dev", KEY)
    names = (*_SCOPES, "granted")
    credentials = {name: credential(upstream, f"token-of-{name}") for name in names}
    for name, scope in _SCOPES.items():
        proxy.open(Lease(name, credentials[name], scope, upstream))
    made = None if place is None else await office(place)
    if made is not None:
        leave = await charge(made.desk, made.grant, "dec-7k3f9q2m")
        proxy.open(Lease("granted", credentials["granted"], _WRITES, upstream, leave=leave))
    _say({"url": proxy.url, "pid": os.getpid(), **credentials})
    await _until_told(made)
    await proxy.stop()


def _say(members: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(members) + "\n")
    sys.stdout.flush()


async def _until_told(made: Office | None = None) -> None:
    """Until stdin ends; meanwhile see to it, as a keeper does, that the ledger of `made` is still there."""
    told = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while made is not None and not (await asyncio.wait({told}, timeout=_CONFIRM_SECONDS))[0]:
        await made.desk.ledger.check()
        made.desk.confirmed_ms = world.boot_ms()
    await told
    if made is not None:
        await made.desk.ledger.close()


if __name__ == "__main__":
    role, *rest = sys.argv[1:]
    if role == "deployment":
        asyncio.run(_deployment(int(rest[0]), float(rest[1]) / 1000))
    else:
        asyncio.run(_proxy(rest[0], Path(rest[1]) if rest[1:] else None))
