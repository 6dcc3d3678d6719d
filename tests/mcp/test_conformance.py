"""Opt-in: the protocol's own conformance suite against `gate mcp`, over a bridge that gives it an address.

The suite asks for tools, resources and prompts that a server made for it has. The gate serves Convex's tools and
nothing else, so those scenarios fail here; what is left has to pass, and a change of the list is found.
"""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import npm_kit
import on_stage  # noqa: F401 - finds the kits of tests/system
import pytest
from http_bridge import bridged
from production_kit import production

pytestmark = [pytest.mark.optin, pytest.mark.timeout(600)]
_SUITE = "@modelcontextprotocol/conformance@0.2.0-alpha.12"
_VERSIONS = ("2025-06-18", "2025-11-25", "2026-07-28")
_PATIENCE_SECONDS = 200
# What a check says that wanted something of the suite's own server.
_ABSENT = (
    "there is no tool of this name",
    "the gate does not serve this method",
    "has no such method here",
    "Not testable",
    "Available tools: ",
    "Expected InputRequiredResult",
    "could not get initial InputRequiredResult",
)
# What is the bridge's, not the server's: the header's own rules, and the name of the host.
_TRANSPORT = {
    "dns-rebinding-protection",
    "http-header-validation",
    "http-custom-header-server-validation",
    "sep-2575-http-server-header-mismatch-400",
}
# Scenarios that pass whole, by revision.
_PASS = {
    "2025-06-18": {"server-initialize", "server-session-lifecycle", "ping", "tools-list"},
    "2025-11-25": {
        "server-initialize",
        "server-session-lifecycle",
        "ping",
        "tools-list",
        "server-sse-polling",
        "server-sse-multiple-streams",
    },
    "2026-07-28": {
        "tools-list",
        "server-sse-multiple-streams",
        "sep-2164-resource-not-found",
        "input-required-result-missing-input-response",
        "input-required-result-unsupported-methods",
        "input-required-result-ignore-extra-params",
        "input-required-result-validate-input",
    },
}
# Checks of the statelessness of the newer form that fail for a reason of their own.
_KNOWN: dict[str, str] = {
    # It lists the revisions with sessions too; `server/discover` names those without.
    "sep-2575-server-unsupported-version-error": "does not correlate",
}

Checks = Mapping[str, list[Mapping[str, Any]]]


@pytest.fixture(scope="module")
def command() -> list[str]:
    programs = npm_kit.installed("conformance", _SUITE, npm_kit.NODE)
    return [str(programs / "node"), str(programs / "conformance"), "server", "--suite", "all"]


@pytest.fixture(scope="module", params=_VERSIONS)
def outcome(
    request: pytest.FixtureRequest, command: list[str], node_modules: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Checks]:
    """The revision, and the checks of each scenario of it."""
    folder = tmp_path_factory.mktemp("out")
    with production(node_modules) as made:
        project = made.project
        environment = project.environment(GATE_PRINCIPAL="agent:codex")

        async def run() -> None:
            async with bridged(project.command("mcp"), project.made.work, environment) as address:
                words = [*command, "--url", address, "--spec-version", request.param, "-o", str(folder)]
                suite = await asyncio.create_subprocess_exec(*words, cwd=folder, stdout=asyncio.subprocess.DEVNULL)
                await asyncio.wait_for(suite.wait(), _PATIENCE_SECONDS)

        asyncio.run(run())
    return request.param, {_scenario(file): json.loads(file.read_text()) for file in folder.glob("*/checks.json")}


def _scenario(file: Path) -> str:
    """Its folder is called `server-NAME-TIME`."""
    return file.parent.name.removeprefix("server-").rpartition("-20")[0]


def _failed(checks: Checks) -> dict[str, list[Mapping[str, Any]]]:
    found = {name: [one for one in some if one["status"] == "FAILURE"] for name, some in checks.items()}
    return {name: some for name, some in found.items() if some}


def test_what_concerns_the_protocol_passes(outcome: tuple[str, Checks]) -> None:
    """Opening, ping, listing, sessions, refused methods: whole scenarios."""
    version, checks = outcome
    assert len(checks) > 20
    assert set(checks) - set(_failed(checks)) == _PASS[version]


def test_what_fails_wants_what_the_gate_does_not_serve(outcome: tuple[str, Checks]) -> None:
    """No check fails for another reason than the suite's own tools, resources and prompts, or the bridge."""
    _, checks = outcome
    wrong = [
        (scenario, one["id"], one.get("errorMessage"))
        for scenario, some in _failed(checks).items()
        for one in some
        if not _explained(scenario, one)
    ]
    assert wrong == []


def _explained(scenario: str, check: Mapping[str, Any]) -> bool:
    said = str(check.get("errorMessage"))
    if {scenario, check["id"]} & _TRANSPORT:
        return True
    return any(reason in said for reason in _ABSENT) or _KNOWN.get(check["id"], "\n") in said


def test_the_newer_form_needs_no_session(outcome: tuple[str, Checks]) -> None:
    """Most of what is asked of a server without sessions passes, the envelope's rules among it."""
    version, checks = outcome
    if version != "2026-07-28":
        assert "server-stateless" not in checks
        return
    passed = {one["id"] for one in checks["server-stateless"] if one["status"] == "SUCCESS"}
    assert len(passed) >= 18
