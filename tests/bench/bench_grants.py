"""Finding the live grant among few and among a million, and verifying it again for a lease. Starts no keeper."""

import asyncio
import gc
import os
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from bench_measure import Row
from bench_office import ASK, PROD, VIEW, Office, folder, office, request

from gate import world
from gate.grant.book import Book
from gate.grant.event import Moment
from gate.grant.grant import REVOKED
from gate.identity.caller import Caller
from gate.policy.verdict import Needs

# Open grants of one agent on one deployment: an owner has 5 requests pending at most.
_EACH = 4
_FEW = 1_000
_LIMIT = 2.0

Lookup = Callable[[], object]


def measure(turns: int, many: int) -> list[Row]:
    """Rows of the lookups among `many` grants and among 1,000, and of one verification."""
    gc.disable()
    try:
        before = _resident()
        crowded = _crowd(many)
        each = (_resident() - before) / many
        crowd = _row(f"live grant among {many:,} open ones to {_FEW:,}", _crowd(_FEW), crowded, turns)
        del crowded
        history = _row(f"live grant behind {many:,} ended ones to {_FEW:,}", _history(_FEW), _history(many), turns)
    finally:
        gc.enable()
    memory = Row(f"memory of a book of {many:,} grants without their signatures, bytes each", f"{each:.0f}")
    return [crowd, history, memory, *asyncio.run(_verification(turns))]


def _resident() -> int:
    """Bytes of this process that are in memory (proc(5), statm)."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _row(what: str, few: Iterator[Lookup], many: Iterator[Lookup], turns: int) -> Row:
    """Both books are asked in turn, each time for another agent."""
    times: list[list[float]] = [[], []]
    books = [few, many]
    for turn in range(turns):
        for index in (0, 1) if turn % 2 else (1, 0):
            times[index].append(_microseconds(next(books[index])))
    unit, measured = (statistics.median(one) for one in times)
    ratio = measured / unit
    return Row(f"{what}", f"{ratio:.2f} ({measured:.1f} us to {unit:.1f} us)", f"<= {_LIMIT:g}", ratio <= _LIMIT)


def _microseconds(run: Lookup) -> float:
    begun = time.perf_counter_ns()
    found = run()
    taken = (time.perf_counter_ns() - begun) / 1000
    if found is None:
        raise RuntimeError("no grant was found")
    return taken


def _crowd(count: int) -> Iterator[Lookup]:
    """Lookups in a book of `count` open grants, of which each agent has four."""
    book, now = Book(), _now()
    agents = [_agent(number) for number in range(count // _EACH)]
    for number in range(count):
        _add(book, agents[number % len(agents)], number, now)
    return _lookups(book, agents, now)


def _history(count: int) -> Iterator[Lookup]:
    """Lookups in a book of one agent, who has four open grants and had `count` others."""
    book, now, agent = Book(), _now(), _agent(0)
    for number in range(count + _EACH):
        grant = _add(book, agent, number, now)
        if number < count:
            book.state.end_grant(grant, REVOKED, None, now.wall_ms)
    return _lookups(book, [agent], now)


def _lookups(book: Book, agents: Sequence[Caller], now: Moment) -> Iterator[Lookup]:
    """Lookups without an end, each for one of `agents`."""
    chance = random.Random(1)
    while True:
        agent = chance.choice(agents)
        yield partial(book.choose, agent, PROD, (VIEW,), {"tables": ("messages",)}, now=now)


def _agent(number: int) -> Caller:
    return Caller(f"agent:a{number}", "claimed", f"human:h{number % 1000}", frozenset(), 1000 + number)


def _add(book: Book, agent: Caller, number: int, now: Moment) -> str:
    """Put a request and its grant into the book, as their events would."""
    made = request(agent, "sha256:0", Needs(), f"req-{number:08d}")
    book.state.add_request(replace(made, time_ms=now.wall_ms))
    grant = f"grt-{number:08d}"
    book.state.add_grant(grant, made.id, ASK, (), now)
    return grant


def _now() -> Moment:
    return Moment(world.now_ms(), world.boot_ms(), world.boot_id())


async def _verification(turns: int) -> list[Row]:
    with folder() as place:
        made = await office(place)
        try:
            return [_verified(made, turns)]
        finally:
            await made.desk.ledger.close()


def _verified(made: Office, turns: int) -> Row:
    def run() -> object:
        return made.desk.book.verify_again(made.grant, made.bundle, made.needs, made.desk.ledger)

    median = statistics.median(_microseconds(run) for _ in range(turns))
    return Row("a grant with one approval, verified again from the signed bytes, us p50", f"{median:.0f}")
