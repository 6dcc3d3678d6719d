"""A keeper, or a door, that is killed at any step of a grant's life: the record holds, and the next one goes on."""

import asyncio
import hashlib
import os
import random
import signal
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cut_kit import on_disk, story
from production_kit import PROD_ENV, VIEW, WRITE, Production, production
from system_kit import forge, gone, until

from gate import world
from gate.cli.review import split
from gate.grant import filing, using
from gate.grant.rules import needs_of
from gate.keeper.leave import charge
from gate.keeper.project import Project, open_project
from gate.proxy.lease import Passing

_WRITES = 4
# A CLI that writes several times; each write but the first costs a use of its own.
_WRITER = f"""\
const {{ CONVEX_DEPLOY_KEY: key, CONVEX_PROVISION_HOST: host }} = process.env;
for (let number = 0; number < {_WRITES}; number++) {{
  const answer = await fetch(host + "/api/function", {{
    method: "POST",
    headers: {{ Authorization: `Convex ${{key}}`, "Content-Type": "application/json" }},
    body: JSON.stringify({{ path: "messages:send", args: [{{ body: process.env.TZ + number }}], format: "json" }}),
  }});
  if ((await answer.json()).status !== "success") process.exit(1);
}}
console.log("wrote");
"""
_STEPS = (
    "request.made",
    "approval.given",
    "grant.made",
    "decision",
    "grant.used",
    "grant.write",
    "outcome",
    "grant.ended",
    "grant.closing",
    "grant.closed",
)
_QUICK = ("grant.write", "grant.ended")
_MOST = 3 * _WRITES


@pytest.fixture(scope="module")
def office(node_modules: Path) -> Iterator[Production]:
    with production(node_modules) as made:
        yield made


@pytest.fixture
def mine(office: Production) -> Production:
    """The stage for an agent of its own."""
    return office.fresh()


@contextmanager
def dies_at(made: Production, kind: str, pid: int) -> Iterator[None]:
    """The process is killed as soon as an event of that type is on disk."""
    path = f"{made.project.ledger.as_uri()}?mode=ro"
    watching, over = threading.Event(), threading.Event()

    def kill() -> None:
        with closing(sqlite3.connect(path, uri=True, timeout=5)) as connection:
            after = connection.execute("SELECT max(seq) FROM events").fetchone()[0]
            watching.set()
            query = "SELECT 1 FROM events WHERE seq > ? AND type = ?"
            while not connection.execute(query, (after, kind)).fetchone() and not over.is_set():
                continue
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    assert watching.wait(5)
    try:
        yield
        assert until(lambda: gone(pid)), f"there was no {kind}"
    finally:
        over.set()
        thread.join()


@contextmanager
def dies_after(seconds: float, pid: int) -> Iterator[None]:
    timer = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL))
    timer.start()
    try:
        yield
    finally:
        timer.join()


def live(made: Production) -> dict[str, str]:
    """A whole life of a grant, each step again where the keeper died under it; returns its ids."""
    request = ask(made)
    for _ in range(2):
        if not of(made, "approval.given", request=request):
            made.approve(request)
    (grant,) = made.json("grants")["grants"]
    for _ in range(2):
        write(made)
    for _ in range(2):
        if not of(made, "grant.ended", grant=grant["id"]):
            made.gate("revoke", grant["id"], "--reason", "no need")
    return {"request": request, "grant": grant["id"]}


def ask(made: Production) -> str:
    """A request; asking again finds the one that was made."""
    words = ["--deployment", "prod", "--effect", VIEW, "--effect", WRITE, "--max-uses", str(_MOST)]
    for _ in range(2):
        came = made.gate("request", *words, *made.fields())
        if came.code == 0:
            return came.out.strip()
    raise AssertionError(came.err)


def write(made: Production) -> int:
    folder = forge(made.project.made.work / "writer", _WRITER, PROD_ENV)
    return made.gate("convex", "run", "messages:send", "{}", cwd=folder, TZ=f"{made.agent} ").code


def of(made: Production, kind: str, **members: Any) -> list[Any]:
    """Bodies of the events of that type with these members, as the file has them."""
    return [
        one for one in on_disk(made.project, kind) if all(one.get(name) == value for name, value in members.items())
    ]


def holds(made: Production, request: str, grant: str) -> None:
    """What has to be true however often somebody died."""
    made.project.ensure_keeper()
    assert [one["id"] for one in of(made, "request.made") if one["id"] == request] == [request]
    assert [one["id"] for one in of(made, "grant.made", request=request)] == [grant]
    assert len(of(made, "approval.given", request=request)) == 1
    used = of(made, "grant.used", grant=grant)
    written = of(made, "grant.write", grant=grant)
    uses = {one["use"] for one in (*used, *written)}
    assert uses == set(range(1, len(uses) + 1))
    assert len(uses) <= _MOST
    assert made.state(grant)["used"] == len(uses)
    bodies = [one.body for one in made.prod.requests if f"{made.agent} " in repr(one.body)]
    assert len(bodies) <= len(written)
    ran = {one["decision"] for one in used}
    outcomes = [one["outcome"] for one in of(made, "outcome") if one["decision"] in ran]
    assert len(outcomes) == len(ran)
    assert set(outcomes) <= {"ok", "failed", "unknown"}
    assert [one["type"] for one in story(made.project, grant)] == ["grant.ended", "grant.closing", "grant.closed"]
    assert made.gate("audit", "verify", "--signers", "gate.signers").code == 0


