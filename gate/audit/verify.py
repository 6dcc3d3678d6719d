"""Whether a ledger's history holds, from an export or from the database itself. Read-only: repairs nothing.

Statuses are the exit codes of inspections: 0 clean, 1 findings, 3 cannot tell (docs/contract.md, Command line).
docs/verify/gate_verify.py does the same without this package.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from gate.audit import chain, sqlite
from gate.audit.activations import Activations, parts_of
from gate.audit.chain import Entry
from gate.audit.export import entry_of
from gate.audit.grammar import Grammar
from gate.audit.replay import replay
from gate.audit.writer import failure
from gate.config.bundle import Bundle
from gate.errors import ConfigInvalid, LedgerError
from gate.identity.signers import parse_signers

CLEAN, FINDINGS, CANNOT_TELL = 0, 1, 3
_WAIT_SECONDS = 5.0
_Checked = Iterable[tuple[Entry, Mapping[str, Any]]]


class Reader(Protocol):
    """One more reader of the events, from a room that knows more about some of them (gate/grant/history.py)."""

    def take(
        self, ledger_id: str | None, bundle: Bundle | None, entry: Entry, members: Mapping[str, Any]
    ) -> Iterator[str]:
        """What is wrong with this event; the reason alone, nothing where all is well.

        `bundle`: the one in force when the event was written, as far as its activation holds.
        """


@dataclass(frozen=True, slots=True)
class Report:
    """What came out. `findings`: what is wrong, or why nothing can be told. `notes`: what was not looked at.

    `events` hold, the last of them with hash `head` (None without any), in the ledger `ledger_id` (None: unnamed).
    """

    status: int
    findings: tuple[str, ...]
    notes: tuple[str, ...]
    events: int
    head: str | None
    ledger_id: str | None


def verify_export(
    lines: Iterable[bytes], *, signers: bytes | None = None, head: str | None = None, more: Iterable[Reader] = ()
) -> Report:
    """Verify the lines of an export, read one at a time.

    `signers`: an OpenSSH allowed_signers file that the reader trusts. `head`: the hash of an event that has to be
    there: one that was written down earlier shows a history that was cut off or made anew. `more`: who else reads
    the events; without one nothing is said about requests and grants.
    """
    return _report(chain.check(_entries(lines)), signers, _Wanted(head, tuple(more)))


def verify_database(
    path: Path, *, signers: bytes | None = None, head: str | None = None, more: Iterable[Reader] = ()
) -> Report:
    """Verify the database at `path`, live or a copy, as `verify_export` does, and its tables and indexes as well."""
    try:
        with contextlib.closing(sqlite.reader(path, _WAIT_SECONDS)) as connection:
            findings = [f"the file is damaged: {text}" for text in sqlite.damage(connection)]
            if not sqlite.has_schema(connection):
                findings.append("its table is not the gate's, or has lost its triggers")
            return _report(replay(connection), signers, _Wanted(head, tuple(more)), findings)
    except sqlite3.Error as error:
        status = CANNOT_TELL if failure(error).code == "ledger_unavailable" else FINDINGS
        return Report(status, (failure(error).message,), (), 0, None, None)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the reader wants to know: whether the event with hash `head` is there, and what `more` readers find."""

    head: str | None
    more: tuple[Reader, ...]


@dataclass(slots=True)
class _Reading:
    """What is known so far. `bundle`: the one in force."""

    activations: Activations
    wanted: _Wanted
    bundle: Bundle | None = None
    grammar: Grammar = field(default_factory=Grammar)
    events: int = 0
    head: str | None = None
    met: bool = False

    def take(self, entry: Entry, members: Mapping[str, Any]) -> Iterator[str]:
        """Findings about one event that the chain holds."""
        self.events, self.head = entry.seq, entry.hash
        self.met = self.met or entry.hash == self.wanted.head
        reasons = [*self.grammar.take(entry, members)]
        for reader in self.wanted.more:
            reasons += reader.take(self.grammar.ledger_id, self.bundle, entry, members)
        count = self.activations.count
        reasons += self.activations.take(self.grammar.ledger_id, entry, members)
        if self.activations.count > count:
            self.bundle = parts_of(members)[0]
        return (f"event {entry.seq} does not hold: {reason}" for reason in reasons)

    def end(self) -> Iterator[str]:
        """Findings about the whole."""
        if self.wanted.head is not None and not self.met:
            yield "no event has the pinned head: the history was cut off or made anew"

    def notes(self) -> Iterator[str]:
        """What was not looked at."""
        if self.activations.count == 0:
            yield "no bundle was activated"
        elif self.activations.given is None:
            yield "signatures not checked against your signers (give --signers FILE)"


def _report(checked: _Checked, signers: bytes | None, wanted: _Wanted, before: Iterable[str] = ()) -> Report:
    try:
        given = None if signers is None else parse_signers(signers, "signers")
    except ConfigInvalid as error:
        return Report(FINDINGS, tuple(error.findings), (), 0, None, None)
    reading = _Reading(Activations(given), wanted)
    findings = [*before]
    try:
        for entry, members in checked:
            findings += reading.take(entry, members)
    except LedgerError as error:
        findings.append(error.message)
    findings += reading.end()
    status = FINDINGS if findings else CLEAN
    if reading.events == 0 and not findings:
        status, findings = CANNOT_TELL, ["there is no event to verify"]
    notes = tuple(reading.notes())
    return Report(status, tuple(findings), notes, reading.events, reading.head, reading.grammar.ledger_id)


def _entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    for number, line in enumerate(lines, 1):
        try:
            yield entry_of(line)
        except ValueError as error:
            raise chain.tampered(number, str(error)) from error
