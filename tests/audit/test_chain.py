"""The chain: no event can be changed, dropped, moved or added without being named."""

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given, settings, strategies as st

from gate import world
from gate.audit import canonical, chain
from gate.audit.chain import BEGINNING, Entry
from gate.audit.export import entry_of, line_of, write
from gate.errors import LedgerError


def events(count: int, start: int = 1_771_495_445_123) -> list[Entry]:
    """A sound history."""
    made: list[Entry] = []
    prev = BEGINNING
    for seq in range(1, count + 1):
        time = world.iso(start + seq)
        body = canonical.encode({"seq": seq, "time": time, "type": "note", "id": f"n-{seq}", "text": "é\ud800"})
        made.append(Entry(seq, time, "note", body, prev, chain.link(prev, body)))
        prev = made[-1].hash
    return made


def relinked(entries: list[Entry]) -> list[Entry]:
    """The same bodies with every link made anew: what somebody does who knows the rule."""
    made: list[Entry] = []
    prev = BEGINNING
    for entry in entries:
        made.append(replace(entry, prev=prev, hash=chain.link(prev, entry.body)))
        prev = made[-1].hash
    return made


def broken_at(entries: list[Entry]) -> str:
    """Message of the refusal that has to come."""
    with pytest.raises(LedgerError) as caught:
        list(chain.check(entries))
    assert caught.value.code == "ledger_tampered"
    return caught.value.message


def test_the_rule_of_the_contract() -> None:
    """The link of a known event, computed by hand with sha256sum."""
    assert chain.link("0" * 64, "{}") == "81e760137688efd258ebff0694332ce4e7cab4e7d007edeaf0b868386c404897"


def test_a_sound_history_passes_one_by_one() -> None:
    """Entries come out with their bodies; nothing is read ahead."""
    read: list[int] = []

    def source() -> list[Entry]:
        return events(3)

    def counted() -> object:
        for entry in source():
            read.append(entry.seq)
            yield entry

    checked = chain.check(counted())  # type: ignore[arg-type]
    entry, members = next(checked)
    assert (entry.seq, members["id"], read) == (1, "n-1", [1])
    assert [entry.seq for entry, _ in checked] == [2, 3]


@settings(deadline=None)
@given(st.integers(2, 6), st.data())
def test_no_event_is_dropped_moved_or_doubled(count: int, data: st.DataObject) -> None:
    """Property: any other order or choice of the events is refused, but for leaving off the end."""
    whole = events(count)
    order = data.draw(st.lists(st.sampled_from(range(count)), max_size=count + 1))
    if order != list(range(len(order))):
        broken_at([whole[at] for at in order])
    else:
        assert len(list(chain.check([whole[at] for at in order]))) == len(order)


@settings(deadline=None)
@given(st.data())
def test_no_field_is_changed(data: st.DataObject) -> None:
    """Property: another value in any column of any event is refused, at that event or the next."""
    whole = events(4)
    at = data.draw(st.integers(0, 3))
    name = data.draw(st.sampled_from(["seq", "time", "type", "body", "prev", "hash"]))
    old = getattr(whole[at], name)
    new = data.draw(st.integers() if name == "seq" else st.text(max_size=8) | st.just(f"{old} "))
    if new != old:
        whole[at] = Entry(**{**asdict(whole[at]), name: new})
        assert f"event {at + 1} does not hold" in broken_at(whole)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"seq": 3}, "another number"),
        ({"seq": "2"}, "another number"),
        ({"seq": True}, "another number"),
        ({"time": "2026-02-19T10:04:06.000Z"}, "another number"),
        ({"type": "other"}, "another number"),
    ],
)
def test_the_body_says_what_the_columns_say(change: dict[str, object], why: str) -> None:
    """A history that was linked anew still has to agree with itself."""
    whole = events(3)
    body = canonical.encode({**json.loads(whole[1].body), **change})
    whole[1] = replace(whole[1], body=body)
    assert why in broken_at(relinked(whole))


def test_one_is_not_true() -> None:
    """`true` counts as 1 in Python; it is no number of an event."""
    first = events(1)[0]
    body = first.body.replace('"seq":1', '"seq":true')
    assert "another number" in broken_at(relinked([replace(first, body=body)]))


@pytest.mark.parametrize("time", ["2020-01-01T00:00:00.000Z", "2026-13-01T00:00:00.000Z", "2026-02-19T10:04:06Z", "x"])
def test_time_goes_forward_and_is_a_time(time: str) -> None:
    """A backdated event is found although every link is right; so is a time that is none."""
    whole = events(3)
    body = canonical.encode({**json.loads(whole[1].body), "time": time})
    whole[1] = replace(whole[1], body=body, time=time)
    assert "event 2" in broken_at(relinked(whole))


@pytest.mark.parametrize("body", ['{"seq":1,"seq":1}', "[]", '{"a":1.0}'])
def test_bodies_are_read_strictly(body: str) -> None:
    """A body that two readers may understand differently is refused although its hash is right."""
    assert "event 1" in broken_at(relinked([replace(events(1)[0], body=body)]))


def test_subjects_come_out_of_the_body() -> None:
    """The first of subject, decision, id and digest that is a text."""
    assert chain.subject_of({"id": "a", "decision": "b", "subject": "c", "digest": "d"}) == "c"
    assert chain.subject_of({"id": "a", "decision": {}, "digest": "d"}) == "a"
    assert chain.subject_of({"digest": "d"}) == "d"
    assert chain.subject_of({"seq": 1}) is None


def test_lines_of_an_export() -> None:
    """What is written is read, byte for byte of the body."""
    whole = events(3)
    lines = list(write(whole))
    assert [entry_of(line) for line in lines] == whole
    assert list(json.loads(lines[0])) == ["seq", "time", "type", "body", "prev", "hash"]
    assert entry_of(line_of(whole[0]).encode()) == whole[0]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"\xff",
        b"[]",
        b'{"seq":1,"time":"","type":"","body":"","prev":"","hash":"","more":1}',
        b'{"seq":"1","time":"","type":"","body":"","prev":"","hash":""}',
        b'{"seq":true,"time":"","type":"","body":"","prev":"","hash":""}',
        b'{"seq":1,"time":"","type":"","body":{},"prev":"","hash":""}',
        b'{"seq":1,"seq":1,"time":"","type":"","body":"","prev":"","hash":""}',
    ],
)
def test_what_is_no_line_of_an_export(line: bytes) -> None:
    """Just the six members, each of its type."""
    with pytest.raises(ValueError, match=r".+"):
        entry_of(line)
