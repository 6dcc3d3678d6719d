"""Every verb as a person types it, from a fresh project to a verified ledger, against a stand-in deployment."""

import asyncio
import json
import os
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from convex_cli import workspace
from gate_cli import Gate, gate_in, person

from gate.demo.standin import StandIn

KEY = "dev:happy-otter-123|real-key-of-dev"
SECRET = "real-key-of-dev"


@pytest.fixture
async def dev() -> AsyncIterator[StandIn]:
    async with StandIn(KEY, "happy-otter-123") as standin:
        yield standin


@pytest.fixture
async def gate(tmp_path: Path, node_modules: Path, dev: StandIn) -> AsyncIterator[Gate]:
    """A project after `gate init`, not activated; ada's key lies beside it."""
    project = tmp_path / "chat"
    project.mkdir()
    workspace(project, node_modules)
    (project / ".env.local").write_text("CONVEX_DEPLOYMENT=dev:happy-otter-123 # team: acme, project: chat\n")
    key = await person(tmp_path)
    async with gate_in(project, tmp_path / "state") as made:
        ran = await made("init", "--signer", f"{key}.pub")
        assert ran.code == 0, ran
        text = (project / "gate.yaml").read_text()
        assert "https://happy-otter-123.convex.cloud" in text
        (project / "gate.yaml").write_text(text.replace("https://happy-otter-123.convex.cloud", dev.url))
        yield made


@pytest.fixture
async def active(gate: Gate) -> Gate:
    """The same after `gate activate` and `gate key set`."""
    ran = await gate("activate", "--key", "../ada")
    assert ran.code == 0, ran
    ran = await gate("key", "set", "dev", stdin=KEY.encode())
    assert ran.code == 0, ran
    return gate


async def test_init_writes_a_draft_that_counts_for_nothing_and_overwrites_nothing(gate: Gate) -> None:
    who = json.loads((await gate("--json", "whoami")).out)
    assert (who["bundle"], who["draft"], who["deployments"]) == (None, "differs", {})
    again = await gate("init")
    assert (again.code, again.err.splitlines()[-1]) == (64, "gate: usage: there is a gate.yaml here already")
    ran = await gate("convex", "data")
    assert ran.err.splitlines()[-1].startswith("gate: unknown_deployment:")


async def test_activate_shows_the_difference_signs_and_puts_in_force(gate: Gate) -> None:
    ran = await gate("activate", "--key", "../ada")
    assert ran.code == 0, ran
    assert '+project: "chat"' in ran.err or "+project: chat" in ran.err
    assert '"kind":"activation"' in ran.err
    who = json.loads((await gate("--json", "whoami")).out)
    assert who["draft"] == "active"
    assert who["bundle"]["digest"] in ran.out
    again = await gate("activate", "--key", "../ada")
    assert (again.code, "in force already" in again.out) == (0, True)


async def test_an_activation_by_somebody_else_is_refused(active: Gate, tmp_path: Path) -> None:
    await person(tmp_path, "mallory")
    policy = active.folder / "policies" / "default.yaml"
    policy.write_text(policy.read_text() + "# ours now\n")
    for key, code in (("../mallory", "not_a_signer"), ("../nowhere", "bad_signature")):
        ran = await active("activate", "--key", key)
        assert (ran.code, ran.err.splitlines()[-1].split(":")[1].strip()) == (77, code)
    who = await active("whoami")
    assert "NOT in force" in who.out


async def test_the_key_is_nowhere_but_in_custody(active: Gate, tmp_path: Path, dev: StandIn) -> None:
    ran = await active("convex", "run", "messages:list")
    assert ran.code == 0, ran
    assert dev.keys() == {KEY}
    assert stat.S_IMODE((active.state / "chat" / "keys" / "dev").stat().st_mode) == 0o600
    everywhere = [path for path in tmp_path.rglob("*") if path.is_file() and "node_modules" not in path.parts]
    holding = {path.name for path in everywhere if SECRET.encode() in path.read_bytes()}
    assert holding == {"dev"}
    assert SECRET not in (await active("audit", "export")).out


async def test_a_key_for_a_custody_that_is_not_listed_is_refused(active: Gate) -> None:
    ran = await active("key", "set", "prod", stdin=b"k")
    assert ran.err.splitlines()[-1].startswith("gate: custody_failed:")
    ran = await active("key", "set", "dev", stdin=b"")
    assert ran.code == 64
    ran = await active("key", "set", "dev", stdin=b"two\nlines")
    assert ran.err.splitlines()[-1].startswith("gate: custody_failed:")
    assert (await active("audit", "tail")).out.count("key.set") == 1


