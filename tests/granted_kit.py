"""Histories with requests and grants: a bundle in force, people with security keys, events made by the real rules."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from ledger_kit import START, History
from ssh_kit import KeyPair, SoftwareKey, key_of

from gate import world
from gate.audit import canonical, chain
from gate.audit.chain import Entry
from gate.config.bundle import Bundle, load_bundle
from gate.grant import filing, using
from gate.grant.approval import Against
from gate.grant.book import Book
from gate.grant.event import Event, Moment
from gate.grant.grant import Grant
from gate.grant.request import Request, mapped
from gate.grant.rules import needs_of
from gate.grant.scope import Ask
from gate.grant.statement import NAMESPACE, Objection, Statement, render
from gate.identity.caller import Caller, who
from gate.intent.intent import Intent, Selection
from gate.policy.decision import Decision, Principal
from gate.policy.load import load_rules
from gate.policy.verdict import Needs
from gate.target.target import Target

ORIGIN = "https://proud-lynx-456.convex.cloud"
PROD = Target("prod", "prod", "proud-lynx-456", ORIGIN, "prod", "--prod")
DEV = Target("dev", "dev", "happy-otter-123", "https://happy-otter-123.convex.cloud", "dev", "CONVEX_DEPLOYMENT")
LOCAL = Target("local", "local", "local-acme", None, None, "CONVEX_DEPLOYMENT")
WRITES = ("deployment:data:view", "deployment:data:write")
CODEX = Caller("agent:codex", "claimed", "human:ada", frozenset(), 1000)
HOUR = 3_600_000
ADA = key_of()

_GATE_YAML = """\
gate: 1
project: acme-chat
signers: gate.signers
roots: [human:ada]
policies: [policies/default.yaml]
deployments:
  dev: {class: dev, name: happy-otter-123, url: "https://happy-otter-123.convex.cloud", custody: dev}
  prod: {class: prod, name: proud-lynx-456, url: "https://proud-lynx-456.convex.cloud", custody: prod}
principals:
  agent:codex: {owner: human:ada}
  human:ada: {groups: [leads], uids: [1000]}
  human:lee:
    groups: [leads]
  human:kim:
    groups:
      - leads
      - guests
  human:eve: {groups: [guests]}
custody:
  dev: {file: keys/dev}
  prod: {file: keys/prod}
"""
_POLICY = """\
policy: 1
name: default
rules:
  - id: prod-use
    allow:
      principals: ["agent:*"]
      classes: [prod]
      effects: ["deployment:data:*", "deployment:env:write", "deployment:backups:import"]
    because: Agents may ask.
  - id: own
    allow: {classes: [dev, local], effects: ["deployment:*"]}
    because: Work on a deployment of your own is free.
  - id: prod-under-grant
    require: {classes: [prod]}
    needs:
      grant: true
      ticket: "OPS-[0-9]+"
      reason_min: 12
      ack_risk: true
      ttl_max: 60m
      approvals: {count: COUNT, from: ["group:leads"], not: [requester, owner]}
    because: Somebody else signs for production.
