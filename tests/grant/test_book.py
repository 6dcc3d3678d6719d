"""The book: one fold of the events, the same after every crash; what nobody could have written is refused."""

import itertools
import json
from dataclasses import replace
from typing import Any

import pytest
from grant_kit import (
    CLAUDE,
    CODEX,
    LEADS,
    NEEDS,
    ORIGIN,
    PROD,
    START,
    VIEW,
    World,
    ask_of,
    bundle_with,
    sign,
)

from gate.audit.ledger import Ledger
from gate.errors import GateError, LedgerError
from gate.grant import filing, using
from gate.grant.book import EVENTS, Book
from gate.grant.event import Event, Moment
from gate.grant.grant import Grant
from gate.grant.statement import render
from gate.identity.caller import Caller

MINUTE = 60_000


def tampered(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(LedgerError) as caught:
        call(*arguments, **named)
    assert caught.value.code == "ledger_tampered"
    return caught.value.message


def fallen(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(GateError) as caught:
        call(*arguments, **named)
    assert caught.value.code == "bundle_changed"
    return caught.value.message


WHAT = {"place": "POST /api/function", "function": "messages:send", "component": None, "sha256": "0" * 64}


def story() -> World:
    """A little of everything."""
    w = World()
    grant = w.charge(w.granted(ask=ask_of(max_uses=5)))
    w.charge(grant)
    w.record(using.write(w.book, grant.id, "dec-00000001", 1, WHAT, now=w.now))
    w.record(using.write(w.book, grant.id, "dec-00000001", None, WHAT, now=w.now))
    other = w.granted(CLAUDE)
    w.record(using.drop(w.book, other.id, CLAUDE))
    w.record(using.closing(other.id))
    w.record(using.closed(other.id, 12))
    request = w.file(CLAUDE, reason="another good reason")
    w.record(filing.cancel(w.book, request.id, CLAUDE, w.now.wall_ms))
    denied = w.file(CLAUDE, reason="the best reason of all")
    signed = render(w.objection("deny", denied.id))
    w.record(filing.deny(w.book, denied.id, signed, sign(signed, "human:kim"), w.against))
    signed = render(w.objection("revoke", grant.id))
    w.record(using.revoke_signed(w.book, grant.id, signed, sign(signed, "human:kim"), w.against))
    w.record(using.closing(grant.id))
    w.record(using.cut_failed(grant.id, "the probe was answered"))
    w.record(filing.lapse(w.book, w.file().id))
    w.granted()
    return w


def test_the_book_is_the_same_however_its_events_were_read() -> None:
    w = story()
    entries = [entry for kind in reversed(EVENTS) for entry in w.chain.entries if entry.type == kind]
    assert Book.replay(entries).state == Book.replay(w.chain.entries).state == w.book.state
    assert {entry.type for entry in entries} == set(EVENTS)


async def test_the_book_of_a_ledger_on_disk(tmp_path: Any) -> None:
    """The events as the real ledger stores them, found by their subject, type by type."""
    w = World()
    ledger = await Ledger.open(tmp_path / "ledger.db", now=lambda: w.now.wall_ms)
    try:
        event = filing.file_request(w.book, w.draft())
        w.book.apply(await ledger.append(event.type, event.body, subject=event.subject))
        request = w.book.request(event.subject)
        signed = render(w.stated(request, ledger=ledger.id, head=ledger.head))
        against = replace(w.against, ledger=ledger)
        event = filing.approve(w.book, request.id, signed, sign(signed, "human:lee"), needs=NEEDS, against=against)
        w.book.apply(await ledger.append(event.type, event.body, subject=event.subject))
        made = filing.complete(w.book, request.id, NEEDS, against, now=w.now, grant_id="grt-1")
        assert made is not None
        w.book.apply(await ledger.append(made.type, made.body, subject=made.subject))
        read = itertools.chain.from_iterable(ledger.read(type=kind) for kind in EVENTS)
        assert Book.replay(read).state == w.book.state
        assert w.book.verify_again("grt-1", w.bundle, NEEDS, ledger) == request.ask
        assert [entry.type for entry in ledger.read(subject=request.id)] == ["request.made", "approval.given"]
        assert [entry.type for entry in ledger.read(subject="grt-1")] == ["grant.made"]
    finally:
        await ledger.close()


def test_an_event_counts_once() -> None:
    w = story()
    for entry in w.chain.entries:
        tampered(w.book.apply, entry)


@pytest.mark.parametrize("kind", EVENTS)
def test_no_event_stands_a_second_time(kind: str) -> None:
    """A row copied to the end with a correct chain: a replayed approval, a second grant, a second end."""
    w = story()
    for entry in [entry for entry in w.chain.entries if entry.type == kind]:
        before = Book.replay(w.chain.entries).state
        copied = w.chain.append(Event(kind, "copy", _body(entry.body)), w.now.wall_ms)
        tampered(w.book.apply, copied)
        assert w.book.state == before
        w.chain.entries.pop()


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("request.made", {}),
        ("request.made", {"id": "req-1", "digest": "sha256:0", "request": {}}),
        ("request.made", {"id": "req-1", "digest": "sha256:0", "request": None}),
        ("request.cancelled", {"request": "req-none"}),
        ("request.cancelled", {"request": ["req-none"]}),
        ("approval.given", {"request": "req-none", "statement": "x", "signature": "x", "nonce": "x"}),
        ("approval.given", {"request": "req-none", "statement": None, "signature": "x", "nonce": "x"}),
        ("grant.made", {"id": "grt-9", "request": "req-none", "approvals": [], "boot": "b", "boot_ms": 1}),
        ("grant.made", {"id": "grt-9", "request": "req-none", "approvals": [], "boot": "b"}),
        ("grant.used", {"grant": "grt-none", "use": 1, "boot": "b", "boot_ms": 1}),
        ("grant.ended", {"grant": "grt-none", "why": "expired"}),
        ("grant.closing", {"grant": "grt-none"}),
    ],
)
def test_events_that_nobody_writes(kind: str, body: dict[str, Any]) -> None:
    w = story()
    before = Book.replay(w.chain.entries).state
    tampered(w.book.apply, w.chain.append(Event(kind, "forged", body), w.now.wall_ms))
    assert w.book.state == before


