"""`gate approve`, `gate accept` and `gate deny`: a reviewer reads, signs, hands in. The keeper verifies; nothing here.

An approval is made of one text, `gate show ID --portable`, wherever it comes from: the same steps on the spot and on a
machine that has no keeper.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from gate import world
from gate.audit import canonical
from gate.cli import screen
from gate.cli.convex import Options
from gate.cli.request import call, seconds, tell
from gate.errors import GateError
from gate.execution.ssh import sign
from gate.grant.request import DAY_MS, LAPSES_MS, Request, request_from
from gate.grant.scope import Ask
from gate.grant.statement import DENY, NAMESPACE, Objection, Statement, render

_BEGIN = b"-----BEGIN SSH SIGNATURE-----"
_LARGEST = 64 * 1024
_NONCE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Draft:
    """What a reviewer looks at and signs: the request on a `screen`, and the `text` of the approval."""

    screen: str
    text: bytes


def draft(portable: Mapping[str, Any], ttl: int | None, effects: tuple[str, ...], *, now_ms: int, nonce: str) -> Draft:
    """The approval of the request in `portable` (docs/contract.md, Portable), narrowed to `ttl` seconds and `effects`.

    It is good for 24 hours, or until the request lapses. Raises GateError `usage` for a text of another form,
    `change_control` for a request that is not the one of its digest, that has lapsed, or is less than what would be
    given.
    """
    try:
        request = _request(portable)
        shown = screen.request_screen(_view(portable, request), received=True)
        text = render(_statement(portable, request, _narrowed(request.ask, ttl, effects), now_ms, nonce))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise GateError(
            "usage",
            "this is not the text of a request",
            remedy="Hand in what `gate show ID --portable` prints, unchanged.",
        ) from error
    if request.lapsed(now_ms):
        raise GateError("change_control", "the request has lapsed", remedy="Let it be made anew.")
    return Draft(shown, text)


def split(envelope: bytes) -> tuple[str, str]:
    """The signed text and the armored signature of an exported approval (docs/contract.md, Exported approval).

    Raises GateError `bad_signature` unless there is exactly one signature, on lines of its own behind the text.
    """
    text, begin, rest = envelope.partition(b"\n" + _BEGIN + b"\n")
    if not begin or not text or _BEGIN in text + rest or not envelope.isascii() or len(envelope) > _LARGEST:
        raise GateError(
            "bad_signature",
            "this is not one signed approval",
            remedy="Hand in what `gate approve - --export` printed, unchanged.",
        )
    return (text + b"\n").decode("ascii"), (_BEGIN + b"\n" + rest).decode("ascii")


def objection(kind: str, subject: str, reason: str, key: Path) -> dict[str, str]:
    """A signed denial or revocation of `subject`, as members of an operation. Shown on stderr before it is signed."""
    frame = call("frame")
    text = render(
        Objection(
            kind=kind,
            ledger=frame["ledger"],
            head=frame["head"],
            subject=subject,
            reason=reason,
            bundle=frame["bundle"],
            sign_by_ms=world.now_ms() + DAY_MS,
            nonce=world.secret(_NONCE_BYTES),
        )
    )
    return {"statement": text.decode("ascii"), "signature": _signed(text, key)}


@click.command(epilog="Example: gate approve req-7k3f9q2m --key ~/.ssh/id_ed25519_sk --ttl 15m")
@click.argument("id_", metavar="ID|-")
@click.option("--key", metavar="FILE", type=click.Path(path_type=Path), required=True, help="Your private key.")
@click.option("--ttl", metavar="DUR", type=seconds, help="Give it for less time than was asked for.")
@click.option("--effect", "effects", metavar="E", multiple=True, help="Give these effects only; may be repeated.")
@click.option("--export", is_flag=True, help="Print the approval for `gate accept -`; hand in nothing.")
@click.pass_obj
def approve(options: Options, id_: str, *, key: Path, ttl: int | None, effects: tuple[str, ...], export: bool) -> None:
    """Show a request, and sign an approval of it. Prints the id of the grant when nothing is missing any more.

    With `-` the request is read from stdin, as `gate show ID --portable` prints it: then no keeper is needed.
    """
    portable = _read_portable() if id_ == "-" else call("portable", id=id_)["portable"]
    drafted = draft(portable, ttl, effects, now_ms=world.now_ms(), nonce=world.secret(_NONCE_BYTES))
    click.echo(drafted.screen, err=True)
    signature = _signed(drafted.text, key)
    statement = drafted.text.decode("ascii")
    if export:
        click.echo(statement + signature, nl=False)
    else:
        _hand_in(options, statement, signature)


def _from_stdin(context: click.Context, parameter: click.Parameter, value: str) -> str:
    del context, parameter
    if value != "-":
        raise click.BadParameter("the approval is read from stdin: `gate accept - < FILE`")
    return value


@click.command(epilog="Example: gate accept - < approval.txt")
@click.argument("source", metavar="-", callback=_from_stdin)
@click.pass_obj
def accept(options: Options, source: str) -> None:
    """Hand in an approval that was made elsewhere, read from stdin. Anybody may: the signature counts."""
    del source
    _hand_in(options, *split(_stdin()))


@click.command(epilog="Example: gate deny req-7k3f9q2m --reason 'not during the freeze' --key ~/.ssh/id_ed25519_sk")
@click.argument("id_", metavar="ID")
@click.option("--reason", metavar="R", required=True, help="Why, for whoever asked.")
@click.option("--key", metavar="FILE", type=click.Path(path_type=Path), required=True, help="Your private key.")
@click.pass_obj
def deny(options: Options, id_: str, reason: str, key: Path) -> None:
    """Deny a request, signed. Any signer may."""
    found = call("deny", id=id_, **objection(DENY, id_, reason, key))["request"]
    tell(options, found, f"{found['id']} is {found['state']}")


def _request(portable: Mapping[str, Any]) -> Request:
    """The request in `portable`, which has to be the one that its digest names."""
    if (portable["gate"], portable["kind"]) != (1, "portable"):
        raise ValueError("another kind of text")
    request = request_from(portable["request"], 0)
    if request.digest != portable["digest"]:
        raise GateError(
            "change_control",
            "the text of the request was changed: it is not the one that its digest names",
            remedy="Take it from `gate show ID --portable` again.",
        )
    return request


def _statement(portable: Mapping[str, Any], request: Request, ask: Ask, now_ms: int, nonce: str) -> Statement:
    return Statement(
        ledger=_text(portable, "ledger"),
        head=_text(portable, "head"),
        request=request.id,
        request_digest=request.digest,
        requester=request.requester,
        owner=request.owner,
        ask=ask,
        bundle=_text(portable, "bundle"),
        sign_by_ms=min(now_ms + DAY_MS, request.time_ms + LAPSES_MS),
        nonce=nonce,
    )


def _narrowed(ask: Ask, ttl: int | None, effects: tuple[str, ...]) -> Ask:
    shorter = ask.ttl_seconds if ttl is None else ttl
    fewer = tuple(sorted(set(effects))) or ask.effects
    if shorter > ask.ttl_seconds or not set(fewer) <= set(ask.effects):
        raise GateError(
            "change_control",
            "an approval gives no more than what was asked for",
            remedy="Leave --ttl and --effect out, or give less.",
        )
    return replace(ask, ttl_seconds=shorter, effects=fewer)


def _view(portable: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """The request as the screen takes it."""
    members, begins = request.to_json(), request.ask.not_before_ms
    return {
        **members,
        **members["ask"],
        "class": portable["class"],
        "resources": request.ask.resources,
        "not_before": None if begins is None else world.iso(begins),
        "approvals": [],
        "claims": {name: members[name] for name in ("ticket", "reason", "ack_risk")},
    }


def _text(portable: Mapping[str, Any], name: str) -> str:
    value = portable[name]
    if not isinstance(value, str):
        raise TypeError(name)
    return value


def _signed(text: bytes, key: Path) -> str:
    """The signature over `text`, which is shown before."""
    click.echo("This is what you sign:\n" + text.decode("ascii"), err=True)
    return sign(text, key, NAMESPACE)


def _read_portable() -> dict[str, Any]:
    try:
        return canonical.decode(_stdin().decode("utf-8"))
    except ValueError as error:
        raise GateError(
            "usage",
            "stdin held no request",
            remedy="Hand in what `gate show ID --portable` prints: `gate approve - < FILE`.",
        ) from error


def _stdin() -> bytes:
    return sys.stdin.buffer.read(_LARGEST + 1)


def _hand_in(options: Options, statement: str, signature: str) -> None:
    """Give an approval to the keeper; say what it made of the request."""
    result = call("accept", statement=statement, signature=signature)
    request, grant = result["request"], result["grant"]
    if grant is not None:
        click.echo(json.dumps(grant) if options.json else grant["id"])
        return
    tell(options, request, f"{request['id']} is {request['state']}: {missing(request)}")


def missing(request: Mapping[str, Any]) -> str:
    """How many approvals are wanted still, where that can be told: several blocks may be met by the same persons."""
    blocks = request["needs"]["approvals"]
    given = len({approval["signer"] for approval in request["approvals"]})
    more = blocks[0]["count"] - given if len(blocks) == 1 else 0
    return f"{more} more wanted" if more > 0 else "more approvals are wanted"
