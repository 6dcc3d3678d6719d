"""What `gate doctor` says of an installation is what the agents really make of it."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gate.agents import catalogue, check, plan
from gate.hook import wrapper

Findings = Callable[[], list[str]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "system").mkdir()
    (tmp_path / "chat").mkdir()
    program = Path(_gate(tmp_path / "chat"))
    program.parent.mkdir()
    program.symlink_to(sys.executable)
    return tmp_path / "chat"


@pytest.fixture
def findings(folder: Path) -> Findings:
    return lambda: check.findings(folder, folder.parent / "home", folder.parent / "system")


def _gate(folder: Path) -> str:
    """A program that is there, named as the gate's is."""
    return str(folder.parent / "bin" / "gate")


def _install(agent: str, folder: Path) -> None:
    plan.install(agent, _gate(folder), folder).carry_out()


def _trust(folder: Path) -> None:
    """Every agent knows the folder, and Codex has reviewed the hook."""
    home = folder.parent / "home"
    (home / ".codex").mkdir()
    (home / ".codex" / "config.toml").write_text(
        f'[projects."{folder}"]\ntrust_level = "trusted"\n'
        f'[hooks.state."{folder}/.codex/hooks.json:pre_tool_use:0:0"]\ntrusted_hash = "sha256:00"\n'
    )
    (home / ".claude.json").write_text(json.dumps({"projects": {str(folder): {"hasTrustDialogAccepted": True}}}))


def test_nothing_installed_and_nothing_around_it_is_clean(findings: Findings) -> None:
    """Who does not use an agent hears nothing of it."""
    assert findings() == []


@pytest.mark.parametrize("agent", catalogue.AGENTS)
def test_a_trusted_installation_is_clean(agent: str, folder: Path, findings: Findings) -> None:
    """And every single file taken away is missed."""
    _trust(folder)
    _install(agent, folder)
    assert findings() == []
    for file in catalogue.files(agent, _gate(folder)):
        place = folder / file.path
        text = place.read_bytes()
        place.unlink()
        assert any(
            finding.startswith(f"{file.path}: ") and f"gate install {agent}" in finding for finding in findings()
        )
        place.write_bytes(text)


def test_folders_that_are_not_trusted_are_said(folder: Path, findings: Findings) -> None:
    """The agents skip what they find there, mostly without a word."""
    for agent in catalogue.AGENTS:
        _install(agent, folder)
    (folder / ".codex" / "gate.rules").write_text("")
    settings = folder / ".claude" / "settings.local.json"
    settings.write_text('{"disabledMcpjsonServers": ["gate"]}')
    home = folder.parent / "home" / ".gemini"
    home.mkdir()
    (home / "settings.json").write_text('{"security": {"folderTrust": {"enabled": true}}}')
    (home / "trustedFolders.json").write_text("[broken")
    said = findings()
    assert [finding.split(" ")[0] for finding in said] == [
        "Codex", "Codex", ".codex/gate.rules:", "Claude", ".claude/settings.local.json:", "Gemini",
    ]  # fmt: skip
    (home / "trustedFolders.json").write_text(json.dumps({str(folder.parent): "TRUST_FOLDER"}))
    assert len(findings()) == len(said) - 1


_CODEX_SERVER = '[mcp_servers.cvx]\ncommand = "npx"\nargs = ["-y", "convex@latest", "mcp", "start"]'
_DIRECT = {
    "codex": ("home/.codex/config.toml", _CODEX_SERVER, "`codex mcp remove cvx`"),
    "claude": (
        "chat/.mcp.json",
        {"my convex": {"command": "convex", "args": ["mcp"]}},
        "`claude mcp remove 'my convex'`",
    ),
    "gemini": ("home/.gemini/settings.json", {"cvx": {"command": "npx convex mcp"}}, "`gemini mcp remove cvx`"),
    "cursor": ("chat/.cursor/mcp.json", {"cvx": {"command": "npx", "args": ["convex", "mcp"]}}, "`mcpServers.cvx`"),
}


@pytest.mark.parametrize("agent", catalogue.AGENTS)
def test_a_direct_server_is_found_and_left_there(agent: str, folder: Path, findings: Findings) -> None:
    """With the line that takes it away; the gate does not."""
    path, servers, removal = _DIRECT[agent]
    text = servers if isinstance(servers, str) else json.dumps({"mcpServers": servers})
    place = folder.parent / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)
    assert any(removal in finding for finding in findings())
    _install(agent, folder)
    assert any(removal in finding for finding in findings())
    assert any(removal in line for line in check.direct_servers(folder, folder.parent / "home", agent))
    assert not any("MCP server gate " in finding for finding in findings())


