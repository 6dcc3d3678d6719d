"""What the keeper sees without being asked: a disk that does not answer, a clock that is behind, a lost ledger."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from grant_kit import CODEX, PROD, World

from gate import world
from gate.audit.files import Marks
from gate.audit.ledger import Ledger
from gate.custody.keyring import KeyRing
from gate.grant import using
from gate.grant.book import Book
from gate.grant.event import Event, Moment
from gate.grant.grant import Grant
from gate.identity.peer import Peer
from gate.invocation import Invocation
from gate.keeper.active import read_active
from gate.keeper.desk import UNCONFIRMED_MS, Desk
from gate.keeper.project import Project, Run
from gate.keeper.watch import watch
from gate.policy.decision import Decision, Principal

_UNCONFIRMED = "the ledger could not be confirmed for 2 s"
_INVOCATION = Invocation("cli", ("data",), "/", {}, {}, {}, None, None, None, None, None, tty=False)
_DECISION = Decision(
    "dec-1", "", "advisory", "allow", "ok", 0, "", Principal("agent:codex", "claimed", None), "cli",
    None, PROD, (), None, (), None, None,
)  # fmt: skip


class Clock:
    """The ledger's clock, which can be set."""

    behind_ms = 0

    def __call__(self) -> int:
        return world.now_ms() - self.behind_ms


class Stuck(Marks):
    """Marks of a ledger on a disk that does not answer until `free` is set."""

    free = threading.Event()

    def changed(self) -> str | None:
        self.free.wait(10)
        return None


def granted(ago_ms: int = 0) -> tuple[World, Grant]:
    """A grant of half an hour that was first used so long ago."""
    made = World()
    made.now = Moment(world.now_ms() - ago_ms, world.boot_ms() - ago_ms, world.boot_id())
    return made, made.charge(made.granted())


@asynccontextmanager
async def project_of(folder: Path, made: World, clock: Clock | None = None) -> AsyncIterator[Project]:
    """A project with a real ledger that is watched; its grants are those of `made`."""
    ledger = await Ledger.open(folder / "ledger.db", now=clock or world.now_ms)
    desk = Desk(ledger, made.book)
    active = read_active(ledger)
    project = Project("acme", folder, False, ledger, desk, active, KeyRing(folder, folder), stood=active.seq)
    watching = asyncio.create_task(watch(project))
    try:
        yield project
    finally:
        Stuck.free.set()
        watching.cancel()
        await asyncio.wait({watching})
        await project.close()


def run_under(project: Project, grant: str | None) -> Run:
    """A run that lasts, under a grant or none."""
    decision = replace(_DECISION, id=f"dec-{grant}", grant=grant)
    cut = asyncio.get_running_loop().create_future()
    run = project.runs[decision.id] = Run(_INVOCATION, Peer(1, CODEX.uid), decision, None, cut, token="")
    return run


def stick(project: Project) -> None:
    """From now on the disk does not answer, and has not for almost as long as is waited."""
    Stuck.free.clear()
    project.ledger._opened.writer.marks = Stuck(project.state / "ledger.db")  # noqa: SLF001 - a disk that hangs
    project.desk.confirmed_ms = world.boot_ms() - UNCONFIRMED_MS + 300


async def test_a_disk_that_does_not_answer_ends_access_after_two_seconds(tmp_path: Path) -> None:
    made, grant = granted()
    async with project_of(tmp_path, made) as project:
        under, without = run_under(project, grant.id), run_under(project, None)
        stick(project)
        assert project.desk.over(grant.id) is None
        async with asyncio.timeout(1.5):
            assert await under.cut == _UNCONFIRMED
        assert project.desk.over(grant.id) == _UNCONFIRMED
        assert not without.cut.done()
        Stuck.free.set()
        await asyncio.sleep(0.6)
        assert project.desk.over(grant.id) is None


async def test_it_is_seen_also_while_an_end_waits_for_its_record(tmp_path: Path) -> None:
    made, grant = granted()
    async with project_of(tmp_path, made) as project:
        under = run_under(project, grant.id)
        async with project.desk.turn():
            await asyncio.sleep(0.3)
            stick(project)
            async with asyncio.timeout(1.5):
                assert await under.cut == _UNCONFIRMED


