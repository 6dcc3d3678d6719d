"""What a reviewer sees: the gate's facts, loud where they are grave, and never a line that an agent has written."""

import unicodedata
from itertools import dropwhile, takewhile
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gate.cli import screen

ORIGIN = "https://proud-lynx-456.convex.cloud"
HEADING = "what the agent says (not verified):"
BLOCK = {"count": 1, "from": ["group:leads"], "not": ["requester", "owner"], "touch": True}
NEEDS = {
    "grant": True,
    "ticket": ["OPS-[0-9]+"],
    "reason_min": 12,
    "ack_risk": True,
    "ttl_max_seconds": 3600,
    "max_uses": None,
    "approvals": [BLOCK],
}
APPROVAL = {
    "signer": "human:lee",
    "touched": True,
    "single_person": False,
    "at": "2026-02-19T10:14:05.123Z",
    "effects": ["deployment:data:view"],
    "ttl_seconds": 900,
    "max_uses": 2,
}


def requested(**changes: Any) -> dict[str, Any]:
    """A request as the keeper answers it."""
    return {
        "gate": 1,
        "kind": "request",
        "id": "req-7k3f9q2m",
        "digest": "sha256:" + "0" * 64,
        "state": "pending",
        "requester": "agent:codex",
        "owner": "human:ada",
        "uid": 1000,
        "excluded": ["human:ada"],
        "deployment": "prod",
        "class": "prod",
        "origin": ORIGIN,
        "effects": ["deployment:data:view"],
        "resources": {"functions": [], "tables": ["messages"], "variables": [], "components": []},
        "ttl_seconds": 1800,
        "max_uses": 3,
        "not_before": None,
        "made": "2026-02-19T10:04:05.123Z",
        "lapses": "2026-02-22T10:04:05.123Z",
        "needs": NEEDS,
        "bundle": "sha256:" + "1" * 64,
        "decision": "dec-7k3f9q2m",
        "grant": None,
        "approvals": [],
        "ended": None,
        "enforcement": "advisory",
        "claims": {"ticket": "OPS-411", "reason": "users see stale messages", "ack_risk": True},
        **changes,
    }


def granted(**changes: Any) -> dict[str, Any]:
    """A grant as the keeper answers it."""
    taken = ("requester", "owner", "deployment", "origin", "effects", "resources", "ttl_seconds", "max_uses")
    return {
        **{name: value for name, value in requested().items() if name in taken},
        "gate": 1,
        "kind": "grant",
        "id": "grt-7k3f9q2m",
        "request": "req-7k3f9q2m",
        "state": "active",
        "used": 1,
        "made": "2026-02-19T10:14:05.123Z",
        "first_use": "2026-02-19T10:15:05.123Z",
        "ends": "2026-02-19T10:45:05.123Z",
        "not_before": None,
        "why": None,
        "ended": None,
        "cut": None,
        "approvals": ["human:lee"],
        "single_person": False,
        **changes,
    }


def facts(shown: str) -> list[str]:
    """The lines of a screen that are the gate's own."""
    return shown.partition(HEADING)[0].splitlines()


def fact(shown: str, label: str) -> str:
    """What stands behind `label`, on one line."""
    first, *behind = dropwhile(lambda line: not f"{line} ".startswith(f"  {label} "), facts(shown)[1:])
    lines = [first, *takewhile(lambda line: line.startswith(" " * 15), behind)]
    return " ".join(" ".join(lines).split()).removeprefix(f"{label} ")


def columns(line: str) -> int:
    """How much room a line takes on the terminal that gives it the most."""
    return sum(2 if unicodedata.east_asian_width(one) in "FWA" else 1 for one in line)


