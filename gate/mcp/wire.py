"""One line to one strict message, and a value to its one line. Knows no method and no meaning.

JSON-RPC 2.0 as MCP narrows it: one object a line, ids are texts or integers, params are objects. What two readers could
understand differently is refused here, so that nobody behind the gate ever sees it (docs/adr/0008).

Standard library only: this is the hot path of `gate mcp`.
"""

import json
import re
from itertools import accumulate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeGuard

LARGEST = 10 * 1024 * 1024
DEEPEST = 64
LARGEST_INTEGER = 2**53 - 1

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
UNSUPPORTED_VERSION = -32022

_LONGEST_INTEGER = len(str(-LARGEST_INTEGER))
# A double is written in at most 24 characters; more are for readers to disagree about.
_LONGEST_FLOAT = 64
# A text that does not end reaches to the end of the line: each character is looked at once.
_TEXTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in _STEPS)
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SHAPES = frozenset(
    frozenset(("jsonrpc", *members))
    for members in (
        ("id", "method"),
        ("id", "method", "params"),
        ("method",),
        ("method", "params"),
        ("id", "result"),
        ("id", "error"),
    )
)


class Refused(Exception):
    """A message that is not taken: `code` and `message` of the JSON-RPC error, `id` of the request where it was read.

    The message never quotes the other side.
    """

    def __init__(
        self, code: int, message: str, request: "int | str | None" = None, data: "dict[str, Any] | None" = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.id = request
        self.data = data


class Message:
    """A request (`id` and `method`), a notification (`method` only) or a response (`id`, and `result` or `error`)."""

    __slots__ = ("error", "id", "method", "params", "result")

    def __init__(self, envelope: "dict[str, Any]") -> None:
        self.id: int | str | None = envelope.get("id")
        self.method: str | None = envelope.get("method")
        self.params: dict[str, Any] = envelope.get("params", {})
        self.result: dict[str, Any] | None = envelope.get("result")
        self.error: dict[str, Any] | None = envelope.get("error")


class Lines:
    """Cuts a stream of bytes at line feeds and at nothing else; never holds more than LARGEST bytes of a line."""

    __slots__ = ("_discarding", "_half")

    def __init__(self) -> None:
        self._half = bytearray()
        self._discarding = False

    def feed(self, data: bytes) -> "list[bytes | None]":
        """The lines that end in `data`, without their line feed; None for one of more than LARGEST bytes."""
        *ended, rest = data.split(b"\n")
        lines = [self._ended(piece) for piece in ended]
        self._keep(rest)
        return lines

    def _ended(self, piece: bytes) -> bytes | None:
        self._keep(piece)
        line = None if self._discarding else bytes(self._half)
        self._half.clear()
        self._discarding = False
        return line

    def _keep(self, piece: bytes) -> None:
        if self._discarding:
            return
        if len(self._half) + len(piece) > LARGEST:
            self._half.clear()
            self._discarding = True
            return
        self._half += piece


def read(line: bytes | None) -> Message:
    """The message in `line` (None: it was too long, see Lines).

    Raises Refused: PARSE_ERROR for what is no strict JSON within the bounds of this module, INVALID_REQUEST for JSON
    that is no message of JSON-RPC 2.0 (batches too).
    """
    if line is None:
        raise Refused(PARSE_ERROR, "the line is longer than 10 MiB")
    return _envelope(_parsed(line))


def write(value: "dict[str, Any]") -> bytes:
    """`value` as one line: sorted members, no blanks, ASCII, with its line feed.

    Raises Refused INTERNAL_ERROR for what has no such form: lone surrogates, NaN, infinities, other types.
    """
    try:
        text = _ENCODER.encode(value)
        if "\\ud" in text:
            _insist_on_characters(value)
    except (ValueError, TypeError, RecursionError) as error:
        raise Refused(INTERNAL_ERROR, "the answer has no form in JSON") from error
    return text.encode("ascii") + b"\n"


def is_id(value: object) -> "TypeGuard[int | str]":
    """Whether `value` can be the id of a request: a text or an integer, never a boolean, a float or null."""
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _parsed(line: bytes) -> object:
    try:
        text = line.decode()
        _insist_on_depth(line)
        value = _DECODER.decode(text)
        if _SURROGATE.search(text):
            _insist_on_characters(value)
    except UnicodeError as error:
        raise Refused(PARSE_ERROR, "the line is not UTF-8 throughout, or holds half a surrogate pair") from error
    except ValueError as error:
        raise Refused(PARSE_ERROR, f"the line is not strict JSON: {error}") from error
    return value


def _envelope(value: object) -> Message:
    if not isinstance(value, dict):
        raise Refused(INVALID_REQUEST, "a message is one object; batches are not taken")
    known = value["id"] if is_id(value.get("id")) else None
    if frozenset(value) not in _SHAPES:
        raise Refused(INVALID_REQUEST, "the members are not those of a request, a notification or a response", known)
    wrong = [name for name, member in value.items() if not _KINDS[name](member)]
    if wrong:
        raise Refused(INVALID_REQUEST, f"`{wrong[0]}` is not what JSON-RPC 2.0 and MCP want there", known)
    return Message(value)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


_KINDS = {
    "jsonrpc": lambda value: value == "2.0",
    "id": is_id,
    "method": lambda value: isinstance(value, str),
    "params": _is_object,
    "result": _is_object,
    "error": _is_object,
}


def _insist_on_depth(line: bytes) -> None:
    """The parser is recursive, so depth is counted before it sees the line."""
    if line.count(b"[") + line.count(b"{") <= DEEPEST:
        return
    brackets = _TEXTS.sub(b"", line).translate(None, _NO_BRACKETS)
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > DEEPEST:
        raise ValueError(f"it is nested deeper than {DEEPEST}")


def _insist_on_characters(value: object) -> None:
    """Raise UnicodeEncodeError for half a surrogate pair, which JSON can escape and no text can hold."""
    json.dumps(value, ensure_ascii=False).encode()


def _object(pairs: "list[tuple[str, Any]]") -> "dict[str, Any]":
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member stands twice")
    return members


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER or abs(int(text)) > LARGEST_INTEGER:
        raise ValueError("an integer is beyond 2**53-1")
    return int(text)


def _float(text: str) -> float:
    number = float(text) if len(text) <= _LONGEST_FLOAT else float("inf")
    if number in (float("inf"), float("-inf")):
        raise ValueError("a number is too long or not finite")
    return number


def _constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
