"""By whose leave one invocation runs: the grant that covers all of it, or the request that waits. Changes nothing."""

from dataclasses import dataclass

from gate.config.bundle import Bundle
from gate.grant.approval import History
from gate.grant.book import Book
from gate.grant.event import Moment
from gate.grant.rules import DEPLOY, plan_required
from gate.grant.scope import covers
from gate.identity.caller import Caller
from gate.intent.intent import Intent
from gate.policy.verdict import Needs
from gate.target.target import Target


@dataclass(frozen=True, slots=True)
class Standing:
    """Requests and grants as they stand `now`, and what their signatures are held against."""

    book: Book
    bundle: Bundle
    ledger: History
    now: Moment


@dataclass(frozen=True, slots=True)
class Leave:
    """The `grant` that covers an invocation, or the pending `request` that would; both None where there is neither."""

    grant: str | None = None
    request: str | None = None


def leave_for(
    standing: Standing, caller: Caller, target: Target, intent: Intent, needs: Needs | None, *, wanted: str | None
) -> Leave:
    """By whose leave `intent` runs, whose rules want `needs`.

    A grant is verified again from the bytes that were signed. `wanted`: that grant and no other. Raises GateError
    `plan_required` for a deploy, `grant_ended`, `bundle_changed`, and LedgerError `ledger_tampered` for a grant that
    nobody signed.
    """
    if DEPLOY in intent.effects:
        raise plan_required(target.deployment)
    book, now = standing.book, standing.now
    grant = book.choose(
        caller, target, intent.effects, intent.resources, now=now, function=intent.function, wanted=wanted
    )
    if grant is None:
        return Leave(request=_pending(standing, caller, target, intent))
    book.verify_again(grant.id, standing.bundle, needs or Needs(), standing.ledger)
    return Leave(grant.id, grant.request)


def _pending(standing: Standing, caller: Caller, target: Target, intent: Intent) -> str | None:
    """The caller's own request that waits and, approved as it is, would cover `intent`."""
    place = (target.deployment, target.url)
    waiting = standing.book.pending_of(caller.owner or "", standing.now.wall_ms)
    mine = (one for one in waiting if one.asked_by(caller) and (one.ask.deployment, one.ask.origin) == place)
    fitting = (one.id for one in mine if covers(one.ask, intent.effects, intent.resources, intent.function))
    return next(fitting, None)
