"""One call and the keeper, frame by frame: whatever the keeper says and whenever, there is one answer and one turn."""

import select
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from gate.errors import GateError
from gate.keeper import client, protocol
from gate.mcp.backend import Call
from gate.mcp.door import Door
from gate.mcp.eras import LEGACY

ERA = LEGACY["2025-06-18"]
ALLOWED = {"decision": {"verdict": "allow", "code": "ok"}}
DENIED: dict[str, Any] = {"code": "no_rule", "message": "no", "rules": [], "needs": None, "remedy": None}
# Self-hosted at a port where nobody listens, and a deployment of the cloud.
DIRECT = {"CONVEX_SELF_HOSTED_URL": "http://127.0.0.1:1", "CONVEX_SELF_HOSTED_ADMIN_KEY": "t"}
CLOUD = {"CONVEX_DEPLOY_KEY": "dev:x|t", "CONVEX_SELF_HOSTED_URL": ""}


class Stage:
    """A door whose keeper is the test, and whose loop is `turn`."""

    def __init__(self, see: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
        self.keeper, self.theirs = socket.socketpair()
        self.keeper.settimeout(5)
        self.door = Door(see, {"keys/dev": "a key"}.get)
        self.results: dict[Any, Mapping[str, Any]] = {}
        self._next = 0

    def finish(self, call: Call, result: Mapping[str, Any]) -> None:
        if not call.over:
            call.over = True
            self.results[call.id] = result

    def progress(self, call: Call, told: Mapping[str, Any]) -> None:
        raise AssertionError((call, told))

    def start(self, selector: str = "s", tool: str = "tables", **arguments: Any) -> Call:
        self._next += 1
        told = {"deploymentSelector": selector, **arguments}
        call = Call(self, self._next, tool=tool, arguments=told, era=ERA, progress_token=None, claimed={}, ends=0)
        self.door.start(call)
        return call

    def cancel(self, call: Call) -> None:
        call.over = True
        self.door.cancel(call)

    def turn(self, seconds: float = 0.05) -> None:
        reads, writes = dict(self.door.descriptors()), dict(self.door.writers())
        readable, writable, _ = select.select(list(reads), list(writes), [], seconds)
        for descriptor in readable:
            reads[descriptor]()
        for descriptor in writable:
            writes[descriptor]()
        self.door.tick()

    def hear(self) -> Any:
        """The next frame to the keeper."""
        for _ in range(100):
            if select.select([self.keeper], [], [], 0)[0]:
                return protocol.receive(self.keeper)
            self.turn()
        raise AssertionError("the door said nothing")

    def silent(self) -> bool:
        self.turn()
        return not select.select([self.keeper], [], [], 0)[0]

    def say(self, number: int, **frame: Any) -> None:
        protocol.send(self.keeper, {"call": number, **frame})
        self.turn()

    def code(self, call: Call) -> str:
        told = self.results[call.id]["structuredContent"]
        return str((told.get("decision") or told["error"]).get("code"))


def _see(more: Mapping[str, Any]) -> dict[str, Any]:
    return {"cwd": "/", "gate_yaml": None, "principal": None, **more}


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    yield from _stage(monkeypatch, _see)


def _stage(monkeypatch: pytest.MonkeyPatch, see: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Iterator[Stage]:
    made = Stage(see)
    monkeypatch.setattr(client, "connect", lambda: made.theirs)
    yield made
    made.door.close()
    made.keeper.close()
    made.theirs.close()


def _opened(on: Stage) -> None:
    assert on.hear()["op"] == "mux"


def _started(on: Stage, number: int, pins: Mapping[str, str]) -> None:
    on.say(number, **ALLOWED, start={"pins": pins, "project": "p", "grant": None})


def test_a_call_is_asked_for_with_what_it_is(on: Stage) -> None:
    """Tool, arguments and selector apart, under the name of its server."""
    on.start("s", "data", tableName="t", order="asc")
    _opened(on)
    asked = on.hear()
    assert (asked["call"], asked["op"], asked["upstream"]) == (1, "run", "0:s")
    told = asked["invocation"]
    assert (told["tool"], told["selector"]) == ("data", "s")
    assert told["arguments"] == {"tableName": "t", "order": "asc"}


def test_a_refusal_is_the_answer_and_the_next_call_has_its_turn(on: Stage) -> None:
    """One selector, one call at a time; another does not wait."""
    first, second, other = on.start(), on.start(), on.start("other")
    _opened(on)
    assert {on.hear()["call"], on.hear()["call"]} == {1, 2}
    assert on.silent()
    on.say(1, decision=DENIED)
    assert on.code(first) == "no_rule"
    assert on.hear()["call"] == 3
    on.say(3, error={"code": "limit", "message": "m", "remedy": {"text": "t", "argv": None}})
    on.say(2, decision=DENIED)
    assert (on.code(second), on.code(other)) == ("limit", "no_rule")


def test_a_file_that_is_wanted_is_sent(on: Stage) -> None:
    """And null for one that is not there."""
    on.start()
    _opened(on)
    on.hear()
    for name, content in (("keys/dev", "a key"), ("other", None)):
        on.say(1, want=name)
        assert on.hear() == {"call": 1, "file": content}


def test_a_call_that_was_cancelled_before_it_began_does_not_begin(on: Stage) -> None:
    """While it waited, and while the keeper decided."""
    first, second = on.start(), on.start()
    _opened(on)
    on.hear()
    on.cancel(second)
    on.cancel(first)
    _started(on, 1, CLOUD)
    assert on.hear() == {"call": 1, "failed": "cancelled"}
    on.say(1, recorded="dec-1")
    assert on.silent()
    assert on.results == {}
    on.start()
    assert on.hear()["call"] == 2


def test_a_direct_call_is_answered_when_it_is_on_record(on: Stage) -> None:
    """And the ones after it wait for nobody, with a credential of their own each."""
    first = on.start()
    _opened(on)
    on.hear()
    _started(on, 1, DIRECT)
    assert on.hear() == {"call": 1, "done": {"status": 1}}
    assert on.results == {}
    on.say(1, recorded="dec-1")
    assert on.code(first) == "upstream_unreachable"
    on.start()
    on.start()
    assert [on.hear()["upstream"] for _ in range(2)] == [None, None]


def test_a_deployment_that_is_reached_in_another_way_now(on: Stage) -> None:
    """Its next call goes that way."""
    on.start()
    _opened(on)
    on.hear()
    _started(on, 1, DIRECT)
    on.hear()
    on.say(1, recorded="dec-1")
    second = on.start()
    on.hear()
    _started(on, 2, CLOUD)
    assert on.hear() == {"call": 2, "failed": "bundle_changed"}
    on.say(2, recorded="dec-2")
    assert on.code(second) == "bundle_changed"
    on.start()
    assert on.hear()["upstream"] == "0:s"


def test_a_cut_is_heard_at_once_and_what_comes_later_is_not(on: Stage) -> None:
    """The thread may still come back with something."""
    call = on.start()
    _opened(on)
    on.hear()
    _started(on, 1, DIRECT)
    on.say(1, cut={"code": "cut", "message": "revoked"})
    assert on.code(call) == "cut"
    heard = [on.hear()]
    while not on.silent():
        heard.append(on.hear())
    assert {"call": 1, "done": {"status": None}} in heard
    on.say(1, recorded="dec-1")
    assert len(on.results) == 1


def test_a_cancelled_call_is_recorded_as_unknown(on: Stage) -> None:
    """What is under way cannot be taken back; its late answer goes nowhere."""
    call = on.start()
    _opened(on)
    on.hear()
    protocol.send(on.keeper, {"call": 1, **ALLOWED, "start": {"pins": DIRECT, "project": "p", "grant": None}})
    while not on.door._runs[call]._working:  # noqa: SLF001 - there is no later sign of it
        on.turn()
    on.cancel(call)
    assert on.hear() == {"call": 1, "done": {"status": None}}
    assert on.silent()
    on.say(1, recorded="dec-1")
    assert on.results == {}


def test_an_outcome_that_could_not_be_recorded_is_no_success(on: Stage) -> None:
    """The client hears of the ledger, not of the result."""
    call = on.start()
    _opened(on)
    on.hear()
    _started(on, 1, DIRECT)
    on.hear()
    on.say(1, error={"code": "ledger_unavailable", "message": "m", "remedy": {"text": "t", "argv": None}})
    assert on.code(call) == "ledger_unavailable"


def test_a_keeper_that_goes_after_the_work_does_not_take_the_result_along(on: Stage) -> None:
    """It is known, only its record is not."""
    done, waiting = on.start(), on.start("other")
    _opened(on)
    on.hear()
    on.hear()
    _started(on, 1, DIRECT)
    on.hear()
    on.keeper.shutdown(socket.SHUT_WR)
    while len(on.results) < 2:
        on.turn()
    assert (on.code(done), on.code(waiting)) == ("upstream_unreachable", "keeper_unavailable")


def test_arguments_that_no_frame_carries(on: Stage) -> None:
    """The call fails, and its turn is over."""
    call = on.start("s", "run", functionName="a:b", args="x" * protocol.LARGEST)
    _opened(on)
    while not on.results:
        on.turn()
    assert on.code(call) == "limit"
    on.start()
    assert on.hear()["op"] == "run"


@pytest.mark.parametrize("tool", ["tables", "gate_grants"])
def test_a_folder_that_cannot_be_seen(monkeypatch: pytest.MonkeyPatch, tool: str) -> None:
    """Also a call that comes when the link is there already."""

    def see(_: Mapping[str, Any]) -> dict[str, Any]:
        raise GateError("usage", "the folder is gone", remedy="Come back.")

    for on in _stage(monkeypatch, see):
        first = on.start(tool=tool)
        while not on.results:
            on.turn()
        assert on.code(first) == "usage"
        if tool == "tables":
            assert on.code(on.start(tool=tool)) == "usage"
        else:
            with pytest.raises(GateError, match="the folder is gone"):
                on.start(tool=tool)
