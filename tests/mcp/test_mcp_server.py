import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
from mcp_kit import ERAS, MODERN, Client, Wired, line, wired

from gate import world
from gate.mcp import output, server, wire
from gate.mcp.backend import Backend, Call


def cancel(number: object, **more: object) -> bytes:
    return line({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number, **more}})


def until(condition: Any) -> None:
    """Wait until something is so; fails after some seconds."""
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.002)


@pytest.mark.parametrize("era", ERAS)
def test_half_lines_and_single_bytes_are_put_together(era: str) -> None:
    with wired(era) as door:
        client = door.client.open()
        for byte in client.call("echo", "a") + client.call("echo", "b"):
            client.say(bytes([byte]))
        assert [client.hear()["id"], client.hear()["id"]] == ["a", "b"]


@pytest.mark.parametrize("era", ERAS)
def test_two_hundred_calls_with_64_in_flight(era: str) -> None:
    """Answered in any order; each answer is that of its own call."""
    chance = random.Random(11)
    with wired(era) as door:
        client = door.client.open()
        open_calls: dict[str, str] = {}
        left = [f"call {n}" for n in range(200)]
        while left or open_calls:
            while left and len(open_calls) < server.MOST_IN_FLIGHT:
                number = left.pop()
                open_calls[number] = number
                client.say(client.call("later", number, mark=number))
                if chance.random() < 0.2:
                    client.say(client.request("tools/list", number=f"list {number}"))
                    open_calls[f"list {number}"] = ""
            answer = client.hear()
            mark = open_calls.pop(answer["id"])
            if mark:
                assert answer["result"]["structuredContent"]["claimed"]["mark"] == mark
        assert client.says_nothing()


def test_a_call_beyond_those_in_flight_is_told_so_and_not_made() -> None:
    with wired() as door:
        for number in range(server.MOST_IN_FLIGHT):
            door.client.say(door.client.call("never", number))
        door.client.say(door.client.call("never", "one more"))
        answer = door.client.hear()
        assert answer["id"] == "one more"
        assert answer["result"]["structuredContent"]["error"]["code"] == "limit"
        assert len(door.backend.calls) == server.MOST_IN_FLIGHT
        door.client.say(cancel(3))
        door.client.say(door.client.call("echo", "room again"))
        assert door.client.hear()["id"] == "room again"


@pytest.mark.parametrize("era", ERAS)
def test_an_id_that_is_in_flight_is_not_taken_again(era: str) -> None:
    """Else one answer would be two calls'. 1 and "1" are two ids."""
    with wired(era) as door:
        client = door.client.open()
        client.say(client.call("never", 71) + client.call("echo", 71))
        assert client.hear()["error"]["code"] == wire.INVALID_REQUEST
        client.say(client.call("echo", "71"))
        assert client.hear()["result"]["isError"] is False
        assert [what for what in door.backend.log if what[1] == 71] == [("start", 71)]


@pytest.mark.parametrize("era", ERAS)
def test_a_cancelled_call_is_stopped_and_has_no_answer(era: str) -> None:
    with wired(era) as door:
        client = door.client.open()
        client.say(client.call("never", 71) + cancel(71, reason="no more"))
        until(lambda: door.backend.log == [("start", 71), ("cancel", 71)])
        door.backend.calls[0].finish({"content": []})
        door.backend.calls[0].progress(1)
        client.say(cancel(71))
        assert client.says_nothing()
        client.say(client.call("echo", 71))
        assert client.hear()["id"] == 71


@pytest.mark.parametrize("number", [True, 1.0, None, [], "1", 2, {"a": 1}])
def test_a_cancellation_of_something_else_has_no_effect(number: object) -> None:
    """`true` and 1.0 are equal to 1 in Python, and are no ids."""
    with wired() as door:
        door.client.say(door.client.call("never", 1) + cancel(number) + door.client.call("echo", 3))
        assert door.client.hear()["id"] == 3
        assert door.backend.log == [("start", 1), ("start", 3)]


@pytest.mark.parametrize("method", ["notifications/progress", "notifications/roots/list_changed", "tools/call", "x"])
@pytest.mark.parametrize("era", ERAS)
def test_notifications_are_never_answered(era: str, method: str) -> None:
    with wired(era) as door:
        client = door.client.open()
        client.say(line({"jsonrpc": "2.0", "method": method, "params": {"name": "tables", "progressToken": 1}}))
        client.say(line({"jsonrpc": "2.0", "id": 5, "result": {}}))
        client.say(line({"jsonrpc": "2.0", "id": 6, "error": {}}))
        assert client.says_nothing()
        assert door.backend.log == []


@pytest.mark.parametrize("era", ERAS)
def test_progress_goes_to_the_token_that_asked_for_it(era: str) -> None:
    """Once the call is answered none is sent; a message that no text can hold is left out."""
    with wired(era) as door:
        client = door.client.open()
        client.say(client.call("progress", "p", progressToken="t"))
        told = client.hear()
        assert (told["method"], "id" in told) == ("notifications/progress", False)
        assert told["params"] == {"progressToken": "t", "progress": 0.5, "total": 1, "message": "half of it"}
        assert client.hear()["id"] == "p"
        client.say(client.call("progress", "q"))
        assert client.hear()["id"] == "q"
        assert client.says_nothing()


