"""Book: every request and grant, as the fold of the ledger's events, indexed. Decides nothing new and writes nothing.

The events of this room; members that are not listed are the ledger's own (`seq`, `time`, `type`, `subject`).

- `request.made`: `id`, `digest`, `request` (all that the digest is over).
- `approval.given`: `request`, `nonce`, `at_ms` (when it was checked), `signer`, `touched`, `single_person`,
  `statement`, `signature`.
- `request.denied`: `request`, `by`, `reason`, `nonce`, `statement`, `signature`.
- `request.cancelled`: `request`, `by`. `request.lapsed`: `request`, `why` (`lapsed` | `bundle_changed`).
- `grant.made`: `id`, `request`, `ask`, `approvals` (their nonces), `boot`, `boot_ms`.
- `grant.used`: `grant`, `decision`, `use` (1 for the first), `boot`, `boot_ms`.
- `grant.write`: a write on production, before it is forwarded. `grant`, `decision`, `use` (the one that pays for it:
  charged before, or the next, which is charged by this), `place`, `function`, `component`, `sha256` (of what is
  forwarded, without any credential), `boot`, `boot_ms`.
- `grant.ended`: `grant`, `why` (`expired` | `revoked` | `exhausted` | `dropped` | `bundle_changed`), `by`, `reason`,
  and `nonce`, `statement`, `signature` where a signature ended it.
- `grant.closing`: `grant`. `grant.closed`: `grant`, `latency_ms`. `grant.cut_failed`: `grant`, `why`.

An event that cannot follow on those before it means that somebody else wrote the ledger.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from gate.audit import canonical
from gate.audit.chain import Entry, tampered
from gate.config.bundle import Bundle
from gate.errors import GateError
from gate.grant import proof
from gate.grant.approval import Given, History
from gate.grant.event import Moment
from gate.grant.fold import TAKES
from gate.grant.grant import Grant
from gate.grant.request import A_DAY_MAX, DAY_MS, Request
from gate.grant.scope import Ask, Names, covers
from gate.grant.state import State
from gate.identity.caller import Caller
from gate.policy.verdict import Needs
from gate.target.target import Target

# The types of events that a book is made of.
EVENTS = tuple(TAKES)


@dataclass(slots=True)
class Book:
    """What stands as of the last event applied. `barred`: grants that permit nothing, whatever is on record yet."""

    state: State = field(default_factory=State)
    barred: set[str] = field(default_factory=set)
    _seq: int = 0

    @classmethod
    def replay(cls, entries: Iterable[Entry]) -> Self:
        """The book of a ledger, from its events in any order (they may have been read type by type).

        Raises LedgerError `ledger_tampered` at an event that cannot follow on those before it.
        """
        book = cls()
        for entry in sorted(entries, key=lambda entry: entry.seq):
            book.apply(entry)
        return book

    def apply(self, entry: Entry) -> None:
        """Take one more event, behind all others; events of other rooms change nothing.

        Raises LedgerError `ledger_tampered`, and has changed nothing then.
        """
        if entry.seq <= self._seq:
            raise tampered(entry.seq, "it was taken before")
        take = TAKES.get(entry.type)
        if take is not None:
            try:
                take(self.state, entry, canonical.decode(entry.body))
            except (ValueError, KeyError, TypeError, AttributeError, GateError) as error:
                raise tampered(entry.seq, f"no {entry.type} like it can stand here") from error
        self._seq = entry.seq

    def request(self, request_id: str) -> Request:
        """The request of that id. Raises GateError `usage` when there is none."""
        found = self.state.requests.get(request_id)
        if found is None:
            raise GateError("usage", "there is no such request", remedy="`gate requests --all` lists them.")
        return found

    def grant(self, grant_id: str) -> Grant:
        """The grant of that id. Raises GateError `usage` when there is none."""
        found = self.state.grants.get(grant_id)
        if found is None:
            raise GateError("usage", "there is no such grant", remedy="`gate grants --all` lists them.")
        return found

    def given(self, request_id: str) -> tuple[Given, ...]:
        """The approvals of a request, oldest first."""
        return self.state.given.get(request_id, ())

    def pending_of(self, owner: str, now_ms: int) -> list[Request]:
        """Requests of `owner` that wait for an answer, by id."""
        waiting = (self.state.requests[id_] for id_ in sorted(self.state.pending.get(owner, ())))
        return [request for request in waiting if not request.lapsed(now_ms)]

    def pending(self) -> list[Request]:
        """Every request that is pending on record, lapsed or not, by id."""
        return [self.state.requests[id_] for id_ in sorted({id_ for ids in self.state.pending.values() for id_ in ids})]

    def busy_day(self, owner: str, now_ms: int) -> bool:
        """Whether `owner` has made as many requests within 24 hours as are taken."""
        times = self.state.times.get(owner, ())
        return len(times) >= A_DAY_MAX and now_ms - times[-A_DAY_MAX] < DAY_MS

    def open_grants(self) -> list[Grant]:
        """Every grant that has not ended on record, by id."""
        return [self.state.grants[id_] for id_ in sorted({id_ for ids in self.state.open.values() for id_ in ids})]

    def live_for(self, principal: str, deployment: str, now: Moment) -> list[Grant]:
        """Grants that permit `principal` something on `deployment` now: the first to end first, then the lowest id.

        Looks at open grants of this principal on this deployment only, however many others there are.
        """
        mine = (self.state.grants[id_] for id_ in self.state.open.get((principal, deployment), ()))
        return sorted((one for one in mine if self.permits(one, now)), key=lambda one: (one.ends_ms, one.id))

    def permits(self, grant: Grant, now: Moment) -> bool:
        """Whether `grant` is live and nobody has called `bar` for it."""
        return grant.live(now) and grant.id not in self.barred

    def choose(
        self,
        caller: Caller,
        target: Target,
        effects: Iterable[str],
        resources: Mapping[str, Names],
        *,
        now: Moment,
        function: str | None = None,
        wanted: str | None = None,
    ) -> Grant | None:
        """The one grant that covers an invocation entirely and is charged for it; None when no grant does.

        Of several the one that ends first, then the lowest id (docs/contract.md); `wanted`: none but that one. A
        claim never widens: a grant is used by the system user that asked for it. Raises GateError `grant_ended` when
        the `wanted` one permits the caller nothing now.
        """
        mine = [
            grant
            for grant in self.live_for(caller.id, target.deployment, now)
            if (grant.uid, grant.owner) == (caller.uid, caller.owner) and not grant.spent and wanted in (None, grant.id)
        ]
        if wanted is not None and not mine:
            raise GateError("grant_ended", "that grant permits nothing here now", remedy="Ask for a new one.")
        every = tuple(effects)
        return next(
            (one for one in mine if one.ask.origin == target.url and covers(one.ask, every, resources, function)), None
        )

    def bar(self, grant_id: str) -> None:
        """Let a grant permit nothing from now on, before its end is on record: a revocation cuts first."""
        self.barred.add(grant_id)

    def verify_again(self, grant_id: str, bundle: Bundle, needs: Needs, ledger: History) -> Ask:
        """What the grant gives, read from the bytes that its approvers signed and verified again (`proof.stands`).

        To be called for every lease with the `needs` of its invocation, and for every open grant when a bundle is
        activated. Raises GateError `bundle_changed`, LedgerError `ledger_tampered`.
        """
        grant = self.grant(grant_id)
        return proof.stands(grant, self.request(grant.request), bundle, needs, ledger)
