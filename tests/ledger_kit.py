"""Histories made by hand: events with right links, real signatures, and no database."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ssh_kit import KeyPair

from gate import world
from gate.audit import canonical, chain
from gate.audit.chain import Entry
from gate.audit.export import line_of
from gate.config.activation import NAMESPACE, statement
from gate.config.bundle import Bundle, load_bundle

START = 1_771_495_445_123
LEDGER = "led-7k3f9q2m"


def bundle_of(signers: Mapping[str, KeyPair], roots: Iterable[str] = ("human:ada",), note: str = "") -> Bundle:
    """A bundle in which these persons may sign and these are roots."""
    people = "".join(f"  {person}: {{}}\n" for person in signers)
    gate_yaml = (
        f"gate: 1\nproject: acme-chat  # {note}\nsigners: gate.signers\nroots: [{', '.join(roots)}]\n"
        f"policies: [policies/default.yaml]\ndeployments: {{}}\nprincipals:\n{people}custody: {{}}\n"
    )
    lines = "".join(f"{person} {key.public} {note}\n" for person, key in signers.items())
    files = {"gate.yaml": gate_yaml, "gate.signers": lines, "policies/default.yaml": f"# {note}\n"}
    return load_bundle({path: text.encode() for path, text in files.items()})


class History:
    """Grows event by event, one second apart."""

    def __init__(self, ledger: str | None = LEDGER) -> None:
        self.entries: list[Entry] = []
        self.ledger = ledger
        self.before: Bundle | None = None
        if ledger is not None:
            self.add("ledger.created", {"id": ledger})

    @property
    def head(self) -> str:
        return self.entries[-1].hash if self.entries else chain.BEGINNING

    def add(self, kind: str, body: Mapping[str, Any]) -> Entry:
        """Append an event."""
        seq = len(self.entries) + 1
        time = world.iso(START + 1000 * seq)
        text = canonical.encode({**body, "seq": seq, "time": time, "type": kind})
        entry = Entry(seq, time, kind, text, self.head, chain.link(self.head, text))
        self.entries.append(entry)
        return entry

    def activate(self, after: Bundle, keys: Mapping[str, KeyPair], **changes: Any) -> Entry:
        """Append an activation signed by these persons; `changes` replace members of its event."""
        previous = None if self.before is None else self.before.digest
        signed = statement(self.ledger or "", self.head, previous, after)
        members = {
            "digest": after.digest,
            "statement": signed.decode(),
            "signatures": [key.sign(signed, NAMESPACE).decode() for key in keys.values()],
            "signers": list(keys),
            "files": {path: data.decode() for path, data in after.files.items()},
        }
        self.before = after
        return self.add("bundle.activated", {**members, **changes})

    def lines(self) -> list[bytes]:
        """The history as an export."""
        return lines_of(self.entries)


def lines_of(entries: Iterable[Entry]) -> list[bytes]:
    """Entries as an export."""
    return [line_of(entry).encode() + b"\n" for entry in entries]


def relinked(entries: Iterable[Entry]) -> list[Entry]:
    """The same bodies, numbered and linked anew: what somebody does who knows the rules and has no key."""
    made: list[Entry] = []
    prev = chain.BEGINNING
    for seq, entry in enumerate(entries, 1):
        members = json.loads(entry.body)
        body = entry.body if members.get("seq") == seq else canonical.encode({**members, "seq": seq})
        made.append(replace(entry, seq=seq, body=body, prev=prev, hash=chain.link(prev, body)))
        prev = made[-1].hash
    return made


def changed(entry: Entry, **members: Any) -> Entry:
    """The event with other members in its body and, where they are columns, in its columns."""
    body = canonical.encode({**json.loads(entry.body), **members})
    return replace(entry, body=body, time=members.get("time", entry.time), type=members.get("type", entry.type))