async def test_a_ledger_that_answers_is_confirmed_for_as_long_as_something_runs(tmp_path: Path) -> None:
    made, grant = granted()
    async with project_of(tmp_path, made) as project:
        under = run_under(project, grant.id)
        project.desk.confirmed_ms = world.boot_ms() - UNCONFIRMED_MS + 600
        await asyncio.sleep(1)
        assert project.desk.over(grant.id) is None
        assert not under.cut.done()


async def test_what_is_over_is_cut_though_it_cannot_be_recorded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every round tries again; what failed is in the keeper's log once, and the mark outlives the process."""
    made, grant = granted(ago_ms=1_800_001)
    clock = Clock()
    async with project_of(tmp_path, made, clock) as project:
        clock.behind_ms = 10_000
        under = run_under(project, grant.id)
        async with asyncio.timeout(1):
            assert await under.cut == f"the grant {grant.id} has ended (expired)"
        await asyncio.sleep(0.3)
        assert grant.id in project.desk.book.barred
        assert [path.name for path in (tmp_path / "barred").iterdir()] == [grant.id]
        assert project.ledger.size == 1
        assert under.cut.done()
    assert capfd.readouterr().err.count(" acme: clock_backwards: the clock ") == 1


async def test_watching_ends_with_the_ledger(tmp_path: Path) -> None:
    made, _ = granted()
    async with project_of(tmp_path, made) as project:
        run_under(project, None)
        watching = asyncio.create_task(watch(project))
        (tmp_path / "ledger.db").rename(tmp_path / "away")
        async with asyncio.timeout(2):
            await watching
        assert project.ledger.latched is not None


async def test_a_desk_says_why_a_grant_permits_nothing(tmp_path: Path) -> None:
    made, grant = granted()
    ledger = await Ledger.open(tmp_path / "ledger.db")
    desk = Desk(ledger, made.book)
    assert desk.over(grant.id) is None
    assert desk.over("grt-none") == "the grant has ended"
    desk.book.bar(grant.id)
    assert desk.over(grant.id) == f"the grant {grant.id} has ended"
    assert desk.unrecorded() == [grant.id]
    desk.ending.add(grant.id)
    assert desk.unrecorded() == []
    made.record(using.end(made.book, grant.id, "dropped"))
    assert desk.over(grant.id) == f"the grant {grant.id} has ended (dropped)"
    desk.confirmed_ms -= UNCONFIRMED_MS + 1
    assert desk.over(grant.id) == _UNCONFIRMED
    await ledger.close()
    assert desk.over(grant.id) == "the ledger is closed: the ledger is closed"


async def test_an_event_is_on_record_and_in_the_book_or_in_neither(tmp_path: Path) -> None:
    """Also when whoever wanted it is cancelled while the disk is at work."""
    ledger = await Ledger.open(tmp_path / "ledger.db")
    desk = Desk(ledger, Book())
    made = World()
    request = made.draft(time_ms=world.now_ms())
    body = {"id": request.id, "digest": request.digest, "request": request.to_json()}

    async def take() -> None:
        async with desk.turn() as turn:
            await turn.take(Event("request.made", request.id, body))

    for delay in (0, 1):
        taking = asyncio.create_task(take())
        for _ in range(delay + 1):
            await asyncio.sleep(0)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert len(ledger.read(type="request.made")) == len(desk.book.state.requests)
        if desk.book.state.requests:
            break
    assert list(desk.book.state.requests) == [request.id]
    await ledger.close()


async def test_who_waits_for_a_change_is_woken_by_it(tmp_path: Path) -> None:
    ledger = await Ledger.open(tmp_path / "ledger.db")
    desk = Desk(ledger, Book())
    waiting = asyncio.create_task(desk.change(20))
    await asyncio.sleep(0)
    request = World().draft(time_ms=world.now_ms())
    body = {"id": request.id, "digest": request.digest, "request": request.to_json()}
    async with desk.turn() as turn:
        await turn.take(Event("request.made", request.id, body))
    async with asyncio.timeout(2):
        await waiting
        await desk.change(0.01)
    await ledger.close()