async def test_a_key_of_another_deployment_is_never_used(active: Gate, dev: StandIn) -> None:
    dev.name = "sly-fox-666"
    before = len(dev.requests)
    ran = await active("convex", "run", "messages:list")
    assert (ran.code, "another name" in ran.err) == (77, True)
    assert [request.key for request in dev.requests[before:]] == [None]


async def test_explain_exits_as_the_call_would(active: Gate) -> None:
    ran = await active("explain", "convex", "run", "messages:list")
    assert ran.code == 0, ran
    assert "dev (dev), chosen by CONVEX_DEPLOYMENT in .env.local" in ran.out
    ran = await active("--json", "explain", "--", "convex", "deploy")
    decision = json.loads(ran.out)
    assert (ran.code, decision["code"], decision["exit"]) == (77, "unknown_deployment", 77)
    ran = await active("explain", "convex", "deployment", "token", "create", "x")
    assert "deny no-new-credentials at policies/default.yaml" in ran.out
    assert (await active("explain", "data")).code == 64


async def test_json_refusals_come_as_one_line_before_the_last(active: Gate) -> None:
    ran = await active("--json", "convex", "deploy")
    first, last = ran.err.splitlines()
    assert json.loads(first)["kind"] == "decision"
    assert last.startswith("gate: unknown_deployment:")
    ran = await active("--json", "audit", "show", "dec-nowhere")
    assert json.loads(ran.err.splitlines()[0])["code"] == "usage"


