import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from gate.mcp import wire

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"m","params":%s}'


def code_of(line: bytes | None) -> int:
    with pytest.raises(wire.Refused) as refused:
        wire.read(line)
    return refused.value.code


def envelope(message: wire.Message) -> dict[str, Any]:
    """What would go upstream: written anew from what was read."""
    return {"jsonrpc": "2.0", "id": message.id, "method": message.method, "params": message.params}


@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_is_written_is_read_as_it_was(params: dict[str, Any]) -> None:
    """Both directions hold the same values, and one value has one form."""
    text = wire.write({"jsonrpc": "2.0", "id": "a", "method": "m", "params": params})
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    assert text.isascii()
    assert wire.read(text[:-1]).params == params
    assert wire.write(dict(reversed(envelope(wire.read(text[:-1])).items()))) == text


_PIECES = st.sampled_from(
    [
        *(b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u", b"d800", b",", b":", b"1", b"-", b"e9", b"NaN", b"true"),
        *(b'"jsonrpc":"2.0"', b'"id":1', b'"method":"m"', b'"params":', b" ", b"\t", b"\x00"),
        *(b"\xc3\xa9", b"\xff", b"\xef\xbb\xbf"),
    ]
)


@settings(max_examples=400)
@given(st.lists(_PIECES, max_size=30).map(b"".join) | st.binary(max_size=80))
def test_any_bytes_are_a_message_or_refused(line: bytes) -> None:
    """Nothing but the refusal of this module is ever raised, and what passes can be written."""
    try:
        message = wire.read(line)
    except wire.Refused:
        return
    assert json.loads(wire.write(envelope(message)))["params"] == message.params


@given(st.lists(_PIECES, max_size=30).map(b"".join))
def test_any_params_are_read_as_a_plain_parser_reads_them_or_refused(text: bytes) -> None:
    """Strictness refuses; it never reads something else."""
    line = REQUEST % text
    try:
        message = wire.read(line)
    except wire.Refused:
        return
    assert message.params == json.loads(line)["params"]


@pytest.mark.parametrize(
    "params",
    [
        b'{"a":\xff}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"\\udc00":1}',
        b'{"a":"\\uD83D\\uD83D"}',
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":9007199254740992}',
        b'{"a":-9007199254740992}',
        b'{"a":%s}' % (b"9" * 5000),
        b'{"a":0.%s}' % (b"1" * 100),
        b'{"a":01}',
        b"{'a':1}",
        b'{"a":1,}',
        b'{"a":"\x01"}',
        b'{"a":"\x00"}',
        b'{"a":1}} {',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a":%s%s}' % (b"[" * 64, b"]" * 64),
    ],
)
def test_what_readers_could_understand_differently_is_no_json_here(params: bytes) -> None:
    assert code_of(REQUEST % params) == wire.PARSE_ERROR


def test_a_byte_order_mark_is_no_json() -> None:
    assert code_of(b"\xef\xbb\xbf" + REQUEST % b"{}") == wire.PARSE_ERROR
    assert code_of((REQUEST % b"{}").decode().encode("utf-16")) == wire.PARSE_ERROR


@pytest.mark.parametrize(
    "params",
    [
        b'{"a":"\\ud83d\\ude00"}',
        b'{"a":"\\\\ud800"}',
        b'{"a":9007199254740991,"b":-9007199254740991,"c":1e308}',
        b'{"a":%s%s}' % (b"[" * 62, b"]" * 62),
        b'{"a":"%s"}' % (b"[{" * 1000),
        b'{"a":"\\"%s"}' % (b"[{" * 1000),
        b'{"a":"%s\\\\"}' % (b"[{" * 1000),
    ],
)
def test_what_only_looks_like_it_is_taken(params: bytes) -> None:
    """Brackets in texts are no depth, an escaped backslash begins no surrogate, the bounds themselves are inside."""
    line = REQUEST % params
    assert wire.read(line).params == json.loads(line)["params"]


@pytest.mark.parametrize(
    "envelope",
    [
        b"[]",
        b'[{"jsonrpc":"2.0","id":1,"method":"m"}]',
        b"1",
        b"null",
        b'"text"',
        b"{}",
        b'{"id":1,"method":"m"}',
        b'{"jsonrpc":"1.0","id":1,"method":"m"}',
        b'{"jsonrpc":2.0,"id":1,"method":"m"}',
        b'{"jsonrpc":"2.0","id":null,"method":"m"}',
        b'{"jsonrpc":"2.0","id":true,"method":"m"}',
        b'{"jsonrpc":"2.0","id":1.0,"method":"m"}',
        b'{"jsonrpc":"2.0","id":[1],"method":"m"}',
        b'{"jsonrpc":"2.0","id":1,"method":null}',
        b'{"jsonrpc":"2.0","id":1,"method":["m"]}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":[]}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","params":null}',
        b'{"jsonrpc":"2.0","id":1,"Method":"m"}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","Method":"n"}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","extra":1}',
        b'{"jsonrpc":"2.0","id":1,"method":"m","result":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}',
        b'{"jsonrpc":"2.0","id":1,"result":1}',
        b'{"jsonrpc":"2.0","result":{}}',
        b'{"jsonrpc":"2.0","id":1}',
    ],
)
def test_what_is_no_message_is_refused_as_such(envelope: bytes) -> None:
    assert code_of(envelope) == wire.INVALID_REQUEST


@pytest.mark.parametrize(
    ("line", "known"),
    [
        (b'{"jsonrpc":"2.0","id":7,"method":"m","extra":1}', 7),
        (b'{"jsonrpc":"2.0","id":"x","method":1}', "x"),
        (b'{"jsonrpc":"2.0","id":true,"method":"m"}', None),
        (b'[{"id":7}]', None),
        (b'{"id":7', None),
    ],
)
def test_a_refusal_knows_the_request_where_its_id_was_read(line: bytes, known: object) -> None:
    with pytest.raises(wire.Refused) as refused:
        wire.read(line)
    assert refused.value.id == known
    assert type(refused.value.id) is type(known)


def test_responses_and_notifications_are_messages_too() -> None:
    assert wire.read(b'{"jsonrpc":"2.0","id":1,"result":{"a":1}}').result == {"a": 1}
    assert wire.read(b'{"jsonrpc":"2.0","id":"a","error":{"code":1}}').error == {"code": 1}
    told = wire.read(b' {"jsonrpc":"2.0","method":"m"}\r')
    assert (told.id, told.method, told.params) == (None, "m", {})


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "\ud800", "\udc00\ud800", object(), {1: 2, "a": 3}, b"x"]
)
def test_what_has_no_form_is_not_written(value: object) -> None:
    with pytest.raises(wire.Refused):
        wire.write({"a": [value]})
    circle: dict[str, Any] = {}
    circle["a"] = circle
    with pytest.raises(wire.Refused):
        wire.write(circle)


