"""The door's own parts: threads, the link to the keeper, a lane and its server, questions. No keeper and no Convex."""

import json
import os
import select
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gate import __version__, world
from gate.errors import GateError
from gate.execution.piped import Piped
from gate.keeper import protocol
from gate.mcp import lane as lanes, pinned, upstream as upstreams
from gate.mcp.aside import Aside
from gate.mcp.backend import Call
from gate.mcp.door import Door
from gate.mcp.eras import LEGACY
from gate.mcp.lane import Lane
from gate.mcp.link import Link
from gate.mcp.questions import QUESTIONS
from gate.mcp.upstream import Answer, Upstream

ERA = LEGACY["2025-11-25"]


class Loop:
    """The side of the loop that calls speak to."""

    def __init__(self) -> None:
        self.results: list[tuple[Any, Mapping[str, Any]]] = []

    def finish(self, call: Call, result: Mapping[str, Any]) -> None:
        if not call.over:
            call.over = True
            self.results.append((call.id, result))

    def progress(self, call: Call, told: Mapping[str, Any]) -> None:
        raise AssertionError((call, told))

    def call(self, tool: str, **arguments: Any) -> Call:
        number = len(self.results) + 1
        return Call(self, number, tool=tool, arguments=arguments, era=ERA, progress_token=None, claimed={}, ends=0)


def turn(*watched: Any, seconds: float = 5) -> None:
    """One turn of a loop over things that have `descriptors` and `writers`."""
    reads = {fd: call for one in watched for fd, call in one.descriptors().items()}
    writes = {fd: call for one in watched for fd, call in one.writers().items()}
    readable, writable, _ = select.select(list(reads), list(writes), [], seconds)
    for descriptor in readable:
        reads[descriptor]()
    for descriptor in writable:
        writes[descriptor]()


def test_work_comes_back_in_the_thread_of_the_loop() -> None:
    """However much is done at once."""
    aside, seen = Aside(), []
    own = threading.get_ident()

    def work(number: int) -> Callable[[], None]:
        elsewhere = threading.get_ident()
        return lambda: seen.append((number, elsewhere != own, threading.get_ident() == own))

    for number in range(50):
        aside.run(lambda number=number: work(number))  # type: ignore[misc]
    while len(seen) < 50:
        assert select.select([aside.descriptor], [], [], 5)[0]
        aside.take()
    assert sorted(seen) == [(number, True, True) for number in range(50)]
    aside.take()


