"""What the keeper says to an event: pass, another input, or a refusal with the line to run; and what it records."""

import asyncio
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from gate.errors import GateError
from gate.identity.peer import Peer
from gate.intent.event import read_event
from gate.intent.shell import read_shell
from gate.keeper.hooks import hook, judge
from gate.keeper.project import NO_PROJECT, Project, open_project
from gate.keeper.server import Session

KEY = "prod:proud-lynx-456|0123456789abcdef0123456789abcdef"


def event(command: str, tool: str = "Bash", **more: Any) -> bytes:
    return json.dumps({"tool_name": tool, "tool_input": {"command": command, **more}, "cwd": "/"}).encode()


@dataclass(slots=True)
class Door(Session):
    """A door of this process: keeps what it is sent, and has files."""

    files: dict[str, str] = field(default_factory=dict)
    sent: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def receive(self) -> dict[str, Any] | None:
        name = self.sent.pop()["want"]
        self.asked.append(name)
        return {"file": self.files.get(name)}


def door(**files: Any) -> Door:
    texts = {name: json.dumps({"scripts": scripts}) for name, scripts in files.items()}
    return Door(Peer(1, os.getuid()), asyncio.StreamReader(), None, files=texts)  # type: ignore[arg-type]


async def said(project: Project, at: Door, agent: str, data: bytes, scripts: dict[str, str] | None = None) -> Any:
    package = None if scripts is None else json.dumps({"scripts": scripts})
    message = {"agent": agent, "event": data.decode("latin-1"), "gate_yaml": None, "package_json": package}
    await hook(project, at, message)
    return at.sent[-1]["result"]


async def opened(folder: Path) -> Project:
    return await open_project(folder, NO_PROJECT)


async def test_a_plain_call_gets_another_input(tmp_path: Path) -> None:
    """The tool's whole input with one member changed, for the agents that take one."""
    project = await opened(tmp_path)
    data = event("npx convex dev", timeout=5)
    for agent in ("codex", "claude"):
        result = await said(project, door(), agent, data)
        assert result == {
            "verdict": "rewrite",
            "reason": None,
            "input": {"command": "gate convex dev", "timeout": 5},
        }
    for agent in ("gemini", "cursor"):
        result = await said(project, door(), agent, data)
        assert (result["verdict"], result["input"]) == ("refuse", None)
        assert result["reason"].startswith("Run instead: gate convex dev\n")
        assert result["reason"].splitlines()[-1].startswith("gate: denied_by_rule: ")
    await project.close()


async def test_claude_gets_no_leave_for_a_file(tmp_path: Path) -> None:
    """To it a new input is leave for the whole call; Codex asks as it would have."""
    project = await opened(tmp_path)
    data = event("npx convex data > ~/.bashrc")
    assert (await said(project, door(), "claude", data))["verdict"] == "refuse"
    assert (await said(project, door(), "codex", data))["verdict"] == "rewrite"
    await project.close()


@pytest.mark.parametrize(
    ("data", "verdict", "words"),
    [
        (event("ls"), "pass", ""),
        (event("gate convex dev"), "pass", ""),
        (event("npx convex mcp start"), "refuse", "gate mcp"),
        (event("npx $X convex"), "refuse", "gate convex ARG..."),
        (event("npm run up"), "refuse", "gate convex dev --once"),
        (event("x", tool="mcp__convex__run"), "refuse", "MCP server `gate`"),
        (event("npx convex dev", tool="mcp__gate__run"), "pass", ""),
        (event("npx convex dev", tool="mcp__shell__run"), "refuse", "gate convex dev"),
        (event("npx convex dev\0"), "refuse", "gate convex dev"),
        (b'{"tool_name": "Bash"}', "pass", ""),
        (b'{"tool_name": "Bash", "tool_input": {"argv": "npx convex dev"}}', "refuse", "no command"),
        (b'{"tool_name": "Write", "tool_input": {"content": "npx convex dev"}}', "pass", ""),
        (b"{", "refuse", "cannot be read"),
    ],
)
async def test_each_kind_of_event(tmp_path: Path, data: bytes, verdict: str, words: str) -> None:
    """Passed, or refused with what to do instead."""
    project = await opened(tmp_path)
    result = await said(project, door(), "codex", data, {"up": "convex dev --once"})
    assert result["verdict"] == verdict
    assert words in (result["reason"] or "")
    assert (result["reason"] is None) == (verdict == "pass")
    await project.close()


