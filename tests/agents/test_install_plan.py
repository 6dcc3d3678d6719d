"""Installing into folders: the whole way from files through a second call back to the same files."""

import contextlib
import json
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gate.agents import catalogue, files, plan
from gate.errors import ConfigInvalid, GateError
from gate.hook import wrapper

GATE = "/opt/gate/bin/gate"
CASES = [(agent, managed) for agent in catalogue.AGENTS for managed in (False, True)]
each_case = pytest.mark.parametrize(("agent", "managed"), CASES)

_FOREIGN = {
    ".codex/config.toml": (
        '# mine\r\nmodel = "ü"\r\n\r\n[mcp_servers.other]\r\ncommand = "x"\r\n'
        '[shell_environment_policy]\r\nexclude = [ "AWS_*" ]\t# keep'
    ),
    ".codex/hooks.json": '{"description": "ours", "hooks": {"PreToolUse": [{"hooks": []}], "Stop": []}}',
    ".codex/rules/gate.rules": 'prefix_rule(pattern = ["rm"], decision = "prompt")',
    ".codex/rules/other.rules": "# untouched\n",
    ".mcp.json": '{\n\t"mcpServers": {\n\t\t"other": {"command": "x"}\n\t}\n}',
    ".claude/settings.json": '{\r\n    "env": { "A": "b" },\r\n    "hooks": {"PostToolUse": []}\r\n}\r\n',
    ".gemini/settings.json": '// theme\n{ "ui": {"theme": "x",}, /* none */ "mcpServers": {}, }\n',
    ".cursor/mcp.json": '{"mcpServers":{}}',
    ".cursor/hooks.json": '{\n  "version": 1,\n  "hooks": {\n    "beforeShellExecution": [{"command": "x"}]\n  }\n}\n',
    "AGENTS.md": "# Ours\n\nÜber alles.",
    "CLAUDE.md": "@AGENTS.md\r\n",
    "GEMINI.md": "",
    "etc/codex/requirements.toml": 'allowed_sandbox_modes = ["read-only"]\n[rules]\nprefix_rules = []\n',
    "etc/claude-code/managed-settings.json": '{"permissions": {"deny": ["Read(.env)"]}}\n',
    "etc/gemini-cli/settings.json": '{\n  "mcp": {"allowed": ["other"]}\n}\n',
    "etc/cursor/hooks.json": '{"version": 1, "hooks": {}}',
}


