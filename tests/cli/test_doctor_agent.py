"""`gate doctor` and an ssh-agent in the caller's reach that holds the key of somebody who may sign."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from gate_cli import Gate, gate_in, person


@dataclass(frozen=True, slots=True)
class Setting:
    """An activated project whose signer is ada, and an agent that holds no key yet."""

    gate: Gate
    ada: Path
    socket: str

    async def add(self, key: Path, *options: str) -> None:
        """Load `key` into the agent."""
        environment = {"PATH": os.environ["PATH"], "SSH_AUTH_SOCK": self.socket}
        adding = await asyncio.create_subprocess_exec("ssh-add", "-q", *options, str(key), env=environment)
        assert await adding.wait() == 0

    async def doctor(self, socket: str | None = None) -> tuple[int, list[str]]:
        """Status and findings of `gate doctor` with the agent in its environment."""
        ran = await self.gate("--json", "doctor", env={"SSH_AUTH_SOCK": socket or self.socket})
        return ran.code, json.loads(ran.out)["findings"]


@pytest.fixture
async def setting(tmp_path: Path, node_modules: Path) -> AsyncIterator[Setting]:
    folder, socket = tmp_path / "chat", tmp_path / "agent"
    folder.mkdir()
    (folder / "node_modules").symlink_to(node_modules)
    ada = await person(tmp_path)
    agent = await asyncio.create_subprocess_exec(
        "ssh-agent", "-D", "-a", str(socket), env={"PATH": os.environ["PATH"]}, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with gate_in(folder, tmp_path / "state") as gate:
            for words in (("init", "--signer", f"{ada}.pub"), ("activate", "--key", str(ada))):
                ran = await gate(*words)
                assert ran.code == 0, ran
            yield Setting(gate, ada, str(socket))
    finally:
        agent.terminate()
        await agent.wait()


async def test_a_signers_key_that_signs_for_anybody_fails(setting: Setting) -> None:
    assert await setting.doctor() == (0, [])
    await setting.add(setting.ada)
    code, findings = await setting.doctor()
    assert (code, len(findings)) == (1, 1)
    signer = (setting.gate.folder / "gate.signers").read_text().splitlines()[-1].split()[0]
    assert f"the ssh-agent signs as {signer} without asking" in findings[0]
    assert all(remedy in findings[0] for remedy in ("ssh-add -d", "ssh-add -c", "security key"))


async def test_keys_that_ask_are_another_persons_or_are_not_there_do_not(setting: Setting, tmp_path: Path) -> None:
    await setting.add(setting.ada, "-c")
    await setting.add(await person(tmp_path, "joe"))
    assert await setting.doctor() == (0, [])
    assert await setting.doctor(str(tmp_path / "nowhere")) == (0, [])
    assert (await setting.gate("doctor")).code == 0
