"""A history decided again: what the keeper writes holds, whatever its clocks; what nobody signed does not."""

import json
from dataclasses import replace

import pytest
from granted_attacks import ATTACKS, RULES, Attack
from granted_kit import ADA, DEV, Office, office
from granted_stories import ENDS, LOOSE, STORIES, STORY, said
from hypothesis import given, settings, strategies as st
from ledger_kit import History, changed, lines_of, relinked

from gate.audit import canonical
from gate.audit.chain import subject_of
from gate.audit.verify import Report, verify_export
from gate.audit.writer import draft
from gate.config.bundle import load_bundle
from gate.grant import filing, using
from gate.grant.book import EVENTS
from gate.grant.event import Event
from gate.grant.history import Grants
from gate.grant.request import DAY_MS
from gate.grant.runs import HELPERS, PLACES
from gate.proxy import functions
from gate.proxy.functions import DEPLOY
from gate.proxy.lease import Scope
from gate.proxy.refusal import Refused
from gate.proxy.routes import ROUTES
from gate.proxy.sync import check_call


def verified(history: History) -> Report:
    return verify_export(history.lines(), more=[Grants()])


def numbers(report: Report) -> list[int]:
    """The events with findings, each once."""
    return sorted({int(text.split(" ")[1]) for text in report.findings})


@pytest.mark.parametrize("attack", [*ATTACKS.values(), *RULES.values()], ids=[*ATTACKS, *RULES])
def test_what_was_forged_is_found(attack: Attack) -> None:
    """Just that, and nothing before it."""
    o = attack()
    assert o.bad
    assert numbers(verified(o)) == o.bad


@pytest.mark.parametrize("attack", [*ATTACKS.values(), *RULES.values()], ids=[*ATTACKS, *RULES])
def test_what_was_forged_counts_for_nothing(attack: Attack) -> None:
    """The book is what it was without the forged events."""
    o, grants = attack(), Grants()
    verify_export(o.lines(), more=[grants])
    assert grants.book.state == o.book.state


@pytest.mark.parametrize("o", STORIES.values(), ids=STORIES)
def test_what_the_gate_writes_holds(o: Office) -> None:
    """It is clean, and comes to the same book."""
    grants = Grants()
    assert verify_export(o.lines(), more=[grants]).findings == ()
    assert grants.book.state == o.book.state


def test_every_event_of_a_book_is_decided_again() -> None:
    """The stories hold all of them: a type that comes later is not let pass unlooked at."""
    assert {entry.type for o in STORIES.values() for entry in o.entries} >= set(EVENTS)


def test_nothing_is_asked_for_before_a_bundle_is_in_force() -> None:
    o, history = Office(), History()
    event = filing.file_request(o.book, o.draft())
    history.add(event.type, event.body)
    assert numbers(verified(history)) == [2]


def test_an_activation_that_does_not_hold_puts_nothing_in_force() -> None:
    """Approvals are held against the bundle before it: who forges one needs to forge no other."""
    o = Office(office(signers=("lee",)))
    request, before = o.ask(), o.bundle
    o.activate(office(signers=("kim",)), {})
    o.forge(o.approval(request, "human:kim"))
    o.bundle = before
    o.approve(request)
    o.complete(request)
    assert numbers(verified(o)) == [4, 5]


def test_without_a_reader_of_requests_nothing_is_said_about_them() -> None:
    assert verify_export(ATTACKS["forged grant"]().lines()).findings == ()


def test_policies_that_do_not_hold() -> None:
    """A bundle is activated with whatever its policies say; nothing is decided by those that cannot be read."""
    o = Office()
    event = filing.file_request(o.book, o.draft())
    files = {**o.bundle.files, "policies/default.yaml": b"policy: 2\n"}
    o.activate(load_bundle(files), {"human:ada": ADA})
    o.forge(event)
    o.forge(event)
    assert numbers(verified(o)) == o.bad


def test_policies_that_do_not_hold_let_nothing_stand() -> None:
    """Nor let anything through: a grant falls with them."""
    o = Office()
    grant = o.granted()
    o.activate(load_bundle({**o.bundle.files, "policies/default.yaml": b"policy: 2\n"}), {"human:ada": ADA})
    body = o.decision(grant.id)
    o.forge(Event("decision", body["id"], body))
    o.put(using.end(o.book, grant.id, "bundle_changed"))
    assert numbers(verified(o)) == o.bad


