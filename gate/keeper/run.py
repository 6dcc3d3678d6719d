"""The keeper's process from lock to end. Decides nothing."""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import sys
from pathlib import Path

from gate.keeper import places, start
from gate.keeper.server import Server
from gate.keeper.service import Service

IDLE_SECONDS = 900
_PR_SET_DUMPABLE = 4


def keep(root: str, *, ready_fd: int | None, idle_seconds: float) -> int:
    """Be the keeper of the state folder `root` until stopped or idle; returns the exit status.

    0 also when another keeper holds the lock: there is one, which is all that the starter wants.
    Raises GateError `keeper_unavailable` when the folder cannot be used.
    """
    places.ensure_own(root)
    os.umask(0o077)
    held = start.lock(root)
    if held is None:
        return 0
    _guard_memory()
    # Doors that leave in the middle of an answer are no news.
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    asyncio.run(_serve(root, ready_fd, idle_seconds))
    os.close(held)
    return 0


async def _serve(root: str, ready_fd: int | None, idle_seconds: float) -> None:
    stopping = asyncio.Event()
    service = Service(Path(root), stopping.set)
    shared = root == places.INSTALLED_STATE
    server = Server(root, service.handlers(), idle_seconds, stopping, shared=shared)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    try:
        await server.serve(lambda: _announce(ready_fd))
    finally:
        await service.close()


def _announce(ready_fd: int | None) -> None:
    if ready_fd is not None:
        os.close(ready_fd)


def _guard_memory() -> None:
    """Keep other processes of the same user from reading this one's memory and environment (prctl(2))."""
    if sys.platform == "linux":
        with contextlib.suppress(AttributeError, OSError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
