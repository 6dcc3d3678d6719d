"""The real Convex CLI as tests call it: a workspace of its own, a small environment, both outputs."""

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_FUNCTIONS = """import { queryGeneric, mutationGeneric } from "convex/server";
export const list = queryGeneric({ handler: async (ctx) => ctx.db.query("messages").collect() });
export const send = mutationGeneric({ handler: async (ctx) => ctx.db.insert("messages", {}) });
"""


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


def workspace(folder: Path, node_modules: Path) -> Path:
    """A project with functions and without a schema, whose node_modules is the installed one."""
    (folder / "convex").mkdir()
    (folder / "convex" / "messages.js").write_text(_FUNCTIONS)
    (folder / "package.json").write_text('{"name": "chat", "dependencies": {"convex": "1.48.0"}}')
    (folder / "convex.json").write_text('{"aiFiles": {"enabled": false}}')
    (folder / "node_modules").symlink_to(node_modules)
    (folder / "home").mkdir()
    return folder


async def start(folder: Path, env: Mapping[str, str], *argv: str, stdin: bool = False) -> asyncio.subprocess.Process:
    """`convex ARGV` in `folder`, with `env` over PATH and a HOME of its own."""
    base = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "CI": "1", "NO_COLOR": "1"}
    return await asyncio.create_subprocess_exec(
        "node",
        str(folder / "node_modules" / "convex" / "bin" / "main.js"),
        *argv,
        cwd=folder,
        env=base | dict(env),
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def convex(folder: Path, env: Mapping[str, str], *argv: str, stdin: bytes | None = None) -> Ran:
    """Run `convex ARGV` to its end, at most 40 seconds."""
    process = await start(folder, env, *argv, stdin=stdin is not None)
    try:
        async with asyncio.timeout(40):
            out, err = await process.communicate(stdin)
    finally:
        await end(process)
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


async def until(process: asyncio.subprocess.Process, text: str) -> str:
    """What `process` printed up to the line that holds `text`."""
    assert process.stdout is not None
    seen = ""
    async with asyncio.timeout(20):
        while text not in seen:
            line = await process.stdout.readline()
            assert line, seen
            seen += line.decode()
    return seen


async def end(process: asyncio.subprocess.Process) -> None:
    """Let `process` end, by force if it is still there."""
    if process.returncode is None:
        process.send_signal(signal.SIGKILL)
    await process.wait()
