"""A world for grants: people with security keys, a bundle, a linked history in memory, and clocks that can be set."""

from collections import defaultdict
from dataclasses import replace
from functools import cache
from typing import Any

from ssh_kit import SoftwareKey

from gate import world
from gate.audit import canonical, chain
from gate.audit.chain import Entry
from gate.config.bundle import Bundle, load_bundle
from gate.errors import LedgerError
from gate.grant import filing, using
from gate.grant.approval import Against
from gate.grant.book import Book
from gate.grant.event import Event, Moment
from gate.grant.grant import Grant
from gate.grant.request import Request, mapped
from gate.grant.scope import Ask
from gate.grant.statement import NAMESPACE, Objection, Statement, render
from gate.identity.caller import Caller
from gate.policy.verdict import Approvals, Needs
from gate.target.target import Target

START = 1_771_495_445_000
HOUR = 3_600_000
ORIGIN = "https://proud-lynx-456.convex.cloud"
PROD = Target("prod", "prod", "proud-lynx-456", ORIGIN, "prod", "--prod")
CODEX = Caller("agent:codex", "claimed", "human:ada", frozenset(), 1000)
CLAUDE = Caller("agent:claude", "claimed", "human:lee", frozenset(), 1001)
VIEW = ("deployment:data:view",)
LEADS = Approvals(1, ("group:leads",), ("requester", "owner"), touch=True)
NEEDS = Needs(
    grant=True, ticket=("OPS-[0-9]+",), reason_min=12, ack_risk=True, ttl_max_seconds=3600, approvals=(LEADS,)
)
PEOPLE = {"human:ada": "leads", "human:lee": "leads", "human:kim": "leads", "human:eve": "guests"}


_KEYS: dict[str, SoftwareKey] = defaultdict(lambda: SoftwareKey("sk-ssh-ed25519@openssh.com"))


def key_of(person: str) -> SoftwareKey:
    """The security key of a person, or of any other name."""
    return _KEYS[person]


@cache
def bundle_with(signers: tuple[str, ...] = tuple(PEOPLE), note: str = "") -> Bundle:
    """A bundle in which these persons may sign; ada is system user 1000."""
    people = "".join(
        f"  {person}: {{groups: [{group}]{', uids: [1000]' if person == 'human:ada' else ''}}}\n"
        for person, group in PEOPLE.items()
    )
    gate_yaml = (
        f"gate: 1\nproject: acme  # {note}\nsigners: gate.signers\nroots: [{signers[0]}]\n"
        f"policies: [p.yaml]\ncustody: {{prod: {{file: keys/prod}}}}\n"
        f'deployments: {{prod: {{class: prod, url: "{ORIGIN}", custody: prod}}}}\n'
        f"principals:\n  agent:codex: {{owner: human:ada}}\n  agent:claude: {{owner: human:lee}}\n{people}"
    )
    lines = "".join(f"{person} {key_of(person).public}\n" for person in signers)
    return load_bundle({"gate.yaml": gate_yaml.encode(), "gate.signers": lines.encode(), "p.yaml": b"#\n"})


def ask_of(**changes: Any) -> Ask:
    """Half an hour of looking at production."""
    return replace(Ask("prod", ORIGIN, VIEW, 1800), **changes)


class Chain:
    """A ledger in memory: real links, real times, no disk."""

    def __init__(self, ledger_id: str = "led-7k3f9q2m") -> None:
        self.id = ledger_id
        self.entries: list[Entry] = []
        self.append(Event("ledger.created", ledger_id, {"id": ledger_id}), START)

    @property
    def head(self) -> str:
        return self.entries[-1].hash

    def seq_of(self, head: str) -> int | None:
        return next((entry.seq for entry in self.entries if entry.hash == head), None)

    def behind(self, wall_ms: int) -> bool:
        return bool(self.entries) and chain.milliseconds(self.entries[-1].time) - wall_ms > 2000

    def append(self, event: Event, wall_ms: int) -> Entry:
        """Append as the ledger does: its time never goes back, and a clock far behind it is refused."""
        if self.behind(wall_ms):
            raise LedgerError("clock_backwards", "the clock is behind", remedy="Set it right.")
        prev = self.entries[-1].hash if self.entries else chain.BEGINNING
        time = max(world.iso(wall_ms), self.entries[-1].time if self.entries else "")
        seq = len(self.entries) + 1
        body = canonical.encode({"subject": event.subject, **event.body, "seq": seq, "time": time, "type": event.type})
        entry = Entry(seq, time, event.type, body, prev, chain.link(prev, body))
        self.entries.append(entry)
        return entry


