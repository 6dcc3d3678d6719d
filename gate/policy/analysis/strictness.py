"""Which of two answers is the milder, and whether needs reach what an invariant wants. Intervals and sets; no rule."""

from dataclasses import replace

from gate.policy.globs import matches
from gate.policy.rules import VERDICTS, Floor
from gate.policy.verdict import Approvals, Needs

# What holds where no rule has an approvals block (docs/policy.md, Needs).
_ANYBODY = ("human:*",)
_USUAL = (Approvals(1, _ANYBODY, ("requester", "owner"), touch=True),)


def strictness(verdict: str) -> int:
    """A rank of a verdict: 0 is open, 2 is closed."""
    return VERDICTS.index(verdict)


def normal(needs: Needs | None) -> Needs | None:
    """`needs` in the one order in which equal ones are equal."""
    if needs is None:
        return None
    blocks = sorted(needs.approvals, key=lambda block: (block.count, block.from_, block.not_, block.touch))
    return replace(needs, ticket=tuple(sorted(needs.ticket)), approvals=tuple(blocks))


def milder(old: Needs, new: Needs) -> tuple[str, ...]:
    """The needs in which `new` lets something through that `old` does not, by their keys in a policy."""
    less = {
        "grant": old.grant and not new.grant,
        "ticket": not set(old.ticket) <= set(new.ticket),
        "reason_min": new.reason_min < old.reason_min,
        "ack_risk": old.ack_risk and not new.ack_risk,
        "ttl_max": _longer(old.ttl_max_seconds, new.ttl_max_seconds),
        "max_uses": _longer(old.max_uses, new.max_uses),
        "approvals": not all(_reached(block, new.approvals or _USUAL) for block in old.approvals or _USUAL),
    }
    return tuple(key for key, found in less.items() if found)


def short_of(needs: Needs, floor: Floor) -> tuple[str, ...]:
    """The keys of `floor` that `needs` do not reach."""
    signatures = max((block.count for block in needs.approvals), default=1)
    lacking = {
        "grant": floor.grant and not needs.grant,
        "ticket": floor.ticket and not needs.ticket,
        "reason_min": needs.reason_min < floor.reason_min,
        "ack_risk": floor.ack_risk and not needs.ack_risk,
        "ttl_max": _longer(floor.ttl_max_seconds, needs.ttl_max_seconds),
        "max_uses": _longer(floor.max_uses, needs.max_uses),
        "approvals": signatures < floor.approvals,
    }
    return tuple(key for key, found in lacking.items() if found)


def _longer(old: int | None, new: int | None) -> bool:
    """Whether a bound is beyond another; None: no bound."""
    return old is not None and (new is None or new > old)


def _reached(old: Approvals, blocks: tuple[Approvals, ...]) -> bool:
    """Whether whoever meets all of `blocks` meets `old` too, by one of them."""
    return any(_implies(block, old) for block in blocks)


def _implies(new: Approvals, old: Approvals) -> bool:
    return (
        new.count >= old.count
        and set(old.not_) <= set(new.not_)
        and new.touch >= old.touch
        and all(_within(item, old.from_) for item in new.from_)
    )


def _within(item: str, wider: tuple[str, ...]) -> bool:
    return item in wider or any(glob in _EVERYBODY or matches(glob, item) for glob in wider)


# Only persons approve, so these are everybody, members of groups too.
_EVERYBODY = frozenset({"*", *_ANYBODY})
