"""What passes between a decision of this room and the ledger: Event, not yet on record, and Moment. Decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Farther away than any deadline: what nobody can tell counts as over.
_LONG_AGO_MS = 2**62

# How far an event's own time may be from the clock that it was decided by: the ledger's deadline is 5 s, and its time
# may be 2 s ahead of a clock that stepped back.
APART_MS = 10_000


@dataclass(frozen=True, slots=True)
class Event:
    """One event to append: it counts only once the ledger has it. `subject` is what it is found by."""

    type: str
    subject: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment on both clocks: the wall's and the time since the boot `boot`."""

    wall_ms: int
    boot_ms: int
    boot: str

    def to_json(self) -> dict[str, Any]:
        """The members of an event that its own time does not say."""
        return {"boot": self.boot, "boot_ms": self.boot_ms}


def moment_of(wall_ms: int, body: Mapping[str, Any]) -> Moment:
    """The moment of an event of time `wall_ms`. Raises ValueError or KeyError."""
    boot, boot_ms = body["boot"], body["boot_ms"]
    if not isinstance(boot, str) or type(boot_ms) is not int:
        raise ValueError("an event without the time since boot")
    return Moment(wall_ms, boot_ms, boot)


def longest(since: Moment, now: Moment) -> int:
    """Milliseconds that may have passed: what ends has ended by the faster clock (ADR-0029: deny on doubt).

    A wall clock set back within one boot gains nothing; across boots it is the only clock there is.
    """
    wall = now.wall_ms - since.wall_ms
    if since.boot == now.boot:
        return max(wall, now.boot_ms - since.boot_ms)
    return wall if wall >= 0 else _LONG_AGO_MS


def shortest(since: Moment, now: Moment) -> int:
    """Milliseconds that have passed for certain: what begins has begun by the slower clock."""
    wall = now.wall_ms - since.wall_ms
    return min(wall, now.boot_ms - since.boot_ms) if since.boot == now.boot else wall
