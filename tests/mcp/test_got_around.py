"""The ways in which real gateways were got around, each by its name, in every era."""

import json
from typing import Any

import pytest
from mcp_kit import ERAS, MODERN, Client, line, wired

from gate.mcp import wire

_GOOD = {"deploymentSelector": "echo"}


def request(client: Client, **params: object) -> dict[str, Any]:
    """A proper call as an object, for tests to spoil."""
    made: dict[str, Any] = json.loads(
        client.request("tools/call", {"name": "tables", "arguments": _GOOD, **params}, "x")
    )
    return made


def spoilt(client: Client, old: bytes, new: bytes) -> bytes:
    text = line(request(client))
    assert old in text
    return text.replace(old, new, 1)


_HOSTILE = {
    "an invalid UTF-8 byte so that the line is forwarded raw": (b'"echo"', b'"ec\xffho"', wire.PARSE_ERROR),
    "an integer of 5,000 digits": (b'"echo"', b"9" * 5000, wire.PARSE_ERROR),
    "a duplicate method": (b'"method"', b'"method": "tools/list", "method"', wire.PARSE_ERROR),
    "a duplicate name": (b'"name"', b'"name": "status", "name"', wire.PARSE_ERROR),
    "a duplicate argument": (
        b'"deploymentSelector"',
        b'"deploymentSelector": "a", "deploymentSelector"',
        wire.PARSE_ERROR,
    ),
    "a lone surrogate": (b'"echo"', b'"\\ud800"', wire.PARSE_ERROR),
    "nesting of 100,000": (b'"echo"', b"[" * 100_000 + b"]" * 100_000, wire.PARSE_ERROR),
    "nesting of 100,000 without an end": (b'"echo"', b"[" * 100_000, wire.PARSE_ERROR),
    "objects nested 100,000 times": (b'"echo"', b'{"a":' * 100_000 + b"1" + b"}" * 100_000, wire.PARSE_ERROR),
    "a byte order mark": (b'{"jsonrpc"', b'\xef\xbb\xbf{"jsonrpc"', wire.PARSE_ERROR),
    "NaN": (b'"echo"', b"NaN", wire.PARSE_ERROR),
    "id null": (b'"x"', b"null", wire.INVALID_REQUEST),
    "another case: Method": (b'"method"', b'"Method"', wire.INVALID_REQUEST),
    "another case: Method next to method": (b'"method"', b'"Method": "tools/list", "method"', wire.INVALID_REQUEST),
    "another case: Params": (b'"params"', b'"Params"', wire.INVALID_REQUEST),
    "another case: Name": (b'"name"', b'"Name"', wire.INVALID_PARAMS),
    "another case of the tool": (b'"tables"', b'"Tables"', wire.INVALID_PARAMS),
    "a name that is no text": (b'"tables"', b'["tables"]', wire.INVALID_PARAMS),
    "arguments that are no object": (
        b'"arguments": {"deploymentSelector": "echo"}',
        b'"arguments": []',
        wire.INVALID_PARAMS,
    ),
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("way", _HOSTILE)
def test_is_refused_and_the_server_lives_on(era: str, way: str) -> None:
    """Nothing reaches the backend, the refusal is the protocol's, and the next call is made."""
    old, new, code = _HOSTILE[way]
    with wired(era) as door:
        client = door.client.open()
        client.say(spoilt(client, old, new))
        assert client.hear()["error"]["code"] == code
        assert door.backend.log == []
        client.say(client.call("echo"))
        assert client.hear()["result"]["isError"] is False


@pytest.mark.parametrize("era", ERAS)
def test_a_call_without_an_id_is_not_made(era: str) -> None:
    with wired(era) as door:
        client = door.client.open()
        call = request(client)
        del call["id"]
        client.say(line(call))
        assert client.says_nothing()
        assert door.backend.log == []


@pytest.mark.parametrize("era", ERAS)
def test_a_batch_is_not_taken_apart(era: str) -> None:
    with wired(era) as door:
        client = door.client.open()
        client.say(line([request(client), request(client)]))
        answer = client.hear()
        assert (answer["id"], answer["error"]["code"]) == (None, wire.INVALID_REQUEST)
        assert client.says_nothing()
        assert door.backend.log == []


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("version", ["2024-11-05", "2025-06-18", "2025-11-25", "1999-01-01"])
def test_an_older_version_in_the_envelope_leads_around_nothing(era: str, version: str) -> None:
    with wired(era) as door:
        client = door.client.open()
        call = request(client)
        call["params"]["_meta"] = {
            "io.modelcontextprotocol/protocolVersion": version,
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        client.say(line(call))
        assert client.hear()["error"]["code"] == wire.UNSUPPORTED_VERSION
        assert door.backend.log == []


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("method", ["resources/read", "resources/list", "prompts/get", "completion/complete"])
def test_what_is_not_listed_is_not_forwarded(era: str, method: str) -> None:
    with wired(era) as door:
        assert door.client.open().ask(method, {"uri": "file:///etc/passwd"})["error"]["code"] == wire.METHOD_NOT_FOUND
        assert door.backend.log == []


@pytest.mark.parametrize("era", ERAS)
def test_members_that_nobody_asked_for_are_left_behind(era: str) -> None:
    """`task`, an answer to a question that was not asked, a second name in another case: the call is made anew."""
    more = {"task": {"ttl": 1}, "inputResponses": {"a": {"action": "accept"}}, "requestState": "s", "Name": "run"}
    with wired(era) as door:
        client = door.client.open()
        client.say(line(request(client, **more)))
        heard = client.hear()["result"]["structuredContent"]
        assert (heard["tool"], heard["arguments"]) == ("tables", _GOOD)
        assert set(heard) == {"tool", "arguments", "era", "claimed"}


@pytest.mark.parametrize("era", ERAS)
def test_the_same_call_meets_the_same_backend_in_every_era(era: str) -> None:
    """One policy: what is refused in one era is refused in the others, in the same words."""
    with wired(era) as door:
        client = door.client.open()
        client.say(client.call("deny"))
        result = client.hear()["result"]
    assert result["isError"] is True
    assert result["content"][0]["text"].startswith("Refused (grant_required)")
    assert result["structuredContent"]["decision"]["code"] == "grant_required"


@pytest.mark.parametrize("era", ERAS)
def test_no_tool_approves(era: str) -> None:
    """Approvals never travel over the protocol: no tool takes a signature, a key or a request to approve."""
    with wired(era) as door:
        tools = door.client.open().ask("tools/list")["result"]["tools"]
    words = {word for tool in tools for word in (tool["name"], *tool["inputSchema"]["properties"])}
    assert not [word for word in words if any(part in word.lower() for part in ("approv", "sign", "accept", "key"))]


@pytest.mark.parametrize("era", ERAS)
def test_an_answer_that_comes_after_the_end_of_a_call_goes_nowhere(era: str) -> None:
    """What a call still brings once its time is over is not shown: the end is enforced, not only announced."""
    with wired(era, longest_ms=30) as door:
        client = door.client.open()
        client.say(client.call("never", "late"))
        assert client.hear()["result"]["structuredContent"]["error"]["code"] == "limit"
        door.backend.calls[0].finish({"content": [{"type": "text", "text": "a secret"}]})
        door.backend.calls[0].progress(1)
        assert client.says_nothing()
        assert door.backend.log == [("start", "late"), ("cancel", "late")]


def test_what_says_that_it_is_modern_is_held_to_it_in_a_session() -> None:
    """A second message of another era does not pin the first one's rules to it, nor the reverse."""
    with wired("2025-06-18") as door:
        client = door.client.open()
        other = Client(MODERN, door.to, door.of)
        assert other.ask("ping")["error"]["code"] == wire.METHOD_NOT_FOUND
        assert client.ask("ping")["result"] == {}
