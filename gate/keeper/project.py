"""What the keeper holds for one project: ledger, activated bundle, keys, proxy, live runs. Talks to no door."""

import asyncio
import functools
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gate import world
from gate.audit.activations import ACTIVATED
from gate.audit.ledger import Ledger
from gate.config.activation import check_activation
from gate.config.bundle import Bundle
from gate.config.document import CustodyEntry
from gate.custody.keyring import KeyRing
from gate.errors import GateError
from gate.grant.approval import Against
from gate.grant.leave import Standing
from gate.identity.caller import Caller, who
from gate.identity.peer import Peer
from gate.invocation import Invocation
from gate.keeper import active, places, trust
from gate.keeper.desk import Desk, open_desk
from gate.keeper.selectors import deployment_of
from gate.policy.decision import Decision
from gate.proxy.lease import Lease, Upstream
from gate.proxy.server import Proxy
from gate.target.target import Target
from gate.walk import Ground, walk

# State of invocations that stand in no project: no bundle can ever be activated under this name.
NO_PROJECT = "_"
_LONGEST_REASON = 200
_PORTS = range(1024, 65536)


Fetch = Callable[[str], Awaitable[bytes | None]]


@dataclass(slots=True)
class Run:
    """One invocation that was let through and has not ended: `cut` holds why it has to end.

    `token`: the secret half of what its child presents as a key.
    """

    invocation: Invocation
    peer: Peer
    decision: Decision
    lease: Lease | None
    cut: asyncio.Future[str]
    token: str = field(repr=False)
    refusals: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Project:
    """One project as the keeper serves it. Made by `open_project`; `state` is its folder.

    `stood`: number of the activation under which every open grant was looked at last.
    """

    name: str
    state: Path
    installed: bool
    ledger: Ledger
    desk: Desk
    active: active.Active
    keys: KeyRing
    kinds: dict[str, Mapping[str, str]] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)
    probed: set[tuple[str, str]] = field(default_factory=set, repr=False)
    users: int = 0
    stood: int = 0
    _proxy: Proxy | None = None

    def ground(self, peer: Peer) -> Ground:
        """What a decision for `peer` stands on now."""
        bundle = self.active.bundle
        return Ground(
            document=None if bundle is None else bundle.document,
            rules=self.active.rules,
            bundle=None if bundle is None else bundle.digest,
            enforcement=enforcement(peer),
            distrusted=self.distrusted(),
            kinds=self.kinds,
            standing=None if bundle is None else Standing(self.desk.book, bundle, self.ledger, self.desk.now()),
            resolve=functools.partial(deployment_of, self.state, self.name),
        )

    def caller(self, claimed: str | None, peer: Peer) -> Caller:
        """Who asks. Raises GateError `denied_by_rule` for a claim to be a person that nothing backs."""
        bundle = self.active.bundle
        return who(claimed, peer.uid, {} if bundle is None else bundle.document.principals)

    def decide(self, invocation: Invocation, peer: Peer, decision_id: str) -> Decision:
        """Walk the path for `invocation`; a claim to be somebody else is a refusal like any other."""
        time = world.iso(world.now_ms())
        try:
            caller = self.caller(invocation.principal, peer)
        except GateError as error:
            nobody = Caller(invocation.principal or "", "claimed", None, frozenset(), peer.uid)
            decision = walk(invocation, nobody, self.ground(peer), decision_id=decision_id, time=time)
            return decision.refused(error)
        return walk(invocation, caller, self.ground(peer), decision_id=decision_id, time=time)

    async def upstream(self, target: Target, files: Mapping[str, bytes], fetch: Fetch) -> Upstream:
        """The deployment behind `target` with its real key. Raises GateError `custody_failed`.

        `files`: env files that the door sent; `fetch` asks it for the one that a custody names.
        """
        bundle = self.active.bundle
        if bundle is None or target.custody is None or target.url is None:
            raise GateError("unknown_deployment", f"{target.deployment} has no key", remedy="Register it in gate.yaml.")
        document = bundle.document
        entry = document.deployments[target.deployment]
        custody = document.custody[target.custody]
        self._insist_on_trust_to_run(custody)
        if custody.env_file is not None and custody.env_file not in files:
            content = await fetch(custody.env_file)
            files = files if content is None else {**files, custody.env_file: content}
        key = await self.keys.key(target.custody, custody, target.url, files)
        return Upstream(
            url=target.url,
            name=target.name,
            cls=target.cls,
            key=key,
            ca=None if entry.ca is None else str(self.state / entry.ca),
            team=entry.team,
            slug=entry.slug,
            reference=entry.reference,
        )

    def _insist_on_trust_to_run(self, entry: CustodyEntry) -> None:
        """Start no command under a user of the keeper's own for a project whose genesis nobody pinned."""
        if entry.command is not None and self.installed and self.distrusted() is not None:
            raise GateError(
                "untrusted_keeper",
                "this keeper runs no custody command of a project whose genesis is not pinned",
                remedy=f"Let the administrator pin it in {places.TRUST} (docs/operations.md, Trust).",
            )

    def distrusted(self) -> str | None:
        """Why production is not served, in words; None where it is."""
        return trust.distrusted(
            self.name, self.active.genesis, self.state, installed=self.installed, trust=trust.system_file()
        )

    async def proxy(self) -> Proxy:
        """The project's proxy, started at first use, on the same port every time where that is free.

        Convex's CLI names its folders after that port (facts of 1.48.0: `~/.convex-test-PORT`).
        """
        if self._proxy is None:
            try:
                self._proxy = await Proxy.start(self._remembered_port(), self._note_refusal)
            except GateError:
                # Taken meanwhile: only the CLI's cache is lost with the old number.
                self._proxy = await Proxy.start(None, self._note_refusal)
            fresh = self.state / "port.new"
            fresh.write_text(f"{self._proxy.port}\n", encoding="ascii")
            fresh.replace(self.state / "port")
        return self._proxy

    def _remembered_port(self) -> int | None:
        """The port of the last time; None where nothing sensible is written: only a cache hangs on it."""
        try:
            port = int((self.state / "port").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None
        return port if port in _PORTS else None

    def _note_refusal(self, lease: Lease, why: str) -> None:
        run = self.runs.get(lease.id)
        if run is not None:
            run.refusals[why[:_LONGEST_REASON]] += 1

    async def record(self, kind: str, subject: str, members: Mapping[str, Any]) -> None:
        """Append one event, durable on return. Raises LedgerError when it cannot be; nothing may run then."""
        await self.ledger.append(kind, members, subject=subject)

    async def activate(self, bundle: Bundle, statement: bytes, signatures: list[bytes]) -> tuple[str, ...]:
        """Put `bundle` in force when its statement is properly signed; returns the signers. Cuts what no longer stands.

        Raises GateError `bad_signature`, `not_a_signer` or `bundle_changed`, and LedgerError.
        """
        # What is decided about requests and grants meanwhile is on record before, or decided under the new bundle.
        async with self.desk.turn():
            self._insist_on_this_ledger(statement)
            signers = check_activation(statement, signatures, self.active.bundle, bundle, at_ms=world.now_ms())
            texts = [signature.decode("ascii") for signature in signatures]
            members = active.activation_members(bundle, statement, texts, signers)
            await self.ledger.append(ACTIVATED, members, subject=bundle.digest)
            self.reload()
        if self.active.genesis is not None and not (self.state / "genesis").exists():
            trust.pin(self.active.genesis, self.state)
        self.keys.forget()
        self.probed.clear()
        self.kinds.clear()
        self.cut_fallen()
        return signers

    def _insist_on_this_ledger(self, signed: bytes) -> None:
        """A statement counts once: for this ledger, and a head that its signer saw since the last activation."""
        try:
            known = active.stands(signed, self.ledger, self.active.seq)
        except (ValueError, KeyError, TypeError, RecursionError):
            known = False
        if not known:
            raise GateError(
                "bundle_changed",
                "the signed statement is not about this ledger as it stands",
                remedy="Look at the difference again and sign anew: `gate activate --key FILE`.",
            )

    def reload(self) -> None:
        """Read the activated bundle back from the ledger. Raises LedgerError `ledger_tampered`."""
        self.active = active.read_active(self.ledger)

    def cut_fallen(self) -> None:
        """Cut every live run that the bundle in force would not let through, or would send elsewhere.

        A run under a grant ends with its grant, which is looked at as a whole (`ends.tick`).
        """
        for run in [run for run in self.runs.values() if run.decision.grant is None]:
            again = self.decide(run.invocation, run.peer, run.decision.id)
            if again.verdict != "allow" or again.target != run.decision.target:
                self.cut(run, "the activated bundle changed")

    def still(self, decision: Decision) -> bool:
        """Whether the bundle that `decision` was made under is in force."""
        return self.active.bundle is not None and self.active.bundle.digest == decision.bundle

    def against(self) -> Against:
        """What a signature that arrives now is held against. Raises GateError `unknown_deployment` without a bundle."""
        return self.desk.against(self.bundle())

    def bundle(self) -> Bundle:
        """The bundle in force. Raises GateError `unknown_deployment` before the first activation."""
        if self.active.bundle is None:
            raise GateError(
                "unknown_deployment",
                "nothing is registered: no bundle is activated",
                remedy="Let a root run `gate activate --key FILE`.",
            )
        return self.active.bundle

    def cut_all(self, why: str) -> None:
        """Cut every live run."""
        for run in list(self.runs.values()):
            self.cut(run, why)

    def cut(self, run: Run, why: str) -> None:
        """Wake the session of `run`: it ends the lease first, then the process."""
        if not run.cut.done():
            run.cut.set_result(why)

    async def close(self) -> None:
        """End every run and leave the ledger closed."""
        self.cut_all("the keeper ends")
        if self._proxy is not None:
            await self._proxy.stop()
        await self.ledger.close()


def enforcement(peer: Peer) -> str:
    """`enforced` when the caller can neither be the keeper's user nor root, else `advisory` (ADR-0029)."""
    return "advisory" if peer.privileged else "enforced"


async def open_project(root: Path, name: str) -> Project:
    """The state of project `name` in `root`, made at first use; runs that a dead keeper left get outcome `unknown`.

    Raises LedgerError when the ledger cannot be opened or does not hold.
    """
    state = root / name
    places.ensure_private(str(state))
    ledger = await Ledger.open(state / "ledger.db")
    project = Project(
        name=name,
        state=state,
        installed=str(root) == places.INSTALLED_STATE,
        ledger=ledger,
        desk=open_desk(ledger),
        active=active.read_active(ledger),
        keys=KeyRing(state, root),
    )
    ledger.on_latch(lambda why: project.cut_all(f"the ledger is closed: {why}"))
    for decision_id in ledger.open_runs():
        await project.record(
            "outcome", decision_id, {"decision": decision_id, "outcome": "unknown", "why": "the keeper ended"}
        )
    return project
