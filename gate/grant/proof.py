"""Whether a grant stands: its approvals verified again from their bytes, under the bundle in force. Changes nothing."""

from gate.audit.chain import tampered
from gate.config.bundle import Bundle
from gate.errors import GateError
from gate.grant.approval import Approval, Given, History, agreed, met, recheck
from gate.grant.grant import Grant
from gate.grant.request import Request, insist_on_change_control
from gate.grant.scope import Ask
from gate.policy.verdict import Needs


def stands(grant: Grant, request: Request, bundle: Bundle, needs: Needs, ledger: History) -> Ask:
    """The access that `grant` gives, as its signers signed it; the row in the ledger says nothing here (ADR-0029).

    `needs`: what the rules in force want, for the invocation or for the whole grant. Raises LedgerError
    `ledger_tampered` for a grant that nobody could have made: a row with a correct link is not a signature. Raises
    GateError `bundle_changed` for one that could, and does not stand any more.
    """
    held = [one for given in grant.given if (one := holding(given, request, bundle, ledger)) is not None]
    ask = agreed(grant.given)
    if ask is None or ask != grant.ask:
        raise _forged(grant.given, "the grant gives something else than was signed")
    try:
        insist_on_change_control(request, ask, needs)
    except GateError as error:
        raise _fallen(error.message) from error
    if met(held, needs.approvals, request, bundle):
        return ask
    if all(given.stated.bundle == bundle.digest for given in grant.given) and not met(
        held, request.needs.approvals, request, bundle
    ):
        raise _forged(grant.given, "the grant never had the approvals that it took")
    raise _fallen("its approvals are not enough under the rules in force")


def holding(given: Given, request: Request, bundle: Bundle, ledger: History) -> Approval | None:
    """The approval, verified again; None where its signer was taken off the list by a later bundle.

    Raises LedgerError `ledger_tampered` for one that could not have been taken.
    """
    try:
        return recheck(given, request, bundle, ledger)
    except GateError as error:
        if error.code == "not_a_signer" and given.stated.bundle != bundle.digest:
            return None
        raise _forged((given,), error.message) from error


def _forged(given: tuple[Given, ...], why: str) -> GateError:
    return tampered(given[0].seq if given else 0, why)


def _fallen(why: str) -> GateError:
    return GateError(
        "bundle_changed", f"the grant does not stand under the bundle in force: {why}", remedy="Ask for a new grant."
    )