def test_events_with_one_member_changed() -> None:
    w = World()
    request = w.file()
    event = filing.file_request(w.book, w.draft(reason="another good reason"))
    wider = {**event.body["request"], "ask": ask_of(ttl_seconds=3600).to_json()}
    _forge(w, event, request=wider)
    _forge(w, event, id="req-other")
    signed = render(w.stated(request))
    given = filing.approve(w.book, request.id, signed, sign(signed, "human:lee"), needs=NEEDS, against=w.against)
    _forge(w, given, nonce="fresh")
    _forge(w, given, at_ms=w.now.wall_ms - 10_001)
    _forge(w, given, at_ms=str(w.now.wall_ms))
    _forge(w, given, request=w.file(reason="another good reason").id)
    w.record(given)
    made = filing.complete(w.book, request.id, NEEDS, w.against, now=w.now, grant_id="grt-1")
    assert made is not None
    _forge(w, made, approvals=["nonce-none"])
    _forge(w, made, ask={**made.body["ask"], "ttl_seconds": 0})
    w.record(made)
    used = using.charge(w.book, "grt-1", "dec-1", now=w.now)
    _forge(w, used, use=2)
    _forge(w, used, use=0)
    _forge(w, using.end(w.book, "grt-1", "expired"), why="bored")
    _forge(w, using.end(w.book, "grt-1", "exhausted"))
    w.crash()


def test_an_approval_row_copied_while_its_request_is_pending() -> None:
    w = World(replace(NEEDS, approvals=(replace(LEADS, count=2),)))
    request = w.file()
    w.approve(request)
    _forge(w, Event("approval.given", request.id, _body(w.chain.entries[-1].body)))


