"""Activation: the signed statement that puts a bundle in force, and who may sign it. Reads no clock and no ledger.

The keeper holds `ledger` and `head` of a statement against its own ledger; here only bundles and signatures count.
"""

import json
from base64 import b64encode
from collections.abc import Sequence

from gate.config.bundle import Bundle
from gate.errors import GateError
from gate.identity.sshsig import verify

NAMESPACE = "activate@convex-gate"

# Signatures of this many persons stand in for a root (ADR-0029: trust is changed by people, on record).
_WITHOUT_ROOT = 2


def statement(ledger_id: str, head: str, before: str | None, after: Bundle) -> bytes:
    """Write what a signer signs: put `after` in force in this ledger, at this head, in place of digest `before`.

    Canonical JSON in ASCII: sorted keys, no blanks. The first one (`before` None) names the roots and every line of
    the signers file as well: it is the genesis, and nothing before it says who they are.
    """
    members: dict[str, object] = {
        "gate": 1,
        "kind": "activation",
        "ledger": ledger_id,
        "head": head,
        "previous": before,
        "bundle": after.digest,
        "project": after.document.project,
    }
    if before is None:
        members["roots"] = sorted(after.document.roots)
        members["signers"] = [
            f"{entry.principal} {entry.key_type} {b64encode(entry.key).decode('ascii')}"
            for entry in after.signers.entries
        ]
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode("ascii")


def check_activation(
    signed: bytes, signatures: Sequence[bytes], before: Bundle | None, after: Bundle, *, at_ms: int
) -> tuple[str, ...]:
    """Return the ids of the persons whose `signatures` put `after` in force in place of `before`.

    The genesis takes a root of `after`; every later change a root of `before` or two distinct signers of `before`.
    Raises GateError `bundle_changed` when `signed` is not the statement about these two bundles, `bad_signature` when
    a signature does not hold, `not_a_signer` when the signers are not enough, or were not listed at `at_ms`.
    """
    _insist_on_statement(signed, before, after)
    trusted = after if before is None else before
    persons = tuple(dict.fromkeys(_signer(signed, armored, trusted, at_ms) for armored in signatures))
    enough = len(persons) >= _WITHOUT_ROOT and before is not None
    if not enough and not set(persons) & set(trusted.document.roots):
        raise GateError(
            "not_a_signer",
            "the activation is signed by no root" + (" and not by two signers" if before is not None else ""),
            remedy=f"Let one of {', '.join(trusted.document.roots)} sign it with `gate activate --key FILE`.",
        )
    return persons


def _signer(signed: bytes, armored: bytes, trusted: Bundle, at_ms: int) -> str:
    signature = verify(armored, signed, NAMESPACE)
    person = trusted.signers.who(signature.key, NAMESPACE, at_ms)
    if person is None:
        raise GateError(
            "not_a_signer",
            "the activation is signed with a key that the signers file does not list for it",
            remedy="Sign with a key of the signers file that is in force.",
        )
    return person


def _insist_on_statement(signed: bytes, before: Bundle | None, after: Bundle) -> None:
    """Write the statement again from its own ledger and head: one spelling, nothing added, nothing left out."""
    try:
        members = json.loads(signed)
        ledger, head = members["ledger"], members["head"]
        again: bytes | None = statement(str(ledger), str(head), None if before is None else before.digest, after)
    except (ValueError, TypeError, KeyError, RecursionError):
        again = None
    if again != signed:
        raise GateError(
            "bundle_changed",
            "the signed statement is not about these two bundles",
            remedy="Run `gate activate` again: the files or the bundle in force changed since.",
        )
