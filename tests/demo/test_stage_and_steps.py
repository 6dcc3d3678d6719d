"""What the demo's steps are judged by: they hold only when nothing else can have happened."""

import subprocess
from pathlib import Path

import pytest

from gate.demo.forgery import forge_grant
from gate.demo.stage import PROD_KEY, Call, Came, Stage
from gate.demo.standin import Recorded, StandIn
from gate.demo.step import is_secret_in, last_line, latency_ms, reached, stopped
from gate.errors import GateError

REFUSED = Came(77, "", "  a remedy\ngate: grant_required: it needs a grant\n")


@pytest.fixture
def made(tmp_path: Path) -> Stage:
    return Stage(tmp_path, StandIn("dev"), StandIn(PROD_KEY))


def calling(folder: Path, *words: str) -> Call:
    """A call that is this program."""
    out, err = folder / "out", folder / "err"
    with out.open("w") as stdout, err.open("w") as stderr:
        return Call(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr), out, err)


@pytest.mark.parametrize(
    ("came", "held"),
    [
        (REFUSED, True),
        (Came(0, "", REFUSED.err), False),
        (Came(74, "", REFUSED.err), False),
        (Came(77, "", "gate: no_rule: no rule allows it\n"), False),
        (Came(77, "", REFUSED.err + "and more\n"), False),
        (Came(77, REFUSED.err, ""), False),
    ],
)
def test_a_refusal_is_one_with_this_code_in_its_last_line(made: Stage, came: Came, held: bool) -> None:
    assert stopped(made, "tried", "gate", came, "grant_required").held is held


def test_a_refusal_that_production_saw_is_none(made: Stage) -> None:
    made.prod.requests.append(Recorded("POST", "/api/query", None, None))
    assert not stopped(made, "tried", "gate", REFUSED, "grant_required").held
    assert stopped(made, "tried", "gate", REFUSED, "grant_required", seen=1).held


def test_what_reached_production_is_told_by_its_credential(made: Stage) -> None:
    made.prod.requests += [
        Recorded("GET", "/before", PROD_KEY, None),
        Recorded("GET", "/instance_name", None, None),
        Recorded("POST", "/api/query", PROD_KEY, {"path": "messages:list"}),
        Recorded("POST", "/api/import", "a token", 17),
        Recorded("GET", "/version", None, None),
    ]
    assert reached(made, 1).splitlines() == [
        "reached production without a key: GET /instance_name, GET /version",
        "reached production with the real key: POST /api/query messages:list",
        "reached production with ANOTHER key: POST /api/import",
    ]
    assert reached(made, 5) == ""


def test_a_key_is_found_by_its_secret_alone() -> None:
    secret = PROD_KEY.rpartition("|")[2]
    assert is_secret_in(f"argv: {secret}")
    assert is_secret_in(f"CONVEX_DEPLOY_KEY={PROD_KEY}")
    assert not is_secret_in("prod:proud-lynx-456|2dd5c3db")


@pytest.mark.parametrize(
    ("shown", "latency"),
    [
        (Came(0, '{"cut": {"latency_ms": 48, "failed": null}}', ""), 48),
        (Came(0, '{"cut": {"latency_ms": null, "failed": "it answered"}}', ""), None),
        (Came(0, '{"cut": null}', ""), None),
        (Came(64, "", "gate: usage: there is no such grant"), None),
    ],
)
def test_only_a_probe_on_record_is_a_latency(shown: Came, latency: int | None) -> None:
    assert latency_ms(shown) == latency


def test_no_last_line_is_an_empty_one() -> None:
    assert last_line(Came(0, "out", "\n")) == ""


def test_a_call_is_waited_for_until_it_shows_something(tmp_path: Path) -> None:
    call = calling(tmp_path, "sh", "-c", "sleep 0.1; echo ready; sleep 60")
    assert call.shows("ready")
    assert not call.shows("more", 0.05)
    assert call.ended(0.05) == Came(-9, "ready\n", "")


def test_a_call_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    call = calling(tmp_path, "sh", "-c", "echo failed >&2; exit 3")
    assert not call.shows("ready", 60)
    assert call.ended() == Came(3, "", "failed\n")


def test_nothing_is_forged_without_a_request(tmp_path: Path, made: Stage) -> None:
    folder = tmp_path / "own"
    folder.mkdir(mode=0o700)
    for _ in range(2):
        with pytest.raises(GateError, match="no such request"):
            forge_grant(folder / "ledger.db", "req-none", "human:lee", made.key("mallory"))