def some(steps: tuple[str, ...]) -> list[Any]:
    """All of `steps`; those that add little are slow."""
    return [step if step in _QUICK else pytest.param(step, marks=pytest.mark.slow) for step in steps]


@pytest.mark.parametrize("kind", some(_STEPS))
def test_a_keeper_that_is_killed_at_a_step_loses_and_doubles_nothing(mine: Production, kind: str) -> None:
    mine.project.ensure_keeper()
    with dies_at(mine, kind, mine.project.keeper_pid()):
        ids = live(mine)
    assert write(mine) == 77
    holds(mine, **ids)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_keeper_that_is_killed_at_any_moment_loses_and_doubles_nothing(mine: Production, seed: int) -> None:
    mine.project.ensure_keeper()
    with dies_after(random.Random(seed).uniform(0, 1.6), mine.project.keeper_pid()):
        ids = live(mine)
    holds(mine, **ids)


@pytest.mark.parametrize("kind", some(("decision", "grant.used", "grant.write")))
def test_a_door_that_is_killed_at_a_step_ends_access_and_not_the_grant(mine: Production, kind: str) -> None:
    request, grant = granted(mine)
    folder = forge(mine.project.made.work / "writer", _WRITER, PROD_ENV)
    words = ("convex", "run", "messages:send", "{}")
    with (
        mine.project.door(*words, cwd=folder, GATE_PRINCIPAL=mine.agent, TZ=f"{mine.agent} ") as door,
        dies_at(mine, kind, door.pid),
    ):
        door.wait(20)
    assert until(lambda: len(of(mine, "outcome")) == sum(one["runs"] for one in of(mine, "decision")))
    reached = arrived(mine)
    assert reached <= _WRITES
    assert write(mine) == 0
    assert arrived(mine) == reached + _WRITES
    assert mine.gate("drop", grant).code == 0
    holds(mine, request, grant)


def granted(made: Production) -> tuple[str, str]:
    """Ids of a request and of its grant."""
    made.project.ensure_keeper()
    request = ask(made)
    assert made.approve(request).code == 0
    (grant,) = (one["id"] for one in of(made, "grant.made", request=request))
    return request, grant


def arrived(made: Production) -> int:
    """How many writes of this agent's reached production."""
    return sum(f"{made.agent} " in repr(one.body) for one in made.prod.requests)


def between_keepers(made: Production, step: Callable[[Project], Awaitable[Any]]) -> None:
    """Do to the project what a keeper did last before it died, and nothing behind it."""
    pid = made.project.keeper_pid()
    assert made.gate("keeper", "stop").code == 0
    assert until(lambda: gone(pid))

    async def act() -> None:
        project = await open_project(made.project.state, "demo")
        try:
            await step(project)
        finally:
            await project.close()

    asyncio.run(act())


def test_an_approval_that_was_recorded_last_comes_to_its_grant(mine: Production) -> None:
    mine.project.ensure_keeper()
    request = ask(mine)
    signed, signature = (text.encode() for text in split(mine.envelope(request).encode()))

    async def approve(project: Project) -> None:
        bundle = project.active.bundle
        assert bundle is not None
        needs = needs_of(project.desk.book.request(request).ask, mine.agent, bundle, project.active.rules)
        async with project.desk.turn() as turn:
            against = project.desk.against(bundle)
            await turn.take(filing.approve(project.desk.book, request, signed, signature, needs=needs, against=against))

    between_keepers(mine, approve)
    assert of(mine, "grant.made", request=request) == []
    assert write(mine) == 0
    (grant,) = (one["id"] for one in of(mine, "grant.made", request=request))
    assert mine.gate("drop", grant).code == 0
    holds(mine, request, grant)


@pytest.mark.parametrize("recorded", [("grant.ended",), ("grant.ended", "grant.closing")])
def test_an_end_that_was_recorded_last_is_closed(mine: Production, recorded: tuple[str, ...]) -> None:
    request, grant = granted(mine)

    async def end(project: Project) -> None:
        async with project.desk.turn() as turn:
            await turn.take(using.end(project.desk.book, grant, "revoked", by=mine.agent, reason="no need"))
            if len(recorded) > 1:
                await turn.take(using.closing(grant))

    between_keepers(mine, end)
    assert tuple(one["type"] for one in story(mine.project, grant)) == recorded
    assert write(mine) == 77
    holds(mine, request, grant)


def test_a_use_that_was_recorded_last_is_not_given_back(mine: Production) -> None:
    """The use and the writes are charged although nothing was forwarded; what came of the run is unknown."""
    request, grant = granted(mine)
    assert write(mine) == 0
    decision = world.new_id("dec")
    (like,) = (one for one in of(mine, "decision") if one["object"]["grant"] == grant)

    async def run(project: Project) -> None:
        body = {
            "object": {**like["object"], "id": decision},
            "runs": True,
            "uid": like["uid"],
            "keeper": like["keeper"],
        }
        await project.record("decision", decision, {"id": decision, **body})
        leave = await charge(project.desk, grant, decision)
        for number in range(2):
            sha256 = hashlib.sha256(bytes([number])).hexdigest()
            await leave.use(Passing("POST /api/function", "messages:send", None, sha256, writes=True, charges=True))

    between_keepers(mine, run)
    assert write(mine) == 0
    assert mine.state(grant)["used"] == 2 + 2 * _WRITES
    assert [one["outcome"] for one in of(mine, "outcome", decision=decision)] == ["unknown"]
    assert mine.gate("drop", grant).code == 0
    holds(mine, request, grant)
