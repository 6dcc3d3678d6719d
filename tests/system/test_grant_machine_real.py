"""The keeper's side of grants against a model: a real ledger file, real leases, tasks at once, crashes, clock jumps.

The model knows the time that really passed, what was charged to whom, and what was ended; it has no clock to be set.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pytest
from grant_kit import CLAUDE, CODEX, HOUR, ORIGIN, PROD, START, ask_of, key_of
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule

from gate import world
from gate.audit.chain import Entry
from gate.audit.ledger import Ledger
from gate.config import activation
from gate.config.bundle import Bundle as Files, load_bundle
from gate.custody.keyring import KeyRing
from gate.errors import GateError
from gate.grant import filing, statement, using
from gate.grant.book import Book
from gate.grant.request import A_DAY_MAX, Request, mapped
from gate.grant.rules import needs_of
from gate.grant.statement import Objection, Statement, render
from gate.identity.caller import Caller
from gate.identity.peer import Peer
from gate.invocation import Invocation
from gate.keeper import ends, requests
from gate.keeper.active import read_active
from gate.keeper.desk import Desk
from gate.keeper.leave import GrantLeave, charge
from gate.keeper.project import Project, Run
from gate.policy.decision import Decision, Principal
from gate.proxy.lease import Lease, Passing, Scope, Upstream
from gate.proxy.refusal import Refused

SECOND, MINUTE = 1000, 60_000
CLIENTS = st.sampled_from([CODEX, CLAUDE])
REVIEWERS = st.sampled_from(["human:lee", "human:kim"])
USES = st.sampled_from([None, 2, 4])
TTLS = st.sampled_from([600, 1800])
PASSINGS = st.builds(
    lambda writes, charges, number: Passing(
        "POST /api/function", "messages:f", None, str(number) * 64, writes, charges
    ),
    st.booleans(),
    st.sampled_from([True, True, False]),
    st.integers(0, 3),
)
_POLICY = """\
policy: 1
name: p
rules:
  - id: reach
    allow: {principals: ["agent:*"], classes: [prod], effects: ["deployment:data:view"]}
    because: Agents may ask.
  - id: under-grant
    require: {classes: [prod]}
    needs: {grant: true, approvals: {count: 1, from: ["group:leads"], not: [requester, owner]}}
    because: Somebody else signs.
