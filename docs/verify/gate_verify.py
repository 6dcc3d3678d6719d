#!/usr/bin/env python3
"""Verify an exported ledger of convex-gate without any of its code: Python's standard library and ssh-keygen.

    python gate_verify.py EXPORT.jsonl [--signers FILE] [--head HASH]

Checks the chain, the order of events, and the signatures of every activation, approval, denial and revocation, with
what they may stand for; and each run under a grant, with its writes, against what was signed. It does not evaluate the
rules of the policies: what an approval takes is believed as the request has it on record, and so is that a run took no
grant, or that a grant fell with a new bundle; `gate audit verify` holds that against the rules.
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
    from collections.abc import Callable, Iterable, Iterator

CLEAN, FINDINGS, CANNOT_TELL = 0, 1, 3
BEGINNING = "0" * 64
NAMESPACE = "activate@convex-gate"
APPROVES = "approve@convex-gate"
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


def touched(armored: bytes) -> bool:
    """Whether a signature that holds says that its security key was touched."""
    blob = unbase64(b"".join(armored.strip().split(b"\n")[1:-1]))
    inner = strings(blob[10:])[4]
    return inner[4:7] == b"sk-" and bool(inner[-5] & 1)


def holds(armored: bytes, signed: bytes, key: bytes, namespace: str = NAMESPACE) -> bool:
    """Whether `armored` is `key`'s signature over `signed`, says ssh-keygen. Raises CannotTell without it."""
    with tempfile.TemporaryDirectory() as folder:
        allowed, signature = f"{folder}/allowed", f"{folder}/signature"
        Path(allowed).write_bytes(b"signer %s %s\n" % (key_type(key).encode(), base64.b64encode(key)))
        Path(signature).write_bytes(armored)
        command = ["ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "signer", "-n", namespace, "-s", signature]
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


class Signer(NamedTuple):
    """One line of a signers file; `limits` are its options."""

    person: str
    limits: dict[str, str]

    def may(self, namespace: str, at_ms: int | None = None) -> bool:
        """Whether the line covers `namespace`, and the time `at_ms` where it is asked."""
        if namespace not in self.limits.get("namespaces", namespace).split(","):
            return False
        after, before = (self.limits.get(name) for name in ("valid-after", "valid-before"))
        early = at_ms is not None and after is not None and at_ms < _moment(after)
        late = at_ms is not None and before is not None and at_ms > _moment(before)
        return not early and not late


def lines_of(data: bytes) -> dict[bytes, Signer]:
    """The lines of an allowed_signers file by key. Raises Wrong."""
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise Wrong("the signers file is not UTF-8") from error
    signers: dict[bytes, Signer] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip(" \t") or line.startswith("#"):
            continue
        found = SIGNER.fullmatch(line)
        if found is None or re.search(r"[\x00-\x08\x0b-\x1f\x7f]", line):
            raise Wrong(f"line {number} of the signers file is not one person's")
        key = unbase64(found["key"].encode())
        if key in signers or key_type(key) != found["type"]:
            raise Wrong(f"the key on line {number} of the signers file is there twice or of another type")
        signers[key] = Signer(found["person"], _limits(found["options"] or ""))
    return signers


def signers_of(data: bytes) -> dict[bytes, str]:
    """Who may sign activations with which key, out of an allowed_signers file. Raises Wrong."""
    return {key: signer.person for key, signer in lines_of(data).items() if signer.may(NAMESPACE)}


def _limits(options: str) -> dict[str, str]:
    """The options of a line. Raises Wrong."""
    named = [option.split("=", 1) for option in re.findall(OPTION, options)]
    limits = {name: value.strip('"') for name, value in named}
    if len(limits) != len(named):
        raise Wrong("an option in the signers file is given twice")
    for name, value in limits.items():
        if not (NAMESPACES.fullmatch(value) if name == "namespaces" else _is_moment(value)):
            raise Wrong(f"{name} in the signers file is not in its form")
    return limits


def _moment(value: str) -> int:
    """Milliseconds since the epoch of a time of a signers file."""
    layout = LAYOUTS[len(value)].replace("Z", "%z")
    return int(datetime.strptime(value, layout).timestamp()) * 1000  # noqa: DTZ007 - it has %z


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


KEY = r"[A-Za-z0-9][A-Za-z0-9._:-]*"
ITEMS = rf"\[[ ]*(?:{WORD}(?:[ ]*,[ ]*{WORD})*)?[ ]*,?[ ]*\]"
PAIR = rf"[a-z]+:[ ]+(?:{WORD}|{ITEMS})"
END_OF_LINE = r"[ ]*(?:[ ]#.*)?"
INLINE = re.compile(rf"\{{[ ]*((?:{PAIR}(?:[ ]*,[ ]*{PAIR})*)?)[ ]*,?[ ]*\}}{END_OF_LINE}")
NAMED = re.compile(rf"([ ]+)(?:({KEY})|\"({KEY})\"):(?:[ ]+(.*))?")
FIELD = re.compile(rf"([ ]+)([a-z]+):(?:[ ]+({WORD}|{ITEMS}))?{END_OF_LINE}")
DASH = re.compile(rf"([ ]+)-[ ]+({WORD}){END_OF_LINE}")


def entries_of(lines: list[str], key: str) -> dict[str, dict[str, list[str]]]:
    """Named entries with fields of words, in plain style. Raises CannotTell for any other spelling."""
    unreadable = CannotTell(f"{key} in gate.yaml is not in the plain style that this verifier reads")
    first, *more = [line for line in lines if not re.fullmatch(r"[ ]*(?:#.*)?", line)] or ["{}"]
    if re.fullmatch(rf"[ ]*\{{\}}{END_OF_LINE}", first) and not more:
        return {}
    entries: dict[str, dict[str, list[str]]] = {}
    outer = inner = ""
    name = field_name = ""
    for line in (first, *more):
        found = NAMED.fullmatch(line)
        if found and len(found[1]) == len(outer or found[1]):
            outer, inner, name, field_name = found[1], "", found[2] or found[3], ""
            if name in entries:
                raise unreadable
            entries[name] = _inline(found[4] or "", unreadable)
            continue
        member, item = FIELD.fullmatch(line), DASH.fullmatch(line)
        if name and member and len(member[1]) > len(outer) and len(member[1]) == len(inner or member[1]):
            inner, field_name = member[1], member[2]
            if field_name in entries[name]:
                raise unreadable
            entries[name][field_name] = _words(member[3] or "")
        elif field_name and item and len(item[1]) >= len(inner):
            entries[name][field_name].append(_unquoted(item[2]))
        else:
            raise unreadable
    return entries


def _inline(text: str, unreadable: CannotTell) -> dict[str, list[str]]:
    """The fields of an entry in braces; none where they follow on lines of their own."""
    if re.fullmatch(END_OF_LINE, f" {text}"):
        return {}
    found = INLINE.fullmatch(text)
    if found is None:
        raise unreadable
    pairs = [pair.split(":", 1) for pair in re.findall(PAIR, found[1])]
    if len({name for name, _ in pairs}) != len(pairs):
        raise unreadable
    return {name: _words(value.strip()) for name, value in pairs}


def _words(text: str) -> list[str]:
    return [_unquoted(word) for word in re.findall(WORD, text)]


def _unquoted(word: str) -> str:
    return word[1:-1] if word[0] in "\"'" else word


@dataclass
class Bundle:
    """One activated set of files: its digest, project, roots and who may sign the next one."""

    digest: str
    project: str
    roots: list[str]
    signers: dict[bytes, str]
    signer_lines: list[str]
    approvers: dict[bytes, Signer]
    lines: dict[str, list[str]]

    def listed(self, key: str) -> dict[str, dict[str, list[str]]]:
        """The entries under `principals` or `deployments`. Raises CannotTell."""
        return entries_of(self.lines.get(key, [""]), key)


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
        approvers=lines_of(file),
        lines=lines,
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


# --- the text that approvers sign

DIMENSIONS = ("functions", "tables", "variables", "components")
FRAME = ("bundle", "ledger", "head", "sign-by", "nonce")
SUBJECT = ("kind", "request", "request-digest", "requester", "owner")
APPROVAL = (*SUBJECT, "deployment", "origin", "effects", *DIMENSIONS, "ttl-seconds", "max-uses", "not-before", *FRAME)
OBJECTION = ("kind", "subject", "reason", *FRAME)
ESCAPE = re.compile(r"\\u([0-9a-f]{4})|\\U([0-9a-f]{8})")
LONGEST_NUMBER, LARGEST_STATEMENT = 16, 16 * 1024
ANY, NONE = "(any)", "(none)"


def fields_of(text: str, keys: tuple[str, ...]) -> dict[str, str]:
    """The values of a signed text by key, as they are written. Raises Wrong unless it is exactly of its form."""
    lines = text.split("\n")
    pairs = [line.partition(": ") for line in lines[:-1]]
    if lines[-1] or tuple(key for key, _, _ in pairs) != keys or len(text) > LARGEST_STATEMENT or not text.isascii():
        raise Wrong("the signed text is no statement of the gate's")
    found = {key: value for key, _, value in pairs}
    for key in found.keys() - {"effects", *DIMENSIONS, "max-uses", "not-before"}:
        if escaped(plain(found[key]), " " if key == "reason" else "") != found[key]:
            raise Wrong("the signed text is not in its one form")
    milliseconds(found["sign-by"])
    return found


def plain(text: str) -> str:
    """What an escaped text stands for."""
    return ESCAPE.sub(lambda match: chr(int(match[1] or match[2], 16)), text)


def escaped(text: str, also: str = "") -> str:
    """The text as a statement writes it."""
    return "".join(one if ("!" <= one <= "~" and one not in "\\()") or one in also else _escape(one) for one in text)


def _escape(one: str) -> str:
    return f"\\u{ord(one):04x}" if ord(one) <= 0xFFFF else f"\\U{ord(one):08x}"  # noqa: PLR2004 - four digits


def ask_of(found: dict[str, str]) -> dict[str, Any]:
    """The access that an approval states, as a request states it. Raises Wrong."""
    uses, begins = found["max-uses"], found["not-before"]
    return checked_ask(
        {
            "deployment": plain(found["deployment"]),
            "origin": plain(found["origin"]),
            "effects": _names(found["effects"]),
            "ttl_seconds": _number(found["ttl-seconds"]),
            **{name: _names(found[name]) for name in DIMENSIONS},
            "max_uses": None if uses == ANY else _number(uses),
            "not_before_ms": None if begins == NONE else milliseconds(begins),
        }
    )


def _names(text: str) -> list[str] | None:
    if text in (ANY, NONE):
        return None if text == ANY else []
    names = [plain(word) for word in text.split(" ")]
    if " ".join(map(escaped, names)) != text:
        raise Wrong("names in the signed text are not in their one form")
    return names


def _number(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]*", text) or len(text) > LONGEST_NUMBER:
        raise Wrong("a number in the signed text is none")
    return int(text)


def milliseconds(time: str) -> int:
    """A ledger's time in milliseconds since the epoch. Raises Wrong."""
    if not is_time(time):
        raise Wrong("a time is none")
    return round(datetime.strptime(time, "%Y-%m-%dT%H:%M:%S.%f%z").timestamp() * 1000)


# --- access: what is asked for, approved and given

ASK = {"deployment", "origin", "effects", "ttl_seconds", *DIMENSIONS, "max_uses", "not_before_ms"}


def checked_ask(ask: dict[str, Any]) -> dict[str, Any]:
    """`ask`, if it is of its form; whether its effects are known ones is not asked. Raises Wrong."""
    counts = [ask["ttl_seconds"], *(ask[name] for name in ("max_uses", "not_before_ms") if ask[name] is not None)]
    lists = [ask["effects"], *(ask[name] for name in DIMENSIONS if ask[name] is not None)]
    if set(ask) != ASK or not all(_is_word(ask[name]) for name in ("deployment", "origin")) or not ask["effects"]:
        raise Wrong("access without a place or effects")
    if not all(type(count) is int and count > 0 for count in counts) or not all(map(_is_set, lists)):
        raise Wrong("access that is not in its form")
    return ask


def _is_word(text: Any) -> bool:
    return isinstance(text, str) and text != ""


def _is_set(names: Any) -> bool:
    return isinstance(names, list) and all(map(_is_word, names)) and names == sorted(set(names))


def within(narrow: dict[str, Any], wide: dict[str, Any]) -> bool:
    """Whether all that `narrow` permits is permitted by `wide`."""
    uses, most = narrow["max_uses"], wide["max_uses"]
    return (
        (narrow["deployment"], narrow["origin"]) == (wide["deployment"], wide["origin"])
        and set(narrow["effects"]) <= set(wide["effects"])
        and all(_inside(narrow[name], wide[name]) for name in DIMENSIONS)
        and narrow["ttl_seconds"] <= wide["ttl_seconds"]
        and (most is None or (uses is not None and uses <= most))
        and (narrow["not_before_ms"] or 0) >= (wide["not_before_ms"] or 0)
    )


def both(one: dict[str, Any], other: dict[str, Any] | None) -> dict[str, Any] | None:
    """What both permit; None where there is nothing."""
    if other is None or any(one[name] != other[name] for name in ("deployment", "origin")):
        return None
    shared: dict[str, Any] = {name: one[name] for name in ("deployment", "origin")}
    shared["effects"] = sorted(set(one["effects"]) & set(other["effects"]))
    for name in DIMENSIONS:
        known = [ask[name] for ask in (one, other) if ask[name] is not None]
        shared[name] = sorted(set.intersection(*map(set, known))) if known else None
        if not all(_inside(shared[name], ask[name]) for ask in (one, other)):
            return None
    shared["ttl_seconds"] = min(one["ttl_seconds"], other["ttl_seconds"])
    for name, pick in (("max_uses", min), ("not_before_ms", max)):
        shared[name] = pick((ask[name] for ask in (one, other) if ask[name] is not None), default=None)
    return shared if shared["effects"] else None


def covers(ask: dict[str, Any], effects: list[str], resources: dict[str, Any]) -> bool:
    """Whether `ask` alone covers what a decision says of a run: a dimension is none where absent, any where null."""
    return set(effects) <= set(ask["effects"]) and all(
        _inside(resources.get(name, []), ask[name]) for name in DIMENSIONS
    )


def _inside(inner: list[str] | None, outer: list[str] | None) -> bool:
    if outer is None:
        return True
    return inner is not None and bool(inner) == bool(outer) and set(inner) <= set(outer)


# --- requests and grants

DAY_MS = 24 * 3_600_000
LAPSES_MS, WAITS_MS, APART_MS, LOOKED_UP_MS = 3 * DAY_MS, DAY_MS // 3, 10_000, 60_000
CLOCK_SET_MS = 10 * DAY_MS
PENDING_MAX, A_DAY_MAX, BYTES_MAX = 5, 20, 4096
WORDS = ("id", "requester", "owner", "ticket", "reason", "bundle")
REQUEST = {*WORDS, "uid", "excluded", "ask", "ack_risk", "decision", "needs", "time_ms"}
NEEDS = {"grant", "ticket", "reason_min", "ack_risk", "ttl_max_seconds", "max_uses", "approvals"}
ANYBODY = {"count": 1, "from": ["human:*"], "not": ["requester", "owner"], "touch": True}
PRINCIPAL = re.compile(r"(?:agent|ci|human|runtime):[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
ENDS = ("expired", "revoked", "exhausted", "dropped", "bundle_changed")
WRITE = "deployment:data:write"
PLACES = {
    **dict.fromkeys(("POST /api/function", "WS Mutation", "WS Action"), WRITE),
    "POST /api/update_environment_variables": "deployment:env:write",
    "POST /api/perform_import": "deployment:backups:import",
}
HELPERS = {"_system/cli/modules:apiSpec", "_system/frontend/components:list"}
AFTER = {
    **dict.fromkeys(ENDS, ("closing",)),
    "closing": ("closed", "cut_failed"),
}


def text_of(members: Any) -> str:
    """Canonical JSON."""
    return json.dumps(members, sort_keys=True, separators=(",", ":"))


@dataclass
class Given:
    """An approval that was taken."""

    nonce: str
    bundle: str
    ask: dict[str, Any]
    signer: str
    key: bytes
    touched: bool


@dataclass
class Request:
    """A request that was made, with the approvals that it has."""

    members: dict[str, Any]
    seq: int
    pending: bool = True
    given: list[Given] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """What an approval names."""
        return "sha256:" + hashlib.sha256(text_of(self.members).encode()).hexdigest()

    def lapsed(self, now_ms: int) -> bool:
        """Whether nobody answered in time."""
        return now_ms - int(self.members["time_ms"]) >= LAPSES_MS


@dataclass
class Clock:
    """A moment on both clocks."""

    wall: int
    boot: str
    since: int

    def longest(self, since: Clock) -> int:
        """The most that may have passed since then."""
        wall = self.wall - since.wall
        if self.boot == since.boot:
            return max(wall, self.since - since.since)
        return wall if wall >= 0 else 2**62

    def shortest(self, since: Clock) -> int:
        """What has passed since then for certain."""
        wall = self.wall - since.wall
        return min(wall, self.since - since.since) if self.boot == since.boot else wall


@dataclass
class Grant:
    """A grant that was made under `bundle`. `state` is empty while it is open."""

    request: Request
    ask: dict[str, Any]
    made: Clock
    bundle: str
    first: Clock | None = None
    used: int = 0
    state: str = ""
    ended_ms: int = 0
    payers: dict[int, str] = field(default_factory=dict)

    def permits(self, now: Clock) -> bool:
        """Whether it permits anything at that moment."""
        begun = self.made.wall + now.shortest(self.made) >= (self.ask["not_before_ms"] or 0)
        return not self.state and begun and self.left(now) > 0

    def left(self, now: Clock) -> int:
        """Milliseconds that are left for certain."""
        ttl: int = self.ask["ttl_seconds"] * 1000
        left = max(WAITS_MS, (self.ask["not_before_ms"] or 0) - self.made.wall) + ttl - now.longest(self.made)
        return left if self.first is None else min(left, ttl - now.longest(self.first))

    @property
    def spent(self) -> bool:
        """Whether every use is charged."""
        most: int | None = self.ask["max_uses"]
        return most is not None and self.used >= most


@dataclass
class Run:
    """What a decision let through under a grant, and how many writes of it are on record."""

    grant: str
    effects: list[str]
    resources: dict[str, Any]
    writes: int = 0

    def gives(self, place: str, function: Any, component: Any) -> bool:
        """Whether the gate's proxy would let this write pass."""
        effect = PLACES.get(place)
        if effect != WRITE:
            return effect in self.effects and function is None and component is None
        names, inside = self.resources.get("functions", []), self.resources.get("components", [])
        called = isinstance(function, str) and (names is None or function in names or function in HELPERS)
        if component is None:
            return effect in self.effects and called and (not inside or "" in inside)
        return effect in self.effects and called and (inside is None or (_is_text(component) and component in inside))


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


@dataclass
class Recent:
    """Digests of the bundle in force (None: none is), and of those that were until just now."""

    bundle: Bundle | None = None
    before: list[tuple[str | None, int]] = field(default_factory=list)
    told: int = 0

    def tell(self, bundle: Bundle | None, now_ms: int) -> None:
        """An event was written while `bundle` was in force."""
        if bundle is not self.bundle:
            self.before.append((_digest(self.bundle), self.told))
            self.bundle = bundle
        self.told = now_ms

    def digests(self, since_ms: int = 0) -> list[str | None]:
        """Those under which what is on record now may have been decided; those only that were in force after that."""
        late = (one for one, until in self.before if self.told - until <= LOOKED_UP_MS and until > since_ms)
        return [_digest(self.bundle), *late]


def _digest(bundle: Bundle | None) -> str | None:
    return None if bundle is None else bundle.digest


@dataclass
class Grants:
    """Takes the events of one ledger in order. An event that does not hold counts for nothing."""

    requests: dict[str, Request] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    nonces: set[str] = field(default_factory=set)
    runs: dict[str, Run] = field(default_factory=dict)
    recent: Recent = field(default_factory=Recent)
    believed: bool = False
    heads: dict[str, int] = field(default_factory=dict)

    def take(
        self, ledger_id: str | None, bundle: Bundle | None, kind: str, body: dict[str, Any], own_hash: str
    ) -> str | None:
        """What is wrong with this event as one of a request, a grant or a run under it."""
        reason = None
        self.recent.tell(bundle, milliseconds(body["time"]))
        try:
            if kind == "decision":
                self._decision(body)
            elif kind == "outcome":
                self._outcome(body)
            elif kind in CHECKS and bundle is None:
                reason = "no bundle was in force"
            elif kind in CHECKS and bundle is not None:
                CHECKS[kind](Event(self, bundle, ledger_id or "", body, milliseconds(body["time"])))
        except Wrong as error:
            reason = str(error)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            reason = f"no {kind} like it can stand here"
        self.heads[own_hash] = body["seq"]
        return reason

    def _decision(self, body: dict[str, Any]) -> None:
        if body.get("runs") is not True:
            return
        decided = body["object"]
        if (decided["verdict"], decided["id"]) != ("allow", body["id"]):
            raise Wrong("it let something run that it did not allow")
        if decided["bundle"] not in self.recent.digests():
            raise Wrong("no such bundle was in force")
        if decided["grant"] is None:
            self._take_no_grant(decided)
            return
        grant = self.grants.get(decided["grant"])
        if grant is None or decided["bundle"] is None or not _is_about(grant, body, decided):
            raise Wrong("it was let through by a grant that did not give it")
        self.runs[body["id"]] = Run(decided["grant"], decided["intent"]["effects"], decided["intent"]["resources"])

    def _take_no_grant(self, decided: dict[str, Any]) -> None:
        where = decided["target"]
        if decided["bundle"] is None and where is not None:
            named = where["deployment"], where["class"], where["url"]
            if named not in ((own, own, None) for own in ("anonymous", "local")):
                raise Wrong("the deployment is not registered")
        self.believed = True

    def _outcome(self, body: dict[str, Any]) -> None:
        run = self.runs.pop(body["decision"], None)
        if run is None or "counts" not in body:
            return
        writes = body["counts"]["writes"]
        if type(writes) is not int or not 0 <= writes <= run.writes:
            raise Wrong("it says that more was written than is on record")


def _is_about(grant: Grant, body: dict[str, Any], decided: dict[str, Any]) -> bool:
    if grant.state and milliseconds(body["time"]) - grant.ended_ms > LOOKED_UP_MS:
        return False
    asked, ask = grant.request.members, grant.ask
    who, where, what = decided["principal"], decided["target"], decided["intent"]
    said = [who["id"], who["owner"], body["uid"], where["deployment"], where["url"]]
    given = [asked["requester"], asked["owner"], asked["uid"], ask["deployment"], ask["origin"]]
    return said == given and covers(ask, what["effects"], what["resources"])


@dataclass
class Event:
    """One event, and what it is held against."""

    book: Grants
    bundle: Bundle
    ledger_id: str
    body: dict[str, Any]
    now_ms: int

    def about(self, subject: str) -> None:
        """Hold that it is found by what it is about."""
        named = (self.body.get(name) for name in ("subject", "decision", "id", "digest"))
        if next((name for name in named if isinstance(name, str)), None) != subject:
            raise Wrong("it is filed under something else")

    def says(self, **members: Any) -> None:
        """Hold that it has these members."""
        if text_of({name: self.body[name] for name in members}) != text_of(members):
            raise Wrong("it says something else than what was asked for, signed or charged")

    def request(self) -> Request:
        """The pending request that it names, which was in time."""
        request = self.book.requests[self.body["request"]]
        self.about(request.members["id"])
        if not request.pending or request.lapsed(self.now_ms - APART_MS):
            raise Wrong("the request was decided or had lapsed")
        return request

    def grant(self) -> Grant:
        """The grant that it names."""
        self.about(self.body["grant"])
        return self.book.grants[self.body["grant"]]

    def unsigned(self) -> None:
        """Hold that it uses no nonce up: that takes a signature."""
        if self.body.get("nonce") is not None:
            raise Wrong("a nonce without a signature")

    def clocks(self) -> list[Clock]:
        """The event's own time, and the latest that its decision may have been before it."""
        boot, since = self.body["boot"], self.body["boot_ms"]
        if not isinstance(boot, str) or type(since) is not int:
            raise Wrong("it has no time since boot")
        return [Clock(self.now_ms - apart, boot, since) for apart in (0, APART_MS)]

    def signature(self, keys: tuple[str, ...], at_ms: int) -> tuple[dict[str, str], str, bytes, bool]:
        """What was signed, by whom, with which key and whether it was touched. Raises Wrong."""
        said = fields_of(self.body["statement"], keys)
        armored = self.body["signature"].encode("ascii")
        key = signing_key(armored)
        signer = self.bundle.approvers.get(key)
        if signer is None or not signer.may(APPROVES, at_ms):
            raise Wrong("it is signed with a key that is not listed for approvals")
        if not holds(armored, self.body["statement"].encode("ascii"), key, APPROVES):
            raise Wrong("the signature does not hold")
        return said, signer.person, key, touched(armored)

    def moment(self, said: dict[str, str], since: int, at_ms: int) -> None:
        """Hold that a statement is about this ledger as it was since event `since`, and used in time and once."""
        head = self.book.heads.get(plain(said["head"]), 0)
        if (plain(said["ledger"]), plain(said["bundle"])) != (self.ledger_id, self.bundle.digest) or head < since:
            raise Wrong("it was signed for another ledger, bundle or history")
        if at_ms > milliseconds(said["sign-by"]) or plain(said["nonce"]) in self.book.nonces:
            raise Wrong("it came after the time that it names, or was used before")
        self.says(nonce=plain(said["nonce"]))

    def objection(self, kind: str, subject: str) -> None:
        """Hold a signed denial or revocation against its signature."""
        at_ms = self.now_ms
        if at_ms - APART_MS <= milliseconds(fields_of(self.body["statement"], OBJECTION)["sign-by"]) < at_ms:
            at_ms -= APART_MS
        said, signer, _, _ = self.signature(OBJECTION, at_ms)
        if (said["kind"], plain(said["subject"])) != (kind, subject):
            raise Wrong("it is about something else")
        self.moment(said, 1, at_ms)
        self.says(by=signer, reason=plain(said["reason"]))


def _made(event: Event) -> None:
    members = event.body["request"]
    request = Request(_checked_request(members), event.body["seq"])
    event.says(id=members["id"], digest=request.digest)
    event.about(members["id"])
    if members["id"] in event.book.requests or abs(event.now_ms - members["time_ms"]) > APART_MS:
        raise Wrong("the request was made before, or at another time")
    if members["bundle"] != event.bundle.digest:
        raise Wrong("the request names another bundle than the one in force")
    if (members["owner"], members["excluded"]) != _behind(members, event.bundle):
        raise Wrong("the request names other persons behind it than the bundle in force")
    where = event.bundle.listed("deployments").get(members["ask"]["deployment"], {})
    if where.get("url") != [members["ask"]["origin"]]:
        raise Wrong("the deployment is not registered, or at another address")
    _insist_on_account(members, members["ask"])
    _insist_on_bounds(event.book, members)
    event.book.requests[members["id"]] = request


def _checked_request(members: dict[str, Any]) -> dict[str, Any]:
    needs = members["needs"]
    ask = checked_ask(members["ask"])
    texts = [members[name] for name in WORDS]
    shaped = set(members) == REQUEST and set(needs) == NEEDS and isinstance(members["excluded"], list)
    if not shaped or not all(isinstance(text, str) for text in texts):
        raise Wrong("a request of another form")
    if type(members["uid"]) is not int or type(members["time_ms"]) is not int:
        raise Wrong("a request of another form")
    for block in needs["approvals"]:
        if type(block["count"]) is not int or not isinstance(block["from"], list) or not isinstance(block["not"], list):
            raise Wrong("a request of another form")
    return {**members, "ask": ask}


def _behind(members: dict[str, Any], bundle: Bundle) -> tuple[str, list[str]]:
    """Owner and excluded persons, as the bundle has them."""
    people, mapped = bundle.listed("principals"), _mapped(members["uid"], bundle)
    person = mapped[0] if mapped else ""
    named = members["requester"]
    if not PRINCIPAL.fullmatch(named) or (named.startswith("human:") and named != person):
        raise Wrong("a claim to be a person that nothing backs")
    return (people.get(named, {}).get("owner") or [person])[0], mapped


def _mapped(uid: int, bundle: Bundle) -> list[str]:
    return sorted(name for name, one in bundle.listed("principals").items() if str(uid) in one.get("uids", []))


def _insist_on_account(members: dict[str, Any], ask: dict[str, Any]) -> None:
    """Hold that change control is met, as far as the request's own record says; the ticket's form is not looked at."""
    needs = members["needs"]
    longest, most, uses = needs["ttl_max_seconds"], needs["max_uses"], ask["max_uses"]
    stated = members["requester"] != "agent:unknown" and members["owner"] and members["ticket"].strip()
    reasoned = len(" ".join(members["reason"].split())) >= max(1, needs["reason_min"])
    short = longest is None or ask["ttl_seconds"] <= longest
    few = most is None or (uses is not None and uses <= most)
    if not (stated and reasoned and members["ack_risk"] and short and few):
        raise Wrong("the request is not accounted for as its rules want")


def _insist_on_bounds(book: Grants, members: dict[str, Any]) -> None:
    theirs = [one for one in book.requests.values() if one.members["owner"] == members["owner"]]
    waiting = [one for one in theirs if one.pending and not one.lapsed(members["time_ms"])]
    times = [one.members["time_ms"] for one in theirs]
    busy = len(times) >= A_DAY_MAX and members["time_ms"] - times[-A_DAY_MAX] < DAY_MS
    if len(waiting) >= PENDING_MAX or busy or len(text_of(members)) > BYTES_MAX:
        raise Wrong("its owner has more requests, or larger ones, than are taken")


def _given(event: Event) -> None:
    at_ms = event.body["at_ms"]
    if type(at_ms) is not int or abs(event.now_ms - at_ms) > APART_MS:
        raise Wrong("it was taken at another time")
    request = event.request()
    if request.lapsed(at_ms):
        raise Wrong("the request had lapsed")
    said, signer, key, hand = event.signature(APPROVAL, at_ms)
    asked = request.members
    named = (said["kind"], *(plain(said[name]) for name in ("request", "request-digest", "requester", "owner")))
    if named != ("approve", asked["id"], request.digest, asked["requester"], asked["owner"]):
        raise Wrong("it is about another request")
    event.moment(said, request.seq, at_ms)
    ask = ask_of(said)
    if not within(ask, asked["ask"]):
        raise Wrong("it permits more than what was asked for")
    one = Given(plain(said["nonce"]), event.bundle.digest, ask, signer, key, hand)
    blocks = _blocks(request, event.bundle)
    if blocks is None:
        _insist_on_other_person(request, signer, event.bundle)
    elif not any(_counts(one, block, request, event.bundle) for block in blocks):
        raise Wrong("it is an approval of somebody who is not asked, or without a touch")
    elif _agreed([*_counting(request, event.bundle, blocks), one]) is None:
        raise Wrong("it has nothing in common with the approvals before it")
    event.says(signer=signer, touched=hand, single_person=signer == asked["owner"])
    request.given.append(one)
    event.book.nonces.add(one.nonce)


def _blocks(request: Request, bundle: Bundle) -> list[dict[str, Any]] | None:
    """Whose approvals the request's record asks for; None where the bundle has changed since."""
    if request.members["bundle"] != bundle.digest:
        return None
    return request.members["needs"]["approvals"] or [ANYBODY]


def _insist_on_other_person(request: Request, signer: str, bundle: Bundle) -> None:
    if signer in _people_behind(request, bundle):
        raise Wrong("it is an approval of somebody who is behind the request")


def _people_behind(request: Request, bundle: Bundle) -> set[str]:
    """Who asks: as the request says, and as the bundle maps its system user, which may be a later one."""
    mapped = _mapped(request.members["uid"], bundle)
    return {request.members["requester"], *request.members["excluded"], *mapped}


def _counts(one: Given, block: dict[str, Any], request: Request, bundle: Bundle) -> bool:
    people = bundle.listed("principals")
    owner = [request.members["owner"]] if "owner" in block["not"] else []
    if one.signer not in people or one.signer in {*_people_behind(request, bundle), *owner}:
        return False
    ids = (one.signer, *(f"group:{group}" for group in people[one.signer].get("groups", [])))
    return (one.touched or not block["touch"]) and any(_matches(item, id_) for item in block["from"] for id_ in ids)


def _matches(pattern: str, text: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, re.split(r"\*+", pattern))), text, re.DOTALL) is not None


