"""Grant: access that was approved, what may become of it, how long it lasts. Verifies no signature, holds no key."""

from dataclasses import dataclass, replace

from gate.grant.approval import Given
from gate.grant.event import Moment, longest, shortest
from gate.grant.scope import Ask

# Unused, a grant's clock starts at the latest this long after its approval (ADR-0029).
WAITS_MS = 8 * 3_600_000

SCHEDULED, ACTIVE = "scheduled", "active"
EXPIRED, REVOKED, EXHAUSTED, DROPPED = "expired", "revoked", "exhausted", "dropped"
CLOSING, CLOSED, CUT_FAILED = "closing", "closed", "cut_failed"

# What may become of a grant; a state that is no key here is its last.
GRANT_MOVES: dict[str, frozenset[str]] = {
    SCHEDULED: frozenset({ACTIVE, EXPIRED, REVOKED, DROPPED}),
    ACTIVE: frozenset({EXPIRED, REVOKED, EXHAUSTED, DROPPED}),
    **dict.fromkeys((EXPIRED, REVOKED, EXHAUSTED, DROPPED), frozenset({CLOSING})),
    CLOSING: frozenset({CLOSED, CUT_FAILED}),
}

# Why a grant ends, and the state that it is in then: a bundle under which it no longer stands revokes it.
ENDS: dict[str, str] = {
    **{state: state for state in (EXPIRED, REVOKED, EXHAUSTED, DROPPED)},
    "bundle_changed": REVOKED,
}


@dataclass(frozen=True, slots=True)
class Grant:
    """One grant of `request`. `requester`, `owner` and `uid` are the request's: nobody else uses it.

    `ask`: the access as its event says; what counts at a lease is read from the bytes in `given`. `made`,
    `first_use`: moments on both clocks. `used`: uses charged. `why`: why it ended, a key of ENDS.
    """

    id: str
    request: str
    requester: str
    owner: str
    uid: int
    ask: Ask
    given: tuple[Given, ...]
    made: Moment
    state: str = SCHEDULED
    first_use: Moment | None = None
    used: int = 0
    why: str | None = None
    ended_ms: int | None = None

    @property
    def open(self) -> bool:
        """Whether it has not ended on record."""
        return self.state in (SCHEDULED, ACTIVE)

    @property
    def spent(self) -> bool:
        """Whether every use is charged; the invocation that took the last one may still run."""
        return self.ask.max_uses is not None and self.used >= self.ask.max_uses

    @property
    def ends_ms(self) -> int:
        """When it ends by the wall clock, if it is not used earlier and no clock is set."""
        latest = self.made.wall_ms + self._waits_ms
        begins = latest if self.first_use is None else min(latest, self.first_use.wall_ms)
        return begins + self._ttl_ms

    def remaining_ms(self, now: Moment) -> int:
        """Milliseconds that are left for certain; 0 or less: it is over, whatever its state says yet."""
        unused = self._waits_ms + self._ttl_ms - longest(self.made, now)
        return unused if self.first_use is None else min(unused, self._ttl_ms - longest(self.first_use, now))

    def live(self, now: Moment) -> bool:
        """Whether it permits anything at `now`."""
        begun = self.made.wall_ms + shortest(self.made, now) >= (self.ask.not_before_ms or 0)
        return self.open and begun and self.remaining_ms(now) > 0

    def moved(self, state: str) -> "Grant":
        """The same grant in `state`. Raises ValueError for a move that is not in the table."""
        if state not in GRANT_MOVES.get(self.state, ()):
            raise ValueError(f"a grant that is {self.state} does not become {state}")
        return replace(self, state=state)

    @property
    def _ttl_ms(self) -> int:
        return self.ask.ttl_seconds * 1000

    @property
    def _waits_ms(self) -> int:
        """How long it waits for its first use: never less than until it may be used."""
        return max(WAITS_MS, (self.ask.not_before_ms or 0) - self.made.wall_ms)
