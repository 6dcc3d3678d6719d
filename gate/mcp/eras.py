"""What each revision of the protocol wants of a request and adds to a result, as one table. Answers nothing itself.

Source: the specification of each revision, Lifecycle, and Versioning and Compatibility of 2026-07-28. The era belongs
to a message where the message says so, and else to the session that `initialize` opened; a policy sees neither.

Standard library only: this is the hot path of `gate mcp`.
"""

from gate import __version__
from gate.mcp import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from gate.mcp.wire import Message

SERVER = {"name": "convex-gate", "version": __version__}
CAPABILITIES = {"tools": {"listChanged": False}}
INSTRUCTIONS = (
    "Convex through an access gate. Call `status` first: it lists the deployments and their selectors. "
    "A refusal says what would make the call pass; `gate_request_access` asks a person for access."
)

_PREFIX = "io.modelcontextprotocol/"
META_VERSION = _PREFIX + "protocolVersion"
META_CAPABILITIES = _PREFIX + "clientCapabilities"
META_CLIENT = _PREFIX + "clientInfo"
META_SERVER = _PREFIX + "serverInfo"
META_SUBSCRIPTION = _PREFIX + "subscriptionId"

_MOST_CLAIMS = 16
_LONGEST_CLAIM = 256


class Era:
    """A revision: its `version`, the `methods` of requests it knows, what it adds to a `result` and to a `listing`."""

    __slots__ = ("listing", "methods", "result", "version")

    def __init__(
        self, version: str, methods: "frozenset[str]", result: "Mapping[str, Any]", listing: "Mapping[str, Any]"
    ) -> None:
        self.version = version
        self.methods = methods
        self.result = result
        self.listing = listing

    def complete(self, result: "Mapping[str, Any]") -> "dict[str, Any]":
        """`result` as this revision wants it."""
        own = self.result.get("_meta", {})
        meta = {**result.get("_meta", {}), **own}
        return {**result, **self.result, "_meta": meta} if meta else dict(result)


_HANDSHAKE = frozenset(("initialize", "ping", "tools/list", "tools/call"))
_STATELESS = frozenset(("server/discover", "subscriptions/listen", "tools/list", "tools/call"))
# Newest first in each of the two kinds.
MODERN = {
    "2026-07-28": Era(
        "2026-07-28",
        _STATELESS,
        {"resultType": "complete", "_meta": {META_SERVER: SERVER}},
        {"ttlMs": 0, "cacheScope": "private"},
    ),
}
LEGACY = {version: Era(version, _HANDSHAKE, {}, {}) for version in ("2025-11-25", "2025-06-18")}
_NEWEST_LEGACY = next(iter(LEGACY.values()))
_BEFORE_A_SESSION = ("initialize", "ping")


def era_of(message: "Message", session: Era | None) -> Era:
    """The revision whose rules hold for the request `message`; `session` is what `initialize` settled, if it came.

    Raises wire.Refused: METHOD_NOT_FOUND, INVALID_PARAMS without what the revision demands in `_meta`,
    UNSUPPORTED_VERSION for a revision that is not served per request.
    """
    if message.method not in _HANDSHAKE | _STATELESS:
        raise wire.Refused(wire.METHOD_NOT_FOUND, "the gate does not serve this method")
    era = _declared(meta_of(message)) or session or _opening(message)
    if message.method not in era.methods:
        raise wire.Refused(wire.METHOD_NOT_FOUND, f"{era.version} has no such method here")
    return era


def negotiated(params: "Mapping[str, Any]") -> Era:
    """The revision of a session: the one asked for where it is served, else the newest that has sessions.

    Raises wire.Refused INVALID_PARAMS unless `params` are those of `initialize`.
    """
    asked = params.get("protocolVersion")
    rest = (params.get("capabilities", {}), params.get("clientInfo", {}))
    if not isinstance(asked, str) or not all(isinstance(member, dict) for member in rest):
        raise wire.Refused(wire.INVALID_PARAMS, "initialize wants protocolVersion, capabilities and clientInfo")
    return LEGACY.get(asked, _NEWEST_LEGACY)


def meta_of(message: "Message") -> "dict[str, Any]":
    """`_meta` of a request; empty where there is none. Raises wire.Refused INVALID_PARAMS if it is no object."""
    meta = message.params.get("_meta", {})
    if not isinstance(meta, dict):
        raise wire.Refused(wire.INVALID_PARAMS, "`_meta` is not an object")
    return meta


def progress_token(meta: "Mapping[str, Any]") -> "int | str | None":
    """The token under which the client wants to hear of progress, or None.

    Raises wire.Refused INVALID_PARAMS for one that is neither a text nor an integer.
    """
    token: int | str | None = meta.get("progressToken")
    if "progressToken" in meta and not wire.is_id(token):
        raise wire.Refused(wire.INVALID_PARAMS, "`progressToken` is neither a text nor an integer")
    return token


def claims(meta: "Mapping[str, Any]", client: object) -> "dict[str, str | int | bool]":
    """What the client says of itself, for the record only: short members of `_meta`, and its name and version.

    Objects are flattened once: `a.b`. At most 16 claims of at most 256 characters; the rest is dropped.
    """
    told = {name: value for name, value in meta.items() if not name.startswith(_PREFIX) and name != "progressToken"}
    told["client"] = meta.get(META_CLIENT, client)
    return dict([claim for name, value in told.items() for claim in _flat(name, value)][:_MOST_CLAIMS])


def _flat(name: str, value: "Any") -> "list[tuple[str, Any]]":
    members = [(f"{name}.{inner}", member) for inner, member in value.items()] if isinstance(value, dict) else []
    return [pair for pair in members or [(name, value)] if all(map(_is_short, pair))]


def _is_short(value: object) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and len(value) <= _LONGEST_CLAIM)


def _declared(meta: "Mapping[str, Any]") -> Era | None:
    """The revision that a request itself names; None when it names nothing of the kind."""
    if META_VERSION not in meta and META_CAPABILITIES not in meta:
        return None
    version = meta.get(META_VERSION)
    if isinstance(version, str) and version not in MODERN:
        data = {"supported": [*MODERN, *LEGACY], "requested": version[:_LONGEST_CLAIM]}
        raise wire.Refused(wire.UNSUPPORTED_VERSION, "Unsupported protocol version", data=data)
    if not isinstance(version, str) or not isinstance(meta.get(META_CAPABILITIES), dict):
        raise wire.Refused(wire.INVALID_PARAMS, f"`_meta` needs {META_VERSION} and {META_CAPABILITIES}")
    return MODERN[version]


def _opening(message: "Message") -> Era:
    if message.method not in _BEFORE_A_SESSION:
        raise wire.Refused(
            wire.INVALID_PARAMS, f"`_meta` needs {META_VERSION} and {META_CAPABILITIES}, or `initialize` comes first"
        )
    return _NEWEST_LEGACY