class Keeper:
    """The keeper's end of a link."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(5)
        self.socket = ours
        self.lost = 0
        self.link = Link(theirs, self._note)
        assert protocol.receive(ours) == {"gate": __version__, "op": "mux"}

    def _note(self) -> None:
        self.lost += 1

    def say(self, **frame: Any) -> None:
        protocol.send(self.socket, frame)
        turn(self.link)


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    made = Keeper()
    yield made
    made.socket.close()
    made.link.close()


def test_each_conversation_hears_its_own_frames(keeper: Keeper) -> None:
    """Of others and of those that are over, nothing."""
    heard: list[tuple[int, Any]] = []
    first, second = (keeper.link.ask("run", lambda frame, n=n: heard.append((n, frame)), x=n) for n in (1, 2))  # type: ignore[misc]
    assert protocol.receive(keeper.socket) == {"call": 1, "op": "run", "x": 1}
    keeper.say(call=2, a=1)
    keeper.say(call=1, b=2)
    keeper.say(call=9, c=3)
    second.over()
    keeper.say(call=2, d=4)
    first.say(done=1)
    assert [frame.get("a", frame.get("b")) for _, frame in heard] == [1, 2]
    keeper.say(call=1, error={"code": "no_rule", "message": "no", "remedy": {"text": "x", "argv": None}})
    keeper.say(call=1, e=5)
    assert len(heard) == 3
    assert heard[-1][1].code == "no_rule"


@given(st.lists(st.integers(1, 200), max_size=20), st.integers(0, 5))
def test_frames_arrive_whole_however_they_are_cut(sizes: list[int], count: int) -> None:
    """The stream has no borders of its own."""
    keeper = Keeper()
    heard: list[Any] = []
    keeper.link.ask("run", heard.append)
    frames = b"".join(protocol.encode({"call": 1, "n": n, "x": "y" * 100}) for n in range(count))
    for size in sizes:
        keeper.socket.sendall(frames[:size])
        frames = frames[size:]
        if size and keeper.link.descriptors():
            turn(keeper.link, seconds=0)
    keeper.socket.sendall(frames)
    turn(keeper.link, seconds=0)
    assert [frame["n"] for frame in heard] == list(range(count))
    keeper.socket.close()
    keeper.link.close()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "keeper_unavailable"),
        (b"\xff\xff\xff\xff", "limit"),
        (b"\x00\x00\x00\x02[]", "usage"),
        (protocol.encode({"error": {"code": "limit", "message": "too many doors", "remedy": None}}), "limit"),
        (protocol.encode({"error": {"code": "another", "message": "x"}}), "keeper_unavailable"),
    ],
)
def test_what_ends_the_link_is_heard_by_everybody_once(keeper: Keeper, data: bytes, code: str) -> None:
    """And by the door, which asks for a new one."""
    heard: list[Any] = []
    for _ in range(3):
        keeper.link.ask("run", heard.append)
    keeper.socket.sendall(data)
    keeper.socket.shutdown(socket.SHUT_WR)
    turn(keeper.link)
    assert [error.code for error in heard] == [code] * 3
    assert keeper.lost == 1


def test_a_slow_keeper_is_not_waited_for(keeper: Keeper) -> None:
    """What it does not take yet is kept, and goes out in order."""
    heard: list[Any] = []
    conversation = keeper.link.ask("run", heard.append)
    assert keeper.link.writers() == {}
    for n in range(3):
        conversation.say(n=n, x="y" * 1_000_000)
    assert keeper.link.writers()
    got: list[Any] = []

    def read() -> None:
        got.extend(protocol.receive(keeper.socket).get("n") for _ in range(4))

    reader = threading.Thread(target=read)
    reader.start()
    while keeper.link.writers():
        turn(keeper.link, seconds=0.1)
    reader.join(5)
    assert got == [None, 0, 1, 2]


def test_more_than_a_frame_carries_is_refused_for_itself(keeper: Keeper) -> None:
    """The link stays, and no conversation is left open."""
    with pytest.raises(GateError) as caught:
        keeper.link.ask("run", lambda _: None, x="y" * protocol.LARGEST)
    assert caught.value.code == "limit"
    heard: list[Any] = []
    keeper.link.ask("run", heard.append)
    keeper.say(call=2, a=1)
    assert heard == [{"call": 2, "a": 1}]


def test_a_closed_link_says_nothing_and_nobody_is_told() -> None:
    """The descriptor may be another's by then."""
    keeper = Keeper()
    heard: list[Any] = []
    conversation = keeper.link.ask("run", heard.append)
    protocol.receive(keeper.socket)
    keeper.link.close()
    conversation.say(done=1)
    assert (heard, keeper.lost) == ([], 0)
    with pytest.raises(protocol.Gone):
        protocol.receive(keeper.socket)
    keeper.socket.close()


