"""Keys fetched by a command such as a password manager's. Starts that one process and nothing else."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence

from gate.custody import file
from gate.errors import GateError


async def read(argv: Sequence[str], seconds: int, environment: Mapping[str, str], custody: str) -> str:
    """What `argv` prints within `seconds`, run without a shell, in `/`, with just `environment`.

    Raises GateError `custody_failed`; neither output nor errors of the command are shown, they may hold the key.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            env=dict(environment),
            start_new_session=True,
            limit=file.LARGEST,
        )
    except (OSError, ValueError) as error:
        raise _failed(custody, f"could not be started ({type(error).__name__})") from error
    assert process.stdout is not None  # noqa: S101 - asked for with PIPE above
    try:
        async with asyncio.timeout(seconds):
            output = await _bounded(process.stdout)
            status = await process.wait() if len(output) <= file.LARGEST else -1
    except TimeoutError as error:
        _end(process.pid)
        await process.wait()
        raise _failed(custody, f"gave no answer within {seconds} seconds") from error
    if process.returncode is None:
        _end(process.pid)
        await process.wait()
    if status != 0:
        raise _failed(custody, f"ended with status {status}")
    return file.clean(output, custody)


def _end(group: int) -> None:
    """End the command and whatever it started: it leads a group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


async def _bounded(stream: asyncio.StreamReader) -> bytes:
    output = b""
    while len(output) <= file.LARGEST and (chunk := await stream.read(4096)):
        output += chunk
    return output


def _failed(custody: str, what: str) -> GateError:
    return GateError(
        "custody_failed",
        f"the command of custody {custody} {what}",
        remedy="Run it by hand as the keeper's user; its environment is keeper.env in the state folder.",
    )