async def test_the_status_descriptor_tells_the_gates_verdict_from_the_childs(active: Gate, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with said.open("wb") as opened:
        os.set_inheritable(opened.fileno(), True)
        duplicate = os.dup2(opened.fileno(), 97)
        try:
            script = f"exec {sys.executable} -m gate --status-fd 97 convex run nothing:there"
            ran = await shell(active, script, 97)
        finally:
            os.close(duplicate)
    assert ran == 1
    assert json.loads(said.read_text())["verdict"] == "allow"


async def shell(gate: Gate, script: str, descriptor: int) -> int:
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        script,
        cwd=gate.folder,
        env={"PATH": os.environ["PATH"], "GATE_HOME": str(gate.state)},
        pass_fds=[descriptor],
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()


async def test_doctor_is_clean_or_says_what_is_not(active: Gate, dev: StandIn) -> None:
    ran = await active("doctor")
    assert (ran.code, "clean" in ran.out) == (0, True), ran
    (active.folder / ".env.local").write_text("CONVEX_DEPLOY_KEY=dev:happy-otter-123|x\n")
    (active.folder / "gate.yaml").write_text((active.folder / "gate.yaml").read_text() + "# more\n")
    dev.admin_key = "rotated"
    found = json.loads((await active("--json", "doctor")).out)["findings"]
    assert any(".env.local holds CONVEX_DEPLOY_KEY" in finding for finding in found)
    assert any("not in force" in finding for finding in found)
    assert any(finding.startswith("deployment dev:") for finding in found)
    (active.folder / "gate.yaml").write_text("gate: [")
    ran = await active("doctor")
    assert (ran.code, "gate.yaml:2:1" in ran.out) == (1, True)


async def test_the_ledger_is_read_exported_and_verified(active: Gate, tmp_path: Path) -> None:
    await active("convex", "run", "messages:list")
    tail = await active("audit", "tail", "-n", "2")
    assert "run on dev: ok" in tail.out
    decision = tail.out.split()[3]
    shown = await active("audit", "show", decision)
    assert [line.split()[2] for line in shown.out.splitlines()] == ["decision", "outcome"]
    export = await active("audit", "export")
    copy = tmp_path / "ledger.jsonl"
    copy.write_text(export.out)
    head = json.loads(export.out.splitlines()[-1])["hash"]
    for words in (
        ("audit", "verify"),
        ("audit", "verify", str(copy), "--signers", "gate.signers", "--head", head),
        ("audit", "verify", str(active.state / "chat" / "ledger.db")),
    ):
        ran = await active(*words)
        assert (ran.code, "clean" in ran.out) == (0, True), ran
    copy.write_text(export.out.replace("happy-otter", "happy-badger"))
    assert (await active("audit", "verify", str(copy))).code == 1
    ran = await active("--json", "audit", "verify", "--head", "0" * 64)
    assert (ran.code, json.loads(ran.out)["status"]) == (1, 1)


async def test_a_row_with_a_right_chain_is_no_activation(active: Gate) -> None:
    """An edited ledger that hashes well still lacks the signature: the keeper serves nothing from it."""
    await active("keeper", "stop")
    file = active.state / "chat" / "ledger.db"
    with sqlite3.connect(file) as database:
        tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")]
        for name in tables:
            database.execute(f"DROP TRIGGER {name}")
        database.commit()
    database.close()
    ran = await active("convex", "run", "messages:list")
    assert (ran.code, ran.err.splitlines()[-1].split(":")[1].strip()) == (74, "ledger_tampered")


async def test_the_keeper_by_hand(gate: Gate) -> None:
    status = json.loads((await gate("--json", "keeper", "status")).out)
    assert status["uid"] == os.geteuid()
    assert "project chat" in (await gate("keeper", "status")).out
    assert (await gate("keeper", "stop")).code == 0
    for _ in range(50):
        ran = await gate("keeper", "status")
        if ran.code == 74:
            break
    assert ran.err.splitlines()[-1] == "gate: keeper_unavailable: no keeper runs"


async def test_the_dashboard_is_answered_by_the_gate(active: Gate, dev: StandIn) -> None:
    before = len(dev.requests)
    ran = await active("convex", "dashboard", "--no-open")
    assert (ran.code, ran.out) == (0, "https://dashboard.convex.dev/d/happy-otter-123\n")
    assert len(dev.requests) == before


async def test_insights_and_tokens_are_not_run_with_the_gates_key(active: Gate) -> None:
    ran = await active("convex", "insights")
    assert (ran.code, "wants a Convex login" in ran.err) == (77, True)
    ran = await active("convex", "deployment", "token", "create", "x")
    assert ran.err.splitlines()[-1].startswith("gate: denied_by_rule:")


async def test_a_claim_to_be_a_person_is_refused(active: Gate) -> None:
    ran = await active("--as", "human:ada", "convex", "data")
    assert (ran.code, "a claim to be a person" in ran.err) == (77, True)


async def test_an_unknown_version_of_convex_is_refused(active: Gate) -> None:
    package = active.folder / "forged" / "node_modules" / "convex"
    (package / "bin").mkdir(parents=True)
    (package / "bin" / "main.js").write_text("console.log('ran')")
    for manifest in ('{"version": "2.0.0"}', "{}"):
        (package / "package.json").write_text(manifest)
        forged = Gate(active.folder / "forged", active.state)
        ran = await forged("convex", "--help")
        assert (ran.code, ran.err.splitlines()[-1].split(":")[1].strip()) == (77, "unknown_version")


@pytest.mark.parametrize("shell_name", ["bash", "zsh", "fish"])
async def test_completion(gate: Gate, shell_name: str) -> None:
    assert "_GATE_COMPLETE" in (await gate("completion", shell_name)).out


async def test_usage_errors_exit_64(gate: Gate) -> None:
    for words in (("nonsense",), ("--nonsense",), ("audit", "tail", "-n", "0"), ("activate",)):
        assert (await gate(*words)).code == 64


async def test_the_pair_of_a_self_hosted_deployment_may_stand_in_any_file(active: Gate, dev: StandIn) -> None:
    """The key then comes with the call, from where the bundle says, and goes to the registered URL only."""
    yaml = active.folder / "gate.yaml"
    text = yaml.read_text()
    head, _, tail = text.partition("deployments:")
    _, _, tail = tail.partition("principals:")
    people, _, _ = tail.partition("custody:")
    own = f'deployments:\n  own: {{class: dev, url: "{dev.url}", custody: own}}\n'
    yaml.write_text(f"{head}{own}principals:{people}custody:\n  own: {{env_file: conf/own.env}}\n")
    assert (await active("activate", "--key", "../ada")).code == 0
    (active.folder / ".env.local").write_text(f"CONVEX_SELF_HOSTED_URL={dev.url}\nCONVEX_SELF_HOSTED_ADMIN_KEY=none\n")
    ran = await active("convex", "data")
    assert (ran.code, "not in this folder" in ran.err) == (77, True), ran
    (active.folder / "conf").mkdir()
    pair = f"CONVEX_SELF_HOSTED_URL={dev.url}\nCONVEX_SELF_HOSTED_ADMIN_KEY={KEY}\n"
    (active.folder / "conf" / "own.env").write_text(pair)
    ran = await active("convex", "data")
    assert ran.code == 0, ran
    assert dev.keys() == {KEY}
    assert (await active("doctor")).code == 1
