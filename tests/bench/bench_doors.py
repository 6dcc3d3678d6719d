"""`gate convex` against the real CLI alone, a door's start against an empty Python, and a keeper's cold start."""

import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from bench_measure import Row, Run, paired

from gate.demo import tools
from gate.demo.stage import DEV, DEV_KEY, Stage
from gate.execution.environment import child_environment
from gate.proxy.lease import Upstream
from gate.proxy.pins import pins

EMPTY = [sys.executable, "-I", "-c", "pass"]
_DOOR = "import gate.__main__, gate.cli.convex"
_START = """\
import os, sys, time
from gate.keeper import start
begun = time.perf_counter()
os.read(start.start(sys.argv[1]), 1)
print((time.perf_counter() - begun) * 1000)
"""


def gate() -> list[str]:
    """The installed command, which starts faster than `python -m gate`; the latter where there is none."""
    installed = Path(sys.executable).with_name("gate")
    return [str(installed)] if installed.exists() else [sys.executable, "-I", "-m", "gate"]


def measure(made: Stage, turns: int) -> list[Row]:
    """Rows of everything that starts processes, in the activated workspace `made`."""
    surroundings = tools.environment(made.folder / "state")
    return [
        _over_real(made, surroundings, ("run", "messages:list"), "dev", turns),
        _over_real(made, surroundings, ("--version",), "no target", turns),
        *_starts(made, surroundings, turns),
        _cold_start(made, max(3, turns // 3)),
    ]


def _over_real(made: Stage, surroundings: Mapping[str, str], words: tuple[str, ...], where: str, turns: int) -> Row:
    real = ["node", str(made.work / "node_modules" / "convex" / "bin" / "main.js"), *words]
    home = str(made.folder / "state" / "demo" / "home")
    chosen = pins(DEV_KEY, made.dev.url, Upstream(made.dev.url, DEV, "dev", DEV_KEY))
    alone = _process(real, made.work, child_environment(surroundings, chosen, home))
    through = _process([*gate(), "convex", *words], made.work, surroundings)
    through()  # makes the home that both use
    return paired(alone, through, turns).row(f"gate convex {' '.join(words)} ({where}) to the CLI alone", 1.08)


def _starts(made: Stage, surroundings: Mapping[str, str], turns: int) -> list[Row]:
    empty = _process(EMPTY, made.work, surroundings)
    imports = _process([sys.executable, "-I", "-c", _DOOR], made.work, surroundings)
    words = ["convex", "run", "messages:list", "--prod"]
    refused = _process([*gate(), *words], made.work, surroundings, status=77)
    return [
        paired(empty, imports, 3 * turns).row("imports of the door to `python -I -c pass`"),
        paired(empty, refused, 3 * turns).row("a refused call, whole process, recorded, to `python -I -c pass`"),
    ]


def _cold_start(made: Stage, turns: int) -> Row:
    """From the fork to the moment at which doors are served, in a state folder that nobody used before."""
    times = []
    for turn in range(turns):
        root = made.folder / f"cold-{turn}"
        started = subprocess.run(
            [sys.executable, "-I", "-c", _START, str(root)], check=True, capture_output=True, text=True
        )
        times.append(float(started.stdout))
        environment = tools.environment(root)
        subprocess.run([*gate(), "keeper", "stop"], env=environment, check=True, capture_output=True)
    median = statistics.median(times)
    return Row("keeper, cold start, ms", f"{median:.0f}", "<= 800", median <= 800)


def _process(command: list[str], cwd: Path, environment: Mapping[str, str], status: int = 0) -> Run:
    def run() -> None:
        done = subprocess.run(
            command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        if done.returncode != status:
            raise RuntimeError(done.stderr.decode())

    return run
