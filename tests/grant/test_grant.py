"""Grants: their table, their clock, their uses, their end."""

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from grant_kit import CLAUDE, CODEX, HOUR, START, World, ask_of, sign
from hypothesis import given, strategies as st

from gate.errors import GateError
from gate.grant import filing, using
from gate.grant.event import Moment, longest, moment_of, shortest
from gate.grant.grant import ENDS, GRANT_MOVES, Grant
from gate.grant.statement import render

STATES = (*GRANT_MOVES, "closed", "cut_failed")
MINUTE = 60_000


def refused(code: str, call: Any, *arguments: Any, **named: Any) -> None:
    with pytest.raises(GateError) as caught:
        call(*arguments, **named)
    assert caught.value.code == code
    assert caught.value.remedy


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("to", STATES)
def test_a_grant_moves_as_the_table_says(state: str, to: str) -> None:
    """Scheduled -> active -> expired|revoked|exhausted|dropped -> closing -> closed|cut_failed."""
    grant = Grant("grt-1", "req-1", "agent:codex", "human:ada", 1, ask_of(), (), Moment(0, 0, "b"), state=state)
    ends = {"expired", "revoked", "exhausted", "dropped"}
    legal = (
        (state == "scheduled" and to in {"active", *ends} - {"exhausted"})
        or (state == "active" and to in ends)
        or (state in ends and to == "closing")
        or (state == "closing" and to in {"closed", "cut_failed"})
    )
    if legal:
        assert grant.moved(to).state == to
    else:
        with pytest.raises(ValueError, match="does not become"):
            grant.moved(to)


def test_the_clock_starts_at_first_use() -> None:
    w = World()
    grant = w.granted()
    w.pass_ms(7 * HOUR)
    grant = w.charge(grant)
    assert grant.state == "active"
    assert grant.ends_ms == w.now.wall_ms + 30 * MINUTE
    w.pass_ms(30 * MINUTE - 1)
    assert w.choose() == grant
    w.pass_ms(1)
    assert w.choose() is None
    refused("grant_ended", w.charge, grant)


def test_unused_the_clock_starts_eight_hours_after_the_approval() -> None:
    w = World()
    grant = w.granted()
    w.pass_ms(8 * HOUR + 10 * MINUTE)
    assert w.choose() == grant
    grant = w.charge(grant)
    w.pass_ms(20 * MINUTE - 1)
    assert w.choose() == grant
    w.pass_ms(1)
    assert w.choose() is None


def test_a_wall_clock_set_back_gains_nothing() -> None:
    w = World()
    grant = w.charge(w.granted())
    w.now = replace(w.now, boot_ms=w.now.boot_ms + 30 * MINUTE, wall_ms=w.now.wall_ms - HOUR)
    assert not w.book.permits(grant, w.now)


def test_a_wall_clock_set_forward_ends_and_a_boot_clock_that_runs_on_ends_too() -> None:
    w = World()
    grant = w.charge(w.granted())
    assert not w.book.permits(grant, replace(w.now, wall_ms=w.now.wall_ms + 30 * MINUTE))
    assert not w.book.permits(grant, replace(w.now, boot_ms=w.now.boot_ms + 30 * MINUTE))


def test_across_a_boot_the_wall_clock_counts_and_a_clock_before_the_event_is_over() -> None:
    w = World()
    grant = w.charge(w.granted())
    after = Moment(w.now.wall_ms + 10 * MINUTE, 3, "boot-2")
    assert w.book.permits(grant, after)
    assert not w.book.permits(grant, replace(after, wall_ms=w.now.wall_ms + 30 * MINUTE))
    assert not w.book.permits(grant, replace(after, wall_ms=w.now.wall_ms - 1))


def test_not_before_is_kept_by_both_clocks() -> None:
    w = World()
    grant = w.granted(ask=ask_of(not_before_ms=START + HOUR))
    assert w.choose() is None
    refused("grant_ended", w.charge, grant)
    assert not w.book.permits(grant, replace(w.now, wall_ms=w.now.wall_ms + HOUR))
    assert not w.book.permits(grant, replace(w.now, boot_ms=w.now.boot_ms + HOUR))
    w.pass_ms(HOUR)
    assert w.choose() == grant


def test_a_grant_for_tomorrow_waits_until_then() -> None:
    w = World()
    grant = w.granted(ask=ask_of(not_before_ms=START + 20 * HOUR))
    assert grant.ends_ms == START + 20 * HOUR + 30 * MINUTE
    w.pass_ms(20 * HOUR)
    assert w.choose() == grant
    w.pass_ms(30 * MINUTE)
    assert w.choose() is None


@given(st.tuples(*[st.integers(0, 10**13)] * 4), st.booleans())
def test_what_may_have_passed_is_never_less_than_what_has(numbers: tuple[int, int, int, int], same: bool) -> None:
    since = Moment(numbers[0], numbers[1], "one")
    now = Moment(numbers[2], numbers[3], "one" if same else "two")
    assert longest(since, now) >= shortest(since, now)
    assert longest(since, since) == shortest(since, since) == 0