@pytest.mark.parametrize(("seconds", "found"), [(58, False), (60, True)])
def test_a_decision_is_on_record_within_a_minute_of_what_it_stood_on(seconds: int, found: bool) -> None:
    o = Office()
    grant = o.granted()
    under = o.decision(grant.id), o.decision(None, target=said(DEV))
    o.activate(office(note="2"), {"human:ada": ADA})
    o.now_ms += seconds * 1000
    at = [o.add("decision", body).seq for body in under]
    assert numbers(verified(o)) == (at if found else [])


@pytest.mark.parametrize(("seconds", "found"), [(1787, True), (1788, False)])
def test_a_grant_expires_when_its_time_is_up(seconds: int, found: bool) -> None:
    """Ten seconds are for the disk: its first use may be on record late, and its clock starts before."""
    o = Office()
    grant = o.granted(ask=replace(o.draft().ask, ttl_seconds=1800))
    o.run(grant)
    o.now_ms += (seconds + 1) * 1000
    at = o.record(using.end(o.book, grant.id, "expired")).seq
    assert numbers(verified(o)) == ([at] if found else [])


def test_a_cut_may_be_told_late() -> None:
    """A keeper that was off for weeks finds a grant that has expired, or one whose closing it did not finish."""
    o = Office()
    grant = o.granted()
    o.now_ms += 30 * DAY_MS
    o.put(using.end(o.book, grant.id, "expired"))
    o.put(using.closing(grant.id))
    o.put(using.closed(grant.id, 30 * DAY_MS))
    assert verified(o).findings == ()


def test_every_write_that_passes_under_a_grant_can_be_on_record() -> None:
    """Of the proxy's routes only those of a push are left out: a push takes a plan."""
    routes = {place: route for place, route in ROUTES.items() if route.writes or place == "POST /api/function"}
    under_a_grant = {place for place, route in routes.items() if all(DEPLOY not in need for need in route.needs)}
    assert {*PLACES} == {*under_a_grant, "WS Mutation", "WS Action"}
    for place in under_a_grant - {"POST /api/function"}:
        assert all(PLACES[place] in need for need in routes[place].needs)


def test_every_helper_that_a_socket_may_call_as_a_mutation_can_be_on_record() -> None:
    """What Convex's CLI reads while it runs a function, but for what takes a push."""
    read = {path for path, one in functions.HELPERS.items() if "run" in one.commands and {DEPLOY} != one.needs[0]}
    assert read == HELPERS
    assert not any(functions.HELPERS[path].writes for path in HELPERS)


def test_a_socket_calls_nothing_else_of_convex() -> None:
    """Property of the table above: what is not in it has to be the function that was decided."""
    scope = Scope(frozenset({"deployment:data:view", functions.WRITE}), "run", frozenset({"a:b"}))
    passing = {path for path in functions.HELPERS if _passes(path, scope)}
    assert passing == HELPERS


def _passes(path: str, scope: Scope) -> bool:
    try:
        check_call({"type": "Mutation", "udfPath": path, "args": [{}]}, scope)
    except Refused:
        return False
    return True


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_member_can_be_changed(data: st.DataObject) -> None:
    """Property: a changed member is found, unless it is one that nothing hangs on; nothing else breaks the reader."""
    entries = data.draw(st.sampled_from([STORY, ENDS, STORIES["writes"]])).entries
    at = data.draw(st.integers(2, len(entries) - 1))
    members = json.loads(entries[at].body)
    name = data.draw(st.sampled_from(sorted(members.keys() - {"seq", "time", "type", "keeper"})))
    value = data.draw(
        st.none() | st.booleans() | st.integers(-1, 5) | st.text(max_size=4) | st.lists(st.text(), max_size=2)
    )
    edited = [*entries[:at], changed(entries[at], **{name: value}), *entries[at + 1 :]]
    report = verify_export(lines_of(relinked(edited)), more=[Grants()])
    assert report.status == 1 or value == members[name] or (entries[at].type, name) in LOOSE


@pytest.mark.parametrize("o", STORIES.values(), ids=STORIES)
def test_the_stories_are_written_as_the_ledger_writes(o: Office) -> None:
    """Down to where a subject stands: else nothing here would be about real ledgers."""
    for entry in o.entries[2:]:
        members = json.loads(entry.body)
        own = {name: members.pop(name) for name in ("seq", "time", "type")}
        subject = subject_of(members)
        members.pop("subject", None)
        assert canonical.join({**draft(entry.type, members, subject).members, **canonical.members(own)}) == entry.body
