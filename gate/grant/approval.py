"""Approval: a person's signature over one statement, whom it counts for, and how many are enough. Keeps no state."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gate.config.bundle import Bundle
from gate.errors import GateError
from gate.grant.request import LAPSED, PENDING, Request, insist_on_change_control
from gate.grant.scope import Ask, intersection, within
from gate.grant.statement import NAMESPACE, Objection, Statement, parse_objection, parse_statement
from gate.identity import sshsig
from gate.policy.globs import matches
from gate.policy.rules import GROUP
from gate.policy.verdict import Approvals, Needs

# No block is no waiver: where the rules want a grant and do not say whose, any signer but those who ask, by touch.
ANYBODY = Approvals(1, ("human:*",), ("requester", "owner"), touch=True)


class History(Protocol):
    """What this room reads of the ledger."""

    @property
    def id(self) -> str:
        """Its own id."""

    def seq_of(self, head: str) -> int | None:
        """Number of the event with this hash; None when there is none."""


@dataclass(frozen=True, slots=True)
class Given:
    """An approval as it is on record: the very bytes, when it was taken (event `seq`), and what the bytes say."""

    signed: bytes
    signature: bytes
    stated: Statement
    time_ms: int
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Approval:
    """A signature that was verified just now: whose it is, with which `key`, and whether a hand was there."""

    signer: str
    key: bytes
    touched: bool
    given: Given


@dataclass(frozen=True, slots=True)
class Against:
    """What a signature that arrives is held against: the bundle in force, the ledger, the nonces used so far, now."""

    bundle: Bundle
    ledger: History
    used_nonces: Collection[str]
    now_ms: int


def check_approval(signed: bytes, signature: bytes, request: Request, needs: Needs, against: Against) -> Approval:
    """Take an approval of `request`, made anywhere; `needs`: what the bundle in force wants for it.

    Raises GateError (docs/contract.md): `bad_signature` when it does not hold, is about another ledger, request or
    history, is late, was used before or lacks the touch that every block wants; `not_a_signer`; `self_approval`;
    `bundle_changed`; `change_control` when the request is not pending, or the access is wider than what was asked for
    or allowed.
    """
    approval = _verified(Given(signed, signature, parse_statement(signed), against.now_ms), against.bundle)
    stated = approval.given.stated
    insist_on_pending(request, against.now_ms)
    _insist_on_subject(approval.given, request)
    _insist_on_moment(stated, against, since=request.seq)
    _insist_on_scope(approval.given, request)
    insist_on_change_control(request, stated.ask, needs)
    _insist_on_standing(approval, request, against.bundle, needs)
    return approval


def recheck(given: Given, request: Request, bundle: Bundle, ledger: History) -> Approval:
    """Verify once more, from the bytes, an approval that is on record (ADR-0029: at every lease).

    The key has to be enrolled in `bundle`, the one in force now, for the time when the approval was taken. Raises
    GateError `not_a_signer`, or `bad_signature` or `change_control` for what could not have been taken at any time.
    """
    approval = _verified(given, bundle)
    _insist_on_subject(given, request)
    seq = ledger.seq_of(given.stated.head)
    if given.stated.ledger != ledger.id or seq is None or seq < request.seq:
        raise bad("it is about another ledger, or about a history that this one does not have")
    if given.time_ms > given.stated.sign_by_ms or request.lapsed(given.time_ms):
        raise bad("it was taken after the time that it names, or after the request had lapsed")
    _insist_on_scope(given, request)
    return approval


def check_objection(
    signed: bytes, signature: bytes, kind: str, subject: str, against: Against
) -> tuple[str, Objection]:
    """Take a signed denial or revocation (`kind`) of `subject`: returns the signer, any that is enrolled, and the text.

    Raises GateError `bad_signature`, `not_a_signer` or `bundle_changed`.
    """
    stated = parse_objection(signed)
    signer = _signer(sshsig.verify(signature, signed, NAMESPACE), against.bundle, against.now_ms)
    if (stated.kind, stated.subject) != (kind, subject):
        raise bad("it is about something else")
    _insist_on_moment(stated, against, since=1)
    return signer, stated


def _insist_on_moment(stated: Statement | Objection, against: Against, *, since: int) -> None:
    """Hold that a statement is about this ledger as it was since event `since`, and is used in time and once."""
    if stated.ledger != against.ledger.id:
        raise bad("it is about another ledger")
    if stated.bundle != against.bundle.digest:
        raise GateError(
            "bundle_changed",
            "it was signed under another bundle than the one in force",
            remedy="Look at the request again and sign anew.",
        )
    seq = against.ledger.seq_of(stated.head)
    if seq is None or seq < since:
        raise bad("it names a history that this ledger does not have")
    if against.now_ms > stated.sign_by_ms:
        raise bad("it came after the time that it names")
    if stated.nonce in against.used_nonces:
        raise bad("it was used before")


def met(approvals: Iterable[Approval], blocks: Sequence[Approvals], request: Request, bundle: Bundle) -> bool:
    """Whether the verified `approvals` meet every one of `blocks`, each with distinct persons and distinct keys."""
    given = tuple(approvals)
    return all(_is_met(given, block, request, bundle) for block in blocks or (ANYBODY,))


def counting(
    approvals: Iterable[Approval], blocks: Sequence[Approvals], request: Request, bundle: Bundle
) -> tuple[Approval, ...]:
    """Those of the verified `approvals` that count for some of `blocks`."""
    wanted = blocks or (ANYBODY,)
    return tuple(one for one in approvals if any(_counts(one, block, request, bundle) for block in wanted))


def agreed(given: Iterable[Given]) -> Ask | None:
    """What every one of the approvals permits, by their bytes; None where they permit nothing in common."""
    asks = [one.stated.ask for one in given]
    effective = asks[0] if asks else None
    for ask in asks[1:]:
        effective = None if effective is None else intersection(effective, ask)
    return effective


def insist_on_pending(request: Request, now_ms: int) -> None:
    """Hold that `request` still waits for its answer. Raises GateError `change_control`: what was decided, is."""
    state = LAPSED if request.state == PENDING and request.lapsed(now_ms) else request.state
    if state != PENDING:
        raise GateError("change_control", f"the request is {state}", remedy="Make a new request.")


def bad(why: str) -> GateError:
    """The refusal for a signature that is somebody's, over something that does not count here."""
    return GateError(
        "bad_signature",
        f"the signature does not count: {why}",
        remedy="Let the reviewer sign what `gate show ID --portable` prints now.",
    )


