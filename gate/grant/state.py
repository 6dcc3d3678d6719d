"""State: requests and grants as they stand, with the indexes to find them by. Takes each change whole or not at all.

Every method that changes raises ValueError or KeyError for a change that cannot be, before anything has changed.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gate.grant.approval import Given
from gate.grant.event import Moment
from gate.grant.grant import ACTIVE, ENDS, SCHEDULED, Grant
from gate.grant.request import APPROVED, PENDING, Request
from gate.grant.scope import Ask


@dataclass(slots=True)
class State:
    """`nonces`: of every signature ever taken. `given`: approvals by request, oldest first.

    `pending`: ids of pending requests by owner. `times`: when each owner asked. `open`: ids of grants that have not
    ended, by principal and deployment. `grant_of`: the grant of each approved request.
    """

    requests: dict[str, Request] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    nonces: set[str] = field(default_factory=set)
    given: dict[str, tuple[Given, ...]] = field(default_factory=dict)
    pending: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    times: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    open: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    grant_of: dict[str, str] = field(default_factory=dict)

    def add_request(self, request: Request) -> None:
        """Take a new request."""
        if request.id in self.requests:
            raise ValueError("a request of this id was made before")
        self.requests[request.id] = request
        self.pending[request.owner].add(request.id)
        self.times[request.owner].append(request.time_ms)

    def add_given(self, one: Given) -> None:
        """Take an approval of a pending request; its nonce is used now."""
        request = self.requests[one.stated.request]
        if request.state != PENDING:
            raise ValueError("the request is not pending")
        self._use(one.stated.nonce)
        self.given[request.id] = (*self.given.get(request.id, ()), one)

    def end_request(self, request_id: str, state: str, nonce: str | None) -> None:
        """Let a pending request end in `state`; `nonce`: of the signature that ended it."""
        request = self.requests[request_id].moved(state)
        self._use(nonce)
        self.requests[request.id] = request
        self.pending[request.owner].discard(request.id)

    def add_grant(self, grant_id: str, request_id: str, ask: Ask, nonces: Sequence[str], made: Moment) -> None:
        """Let a pending request become a grant, by the approvals with these nonces."""
        if grant_id in self.grants:
            raise ValueError("a grant of this id was made before")
        by_nonce = {one.stated.nonce: one for one in self.given.get(request_id, ())}
        given = tuple(by_nonce[nonce] for nonce in nonces)
        request = self.requests[request_id]
        grant = Grant(grant_id, request.id, request.requester, request.owner, request.uid, ask, given, made)
        self.end_request(request_id, APPROVED, None)
        self.grants[grant.id] = grant
        self.grant_of[request.id] = grant.id
        self.open[grant.requester, ask.deployment].add(grant.id)

    def use(self, grant_id: str, number: int, at: Moment) -> None:
        """Charge the use of that `number`; the first one starts the grant's clock."""
        grant = self.grants[grant_id]
        if not grant.open or grant.spent or number != grant.used + 1:
            raise ValueError("there is no such use to charge")
        active = grant.moved(ACTIVE) if grant.state == SCHEDULED else grant
        self.grants[grant.id] = replace(active, first_use=grant.first_use or at, used=number)

    def write(self, grant_id: str, number: int, at: Moment) -> None:
        """Take a write that the use of that `number` pays for: one charged before, or the next, charged now."""
        grant = self.grants[grant_id]
        if not grant.open or type(number) is not int or not 1 <= number <= grant.used + 1:
            raise ValueError("there is no such use to pay for a write")
        if number > grant.used:
            self.use(grant_id, number, at)

    def end_grant(self, grant_id: str, why: str, nonce: str | None, at_ms: int) -> None:
        """Let an open grant end; `nonce`: of the signature that ended it."""
        grant = self.grants[grant_id].moved(ENDS[why])
        self._use(nonce)
        self.grants[grant.id] = replace(grant, why=why, ended_ms=at_ms)
        self.open[grant.requester, grant.ask.deployment].discard(grant.id)

    def move_grant(self, grant_id: str, state: str) -> None:
        """Let a grant that has ended go on to `state`."""
        self.grants[grant_id] = self.grants[grant_id].moved(state)

    def _use(self, nonce: str | None) -> None:
        if nonce is not None:
            if nonce in self.nonces:
                raise ValueError("a nonce stands twice")
            self.nonces.add(nonce)