def _counting(request: Request, bundle: Bundle, blocks: list[dict[str, Any]]) -> list[Given]:
    given = [one for one in request.given if one.bundle == bundle.digest]
    return [one for one in given if any(_counts(one, block, request, bundle) for block in blocks)]


def _agreed(given: list[Given]) -> dict[str, Any] | None:
    ask = given[0].ask if given else None
    for one in given[1:]:
        ask = both(one.ask, ask)
    return ask


def _granted(event: Event) -> None:
    request = event.book.requests[event.body["request"]]
    event.about(event.body["id"])
    if not request.pending or request.lapsed(event.now_ms - APART_MS) or event.body["id"] in event.book.grants:
        raise Wrong("the request was decided or had lapsed")
    blocks = _blocks(request, event.bundle)
    if blocks is None:
        given = [
            one for one in request.given if one.bundle == event.bundle.digest and one.nonce in event.body["approvals"]
        ]
    else:
        given = _counting(request, event.bundle, blocks)
    ask = _agreed(given)
    if ask is None or not all(_is_met(given, block, request, event.bundle) for block in blocks or []):
        raise Wrong("its approvals are not enough")
    event.says(ask=ask, approvals=[one.nonce for one in given])
    request.pending = False
    event.book.grants[event.body["id"]] = Grant(request, ask, event.clocks()[0], event.bundle.digest)