@pytest.mark.parametrize("era", ERAS)
def test_a_failure_is_an_answer(era: str) -> None:
    with wired(era) as door:
        client = door.client.open()
        client.say(client.call("raise"))
        result = client.hear()["result"]
        assert result["isError"] is True
        assert result["structuredContent"]["error"]["code"] == "upstream_unreachable"


def test_an_answer_without_a_form_is_an_internal_error() -> None:
    with wired() as door:
        door.client.say(door.client.call("surrogate", "s"))
        answer = door.client.hear()
        assert (answer["id"], answer["error"]["code"]) == ("s", wire.INTERNAL_ERROR)


@pytest.mark.parametrize("era", ERAS)
def test_wrong_arguments_are_an_answer_for_the_model(era: str) -> None:
    """And nothing is called. An unknown tool is an error of the protocol."""
    with wired(era) as door:
        client = door.client.open()
        result = client.ask("tools/call", {"name": "data", "arguments": {"order": "up", "more": 1}})["result"]
        assert result["isError"] is True
        text = result["content"][0]["text"]
        assert "`deploymentSelector` is missing" in text
        assert "order: has to be one of asc, desc" in text
        assert "there is no `more`" in text
        assert client.ask("tools/call", {"name": "data"})["result"]["isError"] is True
        assert client.ask("tools/call", {"name": "nothing"})["error"]["code"] == wire.INVALID_PARAMS
        assert client.ask("tools/call", {})["error"]["code"] == wire.INVALID_PARAMS
        assert door.backend.log == []


@pytest.mark.parametrize("era", ERAS)
def test_the_list_is_one_page_and_always_the_same(era: str) -> None:
    with wired(era) as door:
        client = door.client.open()
        first = client.ask("tools/list")["result"]
        client.say(client.call("deny"))
        client.hear()
        assert client.ask("tools/list")["result"] == first
        assert client.ask("tools/list", {"cursor": "x"})["error"]["code"] == wire.INVALID_PARAMS


