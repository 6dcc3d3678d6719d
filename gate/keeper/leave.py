"""By whose leave a lease passes anything: one grant, one invocation, and what it has been charged. Forwards nothing."""

from dataclasses import dataclass, field

from gate.errors import GateError
from gate.grant import using
from gate.grant.event import Event, Moment
from gate.keeper.desk import Desk, Turn
from gate.proxy.lease import Passing
from gate.proxy.refusal import Refused


@dataclass(slots=True)
class GrantLeave:
    """The leave that `grant` gives to `decision`. `number`: the use that the invocation was charged.

    It covers the first thing that is charged (docs/contract.md, Command line); the same read again costs nothing.
    """

    desk: Desk
    grant: str
    decision: str
    number: int
    _covers: bool = True
    _read: set[tuple[str | None, str]] = field(default_factory=set)

    def over(self) -> str | None:
        """Why nothing may pass now."""
        return self.desk.over(self.grant)

    async def use(self, passing: Passing) -> None:
        """Have `passing` on record and charged. Raises Refused when the grant is over or spent, and LedgerError."""
        if self._known(passing):
            return
        try:
            async with self.desk.turn() as turn:
                await self._pay(passing, turn)
        except GateError as error:
            if error.code != "grant_ended":
                raise
            self.desk.overdrawn.add(self.grant)
            raise Refused(error.message) from error

    def _known(self, passing: Passing) -> bool:
        return not passing.writes and (passing.function, passing.sha256) in self._read

    async def _pay(self, passing: Passing, turn: Turn) -> None:
        # The same read may have been paid for while this one waited for its turn.
        event = None if self._known(passing) else self._event(passing, turn.now)
        if event is not None:
            await turn.take(event)
        self._covers = self._covers and not passing.charges
        if not passing.writes:
            self._read.add((passing.function, passing.sha256))

    def _event(self, passing: Passing, now: Moment) -> Event | None:
        """What to put on record: nothing for a read that the invocation's own use covers."""
        book, paid = self.desk.book, self._covers or not passing.charges
        event = None
        if passing.writes:
            what = {
                "place": passing.place,
                "function": passing.function,
                "component": passing.component,
                "sha256": passing.sha256,
            }
            number = self.number if paid else None
            event = using.write(book, self.grant, self.decision, number, what, now=now)
        elif not paid:
            event = using.charge(book, self.grant, self.decision, now=now)
        return event


async def charge(desk: Desk, grant: str, decision: str) -> GrantLeave:
    """Charge one use of `grant` to the invocation of `decision`. Raises GateError `grant_ended`, and LedgerError."""
    async with desk.turn() as turn:
        await turn.take(using.charge(desk.book, grant, decision, now=turn.now))
        return GrantLeave(desk, grant, decision, desk.book.grant(grant).used)
