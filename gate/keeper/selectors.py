"""Selectors: names of deployments that only this keeper gives out and resolves. Decides nothing.

Convex's own selectors are the caller's words (convex 1.48.0, mcp/requestContext.ts: any of them is taken); these are
bound to one project and one deployment by a code that no caller can make.
"""

import base64
import hashlib
import hmac
import json
from pathlib import Path

from gate import world
from gate.errors import GateError

_FILE = "selectors"
_CODE_BYTES = 16
_SECRET_BYTES = 32
_LONGEST = 1024


def selector(state: Path, project: str, deployment: str) -> str:
    """The selector of `deployment` of `project`, whose folder is `state`: the same for as long as that folder lives.

    Raises GateError `keeper_unavailable` when the folder's secret is spoiled.
    """
    payload = json.dumps([project, deployment]).encode("ascii")
    code = hmac.digest(_secret(state), payload, hashlib.sha256)[:_CODE_BYTES]
    return base64.urlsafe_b64encode(code + payload).decode("ascii").rstrip("=")


def deployment_of(state: Path, project: str, given: str | None) -> str:
    """The deployment that `given` selects. Raises GateError `unknown_deployment` for what `selector` did not make."""
    deployment = _claimed(given or "")
    # What is claimed is made again: a selector in any other spelling is another selector.
    genuine = deployment is not None and hmac.compare_digest(
        selector(state, project, deployment).encode("ascii"), (given or "").encode("utf-8", "replace")
    )
    if deployment is None or not genuine:
        raise GateError(
            "unknown_deployment",
            "the selector is not one that this gate gave out",
            remedy="Call the tool `status` and use a selector of its answer.",
        )
    return deployment


def _claimed(given: str) -> str | None:
    """The deployment that a selector says it is of, whoever made it; None for what has no such form."""
    if len(given) > _LONGEST:
        return None
    try:
        raw = base64.b64decode(given.encode("ascii") + b"=" * (-len(given) % 4), altchars=b"-_", validate=True)
        named = json.loads(raw[_CODE_BYTES:])
    except (ValueError, RecursionError):
        return None
    is_pair = isinstance(named, list) and len(named) == 2  # noqa: PLR2004 - project and deployment
    return named[1] if is_pair and isinstance(named[1], str) else None


def _secret(state: Path) -> bytes:
    """The folder's own secret, made at first use."""
    path = state / _FILE
    if not path.exists():
        fresh = state / f"{_FILE}.new"
        fresh.touch(mode=0o600)
        fresh.write_text(world.secret(_SECRET_BYTES), encoding="ascii")
        # Whole or not at all: half a secret is one that somebody can guess.
        fresh.replace(path)
    found = path.read_bytes()
    if len(found) != 2 * _SECRET_BYTES:
        raise GateError(
            "keeper_unavailable",
            "the secret of the project's selectors is spoiled",
            remedy=f"Let the keeper's user remove {path}; agents then call the tool `status` again.",
        )
    return found
