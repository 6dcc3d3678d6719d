"""Opt-in: the protocol's own inspector as a client of `gate mcp`, in both forms of the protocol."""

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import npm_kit
import on_stage  # noqa: F401 - finds the kits of tests/system
import pytest
from production_kit import SECRET, VIEW, Production, production
from session_kit import WORKING

from gate.mcp import catalogue

pytestmark = [pytest.mark.optin, pytest.mark.timeout(600)]
_INSPECTOR = "@modelcontextprotocol/inspector@2.12.0"
# How the inspector says that a tool's result is an error.
_IS_ERROR = 5


@dataclass(frozen=True, slots=True)
class Inspector:
    """Calls `gate mcp` of `production`, each time with a server of its own, in the form that `era` names."""

    production: Production
    programs: Path
    era: str

    def __call__(self, *words: str) -> tuple[int, Any]:
        """Exit status and result of one method."""
        project = self.production.project
        variables = ("-e", "GATE_PRINCIPAL=agent:codex", "-e", f"GATE_HOME={project.state}")
        command = (str(self.programs / "node"), str(self.programs / "mcp-inspector"), "--cli", "--format", "json", "-q")
        done = subprocess.run(
            [*command, "--protocol-era", self.era, *words, *variables, "--", *project.command("mcp")],
            cwd=project.made.work,
            env=project.environment(HOME=str(project.made.folder)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)["result"]

    def call(self, tool: str, deployment: str | None = None, **arguments: Any) -> tuple[int, Any]:
        """A tool, with the selector that `status` gives for `deployment`."""
        named = {} if deployment is None else {"deploymentSelector": self.selector(deployment)}
        told = json.dumps({**named, **arguments})
        return self("--method", "tools/call", "--tool-name", tool, "--tool-args-json", told)

    def selector(self, deployment: str) -> str:
        status, result = self.call("status")
        assert status == 0
        listed = result["structuredContent"]["availableDeployments"]
        return next(str(one["deploymentSelector"]) for one in listed if one["deployment"] == deployment)


@pytest.fixture(scope="module")
def programs() -> Path:
    return npm_kit.installed("inspector", _INSPECTOR, npm_kit.NODE)


@pytest.fixture(scope="module", params=["legacy", "modern"])
def inspector(request: pytest.FixtureRequest, programs: Path, node_modules: Path) -> Iterator[Inspector]:
    with production(node_modules) as made:
        yield Inspector(made, programs, request.param)


def test_it_lists_the_tools_and_finds_nothing_wrong_with_their_schemas(inspector: Inspector) -> None:
    """With --strict it ends with another status for a schema that some client could not take."""
    status, result = inspector("--method", "tools/list", "--strict")
    assert status == 0
    assert [tool["name"] for tool in result["tools"]] == list(catalogue.TOOLS)


@pytest.mark.parametrize("tool", ["data", "tables", "run"])
def test_tools_work_on_development(inspector: Inspector, tool: str) -> None:
    """It holds each result against the tool's output schema."""
    status, result = inspector.call(tool, "dev", **WORKING[tool])
    assert (status, result["isError"]) == (0, False)
    assert result["structuredContent"]


def test_production_is_refused_and_opens_under_a_grant(inspector: Inspector) -> None:
    """The refusal is a result, says how to ask, and reaches nothing; the same call works while a grant is live."""
    on_prod = inspector.production.since_now()
    status, result = inspector.call("data", "prod", **WORKING["data"])
    assert status == _IS_ERROR
    assert result["structuredContent"]["decision"]["code"] == "grant_required"
    assert "gate_request_access" in result["content"][0]["text"]
    assert on_prod.called() == []
    grant = on_prod.grant(VIEW)
    status, result = inspector.call("data", "prod", **WORKING["data"])
    assert status == 0
    assert SECRET not in json.dumps(result)
    assert on_prod.called()
    assert on_prod.gate("revoke", grant, "--reason", "enough").code == 0
    assert inspector.call("data", "prod", **WORKING["data"])[0] == _IS_ERROR