def test_listening_is_acknowledged_with_nothing_until_it_is_cancelled() -> None:
    with wired() as door:
        client = door.client
        client.say(client.request("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, "l"))
        told = client.hear()
        assert told["method"] == "notifications/subscriptions/acknowledged"
        assert told["params"] == {"notifications": {}, "_meta": {"io.modelcontextprotocol/subscriptionId": "l"}}
        assert client.ask("tools/list", number="l")["error"]["code"] == wire.INVALID_REQUEST
        client.say(cancel("l"))
        assert client.ask("tools/list", number="l")["result"]["tools"]
        for number in range(server.MOST_IN_FLIGHT):
            client.say(client.request("subscriptions/listen", {"notifications": {}}, number))
            client.hear()
        assert (
            client.ask("subscriptions/listen", {"notifications": {}}, "more")["error"]["code"] == wire.INVALID_REQUEST
        )


def test_a_call_that_takes_too_long_is_given_up_and_told_so() -> None:
    """Those that began first end first; another one goes on."""
    with wired(longest_ms=120) as door:
        door.client.say(door.client.call("never", 1))
        time.sleep(0.08)
        door.client.say(door.client.call("never", 2))
        answers = [door.client.hear(), door.client.hear()]
        assert [answer["id"] for answer in answers] == [1, 2]
        assert "within 0.12 s" in answers[0]["result"]["content"][0]["text"]
        # The backend is told of it behind the answer.
        until(lambda: ("cancel", 2) in door.backend.log)
        assert door.backend.log == [("start", 1), ("start", 2), ("cancel", 1), ("cancel", 2)]


def test_a_timer_of_the_backend_is_kept() -> None:
    with wired() as door:
        door.backend.timer = world.boot_ms() + 20
        door.client.ask("tools/list")
        until(lambda: ("tick", None) in door.backend.log)


@pytest.mark.parametrize("era", ERAS)
def test_a_line_of_more_than_ten_megabytes_is_answered_and_dropped(era: str) -> None:
    with wired(era) as door:
        client = door.client.open()
        client.say(b"x" * (wire.LARGEST + 1000))
        assert client.says_nothing()
        client.say(b"\n" + client.call("echo", 9))
        answer = client.hear()
        assert (answer["id"], answer["error"]["code"]) == (None, wire.PARSE_ERROR)
        assert client.hear()["id"] == 9


def test_ten_megabytes_are_taken() -> None:
    with wired() as door:
        door.client.say(door.client.call("e" * (wire.LARGEST - 4096), 1))
        arguments = door.client.hear()["result"]["structuredContent"]["arguments"]
        assert len(arguments["deploymentSelector"]) == wire.LARGEST - 4096


def stands_still(door: Wired) -> int:
    """The number of calls that were made, once it does not grow any more."""
    known = -1
    while known != len(door.backend.calls):
        known = len(door.backend.calls)
        time.sleep(0.15)
    return known


def test_a_slow_reader_is_not_listened_to_but_misses_nothing() -> None:
    """What nobody reads is bounded, however much is asked for at once, and it all arrives once it is read."""
    with wired() as door:
        asked = b"".join(door.client.call("big", number) for number in range(200))
        door.client.say(asked)
        answer = 400_000
        assert output.MOST_UNREAD / answer < stands_still(door) < output.MOST_UNREAD / answer + 10
        assert [door.client.hear()["id"] for _ in range(200)] == list(range(200))


def test_progress_is_left_out_for_a_reader_who_is_too_slow() -> None:
    with wired() as door:
        door.client.say(door.client.call("never", "n", progressToken=1))
        door.client.say(b"".join(door.client.call("big", number) for number in range(40)))
        stands_still(door)
        door.backend.calls[0].progress(1)
        assert [door.client.hear().get("id") for _ in range(40)] == list(range(40))
        assert door.client.says_nothing()
        door.backend.calls[0].progress(2)
        assert door.client.hear()["params"]["progress"] == 2


def test_the_end_of_stdin_ends_everything_and_half_a_line_is_not_made_whole() -> None:
    with wired() as door:
        door.client.say(door.client.call("never", 1) + door.client.call("echo", 2)[:-1])
        until(lambda: door.backend.log)
        door.leave()
        assert door.backend.log == [("start", 1), ("close", None)]


def test_what_was_answered_before_the_end_still_goes_out() -> None:
    with wired() as door:
        door.client.say(b"".join(door.client.call("big", number) for number in range(3)))
        until(lambda: len(door.backend.calls) == 3)
        door.hang_up()
        assert [door.client.hear()["id"] for _ in range(3)] == [0, 1, 2]


def test_a_reader_who_is_gone_ends_everything() -> None:
    with wired() as door:
        door.client.say(door.client.call("never", 1))
        until(lambda: door.backend.log)
        door.stop_reading()
        door.thread.join(10)
        assert door.backend.log == [("start", 1), ("close", None)]


def test_an_answer_that_nobody_reads_any_more_ends_everything() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    gone = output.Output(theirs)
    gone.send(b"x\n")
    assert (gone.gone, gone.waits) == (True, False)
    os.close(theirs)


def test_last_words_are_not_waited_for_long() -> None:
    ours, theirs = os.pipe()
    slow = output.Output(theirs)
    slow.send(b"x" * (1 << 20))
    assert slow.waits
    began = time.monotonic()
    slow.drain(30)
    assert time.monotonic() - began < 5
    for end in (ours, theirs):
        os.close(end)


def test_a_descriptor_that_is_no_more_waited_for_is_left_alone() -> None:
    """One callback closes what another one of the same turn was about."""
    with wired() as door:
        door.client.say(door.client.call("pair", 1))
        assert door.client.hear()["id"] == 1
        assert [what for what, _ in door.backend.log if what == "pair"] == ["pair"]


def test_what_the_backend_has_to_write_is_waited_for() -> None:
    """More than a pipe takes at once, to somebody who reads it late."""
    with wired() as door:
        door.client.say(door.client.call("write", 1))
        assert door.client.ask("server/discover")["result"]
        assert door.backend.read_all() == 300_000
        assert door.client.hear()["id"] == 1


def test_every_line_that_goes_out_is_one_strict_message() -> None:
    with wired() as door:
        door.client.say(b"\n\r\n{}\n[1]\n" + door.client.call("echo", "é\u2028\n") + b"\xff\n")
        heard = [door.client.hear() for _ in range(6)]
        assert [message["jsonrpc"] for message in heard] == ["2.0"] * 6
        assert heard[4]["id"] == "é\u2028\n"
        for message in heard:
            text = wire.write(message)
            assert json.loads(text) == message


class Least(Backend):
    """Only what a backend has to have."""

    def start(self, call: Call) -> None:
        call.finish({"content": []})

    def cancel(self, _call: Call) -> None:
        raise AssertionError

    def close(self) -> None:
        pass


def test_a_backend_needs_no_more_than_three_things() -> None:
    source, to = os.pipe()
    of, sink = os.pipe()
    client = Client(MODERN, to, of)
    client.say(client.call("x", 1))
    os.close(to)
    server.Server(Least(), source, sink).run()
    assert client.hear()["result"]["content"] == []
    for end in (source, of, sink):
        os.close(end)


def test_a_backend_without_them_says_so_at_once() -> None:
    empty = Backend()
    with pytest.raises(NotImplementedError):
        empty.close()
    for one in (empty.start, empty.cancel):
        with pytest.raises(NotImplementedError):
            one(None)  # type: ignore[arg-type]


def test_a_stream_that_cannot_be_read_is_the_end(tmp_path: Path) -> None:
    source = os.open(tmp_path, os.O_RDONLY)
    of, sink = os.pipe()
    server.Server(Least(), source, sink).run()
    for end in (source, of, sink):
        os.close(end)
