"""Opt-in: the real Codex and Claude Code, from npm, read what was installed as it was meant. No model is asked."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from gate.agents import catalogue, plan
from gate.hook import wrapper

pytestmark = [pytest.mark.optin, pytest.mark.timeout(600)]
_PACKAGES = ("@openai/codex@0.169.0", "@anthropic-ai/claude-code@2.1.197")
_GATE = "/opt/gate/bin/gate"
# /etc of one process only: a copy on top of the real one, gone with it.
_ETC = """
set -e
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc
cp -r "$1"/. /etc
shift
exec "$@"
"""


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that holds `codex` and `claude`."""
    folder = tmp_path_factory.mktemp("agents")
    subprocess.run(["npm", "i", "--silent", "--prefix", str(folder), *_PACKAGES], check=True, timeout=500)
    return folder / "node_modules" / ".bin"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with everything installed for both, in a folder that Codex trusts."""
    folder = tmp_path / "chat"
    folder.mkdir()
    for agent in ("codex", "claude"):
        plan.install(agent, _GATE, folder).carry_out()
    (tmp_path / ".codex").mkdir()
    (tmp_path / ".codex" / "config.toml").write_text(f'[projects."{folder}"]\ntrust_level = "trusted"\n')
    return folder


def _environment(project: Path) -> Mapping[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(project.parent), "NO_COLOR": "1"}


def _run(words: Sequence[str], project: Path) -> str:
    done = subprocess.run(
        words, cwd=project, env=_environment(project), capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


def _app_server(words: Sequence[str], project: Path, *questions: tuple[str, Any]) -> list[Any]:
    """Answers of Codex's own server, in order."""
    asked = [{"method": "initialize", "params": {"clientInfo": {"name": "test", "version": "1"}}}]
    asked += [{"method": method, "params": params} for method, params in questions]
    with subprocess.Popen(
        [*words, "app-server"],
        cwd=project,
        env=_environment(project),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for number, message in enumerate(asked):
            server.stdin.write(json.dumps({"id": number, **message}).encode() + b"\n")
        server.stdin.flush()
        answers: dict[int, Any] = {}
        while len(answers) < len(asked):
            message = json.loads(server.stdout.readline())
            if "result" in message:
                answers[message["id"]] = message["result"]
        server.stdin.close()
        server.wait(30)
    return [answers[number] for number in range(1, len(asked))]


def test_codex_reads_server_and_hook(programs: Path, project: Path) -> None:
    """Enabled, without a warning; and the hook waits for its review, as the notes say."""
    codex = str(programs / "codex")
    shown = _run([codex, "mcp", "get", "gate"], project)
    assert f"command: {_GATE}\n" in shown
    assert "enabled: true" in shown
    assert "default_tools_approval_mode: approve" in shown
    (listed,) = _app_server([codex], project, ("hooks/list", {"cwds": [str(project)]}))
    (found,) = listed["data"]
    assert (found["warnings"], found["errors"]) == ([], [])
    (hook,) = found["hooks"]
    assert hook["command"] == wrapper.line("codex", _GATE)
    assert (hook["eventName"], hook["trustStatus"]) == ("preToolUse", "untrusted")


def test_codex_takes_the_rules(programs: Path, project: Path) -> None:
    """Each listed command is stopped with the text that names the gate's; another is not."""
    check = [str(programs / "codex"), "execpolicy", "check", "--rules", ".codex/rules/gate.rules"]
    for command in (*catalogue.COMMANDS, "ls -la", "npx vitest", "gate convex run f"):
        answer = json.loads(_run([*check, *command.split(), "run"], project))
        assert (answer.get("decision") == "forbidden") is (command in catalogue.COMMANDS)
        texts = [rule["prefixRuleMatch"]["justification"] for rule in answer["matchedRules"]]
        assert all(text == catalogue.JUSTIFICATION for text in texts)


def test_codex_takes_the_administrators_file(programs: Path, project: Path) -> None:
    """Its hook is managed, another server vanishes, and modes without a sandbox are not offered."""
    system = project.parent / "system"
    plan.install("codex", _GATE, system, managed=True).carry_out()
    within = ["unshare", "-m", "sh", "-c", _ETC, "sh", str(system / "etc")]
    if shutil.which("unshare") is None or subprocess.run([*within, "true"], check=False, timeout=20).returncode:
        pytest.skip("no mount namespace of its own here")
    config = project / ".codex" / "config.toml"
    config.write_text(config.read_text() + '\n[mcp_servers.rogue]\ncommand = "npx"\nargs = ["convex", "mcp"]\n')
    codex = [*within, str(programs / "codex")]
    listed, required = _app_server(
        codex, project, ("hooks/list", {"cwds": [str(project)]}), ("configRequirements/read", None)
    )
    (hook,) = listed["data"][0]["hooks"]
    assert (hook["isManaged"], hook["trustStatus"]) == (True, "managed")
    assert required["requirements"]["allowedSandboxModes"] == ["read-only", "workspace-write"]
    assert required["requirements"]["featureRequirements"] == {"unified_exec": False}
    servers = {line.split()[0]: line for line in _run([*codex, "mcp", "list"], project).splitlines() if line.split()}
    assert "enabled" in servers["gate"]
    assert "rogue" not in servers or "disabled" in servers["rogue"]


def test_claude_code_reads_the_server(programs: Path, project: Path) -> None:
    """It waits for its approval, as the notes say; after uninstalling it is gone."""
    claude = [str(programs / "claude"), "mcp"]
    shown = _run([*claude, "get", "gate"], project)
    assert f"Command: {_GATE}\n" in shown
    assert "Pending approval" in shown
    assert "Failed to parse" not in _run([*claude, "list"], project)
    plan.uninstall("claude", _GATE, project).carry_out()
    assert "gate" not in _run([*claude, "list"], project)
