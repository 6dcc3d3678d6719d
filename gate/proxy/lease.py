"""The nouns between a decision and a run: Scope and Lease, and Leave where a grant is needed. Forwards nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Scope:
    """What one lease may do, never more than the invocation it was opened for.

    `effects`: Convex's role actions it may use. `command`: the Convex command it serves (routes are listed per effect
    and command). `functions`: canonical paths of the user's functions it may call; None: any. `kinds`: of those
    functions (`query`, `mutation`, `action`, and `internal ...`); None: any, so nothing has to be looked up.
    `tables`, `variables`, `components`: names; None: any. `acts_as_user`: may carry a user after the key.
    """

    effects: frozenset[str]
    command: str
    functions: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    tables: frozenset[str] | None = None
    variables: frozenset[str] | None = None
    components: frozenset[str] | None = None
    acts_as_user: bool = False


@dataclass(frozen=True, slots=True)
class Upstream:
    """The deployment behind a lease. `key` is the real credential: it is never printed, logged or sent elsewhere."""

    url: str
    name: str | None
    cls: str
    key: str = field(repr=False)
    ca: str | None = None
    team: str | None = None
    slug: str | None = None
    reference: str | None = None


@dataclass(slots=True)
class Counts:
    """What went through a lease: forwarded requests by kind, refusals, and bytes of responses.

    Under a leave also `rows` of function results and `transitions` of watched queries. `rows_unknown`: there were
    answers that could not be counted, because they were too large, broke off or were not understood.
    """

    reads: int = 0
    writes: int = 0
    refused: int = 0
    bytes_out: int = 0
    rows: int = 0
    transitions: int = 0
    rows_unknown: bool = False


@dataclass(frozen=True, slots=True)
class Passing:
    """One write or call that is about to be forwarded.

    `place`: `POST /api/function`, or `WS Query`, `WS Mutation`, `WS Action` on the sync socket. `function` (canonical
    path) and `component` where one is called. `sha256`: hex digest of the JSON that is forwarded, without a credential
    (sorted keys, no spaces). `writes`: it may change data. `charges`: it costs a use (docs/contract.md, Command line).
    """

    place: str
    function: str | None
    component: str | None
    sha256: str
    writes: bool
    charges: bool


class Leave(Protocol):
    """By whose leave a lease on production passes anything; the keeper implements it."""

    def over(self) -> str | None:
        """Why nothing may pass now; None while it may.

        Asked before every request, chunk and message: cheap, and it waits for nothing.
        """

    async def use(self, passing: Passing) -> None:
        """Return when `passing` is durably on record and charged; only then it is forwarded.

        Raises Refused when nothing is left, GateError when it cannot be recorded. Is cancelled when the lease ends.
        """


@dataclass(slots=True)
class Lease:
    """A short-lived token that is worth `scope` on `upstream` and nothing else; `ended` holds why it is worth nothing.

    `credential` is what the child presents as its Convex key (`dev:NAME|TOKEN`, `prod:NAME|TOKEN`, or the bare token
    when self-hosted).
    `leave`: asked for everything that passes; None where no grant is needed.
    """

    id: str
    credential: str = field(repr=False)
    scope: Scope
    upstream: Upstream
    pins: Mapping[str, str] = field(default_factory=dict, repr=False)
    counts: Counts = field(default_factory=Counts)
    ended: str | None = None
    leave: Leave | None = None

    @property
    def stopped(self) -> str | None:
        """Why nothing may pass now; None while it may."""
        if self.ended is not None or self.leave is None:
            return self.ended
        return self.leave.over()
