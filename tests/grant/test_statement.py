"""The text that a person signs: one spelling for one meaning, ASCII, and nothing in it that plays a second line."""

import contextlib
from dataclasses import replace

import pytest
from grant_kit import HOUR, START, World, ask_of
from hypothesis import given, strategies as st

from gate.errors import GateError
from gate.grant.scope import Ask
from gate.grant.statement import Objection, Statement, parse_objection, parse_statement, render
from gate.intent.intent import DIMENSIONS

TEXT = st.text(st.characters(codec=None, exclude_categories=()), min_size=1, max_size=8)
NAMES = st.none() | st.frozensets(TEXT, max_size=3).map(lambda names: tuple(sorted(names)))
TIMES = st.integers(1, 253_402_300_799_999)
ASKS = st.builds(
    Ask,
    deployment=TEXT,
    origin=TEXT,
    effects=st.just(("deployment:data:view", "local:run")),
    ttl_seconds=st.integers(1, 10**12),
    **dict.fromkeys(DIMENSIONS, NAMES),
    max_uses=st.none() | st.integers(1, 10**12),
    not_before_ms=st.none() | TIMES,
)
WORDS = dict.fromkeys(("ledger", "head", "request", "request_digest", "requester", "owner", "bundle", "nonce"), TEXT)
STATEMENTS = st.builds(Statement, ask=ASKS, sign_by_ms=TIMES, **WORDS)
OBJECTIONS = st.builds(
    Objection,
    kind=st.sampled_from(["deny", "revoke"]),
    sign_by_ms=TIMES,
    reason=st.text(st.characters(codec=None, exclude_categories=()), max_size=20),
    **dict.fromkeys(("ledger", "head", "subject", "bundle", "nonce"), TEXT),
)
WORLD = World()
SAMPLE = WORLD.stated(WORLD.draft(), ask=ask_of(tables=("messages", "users"), not_before_ms=START, max_uses=3))


@given(STATEMENTS)
def test_an_approval_reads_back_as_it_was(statement: Statement) -> None:
    text = render(statement)
    assert parse_statement(text) == statement
    assert text.count(b"\n") == 20
    assert all(byte == 10 or 32 <= byte < 127 for byte in text)


@given(OBJECTIONS)
def test_an_objection_reads_back_as_it_was(objection: Objection) -> None:
    assert parse_objection(render(objection)) == objection


@given(STATEMENTS, STATEMENTS)
def test_two_meanings_have_two_texts(one: Statement, other: Statement) -> None:
    assert (render(one) == render(other)) is (one == other)


@given(st.data())
def test_no_changed_byte_is_taken_for_the_same(data: st.DataObject) -> None:
    text = bytearray(render(SAMPLE))
    at = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != text[at]))
    text[at] = byte
    read: Statement | None = None
    with contextlib.suppress(GateError):
        read = parse_statement(bytes(text))
    assert read != SAMPLE


def test_a_person_can_read_it() -> None:
    text = render(replace(SAMPLE, head="a" * 64, nonce="f" * 32)).decode()
    lines = dict(line.split(": ", 1) for line in text.splitlines())
    assert list(lines) == [
        *("kind", "request", "request-digest", "requester", "owner", "deployment", "origin", "effects"),
        *("functions", "tables", "variables", "components", "ttl-seconds", "max-uses", "not-before"),
        *("bundle", "ledger", "head", "sign-by", "nonce"),
    ]
    assert lines["effects"] == "deployment:data:view"
    assert lines["functions"] == "(any)"
    assert lines["tables"] == "messages users"
    assert lines["not-before"] == "2026-02-19T10:04:05.000Z"
    assert lines["sign-by"] == "2026-02-19T11:04:05.000Z"


def test_a_table_cannot_be_called_any() -> None:
    named = replace(SAMPLE, ask=ask_of(tables=("(any)",)))
    assert rb"tables: \u0028any\u0029" in render(named)
    assert parse_statement(render(named)).ask.tables == ("(any)",)


def test_a_name_cannot_begin_another_line() -> None:
    sly = replace(SAMPLE, ask=ask_of(tables=("messages\nttl-seconds: 9",)))
    assert render(sly).count(b"\n") == 20
    assert rb"messages\u000attl-seconds:\u00209" in render(sly)


TEXT_OF_SAMPLE = render(SAMPLE)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        TEXT_OF_SAMPLE + b"\n",
        TEXT_OF_SAMPLE[:-1],
        TEXT_OF_SAMPLE.replace(b"\n", b"\r\n"),
        TEXT_OF_SAMPLE.replace(b"kind: approve", b"kind: deny"),
        TEXT_OF_SAMPLE.replace(b"kind: approve\n", b""),
        TEXT_OF_SAMPLE.replace(b"ttl-seconds: 1800", b"ttl-seconds: 01800"),
        TEXT_OF_SAMPLE.replace(b"ttl-seconds: 1800", b"ttl-seconds: -1"),
        TEXT_OF_SAMPLE.replace(b"ttl-seconds: 1800", b"ttl-seconds: " + b"9" * 5000),
        TEXT_OF_SAMPLE.replace(b"ttl-seconds: 1800", b"ttl-seconds: 1800\nttl-seconds: 1800"),
        TEXT_OF_SAMPLE.replace(b"messages users", b"users messages"),
        TEXT_OF_SAMPLE.replace(b"messages users", b"messages  users"),
        TEXT_OF_SAMPLE.replace(b"messages users", rb"\u006dessages users"),
        TEXT_OF_SAMPLE.replace(b"messages users", rb"messages \U00110000"),
        TEXT_OF_SAMPLE.replace(b"owner: ", b"owner:  "),
        TEXT_OF_SAMPLE.replace(b"10:04:05.000Z", b"10:04:05Z"),
        TEXT_OF_SAMPLE.replace(b"owner: human:ada", b"owner: human:ada\nnote: x"),
        TEXT_OF_SAMPLE + b"x" * 20_000,
    ],
)
def test_another_spelling_is_no_statement(text: bytes) -> None:
    assert text != TEXT_OF_SAMPLE
    for parse in (parse_statement, parse_objection):
        with pytest.raises(GateError, match="no statement") as caught:
            parse(text)
        assert caught.value.code == "bad_signature"


def test_an_objection_is_no_approval_of_the_same() -> None:
    objection = render(WORLD.objection("deny", "req-1"))
    with pytest.raises(GateError, match="no statement"):
        parse_statement(objection)
    with pytest.raises(GateError, match="no statement"):
        parse_objection(objection.replace(b"kind: deny", b"kind: approve"))


def test_no_time_beyond_four_digits_of_year_is_rendered() -> None:
    with pytest.raises(ValueError, match="four digits"):
        render(replace(SAMPLE, sign_by_ms=253_402_300_800_000 + HOUR))
