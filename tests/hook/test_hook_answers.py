"""Answers block where they shall: none of the ways in which an agent runs the tool although its hook said no."""

import json
import stat
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from gate.hook import answers, wrapper
from gate.intent.event import AGENTS

Answer = tuple[str, str, int]
_UNIVERSAL = {"hookSpecificOutput", "decision", "reason", "systemMessage", "additionalContext"}
_SPECIFIC = {"hookEventName", "permissionDecision", "permissionDecisionReason", "updatedInput"}


def _deny(*, top: Any = None, **inner: Any) -> str:
    output = {"hookEventName": "PreToolUse", "permissionDecision": "deny", "permissionDecisionReason": "no", **inner}
    return json.dumps({"hookSpecificOutput": output, **(top or {})})


# Every one was seen to let the tool run, in Codex, Claude Code or both.
RAN: dict[str, Answer] = {
    "nothing": ("", "", 0),
    "text": ("no", "", 0),
    "deny without a reason": (_deny(permissionDecisionReason=None), "", 0),
    "deny with a blank reason": (_deny(permissionDecisionReason=" "), "", 0),
    "ask": (_deny(permissionDecision="ask"), "", 0),
    "allow without an input": (_deny(permissionDecision="allow"), "", 0),
    "an input without allow": (_deny(permissionDecision=None, updatedInput={"command": "x"}), "", 0),
    "deny with an unknown member": (_deny(note="x"), "", 0),
    "deny with an unknown member on top": (_deny(top={"note": "x"}), "", 0),
    "deny with suppressOutput": (_deny(top={"suppressOutput": True}), "", 0),
    "continue false": (json.dumps({"continue": False, "stopReason": "no"}), "", 0),
    "block without a reason": (json.dumps({"decision": "block"}), "", 0),
    "text before the object": ("note\n" + _deny(), "", 0),
    "text after the object": (_deny() + "\nnote", "", 0),
    "no proper object": (_deny()[:-1], "", 0),
    "a list": (f"[{_deny()}]", "", 0),
    "status 2 and silence": ("", "", 2),
    "status 2 and blanks": ("", " \n", 2),
    "status 1": ("", "no", 1),
    "a crash": ("", "Traceback (most recent call last):", 139),
    "a timeout": ("", "", 124),
}
BLOCKED: dict[str, Answer] = {
    "deny with a reason": (_deny(), "", 0),
    "block with a reason": (json.dumps({"decision": "block", "reason": "no"}), "", 0),
    "status 2 with a text": ("", "no", 2),
}


def runs(answer: Answer) -> bool:
    """Whether the strictest of the agents that were measured would run the tool after `answer`."""
    out, err, status = answer
    if status != 0:
        return not (status == 2 and err.strip())
    try:
        told = json.loads(out)
    except ValueError:
        return True
    inner = told.get("hookSpecificOutput", {}) if isinstance(told, dict) else {}
    if not isinstance(told, dict) or not set(told) <= _UNIVERSAL or not set(inner) <= _SPECIFIC:
        return True
    denies = inner.get("permissionDecision") == "deny" and str(inner.get("permissionDecisionReason") or "").strip()
    return not (denies or (told.get("decision") == "block" and str(told.get("reason") or "").strip()))


def test_there_are_at_least_twenty_ways() -> None:
    """Counting those that block."""
    assert len(RAN) + len(BLOCKED) >= 20


@pytest.mark.parametrize("way", RAN)
def test_a_refusal_is_none_of_these(way: str) -> None:
    """For every agent with exit statuses; the model above agrees with what was measured."""
    assert runs(RAN[way])
    for agent in ("codex", "claude", "gemini"):
        ours = answers.refused(agent, "gate: denied_by_rule: no")
        assert not runs(ours)
        assert ours != RAN[way]
        assert ours[0] == ""


@pytest.mark.parametrize("way", BLOCKED)
def test_the_model_knows_what_blocks(way: str) -> None:
    """Else it would find nothing."""
    assert not runs(BLOCKED[way])


def test_cursor_is_told_in_its_own_members() -> None:
    """These three and nothing else, as one object with status 0."""
    out, err, status = answers.refused("cursor", "gate: x: why\nmore")
    told = json.loads(out)
    assert (set(told), err, status) == ({"permission", "user_message", "agent_message"}, "", 0)
    assert (told["permission"], told["agent_message"]) == ("deny", "gate: x: why\nmore")
    assert all(told.values())


def test_an_untouched_call_is_silent() -> None:
    """Not even an empty object."""
    assert answers.passed() == ("", "", 0)


def test_another_input_stands_in_the_documented_members() -> None:
    """Codex takes it with `allow` only, and with nothing beside it."""
    out, err, status = answers.rewritten({"command": "gate convex dev", "timeout": 5})
    assert (err, status) == ("", 0)
    assert json.loads(out) == {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "allow",
            "updatedInput": {"command": "gate convex dev", "timeout": 5},
        }
    }


def test_the_line_is_the_one_that_was_measured() -> None:
    """Installers write it as it is."""
    expected = "timeout 2 gate hook codex || { echo 'gate: hook did not answer; denied' >&2; exit 2; }"
    assert wrapper.line("codex") == expected
    assert wrapper.line("claude", "/opt/my gate/bin/gate").startswith(
        "timeout 2 '/opt/my gate/bin/gate' hook claude ||"
    )


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "my gate"
    path.touch()
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def _hooked(agent: str, gate: str) -> Answer:
    done = subprocess.run(
        ["sh", "-c", wrapper.line(agent, gate)], input="{}", capture_output=True, text=True, check=False
    )
    return done.stdout, done.stderr, done.returncode


@pytest.mark.parametrize(
    "body", ["exit 1", "exit 2", "kill -SEGV $$", "echo Traceback >&2; exit 1", "echo half; exit 3", "exit 127"]
)
@pytest.mark.parametrize("agent", AGENTS)
def test_whatever_goes_wrong_is_a_denial(program: Path, body: str, agent: str) -> None:
    """Status 2 and a text on stderr."""
    program.write_text(f"#!/bin/sh\n{body}\n")
    assert runs(("", "", 0))
    _, err, status = _hooked(agent, str(program))
    assert (status, err.splitlines()[-1]) == (2, "gate: hook did not answer; denied")


def test_a_missing_gate_is_a_denial(program: Path) -> None:
    """An agent takes it for leave."""
    program.unlink()
    assert not runs(_hooked("codex", str(program)))


def test_a_hook_that_hangs_is_a_denial(program: Path) -> None:
    """After two seconds."""
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    began = time.monotonic()
    assert not runs(_hooked("codex", str(program)))
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("body", ["exit 0", 'echo \'{"permission":"deny"}\'; exit 0'])
def test_an_answer_goes_through_as_it_is(program: Path, body: str) -> None:
    """The line adds nothing to it."""
    program.write_text(f"#!/bin/sh\n{body}\n")
    out, err, status = _hooked("cursor", str(program))
    assert (err, status) == ("", 0)
    assert out in ("", '{"permission":"deny"}\n')
