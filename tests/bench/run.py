"""`python tests/bench/run.py [--quick] [--only NAME]`: every budget that applies, measured on this machine, as a table.

Asserts nothing: a figure is about a machine and an hour. docs/performance.md says how to read them.
"""

import argparse
import sys
from pathlib import Path

import bench_doors
import bench_end
import bench_ledger
import bench_policy
import bench_proxy
from bench_measure import Row, table

from gate.demo import tools
from gate.demo.stage import DEV_KEY, Stage, stage

# Turns of each benchmark: for figures to quote, and to see quickly that everything runs.
_TURNS = {"policy": (5000, 500), "ledger": (300, 50), "proxy": (600, 60), "doors": (31, 5), "end": (7, 2)}


def main() -> int:
    """Run what is named, or everything; returns 0."""
    parser = argparse.ArgumentParser(description="The budgets of docs/performance.md, measured.")
    parser.add_argument("--quick", action="store_true", help="few turns: figures that only show that it works")
    parser.add_argument("--only", action="append", choices=list(_TURNS), help="this benchmark; may be repeated")
    given = parser.parse_args()
    for name in given.only or _TURNS:
        sys.stdout.write(table(_rows(name, _TURNS[name][given.quick], quick=given.quick)) + "\n")
        sys.stdout.flush()
    return 0


def _rows(name: str, turns: int, *, quick: bool) -> list[Row]:
    if name == "policy":
        return bench_policy.measure(turns)
    if name == "ledger":
        return bench_ledger.measure(turns)
    if name == "proxy":
        return bench_proxy.measure(turns, 32 if quick else 200)
    with stage(_node_modules()) as made:
        _set_up(made)
        return bench_doors.measure(made, turns) if name == "doors" else bench_end.measure(made, turns)


def _set_up(made: Stage) -> None:
    for words, stdin in ((("activate", "--key", str(made.person)), ""), (("key", "set", "dev"), DEV_KEY)):
        came = made.gate(*words, stdin=stdin)
        if came.code:
            raise RuntimeError(came.err)


def _node_modules() -> Path:
    """The tests' own installation where it is there, else the demo's."""
    installed = Path(__file__).parents[1] / "convex" / "node_modules"
    return installed if installed.exists() else tools.node_modules()


if __name__ == "__main__":
    sys.exit(main())
