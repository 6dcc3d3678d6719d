"""`gate install` and `gate uninstall` as they are called."""

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gate.cli.convex import Options
from gate.cli.install import install, program
from gate.cli.uninstall import uninstall
from gate.errors import GateError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder is the project's, and the home folder an empty one."""
    (tmp_path / "chat").mkdir()
    monkeypatch.chdir(tmp_path / "chat")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "chat"


def _call(command: object, *words: str, as_json: bool = False) -> Result:
    assert command in (install, uninstall)
    verb = install if command is install else uninstall
    return CliRunner().invoke(verb, list(words), obj=Options(as_json, None, None, None))


def _names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_difference_comes_first_and_nothing_is_asked(folder: Path) -> None:
    """Prose and the difference go to stderr, what was done to stdout; a second call changes nothing."""
    ran = _call(install, "claude")
    assert ran.exit_code == 0
    assert ran.stderr.startswith("--- /dev/null\n+++ b/.mcp.json\n@@")
    assert ran.stdout.splitlines()[:3] == ["changed .mcp.json", "changed .claude/settings.json", "changed CLAUDE.md"]
    assert "note: Claude Code asks" in ran.stdout
    assert json.loads((folder / ".mcp.json").read_text())["mcpServers"]["gate"]["command"] == program()
    again = _call(install, "claude")
    assert (again.stderr, again.stdout.splitlines()[0]) == ("", "changed nothing")
    gone = _call(uninstall, "claude")
    assert "+++ /dev/null" in gone.stderr
    assert _names(folder) == []


def test_a_dry_run_writes_nothing(folder: Path) -> None:
    """Neither way; and it says the same."""
    dry = _call(install, "codex", "--dry-run")
    assert dry.stdout.startswith("would change .codex/config.toml\n")
    assert _names(folder) == []
    assert _call(install, "codex").stderr == dry.stderr
    before = _names(folder)
    assert _call(uninstall, "codex", "--dry-run").exit_code == 0
    assert _names(folder) == before


def test_one_object_with_json(folder: Path) -> None:
    """Findings are in it, and the entry that they are about is still there."""
    text = '{"mcpServers": {"convex": {"command": "npx", "args": ["convex", "mcp", "start"]}}}'
    (folder / ".cursor").mkdir()
    (folder / ".cursor" / "mcp.json").write_text(text)
    result = json.loads(_call(install, "cursor", as_json=True).stdout)
    assert result["done"] is True
    assert result["files"] == [".cursor/mcp.json", ".cursor/hooks.json", "AGENTS.md"]
    assert "mcpServers.convex" in result["findings"][0]
    assert "convex" in json.loads((folder / ".cursor" / "mcp.json").read_text())["mcpServers"]
    assert "finding: .cursor/mcp.json" in _call(install, "cursor").stdout


def test_a_terminal_is_not_spoken_to_by_files(folder: Path) -> None:
    """Control characters of a foreign file are shown, not sent."""
    (folder / "AGENTS.md").write_text("a\x1b]0;owned\x07\n")
    ran = _call(install, "cursor", "--dry-run")
    assert "\x1b" not in ran.output
    assert "\\x1b]0;owned\\x07" in ran.stderr


def test_the_administrators_files_want_root() -> None:
    """Only looking is free."""
    if os.geteuid() == 0:
        pid = os.fork()
        if pid == 0:
            os.setuid(65534)
            os._exit(0 if _refused() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    else:
        assert _refused()


def _refused() -> bool:
    errors = [_call(verb, "codex", "--managed").exception for verb in (install, uninstall)]
    return all(isinstance(error, GateError) and "root" in error.message for error in errors)


def test_the_administrators_files_can_be_looked_at() -> None:
    """For everybody; other servers are the lists' business then."""
    ran = _call(install, "codex", "--managed", "--dry-run")
    assert ran.exit_code == 0
    assert "etc/codex/requirements.toml" in ran.stderr
    assert "allow_managed_hooks_only = true" in ran.stderr


def test_the_program_is_an_absolute_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Beside the interpreter, else on PATH, else the call is refused."""
    assert Path(program()).is_absolute()
    (tmp_path / "gate").symlink_to("/bin/sh")
    monkeypatch.setattr("sys.executable", str(tmp_path / "none" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program() == str(tmp_path / "gate")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(GateError, match="no program"):
        program()
