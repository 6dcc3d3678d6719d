r"""The one text that a person signs to approve, deny or revoke: rendered, and read back strictly. Verifies nothing.

ASCII lines `key: value` in a fixed order, so that a person can read it and there is one text for one meaning. What is
not plain is escaped as `\uXXXX` or `\UXXXXXXXX`; `(any)` and `(none)` are no names, since parentheses are escaped.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from gate import world
from gate.audit.chain import milliseconds
from gate.errors import GateError
from gate.grant.scope import Ask, Names

NAMESPACE = "approve@convex-gate"
APPROVE, DENY, REVOKE = "approve", "deny", "revoke"

_LARGEST = 16 * 1024
_ANY, _NONE = "(any)", "(none)"
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")
_LATEST_MS = 253_402_300_799_999
_SHORT = 0xFFFF
_LONGEST_NUMBER = 16


@dataclass(frozen=True, slots=True)
class Statement:
    """An approval: `ask` is the access that the signer gives, as requested or narrower.

    `ledger` and `head`: the ledger it counts in, and an event that the signer saw there. `request` and
    `request_digest`: what it answers. `bundle`: digest in force. `sign_by_ms`: it is accepted until then, and once:
    `nonce`.
    """

    ledger: str
    head: str
    request: str
    request_digest: str
    requester: str
    owner: str
    ask: Ask
    bundle: str
    sign_by_ms: int
    nonce: str


@dataclass(frozen=True, slots=True)
class Objection:
    """A denial of the request, or a revocation of the grant, `subject` (`kind`: deny | revoke), with its reason."""

    kind: str
    ledger: str
    head: str
    subject: str
    reason: str
    bundle: str
    sign_by_ms: int
    nonce: str


_T = TypeVar("_T", Statement, Objection)


def render(statement: Statement | Objection) -> bytes:
    """The text to sign, with a line end behind every line. Raises ValueError for a time beyond the year 9999."""
    lines = _approval(statement) if isinstance(statement, Statement) else _objection(statement)
    return "".join(f"{key}: {value}\n" for key, value in lines).encode("ascii")


def parse_statement(text: bytes) -> Statement:
    """Read the text of an approval. Raises GateError `bad_signature` for every other text, however similar."""
    return _parse(text, _read_approval)


def parse_objection(text: bytes) -> Objection:
    """Read the text of a denial or revocation. Raises GateError `bad_signature` for every other text."""
    return _parse(text, _read_objection)


def _parse(text: bytes, read: Callable[[Mapping[str, str]], _T]) -> _T:
    """Read and write again: a text that is not exactly what would have been written is not taken."""
    try:
        statement = read(_lines(text))
        again = render(statement)
    except (ValueError, KeyError):
        again = None
    if again is None or again != text:
        raise GateError(
            "bad_signature",
            "the signed text is no statement of the gate's",
            remedy="Sign the text that `gate show ID --portable` prints, unchanged.",
        )
    return statement


def _lines(text: bytes) -> dict[str, str]:
    if len(text) > _LARGEST:
        raise ValueError("too large")
    pairs = [line.partition(": ") for line in text.decode("ascii").split("\n")]
    return {key: value for key, _, value in pairs}


def _approval(statement: Statement) -> list[tuple[str, str]]:
    ask = statement.ask
    return [
        ("kind", APPROVE),
        ("request", _word(statement.request)),
        ("request-digest", _word(statement.request_digest)),
        ("requester", _word(statement.requester)),
        ("owner", _word(statement.owner)),
        ("deployment", _word(ask.deployment)),
        ("origin", _word(ask.origin)),
        ("effects", _names(ask.effects)),
        *((dimension, _names(names)) for dimension, names in ask.resources.items()),
        ("ttl-seconds", str(ask.ttl_seconds)),
        ("max-uses", _ANY if ask.max_uses is None else str(ask.max_uses)),
        ("not-before", _NONE if ask.not_before_ms is None else _time(ask.not_before_ms)),
        *_frame(statement),
    ]


def _objection(objection: Objection) -> list[tuple[str, str]]:
    return [
        ("kind", objection.kind),
        ("subject", _word(objection.subject)),
        ("reason", _escaped(objection.reason, plain=" ")),
        *_frame(objection),
    ]


def _frame(statement: Statement | Objection) -> list[tuple[str, str]]:
    """What ties the text to one ledger, one bundle, one moment and one use."""
    return [
        ("bundle", _word(statement.bundle)),
        ("ledger", _word(statement.ledger)),
        ("head", _word(statement.head)),
        ("sign-by", _time(statement.sign_by_ms)),
        ("nonce", _word(statement.nonce)),
    ]


def _read_approval(lines: Mapping[str, str]) -> Statement:
    uses, begins = lines["max-uses"], lines["not-before"]
    ask = Ask(
        deployment=_plain(lines["deployment"]),
        origin=_plain(lines["origin"]),
        effects=tuple(map(_plain, lines["effects"].split(" "))),
        ttl_seconds=_number(lines["ttl-seconds"]),
        functions=_read_names(lines["functions"]),
        tables=_read_names(lines["tables"]),
        variables=_read_names(lines["variables"]),
        components=_read_names(lines["components"]),
        max_uses=None if uses == _ANY else _number(uses),
        not_before_ms=None if begins == _NONE else milliseconds(begins),
    )
    return Statement(
        **_read_frame(lines),
        sign_by_ms=milliseconds(lines["sign-by"]),
        request=_plain(lines["request"]),
        request_digest=_plain(lines["request-digest"]),
        requester=_plain(lines["requester"]),
        owner=_plain(lines["owner"]),
        ask=ask,
    )


def _read_objection(lines: Mapping[str, str]) -> Objection:
    if lines["kind"] not in (DENY, REVOKE):
        raise ValueError("no such kind")
    return Objection(
        **_read_frame(lines),
        sign_by_ms=milliseconds(lines["sign-by"]),
        kind=lines["kind"],
        subject=_plain(lines["subject"]),
        reason=_plain(lines["reason"]),
    )


def _read_frame(lines: Mapping[str, str]) -> dict[str, str]:
    return {key: _plain(lines[key]) for key in ("bundle", "ledger", "head", "nonce")}


def _names(names: Names) -> str:
    if names is None:
        return _ANY
    return " ".join(map(_word, names)) if names else _NONE


def _read_names(text: str) -> Names:
    if text in (_ANY, _NONE):
        return None if text == _ANY else ()
    return tuple(map(_plain, text.split(" ")))


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > _LONGEST_NUMBER:
        raise ValueError("no number")
    return int(text)


def _time(ms: int) -> str:
    if not 0 <= ms <= _LATEST_MS:
        raise ValueError("no time that has four digits of year")
    return world.iso(ms)


def _word(text: str) -> str:
    return _escaped(text, plain="")


def _escaped(text: str, plain: str) -> str:
    return "".join(one if ("!" <= one <= "~" and one not in "\\()") or one in plain else _escape(one) for one in text)


def _escape(one: str) -> str:
    return f"\\u{ord(one):04x}" if ord(one) <= _SHORT else f"\\U{ord(one):08x}"


def _plain(text: str) -> str:
    return _ESCAPE.sub(lambda match: chr(int(match[1] or match[2], 16)), text)
