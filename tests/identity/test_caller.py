"""Who asks: a claim never widens what the kernel and the bundle say."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings, strategies as st

from gate.errors import GateError
from gate.identity.caller import UNKNOWN_AGENT, Caller, who


@dataclass(frozen=True)
class Listing:
    owner: str | None = None
    groups: tuple[str, ...] = ()
    uids: tuple[int, ...] = ()


PRINCIPALS = {
    "agent:codex": Listing(owner="human:lee", groups=("robots",)),
    "agent:stray": Listing(),
    "human:ada": Listing(groups=("leads",), uids=(501,)),
    "human:lee": Listing(groups=("leads",)),
}


def test_an_agent_is_who_it_says_and_gains_nothing_by_it() -> None:
    """Listed: its groups and owner. Not listed, or nothing claimed: no groups. Always `claimed`."""
    assert who("agent:codex", 1000, PRINCIPALS) == Caller(
        "agent:codex", "claimed", "human:lee", frozenset({"robots"}), 1000
    )
    assert who("agent:new", 1000, PRINCIPALS) == Caller("agent:new", "claimed", None, frozenset(), 1000)
    assert who(None, 1000, PRINCIPALS).id == UNKNOWN_AGENT


def test_the_owner_behind_the_uid_stands_in_where_none_is_listed() -> None:
    """The person whom the kernel's uid maps to owns an agent that names no owner."""
    assert who("agent:stray", 501, PRINCIPALS).owner == "human:ada"
    assert who(None, 501, PRINCIPALS).owner == "human:ada"


def test_a_person_by_the_kernels_word() -> None:
    """The mapped uid, and nothing else, makes a claim to be that person good."""
    assert who("human:ada", 501, PRINCIPALS) == Caller("human:ada", "peer", "human:ada", frozenset({"leads"}), 501)


@settings(deadline=None)
@given(st.sampled_from(["human:ada", "human:lee", "human:nobody", "human:"]), st.integers(0, 70000))
def test_nobody_claims_to_be_a_person(claimed: str, uid: int) -> None:
    """Property: any other uid, any other person: refused."""
    if (claimed, uid) != ("human:ada", 501):
        with pytest.raises(GateError) as caught:
            who(claimed, uid, PRINCIPALS)
        assert caught.value.code == "denied_by_rule"


@pytest.mark.parametrize(
    "claimed", ["codex", "agent:", "Agent:codex", "agent:codex\n", "robot:x", "agent:\x1b[31m", "agent:" + "x" * 64]
)
def test_a_claim_is_an_id(claimed: str) -> None:
    """No name outside the vocabulary, which no rule could speak of."""
    with pytest.raises(GateError) as caught:
        who(claimed, 501, PRINCIPALS)
    assert caught.value.code == "denied_by_rule"