# A server whose `initialize` works and which does as the first argument says; Python starts faster than Node.
_SERVER = """\
import json, sys, time
def say(**more): print(json.dumps({"jsonrpc": "2.0", **more}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if sys.argv[1] == "silent": time.sleep(60)
    if sys.argv[1] == "deaf": sys.stdin.close(); say(id=1, result={"protocolVersion": "2025-11-25"}); time.sleep(60)
    if asked["method"] == "initialize": say(id=asked["id"], result={"protocolVersion": "2025-11-25"})
    if asked["method"] == "tools/list": say(id=asked["id"], result={"tools": []})
    if asked["method"] == "tools/call":
        text = json.dumps({"result": len(json.dumps(asked)), "logLines": []})
        say(id=asked["id"], result={"content": [{"type": "text", "text": text}]})
"""


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A list without tools is the pinned one."""
    monkeypatch.setattr(pinned, "TOOLS", {})


def _server(does: str = "work") -> Upstream:
    return Upstream([sys.executable, "-I", "-c", _SERVER, does], {}, "/")


def _hear(server: Upstream, heard: list[Any], wanted: int = 1) -> None:
    while len(heard) < wanted:
        turn(server, seconds=0.05)
        server.tick()


@pytest.mark.usefixtures("trusting")
def test_a_server_takes_arguments_of_any_size() -> None:
    """Its pipe holds less than one of them."""
    server, heard = _server(), []  # type: ignore[var-annotated]
    server.call("run", {"args": "x" * 3_000_000}, heard.append)
    waits = [server.idle_since]
    _hear(server, heard)
    waits.append(server.idle_since)
    assert [idle is None for idle in waits] == [True, False]
    assert isinstance(heard[0], Answer)
    assert json.loads(heard[0].text)["result"] > 3_000_000
    _hear(server, heard)
    server.end(GateError("cut", "over", remedy="none"))
    server.end(GateError("cut", "over", remedy="none"))
    assert (len(heard), server.descriptors(), server.writers(), server.starts_by) == (1, {}, {}, None)


@pytest.mark.parametrize("does", ["silent", "deaf"])
def test_a_server_that_does_not_get_ready_is_given_up(does: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says nothing, or does not listen."""
    monkeypatch.setattr(upstreams, "_START_MS", 1500)
    server, heard = _server(does), []  # type: ignore[var-annotated]
    server.call("run", {}, heard.append)
    _hear(server, heard)
    assert (heard[0].code, server.ended) == ("upstream_unreachable", True)


@pytest.mark.usefixtures("trusting")
def test_arguments_without_a_form_in_json_end_the_call() -> None:
    """A lone half of a surrogate pair cannot be sent."""
    server, heard = _server(), []  # type: ignore[var-annotated]
    server.call("run", {"args": "\ud800"}, heard.append)
    _hear(server, heard)
    assert heard[0].code == "usage"


def test_a_program_that_is_not_there_cannot_be_started() -> None:
    """And leaves no pipe open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(GateError) as caught:
        Piped(["/nowhere/node"], {})
    assert caught.value.code == "unknown_version"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_child_that_ignores_term_is_killed_with_its_group() -> None:
    """Also what it started, and whether it is stopped or not."""
    child = Piped([sys.executable, "-I", "-c", _STUBBORN], {})
    pids = [int(line) for line in _lines(child.stdout, 2)]
    states = [child.gone]
    child.end()
    states.append(child.gone)
    assert states == [False, True]
    assert [pid for pid in pids if _runs(pid)] == []


_STUBBORN = """\
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.fork()
print(os.getpid(), flush=True)
time.sleep(60)
"""


def _lines(descriptor: int, count: int) -> list[bytes]:
    data = b""
    while data.count(b"\n") < count:
        data += os.read(descriptor, 1000)
    return data.split()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def test_turns_of_a_lane_come_one_after_the_other() -> None:
    """Unless it is known to be direct; who withdraws has none."""
    lane, seen = Lane("s"), []

    def go(n: int) -> Callable[[], None]:
        return lambda: seen.append(n)

    first, second, third = go(1), go(2), go(3)
    assert lane.empty
    for one in (first, second, third):
        lane.enter(one)
    assert (seen, lane.empty) == ([1], False)
    assert lane.withdraw(second)
    assert not lane.withdraw(first)
    lane.leave()
    lane.leave()
    assert (seen, lane.empty) == ([1, 3], True)
    assert lane.name == "0:s"
    lane.direct = True
    for n in (4, 5):
        lane.enter(go(n))
    assert seen == [1, 3, 4, 5]
    assert lane.name is None


def test_an_idle_server_is_ended_after_ten_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a server that comes after it is another one to the keeper."""
    lane = Lane("s")
    assert lane.due() is None
    lane.tick()
    lane.upstream = server = _server()
    idle = server.idle_since
    assert idle is not None
    assert lane.due() == idle + lanes.IDLE_MS
    lane.tick()
    assert not server.ended
    monkeypatch.setattr(world, "boot_ms", lambda: idle + lanes.IDLE_MS)
    lane.tick()
    assert [server.ended, lane.upstream, lane.name] == [True, None, "1:s"]


