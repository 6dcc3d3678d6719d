"""The one way in which the proxy says no, and the shapes that the Convex CLI shows cleanly. Decides nothing."""

from collections.abc import Mapping
from typing import Any

from aiohttp import web

FAILED = 560
# The CLI looks for this sentence and then prints one clean line instead of a stack trace.
_PREFIX = "You do not have permission to perform this operation"


class Refused(Exception):
    """A request that may not pass. `why` is shown to the caller: it holds no credential and no body."""

    def __init__(self, why: str, *, status: int = 403) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


def sentence(why: str) -> str:
    """`why` as the CLI recognizes a missing permission."""
    return f"{_PREFIX}: {why} (convex-gate)"


def plain(refused: Refused) -> web.Response:
    """Answer for most routes: the status with `code` and `message`."""
    code = "GateRefused" if refused.status < web.HTTPInternalServerError.status_code else "GateUpstream"
    return web.json_response({"code": code, "message": sentence(refused.why)}, status=refused.status)


def of_function(refused: Refused) -> web.Response:
    """Answer for the function routes: their clients read the error out of a status of their own."""
    return web.json_response({"status": "error", "errorMessage": sentence(refused.why), "logLines": []}, status=FAILED)


def of_queries(why: str, queries: list[int], version: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Sync protocol message that fails `queries`, between two versions of the client's state."""
    failed: dict[str, Any] = {"type": "QueryFailed", "errorMessage": sentence(why), "logLines": [], "journal": None}
    return {
        "type": "Transition",
        "startVersion": dict(version),
        "endVersion": dict(after),
        "modifications": [failed | {"queryId": number} for number in queries],
    }


def of_call(why: str, message: Mapping[str, Any]) -> dict[str, Any]:
    """Sync protocol answer to a refused Mutation or Action."""
    answer = {"type": f"{message['type']}Response", "requestId": message.get("requestId"), "success": False}
    return answer | {"result": sentence(why), "logLines": []}
