"""Every event of a database in order, verified one at a time. Judges no event's meaning."""

import itertools
import sqlite3
from collections.abc import Iterator
from typing import Any

from gate.audit import chain, sqlite
from gate.audit.chain import Entry


def replay(connection: sqlite3.Connection) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Pass on each event with its decoded body: the chain holds, and the indexed columns say what the body says.

    Raises LedgerError `ledger_tampered` at the first event that does not hold, and sqlite3.Error.
    """
    rows, again = itertools.tee(sqlite.rows(connection))
    for (_, subject, runs), (entry, members) in zip(rows, chain.check(row[0] for row in again), strict=True):
        if (subject, runs) != (chain.subject_of(members), chain.runs(entry.type, members)):
            raise chain.tampered(entry.seq, "its index says something else than its body")
        yield entry, members
