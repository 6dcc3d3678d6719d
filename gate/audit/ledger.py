"""The ledger as the keeper uses it: open, append, read, and latch shut when anything is wrong. Judges no event.

One process holds it. Appends that wait at the same time share a transaction (group commit), so that many callers pay
for one sync. docs/adr/0005-sqlite-one-writer.md has the reasons.
"""

import asyncio
import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from gate import world
from gate.audit import chain, files, sqlite
from gate.audit.chain import Entry
from gate.audit.grammar import CREATED
from gate.audit.replay import replay
from gate.audit.writer import Draft, Writer, draft, failure
from gate.errors import LedgerError

# How long an append may take before the ledger counts as lost; a locked database gives up a little earlier.
DEADLINE_SECONDS = 5.0
_PATIENCE = 0.9
_BATCH = 256

_Waiting = tuple[Draft, asyncio.Future[Entry]]
_T = TypeVar("_T")


@dataclass(slots=True)
class _Opened:
    """What `Ledger.open` gathers off the event loop."""

    id: str
    path: Path
    writer: Writer
    reading: sqlite3.Connection
    held: contextlib.ExitStack


@dataclass(slots=True)
class Ledger:
    """An open ledger. Made by `open`; `latched` says why nothing can be appended any more, None while all is well.

    `id` is its own (`led-...`), `head` the hash of the last event on disk, `size` the number of events.
    """

    _opened: _Opened
    latched: str | None = None
    _code: str = "ledger_unavailable"
    _watchers: list[Callable[[str], object]] = field(default_factory=list)
    _queue: list[_Waiting] = field(default_factory=list)
    _drainer: asyncio.Task[None] | None = None
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "ledger"))
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    _reads: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    async def open(cls, path: Path, *, now: Callable[[], int] = world.now_ms) -> Self:
        """Open the ledger at `path`, made at first use, and verify all of it.

        Raises LedgerError `ledger_unavailable` (held by another keeper, not a private file, no room, ...) or
        `ledger_tampered` (the history does not hold).
        """
        return cls(await asyncio.to_thread(_open, path, now))

    @property
    def id(self) -> str:
        """The ledger's own id."""
        return self._opened.id

    @property
    def head(self) -> str:
        """Hash of the last event."""
        return self._opened.writer.head

    @property
    def size(self) -> int:
        """Number of events."""
        return self._opened.writer.seq

    def on_latch(self, callback: Callable[[str], object]) -> None:
        """Have `callback` called on the event loop, with the reason, when the ledger latches; at once if it has."""
        self._watchers.append(callback)
        if self.latched is not None:
            self._loop.call_soon_threadsafe(callback, self.latched)

    async def append(
        self, kind: str, body: Mapping[str, Any], *, subject: str | None = None, decided_ms: int | None = None
    ) -> Entry:
        """Append an event of type `kind`; it is on disk on return.

        seq, time and type are added to `body`; `subject` is what it is found by (`chain.subject_of`). `decided_ms`: the
        wall clock by which it was decided: where the clock was set since then, it is not recorded. Raises
        ValueError when the body has no canonical form, and LedgerError: `clock_backwards` wrote nothing and leaves the
        ledger open, any other latches it.
        """
        future: asyncio.Future[Entry] = self._loop.create_future()
        waiting = draft(kind, body, subject, decided_ms), future
        self._insist_open()
        self._queue.append(waiting)
        if self._drainer is None or self._drainer.done():
            self._drainer = self._loop.create_task(self._drain())
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                return await future
        except TimeoutError as error:
            self._latch(files.refused("ledger_unavailable", "the disk did not answer in time"))
            raise self._closed() from error

    def read(
        self,
        *,
        type: str | None = None,  # noqa: A002 - the word of the contract
        subject: str | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> list[Entry]:
        """Events behind number `after`, of one type and about one subject where given, oldest first."""
        return self._read(lambda db: sqlite.read(db, kind=type, subject=subject, after=after, limit=limit))

    def tail(self, count: int) -> list[Entry]:
        """The last `count` events, oldest first."""
        return self._read(lambda db: sqlite.tail(db, count))

    def seq_of(self, head: str) -> int | None:
        """Number of the event with hash `head`; None when there is none."""
        return self._read(lambda db: sqlite.seq_of(db, head))

    def open_runs(self) -> list[str]:
        """Ids of decisions that let something run and have no outcome, oldest first.

        One process at a time holds a ledger: right after `open` each of them is a dead keeper's.
        """
        return self._read(sqlite.open_runs)

    def export(self) -> Iterator[Entry]:
        """Every event as of now, one at a time, whatever is appended meanwhile. Raises LedgerError."""
        try:
            with contextlib.closing(sqlite.reader(self._opened.path, DEADLINE_SECONDS)) as connection:
                for entry, _, _ in sqlite.rows(connection):
                    yield entry
        except sqlite3.Error as error:
            raise failure(error) from error

    async def check(self) -> None:
        """Latch when the files on disk are not those that this ledger writes: replaced, cut or gone."""
        reason = await asyncio.to_thread(self._opened.writer.marks.changed)
        if reason is not None and self.latched is None:
            self._latch(files.refused("ledger_tampered", reason))

    async def close(self) -> None:
        """Wait for what is being written and let go of the files; every later append is refused.

        A disk that does not answer is not waited for beyond the deadline; the files then stay held.
        """
        self.latched = self.latched or "the ledger is closed"
        if self._drainer is not None:
            await asyncio.wait({self._drainer}, timeout=DEADLINE_SECONDS)
        self._thread.shutdown(wait=False)
        if self._drainer is None or self._drainer.done():
            await asyncio.to_thread(self._opened.held.close)

    async def _drain(self) -> None:
        """Commit what waits, batch after batch, until nothing does."""
        while self._queue:
            batch, self._queue = self._queue[:_BATCH], self._queue[_BATCH:]
            result: list[Entry] | LedgerError = files.refused("ledger_unavailable", "its writer failed")
            try:
                drafts = [item for item, _ in batch]
                result = await self._loop.run_in_executor(self._thread, self._opened.writer.commit, drafts)
            except LedgerError as error:
                result = error
            finally:
                self._settle(batch, result)

    def _settle(self, batch: list[_Waiting], result: list[Entry] | LedgerError) -> None:
        if not isinstance(result, LedgerError):
            _answer(batch, result)
            return
        if result.code != "clock_backwards":
            self._latch(result)
        _refuse(batch, result)

    def _read(self, query: Callable[[sqlite3.Connection], _T]) -> _T:
        try:
            with self._reads:
                return query(self._opened.reading)
        except sqlite3.Error as error:
            self._latch(failure(error))
            raise self._closed() from error

    def _latch(self, error: LedgerError) -> None:
        if self.latched is None:
            self.latched, self._code = error.message, error.code
            for callback in self._watchers:
                self._loop.call_soon_threadsafe(callback, self.latched)
            waiting, self._queue = self._queue, []
            _refuse(waiting, self._closed())

    def _insist_open(self) -> None:
        if self.latched is not None:
            raise self._closed()

    def _closed(self) -> LedgerError:
        return LedgerError(
            self._code,
            str(self.latched),
            remedy="Mend the cause; the keeper opens and verifies the ledger anew (docs/operations.md).",
            argv=["gate", "doctor"],
        )


def _answer(batch: list[_Waiting], entries: list[Entry]) -> None:
    for (_, future), entry in zip(batch, entries, strict=True):
        if not future.done():
            future.set_result(entry)


def _refuse(batch: list[_Waiting], error: LedgerError) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)


