"""Nobody but the keeper of a project's folder can make a selector, and each is good for one deployment of it."""

import base64
import json
import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from gate.errors import GateError
from gate.keeper.selectors import deployment_of, selector

NAMES = st.text(string.ascii_lowercase + string.digits + "-_", min_size=1, max_size=40)
ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def _refused(state: Path, project: str, given_selector: str | None) -> bool:
    try:
        deployment_of(state, project, given_selector)
    except GateError as error:
        return error.code == "unknown_deployment"
    return False


@ONE_FOLDER
@given(project=NAMES, deployment=NAMES)
def test_what_is_given_out_is_resolved(tmp_path: Path, project: str, deployment: str) -> None:
    """Names of every length: the encoding pads them differently."""
    made = selector(tmp_path, project, deployment)
    assert deployment_of(tmp_path, project, made) == deployment
    assert selector(tmp_path, project, deployment) == made
    assert set(made) <= set(string.ascii_letters + string.digits + "-_")


@ONE_FOLDER
@given(project=NAMES, deployment=NAMES, other=NAMES)
def test_a_selector_is_good_for_its_own_project_only(tmp_path: Path, project: str, deployment: str, other: str) -> None:
    """Even in one folder of state."""
    made = selector(tmp_path, project, deployment)
    assert _refused(tmp_path, other, made) is (project != other)


@ONE_FOLDER
@given(deployment=NAMES, place=st.integers(0, 200), char=st.sampled_from(string.ascii_letters + "=+/ \n"))
def test_no_other_spelling_is_one(tmp_path: Path, deployment: str, place: int, char: str) -> None:
    """One character changed, added or lost."""
    made = selector(tmp_path, "chat", deployment)
    at = place % len(made)
    for spelling in (made[:at] + char + made[at + 1 :], made[:at] + char + made[at:], made[:at] + made[at + 1 :]):
        assert spelling == made or _refused(tmp_path, "chat", spelling)


@ONE_FOLDER
@given(code=st.binary(min_size=16, max_size=16), deployment=NAMES)
def test_a_made_up_code_is_none(tmp_path: Path, code: bytes, deployment: str) -> None:
    """The right form with a guess in front."""
    forged = base64.urlsafe_b64encode(code + json.dumps(["chat", deployment]).encode()).decode().rstrip("=")
    assert _refused(tmp_path, "chat", forged)


@ONE_FOLDER
@given(st.text(max_size=200))
def test_any_other_text_is_none(tmp_path: Path, given_selector: str) -> None:
    """Not base64, not JSON, no pair, half a surrogate."""
    assert _refused(tmp_path, "chat", given_selector)


@pytest.mark.parametrize(
    "payload", [b"", b"1", b'"x"', b"[]", b'["chat"]', b'["chat", 1]', b'["chat", "prod", 1]', b"[" * 5000, b"{}"]
)
def test_a_payload_of_another_form_is_none(tmp_path: Path, payload: bytes) -> None:
    """Whoever decodes it meets no surprise."""
    assert _refused(tmp_path, "chat", base64.urlsafe_b64encode(bytes(16) + payload).decode().rstrip("="))
    assert _refused(tmp_path, "chat", None)
    assert _refused(tmp_path, "chat", "\ud800")


def test_a_folder_that_was_made_anew_knows_no_old_selector(tmp_path: Path) -> None:
    """The secret is the folder's own, readable by its owner only."""
    old = selector(tmp_path, "chat", "prod")
    (tmp_path / "selectors").unlink()
    assert _refused(tmp_path, "chat", old)
    assert selector(tmp_path, "chat", "prod") != old
    assert (tmp_path / "selectors").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"0" * 10])
def test_a_spoiled_secret_makes_no_selectors(tmp_path: Path, content: bytes) -> None:
    """An empty one could be guessed by anybody."""
    (tmp_path / "selectors").write_bytes(content)
    with pytest.raises(GateError, match="spoiled"):
        selector(tmp_path, "chat", "dev")
    with pytest.raises(GateError, match="spoiled"):
        deployment_of(tmp_path, "chat", _any())


def _any() -> str:
    return base64.urlsafe_b64encode(bytes(16) + b'["chat", "dev"]').decode().rstrip("=")


def test_a_half_written_secret_is_replaced_whole(tmp_path: Path) -> None:
    """What a keeper that died left beside it does not count."""
    (tmp_path / "selectors.new").write_bytes(b"half")
    assert deployment_of(tmp_path, "chat", selector(tmp_path, "chat", "dev")) == "dev"
