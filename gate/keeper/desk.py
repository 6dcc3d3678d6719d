"""Desk: the requests and grants of one project as they stand, and the one lock under which they change. Cuts nothing.

Every change is decided by `gate/grant`, by the clock that is read under the lock, and counts once the ledger has it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from gate import world
from gate.audit.chain import Entry
from gate.audit.ledger import Ledger
from gate.config.bundle import Bundle
from gate.grant import using
from gate.grant.approval import Against
from gate.grant.book import EVENTS, Book
from gate.grant.event import Event, Moment
from gate.grant.grant import Grant

# A grant is worth nothing while nobody knows whether its ledger is still there (ADR-0029: 2 s).
UNCONFIRMED_MS = 2_000


@dataclass(slots=True)
class Desk:
    """Made by `open_desk`. `overdrawn`: grants of which more uses were wanted than there are.

    `ending`: grants whose end is under way. `confirmed_ms`: when the ledger was last seen, in milliseconds since boot.
    """

    ledger: Ledger
    book: Book
    overdrawn: set[str] = field(default_factory=set)
    ending: set[str] = field(default_factory=set)
    confirmed_ms: int = field(default_factory=world.boot_ms)
    _boot: str = field(default_factory=world.boot_id)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def now(self) -> Moment:
        """This moment on both clocks."""
        return Moment(world.now_ms(), world.boot_ms(), self._boot)

    def against(self, bundle: Bundle) -> Against:
        """What a signature that arrives now, under `bundle`, is held against."""
        return Against(bundle, self.ledger, self.book.state.nonces, world.now_ms())

    @asynccontextmanager
    async def turn(self) -> AsyncIterator["Turn"]:
        """Hold everybody else off: what is decided inside the block stands on what nobody changes meanwhile."""
        async with self._lock:
            yield Turn(self, self.now())

    async def take(self, event: Event, decided_ms: int) -> Entry:
        """Put `event` on record, then in the book: both or neither, also when the caller is cancelled meanwhile.

        `decided_ms`: the wall clock that it was decided by.
        To be called inside a `turn` only. Raises LedgerError.
        """
        taking = asyncio.ensure_future(self._take(event, decided_ms))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            await asyncio.wait({taking})
            raise

    async def _take(self, event: Event, decided_ms: int) -> Entry:
        entry = await self.ledger.append(event.type, event.body, subject=event.subject, decided_ms=decided_ms)
        self.book.apply(entry)
        self.confirmed_ms = world.boot_ms()
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return entry

    async def change(self, seconds: float) -> None:
        """Return at the next change, or after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return

    def over(self, grant_id: str) -> str | None:
        """Why `grant_id` permits nothing now, in words; None while it does. Touches no disk."""
        now = self.now()
        if self.ledger.latched is not None:
            return f"the ledger is closed: {self.ledger.latched}"
        if now.boot_ms - self.confirmed_ms > UNCONFIRMED_MS:
            return "the ledger could not be confirmed for 2 s"
        grant = self.book.state.grants.get(grant_id)
        if grant is not None and self.book.permits(grant, now):
            return None
        return "the grant has ended" if grant is None else f"the grant {grant.id} has ended{_how(grant)}"

    def unrecorded(self) -> list[str]:
        """Grants that were cut, whose end is neither on record nor under way."""
        return [id_ for id_ in sorted(self.book.barred - self.ending) if self.book.grant(id_).open]

    def overdue(self, busy: Iterable[str]) -> list[Event]:
        """The open grants whose end has come; `busy`: those with a live run."""
        running = {*busy} - self.overdrawn
        events = using.overdue(self.book, now=self.now(), busy=running)
        return [event for event in events if event.subject not in self.ending]


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn at the desk: `now` is when it began."""

    desk: Desk
    now: Moment

    async def take(self, event: Event) -> Entry:
        """Put `event` on record and in the book. Raises LedgerError."""
        return await self.desk.take(event, self.now.wall_ms)


def open_desk(ledger: Ledger) -> Desk:
    """The desk of `ledger`, from all of its events. Raises LedgerError `ledger_tampered`."""
    return Desk(ledger, Book.replay(entry for kind in EVENTS for entry in ledger.read(type=kind)))


def _how(grant: Grant) -> str:
    return "" if grant.open else f" ({grant.why})"