class World:
    """One keeper's view: a book over a chain, a bundle, needs, and clocks."""

    def __init__(self, needs: Needs = NEEDS, bundle: Bundle | None = None) -> None:
        self.chain = Chain()
        self.book = Book.replay(self.chain.entries)
        self.bundle = bundle or bundle_with()
        self.needs = needs
        self.now = Moment(START, 5_000, "boot-1")
        self._numbers = 0

    def pass_ms(self, ms: int) -> None:
        """Let time pass on both clocks."""
        self.now = replace(self.now, wall_ms=self.now.wall_ms + ms, boot_ms=self.now.boot_ms + ms)

    def new(self, prefix: str) -> str:
        self._numbers += 1
        return f"{prefix}-{self._numbers:08d}"

    @property
    def against(self) -> Against:
        return Against(self.bundle, self.chain, self.book.state.nonces, self.now.wall_ms)

    def record(self, event: Event) -> Entry:
        """Put an event on record, and into the book."""
        entry = self.chain.append(event, self.now.wall_ms)
        self.book.apply(entry)
        return entry

    def draft(self, caller: Caller = CODEX, ask: Ask | None = None, **changes: Any) -> Request:
        """A request that is in order, unless `changes` say otherwise."""
        request = Request(
            id=self.new("req"),
            requester=caller.id,
            owner=caller.owner or "",
            uid=caller.uid,
            excluded=mapped(caller, self.bundle.document.principals),
            ask=ask or ask_of(),
            ticket="OPS-411",
            reason="users see stale messages",
            ack_risk=True,
            bundle=self.bundle.digest,
            decision="dec-7k3f9q2m",
            needs=self.needs,
            time_ms=self.now.wall_ms,
        )
        return replace(request, **changes)

    def file(self, caller: Caller = CODEX, ask: Ask | None = None, **changes: Any) -> Request:
        """Make a request; returns it as the book has it."""
        event = filing.file_request(self.book, self.draft(caller, ask, **changes))
        self.record(event)
        return self.book.request(event.subject)

    def stated(self, request: Request, /, **changes: Any) -> Statement:
        """What a reviewer of `request` is given to sign."""
        statement = Statement(
            ledger=self.chain.id,
            head=self.chain.head,
            request=request.id,
            request_digest=request.digest,
            requester=request.requester,
            owner=request.owner,
            ask=request.ask,
            bundle=self.bundle.digest,
            sign_by_ms=self.now.wall_ms + HOUR,
            nonce=self.new("nonce"),
        )
        return replace(statement, **changes)

    def objection(self, kind: str, subject: str, /, **changes: Any) -> Objection:
        """What a signer signs to deny or revoke."""
        by = self.now.wall_ms + HOUR
        nonce = self.new("nonce")
        made = Objection(kind, self.chain.id, self.chain.head, subject, "no need", self.bundle.digest, by, nonce)
        return replace(made, **changes)

    def approve(self, request: Request, person: str = "human:lee", /, *, flags: int = 1, **changes: Any) -> None:
        """Sign what is asked for, or what `changes` make of it, and hand it in."""
        signed = render(self.stated(request, **changes))
        self.hand_in(request, signed, sign(signed, person, flags))

    def hand_in(self, request: Request, signed: bytes, signature: bytes) -> None:
        self.record(filing.approve(self.book, request.id, signed, signature, needs=self.needs, against=self.against))

    def complete(self, request: Request) -> Grant | None:
        """Make the grant where the approvals are enough."""
        event = filing.complete(self.book, request.id, self.needs, self.against, now=self.now, grant_id=self.new("grt"))
        if event is None:
            return None
        self.record(event)
        return self.book.grant(event.subject)

    def granted(self, caller: Caller = CODEX, ask: Ask | None = None, person: str | None = None) -> Grant:
        """A grant from request to approval."""
        request = self.file(caller, ask, reason=f"users see stale messages {self.new('r')}")
        self.approve(request, person or ("human:kim" if caller is CLAUDE else "human:lee"))
        grant = self.complete(request)
        assert grant is not None
        return grant

    def choose(self, caller: Caller = CODEX, resources: Any = None, **more: Any) -> Grant | None:
        """The grant that would be used to look at production."""
        return self.book.choose(caller, PROD, VIEW, resources or {}, now=self.now, **more)

    def charge(self, grant: Grant) -> Grant:
        self.record(using.charge(self.book, grant.id, "dec-00000001", now=self.now))
        return self.book.grant(grant.id)

    def again(self, grant: Grant, **changes: Any) -> Ask:
        """Verify a grant again, under the bundle and needs in force unless `changes` say otherwise."""
        needs = changes.get("needs", self.needs)
        return self.book.verify_again(grant.id, changes.get("bundle", self.bundle), needs, self.chain)

    def crash(self) -> None:
        """Lose all memory and read it back."""
        before = self.book.state
        self.book = Book.replay(self.chain.entries)
        assert self.book.state == before


def sign(signed: bytes, person: str, flags: int = 1) -> bytes:
    """The person's signature over `signed`; flags 0: nobody touched the key."""
    return key_of(person).sign(signed, flags=flags, namespace=NAMESPACE)