@pytest.mark.parametrize("body", [{}, {"boot": "b"}, {"boot": 1, "boot_ms": 1}, {"boot": "b", "boot_ms": "1"}])
def test_an_event_without_its_moment_has_none(body: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        moment_of(1, body)


def test_uses_are_charged_up_to_their_number() -> None:
    w = World()
    grant = w.granted(ask=ask_of(max_uses=2))
    grant = w.charge(w.charge(grant))
    assert (grant.used, grant.spent, grant.state) == (2, True, "active")
    assert w.choose() is None
    refused("grant_ended", w.charge, grant)
    w.crash()
    refused("grant_ended", w.charge, grant)


def test_a_spent_grant_ends_when_its_last_use_has() -> None:
    w = World()
    grant = w.charge(w.granted(ask=ask_of(max_uses=1)))
    assert [*using.overdue(w.book, now=w.now, busy={grant.id})] == []
    (event,) = using.overdue(w.book, now=w.now, busy=())
    w.record(event)
    assert w.book.grant(grant.id).state == "exhausted"
    assert [*using.overdue(w.book, now=w.now, busy=())] == []


def test_an_expired_grant_is_recorded_as_such_busy_or_not() -> None:
    w = World()
    grant, unused = w.charge(w.granted()), w.granted(CLAUDE)
    w.pass_ms(30 * MINUTE)
    (event,) = using.overdue(w.book, now=w.now, busy={grant.id})
    w.record(event)
    assert (w.book.grant(grant.id).state, w.book.grant(unused.id).state) == ("expired", "scheduled")
    w.pass_ms(8 * HOUR)
    (event,) = using.overdue(w.book, now=w.now, busy=())
    w.record(event)
    assert w.book.grant(unused.id).state == "expired"
    assert w.book.grant(unused.id).ended_ms == w.now.wall_ms


def test_who_drops_and_who_revokes_without_a_signature() -> None:
    w = World()
    grant = w.granted()
    owner = replace(CODEX, id="human:ada", proof="peer", owner=None)
    for stranger in (CLAUDE, replace(CODEX, uid=1001), replace(owner, id="human:lee"), replace(owner, proof="claimed")):
        refused("denied_by_rule", using.drop, w.book, grant.id, stranger)
        refused("denied_by_rule", using.revoke, w.book, grant.id, stranger, "no")
    refused("denied_by_rule", using.drop, w.book, grant.id, owner)
    for caller in (owner, CODEX):
        assert using.revoke(w.book, grant.id, caller, "no").body["by"] == caller.id
    w.record(using.drop(w.book, grant.id, CODEX))
    assert w.book.grant(grant.id).state == "dropped"
    refused("grant_ended", using.drop, w.book, grant.id, CODEX)
    refused("grant_ended", using.revoke, w.book, grant.id, owner, "no")
    assert w.choose() is None


def test_any_signer_revokes_by_signature() -> None:
    w = World()
    grant = w.granted()
    signed = render(w.objection("revoke", grant.id))
    refused("not_a_signer", using.revoke_signed, w.book, grant.id, signed, sign(signed, "stranger"), w.against)
    denial = render(w.objection("deny", grant.id))
    refused("bad_signature", using.revoke_signed, w.book, grant.id, denial, sign(denial, "human:eve"), w.against)
    w.record(using.revoke_signed(w.book, grant.id, signed, sign(signed, "human:eve"), w.against))
    assert w.book.grant(grant.id).state == "revoked"
    other = w.granted()
    refused("bad_signature", using.revoke_signed, w.book, other.id, signed, sign(signed, "human:eve"), w.against)


def test_a_revocation_cuts_before_it_is_on_record() -> None:
    w = World()
    grant = w.charge(w.granted())
    w.book.bar(grant.id)
    assert w.choose() is None
    refused("grant_ended", w.charge, grant)
    w.record(using.revoke(w.book, grant.id, CODEX, "no"))
    assert w.book.grant(grant.id).why == "revoked"


def test_the_cut_follows_the_end_and_comes_to_one_of_two_ends() -> None:
    w = World()
    for last, event in (
        ("closed", partial(using.closed, latency_ms=12)),
        ("cut_failed", partial(using.cut_failed, why="?")),
    ):
        grant = w.granted()
        with pytest.raises(GateError):
            w.record(using.closing(grant.id))
        w.chain.entries.pop()
        w.record(using.end(w.book, grant.id, "bundle_changed"))
        assert (w.book.grant(grant.id).state, w.book.grant(grant.id).why) == ("revoked", "bundle_changed")
        w.record(using.closing(grant.id))
        w.record(event(grant.id))
        assert w.book.grant(grant.id).state == last
        w.crash()
    assert set(ENDS.values()) == {"expired", "revoked", "exhausted", "dropped"}


def test_overlapping_grants_do_not_end_each_other() -> None:
    w = World()
    one, other = w.granted(), w.granted()
    w.record(using.revoke(w.book, one.id, CODEX, "no"))
    assert w.choose() == other
    assert filing.twin(w.book, w.draft()) is None
