"""The ledger as lines of text, for files and other machines (docs/contract.md, audit export). Verifies nothing."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict

from gate.audit import canonical
from gate.audit.chain import Entry

_TEXTS = ("time", "type", "body", "prev", "hash")
_MEMBERS = {"seq", *_TEXTS}


def line_of(entry: Entry) -> str:
    """The line of one event, without its line end; `body` is the stored text as a string."""
    return json.dumps(asdict(entry), separators=(",", ":"))


def write(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The lines of `entries`, one at a time."""
    return (line_of(entry).encode("ascii") + b"\n" for entry in entries)


def entry_of(line: bytes) -> Entry:
    """The event in one line, with or without its line end. Raises ValueError unless it has just the six members."""
    members = canonical.decode(line.removesuffix(b"\n").decode("utf-8"))
    if set(members) != _MEMBERS:
        raise ValueError("it has not just seq, time, type, body, prev and hash")
    if type(members["seq"]) is not int or not all(isinstance(members[name], str) for name in _TEXTS):
        raise ValueError("a member is of another type")
    return Entry(**members)