def test_servers_of_other_projects_are_none_of_ours(folder: Path, findings: Findings) -> None:
    """Claude Code keeps every project in one file, and what was typed there."""
    server = {"mcpServers": {"convex": {"command": "npx", "args": ["convex", "mcp", "start"]}}}
    path = folder.parent / "home" / ".claude.json"
    path.write_text(json.dumps({"projects": {"/other": {**server, "history": ["--cautiously-allow-production-pii"]}}}))
    assert findings() == []
    path.write_text(json.dumps({"projects": {str(folder): server}}))
    assert len(findings()) == 1
    path.write_text("[]")
    assert findings() == []


def test_dangerous_flags_are_found_with_their_line(folder: Path, findings: Findings) -> None:
    """Wherever the project starts Convex's server."""
    (folder / "package.json").write_text(
        '{"scripts": {\n"mcp": "convex mcp start --dangerously-enable-production-deployments"}}'
    )
    (folder / ".mcp.json").write_text('{\n\n"x": "--cautiously-allow-production-pii"}')
    assert [finding.split(": ")[0] for finding in findings()] == [".mcp.json:3", "package.json:2"]


def test_variables_are_named_and_their_values_are_not(folder: Path, findings: Findings) -> None:
    """In a server's environment, the agent's own, the shell's, or passed on by name."""
    (folder / ".codex").mkdir()
    (folder / ".codex" / "config.toml").write_text(
        '[shell_environment_policy.set]\nCONVEX_DEPLOY_KEY = "s3cret"\nCONVEX_AGENT_MODE = "anonymous"\n'
        '[mcp_servers.x]\ncommand = "y"\nenv_vars = ["CONVEX_SELF_HOSTED_ADMIN_KEY", "HOME"]\n'
    )
    (folder / ".claude").mkdir()
    (folder / ".claude" / "settings.json").write_text('{"env": {"CONVEX_DEPLOYMENT": "prod:s3cret", "CONVEX_URL": ""}}')
    said = findings()
    assert [line.split("gives the agent ")[1].split(";")[0] for line in said] == [
        "CONVEX_DEPLOY_KEY",
        "CONVEX_SELF_HOSTED_ADMIN_KEY",
        "CONVEX_DEPLOYMENT",
    ]
    assert "s3cret" not in "".join(said)


_HOOKS = {"codex": ".codex/hooks.json", "claude": ".claude/settings.json", "gemini": ".gemini/settings.json"}


def _edit_hook(folder: Path, agent: str, **members: Any) -> None:
    """Change the gate's handler in place."""
    path = folder / _HOOKS[agent]
    data = json.loads(path.read_text())
    (groups,) = data["hooks"].values()
    groups[0]["hooks"][0].update(members)
    path.write_text(json.dumps(data))


@pytest.mark.parametrize("agent", sorted(_HOOKS))
@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"suppressOutput": True}, "does not document"),
        ({"async": True}, "too late"),
        ({"type": "prompt"}, "skips it"),
        ({"command": "gate hook AGENT"}, "lacks the wrapper line"),
        ({"command": "/no/such/gate hook AGENT"}, "every call runs"),
        ({"command": "LINE"}, "every call is denied"),
        ({"command": "gate hook AGENT 'open"}, "lacks the wrapper line"),
    ],
)
def test_hooks_that_do_not_hold_are_found(
    agent: str, members: dict[str, Any], said: str, folder: Path, findings: Findings
) -> None:
    """Each is a way in which a real agent let the tool run."""
    _trust(folder)
    _install(agent, folder)
    line = wrapper.line(agent, "/no/such/gate")
    texts = {
        key: value.replace("AGENT", agent).replace("LINE", line)
        for key, value in members.items()
        if isinstance(value, str)
    }
    _edit_hook(folder, agent, **{**members, **texts})
    assert any(said in finding for finding in findings())


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".codex/config.toml", "[features]\nhooks = false\n"),
        (".codex/config.toml", "[features]\ncodex_hooks = false\n"),
        (".claude/settings.json", '{"disableAllHooks": true}'),
        (".gemini/settings.json", '{"hooksConfig": {"enabled": false}}'),
    ],
)
def test_hooks_that_are_switched_off_are_found(path: str, text: str, folder: Path, findings: Findings) -> None:
    """One line, and no hook runs."""
    (folder / path).parent.mkdir()
    (folder / path).write_text(text)
    assert [finding for finding in findings() if "runs no hook" in finding]


