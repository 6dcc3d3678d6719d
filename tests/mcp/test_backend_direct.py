"""Convex's tools as the door does them itself: what is asked, what comes of every answer, and log lines. No Convex."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gate.errors import GateError
from gate.mcp import direct, logs


class Deployment(BaseHTTPRequestHandler):
    """Answers every request with what the test put there."""

    status = 200
    body = b""
    seen: list[tuple[str, str, bytes]] = []  # noqa: RUF012 - one server at a time

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.seen.append((self.command, self.path, self.rfile.read(length)))
        self.send_response(type(self).status)
        self.send_header("Content-Length", str(len(type(self).body)))
        self.end_headers()
        self.wfile.write(type(self).body)

    do_GET = do_POST = _answer  # noqa: N815 - names of the standard library

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def pins() -> Iterator[dict[str, str]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Deployment)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield {"CONVEX_SELF_HOSTED_URL": url, "CONVEX_SELF_HOSTED_ADMIN_KEY": "token"}
    server.shutdown()
    thread.join()
    server.server_close()


CALLS: dict[str, dict[str, Any]] = {
    "data": {"tableName": "t", "order": "asc"},
    "envGet": {"name": "A"},
    "envList": {},
    "envRemove": {"name": "A"},
    "envSet": {"name": "A", "value": "b"},
    "functionSpec": {},
    "logs": {},
    "run": {"functionName": "a:b", "args": "{}"},
    "runOneoffQuery": {"query": "1"},
    "tables": {},
}


def _code(pins: dict[str, str], tool: str, **arguments: Any) -> str:
    try:
        direct.call(pins, tool, {**CALLS[tool], **arguments})
    except GateError as error:
        return error.code
    except direct.Failed as error:
        return f"failed: {error}"
    return "ok"


@pytest.mark.parametrize("tool", sorted(set(CALLS) - {"envSet", "envRemove"}))
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"{}",
        b'{"status": "success"}',
        b'{"status": "success", "value": 1}',
        b'{"status": "success", "value": [1]}',
        b'{"status": "success", "value": {"active": "{"}}',
        b'{"status": "success", "value": {"active": "{}"}}',
        b'{"status": "success", "value": 1, "logLines": 3}',
        b'{"entries": [1], "newCursor": 1}',
        b'{"entries": [{"logLines": [1]}], "newCursor": 1}',
        b"[" * 100_000,
    ],
)
def test_an_answer_of_another_form_is_an_error_and_no_more(pins: dict[str, str], tool: str, body: bytes) -> None:
    """Nothing else than these two comes out of a thread; a shape that nobody looks at may pass."""
    Deployment.status, Deployment.body = 200, body
    code = _code(pins, tool)
    assert code in ("upstream_unreachable", "ok") or code.startswith("failed: ")
    if body in (b"", b"{", b"[]", b'"x"', b"{}") and tool != "functionSpec":
        assert code != "ok"


def test_what_the_deployment_says_of_a_failure_is_passed_on(pins: dict[str, str]) -> None:
    """In its own words, by either way of failing."""
    Deployment.status, Deployment.body = 560, b'{"status": "error", "errorMessage": "it failed"}'
    assert _code(pins, "run") == "failed: Failed to run function a:b: it failed"
    assert _code(pins, "data") == "failed: it failed"
    Deployment.status, Deployment.body = 403, b'{"code": "GateRefused", "message": "not part of it"}'
    for tool in CALLS:
        assert _code(pins, tool) == "failed: not part of it"
    Deployment.status, Deployment.body = 500, b"[]"
    assert _code(pins, "logs") == "failed: HTTP error 500"
    assert _code(pins, "run", args="{x: 1}").startswith("failed: Failed to parse")


def test_too_much_and_nobody_there(pins: dict[str, str]) -> None:
    """Bounded, and named."""
    Deployment.status, Deployment.body = 200, b" " * (10 * 1024 * 1024 + 1)
    assert _code(pins, "data") == "limit"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    gone = {**pins, "CONVEX_SELF_HOSTED_URL": f"http://127.0.0.1:{port}"}
    assert _code(gone, "data") == "upstream_unreachable"
    assert direct.serves(pins)
    assert not direct.serves({"CONVEX_SELF_HOSTED_URL": ""})


def test_numbers_are_those_of_javascript(pins: dict[str, str]) -> None:
    """1.0 is 1, and the rest stays."""
    value = b'[1.0, 1.5, -0.0, 1e30, 9007199254740993.0, {"$integer": "AQAAAAAAAAA="}]'
    Deployment.status, Deployment.body = 200, b'{"status": "success", "value": %s}' % value
    found = direct.call(pins, "run", CALLS["run"])["result"]
    assert repr(found[:5]) == "[1, 1.5, 0, 1e+30, 9007199254740992.0]"
    assert found[5] == {"$integer": "AQAAAAAAAAA="}


def test_what_is_sent_is_what_convex_s_server_sends(pins: dict[str, str]) -> None:
    """The lease's token in the header, and in the body only where it is read there."""
    Deployment.status, Deployment.body = 200, b'{"status": "success", "value": null}'
    del Deployment.seen[:]
    for tool in ("runOneoffQuery", "envSet", "envRemove"):
        direct.call(pins, tool, CALLS[tool])
    direct.call(pins, "envGet", CALLS["envGet"])
    sent = [(method, path, json.loads(body)) for method, path, body in Deployment.seen]
    assert [(method, path) for method, path, _ in sent] == [
        ("POST", "/api/run_test_function"),
        ("POST", "/api/update_environment_variables"),
        ("POST", "/api/update_environment_variables"),
        ("POST", "/api/query"),
    ]
    assert [body.get("adminKey") for _, _, body in sent] == ["token", None, None, None]
    assert [body.get("changes") for _, _, body in sent[1:3]] == [
        [{"name": "A", "value": "b"}],
        [{"name": "A", "value": None}],
    ]


