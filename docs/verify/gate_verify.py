#!/usr/bin/env python3
"""Verify an exported ledger of convex-gate without any of its code: Python's standard library and ssh-keygen.

    python gate_verify.py EXPORT.jsonl [--signers FILE] [--head HASH]

Checks the chain, the order of events and the signatures of every activation; not the meaning of the policies in them.
`--signers`: an OpenSSH allowed_signers file of your own, which the first activation has to be signed by. `--head`: the
hash of an event that has to be there. Exit codes: 0 clean, 1 findings, 3 cannot tell.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import re
import struct
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CLEAN, FINDINGS, CANNOT_TELL = 0, 1, 3
BEGINNING = "0" * 64
NAMESPACE = "activate@convex-gate"
LARGEST = 2**53 - 1
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")
TEXTS = ("time", "type", "body", "prev", "hash")


class Wrong(Exception):
    """Something does not hold; the text says what."""


class CannotTell(Exception):
    """Something could not be looked at; the text says what."""


class Report(NamedTuple):
    """What came out: `events` hold, the last of them with hash `head`."""

    status: int
    findings: list[str]
    notes: list[str]
    events: int
    head: str | None
    ledger_id: str | None


# --- JSON that can be read in one way only


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise Wrong("a key stands twice")
    return dict(pairs)


def _integer(text: str) -> int:
    if len(text) > len(str(-LARGEST)) or abs(int(text)) > LARGEST:
        raise Wrong("an integer is beyond 2**53-1")
    return int(text)


def _no_number(text: str) -> Any:
    raise Wrong(f"{text[:20]} is not an integer")


DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_no_number, parse_constant=_no_number
)


def decode(text: str) -> dict[str, Any]:
    """The object in `text`; no duplicate keys, no floats. Raises Wrong."""
    try:
        value = DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise Wrong("it is not JSON") from error
    if not isinstance(value, dict):
        raise Wrong("it is not an object")
    return value


# --- the chain


@dataclass
class Chain:
    """Takes the lines of an export in order; `seq`, `time` and `head` are of the last event that holds."""

    seq: int = 0
    time: str = ""
    head: str = BEGINNING

    def take(self, line: bytes) -> tuple[str, dict[str, Any]]:
        """Type and body of the event in `line`. Raises Wrong when it does not follow the one before."""
        event = self._event(line)
        if event["seq"] != self.seq + 1 or event["prev"] != self.head:
            raise Wrong("it does not follow the event before it")
        linked = f"gate1\n{event['prev']}\n{event['body']}"
        if not linked.isascii() or hashlib.sha256(linked.encode()).hexdigest() != event["hash"]:
            raise Wrong("its hash is not that of its body")
        body = decode(event["body"])
        stated = [body.get("seq"), body.get("time"), body.get("type")]
        if stated != [event["seq"], event["time"], event["type"]] or stated[0] is True:
            raise Wrong("its body states another number, time or type")
        if not is_time(event["time"]) or event["time"] < self.time:
            raise Wrong("its time is none, or before that of the event before it")
        self.seq, self.time, self.head = event["seq"], event["time"], event["hash"]
        return event["type"], body

    def _event(self, line: bytes) -> dict[str, Any]:
        try:
            event = decode((line[:-1] if line.endswith(b"\n") else line).decode("utf-8"))
        except UnicodeDecodeError as error:
            raise Wrong("it is not UTF-8") from error
        if set(event) != {"seq", *TEXTS}:
            raise Wrong("it has not just seq, time, type, body, prev and hash")
        if type(event["seq"]) is not int or not all(isinstance(event[name], str) for name in TEXTS):
            raise Wrong("a member is of another type")
        return event


def is_time(text: str) -> bool:
    """Whether `text` is a time of a ledger's."""
    try:
        return bool(TIME.fullmatch(text) and datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ"))  # noqa: DTZ007 - a check
    except ValueError:
        return False


# --- what may follow what


@dataclass
class Order:
    """Takes the events of one ledger in order."""

    ledger_id: str | None = None
    decided: dict[str, bool] = field(default_factory=dict)

    def take(self, seq: int, kind: str, body: dict[str, Any]) -> str | None:
        """What is wrong with the place of this event."""
        if (seq == 1) != (kind == "ledger.created"):
            return "a ledger begins with its creation, once"
        check = {"ledger.created": self._created, "decision": self._decision, "outcome": self._outcome}.get(kind)
        return None if check is None else check(body)

    def _created(self, body: dict[str, Any]) -> str | None:
        named = body.get("id")
        if not isinstance(named, str) or not named:
            return "the ledger has no id"
        self.ledger_id = named
        return None

    def _decision(self, body: dict[str, Any]) -> str | None:
        named = body.get("id")
        if not isinstance(named, str) or named in self.decided:
            return "the decision has no id, or one that was used before"
        self.decided[named] = False
        return None

    def _outcome(self, body: dict[str, Any]) -> str | None:
        named = body.get("decision")
        if not isinstance(named, str) or self.decided.get(named, True):
            return "an outcome without a decision before it, or a second one"
        self.decided[named] = True
        return None


# --- SSH keys and signatures; the cryptography itself is left to ssh-keygen

KEY_TYPES = {
    b"ssh-ed25519",
    b"ssh-rsa",
    b"ecdsa-sha2-nistp256",
    b"ecdsa-sha2-nistp384",
    b"ecdsa-sha2-nistp521",
    b"sk-ssh-ed25519@openssh.com",
    b"sk-ecdsa-sha2-nistp256@openssh.com",
}
RSA_BITS = range(2048, 16385)
BEGIN, END = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"


def strings(data: bytes) -> list[bytes]:
    """The length-prefixed strings that `data` consists of. Raises Wrong."""
    found = []
    while data:
        size = struct.unpack(">I", data[:4])[0] if len(data) >= 4 else len(data)  # noqa: PLR2004 - bytes of a length
        if len(data) < 4 + size:
            raise Wrong("a key or signature ends too early")
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found


def unbase64(text: bytes) -> bytes:
    """What `text` stands for in base64, in its one form. Raises Wrong."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise Wrong("it is not base64") from error
    if base64.b64encode(data) != text:
        raise Wrong("it is not base64 in its one form")
    return data


def key_type(wire: bytes) -> str:
    """Type of a public key that is taken. Raises Wrong."""
    parts = strings(wire)
    if not parts or parts[0] not in KEY_TYPES:
        raise Wrong("a key of a type that is not taken")
    if parts[0] == b"ssh-rsa" and int.from_bytes(parts[-1], "big").bit_length() not in RSA_BITS:
        raise Wrong("an RSA key that is too short")
    return parts[0].decode()


def signing_key(armored: bytes) -> bytes:
    """The public key that a signature names. Raises Wrong for any but the one form of a signature."""
    lines = (armored[:-1] if armored.endswith(b"\n") else armored).split(b"\n")
    if lines[0] != BEGIN or lines[-1] != END or any(len(line) > 76 for line in lines):  # noqa: PLR2004 - PEM's width
        raise Wrong("it is not one armored SSH signature")
    blob = unbase64(b"".join(lines[1:-1]))
    parts = strings(blob[10:])
    if blob[:10] != b"SSHSIG\0\0\0\1" or len(parts) != 5 or parts[2] or parts[3] not in {b"sha256", b"sha512"}:  # noqa: PLR2004 - key, namespace, reserved, hash, signature
        raise Wrong("it is not a signature of SSHSIG version 1")
    key_type(parts[0])
    return parts[0]


def holds(armored: bytes, signed: bytes, key: bytes) -> bool:
    """Whether `armored` is `key`'s signature over `signed`, says ssh-keygen. Raises CannotTell without it."""
    with tempfile.TemporaryDirectory() as folder:
        allowed, signature = f"{folder}/allowed", f"{folder}/signature"
        Path(allowed).write_bytes(b"signer %s %s\n" % (key_type(key).encode(), base64.b64encode(key)))
        Path(signature).write_bytes(armored)
        command = ["ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "signer", "-n", NAMESPACE, "-s", signature]
        try:
            done = subprocess.run(command, input=signed, capture_output=True, check=False, timeout=30)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CannotTell("ssh-keygen could not be run: signatures were not checked") from error
    return done.returncode == 0


OPTION = r'(?:namespaces="[^"\\ \t]*"|valid-(?:after|before)="[0-9]*Z")'
SIGNER = re.compile(
    r"[ \t]*(?P<person>human:[A-Za-z0-9][A-Za-z0-9._-]{0,62})[ \t]+"
    rf"(?:(?P<options>{OPTION}(?:,{OPTION})*)[ \t]+)?"
    r"(?P<type>[^ \t=]+)[ \t]+(?P<key>[^ \t]+)(?:[ \t].*)?"
)
NAMESPACES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*(?:,[A-Za-z0-9][A-Za-z0-9._@-]*)*")
LAYOUTS = {9: "%Y%m%dZ", 13: "%Y%m%d%H%MZ", 15: "%Y%m%d%H%M%SZ"}


def signers_of(data: bytes) -> dict[bytes, str]:
    """Who may sign activations with which key, out of an allowed_signers file. Raises Wrong."""
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise Wrong("the signers file is not UTF-8") from error
    seen: set[bytes] = set()
    persons = {}
    for number, line in enumerate(lines, 1):
        if not line.strip(" \t") or line.startswith("#"):
            continue
        found = SIGNER.fullmatch(line)
        if found is None or re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
            raise Wrong(f"line {number} of the signers file is not one person's")
        key = unbase64(found["key"].encode())
        if key in seen or key_type(key) != found["type"]:
            raise Wrong(f"the key on line {number} of the signers file is there twice or of another type")
        seen.add(key)
        if _may_activate(found["options"] or ""):
            persons[key] = found["person"]
    return persons


def _may_activate(options: str) -> bool:
    """Whether a line's options let it sign activations; when it was valid is not asked. Raises Wrong."""
    named = [option.split("=", 1) for option in re.findall(OPTION, options)]
    limits = {name: value.strip('"') for name, value in named}
    if len(limits) != len(named):
        raise Wrong("an option in the signers file is given twice")
    for name, value in limits.items():
        if not (NAMESPACES.fullmatch(value) if name == "namespaces" else _is_moment(value)):
            raise Wrong(f"{name} in the signers file is not in its form")
    return NAMESPACE in limits.get("namespaces", NAMESPACE).split(",")


def _is_moment(value: str) -> bool:
    try:
        return bool(datetime.strptime(value, LAYOUTS.get(len(value), "none")))  # noqa: DTZ007 - a check
    except ValueError:
        return False


# --- bundles

KEYS = {"gate", "project", "signers", "roots", "policies", "deployments", "principals", "custody"}
WORD = r"(?:\"[^\"\\]*\"|'[^']*'|[A-Za-z0-9._/:@-]+)"
VALUE = re.compile(rf"[ ]+({WORD})[ ]*(?:[ ]#.*)?")
FLOW = re.compile(rf"[ ]+\[[ ]*({WORD}(?:[ ]*,[ ]*{WORD})*)[ ]*,?[ ]*\][ ]*(?:[ ]#.*)?")
ITEM = re.compile(rf"[ ]*-[ ]+({WORD})[ ]*(?:[ ]#.*)?")


def top_level(gate_yaml: str) -> dict[str, list[str]]:
    """The lines of gate.yaml by top-level key, for plain block style. Raises CannotTell for any other spelling."""
    lines: dict[str, list[str]] = {}
    key = None
    for line in re.split(r"\r?\n", gate_yaml):
        named = re.match(r"([a-z]+):(?= |$)", line)
        if named and named[1] in KEYS and named[1] not in lines:
            key = named[1]
            lines[key] = [line[named.end() :]]
        elif key is not None and re.match(r"[ ]|- ", line):
            lines[key].append(line)
        elif line and not line.startswith("#") and not (key is None and line == "---"):
            raise CannotTell("gate.yaml is not in the plain style that this verifier reads")
    return lines


def words_of(lines: dict[str, list[str]], key: str) -> list[str]:
    """The words under a top-level `key`: one, or a list of them. Raises CannotTell."""
    if key not in lines:
        raise Wrong(f"gate.yaml has no {key}")
    first, *more = [line for line in lines[key] if not re.fullmatch(r"[ ]*(?:#.*)?", line)] or [""]
    single, flow = VALUE.fullmatch(first), FLOW.fullmatch(first)
    if single and not more:
        found = [single[1]]
    elif flow and not more:
        found = re.findall(WORD, flow[1])
    else:
        items = [ITEM.fullmatch(line) for line in (first, *more)]
        if not all(items):
            raise CannotTell(f"{key} in gate.yaml is not in the plain style that this verifier reads")
        found = [item[1] for item in items if item]
    return [word[1:-1] if word[0] in "\"'" else word for word in found]


@dataclass
class Bundle:
    """One activated set of files: its digest, project, roots and who may sign the next one."""

    digest: str
    project: str
    roots: list[str]
    signers: dict[bytes, str]
    signer_lines: list[str]


def bundle_of(files: dict[str, str]) -> Bundle:
    """Read a bundle's files. Raises Wrong and CannotTell."""
    state = hashlib.sha256(b"gate-bundle1\n")
    for path, data in sorted((path.encode(), text.encode()) for path, text in files.items()):
        for part in (path, data):
            state.update(struct.pack(">Q", len(part)) + part)
    lines = top_level(files["gate.yaml"])
    file = files[words_of(lines, "signers")[0]].encode()
    found = [SIGNER.fullmatch(line) for line in file.decode().split("\n") if not line.startswith("#")]
    return Bundle(
        digest=f"sha256:{state.hexdigest()}",
        project=words_of(lines, "project")[0],
        roots=words_of(lines, "roots"),
        signers=signers_of(file),
        signer_lines=[f"{line['person']} {line['type']} {line['key']}" for line in found if line],
    )


# --- activations


@dataclass
class Activations:
    """Takes the events of one ledger in order; `given` are the reader's own signers."""

    given: dict[bytes, str] | None
    count: int = 0
    before: Bundle | None = None
    heads: set[str] = field(default_factory=lambda: {BEGINNING})

    def take(self, ledger_id: str | None, kind: str, body: dict[str, Any], own_hash: str) -> str | None:
        """What is wrong with this event as an activation."""
        reason = None
        try:
            if kind == "bundle.activated":
                self._activation(ledger_id, body)
        except Wrong as error:
            reason = str(error)
        except (KeyError, IndexError, TypeError, AttributeError, UnicodeError):
            reason = "an activation without its statement, signatures and files"
        finally:
            if kind == "bundle.activated":
                self.heads.clear()
            self.heads.add(own_hash)
        return reason

    def _activation(self, ledger_id: str | None, body: dict[str, Any]) -> None:
        after = bundle_of(body["files"])
        signed = body["statement"].encode("ascii")
        stated = decode(body["statement"])
        if signed != self._statement(stated, after):
            raise Wrong("the signed statement is not about this bundle and the one before it")
        keys = [signing_key(text.encode("ascii")) for text in body["signatures"]]
        trusted = after if self.before is None else self.before
        who = list(dict.fromkeys(trusted.signers.get(key, "") for key in keys))
        if "" in who or not self._enough(who, trusted):
            raise Wrong("it is signed neither by a root nor by two signers")
        for text, key in zip(body["signatures"], keys, strict=True):
            if not holds(text.encode("ascii"), signed, key):
                raise Wrong("a signature does not hold")
        genesis, self.before, self.count = self.before is None, after, self.count + 1
        if (body["digest"], body["signers"]) != (after.digest, who):
            raise Wrong("the event names another digest or other signers than the signed statement")
        if stated["ledger"] != ledger_id or stated["head"] not in self.heads:
            raise Wrong("the statement was signed for another ledger or another moment of it")
        if genesis and self.given is not None:
            theirs = {self.given[key] for key in keys if self.given.get(key) == after.signers[key]}
            if not theirs & set(after.roots):
                raise Wrong("the first activation is signed by no root whose key is in your signers file")

    def _enough(self, who: list[str], trusted: Bundle) -> bool:
        """Whether these persons may activate: a root, or two of those who were signers before."""
        return bool(set(who) & set(trusted.roots)) or (self.before is not None and len(who) > 1)

    def _statement(self, stated: dict[str, Any], after: Bundle) -> bytes:
        """The one text that puts `after` in force, for the ledger and head that `stated` names."""
        again = {
            "gate": 1,
            "kind": "activation",
            "ledger": str(stated["ledger"]),
            "head": str(stated["head"]),
            "previous": None if self.before is None else self.before.digest,
            "bundle": after.digest,
            "project": after.project,
        }
        if self.before is None:
            again["roots"] = sorted(after.roots)
            again["signers"] = after.signer_lines
        return json.dumps(again, sort_keys=True, separators=(",", ":")).encode("ascii")


# --- the whole


def verify(lines: Iterable[bytes], signers: bytes | None = None, head: str | None = None) -> Report:
    """Verify the lines of an export, read one at a time."""
    try:
        activations = Activations(None if signers is None else signers_of(signers))
    except Wrong as error:
        return Report(FINDINGS, [f"your signers file: {error}"], [], 0, None, None)
    chain, order = Chain(), Order()
    findings: list[str] = []
    doubts: list[str] = []
    met = False
    for number, line in enumerate(lines, 1):
        try:
            kind, body = chain.take(line)
        except Wrong as error:
            findings.append(f"event {number} does not hold: {error}")
            break
        met = met or chain.head == head
        findings += _reasons(number, order.take(number, kind, body))
        try:
            findings += _reasons(number, activations.take(order.ledger_id, kind, body, chain.head))
        except CannotTell as error:
            doubts.append(f"event {number} cannot be judged: {error}")
            break
    if head is not None and not met and not doubts:
        findings.append("no event has the pinned head: the history was cut off or made anew")
    if chain.seq == 0 and not findings:
        doubts.append("there is no event to verify")
    status = FINDINGS if findings else CANNOT_TELL if doubts else CLEAN
    last = chain.head if chain.seq else None
    return Report(status, findings + doubts, _notes(activations), chain.seq, last, order.ledger_id)


def _reasons(number: int, reason: str | None) -> Iterator[str]:
    if reason is not None:
        yield f"event {number} does not hold: {reason}"


def _notes(activations: Activations) -> list[str]:
    if activations.count == 0:
        return ["no bundle was activated"]
    return (
        [] if activations.given is not None else ["signatures not checked against your signers (give --signers FILE)"]
    )


def main(arguments: list[str] | None = None) -> int:
    """Print findings and notes and return the exit code."""
    parser = argparse.ArgumentParser(description="Verify an exported ledger of convex-gate.")
    parser.add_argument("export", type=Path)
    parser.add_argument("--signers", type=Path)
    parser.add_argument("--head")
    given = parser.parse_args(arguments)
    try:
        signers = None if given.signers is None else given.signers.read_bytes()
        with given.export.open("rb") as lines:
            report = verify(lines, signers, given.head)
    except OSError as error:
        sys.stderr.write(f"gate_verify: {error}\n")
        return CANNOT_TELL
    for text in (*report.findings, *(f"note: {note}" for note in report.notes)):
        sys.stdout.write(f"{text}\n")
    verdict = {CLEAN: "clean", FINDINGS: "findings", CANNOT_TELL: "cannot tell"}[report.status]
    sys.stdout.write(f"{verdict}: {report.events} events of {report.ledger_id} up to {report.head}\n")
    return report.status


if __name__ == "__main__":
    raise SystemExit(main())
