"""deploy/convex/mcp-production-access-gate.sh: every check in its order, and a grant that really covers what is asked.

`gate` on PATH is a stand-in that notes its arguments and answers as it is told; the verb itself has tests of its own.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

SCRIPT = Path(__file__).parents[2] / "deploy" / "convex" / "mcp-production-access-gate.sh"
GOOD = {
    "OA_CONVEX_MCP_PROD_ACCESS_ENABLED": "1",
    "OA_CHANGE_TICKET": "OPS-1",
    "OA_MCP_PROD_ACCESS_REASON": "look at a row",
    "OA_MCP_PROD_ACKNOWLEDGE_RISK": "YES",
    "OA_MCP_PROD_ACCESS_TTL_MINUTES": "30",
    "OA_CONVEX_DEPLOYMENT": "prod",
}
VIEW, LOGS, WRITE = "deployment:data:view", "deployment:logs:view", "deployment:data:write"
# Value that fails, and what the reason says, in the order of the checks.
BAD = [
    ("OA_CONVEX_MCP_PROD_ACCESS_ENABLED", "0", "OA_CONVEX_MCP_PROD_ACCESS_ENABLED=1"),
    ("OA_CHANGE_TICKET", "", "OA_CHANGE_TICKET is empty"),
    ("OA_MCP_PROD_ACCESS_REASON", "", "OA_MCP_PROD_ACCESS_REASON is empty"),
    ("OA_MCP_PROD_ACKNOWLEDGE_RISK", "yes", "OA_MCP_PROD_ACKNOWLEDGE_RISK is not YES"),
    ("OA_MCP_PROD_ACCESS_TTL_MINUTES", "soon", "is not an integer"),
    ("OA_CONVEX_DEPLOYMENT", "", "OA_CONVEX_DEPLOYMENT is empty"),
]
STAND_IN = """\
#!/bin/sh
printf '%s\\n' "$@" >> "$(dirname "$0")/called"
cat "$(dirname "$0")/answer"
exit "$(cat "$(dirname "$0")/status")"
"""


def at(**delta: float) -> str:
    """A time from now, as the gate writes it."""
    moment = datetime.now(UTC) + timedelta(**delta)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def grant(*effects: str, state: str = "active", deployment: str = "prod", **more: Any) -> dict[str, Any]:
    """As `gate --json grants` lists it (docs/contract.md, Grant)."""
    base = {
        "gate": 1,
        "kind": "grant",
        "id": "grt-7k3f9q2m",
        "request": "req-4m2x8c7d",
        "state": state,
        "requester": "agent:codex",
        "owner": "human:ada",
        "deployment": deployment,
        "origin": "https://proud-lynx-456.convex.cloud",
        "effects": list(effects or (VIEW,)),
        "resources": {"functions": None, "tables": None, "variables": [], "components": []},
        "ttl_seconds": 1800,
        "max_uses": None,
        "used": 0,
        "made": at(minutes=-5),
        "first_use": None if state == "scheduled" else at(minutes=-1),
        "ends": at(minutes=30),
        "not_before": None,
        "why": None,
        "ended": None,
        "approvals": ["human:lee"],
        "single_person": False,
    }
    return base | more


@dataclass(frozen=True, slots=True)
class Door:
    """The script with a stand-in of `gate` in `folder`."""

    folder: Path

    def __call__(
        self, *grants: Any, env: Mapping[str, str] | None = None, without: str = "", answer: str | None = None
    ) -> tuple[int, str, str]:
        (self.folder / "answer").write_text(json.dumps({"grants": list(grants)}) if answer is None else answer)
        variables = {**GOOD, **(env or {}), "PATH": f"{self.folder}:{os.defpath}"}
        variables.pop(without, None)
        ran = subprocess.run([SCRIPT], env=variables, capture_output=True, text=True, check=False, timeout=20)
        return ran.returncode, ran.stdout, ran.stderr

    def calls(self) -> list[str]:
        """Arguments of every call of `gate`, one after the other."""
        called = self.folder / "called"
        return called.read_text().splitlines() if called.exists() else []


@pytest.fixture
def door(tmp_path: Path) -> Door:
    (tmp_path / "status").write_text("0")
    (tmp_path / "gate").write_text(STAND_IN)
    (tmp_path / "gate").chmod(0o755)
    (tmp_path / "python3").symlink_to(sys.executable)
    return Door(tmp_path)


def refused(result: tuple[int, str, str], reason: str) -> bool:
    code, out, err = result
    assert (code, out) == (1, ""), result
    assert err.startswith("MCP production access denied: ")
    return reason in err


def test_a_live_grant_that_covers_it_lets_through(door: Door) -> None:
    assert door(grant()) == (0, "MCP production access: grant grt-7k3f9q2m covers it\n", "")
    assert door.calls() == ["--json", "grants"]


def test_with_nothing_set_it_is_denied(door: Door) -> None:
    (door.folder / "answer").write_text(json.dumps({"grants": [grant()]}))
    ran = subprocess.run([SCRIPT], env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=False)
    assert refused((ran.returncode, ran.stdout, ran.stderr), BAD[0][2])


@pytest.mark.parametrize("first", range(len(BAD)))
def test_the_first_check_that_fails_gives_the_reason(door: Door, first: int) -> None:
    """All later ones fail too, and nobody is asked."""
    result = door(grant(), env={name: value for name, value, _ in BAD[first:]})
    assert refused(result, BAD[first][2])
    assert door.calls() == []


@pytest.mark.parametrize(("name", "value", "reason"), BAD)
def test_each_variable_is_needed(door: Door, name: str, value: str, reason: str) -> None:
    """Wrong or not there at all."""
    assert refused(door(grant(), env={name: value}), reason)
    assert refused(door(grant(), without=name), reason)
    assert door.calls() == []


@pytest.mark.parametrize("value", ["", "0", "2", "01", "1 ", " 1", "true", "yes"])
def test_enabled_is_1_and_nothing_else(door: Door, value: str) -> None:
    assert refused(door(grant(), env={"OA_CONVEX_MCP_PROD_ACCESS_ENABLED": value}), "ENABLED=1")


@pytest.mark.parametrize("value", ["YES ", "Yes", "1", "YES\nYES", "NO"])
def test_the_risk_is_acknowledged_in_one_word(door: Door, value: str) -> None:
    assert refused(door(grant(), env={"OA_MCP_PROD_ACKNOWLEDGE_RISK": value}), "is not YES")


@pytest.mark.parametrize("value", ["1", "60", "07", "08", "010", "0060"])
def test_a_ttl_in_bounds_is_taken(door: Door, value: str) -> None:
    """Read as decimal, whatever zeros stand in front."""
    assert door(grant(), env={"OA_MCP_PROD_ACCESS_TTL_MINUTES": value})[0] == 0


@pytest.mark.parametrize(
    "value", ["", "1e1", " 5", "5 ", "-1", "+5", "5.0", "0x5", "5\n", "5\n6", "五", "$(id)", "5;id", "a[0]"]
)
def test_a_ttl_that_is_no_integer_is_refused(door: Door, value: str) -> None:
    assert refused(door(grant(), env={"OA_MCP_PROD_ACCESS_TTL_MINUTES": value}), "is not an integer")


@pytest.mark.parametrize("value", ["0", "00", "61", "061", "99", "100", "600", "18446744073709551617", "9" * 400])
def test_a_ttl_out_of_bounds_is_refused(door: Door, value: str) -> None:
    """Also one that overflows a machine's integer into the bounds."""
    assert refused(door(grant(), env={"OA_MCP_PROD_ACCESS_TTL_MINUTES": value}), "between 1 and 60")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 200), st.integers(0, 3))
