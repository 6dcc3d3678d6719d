"""The open leases by what they are worth to a caller: their credential. Forwards nothing.

Only digests are looked up, and the text is compared in constant time: neither tells how near a guess was.
"""

import asyncio
import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

from gate.proxy.lease import Lease
from gate.proxy.refusal import Refused

# A lease that ended is remembered so that its caller learns why, up to this many.
_REMEMBERED = 4096
_USER = re.compile(r"[A-Za-z0-9+/=_-]{1,65536}", re.ASCII)
_UNKNOWN = "the credential is not one of a lease that this gate gave out"


@dataclass(slots=True, eq=False)
class Entry:
    """A lease and what runs under it now. `over` is set when it ends. `imports`: ids of those that it uploaded."""

    lease: Lease
    over: asyncio.Event = field(default_factory=asyncio.Event)
    exchanges: dict[asyncio.Task[Any], asyncio.Transport | None] = field(default_factory=dict)
    sockets: set[asyncio.Task[Any]] = field(default_factory=set)
    imports: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Book:
    """All leases of one proxy."""

    _entries: OrderedDict[bytes, Entry] = field(default_factory=OrderedDict)

    def add(self, lease: Lease) -> None:
        """From now on `lease` is worth its scope."""
        self._entries[_digest(lease.credential)] = Entry(lease)
        ended = [digest for digest, entry in self._entries.items() if entry.lease.ended is not None]
        for digest in ended[: max(0, len(ended) - _REMEMBERED)]:
            del self._entries[digest]

    def entry(self, lease_id: str) -> Entry | None:
        """The entry of a lease by its id."""
        return next((entry for entry in self._entries.values() if entry.lease.id == lease_id), None)

    def all(self) -> list[Entry]:
        """Every entry, ended ones included."""
        return list(self._entries.values())

    def by_credential(self, credential: str) -> Entry:
        """The entry that exactly `credential` opens, ended or not. Raises Refused."""
        entry = self._entries.get(_digest(credential))
        if entry is None or not same(entry.lease.credential, credential):
            raise Refused(_UNKNOWN)
        return entry

    def by_header(self, header: str | None) -> tuple[Entry, str | None]:
        """The entry and the user to act as out of `Convex CREDENTIAL[:USER]`. Raises Refused for anything else."""
        scheme, _, value = (header or "").partition(" ")
        if scheme != "Convex":
            raise Refused("the request carries no Convex credential; a user's own token does not pass")
        if _digest(value) in self._entries:
            return self.by_credential(value), None
        credential, _, user = value.rpartition(":")
        entry = self.by_credential(credential)
        if _USER.fullmatch(user) is None:
            raise Refused("the user to act as is malformed")
        return entry, user


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def _digest(credential: str) -> bytes:
    return hashlib.sha256(credential.encode("utf-8", "surrogatepass")).digest()
