"""What happens in a project without anybody asking: grants end in time, a lost ledger ends runs (promise 8)."""

import asyncio
import sys

from gate import world
from gate.errors import LedgerError
from gate.keeper import ends
from gate.keeper.desk import UNCONFIRMED_MS
from gate.keeper.project import Project

_SECONDS = 0.25


async def watch(project: Project) -> None:
    """Look after `project`, four times a second, until its ledger is closed.

    Nothing here waits for a disk: one that does not answer is found out by that.
    """
    seeing = ending = asyncio.create_task(asyncio.sleep(0))
    said: set[str] = set()
    try:
        while project.ledger.latched is None:
            await asyncio.sleep(_SECONDS)
            if not seeing.done():
                _cut_unconfirmed(project)
            elif project.runs:
                seeing = asyncio.create_task(_see(project))
            if ending.done():
                ending = asyncio.create_task(_end(project, said))
    finally:
        for task in (seeing, ending):
            task.cancel()
        await asyncio.gather(seeing, ending, return_exceptions=True)


async def _see(project: Project) -> None:
    """See whether the ledger is still there."""
    began = world.boot_ms()
    await project.ledger.check()
    project.desk.confirmed_ms = max(began, project.desk.confirmed_ms)


async def _end(project: Project, said: set[str]) -> None:
    """End what is over. A failure is logged once, until it is over: `said` holds its code."""
    try:
        await ends.tick(project)
        said.clear()
    except LedgerError as error:
        # What was over is cut; the next round, or the next keeper, puts it on record.
        if error.code not in said:
            sys.stderr.write(f"{world.iso(world.now_ms())} {project.name}: {error.code}: {error.message}\n")
        said.add(error.code)


def _cut_unconfirmed(project: Project) -> None:
    if world.boot_ms() - project.desk.confirmed_ms > UNCONFIRMED_MS:
        for run in [run for run in project.runs.values() if run.decision.grant is not None]:
            project.cut(run, "the ledger could not be confirmed for 2 s")