def _is_met(given: list[Given], block: dict[str, Any], request: Request, bundle: Bundle) -> bool:
    counting = [one for one in given if _counts(one, block, request, bundle)]
    distinct = min(len({one.signer for one in counting}), len({one.key for one in counting}))
    return distinct >= max(1, int(block["count"]))


def _denied(event: Event) -> None:
    request = event.request()
    event.objection("deny", request.members["id"])
    request.pending = False
    event.book.nonces.add(event.body["nonce"])


def _cancelled(event: Event) -> None:
    request = event.request()
    event.unsigned()
    event.says(by=request.members["requester"])
    request.pending = False


def _lapsed(event: Event) -> None:
    request = event.book.requests[event.body["request"]]
    event.about(request.members["id"])
    event.unsigned()
    changed = request.members["bundle"] != event.bundle.digest
    due = {"lapsed": request.lapsed(event.now_ms), "bundle_changed": changed}[event.body["why"]]
    if not request.pending or not due:
        raise Wrong("the request did not lapse")
    request.pending = False


def _paid(event: Event) -> tuple[Grant, Run]:
    """The grant that the event is charged to, and the run that it lets through."""
    grant, run = event.grant(), event.book.runs.get(event.body["decision"])
    if run is None or run.grant != event.body["grant"]:
        raise Wrong("no decision lets anything run under this grant")
    if not any(grant.permits(now) for now in event.clocks()):
        raise Wrong("the grant had ended")
    return grant, run


