"""How much of a deployment's data an answer carries, in rows. Reads no stream and stops nothing."""

from collections.abc import Mapping
from typing import Any

from gate.proxy.lease import Counts


def rows(value: Any) -> int:
    """Rows in the result of a function: of a list or a page its length, else one, and none for null."""
    if isinstance(value, Mapping) and isinstance(value.get("page"), list):
        value = value["page"]
    if isinstance(value, list):
        return len(value)
    return 0 if value is None else 1


def count_answer(counts: Counts, answer: object) -> None:
    """Count the answer of a function route; None is one that could not be read."""
    if not isinstance(answer, Mapping) or answer.get("status") not in ("success", "error"):
        counts.rows_unknown = True
    elif answer["status"] == "success":
        counts.rows += rows(answer.get("value"))


def count_message(counts: Counts, message: Mapping[str, Any]) -> None:
    """Count a message of the sync protocol: a transition with the results in it, or the result of a call."""
    if message.get("type") == "Transition":
        counts.transitions += 1
        changes = message.get("modifications")
        counts.rows += sum(map(_updated, changes if isinstance(changes, list) else ()))
    elif message.get("success") is True:
        counts.rows += rows(message.get("result"))


def _updated(change: object) -> int:
    return rows(change.get("value")) if isinstance(change, Mapping) and change.get("type") == "QueryUpdated" else 0
