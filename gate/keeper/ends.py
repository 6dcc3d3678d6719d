"""How a grant ends: nothing passes any more, then it is on record, then it is shown that nothing does (promise 8).

Decides nothing: `gate/grant/using.py` says who may end what.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path

from gate import world
from gate.errors import GateError
from gate.grant import filing, using
from gate.grant.event import Event
from gate.grant.grant import CLOSING, ENDS, REVOKED
from gate.grant.request import insist_on_change_control
from gate.grant.rules import needs_of
from gate.keeper.project import Project
from gate.proxy.lease import Lease

# Grants that were cut and whose end is not on record yet: an empty file each, so that a full disk forgets none.
_BARRED = "barred"
# Where nobody can tell how long ago a grant was over, it is not said to be longer than this.
_LATEST_MS = 10 * 86_400_000
_UNRECORDED = "it was cut before its end could be recorded"


async def end(project: Project, grant_id: str, make: Callable[[], Event], *, late_ms: int = 0) -> None:
    """End a grant as `make` says: cut first, record after, then probe what was cut.

    `late_ms`: how long ago it was over. Raises what `make` raises, before anything was cut, and LedgerError when the
    end cannot be recorded: it is cut then, and stays cut.
    """
    began = world.boot_ms() - late_ms
    why = str(make().body["why"])
    project.desk.ending.add(grant_id)
    try:
        cut = await _cut(project, grant_id, why)
        async with project.desk.turn() as turn:
            await turn.take(make())
            await turn.take(using.closing(grant_id))
        _forget(project, grant_id)
        await _close(project, grant_id, cut, began)
    finally:
        project.desk.ending.discard(grant_id)


async def _cut(project: Project, grant_id: str, why: str) -> list[Lease]:
    """Let nothing pass under the grant any more; returns the leases that were live."""
    project.desk.book.bar(grant_id)
    with contextlib.suppress(OSError):
        # Where not even that can be written, this process remembers.
        _mark(project, grant_id).touch()
    runs = [run for run in project.runs.values() if run.decision.grant == grant_id]
    leases = [run.lease for run in runs if run.lease is not None]
    said = f"the grant {grant_id} has ended ({why})"
    # Barred, nothing passes any more. The runs hear of it first: a child that ends by itself was cut all the same.
    for run in runs:
        project.cut(run, said)
    if leases:
        proxy = await project.proxy()
        await asyncio.gather(*(proxy.close(lease.id, said) for lease in leases))
    return leases


async def _close(project: Project, grant_id: str, cut: list[Lease], began: int) -> None:
    passed = None
    for lease in cut:
        passed = passed or await (await project.proxy()).probe(lease)
    latency = max(0, world.boot_ms() - began)
    event = using.closed(grant_id, latency) if passed is None else using.cut_failed(grant_id, passed)
    async with project.desk.turn() as turn:
        await turn.take(event)


def _forget(project: Project, grant_id: str) -> None:
    """The end is on record: what was to remember it is not needed any more."""
    project.desk.book.barred.discard(grant_id)
    with contextlib.suppress(OSError):
        # The next start finds a mark that is left, and a grant that has ended.
        _mark(project, grant_id).unlink()


def _mark(project: Project, grant_id: str) -> Path:
    folder = project.state / _BARRED
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / grant_id


async def tick(project: Project) -> None:
    """End each open grant whose end has come, and let requests lapse. Raises LedgerError: what it could is cut then."""
    seq = project.active.seq
    await _end_each(project, _due(project).values())
    async with project.desk.turn() as turn:
        for event in _lapsing(project, turn.now.wall_ms):
            await turn.take(event)
    project.stood = seq


def _due(project: Project) -> dict[str, Event]:
    """The end of each grant that was only cut, does not stand under a new bundle, or is over.

    Raises LedgerError `ledger_tampered` for a grant that nobody signed.
    """
    book, desk = project.desk.book, project.desk
    changed = book.open_grants() if project.stood != project.active.seq else []
    fallen = [grant.id for grant in changed if not _stands(project, grant.id)]
    busy = [run.decision.grant for run in project.runs.values() if run.decision.grant is not None]
    return {
        **{grant_id: using.end(book, grant_id, REVOKED, reason=_UNRECORDED) for grant_id in desk.unrecorded()},
        **{grant_id: using.end(book, grant_id, "bundle_changed") for grant_id in fallen if grant_id not in desk.ending},
        **{event.subject: event for event in desk.overdue(busy)},
    }


def _lapsing(project: Project, now_ms: int) -> list[Event]:
    """Every pending request that is too old, or does not stand under a new bundle."""
    book = project.desk.book
    events = {event.subject: event for event in filing.lapses(book, now_ms)}
    for request in book.pending() if project.stood != project.active.seq else ():
        if not _may_stay(project, request.id):
            events.setdefault(request.id, filing.lapse(book, request.id))
    return list(events.values())


async def _end_each(project: Project, events: Iterable[Event]) -> None:
    """End several grants at once: none waits for the record, or the probe, of another before it is cut."""
    ended = await asyncio.gather(*(_end_open(project, event) for event in events), return_exceptions=True)
    for error in ended:
        if error is not None:
            raise error


async def _end_open(project: Project, event: Event) -> None:
    """End a grant unless somebody else does first."""

    def make() -> Event:
        if not project.desk.book.grant(event.subject).open:
            raise _Ended
        return event

    late = min(max(0, -project.desk.book.grant(event.subject).remaining_ms(project.desk.now())), _LATEST_MS)
    with contextlib.suppress(_Ended):
        await end(project, event.subject, make, late_ms=late)


class _Ended(Exception):
    """Somebody else ended the grant first."""


def _stands(project: Project, grant_id: str) -> bool:
    bundle, grant = project.active.bundle, project.desk.book.grant(grant_id)
    if bundle is None:
        return False
    try:
        needs = needs_of(grant.ask, grant.requester, bundle, project.active.rules)
        project.desk.book.verify_again(grant_id, bundle, needs, project.ledger)
    except GateError as error:
        if error.code == "ledger_tampered":
            raise
        return False
    return True


def _may_stay(project: Project, request_id: str) -> bool:
    bundle, request = project.active.bundle, project.desk.book.request(request_id)
    if bundle is None:
        return False
    try:
        needs = needs_of(request.ask, request.requester, bundle, project.active.rules)
        insist_on_change_control(request, request.ask, needs)
    except GateError:
        return False
    return True


async def resume(project: Project, barred: frozenset[str]) -> None:
    """Go on where a keeper stopped: finish closings, end what was only cut and what is over. Raises LedgerError.

    `barred`: what the same process cut before it lost its ledger.
    """
    folder, grants = project.state / _BARRED, project.desk.book.state.grants
    marked = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    project.desk.book.barred |= {*barred, *marked} & set(grants)
    for grant in list(grants.values()):
        if grant.state == CLOSING or grant.state in ENDS.values():
            await _finish(project, grant.id)
    await tick(project)
    for name in marked:
        (folder / name).unlink(missing_ok=True)


async def _finish(project: Project, grant_id: str) -> None:
    """Close a grant that a keeper ended and did not close: its leases went with its process."""
    grant = project.desk.book.grant(grant_id)
    async with project.desk.turn() as turn:
        if grant.state != CLOSING:
            await turn.take(using.closing(grant_id))
        await turn.take(using.closed(grant_id, max(0, turn.now.wall_ms - (grant.ended_ms or turn.now.wall_ms))))
