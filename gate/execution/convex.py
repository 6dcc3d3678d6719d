"""Where the real Convex CLI and Node are on the caller's side. Starts neither.

Standard library only: the doors on the hot path import it.
"""

import json
import os

from gate import CONVEX_VERSIONS
from gate.errors import GateError

_PACKAGE = os.path.join("node_modules", "convex")


def package_in(cwd: str) -> str | None:
    """Folder of the `convex` package that Node would resolve from `cwd`, None when there is none."""
    folder = os.path.abspath(cwd)
    while True:
        package = os.path.join(folder, _PACKAGE)
        if os.path.isfile(os.path.join(package, "bin", "main.js")):
            return package
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def version_of(package: str) -> str | None:
    """The package's own version, None when it does not say."""
    try:
        with open(os.path.join(package, "package.json"), "rb") as opened:
            version = json.load(opened).get("version")
    except (OSError, ValueError, AttributeError):
        return None
    return version if isinstance(version, str) else None


def command(package: str | None, search: str) -> list[str]:
    """`node .../convex/bin/main.js`, with Node from the folders of `search` (a PATH).

    Raises GateError `unknown_version` when Convex or Node is missing.
    """
    if package is None:
        raise GateError(
            "unknown_version",
            "no Convex package is installed in this folder or above it",
            remedy=f"Install it in the project: `npm install convex@{CONVEX_VERSIONS[-1]}`.",
            argv=["npm", "install", f"convex@{CONVEX_VERSIONS[-1]}"],
        )
    for folder in search.split(os.pathsep):
        node = os.path.join(folder, "node")
        if folder and os.access(node, os.X_OK) and os.path.isfile(node):
            return [node, os.path.join(package, "bin", "main.js")]
    raise GateError(
        "unknown_version",
        "no `node` is on PATH",
        remedy="Install Node.js 20 or later (https://nodejs.org or the system's packages).",
    )
