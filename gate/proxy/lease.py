"""The noun between a decision and a run: Scope and Lease. Forwards nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field


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
    """What went through a lease: forwarded requests by kind, refusals, and bytes of responses."""

    reads: int = 0
    writes: int = 0
    refused: int = 0
    bytes_out: int = 0


@dataclass(slots=True)
class Lease:
    """A short-lived token that is worth `scope` on `upstream` and nothing else; `ended` holds why it is worth nothing.

    `credential` is what the child presents as its Convex key (`dev:NAME|TOKEN`, or the bare token when self-hosted).
    """

    id: str
    credential: str = field(repr=False)
    scope: Scope
    upstream: Upstream
    pins: Mapping[str, str] = field(default_factory=dict, repr=False)
    counts: Counts = field(default_factory=Counts)
    ended: str | None = None