def test_one_screen_says_what_is_asked_for() -> None:
    shown = screen.request_screen(requested())
    assert len(shown.splitlines()) <= 24
    assert facts(shown)[0] == "request req-7k3f9q2m, pending, lapses 2026-02-22T10:04:05.123Z (advisory)"
    assert fact(shown, "deployment") == "prod, class prod"
    assert fact(shown, "origin") == ORIGIN
    assert fact(shown, "effects") == "deployment:data:view"
    assert fact(shown, "functions") == "none"
    assert fact(shown, "tables") == "messages"
    assert fact(shown, "for") == "30m from first use"
    assert fact(shown, "uses") == "3"
    assert fact(shown, "asked by").startswith("agent:codex, owner human:ada, uid 1000")
    assert fact(shown, "not to sign") == "agent:codex, human:ada"
    assert fact(shown, "rules want") == (
        "1 of group:leads by touch, not requester, owner; ticket OPS-[0-9]+; 1h at most"
    )
    assert fact(shown, "approved by") == "nobody so far"
    assert shown.partition(HEADING)[2].splitlines() == [
        "",
        "  | ticket: OPS-411",
        "  | reason: users see stale messages",
        "  | acknowledges the risk: yes",
    ]
    assert "!!" not in shown


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        ("deployment:data:write", "CHANGES DATA"),
        ("deployment:deploy", "REPLACES THE CODE"),
        ("deployment:env:write", "CHANGES ENVIRONMENT"),
        ("deployment:functions:actAsUser", "ACTS AS ANY USER"),
    ],
)
def test_what_a_tired_reviewer_must_not_overlook_comes_first(effect: str, said: str) -> None:
    effects = ["deployment:data:view", effect]
    for shown in (
        screen.request_screen(requested(effects=effects)),
        screen.request_screen(requested(effects=effects), received=True),
        screen.grant_screen(granted(effects=effects), requested()),
    ):
        assert shown.splitlines()[1].startswith(f"  !! {said}")
        assert f"({effect})" in shown.splitlines()[1]


def test_any_is_said_where_it_is_any() -> None:
    resources = dict.fromkeys(("functions", "tables", "variables", "components"))
    shown = screen.request_screen(requested(resources=resources, max_uses=None, **{"class": None}))
    assert fact(shown, "functions") == "ANY of the functions"
    assert fact(shown, "tables") == "ANY of the tables"
    assert fact(shown, "uses") == "ANY NUMBER"
    assert fact(shown, "deployment") == "prod, NOT REGISTERED"
    assert "1/ANY" in screen.grant_row(granted(max_uses=None))


def test_a_request_that_its_owner_may_approve_is_loud() -> None:
    by_owner = {**NEEDS, "approvals": [{**BLOCK, "not": ["requester"], "touch": False}]}
    shown = screen.request_screen(requested(needs=by_owner, excluded=[]))
    assert "  !! SINGLE-PERSON: the rules let the owner approve this" in shown.splitlines()
    assert fact(shown, "not to sign") == "agent:codex"
    assert "WITHOUT touch" in fact(shown, "rules want")
    assert "SINGLE-PERSON" not in screen.request_screen(requested(needs=by_owner))


def test_rules_that_name_nobody_want_somebody_else_all_the_same() -> None:
    shown = screen.request_screen(requested(needs={**NEEDS, "approvals": [], "max_uses": 5}, excluded=[]))
    assert fact(shown, "rules want").startswith("1 of human:* by touch, not requester, owner")
    assert fact(shown, "rules want").endswith("5 uses at most")
    assert fact(shown, "not to sign") == "agent:codex, human:ada"


def test_approvals_are_shown_with_what_they_give() -> None:
    single = {**APPROVAL, "touched": False, "single_person": True, "max_uses": None}
    shown = screen.request_screen(requested(approvals=[APPROVAL]))
    assert fact(shown, "approved by") == (
        "human:lee at 2026-02-19T10:14:05.123Z, by touch; gives 15m, uses: 2, deployment:data:view"
    )
    shown = screen.request_screen(requested(approvals=[single]))
    assert "WITHOUT touch, SINGLE-PERSON; gives 15m, uses: ANY NUMBER" in fact(shown, "approved by")
    assert shown.splitlines()[1] == "  !! SINGLE-PERSON: the owner has approved it"


def test_the_end_of_a_request_is_shown() -> None:
    end = {"how": "denied", "by": "human:lee", "reason": "not\nnow"}
    shown = screen.request_screen(requested(state="denied", ended=end))
    assert facts(shown)[0] == "request req-7k3f9q2m, denied (advisory)"
    assert fact(shown, "ended") == "denied by human:lee: not\\x0anow"
    for reason in (None, "", "lapsed"):
        assert screen.ended({"how": "lapsed", "by": None, "reason": reason}) == "lapsed"
    assert screen.ended({"how": "lapsed", "by": None, "reason": "bundle_changed"}) == "lapsed: bundle_changed"
    shown = screen.request_screen(requested(state="approved", grant="grt-7k3f9q2m"))
    assert fact(shown, "grant") == "grt-7k3f9q2m"


