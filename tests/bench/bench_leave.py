"""What a write on production costs over one that needs no grant: its record, before it is forwarded. Starts no CLI."""

import asyncio
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from bench_measure import Row, milliseconds
from bench_office import folder
from bench_proxy import caller, peers

from gate.audit.ledger import Ledger

_CALL = json.dumps({"path": "messages:send", "format": "convex_encoded_json", "args": [{"body": "hello"}]})
# The members of such a write's event.
_BODY = {
    "grant": "grt-7k3f9q2m",
    "decision": "dec-7k3f9q2m",
    "use": 100,
    "place": "POST /api/mutation",
    "function": "messages:send",
    "component": None,
    "sha256": "0" * 64,
    "boot": "0" * 36,
    "boot_ms": 10_000_000,
}
_EVENT = "bench.write"
_LIMIT = 1.0

Timed = Callable[[], float]


def measure(turns: int) -> list[Row]:
    """Make the row: a write without a grant, one under a grant, and what one append costs, in turns."""
    with folder() as place:
        (place / "granted").mkdir()
        (place / "alone").mkdir(mode=0o700)
        with peers(0, 0, str(place / "granted")) as (_, proxy), asyncio.Runner() as runner:
            ledger = runner.run(Ledger.open(place / "alone" / "ledger.db"))
            runs = {
                "free": _timed(caller(proxy["url"], proxy["write"], _CALL)),
                "granted": _timed(caller(proxy["url"], proxy["granted"], _CALL)),
                "append": lambda: runner.run(_append(ledger)),
                "raw": raw(place / "raw"),
            }
            times = in_turns(runs, turns)
            runner.run(ledger.close())
    return [_row(times)]


def _row(times: dict[str, list[float]]) -> Row:
    free, granted, append, unit = (statistics.median(times[name]) for name in ("free", "granted", "append", "raw"))
    added = granted - free
    ratio = added / append
    appends = f"{added:.2f} ms on {free:.2f} ms; an append to the ledger {append:.2f} ms, a raw one {unit:.2f} ms"
    what = "a write under a grant, proxied, what its record adds, in durable appends"
    return Row(what, f"{ratio:.2f} ({appends})", f"<= {_LIMIT:g}", ratio <= _LIMIT)


def _timed(run: Callable[[], object]) -> Timed:
    return lambda: milliseconds(run)


async def _append(ledger: Ledger) -> float:
    begun = time.perf_counter_ns()
    await ledger.append(_EVENT, _BODY)
    return (time.perf_counter_ns() - begun) / 1e6


def raw(file: Path) -> Timed:
    """One raw append of as many bytes as such an event has, with fdatasync."""
    opened, data = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC), bytes(400)

    def write() -> None:
        os.write(opened, data)
        os.fdatasync(opened)

    return _timed(write)


def in_turns(runs: dict[str, Timed], turns: int) -> dict[str, list[float]]:
    """Milliseconds of every one of `runs`, who go first by turns; the first turn of each is not counted."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(turns + 1):
        for name in names if turn % 2 else names[::-1]:
            times[name].append(runs[name]())
    return {name: taken[1:] for name, taken in times.items()}
