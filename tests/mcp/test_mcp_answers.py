import json
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gate.errors import GateError
from gate.mcp import answers, catalogue

DECISION: dict[str, Any] = {
    "gate": 1, "kind": "decision", "id": "dec-7k3f9q2m", "time": "2026-02-19T10:04:05.123Z", "enforcement": "advisory",
    "verdict": "grant_required", "code": "grant_required", "exit": 77,
    "message": "deployment:data:view on prod needs a grant",
    "principal": {"id": "agent:codex", "proof": "claimed", "owner": "human:ada"}, "door": "mcp",
    "intent": {"command": "data", "effects": ["deployment:data:view"], "resources": {"tables": ["messages"]}},
    "target": {"deployment": "prod", "class": "prod", "url": "https://proud-lynx-456.convex.cloud", "chosen_by": "x"},
    "rules": [{"id": "prod-under-grant", "verb": "require", "at": "policies/production.yaml:8:5",
               "because": "Somebody else signs for production."}],
    "needs": {"grant": True, "ticket": ["OPS-[0-9]+"], "reason_min": 12, "ack_risk": True, "ttl_max_seconds": 3600,
              "approvals": [{"count": 1, "from": ["group:leads"], "not": ["requester", "owner"]}]},
    "indeterminate": [], "grant": None, "request": None,
    "remedy": {"text": "Ask for access", "argv": ["gate", "request", "--for", "dec-7k3f9q2m", "--ticket", "<ticket>",
                                                  "--reason", "<reason>", "--ttl", "30m", "--ack-risk"]},
    "bundle": "sha256:0",
}  # fmt: skip


def text(result: dict[str, Any]) -> list[str]:
    assert [block["type"] for block in result["content"]] == ["text"]
    lines: list[str] = result["content"][0]["text"].split("\n")
    return lines


def test_a_denial_teaches() -> None:
    """What, by which rule, what would make it pass, and how to ask for it, in the words of the tool that asks."""
    result = answers.denial(DECISION)
    assert text(result) == [
        "Refused (grant_required): deployment:data:view on prod needs a grant",
        "Rule prod-under-grant (policies/production.yaml:8:5): Somebody else signs for production.",
        (
            "To pass: a ticket that matches OPS-[0-9]+; a reason of at least 12 characters; a ttl of at most 3600s; "
            "ack_risk true; 1 approval from group:leads."
        ),
        (
            'Ask for it: gate_request_access {"decision": "dec-7k3f9q2m", "ticket": "<ticket>", "reason": "<reason>", '
            '"ttl": "30m", "ack_risk": true}'
        ),
        "A person decides. Do not wait: go on, and call again once it is granted.",
    ]
    assert result["isError"] is True
    assert result["structuredContent"] == {"decision": DECISION}


def test_the_arguments_that_a_denial_gives_are_taken_as_they_are() -> None:
    told = text(answers.denial(DECISION))[3].removeprefix("Ask for it: gate_request_access ")
    assert catalogue.TOOLS["gate_request_access"].problems(json.loads(told)) == []


@pytest.mark.parametrize(
    ("argv", "asked"),
    [
        (
            ["gate", "request", "--deployment", "prod", "--effect", "a:b", "--effect", "c:d", "--max-uses", "3"],
            {"deployment": "prod", "effects": ["a:b", "c:d"], "max_uses": 3},
        ),
        (["gate", "request", "--ack-risk", "--max-uses", "<n>"], {"ack_risk": True, "max_uses": "<n>"}),
        (["gate", "request", "--for"], {"decision": ""}),
        (["gate", "request"], {}),
        (["gate", "request", "--new-option", "x"], None),
        (["gate", "grants"], None),
        ([], None),
        (None, None),
    ],
)
def test_only_a_request_becomes_arguments(argv: list[str] | None, asked: object) -> None:
    """An option that is not known here is not guessed at."""
    assert answers.request_arguments(argv) == asked


@pytest.mark.parametrize(
    ("remedy", "told"),
    [
        ({"text": "Ask an owner.", "argv": None}, ["Ask an owner."]),
        ({"text": "See.", "argv": ["gate", "grants"]}, ["See. Command: gate grants"]),
        ({"text": "", "argv": None}, []),
        (None, []),
    ],
)
def test_another_way_out_is_told_as_it_is(remedy: object, told: list[str]) -> None:
    denied = {**DECISION, "rules": [], "needs": None, "remedy": remedy}
    assert text(answers.denial(denied))[1:] == told


def test_few_needs_are_told_as_few() -> None:
    needs = {"grant": True, "ticket": [], "reason_min": None, "ack_risk": False, "max_uses": 2, "approvals": []}
    assert text(answers.denial({**DECISION, "needs": needs}))[2] == "To pass: at most 2 uses."
    assert len(text(answers.denial({**DECISION, "needs": {"grant": True}}))) == 4


@given(st.text(), st.lists(st.text(), max_size=5), st.text(), st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_a_denial_is_six_short_lines_whatever_it_is_about(
    message: str, because: list[str], remedy: str, tickets: list[str]
) -> None:
    """Words of others cannot add lines to the gate's, nor anything that a terminal acts on."""
    rule = DECISION["rules"][0]
    denied = {
        **DECISION,
        "message": message,
        "rules": [{**rule, "because": words} for words in because],
        "needs": {"ticket": tickets},
        "remedy": {"text": remedy, "argv": ["gate", "request", "--for", remedy]},
    }
    lines = text(answers.denial(denied))
    assert len(lines) <= 6
    assert all(line.isprintable() for line in lines)


def test_long_words_are_cut() -> None:
    lines = text(answers.denial({**DECISION, "message": "x" * 5000}))
    assert len(lines[0]) == 301
    assert lines[0].endswith("…")


def test_a_failure_has_its_code_and_its_remedy() -> None:
    error = GateError("upstream_unreachable", "nobody\nanswers", remedy="Try again.", argv=["gate", "doctor"])
    result = answers.failure(error)
    assert text(result) == [
        "Failed (upstream_unreachable): nobody\\x0aanswers",
        "Try again. Command: gate doctor",
    ]
    assert result["structuredContent"]["error"]["exit"] == 77
    assert result["structuredContent"]["error"]["remedy"]["argv"] == ["gate", "doctor"]
    assert result["isError"] is True


def test_data_is_given_as_text_and_as_an_object() -> None:
    result = answers.data(catalogue.TOOLS["data"], {"page": ["é"]})
    assert text(result) == ['{"page":["é"]}']
    assert result["structuredContent"] == {"page": ["é"]}
    assert result["isError"] is False


@pytest.mark.parametrize(("tool", "member"), [("functionSpec", "functions"), ("run", "result")])
def test_a_result_that_is_no_object_is_wrapped(tool: str, member: str) -> None:
    """Older revisions want an object there; the text stays what it is."""
    result = answers.data(catalogue.TOOLS[tool], [1])
    assert text(result) == ["[1]"]
    assert result["structuredContent"] == {member: [1]}


def test_wrong_arguments_are_told_up_to_five() -> None:
    result = answers.wrong_arguments(catalogue.TOOLS["data"], [f"p{n}" for n in range(9)])
    assert text(result)[1:] == ["p0", "p1", "p2", "p3", "p4"]
    assert len(result["structuredContent"]["error"]["problems"]) == 9
