"""Selectors: names of deployments that only this keeper gives out and resolves. Decides nothing.

Convex's own selectors are the caller's words (facts about convex 1.48.0: a crafted one reached production); these are
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


def selector(state: Path, project: str, deployment: str) -> str:
    """The selector of `deployment` of `project`, whose folder is `state`: the same for as long as that folder lives."""
    payload = json.dumps([project, deployment]).encode()
    return base64.urlsafe_b64encode(_code(state, payload) + payload).decode().rstrip("=")


def deployment_of(state: Path, project: str, given: str | None) -> str:
    """The deployment that `given` selects. Raises GateError `unknown_deployment` for what `selector` did not make."""
    try:
        raw = base64.b64decode((given or "").encode() + b"==", altchars=b"-_", validate=True)
        code, payload = raw[:_CODE_BYTES], raw[_CODE_BYTES:]
        genuine = hmac.compare_digest(code, _code(state, payload))
        named, deployment = json.loads(payload) if genuine else (None, "")
    except (ValueError, UnicodeEncodeError):
        named, deployment = None, ""
    if named != project:
        raise GateError(
            "unknown_deployment",
            "the selector is not one that this gate gave out",
            remedy="Call the tool `status` and use a selector of its answer.",
        )
    return str(deployment)


def _code(state: Path, payload: bytes) -> bytes:
    return hmac.digest(_secret(state), payload, hashlib.sha256)[:_CODE_BYTES]


def _secret(state: Path) -> bytes:
    """The folder's own secret, made at first use."""
    path = state / _FILE
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(world.secret(), encoding="ascii")
    return path.read_bytes()
