"""What the door of hooks imports: an agent waits for it before every command."""

import subprocess
import sys
from pathlib import Path

import pytest

OURS = {
    "gate",
    "gate.cli",
    "gate.cli.sight",
    "gate.errors",
    "gate.execution",
    "gate.execution.convex",
    "gate.hook",
    "gate.hook.answers",
    "gate.hook.door",
    "gate.intent",
    "gate.intent.event",
    "gate.intent.mention",
    "gate.keeper",
    "gate.keeper.client",
    "gate.keeper.places",
    "gate.keeper.protocol",
    "gate.keeper.start",
    "gate.world",
}
TOO_DEAR = {"asyncio", "dataclasses", "inspect", "logging", "pathlib", "ssl", "subprocess", "threading", "typing"}
_PROBE = """\
import sys
before = set(sys.modules)
from gate.hook import door
status = door.main(["codex"])
print(*sorted(set(sys.modules) - before), status)
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Modules that a call takes beyond those of an empty Python, up to its refusal: there can be no keeper."""
    no_folder = tmp_path_factory.mktemp("hot") / "state"
    no_folder.touch()
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PROBE],
        cwd=no_folder.parent,
        env={"GATE_HOME": str(no_folder)},
        input='{"tool_name": "Bash", "tool_input": {"command": "npx convex dev"}}',
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    *modules, status = done.stdout.split()
    assert status == "2", done.stderr
    return set(modules)


def test_of_the_gate_only_what_the_door_needs(imported: set[str]) -> None:
    """Neither the parser nor the keeper's side."""
    assert {name for name in imported if name.split(".")[0] == "gate"} == OURS


def test_nothing_but_the_standard_library_and_nothing_dear(imported: set[str]) -> None:
    """Also not through a module that is cheap by itself."""
    assert {name.split(".")[0] for name in imported} - sys.stdlib_module_names == {"gate"}
    assert not imported & TOO_DEAR


def test_no_import_is_put_off() -> None:
    """Into a function, where the test above would not see it."""
    root = Path(__file__).parents[2]
    for name in OURS:
        path = root.joinpath(*name.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        lines = source.read_text(encoding="utf-8").splitlines()
        indented = [text for text in lines if text.startswith(" ") and text.split()[:1] in (["import"], ["from"])]
        checked_only = ("    from collections.abc import ", "    from typing import ")
        assert all(text.startswith(checked_only) for text in indented), name
