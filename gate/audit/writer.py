"""The one place that appends: takes a batch, links it, commits it in one transaction. Used by one thread at a time.

Knows nothing of callers that wait; `ledger.py` gathers the batches.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gate import world
from gate.audit import canonical, chain, sqlite
from gate.audit.chain import Entry
from gate.audit.files import Marks, refused
from gate.errors import LedgerError

# How far the clock may step back before nothing is written any more (docs/contract.md, clock_backwards).
_TOLERANCE_MS = 2000
# What of SQLite's errors is about the place and not about the content (https://sqlite.org/rescode.html, primary codes).
_ABOUT_THE_PLACE = frozenset(
    {
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
# Between the ledger's deadline and what readers take as the time from a decision to its record (gate/grant/event.py).
_STEPPED_MS = 8_000


@dataclass(frozen=True, slots=True)
class Draft:
    """An event before it has a place: its members as canonical JSON, so that nothing can change or fail later.

    `decided_ms`: the wall clock by which it was decided, where its own time has to be about the same.
    """

    type: str
    members: Mapping[str, str]
    subject: str | None
    runs: bool
    decided_ms: int | None = None


def draft(kind: str, body: Mapping[str, Any], subject: str | None = None, decided_ms: int | None = None) -> Draft:
    """Make a draft of an event of type `kind`; the ledger's own seq, time and type win over members of those names.

    A `subject` that the body does not name goes into it. Raises ValueError when the body has no canonical form.
    """
    members = dict(body)
    if subject is not None and chain.subject_of(members) != subject:
        members["subject"] = subject
    return Draft(kind, canonical.members(members), chain.subject_of(members), chain.runs(kind, members), decided_ms)


@dataclass(slots=True)
class Writer:
    """Appends behind the event `seq` with hash `head` and time `time`; all of it as last committed or verified.

    `version`: SQLite's data version of then; another one means that somebody else wrote.
    """

    connection: sqlite3.Connection
    marks: Marks
    now: Callable[[], int]
    version: int
    seq: int = 0
    head: str = chain.BEGINNING
    time: str = ""

    def commit(self, batch: Sequence[Draft]) -> list[Entry]:
        """Append all of `batch`, or nothing; on disk on return.

        Raises LedgerError `clock_backwards` (nothing is wrong with the ledger), `ledger_tampered` when somebody else
        was at the files, `ledger_unavailable` for every other failure; after the latter two this writer is done for.
        """
        changed = self.marks.changed()
        if changed is not None:
            raise refused("ledger_tampered", changed)
        rows = self._linked(batch, self._time(item.decided_ms for item in batch))
        try:
            self._write(rows)
            self.marks.note()
        except (sqlite3.Error, LedgerError) as error:
            with contextlib.suppress(sqlite3.Error):
                self.connection.rollback()
            raise failure(error) from error
        except OSError as error:
            raise refused("ledger_tampered", "a file of it is gone") from error
        last = rows[-1][0]
        self.seq, self.head, self.time = last.seq, last.hash, last.time
        return [row[0] for row in rows]

    def _write(self, rows: Sequence[sqlite.Row]) -> None:
        self.connection.execute("BEGIN IMMEDIATE")
        if sqlite.data_version(self.connection) != self.version:
            raise refused("ledger_tampered", "somebody else wrote into it")
        sqlite.insert(self.connection, rows)
        self.connection.execute("COMMIT")

    def _time(self, decided: Iterable[int | None]) -> str:
        """The time of a batch: now, or the last event's where the clock is a little behind it."""
        now = self.now()
        if any(ms is not None and abs(now - ms) > _STEPPED_MS for ms in decided):
            raise LedgerError(
                "clock_backwards", "the clock was set meanwhile; nothing was recorded", remedy="Call again."
            )
        behind = chain.milliseconds(self.time) - now if self.time else 0
        if behind > _TOLERANCE_MS:
            raise LedgerError(
                "clock_backwards",
                f"the clock is {behind} ms behind the last event on record",
                remedy="Set the clock right; nothing is recorded or run until it has passed the last event.",
            )
        return self.time if behind > 0 else world.iso(now)

    def _linked(self, batch: Sequence[Draft], time: str) -> list[sqlite.Row]:
        rows: list[sqlite.Row] = []
        head = self.head
        for seq, item in enumerate(batch, self.seq + 1):
            own = canonical.members({"seq": seq, "time": time, "type": item.type})
            body = canonical.join({**item.members, **own})
            entry = Entry(seq, time, item.type, body, head, chain.link(head, body))
            rows.append((entry, item.subject, int(item.runs)))
            head = entry.hash
        return rows


def failure(error: sqlite3.Error | LedgerError) -> LedgerError:
    """The refusal for what went wrong in the database; one that is a refusal already stays."""
    if isinstance(error, LedgerError):
        return error
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF
    if code in _ABOUT_THE_PLACE:
        return refused("ledger_unavailable", str(error))
    return refused("ledger_tampered", f"its content is not sound ({error})")
