"""What may follow what in a ledger, beyond the chain: one beginning, decision before outcome. Verifies no signature."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from gate.audit.chain import Entry

CREATED = "ledger.created"


@dataclass(slots=True)
class Grammar:
    """Takes the events of one ledger in order. `ledger_id` is None until event 1 named it."""

    ledger_id: str | None = None
    _decided: dict[str, bool] = field(default_factory=dict)

    def take(self, entry: Entry, members: Mapping[str, Any]) -> Iterator[str]:
        """What is wrong with the place of this event; the reason alone, nothing where all is well."""
        if (entry.seq == 1) != (entry.type == CREATED):
            yield "a ledger begins with its creation, once"
        elif entry.type == CREATED:
            yield from self._created(members)
        elif entry.type == "decision":
            yield from self._decision(members)
        elif entry.type == "outcome":
            yield from self._outcome(members)

    def _created(self, members: Mapping[str, Any]) -> Iterator[str]:
        named = members.get("id")
        if isinstance(named, str) and named:
            self.ledger_id = named
        else:
            yield "the ledger has no id"

    def _decision(self, members: Mapping[str, Any]) -> Iterator[str]:
        named = members.get("id")
        if not isinstance(named, str):
            yield "the decision has no id"
        elif named in self._decided:
            yield "a decision of this id was made before"
        else:
            self._decided[named] = False

    def _outcome(self, members: Mapping[str, Any]) -> Iterator[str]:
        named = members.get("decision")
        if not isinstance(named, str) or named not in self._decided:
            yield "an outcome without a decision before it"
        elif self._decided[named]:
            yield "a second outcome of one decision"
        else:
            self._decided[named] = True
