"""Single values as gate.yaml and policies may write them: ids, paths, origins, durations. Knows no key of a document.

Every check raises ValueError with words for a person and never with the value: it may be a key in the wrong place.
"""

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable

CLASSES = ("dev", "preview", "prod", "custom")

# Deployments that every project has; their ids are their classes.
BUILT_IN = ("anonymous", "local")

PRINCIPAL_KINDS = ("agent:", "ci:", "human:", "runtime:")

_SECONDS = {"s": 1, "m": 60, "h": 3600}
_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?/?", re.ASCII | re.IGNORECASE)
_HOST_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*")
_NUMERIC_END = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_DEFAULT_PORTS = {"https": "443", "http": "80"}


def hint(word: str, known: Iterable[str]) -> str:
    """Say `; did you mean ...?` with the nearest of `known`, or nothing when none is near."""
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""


def matching(pattern: str, what: str) -> Callable[[str], str]:
    """Make a check that a text matches the whole of `pattern`; `what` says in words what is expected."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text) is None:
            raise ValueError(f"must be {what}")
        return text

    return check


def one_of(known: Iterable[str], what: str) -> Callable[[str], str]:
    """Make a check that a word belongs to a closed vocabulary; the error names the nearest word."""
    words = frozenset(known)

    def check(text: str) -> str:
        if text not in words:
            raise ValueError(f"unknown {what}{hint(text, words)}")
        return text

    return check


def duration(text: str) -> int:
    """Read the seconds of `[1-9][0-9]*[smh]` (docs/contract.md, gate.yaml). Raises ValueError."""
    if re.fullmatch(r"[1-9][0-9]{0,8}[smh]", text) is None:
        raise ValueError("must be a duration such as `10s`, `60m` or `8h`")
    return int(text[:-1]) * _SECONDS[text[-1]]


# What else lies in a project's state folder (docs/contract.md, Places).
_STATE = frozenset({"genesis", "home", "port"})


def relative_path(text: str) -> str:
    """Return `text`, a path that stays below the folder it is relative to. Raises ValueError."""
    parts = text.split("/")
    if "\\" in text or not text.isprintable() or any(part in ("", ".", "..") for part in parts):
        raise ValueError("must be a relative path with `/`, without `..`, `.`, empty parts or backslashes")
    return text


def key_path(text: str) -> str:
    """Return `text`, a path in the project's state folder that is no file of the ledger's own. Raises ValueError."""
    first = relative_path(text).split("/")[0]
    if first.startswith("ledger.") or first in _STATE:
        raise ValueError("must not name a file of the gate's own; `keys/dev` is a good place")
    return text


def origin(text: str) -> str:
    """Return the origin of `text` in its one spelling: lower case, no default port, no slash at the end.

    https everywhere, http on loopback only; user names, paths, queries and fragments are no part of an origin.
    Raises ValueError (docs/contract.md, gate.yaml).
    """
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ValueError("must be an origin such as `https://happy-otter-123.convex.cloud`")
    scheme, port = match[1].lower(), match[3]
    host, loopback = _host(match[2].lower())
    if port is not None and int(port) > 65535:  # noqa: PLR2004 - the largest port there is
        raise ValueError("has a port that does not exist")
    if scheme == "http" and not loopback:
        raise ValueError("must use https (plain http is for loopback only)")
    return f"{scheme}://{host}" if port in (None, _DEFAULT_PORTS[scheme]) else f"{scheme}://{host}:{port}"


def _host(host: str) -> tuple[str, bool]:
    """Return one spelling of a host, and whether it is this machine. Raises ValueError."""
    if host.startswith("["):
        six = ipaddress.IPv6Address(host[1:-1])
        return f"[{six.compressed}]", six.is_loopback
    if _NUMERIC_END.fullmatch(host):
        # Clients read `127.1` or `0x7f000001` as addresses too: only the plain spelling says the same to all.
        four = ipaddress.IPv4Address(host)
        return str(four), four.is_loopback
    if _HOST_NAME.fullmatch(host) is None:
        raise ValueError("has a host that is no host name")
    return host, host == "localhost"
