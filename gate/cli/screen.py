"""How a request and a grant look to a person: the gate's own facts first, then the agent's words. Asks nobody.

What an agent can choose (names, ticket, reason) never looks like a line of the gate's: names are ASCII without blanks,
words stand behind a bar on every line that they take.
"""

import textwrap
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gate.cli.refusal import escaped
from gate.grant.approval import ANYBODY
from gate.intent.intent import DIMENSIONS

_WIDTH = 100
_CLAIM_WIDTH = 72
# Stands in no text that `escaped` has shown.
_FILLER = "\0"
_LABEL = 12
_SECONDS = {"h": 3600, "m": 60}

# What a reviewer must not overlook. Deployed code and a new key outlive the grant.
_LOUD = {
    "deployment:data:write": "CHANGES DATA",
    "deployment:backups:import": "REPLACES WHOLE TABLES",
    "deployment:backups:delete": "DELETES BACKUPS",
    "deployment:backups:download": "TAKES A COPY OF ALL DATA",
    "deployment:env:view": "SHOWS ENVIRONMENT VARIABLES, secrets among them",
    "deployment:env:write": "CHANGES ENVIRONMENT VARIABLES",
    "deployment:functions:actAsUser": "ACTS AS ANY USER of the application",
    "deployment:functions:runInternalActions": "RUNS INTERNAL FUNCTIONS, which ask nobody for their rights",
    "deployment:functions:runInternalMutations": "RUNS INTERNAL FUNCTIONS, which ask nobody for their rights",
    "deployment:functions:runInternalQueries": "RUNS INTERNAL FUNCTIONS, which ask nobody for their rights",
    "deployment:deploy": "REPLACES THE CODE, which outlives the grant",
    "deployment:token:create": "MAKES A KEY, which outlives the grant",
}

_Row = tuple[str, str]


def request_screen(request: Mapping[str, Any], *, received: bool = False) -> str:
    """A request (docs/contract.md, Request) on one screen.

    `received`: it came as a text that was handed on, which says nothing about what has become of it.
    """
    head = f"request {word(request['id'])}, " + (
        "as handed on: hold to its origin, which is what is signed" if received else _fate(request)
    )
    rows = [*_request_rows(request, received), *(() if received else _record_rows(request))]
    return _screen(head, rows, [*_request_warnings(request), *_approval_warnings(request)], request["claims"])


def grant_screen(grant: Mapping[str, Any], request: Mapping[str, Any]) -> str:
    """A grant (docs/contract.md, Grant) on one screen, with what its request claims."""
    head = f"grant {word(grant['id'])} is {word(grant['state'])}, ends at the latest {word(grant['ends'])}"
    single = ["SINGLE-PERSON: the owner approved it"] if grant["single_person"] else []
    warnings = [*_cut_warnings(grant["cut"]), *_loud(grant["effects"]), *single]
    return _screen(head, list(_grant_rows(grant)), warnings, request["claims"])


def request_row(request: Mapping[str, Any]) -> str:
    """A request on one line."""
    facts = (request["id"], request["state"], request["requester"], request["deployment"])
    return f"{_words(facts, ' ')} {_span(request['ttl_seconds'])} {_words(request['effects'])}"


def grant_row(grant: Mapping[str, Any]) -> str:
    """A grant on one line."""
    facts = (grant["id"], grant["state"], grant["requester"], grant["deployment"])
    return f"{_words(facts, ' ')} ends {word(grant['ends'])} used {_used(grant)} {_words(grant['effects'])}"


def said(text: str) -> str:
    """Somebody's words, on one line: also without marks that would be drawn over the line above."""
    return escaped("".join(f"\\u{ord(char):04x}" if unicodedata.combining(char) else char for char in text))


def word(value: object) -> str:
    """`value` in printable ASCII without blanks: a name that pretends to be more stays one word."""
    return "".join(one if "!" <= one <= "~" else f"\\x{ord(one):02x}" for one in str(value))


def _screen(head: str, rows: Sequence[_Row], warnings: Sequence[str], claims: Mapping[str, Any]) -> str:
    lines = [head, *(f"  !! {warning}" for warning in warnings)]
    for label, text in rows:
        lines += _wrapped(f"  {label:<{_LABEL}} {text}", _WIDTH, " " * (_LABEL + 3))
    return "\n".join([*lines, "what the agent says (not verified):", *_claimed(claims)])


def _claimed(claims: Mapping[str, Any]) -> Iterator[str]:
    yield from _quoted(f"ticket: {said(claims['ticket'])}")
    yield from _quoted(f"reason: {said(claims['reason'])}")
    yield f"  | acknowledges the risk: {'yes' if claims['ack_risk'] is True else 'NO'}"


def _quoted(text: str) -> list[str]:
    """`text` behind a bar on every line, cut before a terminal cuts it: what is two columns wide counts twice."""
    spread = "".join(one + _FILLER * (unicodedata.east_asian_width(one) in "FWA") for one in text)
    return [f"  | {line.replace(_FILLER, '')}" for line in _wrapped(spread, _CLAIM_WIDTH, "")]


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, width, subsequent_indent=indent, break_on_hyphens=False, expand_tabs=False)


def _fate(request: Mapping[str, Any]) -> str:
    if request["state"] == "pending":
        return f"pending, lapses {word(request['lapses'])} ({word(request['enforcement'])})"
    return f"{word(request['state'])} ({word(request['enforcement'])})"


