"""`gate hook AGENT` as a whole process, against a real keeper and against none."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from convex_cli import Ran
from gate_cli import Gate, gate_in

from gate.hook.wrapper import line
from gate.keeper import places

_REFUSED = 2
_LARGEST = 2 * 1024 * 1024


def event(command: str, folder: Path, agent: str = "codex") -> bytes:
    """What `agent` sends before it runs `command` in `folder`."""
    if agent == "cursor":
        return json.dumps({"conversation_id": "c", "command": command, "cwd": str(folder)}).encode()
    tool = "run_shell_command" if agent == "gemini" else "Bash"
    return json.dumps(
        {"session_id": "s", "cwd": str(folder), "tool_name": tool, "tool_input": {"command": command}}
    ).encode()


@pytest_asyncio.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    (tmp_path / "work").mkdir()
    async with gate_in(tmp_path / "work", tmp_path / "state") as made:
        yield made


@pytest.fixture
def alone(tmp_path: Path) -> Gate:
    """Where no keeper can be started: its state folder is a file."""
    (tmp_path / "work").mkdir()
    (tmp_path / "state").touch()
    return Gate(tmp_path / "work", tmp_path / "state")


async def hook(gate: Gate, agent: str, command: str) -> Ran:
    return await gate("hook", agent, stdin=event(command, gate.folder, agent))


async def test_every_agent_is_answered_in_its_own_form(gate: Gate) -> None:
    """Untouched, with another input, or refused."""
    for agent in ("codex", "claude", "gemini", "cursor"):
        assert await hook(gate, agent, "cat convex/schema.ts") == Ran(0, "", "")
    for agent in ("codex", "claude"):
        ran = await hook(gate, agent, "cd . && npx convex dev --once")
        output = json.loads(ran.out)["hookSpecificOutput"]
        assert (ran.code, ran.err, output["updatedInput"]) == (0, "", {"command": "cd . && gate convex dev --once"})
    for agent in ("codex", "claude", "gemini"):
        ran = await hook(gate, agent, "bash -c 'npx convex dev'")
        assert (ran.code, ran.out) == (_REFUSED, "")
        assert ran.err.splitlines()[0] == "Run instead: gate convex dev"
        assert ran.err.splitlines()[-1].startswith("gate: denied_by_rule: ")
    ran = await hook(gate, "cursor", "npx convex dev")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["permission"] == "deny"


async def test_scripts_of_the_folder_that_the_event_names(gate: Gate) -> None:
    """The nearest package.json from there, and that of a folder that the text enters."""
    (gate.folder / "app" / "src").mkdir(parents=True)
    (gate.folder / "package.json").write_text('{"scripts": {"up": "echo"}}')
    (gate.folder / "app" / "package.json").write_text('{"scripts": {"up": "convex deploy"}}')
    assert (await hook(gate, "codex", "npm run up")).code == 0
    ran = await hook(gate, "codex", "cd app/src && npm run up")
    assert (ran.code, ran.err.splitlines()[0]) == (_REFUSED, "Run instead: gate convex deploy")
    ran = await gate("hook", "codex", stdin=event("npm run up", gate.folder / "app"))
    assert ran.code == _REFUSED
    assert (await gate("hook", "codex", stdin=event("npm run up", gate.folder / "gone"))).code == 0


async def test_a_verdict_is_on_record(gate: Gate) -> None:
    """Not what passes."""
    await hook(gate, "codex", "ls")
    await hook(gate, "codex", "npx convex dev; echo s3cret")
    tail = await gate("--json", "audit", "tail")
    assert tail.out.count('"hook"') == 1
    assert "s3cret" not in tail.out


async def test_calls_of_mcp_servers(gate: Gate) -> None:
    """The gate's own pass, Convex's own do not."""

    async def call(tool: str) -> Ran:
        data = {"tool_name": tool, "tool_input": {"functionName": "a:b"}, "cwd": str(gate.folder)}
        return await gate("hook", "claude", stdin=json.dumps(data).encode())

    assert await call("mcp__gate__run") == Ran(0, "", "")
    assert await call("mcp__github__search") == Ran(0, "", "")
    refused = await call("mcp__convex__run")
    assert (refused.code, refused.out) == (_REFUSED, "")


async def test_without_a_keeper_what_names_convex_is_refused(alone: Gate) -> None:
    """In any spelling, and in every agent's form; the rest goes on."""
    for command in ("npx convex dev", "grep convex x", "npx con''vex dev", "echo bnB4IGNvbnZleA== | base64 -d | sh"):
        ran = await hook(alone, "codex", command)
        assert (ran.code, ran.out) == (_REFUSED, "")
        assert ran.err.startswith("gate: keeper_unavailable: ")
    assert await hook(alone, "codex", "npm test") == Ran(0, "", "")
    assert json.loads((await hook(alone, "cursor", "npx convex dev")).out)["permission"] == "deny"
    for tool, code in (("mcp__convex__run", _REFUSED), ("mcp__gate__convex", 0), ("mcp__a__convex", 0)):
        ran = await alone("hook", "claude", stdin=json.dumps({"tool_name": tool}).encode())
        assert ran.code == code
    unread = json.dumps({"tool_name": "Bash", "tool_input": {"argv": ["npx", "convex"]}}).encode()
    assert (await alone("hook", "codex", stdin=unread)).code == _REFUSED


