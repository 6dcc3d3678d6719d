"""The activations in a ledger, held against signatures alone: a row with a correct link is not a signature."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gate.audit.chain import BEGINNING, Entry, milliseconds
from gate.config.activation import NAMESPACE, check_activation
from gate.config.bundle import Bundle, load_bundle
from gate.errors import GateError
from gate.identity.signers import Signers
from gate.identity.sshsig import verify

ACTIVATED = "bundle.activated"


def parts_of(members: Mapping[str, Any]) -> tuple[Bundle, bytes, list[bytes]]:
    """Bundle, statement and signatures out of the members of an activation's event.

    Raises ConfigInvalid for a bundle that does not hold, and KeyError, TypeError, AttributeError or UnicodeError for
    members of another shape.
    """
    bundle = load_bundle({path: text.encode() for path, text in members["files"].items()})
    signatures = [text.encode("ascii") for text in members["signatures"]]
    return bundle, members["statement"].encode("ascii"), signatures


@dataclass(slots=True)
class Activations:
    """Takes the events of one ledger in order.

    `given`: signers that the reader trusts from elsewhere; the first activation has to be theirs. Every later one is
    held against the bundle before it.
    """

    given: Signers | None
    count: int = 0
    _before: Bundle | None = None
    _heads: set[str] = field(default_factory=lambda: {BEGINNING})

    def take(self, ledger_id: str | None, entry: Entry, members: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong with this event as an activation; the reason alone, nothing where all is well."""
        if entry.type == ACTIVATED:
            try:
                yield from self._activation(ledger_id, entry, members)
            except (KeyError, TypeError, AttributeError, UnicodeError):
                yield "an activation without its statement, signatures and files"
            except GateError as error:
                yield error.message
            # A statement counts once: the next has to name an event from here on.
            self._heads.clear()
        self._heads.add(entry.hash)

    def _activation(self, ledger_id: str | None, entry: Entry, members: Mapping[str, Any]) -> Iterator[str]:
        bundle, signed, signatures = parts_of(members)
        who = check_activation(signed, signatures, self._before, bundle, at_ms=milliseconds(entry.time))
        if (members["digest"], members["signers"]) != (bundle.digest, list(who)):
            yield "the event names another digest or other signers than the signed statement"
        stated = json.loads(signed)
        if stated["ledger"] != ledger_id or stated["head"] not in self._heads:
            yield "the statement was signed for another ledger or another moment of it"
        if self._before is None and self.given is not None and not _is_theirs(self.given, bundle, signed, signatures):
            yield "the first activation is signed by no root whose key is in your signers file"
        self._before = bundle
        self.count += 1


def _is_theirs(given: Signers, bundle: Bundle, signed: bytes, signatures: list[bytes]) -> bool:
    keys = [verify(armored, signed, NAMESPACE).key for armored in signatures]
    persons = {given.who(key, NAMESPACE) for key in keys if given.who(key) == bundle.signers.who(key)}
    return not persons.isdisjoint(bundle.document.roots)