def _request_rows(request: Mapping[str, Any], received: bool) -> Iterator[_Row]:
    cls = request["class"]
    known = "NOT REGISTERED" if cls is None else f"class {word(cls)}"
    yield "deployment", f"{word(request['deployment'])}" + ("" if received else f", {known}")
    yield from _access_rows(request)
    yield "for", f"{_span(request['ttl_seconds'])} from first use{_not_before(request)}"
    yield "uses", _uses(request["max_uses"])
    yield "asked by", f"{word(request['requester'])}, owner {word(request['owner'])}, uid {word(request['uid'])}"
    yield "", "(name and owner are as claimed; the uid is from the kernel)"
    yield "not to sign", _words(_barred(request))
    yield "rules want", "; ".join(_wanted(request["needs"]))


def _record_rows(request: Mapping[str, Any]) -> Iterator[_Row]:
    for approval in request["approvals"]:
        yield "approved by", _approval(approval)
    if not request["approvals"]:
        yield "approved by", "nobody so far"
    if request["grant"] is not None:
        yield "grant", word(request["grant"])
    if request["ended"] is not None:
        yield "ended", ended(request["ended"])


def ended(end: Mapping[str, Any]) -> str:
    """How a request ended, by whom and why, in one sentence."""
    by = "" if end["by"] is None else f" by {word(end['by'])}"
    says_more = end["reason"] not in (None, "", end["how"])
    return f"{word(end['how'])}{by}" + (f": {said(end['reason'])}" if says_more else "")


def _grant_rows(grant: Mapping[str, Any]) -> Iterator[_Row]:
    yield "deployment", word(grant["deployment"])
    yield from _access_rows(grant)
    first = grant["first_use"]
    since = "from first use, not used yet" if first is None else f"from {word(first)}"
    yield "for", f"{_span(grant['ttl_seconds'])} {since}{_not_before(grant)}"
    yield "uses", f"{_used(grant)} charged"
    yield "given to", f"{word(grant['requester'])}, owner {word(grant['owner'])}"
    yield "approved by", _words(grant["approvals"])
    yield "request", word(grant["request"])
    if grant["why"] is not None:
        yield "ended", f"{escaped(grant['why'])} at {word(grant['ended'])}"
    if grant["cut"] is not None and grant["cut"]["failed"] is None:
        yield "cut", f"no access was left {word(grant['cut']['latency_ms'])} ms after the end"


def _access_rows(access: Mapping[str, Any]) -> Iterator[_Row]:
    yield "origin", word(access["origin"])
    yield "effects", _words(access["effects"])
    for dimension in DIMENSIONS:
        names = access["resources"][dimension]
        yield dimension, f"ANY of the {dimension}" if names is None else _words(names) or "none"


def _approval(approval: Mapping[str, Any]) -> str:
    touch = "by touch" if approval["touched"] else "WITHOUT touch"
    single = ", SINGLE-PERSON" if approval["single_person"] else ""
    gives = f"{_span(approval['ttl_seconds'])}, uses: {_uses(approval['max_uses'])}, {_words(approval['effects'])}"
    return f"{word(approval['signer'])} at {word(approval['at'])}, {touch}{single}; gives {gives}"


def _request_warnings(request: Mapping[str, Any]) -> list[str]:
    owner_may = request["owner"] not in _barred(request)
    single = ["SINGLE-PERSON: the rules let the owner approve this"] if owner_may else []
    return [*_loud(request["effects"]), *single]


def _approval_warnings(request: Mapping[str, Any]) -> list[str]:
    single = any(approval["single_person"] for approval in request["approvals"])
    return ["SINGLE-PERSON: the owner has approved it"] if single else []


def _cut_warnings(cut: Mapping[str, Any] | None) -> list[str]:
    failed = None if cut is None else cut["failed"]
    return [] if failed is None else [f"CUT FAILED, replace the key of this deployment: {escaped(failed)}"]


def _loud(effects: Iterable[str]) -> list[str]:
    return [f"{_LOUD[effect]} ({effect})" for effect in effects if effect in _LOUD]


def _barred(request: Mapping[str, Any]) -> list[str]:
    """Who may sign for no block of the rules."""
    owner = [request["owner"]] if all("owner" in block["not"] for block in _blocks(request["needs"])) else []
    return list(dict.fromkeys([request["requester"], *owner, *request["excluded"]]))


def _blocks(needs: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return needs["approvals"] or [ANYBODY.to_json()]


def _wanted(needs: Mapping[str, Any]) -> Iterator[str]:
    """What the rules want of a request, its approvals first; a length or number that they do not limit is left out."""
    for block in _blocks(needs):
        touch = "by touch" if block["touch"] else "WITHOUT touch"
        yield f"{word(block['count'])} of {_words(block['from'])} {touch}, not {_words(block['not']) or 'nobody'}"
    yield from (f"ticket {word(pattern)}" for pattern in needs["ticket"])
    if needs["ttl_max_seconds"] is not None:
        yield f"{_span(needs['ttl_max_seconds'])} at most"
    if needs["max_uses"] is not None:
        yield f"{word(needs['max_uses'])} uses at most"


def _not_before(access: Mapping[str, Any]) -> str:
    return "" if access["not_before"] is None else f", not before {word(access['not_before'])}"


def _uses(number: object) -> str:
    return "ANY NUMBER" if number is None else word(number)


def _used(grant: Mapping[str, Any]) -> str:
    return f"{word(grant['used'])}/{'ANY' if grant['max_uses'] is None else word(grant['max_uses'])}"


def _span(seconds: int) -> str:
    """A duration as it is written on the command line, in the largest unit that says it exactly."""
    for unit, size in _SECONDS.items():
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _words(values: Iterable[object], between: str = ", ") -> str:
    return between.join(map(word, values))
