"""The ledger at work: what was acknowledged is there, in order, once, and can be found again."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gate.audit import chain
from gate.audit.export import entry_of, write
from gate.audit.grammar import CREATED
from gate.audit.ledger import Ledger
from gate.errors import LedgerError

NOON = 1_771_495_445_123


class Clock:
    """A wall clock that stands until it is moved."""

    def __init__(self) -> None:
        self.ms = NOON

    def __call__(self) -> int:
        return self.ms


async def test_the_first_use_makes_the_ledger(tmp_path: Path) -> None:
    """Event 1 names the ledger; it stays the same; files are private."""
    path = tmp_path / "ledger.db"
    ledger = await Ledger.open(path, now=Clock())
    first = ledger.tail(1)[0]
    assert (first.seq, first.type, first.prev, ledger.size) == (1, CREATED, chain.BEGINNING, 1)
    assert json.loads(first.body)["id"] == ledger.id
    assert ledger.id.startswith("led-")
    assert {entry.stat().st_mode & 0o777 for entry in os.scandir(tmp_path)} == {0o600}
    head, name = ledger.head, ledger.id
    await ledger.close()
    again = await Ledger.open(path)
    assert (again.id, again.head, again.size) == (name, head, 1)
    await again.close()


async def test_what_is_appended_is_read(tmp_path: Path) -> None:
    """By type, by subject, by number, from the end, and whole; after opening anew as well."""
    ledger = await Ledger.open(tmp_path / "ledger.db", now=Clock())
    one = await ledger.append("decision", {"id": "dec-1", "runs": True, "argv": ["é", "\udc80"]})
    two = await ledger.append("outcome", {"decision": "dec-1", "outcome": "ok"})
    three = await ledger.append("key.set", {"custody": "dev"}, subject="dev")
    four = await ledger.append("note", {"id": "n", "seq": 99, "time": "never", "type": "x"}, subject="n")
    await ledger.close()
    ledger = await Ledger.open(tmp_path / "ledger.db", now=Clock())
    assert ledger.read(subject="dec-1") == [one, two]
    assert ledger.read(type="outcome", subject="dec-1") == [two]
    assert ledger.read(type="key.set") == [three]
    assert json.loads(three.body)["subject"] == "dev"
    assert json.loads(four.body) == {"id": "n", "seq": 5, "time": four.time, "type": "note"}
    assert ledger.read(after=3) == [three, four]
    assert ledger.read(after=1, limit=2) == [one, two]
    assert ledger.tail(2) == [three, four]
    assert ledger.tail(0) == []
    assert [entry_of(line) for line in write(ledger.export())] == ledger.read()
    assert [ledger.seq_of(entry.hash) for entry in ledger.read()] == [1, 2, 3, 4, 5]
    assert ledger.seq_of("0" * 64) is None
    assert (ledger.head, ledger.size) == (four.hash, 5)
    await ledger.close()


async def test_an_export_is_of_one_moment(tmp_path: Path) -> None:
    """What is appended while an export is read is not in it."""
    ledger = await Ledger.open(tmp_path / "ledger.db")
    export = ledger.export()
    assert next(export).seq == 1
    await ledger.append("note", {})
    assert list(export) == []
    await ledger.close()


async def test_runs_without_an_outcome_are_found(tmp_path: Path) -> None:
    """Only decisions that let something run, and only until their outcome."""
    ledger = await Ledger.open(tmp_path / "ledger.db")
    for number, runs in enumerate([True, False, True, True]):
        await ledger.append("decision", {"id": f"dec-{number}", "runs": runs})
    await ledger.append("note", {"id": "note", "runs": True})
    await ledger.append("outcome", {"decision": "dec-2"})
    assert ledger.open_runs() == ["dec-0", "dec-3"]
    await ledger.close()


async def test_concurrent_appends_share_transactions(tmp_path: Path) -> None:
    """16 callers at once: every event once, in one chain, in fewer transactions than events."""
    ledger = await Ledger.open(tmp_path / "ledger.db")
    commits = transactions(ledger)

    async def caller(name: int) -> list[int]:
        return [(await ledger.append("note", {"id": f"{name}-{n}"})).seq for n in range(8)]

    numbers = await asyncio.gather(*(caller(name) for name in range(16)))
    assert all(own == sorted(own) for own in numbers)
    assert sorted(seq for own in numbers for seq in own) == list(range(2, 130))
    assert len(commits) <= 64
    assert len(list(chain.check(ledger.export()))) == 129
    await ledger.close()


async def test_a_caller_that_goes_away_leaves_the_others_alone(tmp_path: Path) -> None:
    """A cancelled append may still be on record; its neighbours are answered."""
    ledger = await Ledger.open(tmp_path / "ledger.db")
    tasks = [asyncio.create_task(ledger.append("note", {"id": str(n)})) for n in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    first, gone, last = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(gone, asyncio.CancelledError)
    assert {first, last} <= set(ledger.read())
    await ledger.close()


async def test_a_body_without_canonical_form_harms_nothing(tmp_path: Path) -> None:
    """The mistake is its caller's; the ledger stays open."""
    ledger = await Ledger.open(tmp_path / "ledger.db")
    with pytest.raises(ValueError, match="canonical"):
        await ledger.append("note", {"ratio": 0.5})
    assert (await ledger.append("note", {})).seq == 2
    await ledger.close()


