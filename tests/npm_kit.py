"""Programs from npm for the opt-in suites: installed once into a cache of this user's, never into the project."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

# What runs the packages that want Node 22; npm has it as a package too.
NODE = "node@22.23.3"


def installed(name: str, *packages: str) -> Path:
    """The folder of the programs of `packages`, in the cache `name`. Skips the test where npm cannot get them."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = Path(tempfile.gettempdir()) / f"gate-npm-{os.getuid()}" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    wanted = "\n".join(packages)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        complete = folder / "complete"
        if not complete.exists() or complete.read_text() != wanted:
            # A manifest of its own keeps npm from looking upwards for a project.
            (folder / "package.json").write_text('{"private": true}\n')
            command = ["npm", "i", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), *packages]
            if subprocess.run(command, cwd=folder, capture_output=True, check=False, timeout=500).returncode:
                pytest.skip(f"npm could not install {' '.join(packages)}")
            complete.write_text(wanted)
    return folder / "node_modules" / ".bin"
