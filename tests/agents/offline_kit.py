"""The real coding agents on a stage, with a scripted model in place of theirs. Asserts little."""

import json
import os
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import on_stage  # noqa: F401 - finds the kits of tests/system
from production_kit import Production
from scripted_model import Model, Step, Use

from gate.mcp import answers

PACKAGES = ("@openai/codex@0.169.0", "@anthropic-ai/claude-code@2.1.197")
_PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Agent:
    """How an agent is started: `settle` writes what a person would have agreed to, `command` is the call.

    `tool` is how its model names a tool of the gate's; `hook` is the file of its hook.
    """

    name: str
    settle: Callable[[Path, Path, str], None]
    command: Callable[[Path], Sequence[str]]
    variables: Callable[[str], Mapping[str, str]]
    tool: str
    hook: str

    def use(self, tool: str, **arguments: Any) -> Use:
        """The use of a tool of the gate's."""
        return self.tool + tool, arguments


@dataclass(frozen=True, slots=True)
class Desk:
    """An `agent` at work in the project of `production`; `programs` holds it, `home` is its own."""

    agent: Agent
    production: Production
    programs: Path
    home: Path

    def play(self, model: Model) -> Sequence[str]:
        """One turn of the agent, from its prompt to its end; returns what its model heard of each tool."""
        project = self.production.project
        folder = project.made.work
        self.agent.settle(self.home, folder, model.address)
        kept = {name: value for name, value in project.environment().items() if name in ("PATH", "GATE_HOME", "LANG")}
        done = subprocess.run(
            self.agent.command(self.programs),
            cwd=folder,
            env={**kept, "HOME": str(self.home), **self.agent.variables(model.address)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_SECONDS,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert not model.failed, (model.failed, model.heard)
        assert len(model.heard) == len(model.script), (model.heard, done.stdout, done.stderr)
        return model.heard

    def step(self, tool: str, deployment: str | None = None, **arguments: Any) -> Step:
        """A use of a tool of the gate's, with the selector that `status` gave for `deployment`."""

        def use(said: Sequence[str]) -> Use:
            named = {} if deployment is None else {"deploymentSelector": selectors(said[0])[deployment]}
            return self.agent.use(tool, **named, **arguments)

        return use


def selectors(said: str) -> dict[str, str]:
    """What `status` lists, by name."""
    listed = first_object(said)["availableDeployments"]
    return {one["deployment"]: one["deploymentSelector"] for one in listed}


def taught(said: str) -> dict[str, Any]:
    """The arguments of gate_request_access that a refusal names: in its text, else as the command line of the object.

    Codex shows its model the object only, Claude Code the text.
    """
    found = re.search(r"gate_request_access (\{)", said)
    if found:
        return first_object(said[found.start(1) :])
    asked = answers.request_arguments(first_object(said)["decision"]["remedy"]["argv"])
    assert asked is not None, said
    return asked


def first_object(text: str) -> dict[str, Any]:
    """The first JSON object in a text."""
    value: dict[str, Any]
    value, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
    return value


def _settle_claude(home: Path, folder: Path, _address: str) -> None:
    agreed = {"hasTrustDialogAccepted": True, "enabledMcpjsonServers": ["gate"]}
    (home / ".claude.json").write_text(json.dumps({"projects": {str(folder): agreed}}))


def _claude(programs: Path) -> Sequence[str]:
    allowed = ("--allowedTools", "mcp__gate", "Bash")
    return [str(programs / "claude"), "-p", "go", "--model", "claude-sonnet-4-5", *allowed]


def _claude_variables(address: str) -> Mapping[str, str]:
    return {
        "ANTHROPIC_BASE_URL": address,
        "ANTHROPIC_API_KEY": "none",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }


def _settle_codex(home: Path, folder: Path, address: str) -> None:
    (home / ".codex").mkdir(exist_ok=True)
    (home / ".codex" / "config.toml").write_text(f"""\
model = "scripted"
model_provider = "scripted"
[model_providers.scripted]
name = "scripted"
base_url = "{address}/v1"
wire_api = "responses"
[projects."{folder}"]
trust_level = "trusted"
""")


def _codex(programs: Path) -> Sequence[str]:
    # Hooks of a project want a review in a session, which nobody can give here. The tests' keeper has its own place.
    options = ("--skip-git-repo-check", "--dangerously-bypass-hook-trust")
    return [str(programs / "codex"), "exec", *options, "-c", 'mcp_servers.gate.env_vars=["GATE_HOME"]', "go"]


AGENTS = {
    "claude": Agent(
        "claude",
        _settle_claude,
        _claude,
        _claude_variables,
        "mcp__gate__",
        ".claude/settings.json",
    ),
    "codex": Agent(
        "codex",
        _settle_codex,
        _codex,
        lambda _address: {"NO_COLOR": os.environ.get("NO_COLOR", "1")},
        "mcp__gate.",
        ".codex/hooks.json",
    ),
}
