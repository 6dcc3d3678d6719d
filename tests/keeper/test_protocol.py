"""Frames: what goes in comes out, and nothing else is taken for a frame."""

import json
import socket
import struct
import threading

import pytest
from hypothesis import given, strategies as st

from gate.errors import GateError
from gate.keeper import protocol

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.dictionaries(st.text(), _JSON))
def test_what_is_sent_arrives(message: dict[str, object]) -> None:
    frame = protocol.encode(message)
    assert protocol.size_of(frame[:4]) == len(frame) - 4
    assert protocol.decode(frame[4:]) == message


@given(st.binary(max_size=80))
def test_what_is_no_object_is_refused(body: bytes) -> None:
    try:
        expected = json.loads(body.decode("utf-8"))
    except ValueError:
        expected = None
    if isinstance(expected, dict):
        assert protocol.decode(body).keys() == expected.keys()
        return
    with pytest.raises(GateError) as refused:
        protocol.decode(body)
    assert refused.value.code == "usage"


@pytest.mark.parametrize(
    "body", [b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":Infinity}', b"[1]", b'"a"', b"\xff", b"[" * 100_000, b""]
)
def test_loose_json_is_refused(body: bytes) -> None:
    with pytest.raises(GateError, match="the other side sent no"):
        protocol.decode(body)


def test_limits_hold_both_ways() -> None:
    with pytest.raises(GateError) as refused:
        protocol.encode({"a": "x" * protocol.LARGEST})
    assert refused.value.code == "limit"
    with pytest.raises(GateError, match="more than 8 MiB"):
        protocol.size_of(struct.pack(">I", protocol.LARGEST + 1))


def test_frames_pass_through_a_socket_in_any_pieces() -> None:
    ours, theirs = socket.socketpair()
    message: dict[str, object] = {"text": "x" * 3_000_000}

    def drip() -> None:
        frame = protocol.encode(message)
        for start in range(0, len(frame), 700_001):
            theirs.sendall(frame[start : start + 700_001])

    sending = threading.Thread(target=drip)
    sending.start()
    assert protocol.receive(ours) == message
    sending.join()
    protocol.send(ours, {"b": 1})
    assert protocol.receive(theirs) == {"b": 1}
    ours.close()
    theirs.close()


def test_an_end_in_the_middle_of_a_frame_is_an_end() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(protocol.encode({"a": 1})[:-1])
    theirs.close()
    with pytest.raises(protocol.Gone):
        protocol.receive(ours)
    with pytest.raises(protocol.Gone):
        protocol.send(ours, {"a": "x" * 1_000_000})
    ours.close()
    with pytest.raises(protocol.Gone):
        protocol.receive(ours)
