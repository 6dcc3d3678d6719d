"""What `gate convex` imports: its start is paid for by every call of an agent (docs/performance.md)."""

import subprocess
import sys
from pathlib import Path

import pytest

# Any other module of the gate, and what it pulls in, belongs into the keeper or behind another verb.
OURS = {
    "gate",
    "gate.__main__",
    "gate.cli",
    "gate.cli.convex",
    "gate.cli.refusal",
    "gate.cli.sight",
    "gate.errors",
    "gate.execution",
    "gate.execution.child",
    "gate.execution.convex",
    "gate.execution.env_local",
    "gate.execution.environment",
    "gate.keeper",
    "gate.keeper.client",
    "gate.keeper.places",
    "gate.keeper.protocol",
    "gate.keeper.start",
    "gate.world",
}
# Of the standard library, each of these costs as much as a tenth of an empty Python or more.
TOO_DEAR = {"asyncio", "dataclasses", "inspect", "logging", "pathlib", "ssl", "subprocess", "threading", "typing"}
_KEEPER_UNAVAILABLE = 74
_PROBE = """\
import os, sys
before = set(sys.modules)
leave = os._exit

def tell(status):
    print(*sorted(set(sys.modules) - before), flush=True)
    leave(status)

os._exit = tell
from gate.__main__ import main
sys.argv[1:] = ["convex", "--version"]
main()
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Modules that a call takes beyond those of an empty Python, up to its refusal: there can be no keeper."""
    no_folder = tmp_path_factory.mktemp("hot") / "state"
    no_folder.touch()
    # Nothing of the tests' environment: coverage, for one, would be imported by a variable.
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PROBE],
        cwd=no_folder.parent,
        env={"GATE_HOME": str(no_folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == _KEEPER_UNAVAILABLE, done.stderr
    return set(done.stdout.split())


def test_of_the_gate_only_what_a_door_needs(imported: set[str]) -> None:
    """A module that is not listed here was not thought about."""
    assert {name for name in imported if name.split(".")[0] == "gate"} == OURS


def test_nothing_but_the_standard_library(imported: set[str]) -> None:
    """Neither click nor pydantic nor anything else that is installed."""
    assert {name.split(".")[0] for name in imported} - sys.stdlib_module_names == {"gate"}


def test_nothing_dear_of_the_standard_library(imported: set[str]) -> None:
    """Also not through a module that is cheap by itself."""
    assert not imported & TOO_DEAR


def test_the_imports_stand_in_the_source_of_each_module() -> None:
    """No import is put off into a function of the hot path, where this test would not see it.

    `gate.__main__` chooses the door that way; its choice is what the probe above goes through.
    """
    root = Path(__file__).parents[2]
    for name in OURS - {"gate.__main__"}:
        path = root.joinpath(*name.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        lines = source.read_text(encoding="utf-8").splitlines()
        indented = [line for line in lines if line.startswith(" ") and line.split()[:1] in (["import"], ["from"])]
        checked_only = ("    from collections.abc import ", "    from typing import ")
        assert all(line.startswith(checked_only) for line in indented), name
