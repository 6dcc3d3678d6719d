"""The real `gate` as tests call it: a state folder of its own, and a keeper that ends with the test."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from convex_cli import Ran


@dataclass(slots=True)
class Gate:
    """`gate` for the agent codex in `folder`; `env` comes over a small environment."""

    folder: Path
    state: Path
    env: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        """What a call sees: little, and what measures coverage."""
        base = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "GATE_PRINCIPAL": "agent:codex", "NO_COLOR": "1"}
        kept = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
        return {**base, **kept, "GATE_HOME": str(self.state), **self.env}

    async def __call__(self, *words: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None) -> Ran:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "gate",
            *words,
            cwd=self.folder,
            env={**self.environment(), **(env or {})},
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return Ran(process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def gate_in(folder: Path, state: Path) -> AsyncIterator[Gate]:
    """A Gate with a keeper of its own, started by hand so that what it does is measured too."""
    gate = Gate(folder, state)
    ready, keeper_end = os.pipe()
    words = [sys.executable, "-m", "gate", "keeper", "run", "--ready-fd", str(keeper_end)]
    keeper = await asyncio.create_subprocess_exec(*words, cwd=folder, env=gate.environment(), pass_fds=[keeper_end])
    os.close(keeper_end)
    await asyncio.to_thread(os.read, ready, 1)
    os.close(ready)
    try:
        yield gate
    finally:
        await gate("keeper", "stop")
        assert await keeper.wait() == 0


async def person(folder: Path, name: str = "ada") -> Path:
    """A new OpenSSH key in `folder`; returns the private one's path."""
    key = folder / name
    making = await asyncio.create_subprocess_exec(
        "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key), stdin=asyncio.subprocess.DEVNULL
    )
    assert await making.wait() == 0
    return key
