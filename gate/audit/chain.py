"""One event of the ledger and the rule that links it to the one before. Knows no storage and no event type.

`hash` = SHA-256 of `gate1`, a line end, `prev` in hex, a line end and the body (docs/contract.md, audit export).
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gate.audit import canonical
from gate.errors import LedgerError

# `prev` of the first event.
BEGINNING = "0" * 64
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
# Where an event's subject stands, first come first: what `gate audit show ID` finds it by.
_SUBJECTS = ("subject", "decision", "id", "digest")


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as it is stored: `body` is the exact text that was hashed and contains seq, time and type."""

    seq: int
    time: str
    type: str
    body: str
    prev: str
    hash: str


def link(prev: str, body: str) -> str:
    """Hash of the event `body` behind the event with hash `prev`. Raises ValueError when the body is not ASCII."""
    return hashlib.sha256(f"gate1\n{prev}\n{body}".encode("ascii")).hexdigest()


def subject_of(members: Mapping[str, Any]) -> str | None:
    """What the event is about, derived from its body alone so that any reader can rebuild it."""
    return next((value for name in _SUBJECTS if isinstance(value := members.get(name), str)), None)


def runs(kind: str, members: Mapping[str, Any]) -> bool:
    """Whether the event is a decision that lets something run, so that an outcome has to follow."""
    return kind == "decision" and members.get("runs") is True


def milliseconds(time: str) -> int:
    """A ledger's time as milliseconds since the epoch. Raises ValueError for any other form of time."""
    if not _TIME.fullmatch(time):
        raise ValueError("not a time of the ledger's")
    return round(datetime.fromisoformat(time).timestamp() * 1000)


def check(entries: Iterable[Entry]) -> Iterator[tuple[Entry, dict[str, Any]]]:
    """Pass on each entry with its decoded body, verified; entries begin with event 1 and are read one at a time.

    Holds: numbers without gap, every link, columns as in the body, time never backwards. Raises LedgerError
    `ledger_tampered` that names the first event which does not hold.
    """
    time, head = "", BEGINNING
    for seq, entry in enumerate(entries, 1):
        try:
            members = _checked(entry, seq, time, head)
        except ValueError as error:
            raise tampered(seq, str(error)) from error
        time, head = entry.time, entry.hash
        yield entry, members


def tampered(seq: int, why: str) -> LedgerError:
    """The refusal for a history that does not hold at event `seq`."""
    return LedgerError(
        "ledger_tampered",
        f"event {seq} does not hold: {why}",
        remedy="Run `gate audit verify`, then restore the ledger (docs/operations.md).",
        argv=["gate", "audit", "verify"],
    )


def _checked(entry: Entry, seq: int, time: str, head: str) -> dict[str, Any]:
    if entry.seq != seq:
        raise ValueError("an event of another number stands in its place")
    if entry.prev != head:
        raise ValueError("it is not linked to the event before it")
    if not entry.body.isascii() or link(entry.prev, entry.body) != entry.hash:
        raise ValueError("its hash is not that of its body")
    members = canonical.decode(entry.body)
    stated = members.get("seq"), members.get("time"), members.get("type")
    if stated != (seq, entry.time, entry.type) or stated[0] is True:
        raise ValueError("its body states another number, time or type")
    milliseconds(entry.time)
    if entry.time < time:
        raise ValueError("its time is before that of the event before it")
    return members
