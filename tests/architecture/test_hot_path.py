"""What the doors on the hot path import: their start is paid for by every call of an agent (docs/performance.md)."""

import ast
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

# Any other module of the gate, and what it pulls in, belongs into the keeper or behind another verb.
_EVERY = {
    "gate",
    "gate.__main__",
    "gate.cli",
    "gate.cli.sight",
    "gate.errors",
    "gate.execution",
    "gate.execution.convex",
    "gate.keeper",
    "gate.keeper.client",
    "gate.keeper.places",
    "gate.keeper.protocol",
    "gate.keeper.start",
    "gate.world",
}
_CONVEX = {
    "gate.cli.convex",
    "gate.cli.refusal",
    "gate.execution.child",
    "gate.execution.env_local",
    "gate.execution.environment",
}
_MCP = {
    "gate.cli.mcp",
    "gate.cli.refusal",
    "gate.execution.environment",
    "gate.execution.piped",
    "gate.intent",
    "gate.intent.functions",
    "gate.mcp",
    "gate.mcp.answers",
    "gate.mcp.aside",
    "gate.mcp.backend",
    "gate.mcp.catalogue",
    "gate.mcp.direct",
    "gate.mcp.door",
    "gate.mcp.eras",
    "gate.mcp.lane",
    "gate.mcp.link",
    "gate.mcp.logs",
    "gate.mcp.output",
    "gate.mcp.pinned",
    "gate.mcp.questions",
    "gate.mcp.results",
    "gate.mcp.run",
    "gate.mcp.schema",
    "gate.mcp.server",
    "gate.mcp.shapes",
    "gate.mcp.stdio",
    "gate.mcp.upstream",
    "gate.mcp.wire",
}
_HOOK = {"gate.hook", "gate.hook.answers", "gate.hook.door", "gate.intent", "gate.intent.event", "gate.intent.mention"}
# Of the standard library, each of these costs as much as a tenth of an empty Python or more.
_TOO_DEAR = {
    "asyncio",
    "dataclasses",
    "email",
    "http",
    "inspect",
    "logging",
    "pathlib",
    "random",
    "ssl",
    "subprocess",
    "threading",
    "typing",
    "urllib",
}
# Put off on purpose, into the function that needs it.
_DEFERRED = {"gate.mcp.direct": "from gate.mcp import exchange"}
_PROBE = """\
import os, sys
before = set(sys.modules)
leave = os._exit

def tell(status):
    print(*sorted(set(sys.modules) - before), file=sys.stderr, flush=True)
    leave(status)

os._exit = tell
from gate.__main__ import main
sys.argv[1:] = {words}
tell(main())
"""
_DIRECT = """\
import sys
from gate.errors import GateError
from gate.mcp import direct
print("http.client" in sys.modules)
pins = {"CONVEX_SELF_HOSTED_URL": "http://127.0.0.1:1", "CONVEX_SELF_HOSTED_ADMIN_KEY": "token"}
try:
    direct.call(pins, "envList", {})
except GateError as error:
    print(error.code)
print("http.client" in sys.modules)
"""


def _line(method: str, number: int, **params: object) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}) + "\n"


@dataclass(frozen=True)
class Door:
    """A call that ends with `status` because there can be no keeper: what it hears on `stdin`, and may import."""

    words: list[str]
    stdin: str
    status: int
    ours: set[str]
    dear: frozenset[str] = frozenset()


DOORS = {
    "convex": Door(["convex", "--version"], "", 74, _EVERY | _CONVEX),
    "mcp": Door(
        ["mcp"],
        _line("initialize", 1, protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "a", "version": "1"})
        + _line("tools/list", 2)
        + _line("tools/call", 3, name="status", arguments={}),
        0,
        _EVERY | _MCP,
        # Of a start that takes 60 ms this is 1; a keeper is waited for beside the protocol.
        frozenset({"threading"}),
    ),
    "hook": Door(
        ["hook", "codex"],
        json.dumps({"tool_name": "Bash", "tool_input": {"command": "npx convex deploy"}}),
        2,
        _EVERY | _HOOK,
    ),
}


@pytest.fixture(scope="module", params=DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    """Each door in turn."""
    return DOORS[request.param]


@pytest.fixture(scope="module")
def imported(door: Door, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Modules that a call takes beyond those of an empty Python, up to its refusal."""
    no_folder = tmp_path_factory.mktemp("hot") / "state"
    no_folder.touch()
    # Nothing of the tests' environment: coverage, for one, would be imported by a variable.
    done = subprocess.run(
        [sys.executable, "-I", "-c", _PROBE.format(words=door.words)],
        cwd=no_folder.parent,
        env={"GATE_HOME": str(no_folder)},
        input=door.stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == door.status, done.stderr
    return set(done.stderr.splitlines()[-1].split())


def test_of_the_gate_only_what_a_door_needs(door: Door, imported: set[str]) -> None:
    """A module that is not listed here was not thought about."""
    assert {name for name in imported if name.split(".")[0] == "gate"} == door.ours


def test_nothing_but_the_standard_library(imported: set[str]) -> None:
    """Neither click nor pydantic nor anything else that is installed."""
    assert {name.split(".")[0] for name in imported} - sys.stdlib_module_names == {"gate"}


def test_nothing_dear_of_the_standard_library(door: Door, imported: set[str]) -> None:
    """Also not through a module that is cheap by itself."""
    assert imported & _TOO_DEAR == door.dear


def test_the_imports_stand_in_the_source_of_each_module(door: Door) -> None:
    """No import is put off into a function of the hot path, where this test would not see it.

    `gate.__main__` chooses the door that way; its choice is what the probe above goes through.
    """
    root = Path(__file__).parents[2]
    for name in door.ours - {"gate.__main__"}:
        path = root.joinpath(*name.split("."))
        source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        found = _put_off(source.read_text(encoding="utf-8"))
        assert found == {_DEFERRED[name]} if name in _DEFERRED else not found, name


def _put_off(source: str) -> set[str]:
    """Imports within functions."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    imports = [node for one in functions for node in ast.walk(one) if isinstance(node, (ast.Import, ast.ImportFrom))]
    return {ast.unparse(node) for node in imports}


def test_a_direct_call_pays_for_http_and_nothing_before_it_does() -> None:
    """The parser of e-mail and TLS come with it."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", _DIRECT], capture_output=True, text=True, check=True, timeout=30, env={}
    )
    assert done.stdout.split() == ["False", "upstream_unreachable", "True"]
