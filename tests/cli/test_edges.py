"""What verbs say when the project at hand is odd: no files, broken files, other places."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from gate_cli import Gate, gate_in, person

from gate.cli import convex, refusal, sight


@pytest.fixture
async def gate(tmp_path: Path) -> AsyncIterator[Gate]:
    folder = tmp_path / "My App!"
    folder.mkdir()
    async with gate_in(folder, tmp_path / "state") as made:
        yield made


def last(text: str) -> str:
    return text.splitlines()[-1]


async def test_init_in_an_empty_folder_and_with_odd_files(gate: Gate) -> None:
    (gate.folder / "package.json").write_text("[1")
    (gate.folder / "convex.json").write_text("[]")
    (gate.folder / "policies").mkdir()
    (gate.folder / "policies" / "default.yaml").write_text("# ours\n")
    ran = await gate("--json", "init")
    assert ran.code == 0, ran
    made = json.loads(ran.out)
    assert made["project"] == "my-app"
    assert "kept policies/default.yaml" in ran.err
    assert (gate.folder / "policies" / "default.yaml").read_text() == "# ours\n"


async def test_init_never_copies_a_key(gate: Gate) -> None:
    (gate.folder / ".env.local").write_text(
        'export CONVEX_SELF_HOSTED_URL="http://127.0.0.1:3210"\nCONVEX_SELF_HOSTED_ADMIN_KEY=chat|s3cret\n'
        "CONVEX_DEPLOY_KEY=prod:proud-lynx-456|s3cret\n"
    )
    assert (await gate("init", "--project", "chat")).code == 0
    texts = [path.read_text() for path in gate.folder.rglob("*") if path.is_file() and path.name != ".env.local"]
    assert any("127.0.0.1:3210" in text for text in texts)
    assert not any("s3cret" in text for text in texts)


async def test_a_public_key_that_is_none_is_a_refusal(gate: Gate) -> None:
    (gate.folder / "key.pub").write_text("ssh-nothing AAAA\n")
    ran = await gate("init", "--signer", "key.pub")
    assert (ran.code, last(ran.err).startswith("gate: config_invalid: gate.signers:")) == (78, True)
    assert not (gate.folder / "gate.yaml").exists()


async def test_without_gate_yaml_there_is_nothing_to_activate(gate: Gate, tmp_path: Path) -> None:
    key = await person(tmp_path)
    ran = await gate("activate", "--key", str(key))
    assert (ran.code, last(ran.err)) == (78, "gate: config_invalid: no gate.yaml in this folder or above it")


async def test_a_file_that_gate_yaml_names_has_to_be_there(gate: Gate, tmp_path: Path) -> None:
    key = await person(tmp_path)
    assert (await gate("init", "--signer", f"{key}.pub")).code == 0
    (gate.folder / "policies" / "production.yaml").unlink()
    ran = await gate("activate", "--key", str(key))
    assert (ran.code, last(ran.err).startswith("gate: config_invalid: policies/production.yaml:1:1:")) == (78, True)
    who = await gate("whoami")
    assert who.code == 0, who
    ran = await gate("doctor")
    assert (ran.code, "policies/production.yaml:1:1" in ran.out) == (1, True)


async def test_every_finding_of_a_broken_file_is_shown(gate: Gate) -> None:
    (gate.folder / "gate.yaml").write_text("gate: 2\nproject: chat\nsigner: x\n")
    ran = await gate("activate", "--key", "x")
    assert ran.code == 78
    assert ran.err.count("gate.yaml:") >= 3
    assert "and" in last(ran.err)


async def test_the_config_may_be_named(gate: Gate, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "gate.yaml").write_text("gate: 1\nproject: elsewhere\n")
    ran = await gate("--json", "whoami", env={"GATE_CONFIG": str(elsewhere / "gate.yaml")})
    assert json.loads(ran.out)["project"] == "elsewhere"
    ran = await gate("convex", "data", env={"GATE_CONFIG": str(elsewhere / "nothing.yaml")})
    assert (ran.code, last(ran.err).startswith("gate: config_invalid:")) == (78, True)


@pytest.mark.parametrize("made", ["folder", "fifo", "large", "loop"])
async def test_files_that_cannot_be_taken_are_refused_and_do_not_hang(gate: Gate, made: str) -> None:
    path = gate.folder / ".env.local"
    if made == "folder":
        path.mkdir()
    elif made == "fifo":
        os.mkfifo(path)
    elif made == "loop":
        path.symlink_to(path)
    else:
        path.write_bytes(b"#" * (sight.LARGEST + 1))
    ran = await gate("convex", "data")
    assert (ran.code, last(ran.err).startswith("gate: bad_env_file:")) == (77, True), ran


async def test_a_named_env_file_is_read_by_the_keeper_that_decides(gate: Gate) -> None:
    (gate.folder / "dev.env").write_text("CONVEX_DEPLOYMENT=dev:sly-fox-666\n")
    for words in (("--env-file", "dev.env"), ("--env-file=dev.env",)):
        ran = await gate("convex", "data", *words)
        assert last(ran.err).startswith("gate: unknown_deployment:"), ran
    ran = await gate("convex", "data", "--env-file", "nowhere.env")
    assert last(ran.err).startswith("gate: bad_env_file:"), ran


async def test_a_descriptor_that_is_not_open_is_a_usage_error(gate: Gate) -> None:
    ran = await gate("--status-fd", "93", "convex", "data")
    assert (ran.code, last(ran.err)) == (64, "gate: usage: the descriptor of --status-fd is not open")


async def test_nothing_runs_where_convex_is_not_installed_and_that_is_on_record(gate: Gate) -> None:
    ran = await gate("convex", "--version")
    assert (ran.code, last(ran.err).startswith("gate: unknown_version:")) == (77, True)
    tail = await gate("audit", "tail", "-n", "1")
    assert "not_started" in tail.out


async def test_an_export_is_verified_whatever_file_it_is(gate: Gate, tmp_path: Path) -> None:
    await gate("convex", "data")
    noise = tmp_path / "noise"
    noise.write_bytes(b"\x00\xff not an export\n")
    assert (await gate("audit", "verify", str(noise))).code in {1, 3}
    ran = await gate("audit", "verify", "--signers", str(noise))
    assert ran.code in {1, 3}, ran
    assert (await gate("audit", "verify", str(tmp_path / "nowhere"))).code == 3


def test_what_is_shown_is_one_line_of_bounded_length_that_no_terminal_acts_on() -> None:
    hostile = "a\x1b[2J\r\nb\u202e" + "x" * 1000
    shown = refusal.escaped(hostile)
    assert shown.isprintable()
    assert len(shown) < 600
    assert shown.startswith("a\\x1b[2J\\x0d\\x0ab")


def test_the_options_of_the_hot_door_are_plain() -> None:
    options = convex.Options()
    assert (options.json, options.principal, options.grant, options.status_fd) == (False, None, None, None)


async def test_a_state_folder_that_others_may_read_is_taken_and_its_projects_are_private(tmp_path: Path) -> None:
    folder, state = tmp_path / "chat", tmp_path / "state"
    folder.mkdir()
    state.mkdir(mode=0o755)
    async with gate_in(folder, state) as gate:
        assert (await gate("whoami")).code == 0
    assert (state / "_").stat().st_mode & 0o777 == 0o700


async def test_explain_of_a_refusal_ends_as_a_refusal_does(gate: Gate) -> None:
    ran = await gate("explain", "convex", "data")
    assert (ran.code, ran.err.startswith("gate: unknown_deployment:")) == (77, True)
    assert ran.out.startswith("deny: ")


async def test_a_usage_error_is_a_refusal_like_any_other(gate: Gate) -> None:
    ran = await gate("--json", "audit", "tail", "-n", "0")
    first, end = ran.err.splitlines()
    assert (ran.code, json.loads(first)["code"], end.startswith("gate: usage: ")) == (64, "usage", True)
    ran = await gate("nonsense")
    assert ran.err.splitlines()[0] == "  See `gate --help`."


async def test_a_folder_that_is_gone_is_a_refusal_for_every_door(gate: Gate, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    for words in ("convex data", "whoami", "explain convex data"):
        script = f"cd {gone} && rmdir {gone} && {sys.executable} -m gate {words}; code=$?; mkdir {gone}; exit $code"
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", script, env=gate.environment(), stderr=asyncio.subprocess.PIPE
        )
        _, err = await process.communicate()
        assert (process.returncode, last(err.decode()).startswith("gate: usage:")) == (64, True), err


async def test_odd_values_are_refusals(gate: Gate) -> None:
    assert (await gate("--status-fd", "\u00b2", "convex", "data")).code == 64
    (gate.folder / "key.pub").write_bytes(b"ssh-ed25519 \xff\n")
    ran = await gate("init", "--signer", "key.pub")
    assert (ran.code, last(ran.err).startswith("gate: usage:")) == (64, True), ran
    (gate.folder / "policies").write_text("a file")
    ran = await gate("init")
    assert (ran.code, last(ran.err).startswith("gate: usage:")) == (64, True), ran
    assert not (gate.folder / "gate.yaml").exists()


async def test_a_damaged_port_file_costs_nothing_but_the_cache(gate: Gate) -> None:
    (gate.folder / ".env.local").write_text("CONVEX_DEPLOYMENT=local:local-acme-chat\n")
    state = gate.state / "_"
    for content in ("garbage", "", "99999999", "-1"):
        assert (await gate("whoami")).code == 0
        (state / "port").write_text(content)
        ran = await gate("convex", "data")
        assert last(ran.err).startswith("gate: unknown_version:"), ran
        await gate("keeper", "stop")
    assert 1024 <= int((state / "port").read_text()) <= 65535