def test_an_approval_that_was_recorded_a_little_after_its_last_moment_holds() -> None:
    w = World()
    request = w.file()
    signed = render(w.stated(request, sign_by_ms=w.now.wall_ms))
    event = filing.approve(w.book, request.id, signed, sign(signed, "human:lee"), needs=NEEDS, against=w.against)
    w.pass_ms(4000)
    w.record(event)
    grant = w.complete(request)
    assert grant is not None
    assert w.again(grant) == request.ask


def test_a_second_grant_of_the_same_id_or_the_same_request() -> None:
    w = World()
    grant = w.granted()
    request = w.file()
    w.approve(request)
    made = filing.complete(w.book, request.id, NEEDS, w.against, now=w.now, grant_id=grant.id)
    assert made is not None
    _forge(w, made)
    _forge(w, made, id="grt-9", request=grant.request, approvals=[grant.given[0].stated.nonce])


def test_a_grant_is_not_used_behind_its_last_use_or_its_end() -> None:
    w = World()
    grant = w.charge(w.granted(ask=ask_of(max_uses=2)))
    use = using.charge(w.book, grant.id, "dec-1", now=w.now)
    w.record(use)
    _forge(w, use, use=3)
    w.record(using.end(w.book, grant.id, "exhausted"))
    _forge(w, use, use=3)


def test_forged_grant_row_is_refused_at_use() -> None:
    """Rows with a correct chain and no signer's key: nobody signed, the wrong one did, or something else."""
    for forger in ("agent's own key", "human:ada"):
        w = World()
        request = w.file()
        signed = render(w.stated(request))
        grant = _force(w, request.id, signed, sign(signed, forger))
        assert w.choose() == grant
        tampered(w.again, grant)
    w = World()
    request = w.file()
    w.record(_grant_event(request.id, request.ask, []))
    assert "something else" in tampered(w.again, w.book.grant("grt-9"))


def test_forged_approval_row_makes_no_grant() -> None:
    w = World()
    request = w.file()
    signed = render(w.stated(request))
    w.record(_given_event(request.id, w.now.wall_ms, signed, sign(signed, "agent's own key")))
    tampered(w.complete, request)


def test_a_widened_row_is_refused_and_the_bytes_count() -> None:
    w = World()
    request = w.file()
    w.approve(request, ask=ask_of(tables=("messages",)))
    nonces = [one.stated.nonce for one in w.book.given(request.id)]
    w.record(_grant_event(request.id, request.ask, nonces))
    assert "something else" in tampered(w.again, w.book.grant("grt-9"))


def test_a_request_made_softer_under_its_signature() -> None:
    """The approver signed the request's digest: other needs, owner or scope in the row are another request."""
    w = World()
    honest = w.draft()
    for changes in ({"needs": replace(NEEDS, approvals=())}, {"excluded": ()}, {"ask": ask_of(ttl_seconds=3600)}):
        w = World()
        soft = w.file(id=honest.id, **changes)
        signed = render(w.stated(soft, request_digest=honest.digest, ask=ask_of()))
        grant = _force(w, soft.id, signed, sign(signed, "human:lee"))
        tampered(w.again, grant)


@pytest.mark.parametrize(
    "changes",
    [
        {"ledger": "led-another1"},
        {"head": "0" * 64},
        {"request": "REQ", "sign_by_ms": START - 1},
        {"ask": ask_of(ttl_seconds=3600)},
        {"bundle": "sha256:" + "0" * 64, "ledger": "led-another1"},
    ],
)
def test_a_real_signature_over_something_else_in_a_forged_row(changes: dict[str, Any]) -> None:
    w = World()
    request = w.file()
    stated = {name: request.id if value == "REQ" else value for name, value in changes.items()}
    signed = render(w.stated(request, **stated))
    tampered(w.again, _force(w, request.id, signed, sign(signed, "human:lee")))


