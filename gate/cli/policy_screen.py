"""How the answers of `gate policy` look: requests, needs and regions on one line each. Decides nothing."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec

import click

from gate.cli import refusal
from gate.cli.convex import Options
from gate.cli.refusal import escaped
from gate.errors import GateError

CLEAN, FINDINGS, CANNOT_TELL = (0, 1, 3)
# Refusals that are the answer of an inspection.
_INSPECTED = {"config_invalid": FINDINGS, "limit": CANNOT_TELL}

_Given = ParamSpec("_Given")


def inspection(verb: Callable[_Given, int]) -> Callable[_Given, int]:
    """A verb that inspects: invalid files are a finding (1), and what cannot be told within bounds is 3."""

    @functools.wraps(verb)
    def inspecting(*args: _Given.args, **kwargs: _Given.kwargs) -> int:
        try:
            return verb(*args, **kwargs)
        except GateError as error:
            if error.code not in _INSPECTED:
                raise
            options = click.get_current_context().find_object(Options)
            refusal.show_error(error, options is not None and options.json)
            return _INSPECTED[error.code]

    return inspecting


def request_line(request: Mapping[str, Any]) -> str:
    """A request as a person reads it."""
    groups = f" ({', '.join(request['groups'])})" if request["groups"] else ""
    where = "no deployment" if request["deployment"] is None else f"{request['deployment']} ({request['class']})"
    resources = [
        f"{name} {'unknown' if names is None else ', '.join(names)}" for name, names in request["resources"].items()
    ]
    told = f"{request['principal']}{groups}: {request['effect']} on {where} through {request['door']}"
    return escaped("; ".join([told, *resources]))


def verdict_line(verdict: str, needs: Mapping[str, Any] | None) -> str:
    """A verdict with what a grant needs."""
    return verdict if needs is None else escaped(f"{verdict}: {needs_line(needs)}")


def needs_line(needs: Mapping[str, Any]) -> str:
    """What a grant needs, in few words."""
    parts = [
        *(f"ticket {pattern}" for pattern in needs["ticket"]),
        f"a reason of {needs['reason_min']} characters" if needs["reason_min"] else "",
        "an acknowledgement of the risk" if needs["ack_risk"] else "",
        f"at most {_span(needs['ttl_max_seconds'])}" if needs["ttl_max_seconds"] is not None else "",
        f"at most {needs['max_uses']} uses" if needs["max_uses"] is not None else "",
        *(_block(block) for block in needs["approvals"]),
    ]
    return ", ".join(part for part in parts if part) or "an approval"


def _span(seconds: int) -> str:
    return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"


def _block(block: Mapping[str, Any]) -> str:
    touch = " with a touch" if block["touch"] else ""
    return f"{block['count']} of {' or '.join(block['from'])}{touch}, not {' or '.join(block['not']) or 'nobody'}"


def region_line(region: Mapping[str, Sequence[str]]) -> str:
    """A box of requests; every dimension that is not named is free."""
    told = [f"{name} {', '.join(words)}" for name, words in region.items()]
    return escaped("; ".join(told)) if told else "any request"


def rules_lines(rules: Iterable[Mapping[str, Any]]) -> list[str]:
    """The rules that decide, with their places."""
    return [f"{rule['verb']} {rule['id']} at {rule['at']}: {escaped(rule['because'])}" for rule in rules]
