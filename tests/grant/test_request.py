"""Requests: accounted for, bounded, merged, answered once."""

from dataclasses import replace
from typing import Any

import pytest
from grant_kit import CLAUDE, CODEX, HOUR, LEADS, NEEDS, World, ask_of, sign

from gate.errors import GateError
from gate.grant import filing
from gate.grant.request import PENDING, REQUEST_MOVES, capped, mapped, request_from
from gate.grant.statement import render
from gate.identity.caller import Caller
from gate.policy.verdict import Needs

STATES = ("pending", "approved", "denied", "cancelled", "lapsed")


def refused(code: str, call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(GateError) as caught:
        call(*arguments, **named)
    assert caught.value.code == code
    assert caught.value.remedy
    return caught.value.message


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"requester": "agent:unknown"}, "who asks"),
        ({"owner": ""}, "no person answers"),
        ({"ticket": ""}, "ticket is missing"),
        ({"ticket": "  "}, "ticket is missing"),
        ({"ticket": "OPS-411 "}, "ticket is not of the form"),
        ({"ticket": "see OPS-411"}, "ticket is not of the form"),
        ({"ticket": "OPS-411\nOPS-412"}, "ticket is not of the form"),
        ({"reason": ""}, "reason is too short"),
        ({"reason": "stale          "}, "reason is too short"),
        ({"reason": " a          b\t\n"}, "reason is too short"),
        ({"ack_risk": False}, "risk"),
        ({"ask": ask_of(ttl_seconds=3601)}, "that long"),
    ],
)
def test_a_request_without_change_control_is_refused(changes: dict[str, Any], why: str) -> None:
    w = World()
    assert why in refused("change_control", w.file, **changes)


def test_ttl_above_cap() -> None:
    w = World()
    w.file(ask=ask_of(ttl_seconds=3600))
    refused("change_control", w.file, ask=ask_of(ttl_seconds=3601))


def test_more_uses_than_the_rules_allow_are_refused_and_capped_before() -> None:
    needs = replace(NEEDS, max_uses=3)
    w = World(needs)
    refused("change_control", w.file)
    refused("change_control", w.file, ask=ask_of(max_uses=4))
    assert w.file(ask=capped(ask_of(), needs)).ask.max_uses == 3
    assert capped(ask_of(max_uses=2), needs).max_uses == 2
    assert capped(ask_of(), NEEDS).max_uses is None


def test_rules_that_want_nothing_still_want_ticket_reason_and_risk() -> None:
    w = World(Needs())
    refused("change_control", w.file, ticket="")
    refused("change_control", w.file, reason=" ")
    refused("change_control", w.file, ack_risk=False)
    assert w.file(ask=ask_of(ttl_seconds=10**6)).state == PENDING


def test_every_ticket_pattern_has_to_match() -> None:
    w = World(replace(NEEDS, ticket=("OPS-[0-9]+", ".*-4.*")))
    refused("change_control", w.file, ticket="OPS-511")
    assert w.file().ticket == "OPS-411"


def test_a_request_is_at_most_4_kb() -> None:
    w = World()
    refused("limit", w.file, reason="x" * 4000)
    refused("limit", w.file, reason="\N{SNOWMAN}" * 600)
    w.file(reason="x" * 2500)


def test_five_are_pending_for_an_owner_whoever_asks() -> None:
    w = World()
    requests = [w.file(reason=f"reason number {n}") for n in range(5)]
    sister = Caller("agent:sister", "claimed", "human:ada", frozenset(), 1000)
    assert "5 requests" in refused("limit", w.file, reason="reason number six")
    refused("limit", w.file, sister, reason="reason number six")
    w.file(CLAUDE)
    w.record(filing.cancel(w.book, requests[0].id, CODEX, w.now.wall_ms))
    w.file(reason="reason number six")


def test_twenty_a_day_for_an_owner() -> None:
    w = World()
    for n in range(20):
        request = w.file(reason=f"reason number {n}")
        w.record(filing.cancel(w.book, request.id, CODEX, w.now.wall_ms))
        w.pass_ms(1000)
    w.crash()
    assert "20 times" in refused("limit", w.file)
    w.file(CLAUDE)
    w.pass_ms(24 * HOUR - 20_001)
    refused("limit", w.file)
    w.pass_ms(1)
    w.file()
    refused("limit", w.file)