def _charge(event: Event, grant: Grant) -> None:
    if grant.spent:
        raise Wrong("every use of the grant was charged")
    event.says(use=grant.used + 1)
    grant.used += 1
    grant.first = grant.first or event.clocks()[0]
    grant.payers[grant.used] = event.body["decision"]


def _used(event: Event) -> None:
    _charge(event, _paid(event)[0])


def _wrote(event: Event) -> None:
    (grant, run), number = _paid(event), event.body["use"]
    if not re.fullmatch(r"[0-9a-f]{64}", event.body["sha256"]):
        raise Wrong("it does not say what was written")
    if not run.gives(*(event.body[name] for name in ("place", "function", "component"))):
        raise Wrong("it is a write that the decision did not let through")
    if number not in grant.payers:
        _charge(event, grant)
    elif type(number) is not int or grant.payers[number] != event.body["decision"]:
        raise Wrong("the use that pays for it was charged to another decision")
    run.writes += 1


def _ended(event: Event) -> None:
    grant, why = event.grant(), event.body["why"]
    if grant.state or why not in ENDS:
        raise Wrong("the grant had ended, or ends in no such way")
    if "signature" in event.body:
        event.says(why="revoked")
        event.objection("revoke", event.body["grant"])
        event.book.nonces.add(event.body["nonce"])
    else:
        event.unsigned()
        _insist_on_ender(grant, why, event.body["by"])
        _insist_on_cause(event, grant, why)
    grant.state, grant.ended_ms = why, event.now_ms


