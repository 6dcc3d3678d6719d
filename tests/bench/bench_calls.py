"""What a call on production costs the keeper over the same call on dev: its use is charged, its grant verified again.

Speaks the keeper's protocol as a door does (docs/protocol.md, `run`), and starts no CLI: from the invocation to the
recorded outcome of a child that has ended at once.
"""

import statistics
from pathlib import Path
from typing import Any

from bench_leave import Timed, in_turns, raw
from bench_measure import Row, milliseconds
from bench_production import connected, grant

from gate import __version__
from gate.demo import tools
from gate.demo.stage import DEV, Stage
from gate.keeper import client, protocol


def measure(made: Stage, turns: int) -> list[Row]:
    """Make the row, in the workspace `made`, on whose production a grant is made for it."""
    grant(made, "60m")
    root = made.folder / "state"
    runs = {"dev": _call(root, made), "prod": _call(root, made, "--prod"), "raw": raw(made.folder / "raw")}
    times = in_turns(runs, turns)
    dev, prod, unit = (statistics.median(times[name]) for name in ("dev", "prod", "raw"))
    figure = f"{(prod - dev) / unit:.1f} ({prod - dev:.2f} ms on {dev:.2f} ms; a raw append {unit:.2f} ms)"
    return [Row("a call on production over one on dev, in the keeper, in raw fdatasync appends", figure)]


def _call(root: Path, made: Stage, *options: str) -> Timed:
    invocation = {
        "door": "cli",
        "argv": ["run", "messages:list", *options],
        "cwd": str(made.work),
        "variables": {},
        "files": {".env.local": f"CONVEX_DEPLOYMENT=dev:{DEV}\n"},
        "problems": {},
        "gate_yaml": (made.work / "gate.yaml").read_text(encoding="utf-8"),
        "principal": "agent:codex",
        "grant": None,
        "local_config": None,
        "cli_version": tools.CONVEX,
        "tty": False,
    }
    return lambda: milliseconds(lambda: _run(root, invocation))


def _run(root: Path, invocation: dict[str, Any]) -> None:
    with connected(root) as connection:
        protocol.send(connection, {"gate": __version__, "op": "run", "invocation": invocation})
        started = client.checked(protocol.receive(connection))
        if "start" not in started:
            raise RuntimeError(started)
        protocol.send(connection, {"done": {"status": 0}})
        client.checked(protocol.receive(connection))
