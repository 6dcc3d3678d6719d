"""What the demo needs on the machine: Node, OpenSSH, and the pinned Convex CLI in a cache of its own."""

import shutil
import subprocess
from pathlib import Path

from gate import CONVEX_VERSIONS, world
from gate.errors import GateError

CONVEX = CONVEX_VERSIONS[-1]
_HINTS = {
    "node": "Install Node.js 20 or later: https://nodejs.org, `brew install node`, or `apt install nodejs npm`.",
    "npm": "Install npm, which comes with Node.js: https://nodejs.org or `apt install npm`.",
    "ssh-keygen": "Install OpenSSH's client: `apt install openssh-client`.",
}


def insist_on_tools() -> None:
    """Raise GateError `unknown_version` for the first tool that is missing, saying how to get it."""
    for tool, hint in _HINTS.items():
        if shutil.which(tool) is None:
            raise GateError("unknown_version", f"the demo needs {tool}", remedy=hint)


def node_modules() -> Path:
    """Folder with the real Convex CLI, installed by npm without running any install script.

    Raises GateError `upstream_unreachable` when npm cannot get it.
    """
    base = Path(world.variable("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "gate" / f"convex-{CONVEX}"
    installed = folder / "node_modules"
    if (installed / "convex" / "bin" / "main.js").exists():
        return installed
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # A manifest of its own keeps npm from looking upwards for a project.
        (folder / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    except OSError as error:
        raise GateError(
            "usage",
            f"the cache folder {folder} cannot be made ({error.strerror})",
            remedy="Name one in XDG_CACHE_HOME.",
        ) from error
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", f"convex@{CONVEX}"]
    done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:] or ["no reason given"]
        raise GateError(
            "upstream_unreachable",
            f"npm could not install convex {CONVEX}: {last[0][:200]}",
            remedy="Check npm's access to its registry and try again.",
        )
    return installed


def environment(state: Path) -> dict[str, str]:
    """What the demo's own calls of gate see: this machine's, without anything of another project's."""
    foreign = ("CONVEX_", "GATE_", "DOTENV_")
    kept = {name: value for name, value in world.environment().items() if not name.startswith(foreign)}
    return {**kept, "GATE_HOME": str(state), "GATE_PRINCIPAL": "agent:codex", "NO_COLOR": "1"}