def _verified(given: Given, bundle: Bundle) -> Approval:
    signature = sshsig.verify(given.signature, given.signed, NAMESPACE)
    return Approval(_signer(signature, bundle, given.time_ms), signature.key, signature.user_present, given)


def _signer(signature: sshsig.Signature, bundle: Bundle, at_ms: int) -> str:
    person = bundle.signers.who(signature.key, NAMESPACE, at_ms)
    if person is None:
        raise GateError(
            "not_a_signer",
            "it is signed with a key that the signers file in force does not list for approvals",
            remedy="Sign with a key of the signers file that is in force.",
        )
    return person


def _insist_on_subject(given: Given, request: Request) -> None:
    stated = given.stated
    named = (stated.request, stated.request_digest, stated.requester, stated.owner)
    if named != (request.id, request.digest, request.requester, request.owner):
        raise bad("it is about another request")


def _insist_on_scope(given: Given, request: Request) -> None:
    if not within(given.stated.ask, request.ask):
        raise GateError(
            "change_control",
            "the approval permits more than what was asked for",
            remedy="Approve what was asked for, or less of it.",
        )


def _insist_on_standing(approval: Approval, request: Request, bundle: Bundle, needs: Needs) -> None:
    """Hold that the signature counts for some block; else say what stands in the way, the gravest first."""
    blocks = needs.approvals or (ANYBODY,)
    if all(approval.signer in _out(request, block, bundle) for block in blocks):
        raise _self_approval(approval.signer)
    fitting = [block for block in blocks if _is_asked(approval.signer, block, request, bundle)]
    if not fitting:
        raise GateError(
            "not_a_signer",
            f"the rules do not ask for {approval.signer}'s approval",
            remedy="Ask one of " + ", ".join(dict.fromkeys(item for block in blocks for item in block.from_)) + ".",
        )
    if not any(_counts(approval, block, request, bundle) for block in fitting):
        raise bad("it was made without touching a security key, which the rules want")


def _is_met(given: Sequence[Approval], block: Approvals, request: Request, bundle: Bundle) -> bool:
    counting = [approval for approval in given if _counts(approval, block, request, bundle)]
    persons, keys = {one.signer for one in counting}, {one.key for one in counting}
    return min(len(persons), len(keys)) >= max(1, block.count)


def _counts(approval: Approval, block: Approvals, request: Request, bundle: Bundle) -> bool:
    return (approval.touched or not block.touch) and _is_asked(approval.signer, block, request, bundle)


def _is_asked(person: str, block: Approvals, request: Request, bundle: Bundle) -> bool:
    listed = bundle.document.principals.get(person)
    if listed is None or person in _out(request, block, bundle):
        return False
    ids = (person, *(GROUP + group for group in listed.groups))
    return any(matches(item, id_) for item in block.from_ for id_ in ids)


def _out(request: Request, block: Approvals, bundle: Bundle) -> frozenset[str]:
    """Who is behind the request: as it says, and as `bundle` maps its system user, which may be a later one."""
    now = (name for name, listed in bundle.document.principals.items() if request.uid in listed.uids)
    owner = {request.owner} if "owner" in block.not_ else set()
    return frozenset({request.requester, *request.excluded, *now, *owner})


def _self_approval(person: str) -> GateError:
    return GateError(
        "self_approval",
        f"{person} is behind the request and cannot approve it",
        remedy="Let somebody else sign who is listed in the signers file.",
    )