def test_an_approval_dated_after_its_request_lapsed_or_naming_a_later_head() -> None:
    w = World()
    request = w.file()
    signed = render(w.stated(request, sign_by_ms=START + 10**12))
    w.pass_ms(72 * 3_600_000)
    tampered(w.again, _force(w, request.id, signed, sign(signed, "human:lee")))
    w = World()
    early = w.chain.head
    request = w.file()
    signed = render(w.stated(request, head=early))
    tampered(w.again, _force(w, request.id, signed, sign(signed, "human:lee")))


def test_a_forged_row_with_one_approval_where_two_are_wanted() -> None:
    w = World(replace(NEEDS, approvals=(replace(LEADS, count=2),)))
    request = w.file()
    signed = render(w.stated(request))
    assert "never had" in tampered(w.again, _force(w, request.id, signed, sign(signed, "human:lee")))


def test_a_signature_damaged_in_the_ledger() -> None:
    w = World()
    request = w.file()
    signed = render(w.stated(request))
    signature = sign(signed, "human:lee").replace(b"U1NIU0lH", b"U1NIU0lI")
    tampered(w.again, _force(w, request.id, signed, signature))


def test_a_grant_falls_with_its_signer_and_with_stricter_rules() -> None:
    w = World()
    grant = w.granted()
    assert w.again(grant, bundle=bundle_with(note="comments only")) == grant.ask
    assert w.again(grant, bundle=bundle_with(("human:lee",))) == grant.ask
    assert "not enough" in fallen(w.again, grant, bundle=bundle_with(("human:ada", "human:kim")))
    for stricter in (
        {"approvals": (replace(LEADS, count=2),)},
        {"approvals": (replace(LEADS, from_=("human:kim",)),)},
        {"ttl_max_seconds": 1799},
        {"ticket": ("SEC-[0-9]+",)},
        {"reason_min": 500},
        {"max_uses": 1},
    ):
        fallen(w.again, grant, needs=replace(NEEDS, **stricter))


def test_a_grant_with_one_approval_too_many_survives_the_loss_of_one() -> None:
    w = World(replace(NEEDS, approvals=(replace(LEADS, count=2),)))
    request = w.file()
    w.approve(request, "human:lee")
    w.needs = NEEDS
    w.approve(request, "human:kim")
    grant = w.complete(request)
    assert grant is not None
    assert len(grant.given) == 2
    assert w.again(grant, bundle=bundle_with(("human:ada", "human:kim"))) == grant.ask


def test_the_one_that_ends_first_is_used_then_the_lowest_id() -> None:
    w = World()
    long, twin = w.granted(ask=ask_of(ttl_seconds=3600)), w.granted(ask=ask_of(ttl_seconds=3600))
    short = w.granted(ask=ask_of(ttl_seconds=600))
    assert [one.id for one in w.book.live_for("agent:codex", "prod", w.now)] == [short.id, long.id, twin.id]
    assert w.choose() == short
    w.charge(twin)
    assert w.choose() == w.book.grant(twin.id)
    w.pass_ms(60 * MINUTE)
    w.charge(short)
    assert w.choose() == w.book.grant(short.id)


def test_one_grant_covers_all_or_none_does() -> None:
    w = World()
    w.granted(ask=ask_of(tables=("messages",)))
    w.granted(ask=ask_of(tables=("users",)))
    assert w.choose(resources={"tables": ("messages",)}) is not None
    assert w.choose(resources={"tables": ("messages", "users")}) is None
    assert w.choose(resources={"tables": None}) is None
    both = ("deployment:data:view", "deployment:data:write")
    assert w.book.choose(CODEX, PROD, both, {"tables": ("messages",)}, now=w.now) is None


def test_a_grant_is_for_one_deployment_at_one_origin() -> None:
    w = World()
    w.granted()
    for target in (replace(PROD, url="https://elsewhere.convex.cloud"), replace(PROD, deployment="eu")):
        assert w.book.choose(CODEX, target, VIEW, {}, now=w.now) is None