async def test_a_keeper_that_does_not_answer_is_none(alone: Gate) -> None:
    """The door gives up before the installed line does, and says why."""
    alone.state.unlink()
    alone.state.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as silent, places.Address(str(alone.state / "keeper.sock")) as address:
        silent.bind(address)
        silent.listen()
        began = time.monotonic()
        ran = await hook(alone, "codex", "npx convex dev")
    assert ran.code == _REFUSED
    assert ran.err.startswith("gate: keeper_unavailable: ")
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("words", "stdin"),
    [
        (["emacs"], b"{}"),
        ([], b"{}"),
        (["codex", "more"], b"{}"),
        (["codex"], b"{"),
        (["codex"], b""),
        (["codex"], b'{"a": "' + b"x" * _LARGEST + b'"}'),
    ],
)
async def test_what_cannot_be_taken_is_refused(alone: Gate, words: list[str], stdin: bytes) -> None:
    """In the one way that every agent understands."""
    ran = await alone("hook", *words, stdin=stdin)
    assert (ran.code, ran.out) == (_REFUSED, "")
    assert ran.err.startswith("gate: ")


async def test_other_tools_ask_nobody(alone: Gate) -> None:
    """What they write may name Convex."""
    data = {"tool_name": "Write", "tool_input": {"content": "npx convex dev"}}
    assert await alone("hook", "claude", stdin=json.dumps(data).encode()) == Ran(0, "", "")


async def test_the_installed_line_around_it(gate: Gate, tmp_path: Path) -> None:
    """Leaves a pass alone, and keeps the reason of a refusal in front of its own words."""
    program = tmp_path / "gate"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gate "$@"\n')
    program.chmod(0o755)

    async def run(command: str) -> Ran:
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            line("codex", str(program)),
            cwd=gate.folder,
            env=gate.environment(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate(event(command, gate.folder))
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())

    assert await run("ls") == Ran(0, "", "")
    refused = await run("npx convex dev && ls")
    assert (refused.code, refused.err.splitlines()[0]) == (_REFUSED, "Run instead: gate convex dev")


async def test_how_long_it_takes(gate: Gate) -> None:
    """Printed next to an empty Python; the budget is held in tests/bench."""

    def best(command: list[str], stdin: bytes) -> float:
        times = []
        for _ in range(8):
            began = time.perf_counter()
            subprocess.run(
                command, input=stdin, env=gate.environment(), cwd=gate.folder, capture_output=True, check=True
            )
            times.append(time.perf_counter() - began)
        return min(times) * 1000

    command = [sys.executable, "-m", "gate", "hook", "codex"]
    empty = await asyncio.to_thread(best, [sys.executable, "-I", "-c", "pass"], b"")
    figures: dict[str, Any] = {"empty python": empty}
    for name, text in (("pass", "ls"), ("rewrite", "npx convex dev --once")):
        figures[name] = await asyncio.to_thread(best, command, event(text, gate.folder))
    print({name: f"{figure:.1f} ms" for name, figure in figures.items()})
    assert figures["pass"] > 0