def _open(path: Path, now: Callable[[], int]) -> _Opened:
    with contextlib.ExitStack() as held:
        held.callback(os.close, files.lock(path))
        files.prepare(path)
        try:
            connection = held.enter_context(contextlib.closing(sqlite.writer(path, DEADLINE_SECONDS * _PATIENCE)))
            writer, ledger_id = _verified(connection, path, now)
            reading = held.enter_context(contextlib.closing(sqlite.reader(path, DEADLINE_SECONDS * _PATIENCE)))
        except sqlite3.Error as error:
            raise failure(error) from error
        except OSError as error:
            raise files.refused("ledger_unavailable", str(error.strerror)) from error
        return _Opened(ledger_id, path, writer, reading, held.pop_all())


def _verified(connection: sqlite3.Connection, path: Path, now: Callable[[], int]) -> tuple[Writer, str]:
    """A writer that stands behind the last event, and the ledger's id; event 1 is written where there is none."""
    if sqlite.is_empty(connection):
        sqlite.create(connection)
    if not sqlite.has_schema(connection):
        raise files.refused("ledger_tampered", "its table is not the gate's, or has lost its triggers")
    writer = Writer(connection, files.Marks(path), now, version=0)
    ledger_id = _replay(connection, writer)
    if ledger_id is None:
        ledger_id = world.new_id("led")
        writer.commit([draft(CREATED, {"id": ledger_id})])
    writer.marks.note()
    return writer, ledger_id


def _replay(connection: sqlite3.Connection, writer: Writer) -> str | None:
    """Verify every event and let `writer` stand behind the last; returns the ledger's id, None without any event."""
    ledger_id: str | None = None
    connection.execute("BEGIN")
    writer.version = sqlite.data_version(connection)
    for entry, members in replay(connection):
        if entry.seq == 1:
            ledger_id = _created(entry, members)
        writer.seq, writer.head, writer.time = entry.seq, entry.hash, entry.time
    connection.execute("COMMIT")
    return ledger_id


def _created(entry: Entry, members: Mapping[str, Any]) -> str:
    ledger_id = members.get("id")
    if entry.type != CREATED or not isinstance(ledger_id, str):
        raise chain.tampered(1, "a ledger begins with its creation")
    return ledger_id
