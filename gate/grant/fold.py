"""How each event of this room changes the state: the reader of what `filing.py` and `using.py` write. Decides nothing.

`gate/grant/book.py` lists the events and their members.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gate.audit.chain import Entry, milliseconds
from gate.grant.approval import Given
from gate.grant.event import APART_MS, moment_of
from gate.grant.grant import CLOSED, CLOSING, CUT_FAILED
from gate.grant.request import CANCELLED, DENIED, LAPSED, request_from
from gate.grant.scope import ask_from
from gate.grant.state import State
from gate.grant.statement import parse_statement

_Body = Mapping[str, Any]
_Take = Callable[[State, Entry, _Body], None]


def _made(state: State, entry: Entry, body: _Body) -> None:
    request = request_from(body["request"], entry.seq)
    if (request.id, request.digest) != (body["id"], body["digest"]):
        raise ValueError("it states another request")
    state.add_request(request)


def _given(state: State, entry: Entry, body: _Body) -> None:
    signed = body["statement"].encode("ascii")
    stated = parse_statement(signed)
    if (stated.request, stated.nonce) != (body["request"], body["nonce"]):
        raise ValueError("it states another approval")
    signature, at_ms = body["signature"].encode("ascii"), body["at_ms"]
    if abs(milliseconds(entry.time) - at_ms) > APART_MS:
        raise ValueError("it was taken at another time")
    state.add_given(Given(signed, signature, stated, at_ms, entry.seq))


def _request_ends(end: str) -> _Take:
    def take(state: State, _: Entry, body: _Body) -> None:
        state.end_request(body["request"], end, body.get("nonce"))

    return take


def _granted(state: State, entry: Entry, body: _Body) -> None:
    made = moment_of(milliseconds(entry.time), body)
    state.add_grant(body["id"], body["request"], ask_from(body["ask"]), body["approvals"], made)


def _used(state: State, entry: Entry, body: _Body) -> None:
    state.use(body["grant"], body["use"], moment_of(milliseconds(entry.time), body))


def _wrote(state: State, entry: Entry, body: _Body) -> None:
    state.write(body["grant"], body["use"], moment_of(milliseconds(entry.time), body))


def _ended(state: State, entry: Entry, body: _Body) -> None:
    state.end_grant(body["grant"], body["why"], body.get("nonce"), milliseconds(entry.time))


def _moves(to: str) -> _Take:
    def take(state: State, _: Entry, body: _Body) -> None:
        state.move_grant(body["grant"], to)

    return take


TAKES: dict[str, _Take] = {
    "request.made": _made,
    "approval.given": _given,
    "request.denied": _request_ends(DENIED),
    "request.cancelled": _request_ends(CANCELLED),
    "request.lapsed": _request_ends(LAPSED),
    "grant.made": _granted,
    "grant.used": _used,
    "grant.write": _wrote,
    "grant.ended": _ended,
    "grant.closing": _moves(CLOSING),
    "grant.closed": _moves(CLOSED),
    "grant.cut_failed": _moves(CUT_FAILED),
}