@pytest.mark.parametrize(
    ("path", "text", "said"),
    [
        (".codex/hooks.json", '{"$schema": "x", "hooks": {}}', "refuses the whole file"),
        (".codex/hooks.json", '// note\n{"hooks": {}}', ":1:1: codex cannot read it"),
        (".mcp.json", '{"mcpServers": {},}', ":1:19: claude cannot read it"),
        (".codex/config.toml", "a = \n", ":1:5: codex cannot read it"),
        (".cursor/mcp.json", '{\n"a" 1}', ":2:5: cursor cannot read it"),
        (".mcp.json", "[" * 100_000, ":1:1: claude cannot read it"),
    ],
)
def test_files_that_the_agent_cannot_read_are_found(
    path: str, text: str, said: str, folder: Path, findings: Findings
) -> None:
    """A comment is enough for Codex and Claude Code to lose a whole file."""
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text(text)
    assert any(said in finding for finding in findings())


def test_a_list_of_the_project_replaces_the_persons_own(folder: Path, findings: Findings) -> None:
    """What somebody kept from every shell would be back in this project's."""
    _trust(folder)
    config = folder.parent / "home" / ".codex" / "config.toml"
    config.write_text(config.read_text() + '[shell_environment_policy]\nexclude = ["AWS_*", "CONVEX_*"]\n')
    _install("codex", folder)
    assert [finding for finding in findings() if "AWS_*" in finding and "CONVEX_*" not in finding]


def test_the_administrators_hook(folder: Path, findings: Findings) -> None:
    """It stands in for the project's, and without the wrapper line it is found like any other."""
    _trust(folder)
    _install("codex", folder)
    system = folder.parent / "system"
    plan.install("codex", _gate(folder), system, managed=True).carry_out()
    (folder / ".codex" / "hooks.json").unlink()
    assert not [finding for finding in findings() if "is missing" in finding]
    path = system / "etc" / "codex" / "requirements.toml"
    path.write_text(path.read_text().replace("timeout 2", "timeout 3"))
    assert [finding for finding in findings() if "lacks the wrapper" in finding]


def test_the_administrators_program_has_to_be_roots(folder: Path, findings: Findings) -> None:
    """Who can replace the program is who decides."""
    plan.install("claude", _gate(folder), folder.parent / "system", managed=True).carry_out()
    if os.geteuid() == 0:
        assert findings() == []
    Path(_gate(folder)).parent.chmod(0o777)
    assert [finding for finding in findings() if "changed by others than root" in finding]


_JSON_PLACES = (
    ".codex/hooks.json",
    ".mcp.json",
    ".claude/settings.json",
    ".claude.json",
    ".gemini/settings.json",
    ".gemini/trustedFolders.json",
    ".cursor/mcp.json",
    ".cursor/hooks.json",
)
_ODD: tuple[Any, ...] = (
    [],
    3,
    {"hooks": 1, "mcpServers": [1], "projects": 1, "features": 1, "env": 1, "hooksConfig": 1},
    {"hooks": {"PreToolUse": 1, "BeforeTool": {}}, "mcpServers": {"gate": 1}, "projects": 1},
    {"shell_environment_policy": {"exclude": 1}, "args": 1, "disabledMcpjsonServers": 1},
)


def test_garbage_in_every_place_is_a_finding_at_most(folder: Path, findings: Findings) -> None:
    """No shape of a file makes the check fail."""
    for agent in catalogue.AGENTS:
        _install(agent, folder)
    for data in _ODD:
        for root in ("chat", "home"):
            for path in _JSON_PLACES:
                place = folder.parent / root / path
                place.parent.mkdir(exist_ok=True)
                place.write_text(json.dumps(data))
        assert all(isinstance(finding, str) for finding in findings())
    (folder / "AGENTS.md").write_bytes(b"\xff")
    (folder / "CLAUDE.md").write_text("<!-- gate:begin claude -->\n")
    (folder / ".mcp.json").unlink()
    (folder / ".mcp.json").mkdir()
    for root in ("chat", "home"):
        (folder.parent / root / ".codex").mkdir(exist_ok=True)
        (folder.parent / root / ".codex" / "config.toml").write_text(
            "projects = 1\nhooks = 1\nshell_environment_policy = 1\nmcp_servers = [1]\nfeatures = 1\n"
        )
    assert findings()


def test_a_file_that_cannot_be_opened_is_passed_over(folder: Path, findings: Findings) -> None:
    """A name too long for the system, for one."""
    home = folder.parent / ("x" * 300)
    assert check.findings(folder, home, folder.parent / "system") == findings() == []


def test_ways_around_are_named_for_each_agent_that_is_installed(folder: Path) -> None:
    """Hooks and rules are never called a boundary; who does not use an agent hears nothing of it."""
    assert check.ways_around(folder) == []
    for agent in catalogue.AGENTS:
        _install(agent, folder)
    ways = check.ways_around(folder)
    assert {way.split(":")[0] for way in ways} == {"any agent", *catalogue.AGENTS}
    assert "only steer" in ways[0]