def test_a_claim_to_be_the_requester_is_not_enough() -> None:
    w = World()
    w.granted()
    for caller in (
        replace(CODEX, uid=1001),
        replace(CODEX, owner="human:lee"),
        replace(CODEX, id="agent:claude"),
        Caller("agent:unknown", "claimed", None, frozenset(), 1000),
    ):
        assert w.choose(caller) is None


def test_the_wanted_grant_or_none() -> None:
    w = World()
    first, second = w.granted(ask=ask_of(ttl_seconds=60)), w.granted(ask=ask_of(tables=("messages",)))
    assert w.choose(wanted=first.id) == first
    assert w.choose(wanted=second.id) is None
    assert w.choose(resources={"tables": ("messages",)}, wanted=second.id) == second
    w.record(using.drop(w.book, second.id, CODEX))
    for name in (second.id, "grt-none"):
        with pytest.raises(GateError, match="permits nothing") as caught:
            w.choose(wanted=name)
        assert caught.value.code == "grant_ended"
    with pytest.raises(GateError, match="permits nothing"):
        w.choose(CLAUDE, wanted=first.id)


class _Counting(dict[str, Grant]):
    """Counts how many grants were looked at."""

    looked = 0

    def __getitem__(self, key: str) -> Grant:
        self.looked += 1
        return super().__getitem__(key)


@pytest.mark.parametrize("others", [10, 5_000])
def test_a_look_up_costs_the_same_among_many(others: int) -> None:
    w = World()
    mine = w.granted()
    grants = _Counting({mine.id: mine})
    for n in range(others):
        stranger = replace(mine, id=f"grt-x{n}", requester=f"agent:a{n}", state="active" if n % 2 else "closed")
        grants[stranger.id] = stranger
        w.book.state.open[stranger.requester, "prod"].add(stranger.id)
    w.book.state.grants = grants
    assert w.choose() == mine
    assert grants.looked == 1


def test_ended_grants_leave_the_index_and_stay_in_the_book() -> None:
    w = World()
    grant = w.granted()
    assert w.book.open_grants() == [grant]
    w.record(using.drop(w.book, grant.id, CODEX))
    assert w.book.open_grants() == w.book.live_for("agent:codex", "prod", w.now) == []
    assert w.book.grant(grant.id).state == "dropped"
    assert w.book.given(grant.request) == grant.given
    assert w.book.given("req-none") == ()


def _body(text: str) -> dict[str, Any]:
    from_json: dict[str, Any] = json.loads(text)
    return {name: value for name, value in from_json.items() if name not in ("seq", "time", "type")}


def _forge(w: World, event: Event, **changes: Any) -> None:
    """The event with members changed is refused, and leaves the book as it was."""
    before = Book.replay(w.chain.entries).state
    forged = w.chain.append(replace(event, body={**event.body, **changes}), w.now.wall_ms)
    tampered(w.book.apply, forged)
    assert w.book.state == before
    w.chain.entries.pop()


def _given_event(request: str, at_ms: int, signed: bytes, signature: bytes) -> Event:
    nonce = signed.decode().rsplit("nonce: ", 1)[1].rstrip("\n")
    body = {"request": request, "nonce": nonce, "at_ms": at_ms, "signer": "human:lee", "touched": True}
    texts = {"statement": signed.decode(), "signature": signature.decode()}
    return Event("approval.given", request, {**body, **texts})


def _grant_event(request: str, ask: Any, nonces: list[str]) -> Event:
    moment = Moment(START, 1, "boot-1").to_json()
    body = {"id": "grt-9", "request": request, "ask": ask.to_json(), "approvals": nonces, **moment}
    return Event("grant.made", "grt-9", body)


def _force(w: World, request: str, signed: bytes, signature: bytes) -> Grant:
    """Rows that somebody wrote who knows the rules of the chain: an approval and its grant."""
    w.record(_given_event(request, w.now.wall_ms, signed, signature))
    (given,) = w.book.given(request)
    w.record(_grant_event(request, given.stated.ask, [given.stated.nonce]))
    assert given.stated.ask.origin == ORIGIN
    return w.book.grant("grt-9")
