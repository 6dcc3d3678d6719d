"""One request over HTTP and its answer, bounded in time and size. Knows no deployment and no credential.

Standard library only. Not imported when `gate mcp` starts, but by its first direct call: `http.client` brings the
parser of e-mail and TLS with it (docs/performance.md).
"""

import http.client
from contextlib import closing
from urllib.parse import urlsplit

from gate.errors import GateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_LARGEST = 10 * 1024 * 1024
_SECONDS = 120


class Broken(Exception):
    """No answer came, or none of HTTP; the text is the kind of the failure and quotes nobody."""


def exchange(url: str, method: str, path: str, body: str | None, headers: "Mapping[str, str]") -> tuple[int, bytes]:
    """Status and content of the answer to one request to the host of `url`. Waits for the network.

    Raises Broken after 120 seconds of silence too, and GateError `limit` for an answer of more than 10 MiB.
    """
    try:
        with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=_SECONDS)) as connection:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            data = answer.read(_LARGEST + 1)
    except (OSError, http.client.HTTPException) as error:
        raise Broken(type(error).__name__) from error
    if len(data) > _LARGEST:
        raise GateError("limit", "the answer is larger than 10 MiB", remedy="Ask for less at once.")
    return answer.status, data
