"""The bundle that counts: read back from the ledger, its signatures checked again, met with the pinned trust."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gate.audit.activations import ACTIVATED, parts_of
from gate.audit.chain import Entry, milliseconds
from gate.audit.ledger import Ledger
from gate.config.activation import check_activation
from gate.config.bundle import Bundle
from gate.errors import GateError, LedgerError
from gate.policy.load import load_rules, shipped_rules
from gate.policy.rules import RuleSet


@dataclass(frozen=True, slots=True)
class Active:
    """What is in force.

    `bundle` is None before the first activation, when the shipped rules hold and nothing is registered.
    `genesis` is the hash of the first activation's event; `signers`, `at` and `seq` are of the last one.
    """

    bundle: Bundle | None
    rules: RuleSet
    genesis: str | None = None
    signers: tuple[str, ...] = ()
    at: str | None = None
    seq: int = 1


def activation_members(
    bundle: Bundle, statement: bytes, signatures: Iterable[str], who: Iterable[str]
) -> dict[str, Any]:
    """Members of the event that records an activation: the signed text, its signatures and the very files."""
    return {
        "digest": bundle.digest,
        "statement": statement.decode("ascii"),
        "signatures": list(signatures),
        "signers": list(who),
        "files": {path: data.decode("utf-8") for path, data in bundle.files.items()},
    }


def read_active(ledger: Ledger) -> Active:
    """Replay the `bundle.activated` events of `ledger`, oldest first.

    Each statement is verified again with the signers that were in force before it, and has to name this ledger and an
    event since the activation before. Raises LedgerError `ledger_tampered` when one does not hold: a row with a
    correct chain is not a signature.
    """
    active = Active(None, shipped_rules())
    for entry in ledger.read(type=ACTIVATED):
        try:
            active = _next(active, entry, ledger)
        except (GateError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LedgerError(
                "ledger_tampered",
                f"the activation at event {entry.seq} does not hold",
                remedy="Run `gate audit verify`, then restore the ledger (docs/operations.md).",
            ) from error
    return active


def stands(signed: bytes, ledger: Ledger, since: int) -> bool:
    """Whether a statement is about `ledger` as it was at event number `since` or later: it counts once."""
    stated = json.loads(signed)
    seq = ledger.seq_of(str(stated["head"]))
    return stated["ledger"] == ledger.id and seq is not None and seq >= since


def _next(active: Active, entry: Entry, ledger: Ledger) -> Active:
    """What is in force after the activation `entry`. Raises GateError, or what malformed members raise."""
    members: Mapping[str, Any] = json.loads(entry.body)
    bundle, signed, signatures = parts_of(members)
    who = check_activation(signed, signatures, active.bundle, bundle, at_ms=milliseconds(entry.time))
    if not stands(signed, ledger, active.seq):
        raise GateError("bundle_changed", "the statement is about another ledger or moment", remedy="Sign anew.")
    return Active(bundle, load_rules(bundle), active.genesis or entry.hash, tuple(who), entry.time, entry.seq)
