"""Anonymous and local deployments, with the real CLI: no key, no registry, no set-up."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from convex_cli import workspace
from gate_cli import Gate, gate_in

from gate.demo.standin import StandIn

KEY = "anonymous-agent|0a1b2c"


@pytest.fixture
async def gate(tmp_path: Path, node_modules: Path) -> AsyncIterator[Gate]:
    project = tmp_path / "chat"
    project.mkdir()
    async with gate_in(workspace(project, node_modules), tmp_path / "state") as made:
        yield made


def state_of(project: Path, backend: StandIn) -> None:
    """What `convex dev` leaves behind once it has made a deployment on this machine."""
    port = int(backend.url.rpartition(":")[2])
    folder = project / ".convex" / "local" / "default"
    folder.mkdir(parents=True)
    config = {
        "ports": {"cloud": port, "site": port + 1},
        "backendVersion": "precompiled",
        "adminKey": KEY,
        "instanceSecret": "00",
        "deploymentName": backend.name,
    }
    (folder / "config.json").write_text(json.dumps(config))


async def test_before_the_first_dev_the_message_says_what_to_do(gate: Gate) -> None:
    ran = await gate("convex", "data")
    assert ran.code == 77
    assert ran.err.splitlines()[-2:] == [
        "  gate convex dev --once",
        "gate: unknown_deployment: nothing is selected here, and there is no anonymous deployment yet",
    ]


async def test_the_anonymous_deployment_is_used_where_it_exists(gate: Gate) -> None:
    async with StandIn(KEY, "anonymous-agent") as backend:
        state_of(gate.folder, backend)
        sent = await gate("convex", "run", "messages:send", '{"body": "hi"}')
        assert (sent.code, sent.out) == (0, '"messages-1"\n'), sent
        read = await gate("convex", "data", "messages")
        assert read.code == 0, read
        assert "hi" in read.out
        assert backend.keys() == {KEY}


async def test_a_login_of_the_caller_is_not_found(gate: Gate) -> None:
    async with StandIn(KEY, "anonymous-agent") as backend:
        state_of(gate.folder, backend)
        (gate.folder / ".convex").mkdir(exist_ok=True)
        (gate.folder / ".convex" / "config.json").write_text('{"accessToken": "login-of-the-caller"}')
        ran = await gate("convex", "run", "messages:list")
        assert ran.code == 0, ran
        assert (gate.state / "_" / "home").is_dir()


async def test_a_local_deployment_learns_its_names_from_the_stand_in(gate: Gate) -> None:
    async with StandIn(KEY, "local-acme-chat") as backend:
        state_of(gate.folder, backend)
        (gate.folder / ".env.local").write_text("CONVEX_DEPLOYMENT=local:local-acme-chat\n")
        ran = await gate("convex", "run", "messages:list")
        assert ran.code == 0, ran
        ran = await gate("convex", "data")
        assert ran.code == 0, ran
        assert backend.keys() == {KEY}
        refused = await gate("convex", "dev", "--once")
        assert refused.code == 77
        assert "anonymous" in refused.err


async def test_without_a_bundle_nothing_but_this_machine_is_served(gate: Gate) -> None:
    for name in ("dev:happy-otter-123", "prod:proud-lynx-456"):
        (gate.folder / ".env.local").write_text(f"CONVEX_DEPLOYMENT={name}\n")
        ran = await gate("convex", "data")
        assert ran.code == 77
        assert ran.err.splitlines()[-1].startswith("gate: unknown_deployment:")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["help", "run"], ["run", "--help"]])
async def test_help_and_version_run_anywhere_and_are_on_record(gate: Gate, words: list[str]) -> None:
    ran = await gate("convex", *words)
    assert ran.code == 0, ran
    assert "gate: dec-" in ran.err
    tail = await gate("--json", "audit", "tail", "-n", "2")
    decision, outcome = (json.loads(line) for line in tail.out.splitlines())
    body = json.loads(decision["body"])
    assert (body["object"]["target"], body["object"]["intent"]["effects"]) == (None, [])
    assert json.loads(outcome["body"])["outcome"] == "ok"
