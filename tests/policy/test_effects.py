"""The vocabulary of effects, and what brings what."""

from hypothesis import given, settings, strategies as st

from gate.intent.effects import DEPLOYMENT_EFFECTS, EFFECTS, implied
from gate.intent.kind import KIND_EFFECTS


def test_every_effect_of_a_kind_is_in_the_vocabulary() -> None:
    assert {effect for effects in KIND_EFFECTS.values() for effect in effects} <= EFFECTS


def test_deployed_code_and_keys_can_do_anything_and_variables_steer_writes() -> None:
    assert set(implied(["deployment:deploy"])) == DEPLOYMENT_EFFECTS - {"deployment:deploy"}
    assert set(implied(["deployment:token:create"])) == DEPLOYMENT_EFFECTS - {"deployment:token:create"}
    assert implied(["deployment:env:write"]) == ("deployment:data:write",)
    assert implied(["deployment:data:view", "local:run"]) == ()
    assert implied([]) == ()


@settings(deadline=None)
@given(st.sets(st.sampled_from(sorted(EFFECTS))))
def test_what_is_implied_is_sorted_closed_and_not_stated(effects: set[str]) -> None:
    brought = implied(effects)
    assert list(brought) == sorted(brought)
    assert not set(brought) & effects
    assert implied({*effects, *brought}) == ()