def test_ttls_are_in_bounds_or_refused(door: Door, minutes: int, zeros: int) -> None:
    result = door(grant(), env={"OA_MCP_PROD_ACCESS_TTL_MINUTES": "0" * zeros + str(minutes)})
    assert (result[0] == 0) is (1 <= minutes <= 60), result


@pytest.mark.parametrize(
    "other",
    [
        *(grant(state=state) for state in ("expired", "revoked", "exhausted", "dropped", "closing", "closed")),
        grant(state="cut_failed"),
        grant(state="ACTIVE"),
        grant(ends=at(seconds=-1)),
        grant(state="scheduled", ends=at(days=-1)),
        grant(state="scheduled", ends=None, not_before=at(hours=1)),
        grant(deployment="dev"),
        grant(deployment="prod2"),
        grant(LOGS),
        grant("deployment:data:*"),
        grant("deployment:data:viewer"),
    ],
    ids=lambda other: f"{other['state']} {other['deployment']} {'+'.join(other['effects'])}",
)
def test_a_grant_that_is_over_or_about_something_else_counts_for_nothing(door: Door, other: dict[str, Any]) -> None:
    assert refused(door(other), "no live grant covers")
    assert door(other, grant())[0] == 0


def test_no_grant_at_all_is_a_refusal(door: Door) -> None:
    assert refused(door(), "no live grant covers")


@pytest.mark.parametrize("live", [{"ends": None}, {"not_before": at(minutes=-1)}, {"state": "scheduled", "ends": None}])
def test_a_grant_whose_clock_has_not_begun_is_live(door: Door, live: dict[str, Any]) -> None:
    """It begins with the first use."""
    assert door(grant(**live))[0] == 0