"""
_PEOPLE = ("human:ada", "human:lee", "human:kim")


@cache
def files(signers: tuple[str, ...]) -> Files:
    """A bundle in which ada may activate, and these may approve."""
    people = "".join(f"  {person}: {{groups: [leads]}}\n" for person in _PEOPLE)
    gate_yaml = (
        "gate: 1\nproject: acme\nsigners: gate.signers\nroots: [human:ada]\npolicies: [p.yaml]\n"
        f'deployments: {{prod: {{class: prod, name: proud-lynx-456, url: "{ORIGIN}", custody: prod}}}}\n'
        f"principals:\n  agent:codex: {{owner: human:ada}}\n  agent:claude: {{owner: human:lee}}\n{people}"
        "custody: {prod: {file: keys/prod}}\n"
    )
    lines = "".join(f"{person} {key_of(person).public}\n" for person in ("human:ada", *signers))
    texts = {"gate.yaml": gate_yaml, "gate.signers": lines, "p.yaml": _POLICY}
    return load_bundle({path: text.encode() for path, text in texts.items()})


_INVOCATION = Invocation("cli", ("run", "messages:f"), "/", {}, {}, {}, None, None, None, None, None, tty=False)
_DECISION = Decision(
    "dec-0", "", "advisory", "allow", "ok", 0, "", Principal("agent:codex", "claimed", None), "cli",
    None, PROD, (), None, (), None, None,
)  # fmt: skip


@dataclass
class Clock:
    """Clocks that can be set; `real` is what nobody can."""

    wall: int = START
    boot: int = HOUR
    name: str = "boot-1"
    real: int = 0

    def pass_ms(self, ms: int) -> None:
        self.wall, self.boot, self.real = self.wall + ms, self.boot + ms, self.real + ms


@dataclass
class Had:
    """A grant as the model knows it; times are real ones."""

    caller: Caller
    signer: str
    ttl_ms: int
    max_uses: int | None
    made: int
    reboots: int
    first: int | None = None
    used: int = 0
    ended: bool = False


@dataclass
class Ran:
    """A run as the model knows it."""

    grant: str
    run: Run
    leave: GrantLeave
    covers: bool = True
    read: set[str] = field(default_factory=set)


class KeeperMachine(RuleBasedStateMachine):
    grants = Bundle("grants")
    runs = Bundle("runs")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.folder = TemporaryDirectory()
        numbers = count(1)
        self.patches: list[Any] = [
            patch.object(world, "now_ms", lambda: self.clock.wall),
            patch.object(world, "boot_ms", lambda: self.clock.boot),
            patch.object(world, "boot_id", lambda: self.clock.name),
            patch.object(world, "new_id", lambda prefix: f"{prefix}-{next(numbers):08d}"),
            patch.object(world, "secret", lambda _=32: f"{next(numbers):064x}"),
        ]
        for one in self.patches:
            one.start()
        self.runner = asyncio.Runner()
        self.had: dict[str, Had] = {}
        self.ran: dict[str, Ran] = {}
        self.signers: tuple[str, ...] = _PEOPLE[1:]
        self.reboots = 0
        self.set_back = self.jumped = False
        self.project: Project = self.do(self.opened())
        self.do(self.activate_now())

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(coroutine)

    async def opened(self) -> Project:
        """The project as a keeper opens it, by the clocks of this machine."""
        state = Path(self.folder.name)
        ledger = await Ledger.open(state / "ledger.db", now=lambda: self.clock.wall)
        book = Book.replay(ledger.read())
        desk = Desk(ledger, book, confirmed_ms=self.clock.boot, _boot=self.clock.name)
        return Project("acme", state, False, ledger, desk, read_active(ledger), KeyRing(state, state))

    @property
    def behind(self) -> bool:
        """Whether the ledger refuses the clock."""
        return bool(world.iso(self.clock.wall + 2 * SECOND) < self.project.ledger.tail(1)[0].time)

    # What people do.

    @rule(target=grants, caller=CLIENTS, reviewer=REVIEWERS, ttl=TTLS, uses=USES, crash=st.booleans())
    def obtain(self, caller: Caller, reviewer: str, ttl: int, uses: int | None, crash: bool) -> Any:
        """Ask and have it approved; the keeper may die between the approval and the grant."""
        if len(self.project.desk.book.state.requests) >= A_DAY_MAX:
            return multiple()
        asking = self.obtained(caller, reviewer, replace(ask_of(ttl_seconds=ttl), max_uses=uses), crash=crash)
        if self.behind:
            self.refused("clock_backwards", asking)
            return multiple()
        if reviewer == caller.owner or reviewer not in self.signers:
            self.refused("self_approval" if reviewer in self.signers else "not_a_signer", asking)
            return multiple()
        request = self.do(asking)
        if crash:
            self.crash()
        grant = str(self.project.desk.book.state.grant_of[request])
        self.had[grant] = Had(caller, reviewer, ttl * SECOND, uses, self.clock.real, self.reboots)
        return grant

    async def obtained(self, caller: Caller, reviewer: str, ask: Any, *, crash: bool) -> str:
        project, bundle = self.project, self.project.active.bundle
        assert bundle is not None
        needs = needs_of(ask, caller.id, bundle, project.active.rules)
        request = Request(
            world.new_id("req"), caller.id, caller.owner or "", caller.uid, mapped(caller, bundle.document.principals),
            ask, "OPS-1", f"number {len(project.desk.book.state.requests)}", True, bundle.digest, None, needs,
            self.clock.wall,
        )  # fmt: skip
        book = project.desk.book
        async with project.desk.turn() as turn:
            await turn.take(filing.file_request(book, request))
        text = render(self.stated(book.request(request.id)))
        signature = key_of(reviewer).sign(text, namespace=statement.NAMESPACE)
        try:
            async with project.desk.turn() as turn:
                against = project.desk.against(bundle)
                await turn.take(filing.approve(book, request.id, text, signature, needs=needs, against=against))
        except GateError:
            async with project.desk.turn() as turn:
                await turn.take(filing.cancel(book, request.id, caller, self.clock.wall))
            raise
        if not crash:
            await requests.resume(project)
        return request.id

    def stated(self, request: Request) -> Statement:
        ledger = self.project.ledger
        named = (ledger.id, ledger.head, request.id, request.digest, request.requester, request.owner)
        return Statement(*named, request.ask, self.digest, self.clock.wall + HOUR, world.secret(8))

    @property
    def digest(self) -> str:
        bundle = self.project.active.bundle
        return "" if bundle is None else bundle.digest

    @rule(grant=grants, caller=CLIENTS, give_back=st.booleans())
    def end(self, grant: str, caller: Caller, give_back: bool) -> None:
        act = using.drop if give_back else using.revoke
        words = () if give_back else ("no need",)
        allowed = caller == self.had[grant].caller
        self.end_by(grant, lambda: act(self.project.desk.book, grant, caller, *words), allowed)

    @rule(run=runs)
    def end_by_a_wrong_clock(self, run: str) -> None:
        """The clock is behind for a moment, in which the end cannot be recorded: access is gone then and stays gone."""
        if run in self.ran and not self.behind:
            grant = self.ran[run].grant
            self.tell_time()
            self.clock.wall -= 10 * SECOND
            self.end(grant, self.had[grant].caller, give_back=True)
            self.nothing_passes_after_the_models_end()
            self.clock.wall += 10 * SECOND

    @rule(grant=grants, reviewer=REVIEWERS)
    def end_signed(self, grant: str, reviewer: str) -> None:
        ledger = self.project.ledger
        by = self.clock.wall + HOUR
        text = render(Objection("revoke", ledger.id, ledger.head, grant, "no", self.digest, by, world.secret(8)))
        signature = key_of(reviewer).sign(text, namespace=statement.NAMESPACE)
        bundle = self.project.active.bundle
        assert bundle is not None
        against = self.project.desk.against(bundle)
        make = lambda: using.revoke_signed(self.project.desk.book, grant, text, signature, against)  # noqa: E731
        self.end_by(grant, make, reviewer in self.signers)

    def end_by(self, grant: str, make: Callable[[], Any], allowed: bool) -> None:
        """End it: refused for those who may not; cut at once even where it cannot be recorded."""
        ending, recorded = ends.end(self.project, grant, make), self.project.desk.book.grant(grant).open
        if not allowed or not recorded:
            assert self.refused(None, ending) in ("denied_by_rule", "not_a_signer", "grant_ended")
            return
        if self.behind:
            self.refused("clock_backwards", ending)
        else:
            self.do(ending)
        self.had[grant].ended = True

    @rule(signers=st.sampled_from([_PEOPLE[1:], _PEOPLE[1:], _PEOPLE[1:2], _PEOPLE[2:]]))
    def activate(self, signers: tuple[str, ...]) -> None:
        """Another bundle: grants of a signer who is none any more are over."""
        self.signers, before = signers, self.signers
        if self.behind:
            self.refused("clock_backwards", self.activate_now())
            self.signers = before
            return
        self.do(self.activate_now())
        for one in self.had.values():
            one.ended = one.ended or one.signer not in signers
        self.tick()

    def tell_time(self) -> None:
        """Put on record what time it is."""
        self.do(self.project.record("test.time", "dec-0", {}))

    async def activate_now(self) -> None:
        project, after = self.project, files(self.signers)
        text = activation.statement(project.ledger.id, project.ledger.head, self.digest or None, after)
        await project.activate(after, text, [key_of("human:ada").sign(text, namespace=activation.NAMESPACE)])

    # What runs.

    @rule(target=runs, caller=CLIENTS, ttl=TTLS, uses=USES)
    def run(self, caller: Caller, ttl: int, uses: int | None) -> Any:
        """An invocation, under a grant that there is or a new one: one use is charged, and its lease is live."""
        chosen = self.chosen(caller)
        if chosen is None:
            self.obtain(caller, "human:kim" if "human:kim" in self.signers else "human:lee", ttl, uses, crash=False)
            chosen = self.chosen(caller)
        if chosen is None:
            return multiple()
        one = self.had[chosen]
        assert (one.caller, one.ended, spent(one)) == (caller, False, False)
        if self.behind:
            self.refused("clock_backwards", charge(self.project.desk, chosen, "dec-0"))
            return multiple()
        made = self.do(self.started(chosen))
        self.charged(chosen)
        self.ran[made.run.decision.id] = made
        return made.run.decision.id

    def chosen(self, caller: Caller) -> str | None:
        """The grant that the caller's next invocation is charged to."""
        effects, now = ("deployment:data:view",), self.project.desk.now()
        grant = self.project.desk.book.choose(caller, PROD, effects, {}, now=now)
        mine = [id_ for id_, one in self.had.items() if one.caller == caller and self.surely(id_) and not spent(one)]
        assert grant is not None or not mine
        return None if grant is None else grant.id

    async def started(self, grant: str) -> Ran:
        project, decision = self.project, world.new_id("dec")
        leave = await charge(project.desk, grant, decision)
        scope = Scope(frozenset({"deployment:data:view"}), "run")
        lease = Lease(decision, world.secret(), scope, Upstream(ORIGIN, None, "prod", "key"), leave=leave)
        (await project.proxy()).open(lease)
        decided = replace(_DECISION, id=decision, grant=grant)
        run = Run(_INVOCATION, Peer(1, CODEX.uid), decided, lease, asyncio.get_running_loop().create_future(), token="")
        project.runs[decision] = run
        return Ran(grant, run, leave)

    @rule(run=runs, passings=st.lists(PASSINGS, min_size=1, max_size=4))
    def call(self, run: str, passings: list[Passing]) -> None:
        """Requests through the lease: each passes exactly when it is on record and paid for."""
        for passing in passings:
            ran = self.ran.get(run)
            if ran is not None:
                expected = self.expect(ran, passing)
                assert self.do(passed(ran.leave, passing)) == expected
                if expected:
                    self.note(ran, passing)

    @rule(run=runs, passings=st.lists(PASSINGS, min_size=2, max_size=6), revoke=st.booleans())
    def rush(self, run: str, passings: list[Passing], revoke: bool) -> None:
        """Many at once, on every run of a grant, and its end in the middle: each write passes once it is on record."""
        grant = self.ran[run].grant if run in self.ran else ""
        mine = [ran for ran in self.ran.values() if ran.grant == grant]
        if not mine or self.behind:
            return
        writes = [replace(one, writes=True, charges=True) for one in passings]
        before = len(self.recorded("grant.write", grant))
        book, caller = self.project.desk.book, self.had[grant].caller
        revoke = revoke and book.grant(grant).open
        jobs: list[Awaitable[Any]] = [passed(ran.leave, one) for ran in mine for one in writes]
        if revoke:
            jobs.insert(len(jobs) // 2, ends.end(self.project, grant, lambda: using.drop(book, grant, caller)))
        came = self.do(_together(jobs))
        went = [done for done in came if isinstance(done, bool)]
        assert sum(went) == len(self.recorded("grant.write", grant)) - before
        self.had[grant].used = book.grant(grant).used
        self.had[grant].ended = self.had[grant].ended or revoke
        for ran in mine:
            ran.covers = ran.covers and not sum(went)
        if sum(went) < len(went):
            assert spent(self.had[grant]) or not self.surely(grant)
        # Which of the runs had its first write paid is chance: they end, as they do in life.
        for ran in mine:
            self.leave(ran.run.decision.id)

    def leave(self, run: str) -> None:
        ran = self.ran.pop(run, None)
        if ran is not None:
            self.project.runs.pop(run, None)
            self.do(self.closed(run))

    async def closed(self, run: str) -> None:
        await (await self.project.proxy()).close(run, "the invocation ended")

    @rule(run=runs)
    def finish(self, run: str) -> None:
        self.leave(run)

    def expect(self, ran: Ran, passing: Passing) -> bool:
        known = not passing.writes and passing.sha256 in ran.read
        paid = ran.covers or not passing.charges
        if known or (paid and not passing.writes):
            return True
        return self.permits(ran.grant) and (paid or not spent(self.had[ran.grant])) and not self.behind

    def note(self, ran: Ran, passing: Passing) -> None:
        if passing.writes or passing.sha256 not in ran.read:
            if passing.charges and not ran.covers:
                self.charged(ran.grant)
            ran.covers = ran.covers and not passing.charges
        if not passing.writes:
            ran.read.add(passing.sha256)

    def charged(self, grant: str) -> None:
        one = self.had[grant]
        one.used += 1
        one.first = self.clock.real if one.first is None else one.first

    # What happens.

    @rule(ms=st.sampled_from([SECOND, SECOND, 4 * MINUTE, 4 * MINUTE, 9 * MINUTE, 21 * MINUTE, 9 * HOUR]))
    def pass_time(self, ms: int) -> None:
        self.clock.pass_ms(ms)
        self.do(self.seen())

    @rule(ms=st.sampled_from([0, 0, 0, 0, -HOUR, -10 * SECOND, 3 * MINUTE, HOUR]))
    def set_wall_clock(self, ms: int) -> None:
        self.jumped = self.jumped or ms != 0
        self.set_back = self.set_back or ms < 0
        self.clock.wall += ms

    @rule()
    def set_it_right(self) -> None:
        """The clock is moved to where the ledger takes it again."""
        if self.behind:
            self.clock.wall += HOUR

    async def seen(self) -> None:
        await self.project.ledger.check()
        self.project.desk.confirmed_ms = self.clock.boot

    @rule()
    def tick(self) -> None:
        """The keeper looks: what is over has ended on record, its leases are worth nothing and its runs are cut."""
        if self.behind:
            due = [id_ for id_ in self.had if self.project.desk.book.grant(id_).open and not self.permits(id_)]
            if due:
                self.refused("clock_backwards", ends.tick(self.project))
            else:
                self.try_tick()
            return
        self.do(ends.tick(self.project))
        for id_, one in self.had.items():
            grant = self.project.desk.book.grant(id_)
            over = spent(one) and all(ran.grant != id_ for ran in self.ran.values())
            assert not (grant.open and (one.ended or over))
            if not grant.open:
                assert grant.state == "closed"
                assert one.ended or over or grant.why == "exhausted" or not self.surely(id_)
                one.ended = True
        for ran in self.ran.values():
            if self.had[ran.grant].ended:
                assert ran.run.cut.done()

    def try_tick(self) -> None:
        """Nothing is due that the model knows of; requests may lapse, which the ledger then refuses."""
        try:
            self.do(ends.tick(self.project))
        except GateError as error:
            assert error.code == "clock_backwards"  # noqa: PT017 - it may as well not be raised

    @rule(reboot=st.booleans())
    def crash_now(self, reboot: bool) -> None:
        if reboot:
            self.reboots += 1
            self.clock.pass_ms(MINUTE)
            self.clock.boot, self.clock.name = HOUR, f"boot-{self.reboots + 1}"
        self.crash()

    def crash(self) -> None:
        """All that a process holds is gone; what is on disk is there."""
        before = self.project.desk.book.state
        self.do(self.project.close())
        self.ran.clear()
        self.project = self.do(self.opened())
        assert self.project.desk.book.state == before
        if self.behind:
            self.clock.wall += HOUR
            self.jumped = True
        self.do(self.resumed())
        for id_, one in self.had.items():
            one.ended = one.ended or not self.project.desk.book.grant(id_).open

    async def resumed(self) -> None:
        await ends.resume(self.project, frozenset())
        await requests.resume(self.project)

    # What always holds.

    @invariant()
    def the_live_book_is_the_ledgers(self) -> None:
        assert Book.replay(self.project.ledger.read()).state == self.project.desk.book.state

    @invariant()
    def uses_are_counted_once_and_never_beyond(self) -> None:
        for id_, one in self.had.items():
            grant = self.project.desk.book.grant(id_)
            assert grant.used == one.used
            assert one.max_uses is None or one.used <= one.max_uses
            uses = {body["use"] for body in (*self.recorded("grant.used", id_), *self.recorded("grant.write", id_))}
            assert uses == set(range(1, one.used + 1))

    @invariant()
    def nothing_is_recorded_behind_an_end(self) -> None:
        for id_ in self.had:
            ended = self.recorded("grant.ended", id_)
            last = [body["seq"] for kind in ("grant.used", "grant.write") for body in self.recorded(kind, id_)]
            assert len(ended) <= 1
            assert not ended or ended[0]["seq"] > max(last, default=0)

    @invariant()
    def nothing_passes_after_the_models_end(self) -> None:
        for id_, one in self.had.items():
            over = self.project.desk.over(id_)
            if one.ended or not (self.in_time(one) or (self.set_back and self.reboots > one.reboots)):
                assert over is not None
            elif self.surely(id_):
                assert over is None
        for ran in self.ran.values():
            assert ran.run.lease is not None
            assert (ran.run.lease.stopped is None) == (self.project.desk.over(ran.grant) is None)

    def recorded(self, kind: str, grant: str) -> list[Any]:
        return [_body(entry) for entry in self.project.ledger.read(type=kind, subject=grant)]

    def permits(self, grant: str) -> bool:
        book = self.project.desk.book
        return book.permits(book.grant(grant), self.project.desk.now())

    def in_time(self, one: Had) -> bool:
        in_use = one.first is None or self.clock.real - one.first < one.ttl_ms
        return in_use and self.clock.real - one.made < 8 * HOUR + one.ttl_ms

    def surely(self, grant: str) -> bool:
        """Whether it has to permit something: nobody touched the clocks, so that the model knows exactly."""
        one = self.had[grant]
        return not (one.ended or self.jumped) and self.in_time(one)

    def refused(self, code: str | None, call: Coroutine[Any, Any, Any]) -> str:
        with pytest.raises(GateError) as caught:
            self.do(call)
        assert code in (None, caught.value.code)
        return caught.value.code

    def teardown(self) -> None:
        self.do(self.project.close())
        self.runner.close()
        for one in self.patches:
            one.stop()
        self.folder.cleanup()


def spent(one: Had) -> bool:
    return one.max_uses is not None and one.used >= one.max_uses


async def passed(leave: GrantLeave, passing: Passing) -> bool:
    """Whether the leave lets it pass."""
    try:
        await leave.use(passing)
    except Refused:
        return False
    except GateError as error:
        if error.code != "clock_backwards":
            raise
        return False
    return True


async def _together(jobs: list[Awaitable[Any]]) -> list[Any]:
    return await asyncio.gather(*jobs)


def _body(entry: Entry) -> Any:
    return json.loads(entry.body)


KeeperMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestKeeper = KeeperMachine.TestCase
