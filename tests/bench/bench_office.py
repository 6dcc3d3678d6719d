"""A project with one live grant, made by the real rules: bundle, key, ledger, desk. Measures nothing."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from gate import world
from gate.audit.ledger import Ledger
from gate.config.bundle import Bundle, load_bundle
from gate.execution.ssh import sign
from gate.grant import filing
from gate.grant.request import DAY_MS, Request
from gate.grant.rules import needs_of
from gate.grant.scope import Ask
from gate.grant.statement import NAMESPACE, Statement, render
from gate.identity.caller import Caller, who
from gate.keeper.desk import Desk, open_desk
from gate.policy.load import load_rules
from gate.policy.verdict import Needs
from gate.target.target import Target

ORIGIN = "https://proud-lynx-456.convex.cloud"
PROD = Target("prod", "prod", "proud-lynx-456", ORIGIN, "prod", "--prod")
VIEW, WRITE = "deployment:data:view", "deployment:data:write"
ASK = Ask("prod", ORIGIN, (VIEW, WRITE), 3600)
UID = 1000

# What the shipped policy wants, but writes too, and signatures of keys in files: a benchmark touches nothing.
POLICY = """\
policy: 1
name: production
rules:
  - id: prod-use
    allow: {principals: ["agent:*"], classes: [prod], effects: ["deployment:data:*"]}
    because: Agents may ask.
  - id: prod-under-grant
    require: {classes: [prod]}
    needs:
      grant: true
      ticket: "OPS-[0-9]+"
      reason_min: 12
      ack_risk: true
      ttl_max: 60m
      approvals: {count: 1, from: ["group:leads"], not: [requester], touch: false}
    because: Somebody else signs for production.
"""
_GATE_YAML = f"""\
gate: 1
project: bench
signers: gate.signers
roots: [human:ada]
policies: [policies/production.yaml]
deployments:
  prod: {{class: prod, name: proud-lynx-456, url: "{ORIGIN}", custody: prod}}
principals:
  agent:codex: {{owner: human:ada}}
  human:ada: {{groups: [leads]}}
custody:
  prod: {{file: keys/prod}}
"""


@dataclass(frozen=True, slots=True)
class Office:
    """A `desk` with the live grant `grant`, the `bundle` that it stands under, and what the rules want for it."""

    desk: Desk
    bundle: Bundle
    needs: Needs
    grant: str
    caller: Caller


@contextmanager
def folder() -> Iterator[Path]:
    """An empty folder of the temporary files' system, which only this user can enter."""
    with TemporaryDirectory(prefix="gate-bench-") as name:
        yield Path(name).resolve()


async def office(place: Path) -> Office:
    """Everything new in the folder `place`; close its ledger."""
    key = _key(place)
    bundle = load_bundle(
        {
            "gate.yaml": _GATE_YAML.encode(),
            "gate.signers": f"human:ada {key.with_suffix('.pub').read_text(encoding='ascii')}".encode(),
            "policies/production.yaml": POLICY.encode(),
        }
    )
    (place / "state").mkdir(mode=0o700)
    desk = open_desk(await Ledger.open(place / "state" / "ledger.db"))
    caller = who("agent:codex", UID, bundle.document.principals)
    needs = needs_of(ASK, caller.id, bundle, load_rules(bundle))
    return Office(desk, bundle, needs, await _granted(desk, bundle, caller, needs, key), caller)


async def _granted(desk: Desk, bundle: Bundle, caller: Caller, needs: Needs, key: Path) -> str:
    """Id of a grant that was asked for, signed and made."""
    made = request(caller, bundle.digest, needs, world.new_id("req"))
    async with desk.turn() as turn:
        await turn.take(filing.file_request(desk.book, made))
    signed = render(_statement(desk, made))
    signature = sign(signed, key, NAMESPACE).encode("ascii")
    async with desk.turn() as turn:
        against, granting = desk.against(bundle), world.new_id("grt")
        await turn.take(filing.approve(desk.book, made.id, signed, signature, needs=needs, against=against))
        event = filing.complete(desk.book, made.id, needs, against, now=turn.now, grant_id=granting)
        if event is None:
            raise RuntimeError("the approval did not complete the request")
        await turn.take(event)
    return granting


def request(caller: Caller, bundle: str, needs: Needs, request_id: str) -> Request:
    """A request for ASK that is in order."""
    return Request(
        id=request_id,
        requester=caller.id,
        owner=caller.owner or "",
        uid=caller.uid,
        excluded=(),
        ask=ASK,
        ticket="OPS-411",
        reason="users see stale messages",
        ack_risk=True,
        bundle=bundle,
        decision=None,
        needs=needs,
        time_ms=world.now_ms(),
    )


def _statement(desk: Desk, made: Request) -> Statement:
    return Statement(
        ledger=desk.ledger.id,
        head=desk.ledger.head,
        request=made.id,
        request_digest=made.digest,
        requester=made.requester,
        owner=made.owner,
        ask=made.ask,
        bundle=made.bundle,
        sign_by_ms=world.now_ms() + DAY_MS,
        nonce=world.secret(16),
    )


def _key(place: Path) -> Path:
    key = place / "ada"
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", str(key)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return key
