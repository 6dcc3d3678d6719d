"""Whether access to production is really gone after a grant ends: revoked, and by its time. See bench_end.py.

The end of a revocation is when the keeper was asked for it, which is before it has cut anything; that of an expiry is
the moment that `gate show` had named before.
"""

import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bench_end import End, holder, one, row
from bench_measure import Row
from bench_production import connected, grant, shown

from gate.demo.stage import PROD, Stage
from gate.keeper import client

_CLOSED_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Way:
    """How a grant for `ttl` ends: `ender` makes the end of the grant with an id."""

    name: str
    ttl: str
    ender: Callable[[str], End]


def measure(made: Stage, turns: int) -> list[Row]:
    """Make rows of both ends, and of what the ledger says about them."""
    work = holder(made, "production", f"CONVEX_DEPLOYMENT=prod:{PROD}\n")
    ways = (Way("grant revoked", "30m", _revoke), Way("grant expired", "2s", _expire))
    return [found for way in ways for found in _rows(made, work, way, turns)]


def _rows(made: Stage, work: Path, way: Way, turns: int) -> list[Row]:
    runs, latencies = [], []
    for _ in range(turns):
        grant_id = grant(made, way.ttl)
        runs.append(one(made, work, way.ender(grant_id)))
        latencies.append(_latency(made, grant_id))
    recorded = f"{statistics.median(latencies):.0f} (at most {max(latencies)})"
    return [row(way.name, runs), Row(f"{way.name}: from the end to a refused probe, as recorded, ms", recorded)]


def _revoke(grant_id: str) -> End:
    def end(made: Stage, _: subprocess.Popen[bytes]) -> float:
        gate_yaml = (made.work / "gate.yaml").read_text(encoding="utf-8")
        words = {"principal": "agent:codex", "id": grant_id, "reason": "the benchmark ends it"}
        with connected(made.folder / "state") as connection:
            ended = time.time()
            client.ask(connection, "revoke", gate_yaml=gate_yaml, **words)
        return ended

    return end


def _expire(grant_id: str) -> End:
    def end(made: Stage, _: subprocess.Popen[bytes]) -> float:
        return datetime.fromisoformat(shown(made, grant_id)["ends"]).timestamp()

    return end


def _latency(made: Stage, grant_id: str) -> int:
    """Milliseconds from the end to the refused probe. Raises RuntimeError where the cut did not come out well."""
    deadline = time.monotonic() + _CLOSED_SECONDS
    while (cut := shown(made, grant_id)["cut"]) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if cut is None or cut["latency_ms"] is None:
        raise RuntimeError(f"the grant was not closed: {cut}")
    return int(cut["latency_ms"])
