"""Two clients, two reviewers, a keeper that crashes, a machine that reboots and clocks that jump, against a model.

The model knows the time that really passed and what was really signed; it has no clock that anybody can set.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
from grant_kit import CLAUDE, CODEX, HOUR, World, ask_of, sign
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule

from gate.errors import GateError
from gate.grant import filing, using
from gate.grant.statement import render
from gate.identity.caller import Caller

SECOND, MINUTE = 1000, 60_000
CLIENTS = st.sampled_from([CODEX, CLAUDE])
REVIEWERS = st.sampled_from(["human:lee", "human:kim"])
ASKS = st.sampled_from([ask_of(ttl_seconds=1200), ask_of(max_uses=2), ask_of(ttl_seconds=3600, max_uses=1)])
TTL_NARROW = 600


# A keeper whose clock is behind its ledger records nothing, so that nothing can be done but to wait.
CLOCK_RIGHT = precondition(lambda machine: not machine.w.chain.behind(machine.w.now.wall_ms))


@dataclass
class Wanted:
    """A request as the model knows it."""

    caller: Caller
    ask: Any
    wall_ms: int
    state: str = "pending"
    asks: list[Any] = field(default_factory=list)


@dataclass
class Had:
    """A grant as the model knows it; times are real ones."""

    caller: Caller
    ttl_ms: int
    max_uses: int | None
    approved: int
    jumps: int
    reboots: int
    first: int | None = None
    used: int = 0
    ended: bool = False


class GrantMachine(RuleBasedStateMachine):
    requests = Bundle("requests")
    grants = Bundle("grants")

    def __init__(self) -> None:
        super().__init__()
        self.w = World()
        self.real = self.jumps = self.reboots = 0
        self.set_back = False
        self.wanted: dict[str, Wanted] = {}
        self.had: dict[str, Had] = {}

    # What clients do.

    @rule(target=requests, caller=CLIENTS, ask=ASKS, reason=st.integers(0, 3))
    @CLOCK_RIGHT
    def ask(self, caller: Caller, ask: Any, reason: int) -> Any:
        draft = self.w.draft(caller, ask, reason=f"reason number {reason}")
        same = filing.twin(self.w.book, draft)
        waiting = {id_: one for id_, one in self.wanted.items() if one.caller == caller and self._pending(one)}
        if same is not None:
            assert (waiting[same.id].ask, same.reason) == (ask, draft.reason)
            return multiple()
        recent = [one for one in self.wanted.values() if one.caller == caller and self._within_a_day(one)]
        if len(waiting) >= 5 or len(recent) >= 20:
            self._refused("limit", filing.file_request, self.w.book, draft)
            return multiple()
        self.w.record(filing.file_request(self.w.book, draft))
        self.wanted[draft.id] = Wanted(caller, ask, self.w.now.wall_ms)
        return draft.id

    @rule(request=requests, caller=CLIENTS)
    @CLOCK_RIGHT
    def cancel(self, request: str, caller: Caller) -> None:
        one = self.wanted[request]
        arguments = (self.w.book, request, caller, self.w.now.wall_ms)
        if caller != one.caller:
            self._refused("denied_by_rule", filing.cancel, *arguments)
        elif not self._pending(one):
            self._refused("change_control", filing.cancel, *arguments)
        else:
            self.w.record(filing.cancel(*arguments))
            one.state = "cancelled"

    @rule(grant=grants, caller=CLIENTS, revoke=st.booleans())
    @CLOCK_RIGHT
    def give_back(self, grant: str, caller: Caller, revoke: bool) -> None:
        one = self.had[grant]
        end = partial(partial(using.revoke, reason="no need") if revoke else using.drop, self.w.book, grant, caller)
        if caller != one.caller:
            self._refused("denied_by_rule", end)
        elif one.ended:
            self._refused("grant_ended", end)
        else:
            self.w.record(end())
            one.ended = True

    @rule(target=grants, caller=CLIENTS, ask=ASKS, narrow=st.booleans(), reason=st.integers(4, 9))
    @CLOCK_RIGHT
    def obtain(self, caller: Caller, ask: Any, narrow: bool, reason: int) -> Any:
        """The whole way at once: ask, and have it approved by the reviewer who may."""
        made = self.ask(caller, ask, reason)
        if not isinstance(made, str):
            return multiple()
        return self.approve(made, "human:kim", narrow, touch=True, crash=False)

    @rule(caller=CLIENTS)
    @CLOCK_RIGHT
    def use(self, caller: Caller) -> None:
        """Run something: the grant that is chosen is the caller's, real and charged."""
        chosen = self.w.choose(caller)
        calm = [id_ for id_, one in self.had.items() if one.caller == caller and self._calm(one) and self._live(one)]
        if chosen is None:
            assert not calm
            return
        one = self.had[chosen.id]
        assert one.caller == caller
        assert one.max_uses is None or one.used < one.max_uses
        self._charge(chosen.id)

    @rule(grant=grants)
    @CLOCK_RIGHT
    def write(self, grant: str) -> None:
        """One more write of a run that holds the grant."""
        one = self.had[grant]
        if self._permits(grant) and (one.max_uses is None or one.used < one.max_uses):
            self._charge(grant)
        else:
            self._refused("grant_ended", using.charge, self.w.book, grant, "dec-1", now=self.w.now)

    # What reviewers do.

    @rule(
        target=grants,
        request=requests,
        reviewer=REVIEWERS,
        narrow=st.booleans(),
        touch=st.sampled_from([True, True, False]),
        crash=st.sampled_from([False, False, True]),
    )
    @CLOCK_RIGHT
    def approve(self, request: str, reviewer: str, narrow: bool, touch: bool, crash: bool) -> Any:
        one = self.wanted[request]
        ask = replace(one.ask, ttl_seconds=TTL_NARROW) if narrow else one.ask
        signed = render(self.w.stated(self.w.book.request(request), ask=ask))
        arguments = (self.w.book.request(request), signed, sign(signed, reviewer, int(touch)))
        if not self._pending(one):
            self._refused("change_control", self.w.hand_in, *arguments)
        elif reviewer == one.caller.owner:
            self._refused("self_approval", self.w.hand_in, *arguments)
        elif not touch:
            self._refused("bad_signature", self.w.hand_in, *arguments)
        else:
            self.w.hand_in(*arguments)
            one.asks.append(ask)
            self._refused("bad_signature", self.w.hand_in, *arguments)
            if not crash:
                return self.complete_now(request)
            self.w.crash()
        return multiple()

    @rule(target=grants, request=requests)
    @CLOCK_RIGHT
    def complete(self, request: str) -> Any:
        return self.complete_now(request)

    def complete_now(self, request: str) -> Any:
        one = self.wanted[request]
        stored = self.w.book.request(request)
        if not self._pending(one):
            self._refused("change_control", self.w.complete, stored)
            return multiple()
        grant = self.w.complete(stored)
        if not one.asks:
            assert grant is None
            return multiple()
        assert grant is not None
        one.state = "approved"
        ttl_ms = 1000 * min(ask.ttl_seconds for ask in one.asks)
        self.had[grant.id] = Had(one.caller, ttl_ms, one.ask.max_uses, self.real, self.jumps, self.reboots)
        return grant.id

    @rule(request=consumes(requests), reviewer=REVIEWERS)
    @CLOCK_RIGHT
    def deny(self, request: str, reviewer: str) -> None:
        signed = render(self.w.objection("deny", request))
        arguments = (self.w.book, request, signed, sign(signed, reviewer), self.w.against)
        if self._pending(self.wanted[request]):
            self.w.record(filing.deny(*arguments))
            self.wanted[request].state = "denied"
        else:
            self._refused("change_control", filing.deny, *arguments)

    @rule(grant=grants, reviewer=REVIEWERS)
    @CLOCK_RIGHT
    def revoke(self, grant: str, reviewer: str) -> None:
        signed = render(self.w.objection("revoke", grant))
        arguments = (self.w.book, grant, signed, sign(signed, reviewer), self.w.against)
        if self.had[grant].ended:
            self._refused("grant_ended", using.revoke_signed, *arguments)
        else:
            self.w.record(using.revoke_signed(*arguments))
            self.had[grant].ended = True

    # What happens.

    @rule(ms=st.sampled_from([SECOND, 5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 20 * MINUTE, 8 * HOUR, 25 * HOUR]))
    def pass_time(self, ms: int) -> None:
        self.real += ms
        self.w.pass_ms(ms)

    @rule(ms=st.sampled_from([-HOUR, -3 * MINUTE, 3 * MINUTE, HOUR, 30 * HOUR]), reboot=st.booleans())
    def set_wall_clock(self, ms: int, reboot: bool) -> None:
        self.jumps += 1
        self.set_back = self.set_back or ms < 0
        self.w.now = replace(self.w.now, wall_ms=self.w.now.wall_ms + ms)
        if reboot:
            self.reboot()

    @rule(ms=st.sampled_from([5 * MINUTE, 20 * MINUTE, 40 * MINUTE]))
    def live_in_the_past(self, ms: int) -> None:
        """Somebody sets the wall clock back by exactly the time that passes."""
        self.pass_time(ms)
        self.set_wall_clock(-ms, reboot=False)

    @rule()
    def reboot(self) -> None:
        self.reboots += 1
        self.pass_time(MINUTE)
        self.w.now = replace(self.w.now, boot=f"boot-{self.reboots + 1}", boot_ms=9 * SECOND)
        self.w.crash()

    @rule()
    def crash(self) -> None:
        self.w.crash()

    @rule()
    @CLOCK_RIGHT
    def tick(self) -> None:
        """The keeper records what is over; it ends nothing that is not."""
        for event in [*using.overdue(self.w.book, now=self.w.now, busy=())]:
            one = self.had[event.subject]
            spent = one.max_uses is not None and one.used >= one.max_uses
            assert spent or not self._calm(one) or not self._live(one)
            self.w.record(event)
            one.ended = True
        for event in [*filing.lapses(self.w.book, self.w.now.wall_ms)]:
            assert self.wanted[event.subject].state == "pending"
            self.w.record(event)
            self.wanted[event.subject].state = "lapsed"

    # What always holds.

    @invariant()
    def no_grant_outlives_what_was_signed(self) -> None:
        for id_, one in self.had.items():
            if self._permits(id_):
                assert not one.ended
                assert self._in_time(one) or (self.set_back and self.reboots > one.reboots)
            elif self._calm(one):
                assert not self._live(one)

    @invariant()
    def the_book_says_what_the_model_says(self) -> None:
        for id_, wanted in self.wanted.items():
            assert self.w.book.request(id_).state == wanted.state
        for id_, had in self.had.items():
            grant = self.w.book.grant(id_)
            assert (grant.used, grant.open) == (had.used, not had.ended)
        assert len(self.w.book.state.grants) == len(self.had)

    @rule(grant=grants)
    def the_signed_bytes_hold_at_every_lease(self, grant: str) -> None:
        ask = self.w.again(self.w.book.grant(grant))
        assert ask.ttl_seconds * 1000 == self.had[grant].ttl_ms

    def teardown(self) -> None:
        self.w.crash()

    def _charge(self, grant: str) -> None:
        self.w.record(using.charge(self.w.book, grant, "dec-1", now=self.w.now))
        one = self.had[grant]
        one.used += 1
        one.first = self.real if one.first is None else one.first

    def _permits(self, grant: str) -> bool:
        return self.w.book.permits(self.w.book.grant(grant), self.w.now)

    def _pending(self, one: Wanted) -> bool:
        return one.state == "pending" and self.w.now.wall_ms - one.wall_ms < 72 * HOUR

    def _within_a_day(self, one: Wanted) -> bool:
        return self.w.now.wall_ms - one.wall_ms < 24 * HOUR

    def _in_time(self, one: Had) -> bool:
        in_use = one.first is None or self.real - one.first < one.ttl_ms
        return in_use and self.real - one.approved < 8 * HOUR + one.ttl_ms

    def _live(self, one: Had) -> bool:
        spent = one.max_uses is not None and one.used >= one.max_uses
        return not one.ended and not spent and self._in_time(one)

    def _calm(self, one: Had) -> bool:
        """Whether nobody has touched the clocks, so that the model knows exactly."""
        return one.jumps == self.jumps and not self.set_back

    def _refused(self, code: str, call: Any, *arguments: Any, **named: Any) -> None:
        before = len(self.w.chain.entries)
        with pytest.raises(GateError) as caught:
            call(*arguments, **named)
        assert caught.value.code == code
        assert len(self.w.chain.entries) == before


GrantMachine.TestCase.settings = settings(
    max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestGrants = GrantMachine.TestCase