def test_a_pair_of_surrogates_is_written() -> None:
    assert wire.write({"a": "\U0001f600"}) == b'{"a":"\\ud83d\\ude00"}\n'


@pytest.mark.parametrize(
    "hostile",
    [
        REQUEST % (b"[" * 5_000_000),
        REQUEST % (b'{"a":' * 1_000_000),
        REQUEST % (b'"' + b'\\"' * 4_000_000),
        REQUEST % (b"[],{}" * 1_000_000),
        REQUEST % (b"9" * 5_000_000),
        REQUEST % (b"1." + b"9" * 5_000_000),
        REQUEST % (b"\\" * 5_000_000),
    ],
    ids=["lists", "objects", "no end of a text", "wide", "integer", "float", "backslashes"],
)
def test_no_line_of_the_largest_size_takes_long(hostile: bytes) -> None:
    """Linear in the length of the line; a limit that only something quadratic would miss."""
    began = time.process_time()
    assert code_of(hostile) == wire.PARSE_ERROR
    assert time.process_time() - began < 10


@given(st.lists(st.binary(max_size=12), max_size=8), st.integers(1, 7))
def test_lines_are_the_same_however_the_bytes_come(pieces: list[bytes], step: int) -> None:
    """Cut at line feeds only, whatever the chunks were; what has no end is no line."""
    stream = b"".join(pieces)
    lines = wire.Lines()
    got = [line for start in range(0, len(stream), step) for line in lines.feed(stream[start : start + step])]
    assert got == stream.split(b"\n")[:-1]


def test_a_line_that_is_too_long_is_dropped_up_to_its_end() -> None:
    """What is kept of it never grows, and the line after it is read."""
    lines = wire.Lines()
    chunk = b"x" * (wire.LARGEST // 4)
    tracemalloc.start()
    assert [lines.feed(chunk) for _ in range(40)] == [[]] * 40
    assert tracemalloc.get_traced_memory()[1] < 3 * wire.LARGEST
    tracemalloc.stop()
    assert lines.feed(b"\nshort\n") == [None, b"short"]
    assert lines.feed(b"y" * wire.LARGEST + b"\n") == [b"y" * wire.LARGEST]
    assert lines.feed(b"y" * (wire.LARGEST + 1) + b"\n") == [None]
    assert code_of(None) == wire.PARSE_ERROR