"""


@cache
def touch_key(name: str) -> SoftwareKey:
    """The security key of a person."""
    del name
    return SoftwareKey("sk-ssh-ed25519@openssh.com")


def office(
    count: int = 1,
    signers: tuple[str, ...] = ("lee", "kim", "eve"),
    *,
    note: str = "",
    limits: str = "",
    people: str = "",
    user: str = "ada",
) -> Bundle:
    """A bundle in which ada may activate, and `count` of the leads give production to agents, by touch.

    `limits`: options of every line of its signers file but ada's. `people`: more lines under principals. `user`: who
    is system user 1000, ada or lee.
    """
    lines = [f"human:ada {ADA.public}\n", *(f"human:{name} {limits} {touch_key(name).public}\n" for name in signers)]
    return load_bundle(
        {
            "gate.yaml": _gate_yaml(people, user).encode() + f"# {note}\n".encode(),
            "gate.signers": "".join(lines).encode(),
            "policies/default.yaml": _POLICY.replace("COUNT", str(count)).encode(),
        }
    )


def _gate_yaml(people: str, user: str) -> str:
    text = _GATE_YAML.replace("\ncustody:\n", f"\n{people}custody:\n")
    if user == "lee":
        text = text.replace(", uids: [1000]", "").replace("human:lee:\n", "human:lee:\n    uids: [1000]\n")
    return text


class Office(History):
    """A history that begins with an activation; events a second apart.

    `book`: what its own rules make of it. `bad`: numbers of the events that were forged.
    """

    def __init__(self, bundle: Bundle | None = None) -> None:
        self.now_ms = START
        self.bad: list[int] = []
        self.book = Book()
        self.bundle = bundle or office()
        self._numbers = 0
        super().__init__()
        self.activate(self.bundle, {"human:ada": ADA})

    def activate(self, after: Bundle, keys: Mapping[str, KeyPair], **changes: Any) -> Entry:
        self.bundle = after
        return super().activate(after, keys, **changes)

    def add(self, kind: str, body: Mapping[str, Any]) -> Entry:
        self.now_ms += 1000
        seq = len(self.entries) + 1
        time = world.iso(self.now_ms)
        text = canonical.encode({**body, "seq": seq, "time": time, "type": kind})
        entry = Entry(seq, time, kind, text, self.head, chain.link(self.head, text))
        self.entries.append(entry)
        return entry

    @property
    def id(self) -> str:
        return self.ledger or ""

    def seq_of(self, head: str) -> int | None:
        return next((entry.seq for entry in self.entries if entry.hash == head), None)

    @property
    def moment(self) -> Moment:
        """The clocks of what is decided next."""
        return Moment(self.now_ms + 1000, self.now_ms + 1000 - START, "boot-1")

    @property
    def against(self) -> Against:
        return Against(self.bundle, self, self.book.state.nonces, self.moment.wall_ms)

    def new(self, prefix: str) -> str:
        self._numbers += 1
        return f"{prefix}-{self._numbers:08d}"

    def forge(self, event: Event) -> Entry:
        """Put an event on record that the book knows nothing of."""
        entry = self.record(event)
        self.bad.append(entry.seq)
        return entry

    def record(self, event: Event) -> Entry:
        """As the ledger does: a subject goes into a body that does not name it."""
        named = {} if chain.subject_of(event.body) == event.subject else {"subject": event.subject}
        return self.add(event.type, {**named, **event.body})

    def put(self, event: Event) -> Entry:
        """Put an event on record and in the book."""
        entry = self.record(event)
        self.book.apply(entry)
        return entry

    def needs(self, ask: Ask, requester: str = "agent:codex") -> Needs:
        return needs_of(ask, requester, self.bundle, load_rules(self.bundle))

    def draft(self, **changes: Any) -> Request:
        """A request of codex's for half an hour of writing to production."""
        principals = self.bundle.document.principals
        caller = who("agent:codex", 1000, principals)
        ask = changes.pop("ask", None) or Ask("prod", ORIGIN, WRITES, 1800, max_uses=3)
        request = Request(
            id=self.new("req"),
            requester=caller.id,
            owner=caller.owner or "",
            uid=caller.uid,
            excluded=mapped(caller, principals),
            ask=ask,
            ticket="OPS-411",
            reason="users see stale messages",
            ack_risk=True,
            bundle=self.bundle.digest,
            decision=None,
            needs=self.needs(ask),
            time_ms=self.moment.wall_ms,
        )
        return replace(request, **changes)

    def ask(self, **changes: Any) -> Request:
        """Make a request."""
        event = filing.file_request(self.book, self.draft(**changes))
        self.put(event)
        return self.book.request(event.subject)

    def stated(self, request: Request, /, **changes: Any) -> Statement:
        statement = Statement(
            ledger=self.id,
            head=self.head,
            request=request.id,
            request_digest=request.digest,
            requester=request.requester,
            owner=request.owner,
            ask=request.ask,
            bundle=self.bundle.digest,
            sign_by_ms=self.now_ms + HOUR,
            nonce=self.new("nonce"),
        )
        return replace(statement, **changes)

    def approval(self, request: Request, person: str = "human:lee", /, **changes: Any) -> Event:
        """The event of an approval, whether it holds or not; what is no member of the statement is one of the event."""
        said: dict[str, Any] = {
            name: changes.pop(name) for name in ("signer", "touched", "single_person", "at_ms") if name in changes
        }
        flags, key = changes.pop("flags", 1), changes.pop("key", None) or touch_key(person.removeprefix("human:"))
        signed = changes.pop("signed", None) or render(self.stated(request, **changes))
        options = {"flags": flags} if isinstance(key, SoftwareKey) else {}
        signature = key.sign(signed, namespace=NAMESPACE, **options)
        nonce = next(line[7:] for line in signed.decode().split("\n") if line.startswith("nonce: "))
        body: dict[str, Any] = {
            "request": request.id,
            "nonce": nonce,
            "at_ms": self.moment.wall_ms,
            "signer": person,
            "touched": bool(flags),
            "single_person": person == request.owner,
            "statement": signed.decode(),
            "signature": signature.decode(),
        }
        return Event("approval.given", request.id, {**body, **said})

    def approve(self, request: Request, person: str = "human:lee", /, **changes: Any) -> Entry:
        """Take an approval as the keeper does."""
        body = self.approval(request, person, **changes).body
        texts = [body[name].encode() for name in ("statement", "signature")]
        needs = self.needs(request.ask)
        return self.put(filing.approve(self.book, request.id, *texts, needs=needs, against=self.against))

    def complete(self, request: Request) -> Grant:
        """Make the grant."""
        needs = self.needs(request.ask)
        made = filing.complete(self.book, request.id, needs, self.against, now=self.moment, grant_id=self.new("grt"))
        assert made is not None
        self.put(made)
        return self.book.grant(made.subject)

    def granted(self, **changes: Any) -> Grant:
        """A grant from request to approval."""
        request = self.ask(**changes)
        self.approve(request)
        return self.complete(request)

    def objection(self, kind: str, subject: str, /, person: str = "human:kim", **changes: Any) -> tuple[bytes, bytes]:
        """A signed denial or revocation."""
        by, nonce = self.now_ms + HOUR, self.new("nonce")
        made = Objection(kind, self.id, self.head, subject, "not today", self.bundle.digest, by, nonce)
        signed = render(replace(made, **changes))
        return signed, touch_key(person.removeprefix("human:")).sign(signed, namespace=NAMESPACE)

    def decision(self, grant: str | None, effects: tuple[str, ...] = WRITES, **changes: Any) -> dict[str, Any]:
        """Body of the decision that lets `run messages:send` through under `grant`."""
        names = {"functions": ("messages:send",), "tables": None}
        intent = Intent("run", effects, names, Selection(), "own", (), function="messages:send")
        decided = Decision(
            id=self.new("dec"),
            time=world.iso(self.moment.wall_ms),
            enforcement="advisory",
            verdict="allow",
            code="ok",
            exit=0,
            message="deployment:data:write on prod is allowed",
            principal=Principal("agent:codex", "claimed", "human:ada"),
            door="cli",
            intent=intent,
            target=PROD,
            rules=(),
            needs=None,
            indeterminate=(),
            remedy=None,
            bundle=self.bundle.digest,
            grant=grant,
        )
        keeper = {"boot": "boot-1", "pid": 7}
        object_ = {**decided.to_json(), **changes}
        return {"id": decided.id, "object": object_, "runs": True, "uid": 1000, "keeper": keeper}

    def decide(self, grant: Grant, effects: tuple[str, ...] = WRITES, **changes: Any) -> str:
        """Let a run through under `grant`."""
        body = self.decision(grant.id, effects, **changes)
        self.add("decision", body)
        return str(body["id"])

    def run(self, grant: Grant, effects: tuple[str, ...] = WRITES, **changes: Any) -> str:
        """Let a run through under `grant`, charged."""
        decision = self.decide(grant, effects, **changes)
        self.put(using.charge(self.book, grant.id, decision, now=self.moment))
        return decision

    def writing(self, grant: Grant, decision: str, number: int | None, **changes: Any) -> Event:
        """The event of a write that use `number` pays for (None: one more)."""
        send = {"place": "POST /api/function", "function": "messages:send", "component": None, "sha256": "ab" * 32}
        what = {**send, **changes}
        return using.write(self.book, grant.id, decision, number, what, now=self.moment)

    def outcome(self, decision: str, writes: int = 0) -> dict[str, Any]:
        """Body of the outcome of a run that the proxy forwarded so many writes for."""
        counts = {"reads": 1, "writes": writes, "refused": 0, "bytes_out": 9, "rows": 0, "transitions": 0}
        more = {"counts": {**counts, "rows_unknown": False}, "refusals": []}
        return {"decision": decision, "outcome": "ok", "status": 0, **more}

    def ended(self, grant: Grant, why: str = "revoked") -> None:
        """End and close."""
        self.put(using.end(self.book, grant.id, why))
        self.put(using.closing(grant.id))
        self.put(using.closed(grant.id, 12))