async def test_one_keeper_at_a_time(tmp_path: Path) -> None:
    """A second one is refused at once and does not disturb the first; after the first has closed it may."""
    path = tmp_path / "ledger.db"
    ledger = await Ledger.open(path)
    assert (await refusal(lambda: Ledger.open(path))).code == "ledger_unavailable"
    await ledger.append("note", {})
    await ledger.close()
    await (await Ledger.open(path)).close()


async def test_nothing_is_appended_after_the_end(tmp_path: Path) -> None:
    """A closed ledger refuses."""
    ledger = await Ledger.open(tmp_path / "ledger.db")
    waiting = asyncio.create_task(ledger.append("note", {}))
    await asyncio.sleep(0)
    await ledger.close()
    assert (await waiting).seq == 2
    assert (await refusal(lambda: ledger.append("note", {}))).message == "the ledger is closed"


async def test_a_small_step_of_the_clock_is_not_seen(tmp_path: Path) -> None:
    """Up to 2 s behind, the last time is used again: time in the ledger never goes backwards."""
    clock = Clock()
    ledger = await Ledger.open(tmp_path / "ledger.db", now=clock)
    before = await ledger.append("note", {})
    clock.ms -= 2000
    assert (await ledger.append("note", {})).time == before.time
    clock.ms += 2001
    assert (await ledger.append("note", {})).time > before.time
    await ledger.close()


async def test_an_hour_back_is_refused_and_mends_itself(tmp_path: Path) -> None:
    """Nothing is written, the ledger does not latch, and goes on when the clock is right again; so after a restart."""
    clock = Clock()
    ledger = await Ledger.open(tmp_path / "ledger.db", now=clock)
    clock.ms -= 3_600_000
    assert (await refusal(lambda: ledger.append("note", {}))).code == "clock_backwards"
    assert (ledger.latched, ledger.size) == (None, 1)
    await ledger.close()
    ledger = await Ledger.open(tmp_path / "ledger.db", now=clock)
    assert (await refusal(lambda: ledger.append("note", {}))).exit == 74
    clock.ms = NOON
    assert (await ledger.append("note", {})).seq == 2
    await ledger.close()


async def test_an_hour_forward_holds_until_time_has_caught_up(tmp_path: Path) -> None:
    """After a jump forward and back, nothing is recorded out of order."""
    clock = Clock()
    ledger = await Ledger.open(tmp_path / "ledger.db", now=clock)
    clock.ms += 3_600_000
    await ledger.append("note", {})
    clock.ms = NOON
    assert (await refusal(lambda: ledger.append("note", {}))).code == "clock_backwards"
    await ledger.close()


async def test_a_clock_that_is_set_between_decision_and_record(tmp_path: Path) -> None:
    """Its readers would not take the event: nothing is written, and the ledger goes on."""
    clock = Clock()
    ledger = await Ledger.open(tmp_path / "ledger.db", now=clock)
    for decided_ms in (clock.ms - 8001, clock.ms + 8001):
        refused = await refusal(lambda decided_ms=decided_ms: ledger.append("note", {}, decided_ms=decided_ms))  # type: ignore[misc]
        assert refused.code == "clock_backwards"
    assert (ledger.latched, ledger.size) == (None, 1)
    assert (await ledger.append("note", {}, decided_ms=clock.ms - 8000)).seq == 2
    await ledger.close()


async def test_a_commit_is_synced(tmp_path: Path) -> None:
    """SQLite syncs its log before a commit returns; no crash test tells these settings from weaker ones."""
    ledger = await Ledger.open(tmp_path / "ledger.db")
    connection = ledger._opened.writer.connection  # noqa: SLF001 - what SQLite itself says
    asked = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")}
    assert asked == {"journal_mode": "wal", "synchronous": 2}
    await ledger.close()


def transactions(ledger: Ledger) -> list[str]:
    """Grows by one with each transaction that the ledger commits from now on."""
    seen: list[str] = []
    connection = ledger._opened.writer.connection  # noqa: SLF001 - counts what SQLite really ran
    connection.set_trace_callback(lambda text: seen.append(text) if text == "COMMIT" else None)
    return seen


async def refusal(attempt: Callable[[], object]) -> LedgerError:
    """The refusal that has to come."""
    with pytest.raises(LedgerError) as caught:
        await attempt()  # type: ignore[misc]
    return caught.value
