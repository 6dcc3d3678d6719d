"""`python tests/bench/run.py [--quick] [--only NAME]`: every budget that applies, measured on this machine, as a table.

Asserts nothing: a figure is about a machine and an hour. docs/performance.md says how to read them.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import bench_calls
import bench_cut
import bench_doors
import bench_end
import bench_grants
import bench_leave
import bench_ledger
import bench_mcp
import bench_policy
import bench_production
import bench_proxy
from bench_measure import Row, table

from gate.demo import tools
from gate.demo.stage import DEV_KEY, Stage, stage

# Turns of each benchmark: for figures to quote, and to see quickly that everything runs.
_TURNS = {
    "policy": (5000, 500),
    "ledger": (300, 50),
    "proxy": (600, 60),
    "grants": (5000, 200),
    "leave": (300, 30),
    "calls": (200, 20),
    "doors": (31, 5),
    "end": (7, 2),
    "cut": (7, 2),
    "mcp": (9, 2),
    "hooks": (31, 3),
}
# Calls of each MCP server, one after the other.
_CALLS = (300, 20)
# What needs no more than turns, and what plays on a stage.
_ALONE: dict[str, Callable[[int], list[Row]]] = {
    "policy": bench_policy.measure,
    "ledger": bench_ledger.measure,
    "leave": bench_leave.measure,
}
_STAGED: dict[str, Callable[[Stage, int], list[Row]]] = {
    "doors": bench_doors.measure,
    "end": bench_end.measure,
    "calls": bench_calls.measure,
    "cut": bench_cut.measure,
    "hooks": bench_mcp.measure_hooks,
}
_UNDER_GRANTS = ("calls", "cut", "mcp")


def main() -> int:
    """Run what is named, or everything; returns 0."""
    parser = argparse.ArgumentParser(description="The budgets of docs/performance.md, measured.")
    parser.add_argument("--quick", action="store_true", help="few turns: figures that only show that it works")
    parser.add_argument("--only", action="append", choices=list(_TURNS), help="this benchmark; may be repeated")
    parser.add_argument("--calls", type=int, help="of each MCP server, one after the other")
    parser.add_argument(
        "--fastmcp", metavar="PYTHON", help="a Python with the package fastmcp, to measure its proxy too"
    )
    given = parser.parse_args()
    for name in given.only or _TURNS:
        sys.stdout.write(table(_rows(name, given)) + "\n")
        sys.stdout.flush()
    return 0


def _rows(name: str, given: argparse.Namespace) -> list[Row]:
    turns, quick = _TURNS[name][given.quick], given.quick
    if name in _ALONE:
        return _ALONE[name](turns)
    if name == "proxy":
        return bench_proxy.measure(turns, 32 if quick else 200)
    if name == "grants":
        return bench_grants.measure(turns, 20_000 if quick else 1_000_000)
    with stage(_node_modules()) as made:
        _set_up(made)
        if name in _UNDER_GRANTS:
            bench_production.open_production(made)
        if name == "mcp":
            return bench_mcp.measure(made, turns, given.calls or _CALLS[quick], given.fastmcp)
        return _STAGED[name](made, turns)


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