def test_identical_pending_requests_merge() -> None:
    w = World()
    first = w.file()
    w.pass_ms(HOUR)
    again = w.draft(decision="dec-another1")
    assert again.digest != first.digest
    assert filing.twin(w.book, again) == first
    for changed in ({"ask": ask_of(ttl_seconds=60)}, {"reason": "something else"}, {"uid": 1001}, {"bundle": "x"}):
        assert filing.twin(w.book, w.draft(**changed)) is None
    w.record(filing.cancel(w.book, first.id, CODEX, w.now.wall_ms))
    assert filing.twin(w.book, again) is None


def test_a_lapsed_request_is_no_twin_and_takes_no_room() -> None:
    w = World()
    requests = [w.file(reason=f"reason number {n}") for n in range(5)]
    w.pass_ms(72 * HOUR - 1)
    refused("limit", w.file)
    assert [*filing.lapses(w.book, w.now.wall_ms)] == []
    w.pass_ms(1)
    assert filing.twin(w.book, w.draft(reason="reason number 0")) is None
    w.file()
    for event in [*filing.lapses(w.book, w.now.wall_ms)]:
        w.record(event)
    assert {w.book.request(one.id).state for one in requests} == {"lapsed"}
    assert [*filing.lapses(w.book, w.now.wall_ms)] == []


def test_lapsed_request() -> None:
    w = World()
    request = w.file()
    w.pass_ms(72 * HOUR)
    refused("change_control", w.approve, request)
    refused("change_control", filing.cancel, w.book, request.id, CODEX, w.now.wall_ms)
    signed = render(w.objection("deny", request.id))
    refused("change_control", filing.deny, w.book, request.id, signed, sign(signed, "human:kim"), w.against)


def test_a_request_that_was_half_approved_lapses_too() -> None:
    w = World(replace(NEEDS, approvals=(replace(LEADS, count=1),)))
    request = w.file()
    w.approve(request)
    w.pass_ms(72 * HOUR)
    refused("change_control", w.complete, request)


def test_only_the_requester_cancels() -> None:
    w = World()
    request = w.file()
    for caller in (CLAUDE, replace(CODEX, uid=1001), replace(CODEX, id="human:ada")):
        refused("denied_by_rule", filing.cancel, w.book, request.id, caller, w.now.wall_ms)
    w.record(filing.cancel(w.book, request.id, CODEX, w.now.wall_ms))
    assert w.book.request(request.id).state == "cancelled"
    refused("change_control", filing.cancel, w.book, request.id, CODEX, w.now.wall_ms)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("to", STATES)
def test_a_request_moves_as_the_table_says(state: str, to: str) -> None:
    request = World().draft(state=state)
    if to in REQUEST_MOVES.get(state, ()):
        assert (state, request.moved(to).state) == ("pending", to)
    else:
        with pytest.raises(ValueError, match="does not become"):
            request.moved(to)


def test_a_request_survives_its_event() -> None:
    request = World().draft()
    assert request_from(request.to_json(), 7) == replace(request, seq=7)
    for wrong in ({"state": "approved"}, {"uid": "0"}, {"time_ms": True}, {"owner": None}, {"ack_risk": 1, "id": 3}):
        with pytest.raises(ValueError, match="another form"):
            request_from({**request.to_json(), **wrong}, 7)


def test_every_person_behind_the_system_user_is_excluded() -> None:
    w = World()
    assert mapped(CODEX, w.bundle.document.principals) == ("human:ada",)
    assert mapped(CLAUDE, w.bundle.document.principals) == ()


def test_nothing_is_known_of_other_ids() -> None:
    w = World()
    refused("usage", w.book.request, "req-none")
    refused("usage", w.book.grant, "grt-none")


def test_a_request_that_no_longer_stands_lapses_with_its_reason() -> None:
    w = World()
    request = w.file()
    entry = w.record(filing.lapse(w.book, request.id))
    assert '"why":"bundle_changed"' in entry.body
    assert w.book.request(request.id).state == "lapsed"
