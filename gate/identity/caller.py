"""WHO asks: a claimed id met with what the kernel and the activated bundle say. Grants nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from gate.errors import GateError

UNKNOWN_AGENT = "agent:unknown"
# As gate.yaml writes it: under any other name a caller would slip past rules about `agent:*`.
_ID = re.compile(r"(?:agent|ci|human|runtime):[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Listed(Protocol):
    """What this room reads of a principal in the bundle."""

    @property
    def owner(self) -> str | None:
        """Person behind an agent."""

    @property
    def groups(self) -> tuple[str, ...]:
        """Groups that it belongs to."""

    @property
    def uids(self) -> tuple[int, ...]:
        """System users that are this person."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `proof`: `claimed`, or `peer` when the kernel's uid is mapped to this person. `owner` may be None."""

    id: str
    proof: str
    owner: str | None
    groups: frozenset[str]
    uid: int


def who(claimed: str | None, uid: int, principals: Mapping[str, Listed]) -> Caller:
    """The caller behind a claim (docs/contract.md, Caller).

    A claim never widens: an agent that the bundle does not list has no groups, and a person's id counts only when
    the bundle maps the peer's `uid` to it. Raises GateError `denied_by_rule` for any other claim to be a person, and
    for a claim that is no principal's id.
    """
    name = claimed or UNKNOWN_AGENT
    if _ID.fullmatch(name) is None:
        raise GateError(
            "denied_by_rule",
            "the claimed name is not the id of a principal",
            remedy="Call as an agent: `gate --as agent:NAME ...`.",
        )
    person = next((id_ for id_, listed in principals.items() if uid in listed.uids), None)
    if name.startswith("human:") and name != person:
        raise GateError(
            "denied_by_rule",
            "a claim to be a person counts only for the system user that the activated bundle maps to that person",
            remedy="Call as an agent (`gate --as agent:NAME ...`); people act by signing.",
        )
    listed = principals.get(name)
    if listed is None:
        return Caller(name, "claimed", person, frozenset(), uid)
    proof = "peer" if name == person else "claimed"
    return Caller(name, proof, listed.owner or person, frozenset(listed.groups), uid)