def _insist_on_ender(grant: Grant, why: str, by: str) -> None:
    asked = grant.request.members
    enders = {"revoked": ("gate", asked["requester"], asked["owner"]), "dropped": (asked["requester"],)}
    if by not in enders.get(why, ("gate",)):
        raise Wrong("it was ended by somebody who cannot end it without a signature")


def _insist_on_cause(event: Event, grant: Grant, why: str) -> None:
    """Hold that the grant has come to an end that nobody asked for. Whether it fell with a bundle the rules say."""
    came = {
        "exhausted": grant.spent,
        "expired": grant.left(Clock(event.now_ms + APART_MS, "", 0)) <= 0,
        "bundle_changed": any(digest != grant.bundle for digest in event.book.recent.digests(grant.made.wall)),
    }
    if not came.get(why, True):
        raise Wrong("the grant had not come to this end")


def _moves(to: str) -> Callable[[Event], None]:
    def check(event: Event) -> None:
        grant = event.grant()
        if to not in AFTER.get(grant.state, ()):
            raise Wrong(f"the grant does not become {to}")
        if to == "cut_failed" and not _is_text(event.body["why"]):
            raise Wrong("an alarm for no reason")
        if to == "closed" and not _is_latency(event.body["latency_ms"], event.now_ms - grant.made.wall):
            raise Wrong("it does not say how long the cut took")
        grant.state = to

    return check