def test_a_text_that_was_handed_on_promises_nothing_about_now() -> None:
    shown = screen.request_screen(requested(approvals=[], not_before="2026-02-20T00:00:00.000Z"), received=True)
    assert "hold to its origin" in facts(shown)[0]
    assert "class" not in "".join(facts(shown))
    assert "approved by" not in shown
    assert "pending" not in shown
    assert fact(shown, "for") == "30m from first use, not before 2026-02-20T00:00:00.000Z"


def test_a_grant_on_one_screen() -> None:
    shown = screen.grant_screen(granted(), requested())
    assert len(shown.splitlines()) <= 24
    assert facts(shown)[0] == "grant grt-7k3f9q2m is active, ends at the latest 2026-02-19T10:45:05.123Z"
    assert fact(shown, "for") == "30m from 2026-02-19T10:15:05.123Z"
    assert fact(shown, "uses") == "1/3 charged"
    assert fact(shown, "approved by") == "human:lee"
    over = granted(why="revoked", ended="2026-02-19T10:20:00.000Z", first_use=None, single_person=True)
    shown = screen.grant_screen(over, requested())
    assert fact(shown, "ended") == "revoked at 2026-02-19T10:20:00.000Z"
    assert fact(shown, "for") == "30m from first use, not used yet"
    assert "  !! SINGLE-PERSON: the owner approved it" in shown.splitlines()


def test_a_cut_is_shown_and_one_that_failed_comes_first() -> None:
    shown = screen.grant_screen(granted(cut={"latency_ms": 12, "failed": None}), requested())
    assert fact(shown, "cut") == "no access was left 12 ms after the end"
    assert "!!" not in shown
    failed = granted(cut={"latency_ms": None, "failed": "POST /api/query\n passed"}, effects=["deployment:deploy"])
    shown = screen.grant_screen(failed, requested())
    assert shown.splitlines()[1].startswith("  !! CUT FAILED, replace the key of this deployment: POST /api/query\\x0a")
    assert "no access" not in shown


def test_lists_have_one_line_each() -> None:
    assert screen.request_row(requested(ttl_seconds=90)) == (
        "req-7k3f9q2m pending agent:codex prod 90s deployment:data:view"
    )
    assert screen.grant_row(granted()) == (
        "grt-7k3f9q2m active agent:codex prod ends 2026-02-19T10:45:05.123Z used 1/3 deployment:data:view"
    )


HOSTILE = st.text(
    st.one_of(st.characters(), st.sampled_from("\n\r\x1b\u202e\u2028\u3000|\0 \u00e9\u65e5"))
) | st.sampled_from(["x\n  !! SIGNED ALREADY", "x   uses         1", f"{HEADING}\n", "\x1b[2J", "é" * 400, "日" * 400])


@given(ticket=HOSTILE, reason=HOSTILE)
def test_words_of_the_agent_stay_behind_the_bar(ticket: str, reason: str) -> None:
    """Whatever the words: no line without the bar, none that a terminal would break, none of the gate's facts moves."""
    plain = screen.request_screen(requested())
    shown = screen.request_screen(requested(claims={"ticket": ticket, "reason": reason, "ack_risk": False}))
    assert facts(shown) == facts(plain)
    claimed = shown.split("\n")[len(facts(plain)) + 1 :]
    assert shown.split("\n")[len(facts(plain))] == HEADING
    assert all(line.startswith("  | ") and columns(line) <= 80 for line in claimed)
    assert all(line.isprintable() for line in claimed)
    assert claimed[-1] == "  | acknowledges the risk: NO"


@given(name=HOSTILE.filter(bool))
def test_names_of_the_agent_stay_words(name: str) -> None:
    """A table can be called anything: it fills its own place and no other."""
    resources = {**requested()["resources"], "tables": [name]}
    shown = screen.request_screen(requested(resources=resources))
    plain = screen.request_screen(requested())
    assert shown.isascii()
    assert all(len(line) <= 100 for line in shown.splitlines())
    assert not set(fact(shown, "tables").replace(" ", "")) - set(map(chr, range(33, 127)))
    kept = [line for line in facts(shown) if not line.startswith(("  tables", " " * 15))]
    assert kept == [line for line in facts(plain) if not line.startswith(("  tables", " " * 15))]


@given(st.one_of(st.none(), st.integers(), HOSTILE))
def test_a_word_is_one_word(value: Any) -> None:
    assert all("!" <= one <= "~" for one in screen.word(value))


def test_marks_that_stack_are_spelled_out() -> None:
    assert screen.said("a\u0301\u0348b") == "a\\u0301\\u0348b"
    assert screen.said("na\u00efve") == "na\u00efve"
