"""Asking the leave of a lease before anything is forwarded. Forwards nothing, keeps no record of its own."""

from gate.errors import GateError
from gate.proxy.lease import Lease, Passing
from gate.proxy.refusal import Refused


def check_live(lease: Lease) -> None:
    """Return only while something may pass under `lease`. Raises Refused with the reason for its end."""
    why = lease.stopped
    if why is not None:
        raise Refused(why)


async def admit(lease: Lease, passing: Passing | None = None) -> None:
    """Return when `passing` may be forwarded: on record and paid for where the lease has a leave.

    None: what is forwarded needs no record. Raises Refused, also when the lease ended while the record was written.
    """
    check_live(lease)
    if lease.leave is not None and passing is not None:
        try:
            await lease.leave.use(passing)
        except GateError as error:
            raise Refused(error.message) from error
        check_live(lease)
