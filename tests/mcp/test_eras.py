from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from mcp_kit import ERAS, LEGACY, META, MODERN, Client, line, wired

from gate.mcp import eras, wire
from gate.mcp.wire import Message

_VERSION = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
_EVERY_METHOD = [
    *("initialize", "ping", "server/discover", "subscriptions/listen", "tools/list", "tools/call"),
    *("resources/list", "resources/read", "resources/templates/list", "resources/subscribe", "prompts/list"),
    *("prompts/get", "completion/complete", "logging/setLevel", "tasks/get", "tasks/list", "tasks/cancel"),
    *("tasks/result", "sampling/createMessage", "elicitation/create", "roots/list", "Tools/Call", "tools/call ", ""),
]
_SERVED = {
    **{version: {"ping", "tools/list", "tools/call"} for version in LEGACY},
    MODERN: {"server/discover", "subscriptions/listen", "tools/list", "tools/call"},
}


def error(answer: Any) -> Any:
    return answer["error"]["code"]


def message(method: str = "tools/list", **params: object) -> Message:
    return Message({"id": 1, "method": method, "params": params})


def modern(client: Client, method: str, meta: object) -> Any:
    client.say(line({"jsonrpc": "2.0", "id": "m", "method": method, "params": {"_meta": meta}}))
    return client.hear()


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("method", _EVERY_METHOD)
def test_every_method_that_is_not_served_is_unknown(era: str, method: str) -> None:
    """Default deny: only the table's methods of the era at hand are anything."""
    if method in _SERVED[era] or (method == "initialize" and era in LEGACY):
        return
    with wired(era) as door:
        assert error(door.client.open().ask(method)) == wire.METHOD_NOT_FOUND
        assert door.backend.log == []


@pytest.mark.parametrize("asked", [*LEGACY, MODERN, "2024-11-05", "1999-01-01", "9999-99-99", ""])
def test_a_session_has_the_revision_asked_for_or_the_newest_that_has_sessions(asked: str) -> None:
    with wired("2025-11-25") as door:
        told = {"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        result = door.client.ask("initialize", told)["result"]
        assert result["protocolVersion"] == (asked if asked in LEGACY else "2025-11-25")
        assert result["capabilities"] == {"tools": {"listChanged": False}}
        assert result["serverInfo"]["name"] == "convex-gate"


@pytest.mark.parametrize(
    "params",
    [{}, {"protocolVersion": 1}, {"protocolVersion": "2025-11-25", "capabilities": []},
     {"protocolVersion": "2025-11-25", "clientInfo": "x"}],
)  # fmt: skip
def test_an_improper_initialize_opens_nothing(params: dict[str, Any]) -> None:
    with wired("2025-11-25") as door:
        assert error(door.client.ask("initialize", params)) == wire.INVALID_PARAMS
        assert error(door.client.ask("tools/list")) == wire.INVALID_PARAMS


def test_a_session_is_opened_once() -> None:
    """Else a second handshake could change what the first one settled."""
    with wired("2025-06-18") as door:
        door.client.open()
        assert error(door.client.ask("initialize", {"protocolVersion": "2025-11-25"})) == wire.INVALID_REQUEST


@pytest.mark.parametrize("method", ["tools/list", "tools/call", "server/discover", "subscriptions/listen"])
def test_without_a_handshake_and_without_meta_nothing_is_served(method: str) -> None:
    """Convex's own server runs such calls."""
    with wired("2025-11-25") as door:
        assert error(door.client.ask(method, {"name": "tables", "arguments": {}})) == wire.INVALID_PARAMS
        assert door.backend.log == []


def test_ping_is_answered_before_and_in_a_session() -> None:
    with wired("2025-11-25") as door:
        assert door.client.ask("ping")["result"] == {}
        assert door.client.open().ask("ping")["result"] == {}


@pytest.mark.parametrize(
    ("meta", "code"),
    [
        ({_VERSION: MODERN}, wire.INVALID_PARAMS),
        ({_CAPABILITIES: {}}, wire.INVALID_PARAMS),
        ({_VERSION: MODERN, _CAPABILITIES: []}, wire.INVALID_PARAMS),
        ({_VERSION: MODERN, _CAPABILITIES: None}, wire.INVALID_PARAMS),
        ({_VERSION: None, _CAPABILITIES: {}}, wire.INVALID_PARAMS),
        ({_VERSION: 20260728, _CAPABILITIES: {}}, wire.INVALID_PARAMS),
        ({_VERSION: [MODERN], _CAPABILITIES: {}}, wire.INVALID_PARAMS),
        ({_VERSION: "1999-01-01", _CAPABILITIES: {}}, wire.UNSUPPORTED_VERSION),
        ({_VERSION: "2026-07-28 ", _CAPABILITIES: {}}, wire.UNSUPPORTED_VERSION),
        ({_VERSION: "2025-11-25", _CAPABILITIES: {}}, wire.UNSUPPORTED_VERSION),
        ([], wire.INVALID_PARAMS),
        ("x", wire.INVALID_PARAMS),
        (None, wire.INVALID_PARAMS),
    ],
)
@pytest.mark.parametrize("session", [True, False])
@pytest.mark.parametrize("method", ["tools/list", "tools/call", "server/discover"])
def test_an_improper_meta_is_refused_with_and_without_a_session(
    method: str, session: bool, meta: object, code: int
) -> None:
    with wired("2025-11-25") as door:
        if session:
            door.client.open()
        assert error(modern(door.client, method, meta)) == code
        assert door.backend.log == []


def test_an_unknown_revision_is_told_those_that_are_known() -> None:
    with wired() as door:
        told = modern(door.client, "tools/list", META | {_VERSION: "1" * 5000})["error"]["data"]
        assert told["supported"] == [MODERN, "2025-11-25", "2025-06-18"]
        assert told["requested"] == "1" * 256


def test_discover_names_the_revision_that_needs_no_session() -> None:
    with wired() as door:
        result = door.client.ask("server/discover")["result"]
    assert result["supportedVersions"] == [MODERN]
    assert result["capabilities"] == {"tools": {"listChanged": False}}
    assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 0, "private")
    assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "convex-gate"


