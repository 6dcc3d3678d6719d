"""Many conversations over one connection: none hears another's, none outlives the door, none holds up the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from gate import __version__
from gate.errors import GateError
from gate.keeper import places, protocol
from gate.keeper.mux import mux
from gate.keeper.server import Handler, Message, Server, Session


@dataclass(slots=True)
class Ended:
    """Conversations that heard that the door has left."""

    left: list[int] = field(default_factory=list)

    async def chat(self, session: Session, message: Message) -> None:
        """Repeat what is said until `bye`."""
        await session.send({"said": message["say"]})
        while (frame := await session.receive()) is not None:
            await session.send({"said": frame["say"]})
            if frame["say"] == "bye":
                return
        self.left.append(message["call"])


async def _fail(_: Session, __: Message) -> None:
    raise RuntimeError("a secret that no door may see")


async def _refuse(_: Session, __: Message) -> None:
    raise GateError("no_rule", "no", remedy="none")


async def _fetch(session: Session, _: Message) -> None:
    await session.send({"file": repr(await session.fetch("keys/dev"))})


async def _deaf(_: Session, __: Message) -> None:
    await asyncio.sleep(0.3)


@dataclass(slots=True)
class Door:
    """The door's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    ended: Ended

    async def say(self, number: object, **members: object) -> None:
        frame = {"call": number, **members} if number is not None else members
        self.writer.write(protocol.encode(frame))
        await self.writer.drain()

    async def hear(self) -> Any:
        """The next frame, None at the end."""
        try:
            async with asyncio.timeout(5):
                size = protocol.size_of(await self.reader.readexactly(4))
                return protocol.decode(await self.reader.readexactly(size))
        except asyncio.IncompleteReadError:
            return None

    async def leave(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@asynccontextmanager
async def talking(root: Path) -> AsyncIterator[Door]:
    """A keeper's socket, and a door that has opened the one conversation of many."""
    root.chmod(0o700)
    ended = Ended()
    plain: dict[str, Handler] = {"chat": ended.chat, "fail": _fail, "refuse": _refuse, "fetch": _fetch, "deaf": _deaf}
    stopping, ready = asyncio.Event(), asyncio.Event()
    server = Server(str(root), {**plain, "mux": partial(mux, plain)}, 60, stopping)
    task = asyncio.create_task(server.serve(ready.set))
    await ready.wait()
    door = Door(*await asyncio.open_unix_connection(places.socket_in(str(root))), ended)
    await door.say(None, gate=__version__, op="mux")
    try:
        yield door
    finally:
        await door.leave()
        stopping.set()
        async with asyncio.timeout(5):
            await task


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 5), st.text(max_size=20)), max_size=30))
async def test_each_conversation_hears_its_own(tmp_path: Path, said: list[tuple[int, str]]) -> None:
    """In its own order, whatever the others say meanwhile."""
    async with talking(tmp_path) as door:
        begun: set[int] = set()
        for number, text in said:
            await door.say(number, **({} if number in begun else {"op": "chat"}), say=f"_{text}")
            begun.add(number)
        heard = [await door.hear() for _ in said]
        for number in begun:
            wanted = [f"_{text}" for other, text in said if other == number]
            assert [frame["said"] for frame in heard if frame["call"] == number] == wanted


async def test_a_number_can_be_used_again_when_its_conversation_is_over(tmp_path: Path) -> None:
    """And means a new one then."""
    async with talking(tmp_path) as door:
        for text in ("one", "two"):
            await door.say(7, op="chat", say=text)
            await door.say(7, say="bye")
            assert [(await door.hear())["said"] for _ in range(2)] == [text, "bye"]
            await asyncio.sleep(0.05)


async def test_what_fails_fails_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refusals, the unforeseen and unknown operations are answers of their conversation."""
    async with talking(tmp_path) as door:
        await door.say(1, op="chat", say="hello")
        for number, op, code in (
            (2, "refuse", "no_rule"),
            (3, "fail", "internal"),
            (4, "mux", "usage"),
            (5, "", "usage"),
        ):
            await door.say(number, op=op)
            if number == 2:
                assert await door.hear() == {"call": 1, "said": "hello"}
            frame = await door.hear()
            assert (frame["call"], frame["error"]["code"]) == (number, code)
            assert "secret" not in str(frame)
        await door.say(1, say="still here")
        assert await door.hear() == {"call": 1, "said": "still here"}
    assert "RuntimeError" in capsys.readouterr().err


async def test_a_file_that_the_keeper_wants_is_asked_of_the_conversation(tmp_path: Path) -> None:
    """The door can have several such questions open."""
    async with talking(tmp_path) as door:
        for number in (1, 2):
            await door.say(number, op="fetch")
            assert await door.hear() == {"call": number, "want": "keys/dev"}
        await door.say(2, file="second")
        await door.say(1, file=None)
        assert await door.hear() == {"call": 2, "file": "b'second'"}
        assert await door.hear() == {"call": 1, "file": "None"}


async def test_when_the_door_leaves_every_conversation_ends(tmp_path: Path) -> None:
    """Each of them hears it."""
    async with talking(tmp_path) as door:
        for number in range(5):
            await door.say(number, op="chat", say="hello")
            await door.hear()
    assert sorted(door.ended.left) == list(range(5))


@pytest.mark.parametrize("number", [None, -1, True, "1", 1.5, [1], 1 << 63])
async def test_a_frame_of_no_conversation_ends_the_connection(tmp_path: Path, number: object) -> None:
    """With the reason first, and the end of what was open."""
    async with talking(tmp_path) as door:
        await door.say(1, op="chat", say="hello")
        await door.hear()
        await door.say(number, op="chat", say="hello")
        frame = await door.hear()
        assert ("call" in frame, frame["error"]["code"]) == (False, "usage")
        assert await door.hear() is None
        assert door.ended.left == [1]


async def test_one_conversation_too_many_is_refused_for_itself(tmp_path: Path) -> None:
    """The others go on."""
    async with talking(tmp_path) as door:
        for number in range(129):
            await door.say(number, op="chat", say="hello")
        heard = [await door.hear() for _ in range(129)]
        (refused,) = [frame for frame in heard if "error" in frame]
        assert (refused["call"], refused["error"]["code"]) == (128, "limit")
        await door.say(3, say="bye")
        assert await door.hear() == {"call": 3, "said": "bye"}
        await asyncio.sleep(0.05)
        await door.say(128, op="chat", say="now")
        assert await door.hear() == {"call": 128, "said": "now"}


async def test_a_door_that_talks_without_being_heard_is_ended(tmp_path: Path) -> None:
    """What waits to be heard is bounded."""
    async with talking(tmp_path) as door:
        await door.say(1, op="deaf")
        for _ in range(17):
            await door.say(1, say="x")
        frame = await door.hear()
        assert ("call" in frame, frame["error"]["code"]) == (False, "limit")
        assert await door.hear() is None
