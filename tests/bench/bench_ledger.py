"""One durable append to the ledger against a raw one, alone and with 16 callers at once. Verifies no chain."""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from bench_measure import Row

from gate.audit.ledger import Ledger

_CALLERS = 16
_BODY = {"object": {"because": "x" * 1200}, "runs": False, "uid": 1000}

Append = Callable[[], Awaitable[object]]


def measure(turns: int) -> list[Row]:
    """Both ratios of the ledger, on the file system of the temporary folder."""
    with TemporaryDirectory(prefix="gate-bench-") as folder:
        return asyncio.run(_measure(Path(folder), turns))


async def _measure(folder: Path, turns: int) -> list[Row]:
    (folder / "ledger").mkdir(mode=0o700)
    ledger = await Ledger.open(folder / "ledger" / "ledger.db")
    raw = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        entry = await ledger.append("decision", _BODY)
        data = entry.body.encode()
        return [await _single(ledger, raw, data, turns), await _group(ledger, turns)]
    finally:
        os.close(raw)
        await ledger.close()


async def _single(ledger: Ledger, raw: int, data: bytes, turns: int) -> Row:
    async def append() -> None:
        await ledger.append("decision", _BODY)

    async def write() -> None:
        os.write(raw, data)
        os.fdatasync(raw)

    times: dict[Append, list[float]] = {write: [], append: []}
    for turn in range(turns):
        for run in (write, append) if turn % 2 else (append, write):
            times[run].append(await _milliseconds(run))
    ratio = statistics.median(b / a for a, b in zip(times[write], times[append], strict=True))
    unit, measured = statistics.median(times[write]), statistics.median(times[append])
    figure = f"{ratio:.2f} ({measured:.2f} ms to {unit:.2f} ms, {len(data)} bytes)"
    return Row("one durable append to a raw fdatasync append", figure, "<= 1.5", ratio <= 1.5)


async def _group(ledger: Ledger, turns: int) -> Row:
    ratios, rates = [], []
    for _ in range(5):
        single = await _rate(ledger, 1, turns // 5)
        many = await _rate(ledger, _CALLERS, turns // 5)
        ratios.append(many / single)
        rates.append((many, single))
    ratio = statistics.median(ratios)
    many, single = sorted(rates)[len(rates) // 2]
    figure = f"{ratio:.2f} ({many:.0f}/s to {single:.0f}/s)"
    return Row(f"rate of {_CALLERS} concurrent appends to the single rate", figure, ">= 1.5", ratio >= 1.5)


async def _rate(ledger: Ledger, callers: int, each: int) -> float:
    async def call() -> None:
        for _ in range(each):
            await ledger.append("decision", _BODY)

    begun = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return callers * each / (time.perf_counter() - begun)


async def _milliseconds(run: Append) -> float:
    begun = time.perf_counter_ns()
    await run()
    return (time.perf_counter_ns() - begun) / 1e6