async def test_folders_that_the_text_goes_to_are_asked_for(tmp_path: Path) -> None:
    """One after the other, and no more than a few."""
    project = await opened(tmp_path)
    at = door(web={"up": "npx convex deploy"})
    assert (await said(project, at, "codex", event("cd web && npm run up"), {}))["verdict"] == "refuse"
    assert at.asked == ["web"]
    many = " ; ".join(f"npm -C d{number} run up" for number in range(20))
    at = door(d19={"up": "npx convex deploy"})
    assert (await said(project, at, "codex", event(many), {}))["verdict"] == "pass"
    assert len(at.asked) < 8
    await project.close()


@pytest.mark.parametrize("package", ["", "{", "[]", '{"scripts": 1}', '{"scripts": {"up": 1}}', "[" * 9999])
async def test_a_package_that_cannot_be_read_has_no_scripts(tmp_path: Path, package: str) -> None:
    """As npm would find none."""
    project = await opened(tmp_path)
    at = door()
    message = {"agent": "codex", "event": event("npm run up").decode(), "package_json": package}
    await hook(project, at, message)
    assert at.sent[-1]["result"]["verdict"] == "pass"
    await project.close()


async def test_what_is_said_is_on_record_without_the_command(tmp_path: Path) -> None:
    """Its digest tells whether it was that one."""
    project = await opened(tmp_path)
    command = f"CONVEX_DEPLOY_KEY='{KEY}' npx convex deploy"
    await said(project, door(), "codex", event(command))
    await said(project, door(), "codex", event("ls"))
    await said(project, door(), "codex", b"{")
    last = project.ledger.tail(5)
    bodies = [json.loads(entry.body) for entry in last if entry.type == "hook"]
    assert [body["sha256"] for body in bodies] == [
        hashlib.sha256(data).hexdigest() for data in (command.encode(), b"{")
    ]
    assert {(body["agent"], body["verdict"], body["uid"]) for body in bodies} == {("codex", "refuse", os.getuid())}
    assert all(KEY not in entry.body for entry in last)
    await project.close()


async def test_what_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    """Also what would have been rewritten."""
    project = await opened(tmp_path)
    await project.ledger.close()
    result = await said(project, door(), "codex", event("npx convex dev"))
    assert (result["verdict"], result["input"]) == ("refuse", None)
    assert "ledger_unavailable" in result["reason"]
    assert (await said(project, door(), "codex", event("ls")))["verdict"] == "pass"


@pytest.mark.parametrize(
    "message", [{}, {"agent": "codex"}, {"agent": "emacs", "event": "{}"}, {"agent": 1, "event": ""}]
)
async def test_a_message_that_is_none(tmp_path: Path, message: dict[str, Any]) -> None:
    """Is refused as any other door's."""
    project = await opened(tmp_path)
    with pytest.raises(GateError) as refused:
        await hook(project, door(), message)
    assert refused.value.code == "usage"
    await project.close()


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (f"X=1 npx convex deploy --admin-key '{KEY}'", "gate convex deploy --admin-key <value>"),
        ("X=1 npx convex deploy --admin-key abc", "gate convex deploy --admin-key <value>"),
        ("X=1 npx convex env set STRIPE sk_live_1", "gate convex env set STRIPE <value>"),
        ("X=1 npx convex deploy --admin-key=abc", "gate convex deploy --admin-key=<value>"),
        ("X=1 npx convex env set STRIPE=sk_live_1", "gate convex env set STRIPE=<value>"),
        ("X=1 npx convex env set --prod STRIPE sk_live_1", "gate convex env set --prod STRIPE <value>"),
        (f"X=1 npx convex run f '{KEY}'", "gate convex run f <value>"),
        ("X=1 npx convex run f 'it is'\\''s'", "gate convex run f 'it is'\\''s'"),
        ("X=1 npx convex run $F", "gate convex run ARG"),
        ("npx convex codegen && npx convex dev --once", "gate convex codegen && gate convex dev --once"),
        (f"X=1 npx convex run f {'a' * 400}", "gate convex ARG..."),
    ],
)
def test_the_line_holds_no_secret(command: str, line: str) -> None:
    """And is the exact one otherwise."""
    verdict = judge("codex", read_event(event(command)), read_shell(command, {}))
    assert (verdict.reason or "").splitlines()[0] == f"Run instead: {line}"