def _tree(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content and mode of every file."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mode) for path in found}


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A folder full of other people's content."""
    for name, text in _FOREIGN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(text.encode())
        (tmp_path / name).chmod(0o640)
    return tmp_path


def _install(agent: str, folder: Path, managed: bool, gate: str = GATE) -> plan.Plan:
    made = plan.install(agent, gate, folder, managed=managed)
    made.carry_out()
    return made


def _uninstall(agent: str, folder: Path, managed: bool) -> plan.Plan:
    made = plan.uninstall(agent, GATE, folder, managed=managed)
    made.carry_out()
    return made


@each_case
def test_a_fresh_folder_is_as_fresh_afterwards(tmp_path: Path, agent: str, managed: bool) -> None:
    """Files and folders that only the gate made go."""
    assert len(_install(agent, tmp_path, managed).changes) == len(catalogue.files(agent, GATE, managed=managed))
    assert _install(agent, tmp_path, managed).changes == ()
    _uninstall(agent, tmp_path, managed)
    assert _tree(tmp_path) == {}
    assert managed or list(tmp_path.iterdir()) == []
    assert _uninstall(agent, tmp_path, managed).changes == ()


@each_case
def test_a_full_folder_comes_back_to_the_byte(full: Path, agent: str, managed: bool) -> None:
    """Modes too; and in between a backup of each changed file stands beside it."""
    before = _tree(full)
    made = _install(agent, full, managed)
    between = _tree(full)
    for change in made.changes:
        name = change.seen.name.removeprefix("/")
        assert between[name + files.BACKUP] == before[name]
        assert between[name][1] == before[name][1]
    assert made.changes
    assert _install(agent, full, managed).changes == ()
    assert _tree(full) == between
    _uninstall(agent, full, managed)
    assert _tree(full) == before


@each_case
def test_backups_are_no_condition(full: Path, agent: str, managed: bool) -> None:
    """Somebody cleaned them up: everything of theirs is still there, and nothing of the gate's is."""
    before = _tree(full)
    _install(agent, full, managed)
    for path in full.rglob(f"*{files.BACKUP}"):
        path.unlink()
    _uninstall(agent, full, managed)
    for name, (data, _) in before.items():
        left = (full / name).read_text() if (full / name).exists() else ""
        assert "opt/gate" not in left
        assert "gate:begin" not in left
        assert all(word in left for word in data.decode().replace(",", " ").split() if word.isalnum() and len(word) > 6)


@each_case
def test_a_new_version_replaces_the_old_and_keeps_the_first_backup(full: Path, agent: str, managed: bool) -> None:
    """The program moved. What stood there before the gate is what uninstalling brings back."""
    before = _tree(full)
    _install(agent, full, managed, "/old/bin/gate")
    _install(agent, full, managed)
    assert not [name for name, (data, _) in _tree(full).items() if b"/old/bin" in data]
    _uninstall(agent, full, managed)
    assert _tree(full) == before


def test_two_agents_share_a_file(full: Path) -> None:
    """AGENTS.md has a paragraph of each; each takes its own, in any order."""
    before = _tree(full)
    for first, second in (("codex", "cursor"), ("cursor", "codex")):
        _install("codex", full, managed=False)
        _install("cursor", full, managed=False)
        assert (full / "AGENTS.md").read_text().count("gate:begin") == 2
        _uninstall(first, full, managed=False)
        assert (full / "AGENTS.md").read_text().count("gate:begin") == 1
        _uninstall(second, full, managed=False)
        assert _tree(full) == before


def test_text_around_it_may_change(full: Path) -> None:
    """Uninstalling takes out the gate's part and leaves what came since."""
    _install("claude", full, managed=False)
    guide = full / "CLAUDE.md"
    guide.write_bytes(b"# New\r\n" + guide.read_bytes() + b"more\r\n")
    settings = full / ".claude" / "settings.json"
    settings.write_bytes(settings.read_bytes().replace(b'"A": "b"', b'"A": "c", "B": "d"'))
    _uninstall("claude", full, managed=False)
    assert guide.read_bytes() == b"# New\r\n@AGENTS.md\r\nmore\r\n"
    assert settings.read_bytes() == _FOREIGN[".claude/settings.json"].replace('"b"', '"c", "B": "d"').encode()


@each_case
def test_the_difference_that_is_shown_is_the_one_that_is_made(full: Path, agent: str, managed: bool) -> None:
    """An independent reader of such differences comes to the same files."""
    if shutil.which("git") is None:
        pytest.skip("no git here")
    twin = full.parent / f"{full.name}-twin"
    shutil.copytree(full, twin)
    made = plan.install(agent, GATE, full, managed=managed)
    _apply(twin, made.diff())
    made.carry_out()
    backups = {name for name in _tree(full) if name.endswith(files.BACKUP)}
    shown = {name: data for name, (data, _) in _tree(twin).items()}
    assert shown == {name: data for name, (data, _) in _tree(full).items() if name not in backups}
    back = plan.uninstall(agent, GATE, full, managed=managed)
    _apply(twin, back.diff())
    back.carry_out()
    assert {name: data for name, (data, _) in _tree(twin).items()} == {
        name: data for name, (data, _) in _tree(full).items()
    }


def _apply(folder: Path, diff: str) -> None:
    words = ["git", "apply", "--whitespace=nowarn", "-"]
    subprocess.run(
        words,
        cwd=folder,
        input=diff.encode(),
        check=True,
        timeout=20,
        env={"GIT_CEILING_DIRECTORIES": "/", "PATH": "/usr/bin:/bin"},
    )


@pytest.mark.parametrize("broken", [".codex/hooks.json", ".codex/config.toml"])
def test_one_broken_file_changes_none(full: Path, broken: str) -> None:
    """Neither in nor out, and the position is said."""
    _install("codex", full, managed=False)
    (full / broken).write_text("{\n = \n")
    before = _tree(full)
    for make in (plan.install, plan.uninstall):
        with pytest.raises(ConfigInvalid, match=rf"^{broken}:[12]:\d+: "):
            make("codex", GATE, full)
    assert _tree(full) == before


def test_a_read_only_file_changes_none(full: Path) -> None:
    """Somebody marked it so; that a folder lets files be replaced is no leave."""
    (full / "AGENTS.md").chmod(0o444)
    before = _tree(full)
    with pytest.raises(GateError, match=r"AGENTS.md is read-only") as refused:
        plan.install("codex", GATE, full)
    assert refused.value.code == "usage"
    assert _tree(full) == before


@pytest.mark.parametrize("kind", ["folder", "fifo", "large", "backup", "loop"])
def test_what_is_no_plain_file_is_refused(full: Path, kind: str) -> None:
    """Nothing waits for a writer, nothing is read without end."""
    place = full / "CLAUDE.md"
    place.unlink()
    if kind == "folder":
        place.mkdir()
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "large":
        place.write_bytes(b"x" * (files.LARGEST + 1))
    elif kind == "backup":
        (full / ("CLAUDE.md" + files.BACKUP)).mkdir()
    else:
        place.symlink_to("CLAUDE.md")
    with pytest.raises(GateError, match=r"CLAUDE\.md"):
        plan.install("claude", GATE, full)


def test_a_link_is_followed_to_the_file_that_it_means(full: Path) -> None:
    """CLAUDE.md is often a link to AGENTS.md: the link stays, the file behind it has the paragraph and the backup."""
    (full / "CLAUDE.md").unlink()
    (full / "CLAUDE.md").symlink_to("AGENTS.md")
    before = (full / "AGENTS.md").read_bytes()
    _install("claude", full, managed=False)
    assert (full / "CLAUDE.md").readlink() == Path("AGENTS.md")
    assert "gate:begin claude" in (full / "AGENTS.md").read_text()
    assert (full / ("AGENTS.md" + files.BACKUP)).read_bytes() == before
    _uninstall("claude", full, managed=False)
    assert (full / "CLAUDE.md").readlink() == Path("AGENTS.md")
    assert (full / "AGENTS.md").read_bytes() == before


def test_a_link_to_a_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    """Root in a folder of an agent's must not be led to write into a file of root's, nor the other way round."""
    if os.geteuid() != 0:
        pytest.skip("only root can make files of two owners")
    folder, target = tmp_path / "project", tmp_path / "target.md"
    folder.mkdir()
    target.write_text("# root's\n")
    os.chown(folder, 65534, 65534)
    (folder / "CLAUDE.md").symlink_to(target)
    with pytest.raises(GateError, match="somebody else"):
        plan.install("claude", GATE, folder)
    assert target.read_text() == "# root's\n"


def test_owner_and_group_are_kept(full: Path) -> None:
    """Root edits a person's file: it stays the person's."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(full / "AGENTS.md", 65534, 65533)
    _install("codex", full, managed=False)
    status = (full / "AGENTS.md").stat()
    assert (status.st_uid, status.st_gid) == (65534, 65533)


def test_two_names_of_one_file_are_refused(full: Path) -> None:
    """Both edits would start from the same bytes, and one be lost."""
    (full / ".cursor" / "hooks.json").unlink()
    (full / ".cursor" / "hooks.json").symlink_to("mcp.json")
    with pytest.raises(GateError, match="same file"):
        plan.install("cursor", GATE, full)


def test_a_file_that_changes_meanwhile_is_left_alone(full: Path) -> None:
    """Between reading and writing somebody else wrote: theirs stays, and nothing else is written."""
    made = plan.install("codex", GATE, full)
    (full / "AGENTS.md").write_text("theirs")
    before = _tree(full)
    with pytest.raises(GateError, match="changed meanwhile"):
        made.carry_out()
    assert _tree(full) == before


def test_a_replacement_that_fails_undoes_those_before_it(full: Path) -> None:
    """The last place is taken by a folder: the system refuses, and what was replaced is put back."""
    made = plan.install("codex", GATE, full)
    (full / ("AGENTS.md" + files.BACKUP)).mkdir()
    before = _tree(full)
    with pytest.raises(GateError, match="cannot be written"):
        made.carry_out()
    assert _tree(full) == before
    fresh = full / "fresh"
    fresh.mkdir()
    seen = [files.Seen("a", fresh / "a", None, None), files.Seen("b", fresh / "b", None, None)]
    (fresh / ("b" + files.BACKUP)).mkdir()
    with pytest.raises(GateError):
        files.write([files.Change(seen[0], b"1", None), files.Change(seen[1], b"2", b"3")])
    assert _tree(fresh) == {}


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """A file stands where the agent's folder should be."""
    (tmp_path / ".codex").write_text("")
    with pytest.raises(GateError, match=r"\.codex/config\.toml cannot be opened"):
        plan.install("codex", GATE, tmp_path)


def _documents(agent: str, managed: bool, folder: Path) -> Iterator[tuple[str, Any]]:
    for change in plan.install(agent, GATE, folder, managed=managed).changes:
        text = (change.after or b"").decode()
        with contextlib.suppress(ValueError):
            yield change.seen.name, tomllib.loads(text) if change.seen.name.endswith(".toml") else json.loads(text)


def _server(agent: str, **more: Any) -> dict[str, Any]:
    return {"command": GATE, "args": ["mcp"], "env": {"GATE_PRINCIPAL": f"agent:{agent}"}, **more}


def _group(agent: str, matcher: str) -> list[Any]:
    return [{"matcher": matcher, "hooks": [{"type": "command", "command": wrapper.line(agent, GATE)}]}]


def test_exactly_the_documented_keys_are_written(tmp_path: Path) -> None:
    """One key more, and an agent may refuse the whole file."""
    codex = {
        "required": True,
        "default_tools_approval_mode": "approve",
        "startup_timeout_sec": 10,
        "tool_timeout_sec": 120,
    }
    handlers = [{"command": wrapper.line("cursor", GATE)}]
    cursor = {"version": 1, "hooks": {"beforeShellExecution": handlers, "beforeMCPExecution": handlers}}
    gemini = {
        "mcpServers": {"gate": _server("gemini")},
        "hooks": {"BeforeTool": _group("gemini", "run_shell_command|mcp_.*")},
    }
    assert dict(_documents("codex", False, tmp_path)) == {
        ".codex/config.toml": {
            "mcp_servers": {"gate": _server("codex", **codex)},
            "shell_environment_policy": {"exclude": ["CONVEX_*"], "set": {"CONVEX_AGENT_MODE": "anonymous"}},
        },
        ".codex/hooks.json": {"hooks": {"PreToolUse": _group("codex", "Bash|mcp__.*")}},
    }
    assert dict(_documents("claude", False, tmp_path)) == {
        ".mcp.json": {"mcpServers": {"gate": _server("claude", type="stdio")}},
        ".claude/settings.json": {
            "env": {"CONVEX_AGENT_MODE": "anonymous"},
            "hooks": {"PreToolUse": _group("claude", "Bash|mcp__.*")},
        },
    }
    assert dict(_documents("gemini", False, tmp_path)) == {".gemini/settings.json": gemini}
    assert dict(_documents("gemini", True, tmp_path)) == {
        "/etc/gemini-cli/settings.json": {**gemini, "mcp": {"allowed": ["gate"]}}
    }
    assert dict(_documents("cursor", False, tmp_path)) == {
        ".cursor/mcp.json": {"mcpServers": {"gate": _server("cursor")}},
        ".cursor/hooks.json": cursor,
    }
    assert dict(_documents("cursor", True, tmp_path)) == {"/etc/cursor/hooks.json": cursor}


def test_exactly_the_documented_keys_of_the_administrator(tmp_path: Path) -> None:
    """The lists that keep other servers, hooks and modes out."""
    rules = [
        {
            "pattern": [{"token": word} for word in command.split()],
            "decision": "forbidden",
            "justification": catalogue.JUSTIFICATION,
        }
        for command in catalogue.COMMANDS
    ]
    assert "gate convex" in catalogue.JUSTIFICATION
    assert dict(_documents("codex", True, tmp_path)) == {
        "/etc/codex/requirements.toml": {
            "allow_managed_hooks_only": True,
            "allowed_sandbox_modes": ["read-only", "workspace-write"],
            "allowed_approval_policies": ["untrusted", "on-request", "never"],
            "features": {"unified_exec": False},
            "mcp_servers": {"gate": {"identity": {"command": GATE}}},
            "hooks": {"PreToolUse": _group("codex", "Bash|mcp__.*")},
            "rules": {"prefix_rules": rules},
        }
    }
    found = dict(_documents("claude", True, tmp_path))["/etc/claude-code/managed-settings.json"]
    assert sorted(found["permissions"].pop("deny")) == sorted(f"Bash({command}:*)" for command in catalogue.COMMANDS)
    assert found == {
        "allowManagedHooksOnly": True,
        "allowManagedMcpServersOnly": True,
        "allowedMcpServers": [{"serverCommand": [GATE, "mcp"]}],
        "permissions": {"disableBypassPermissionsMode": "disable"},
        "env": {"CONVEX_AGENT_MODE": "anonymous"},
        "hooks": {"PreToolUse": _group("claude", "Bash|mcp__.*")},
    }


@each_case
def test_notes_say_when_it_is_read(agent: str, managed: bool) -> None:
    """No agent reads all of it unasked."""
    assert catalogue.notes(agent, managed=managed)
