"""Fixtures of every room: the real Convex CLI from npm, installed once from the committed lockfile."""

import fcntl
import signal
import subprocess
from pathlib import Path

import pytest

CONVEX = Path(__file__).parent / "convex"


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Folder `node_modules` with what tests/convex/package-lock.json names; installed when it is not there."""
    installed = CONVEX / "node_modules"
    with (CONVEX / ".install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (installed / "convex" / "bin" / "main.js").exists():
            subprocess.run(["npm", "ci", "--silent"], cwd=CONVEX, check=True, timeout=300)
    return installed


@pytest.fixture(scope="session")
def convex_package(node_modules: Path) -> Path:
    """The real Convex package: `bin/main.js` is its CLI."""
    return node_modules / "convex"


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> None:
    """Signals that whoever started the tests ignores (nohup, a background job) reach what the tests start."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
