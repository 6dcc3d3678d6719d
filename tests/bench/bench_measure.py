"""How everything here is timed: paired runs that take turns, medians, one row per figure. Measures nothing itself."""

import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Run = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of the report: `budget` is empty where none applies, `met` then too."""

    what: str
    figure: str
    budget: str = ""
    met: bool | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs that took turns: their medians in milliseconds, and the median of the ratio of each turn."""

    unit: float
    measured: float
    ratio: float

    def row(self, what: str, limit: float | None = None) -> Row:
        """Make a row of the ratio, at most `limit`."""
        figure = f"{self.ratio:.3f} ({self.measured:.2f} ms to {self.unit:.2f} ms)"
        return Row(what, figure) if limit is None else Row(what, figure, f"<= {limit:g}", self.ratio <= limit)


def milliseconds(run: Run) -> float:
    """Wall time of one call of `run`."""
    begun = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - begun) / 1e6


def paired(unit: Run, measured: Run, turns: int) -> Pair:
    """Run both once unmeasured, then `turns` times in turn; who goes first alternates too."""
    unit()
    measured()
    units: list[float] = []
    others: list[float] = []
    for turn in range(turns):
        order = [(unit, units), (measured, others)]
        for run, times in order if turn % 2 else order[::-1]:
            times.append(milliseconds(run))
    ratios = [other / one for one, other in zip(units, others, strict=True)]
    return Pair(statistics.median(units), statistics.median(others), statistics.median(ratios))


def table(rows: Iterable[Row]) -> str:
    """Lay `rows` out as text."""
    verdicts = {None: "", True: "met", False: "MISSED"}
    lines = [(row.what, row.figure, row.budget, verdicts[row.met]) for row in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)