def test_a_server_that_ended_by_itself_is_forgotten_at_the_next_turn() -> None:
    """Its credential is not given again."""
    lane = Lane("s")
    lane.upstream = server = _server("silent")
    server.end(GateError("upstream_unreachable", "gone", remedy="none"))
    assert lane.due() == 0
    lane.tick()
    assert [lane.upstream, lane.name] == [None, "1:s"]


def _ask(tool: str, /, **arguments: Any) -> dict[str, Any]:
    return QUESTIONS[tool].members(arguments, {"gate_yaml": "y", "principal": "agent:codex", "cwd": "/"})


@given(st.integers(1, 10**30), st.sampled_from("smh"))
def test_a_duration_is_seconds(number: int, unit: str) -> None:
    """One that is too long stays too long, and a number that can be sent."""
    fields = {"ticket": "", "reason": "r", "ack_risk": True, "ttl": f"{number}{unit}", "decision": "dec-1"}
    asked = _ask("gate_request_access", **fields)
    exact = number * {"s": 1, "m": 60, "h": 3600}[unit]
    assert asked["ttl_seconds"] == min(exact, 1 << 31)
    assert (asked["for"], asked["deployment"], asked["effects"], asked["max_uses"]) == ("dec-1", None, [], None)


def test_a_question_about_a_call_carries_the_call() -> None:
    """Apart from its selector, which is none of its arguments."""
    call = {"tableName": "t", "order": "asc", "deploymentSelector": "s"}
    asked = _ask("gate_explain", tool="data", arguments=call)["invocation"]
    assert (asked["tool"], asked["selector"], asked["arguments"]) == ("data", "s", {"tableName": "t", "order": "asc"})
    assert call["deploymentSelector"] == "s"
    with pytest.raises(GateError):
        _ask("gate_explain", tool="data", arguments={})


def test_only_one_s_own_grants_are_listed() -> None:
    """The keeper shows a system user those of all its agents."""
    answer = {"result": {"grants": [{"id": 1, "requester": "agent:codex"}, {"id": 2, "requester": "agent:other"}]}}
    shown = QUESTIONS["gate_grants"].shown
    assert shown(answer, {"principal": "agent:codex"}) == {"grants": [answer["result"]["grants"][0]]}
    assert shown(answer, {"principal": None}) == {"grants": []}


def test_a_door_that_cannot_connect_fails_each_call_and_forgets_the_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next call tries again."""
    (tmp_path / "state").touch()
    monkeypatch.setenv("GATE_HOME", str(tmp_path / "state"))
    loop, door = Loop(), Door(dict, lambda _: None)
    for _ in range(2):
        calls = [loop.call("data", deploymentSelector="s"), loop.call("status")]
        for call in calls:
            door.start(call)
        door.cancel(calls[0])
        before = len(loop.results)
        while len(loop.results) == before:
            turn(door)
        (_, result) = loop.results[-1]
        assert result["structuredContent"]["error"]["code"] == "keeper_unavailable"
        assert len(loop.results) == before + 1
    assert door.due() is None
    door.tick()
    door.close()