def _is_latency(value: Any, age: int) -> bool:
    """Whether a cut may have taken this long, in milliseconds, when the grant is that old."""
    return type(value) is int and 0 <= value <= age + CLOCK_SET_MS


CHECKS: dict[str, Callable[[Event], None]] = {
    "request.made": _made,
    "approval.given": _given,
    "request.denied": _denied,
    "request.cancelled": _cancelled,
    "request.lapsed": _lapsed,
    "grant.made": _granted,
    "grant.used": _used,
    "grant.write": _wrote,
    "grant.ended": _ended,
    "grant.closing": _moves("closing"),
    "grant.closed": _moves("closed"),
    "grant.cut_failed": _moves("cut_failed"),
}


# --- the whole


def verify(lines: Iterable[bytes], signers: bytes | None = None, head: str | None = None) -> Report:
    """Verify the lines of an export, read one at a time."""
    try:
        activations = Activations(None if signers is None else signers_of(signers))
    except Wrong as error:
        return Report(FINDINGS, [f"your signers file: {error}"], [], 0, None, None)
    chain, order, grants = Chain(), Order(), Grants()
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
            findings += _reasons(number, grants.take(order.ledger_id, activations.before, kind, body, chain.head))
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
    return Report(status, findings + doubts, _notes(activations, grants), chain.seq, last, order.ledger_id)


def _reasons(number: int, reason: str | None) -> Iterator[str]:
    if reason is not None:
        yield f"event {number} does not hold: {reason}"


def _notes(activations: Activations, grants: Grants) -> list[str]:
    notes = []
    if activations.count == 0:
        notes.append("no bundle was activated")
    elif activations.given is None:
        notes.append("signatures not checked against your signers (give --signers FILE)")
    if grants.requests or grants.believed:
        notes.append(
            "the rules of the policies were not evaluated: needs of requests, runs that took no grant and grants that "
            "fell are as recorded"
        )
    return notes


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
