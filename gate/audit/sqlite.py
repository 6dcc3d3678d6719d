"""The ledger's table in SQLite: schema, connections and statements. Knows no chain rule beyond what the table enforces.

WAL with synchronous=FULL: a commit is on disk when it returns (docs/adr/0005-sqlite-one-writer.md).
"""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from gate.audit.chain import BEGINNING, Entry

VERSION = 1

# `subject` and `runs` are derived from the body (gate/audit/chain.py). The trigger before inserts also stops REPLACE,
# which deletes without firing the trigger for it.
_TABLE = f"""\
CREATE TABLE events (
    seq INTEGER PRIMARY KEY,
    time TEXT NOT NULL,
    type TEXT NOT NULL,
    subject TEXT,
    runs INTEGER NOT NULL,
    body TEXT NOT NULL,
    prev TEXT NOT NULL UNIQUE,
    hash TEXT NOT NULL
) STRICT;
CREATE INDEX events_type ON events (type, seq);
CREATE INDEX events_subject ON events (subject, type);
CREATE INDEX events_runs ON events (subject) WHERE runs = 1;
CREATE TRIGGER events_append_only_update BEFORE UPDATE ON events
    BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER events_append_only_delete BEFORE DELETE ON events
    BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER events_append_only_insert BEFORE INSERT ON events
    WHEN new.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events)
        OR new.prev IS NOT coalesce((SELECT hash FROM events ORDER BY seq DESC LIMIT 1), '{BEGINNING}')
    BEGIN SELECT raise(ABORT, 'the ledger is append-only'); END;
PRAGMA user_version = {VERSION};
"""  # noqa: S608 - constants of ours
_COLUMNS = "seq, time, type, body, prev, hash"
_INSERT = "INSERT INTO events (seq, time, type, body, prev, hash, subject, runs) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_OPEN_RUNS = """\
SELECT subject FROM events AS decided INDEXED BY events_runs WHERE runs = 1
    AND NOT EXISTS (SELECT 1 FROM events WHERE subject = decided.subject AND type = 'outcome') ORDER BY seq"""
_CHUNK = 500

Row = tuple[Entry, str | None, int]


def writer(path: Path, wait_seconds: float) -> sqlite3.Connection:
    """A connection that writes; it waits `wait_seconds` for another writer. Raises sqlite3.Error."""
    connection = sqlite3.connect(
        _uri(path, "rw"), wait_seconds, uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "fullfsync = ON",
            "checkpoint_fullfsync = ON",
            "trusted_schema = OFF",
            "cell_size_check = ON",
        ):
            connection.execute(f"PRAGMA {pragma}").fetchall()
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def reader(path: Path, wait_seconds: float) -> sqlite3.Connection:
    """A connection that cannot write. Raises sqlite3.Error.

    A copy that has no log beside it is taken as it is: SQLite would want to make one.
    """
    logged = path.with_name(path.name + "-wal").exists()
    uri = _uri(path, "ro") + ("" if logged else "&immutable=1")
    return sqlite3.connect(uri, wait_seconds, uri=True, isolation_level=None, check_same_thread=False)


def create(connection: sqlite3.Connection) -> None:
    """Make the table, whole or not at all. Raises sqlite3.Error."""
    connection.executescript(f"BEGIN IMMEDIATE; {_TABLE} COMMIT;")


def is_empty(connection: sqlite3.Connection) -> bool:
    """Whether nothing was ever made in this database. Raises sqlite3.Error."""
    return bool(connection.execute("SELECT count(*) = 0 FROM sqlite_schema").fetchone()[0])


def has_schema(connection: sqlite3.Connection) -> bool:
    """Whether table, indexes and triggers are the ones made by `create`, no more and no less. Raises sqlite3.Error."""
    fresh = sqlite3.connect(":memory:", isolation_level=None)
    try:
        fresh.executescript(_TABLE)
        return _schema(connection) == _schema(fresh)
    finally:
        fresh.close()


def damage(connection: sqlite3.Connection) -> list[str]:
    """What SQLite itself finds wrong with the file, its indexes included. Raises sqlite3.Error."""
    found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(10)")]
    return [] if found == ["ok"] else found


def data_version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection has committed. Raises sqlite3.Error."""
    return int(connection.execute("PRAGMA data_version").fetchone()[0])


def insert(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Append `rows` inside the transaction that is open. Raises sqlite3.Error."""
    connection.executemany(_INSERT, (_values(row) for row in rows))


def rows(connection: sqlite3.Connection) -> Iterator[Row]:
    """Every event in order with its derived columns, some at a time. Raises sqlite3.Error."""
    cursor = connection.execute(f"SELECT {_COLUMNS}, subject, runs FROM events ORDER BY seq")  # noqa: S608 - constants of ours
    while chunk := cursor.fetchmany(_CHUNK):
        for row in chunk:
            yield Entry(*row[:6]), row[6], row[7]


def read(
    connection: sqlite3.Connection, *, kind: str | None, subject: str | None, after: int, limit: int | None
) -> list[Entry]:
    """Events behind number `after` of that type and subject, in order. Raises sqlite3.Error."""
    # Conditions are left out, not made true by OR: SQLite would walk the whole table.
    given = {"type = ?": kind, "subject = ?": subject}
    where = " AND ".join(["seq > ?", *(text for text, value in given.items() if value is not None)])
    values = [after, *(value for value in given.values() if value is not None), -1 if limit is None else limit]
    query = f"SELECT {_COLUMNS} FROM events WHERE {where} ORDER BY seq LIMIT ?"  # noqa: S608 - constants of ours
    return [Entry(*row) for row in connection.execute(query, values)]


def tail(connection: sqlite3.Connection, count: int) -> list[Entry]:
    """The last `count` events, in order. Raises sqlite3.Error."""
    query = f"SELECT {_COLUMNS} FROM events ORDER BY seq DESC LIMIT ?"  # noqa: S608 - constants of ours
    return [Entry(*row) for row in connection.execute(query, (max(count, 0),))][::-1]


def seq_of(connection: sqlite3.Connection, head: str) -> int | None:
    """Number of the event with hash `head`, None when there is none. Raises sqlite3.Error."""
    # An event's hash is the next one's `prev`, which is indexed; only the last event has no next one.
    found = connection.execute("SELECT seq - 1 FROM events WHERE prev = ? AND seq > 1", (head,)).fetchone()
    last = connection.execute("SELECT seq FROM events WHERE seq = (SELECT max(seq) FROM events) AND hash = ?", (head,))
    found = found or last.fetchone()
    return None if found is None else int(found[0])


def open_runs(connection: sqlite3.Connection) -> list[str]:
    """Ids of decisions that let something run and have no outcome, oldest first. Raises sqlite3.Error."""
    return [str(row[0]) for row in connection.execute(_OPEN_RUNS)]


def _values(row: Row) -> tuple[object, ...]:
    entry, subject, runs = row
    return (entry.seq, entry.time, entry.type, entry.body, entry.prev, entry.hash, subject, runs)


def _schema(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    made = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name").fetchall()
    return [*made, ("version", str(connection.execute("PRAGMA user_version").fetchone()[0]))]


def _uri(path: Path, mode: str) -> str:
    return f"file:{quote(str(path.absolute()))}?mode={mode}"
