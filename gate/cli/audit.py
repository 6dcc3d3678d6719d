"""`gate audit`: read, export and verify the ledger. Changes nothing."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from gate.audit.verify import CANNOT_TELL, CLEAN, FINDINGS, Report, verify_database, verify_export
from gate.cli import sight
from gate.cli.convex import Options
from gate.errors import GateError
from gate.grant.history import Grants
from gate.keeper import client

_SAID = {CLEAN: "clean", FINDINGS: "NOT clean", CANNOT_TELL: "cannot tell"}
# What an event is about, first come first.
_NAMES = ("grant", "id", "request", "custody", "digest")
_SQLITE = b"SQLite format 3\0"


@click.group(epilog="Example: gate audit tail")
def audit() -> None:
    """The ledger: every decision, outcome and activation, hash-chained."""


@audit.command(epilog="Example: gate audit tail -n 50")
@click.option("-n", "count", type=click.IntRange(1, 500), default=20, show_default=True, help="How many events.")
@click.pass_obj
def tail(options: Options, count: int) -> None:
    """Print the last events."""
    _print(options, _ask("audit.tail", count=count)["events"])


@audit.command(epilog="Example: gate audit show dec-7k3f9q2m")
@click.argument("id_", metavar="ID")
@click.pass_obj
def show(options: Options, id_: str) -> None:
    """Print every event of one decision, custody or bundle."""
    _print(options, _ask("audit.show", id=id_)["events"])


@audit.command(epilog="Example: gate audit export > ledger.jsonl")
def export() -> None:
    """Print the whole ledger, one event a line, exactly as stored (docs/contract.md)."""
    for line in _all():
        click.echo(line)


@audit.command(epilog="Example: gate audit verify ledger.jsonl --signers gate.signers")
@click.argument("file", required=False, metavar="[FILE]", type=click.Path(path_type=Path))
@click.option("--signers", metavar="FILE", type=click.Path(path_type=Path), help="Your own copy of gate.signers.")
@click.option("--head", metavar="HASH", help="A head that you noted: it has to be part of this history.")
@click.pass_obj
def verify(options: Options, file: Path | None, signers: Path | None, head: str | None) -> int:
    """Check the chain, every signature and what may follow what, in FILE (export or ledger.db) or in the live ledger.

    Exits 0 clean, 1 with findings, 3 when it cannot tell.
    """
    report = _report(file, signers, head)
    if options.json:
        click.echo(json.dumps(asdict(report)))
    else:
        for finding in report.findings:
            click.echo(f"finding: {finding}")
        for note in report.notes:
            click.echo(f"note: {note}")
        click.echo(f"{report.events} events, head {report.head or 'none'}: {_SAID[report.status]}")
    return report.status


def _report(file: Path | None, signers: Path | None, head: str | None) -> Report:
    """What verifying comes to; a ledger that the keeper refuses to open is a finding, anything else cannot be told."""
    try:
        return _verify(file, None if signers is None else signers.read_bytes(), head)
    except GateError as error:
        status = FINDINGS if error.code == "ledger_tampered" else CANNOT_TELL
        return Report(status, (f"{error.code}: {error.message}. {error.remedy}",), (), 0, None, None)
    except OSError as error:
        return Report(CANNOT_TELL, (f"{error.filename}: {error.strerror}",), (), 0, None, None)


def _verify(file: Path | None, signers: bytes | None, head: str | None) -> Report:
    if file is None:
        return verify_export((line.encode() for line in _all()), signers=signers, head=head, more=[Grants()])
    with file.open("rb") as opened:
        start = opened.read(len(_SQLITE))
        if start == _SQLITE:
            return verify_database(file, signers=signers, head=head, more=[Grants()])
        opened.seek(0)
        return verify_export(opened, signers=signers, head=head, more=[Grants()])


def _all() -> Iterator[str]:
    after = 0
    while events := _ask("audit.export", after=after)["events"]:
        yield from events
        after = json.loads(events[-1])["seq"]


def _ask(op: str, **members: object) -> Any:
    return client.request(op, gate_yaml=sight.gate_yaml(), **members)


def _print(options: Options, lines: list[str]) -> None:
    for line in lines:
        if options.json:
            click.echo(line)
            continue
        entry = json.loads(line)
        click.echo(f"{entry['seq']:>6} {entry['time']} {entry['type']:<18} {_summary(json.loads(entry['body']))}")


def _summary(body: Any) -> str:
    decision = body.get("object")
    if isinstance(decision, dict):
        intent, target = decision["intent"], decision["target"]
        what = "?" if intent is None else intent["command"]
        where = "-" if target is None else target["deployment"]
        return f"{decision['id']} {decision['principal']['id']} {what} on {where}: {decision['code']}"
    if "outcome" in body:
        return f"{body['decision']} {body['outcome']} {body.get('status', body.get('why', ''))}"
    named = (body.get(name) for name in _NAMES)
    return next((name for name in named if isinstance(name, str)), "")