def test_log_lines_in_all_their_forms() -> None:
    """As the deployment writes them, old and new."""
    structured = {"messages": ["a", "b"], "level": "WARN", "timestamp": 1000.0, "isTruncated": True}
    entries = [
        {"kind": "Progress", "identifier": "f", "udfType": "Query", "timestamp": 1.0, "logLines": ["no level"]},
        {"kind": "Completion", "identifier": "f", "udfType": "Action", "timestamp": 1.0, "logLines": [structured]},
        {
            "kind": "Completion",
            "identifier": "f",
            "udfType": "Query",
            "timestamp": 43201.0,
            "logLines": [],
            "error": "\x1b[31mred\x1b[0m",
        },
        {"kind": "Other", "identifier": "f", "udfType": "Query", "timestamp": 1.0},
    ]
    lines = logs.as_text(entries).split("\n")
    assert lines[0] == "[CONVEX Q(f)] Could not parse console.log"
    assert lines[1].endswith("[CONVEX A(f)] [WARN] a b (truncated due to length)")
    assert lines[2].endswith("M [CONVEX Q(f)] red")
    assert len(lines) == 3
    assert logs.chosen(entries, "success", None, 1000) == [entries[1]]
    assert logs.chosen(entries, "failure", None, 1000) == [entries[2]]
    assert logs.chosen(entries, "all", 1, 1000) == [entries[3]]
    assert logs.chosen(entries, "all", 50, 1000) == entries
    assert logs.chosen(entries, "all", None, 1) == []
    assert logs.line_of_call("a:b", "no level") == "error: [CONVEX ?(a:b)] Could not parse console.log"
    assert logs.line_of_call("a:b", "[LOG] x") == "info: %c[CONVEX ?(a:b)] [LOG] color:rgb(0, 145, 255) x"


@pytest.mark.parametrize("hour", range(24))
def test_the_clock_has_twelve_hours(hour: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Midnight and noon are twelve."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    entry = {"udfType": "Query", "identifier": "f", "timestamp": hour * 3600.0, "logLines": ["[LOG] x"]}
    wanted = f"1/1/1970, {(hour + 11) % 12 + 1}:00:00 {'AM' if hour < 12 else 'PM'} "
    assert logs.as_text([entry]).startswith(wanted)
    monkeypatch.undo()
    time.tzset()