@pytest.mark.parametrize(("most", "used", "covers"), [(1, 0, True), (5, 4, True), (1, 1, False), (5, 6, False)])
def test_a_grant_whose_uses_are_spent_covers_no_other_call(door: Door, most: int, used: int, covers: bool) -> None:
    """It stays active while its last call runs."""
    assert (door(grant(max_uses=most, used=used))[0] == 0) is covers


def test_a_grant_of_somebody_else_covers_nothing(door: Door) -> None:
    """Where it is known who calls; else nobody is asked for a name."""
    ours, theirs = grant(), grant(requester="agent:claude")
    assert refused(door(theirs, env={"GATE_PRINCIPAL": "agent:codex"}), "no live grant covers")
    assert door(theirs, ours, env={"GATE_PRINCIPAL": "agent:codex"})[0] == 0
    assert door(theirs, env={"GATE_PRINCIPAL": ""})[0] == 0
    assert refused(door(ours, env={"GATE_PRINCIPAL": "agent:*"}), "no live grant covers")


def test_one_grant_has_to_cover_every_effect(door: Door) -> None:
    """Two halves are not a whole: exactly one grant covers a call."""
    env = {"OA_CONVEX_EFFECTS": f"{VIEW},{LOGS}"}
    assert refused(door(grant(VIEW), grant(LOGS), env=env), "no live grant covers")
    assert door(grant(LOGS, WRITE, VIEW), env=env)[0] == 0
    assert refused(door(grant(LOGS), env={"OA_CONVEX_EFFECTS": ""}), "no live grant covers")
    assert door(grant(LOGS), env={"OA_CONVEX_EFFECTS": LOGS})[0] == 0


@pytest.mark.parametrize("effects", [",", f"{VIEW},", f"{VIEW}, {LOGS}", "*", "deployment:*", f"{VIEW} {LOGS}", "-h"])
def test_effects_that_are_none_are_covered_by_nothing(door: Door, effects: str) -> None:
    assert refused(door(grant(VIEW, LOGS), env={"OA_CONVEX_EFFECTS": effects}), "no live grant covers")


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"grants": null}',
        '{"grants": [null]}',
        '{"grants": [{}]}',
        '{"grants": [{"state": "active"}]}',
        '{"grants": 1',
        "[" * 100_000,
        json.dumps({"grants": [grant(ends="soon")]}),
        json.dumps({"grants": [grant(ends=5)]}),
        json.dumps({"grants": [grant(ends="2999-01-01T00:00:00")]}),
        json.dumps({"grants": [{**grant(), "effects": 5}]}),
        json.dumps({"grants": [{**grant(), "max_uses": "1"}]}),
        json.dumps({"grants": [{name: value for name, value in grant(max_uses=1).items() if name != "used"}]}),
    ],
    ids=lambda answer: answer[:40],
)
def test_an_answer_that_makes_no_sense_is_a_refusal(door: Door, answer: str) -> None:
    """Doubt denies."""
    assert refused(door(answer=answer), "cannot be understood")


def test_effects_that_are_one_text_are_not_a_list_of_them(door: Door) -> None:
    """Its letters are not effects."""
    assert refused(door({**grant(), "effects": "view"}, env={"OA_CONVEX_EFFECTS": "v"}), "cannot be understood")


def test_a_gate_that_refuses_or_is_not_there_is_a_refusal(door: Door) -> None:
    """Even if it printed a grant before it failed."""
    (door.folder / "status").write_text("74")
    assert refused(door(grant()), "did not say")
    (door.folder / "gate").unlink()
    code, out, err = door(grant())
    assert (code, out) == (1, "")
    assert "did not say" in err


def test_what_the_callers_python_would_load_is_not_loaded(door: Door) -> None:
    """The judgement is about the answer, not about a module that lies in the way."""
    (door.folder / "json.py").write_text("import os\nos._exit(0)\n")
    (door.folder / "sitecustomize.py").write_text("import os\nos._exit(0)\n")
    assert refused(door(env={"PYTHONPATH": str(door.folder)}), "no live grant covers")


def test_what_the_caller_wrote_is_neither_run_nor_shown(door: Door) -> None:
    env = {
        "OA_CHANGE_TICKET": "$(touch pwned)\x1b[2J",
        "OA_MCP_PROD_ACCESS_REASON": "`touch pwned`",
        "OA_CONVEX_DEPLOYMENT": "prod'; touch pwned; '",
        "OA_CONVEX_EFFECTS": "$(touch pwned)\x1b[2J",
    }
    result = door(grant(), env=env)
    assert refused(result, "no live grant covers")
    assert "\x1b" not in result[2]
    assert "pwned" not in result[2]
    assert "\x1b" not in door(grant(id="grt\x1b[2J"))[1]


def test_the_script_is_portable_and_executable() -> None:
    """It is a POSIX shell's, and its mode is in the tree."""
    assert SCRIPT.read_text().startswith("#!/bin/sh\n")
    assert os.access(SCRIPT, os.X_OK)