@pytest.mark.parametrize("era", ERAS)
def test_results_have_the_shape_of_their_era(era: str) -> None:
    with wired(era) as door:
        listed = door.client.open().ask("tools/list")["result"]
        door.client.say(door.client.call("echo"))
        called = door.client.hear()["result"]
        door.client.say(door.client.call("marked"))
        marked = door.client.hear()["result"]["_meta"]
    modern_only = {"resultType", "_meta"}
    assert set(listed) == {"tools"} | (modern_only | {"ttlMs", "cacheScope"} if era == MODERN else set())
    assert set(called) == {"content", "structuredContent", "isError"} | (modern_only if era == MODERN else set())
    assert marked["gate/marked"] is True
    assert len(marked) == (2 if era == MODERN else 1)


@pytest.mark.parametrize("era", LEGACY)
def test_one_connection_serves_both_eras_and_mixes_nothing_up(era: str) -> None:
    """The era is the message's own: neither what came before nor what comes between changes it."""
    with wired(era) as door:
        own, other = door.client.open(), Client(MODERN, door.to, door.of)
        for client, version in [(own, era), (other, MODERN), (own, era), (other, MODERN)]:
            client.say(client.call("echo", number=f"{version}-1"))
            result = client.hear()["result"]
            assert result["structuredContent"]["era"] == version
            assert ("resultType" in result) == (version == MODERN)
        assert error(other.ask("ping")) == wire.METHOD_NOT_FOUND
        assert error(other.ask("initialize", {"protocolVersion": era})) == wire.METHOD_NOT_FOUND
        assert error(own.ask("server/discover")) == wire.METHOD_NOT_FOUND


def test_a_session_may_open_after_modern_requests() -> None:
    """A client that probes with `server/discover` and then shakes hands."""
    with wired() as door:
        door.client.ask("server/discover")
        assert "tools" in Client("2025-11-25", door.to, door.of).open().ask("tools/list")["result"]


def test_what_a_session_said_of_itself_is_not_told_of_a_modern_message() -> None:
    with wired("2025-11-25") as door:
        own, other = door.client.open(), Client(MODERN, door.to, door.of)
        own.say(own.call("echo", "a", **{"claudecode/toolUseId": "tu_1"}))
        assert own.hear()["result"]["structuredContent"]["claimed"] == {
            "claudecode/toolUseId": "tu_1", "client.name": "test", "client.version": "1",
        }  # fmt: skip
        other.say(other.call("echo", "b"))
        assert other.hear()["result"]["structuredContent"]["claimed"] == {}


def test_what_a_client_says_of_itself_is_short() -> None:
    """Objects are flattened once; what is long, deep or of the protocol is left out."""
    meta = {
        "progressToken": 1, "io.modelcontextprotocol/logLevel": "debug", "callId": "c1", "n": 3, "yes": True,
        "turn": {"session_id": "s", "deep": {"a": 1}, "list": []}, "long": "x" * 257,
        "l" * 257: 1, "none": None, "e": {},
        "io.modelcontextprotocol/clientInfo": {"name": "codex", "icons": []},
    }  # fmt: skip
    assert eras.claims(meta, {"name": "other"}) == {
        "callId": "c1", "n": 3, "yes": True, "turn.session_id": "s", "client.name": "codex",
    }  # fmt: skip
    assert len(eras.claims({f"k{n}": n for n in range(100)}, None)) == 16


@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=4), st.recursive(st.none() | st.text(max_size=4) | st.integers(), st.lists)))
def test_claims_are_bounded_whatever_is_said(meta: dict[str, Any]) -> None:
    told = eras.claims(meta, meta)
    assert len(told) <= 16
    assert all(isinstance(value, str | int) for value in told.values())


@pytest.mark.parametrize("token", [True, 1.5, None, [], {}])
@pytest.mark.parametrize("era", ERAS)
def test_an_improper_progress_token_is_refused(era: str, token: object) -> None:
    with wired(era) as door:
        door.client.open().say(door.client.call("echo", progressToken=token))
        assert error(door.client.hear()) == wire.INVALID_PARAMS
        assert door.backend.log == []


def test_a_response_is_of_no_era() -> None:
    with pytest.raises(wire.Refused):
        eras.era_of(message("tools/list"), None)
    assert eras.era_of(message("tools/list", _meta=META), None).version == MODERN
