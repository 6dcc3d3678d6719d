"""What the proxy adds: latency of a small call, and memory under a large body either way. Tests no rule of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench_measure import Row, Run, milliseconds, paired

_PEERS = str(Path(__file__).with_name("bench_peers.py"))
_MEBI = 1 << 20
_CALL = json.dumps({"path": "messages:list", "format": "convex_encoded_json", "args": [{}]})
_LIMIT_MIB = 50


def measure(turns: int, mebibytes: int) -> list[Row]:
    """Added latency before a deployment that answers at once and before one 20 ms away; a large body both ways."""
    rows = []
    for delay in (0, 20):
        with peers(mebibytes * _MEBI, delay) as (deployment, proxy):
            rows.append(_latency(deployment["url"], proxy, delay, turns))
            if not delay:
                rows += _bulk(deployment["url"], proxy, mebibytes)
    return rows


def _latency(direct: str, proxy: dict[str, Any], delay: int, turns: int) -> Row:
    pair = paired(caller(direct, "any"), caller(proxy["url"], proxy["run"]), turns)
    added = pair.measured - pair.unit
    ratio = added / pair.unit
    figure = f"{ratio:.2f} ({added:.2f} ms on {pair.unit:.2f} ms)"
    return Row(f"proxy, added latency to direct, deployment {delay} ms away", figure, "<= 0.5", ratio <= 0.5)


def caller(url: str, credential: str, body: str = _CALL) -> Run:
    """One kept connection, as the CLI has it, that calls with `body`."""
    connection = HTTPConnection(urlsplit(url).netloc)
    headers = {"Authorization": f"Convex {credential}", "Content-Type": "application/json"}

    def call() -> None:
        connection.request("POST", "/api/function", body, headers)
        _take(connection)

    return call


def _bulk(direct: str, proxy: dict[str, Any], mebibytes: int) -> Iterator[Row]:
    for way, name in (("down", "export"), ("up", "import")):
        unit = milliseconds(_mover(way, direct, "any", mebibytes))
        before = _memory(proxy["pid"], "VmRSS")
        measured = milliseconds(_mover(way, proxy["url"], proxy[name], mebibytes))
        grown = _memory(proxy["pid"], "VmHWM") - before
        times = f"{measured / unit:.1f} times the direct time, {mebibytes * 1000 / measured:.0f} MiB/s"
        what = f"proxy, {mebibytes} MiB {way}, more memory"
        yield Row(what, f"{grown:.1f} MiB ({times})", f"< {_LIMIT_MIB} MiB", grown < _LIMIT_MIB)


def _mover(way: str, url: str, credential: str, mebibytes: int) -> Run:
    connection = HTTPConnection(urlsplit(url).netloc)
    headers = {"Authorization": f"Convex {credential}"}

    def move() -> None:
        if way == "down":
            connection.request("GET", "/api/export/zip/1", headers=headers)
        else:
            body = (bytes(_MEBI) for _ in range(mebibytes))
            length = {"Content-Length": str(mebibytes * _MEBI), "Content-Type": "application/octet-stream"}
            path = "/api/import/upload_part?uploadToken=t&partNumber=1"
            connection.request("POST", path, body, headers | length)
        _take(connection)

    return move


def _take(connection: HTTPConnection) -> None:
    answer = connection.getresponse()
    if answer.status != 200:
        raise RuntimeError(answer.read())
    while answer.read(_MEBI):
        pass


def _memory(pid: int, field: str) -> float:
    """Resident memory in MiB; reading it as it is now sets the peak (VmHWM) back (proc(5), clear_refs)."""
    if field == "VmRSS":
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


@contextmanager
def peers(size: int, delay: int, *folder: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What a deployment `delay` milliseconds away and the proxy before it said; `folder` as in bench_peers."""
    with _peer("deployment", str(size), str(delay)) as deployment, _peer("proxy", deployment["url"], *folder) as proxy:
        yield deployment, proxy


@contextmanager
def _peer(*words: str) -> Iterator[dict[str, Any]]:
    command = [sys.executable, _PEERS, *words]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError(words)
        yield json.loads(process.stdout.readline())
        process.stdin.close()
