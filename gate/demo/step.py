"""One step of the demo: what was tried, what came back, whether it came out. Tries nothing itself."""

import json
from dataclasses import dataclass

from gate.demo.stage import PROD_KEY, Came, Stage
from gate.demo.standin import Recorded
from gate.errors import EXITS


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was tried: `held` says whether it came out as promised."""

    tried: str
    command: str
    came: Came
    held: bool


def stopped(made: Stage, tried: str, command: str, came: Came, code: str, *, seen: int = 0) -> Step:
    """A step that holds when the call was refused with `code`, and production saw nothing after `seen` requests."""
    refused = (came.code, last_line(came).startswith(f"gate: {code}:")) == (EXITS[code], True)
    return Step(tried, command, came, refused and len(made.prod.requests) == seen)


def last_line(came: Came) -> str:
    """The last line on stderr; empty when there was none."""
    return (came.err.strip().splitlines() or [""])[-1]


def reached(made: Stage, seen: int) -> str:
    """What production got after its first `seen` requests, by the credential that came with it: a line for each."""
    by_key: dict[str, list[str]] = {}
    for one in made.prod.requests[seen:]:
        by_key.setdefault(_whose(one.key), []).append(_what(one))
    return "".join(f"reached production {whose}: {', '.join(what)}\n" for whose, what in by_key.items())


def latency_ms(shown: Came) -> int | None:
    """How long after its end the grant that `gate --json show` printed gave no access; None: that is not on record."""
    cut = json.loads(shown.out)["cut"] if shown.code == 0 else None
    return None if cut is None else cut["latency_ms"]


def is_secret_in(text: str) -> bool:
    """Whether `text` holds the secret part of production's real key."""
    return PROD_KEY.rpartition("|")[2] in text


def _whose(key: str | None) -> str:
    return {None: "without a key", PROD_KEY: "with the real key"}.get(key, "with ANOTHER key")


def _what(one: Recorded) -> str:
    function = one.body.get("path", "") if isinstance(one.body, dict) else ""
    return f"{one.method} {one.path} {function}".strip()
