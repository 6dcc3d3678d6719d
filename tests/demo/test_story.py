"""The demo comes out, says so, and fails when a step does not."""

import shutil
from pathlib import Path

import pytest

from gate.demo import story, tools
from gate.errors import GateError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, node_modules: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's cache, which holds the CLI already: npm is not asked."""
    folder = tmp_path / "gate" / f"convex-{tools.CONVEX}"
    folder.mkdir(parents=True)
    (folder / "node_modules").symlink_to(node_modules)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return folder


def test_every_step_comes_out() -> None:
    said: list[str] = []
    assert story.play(said.append) == 0, "\n".join(said)
    text = "\n".join(said)
    assert "Every step came out" in text
    assert "NOT as promised" not in text
    assert text.count("-> exit 77: as promised") == 5


def test_a_step_that_does_not_come_out_is_told_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the keys do not fit, the agent's own calls fail: the demo must not call that a success."""
    monkeypatch.setattr(story, "DEV_KEY", "dev:happy-otter-123|another")
    said: list[str] = []
    assert story.play(said.append) == 1
    text = "\n".join(said)
    assert "NOT as promised" in text
    assert "steps did NOT come out" in text


@pytest.mark.parametrize("tool", ["node", "npm", "ssh-keygen"])
def test_a_missing_tool_is_named_with_how_to_get_it(tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {"node", "npm", "ssh-keygen"} - {tool}:
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GateError, match=f"the demo needs {tool}") as refused:
        story.play(print)
    assert "nstall" in refused.value.remedy


def test_npm_that_cannot_get_the_cli_is_a_refusal(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "node_modules").unlink()
    failing = tmp_path / "npm"
    failing.write_text("#!/bin/sh\necho 'no route to the registry' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(GateError, match="no route to the registry"):
        tools.node_modules()
    failing.write_text("#!/bin/sh\nmkdir -p node_modules/convex/bin && touch node_modules/convex/bin/main.js\n")
    assert tools.node_modules() == cache / "node_modules"
