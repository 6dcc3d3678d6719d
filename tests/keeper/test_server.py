"""The keeper's socket in one process: limits, peers, versions, the unforeseen, the end."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gate import __version__
from gate.errors import ConfigInvalid, GateError
from gate.keeper import client, places, protocol, server
from gate.keeper.server import Message, Server, Session


async def _echo(session: Session, message: Message) -> None:
    await session.send({"result": {"uid": session.peer.uid, "said": message["said"]}})


async def _refuse(_: Session, __: Message) -> None:
    raise ConfigInvalid(["gate.yaml:1:1: one", "gate.yaml:2:1: two"])


async def _fail(_: Session, __: Message) -> None:
    raise RuntimeError("a secret that no door may see")


async def _hold(session: Session, _: Message) -> None:
    await session.send({"result": {}})
    await session.receive()


HANDLERS = {"echo": _echo, "refuse": _refuse, "fail": _fail, "hold": _hold, "status": _echo}


@asynccontextmanager
async def serving(root: Path, idle_seconds: float = 60) -> AsyncIterator[asyncio.Task[None]]:
    """A Server on `root` and the task that it runs in."""
    root.chmod(0o700)
    stopping, ready = asyncio.Event(), asyncio.Event()
    made = Server(str(root), HANDLERS, idle_seconds, stopping)
    task = asyncio.create_task(made.serve(ready.set))
    await ready.wait()
    yield task
    stopping.set()
    async with asyncio.timeout(5):
        await task


async def ask(root: Path, frame: bytes) -> Message | None:
    """Send raw bytes, return the first frame that comes back."""
    reader, writer = await asyncio.open_unix_connection(places.socket_in(str(root)))
    writer.write(frame)
    try:
        header = await reader.readexactly(4)
        return protocol.decode(await reader.readexactly(protocol.size_of(header)))
    except asyncio.IncompleteReadError:
        return None
    finally:
        writer.close()
        await writer.wait_closed()


async def op(root: Path, name: str, version: str = __version__, **members: object) -> Message:
    answer = await ask(root, protocol.encode({"gate": version, "op": name, **members}))
    assert answer is not None
    return answer


async def test_a_door_is_known_by_its_peer_credentials(tmp_path: Path) -> None:
    async with serving(tmp_path):
        answer = await op(tmp_path, "echo", said="hi", uid=0)
        assert answer == {"result": {"uid": os.geteuid(), "said": "hi"}}
        socket_mode = (tmp_path / "keeper.sock").stat().st_mode & 0o777
        assert socket_mode == 0o600
    assert not (tmp_path / "keeper.sock").exists()


async def test_refusals_come_whole_and_the_unforeseen_comes_without_its_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serving(tmp_path):
        with pytest.raises(ConfigInvalid) as refused:
            client.checked(await op(tmp_path, "refuse"))
        assert refused.value.findings == ["gate.yaml:1:1: one", "gate.yaml:2:1: two"]
        answer = await op(tmp_path, "fail")
        assert answer["error"]["code"] == "internal"
        assert "secret" not in str(answer)
        assert "RuntimeError" in capsys.readouterr().err
        assert (await op(tmp_path, "nonsense"))["error"]["code"] == "usage"


async def test_another_version_is_refused_with_the_remedy_but_can_be_asked_about(tmp_path: Path) -> None:
    async with serving(tmp_path):
        error = (await op(tmp_path, "echo", version="9.9", said=""))["error"]
        assert error["code"] == "keeper_unavailable"
        assert error["remedy"]["argv"] == ["gate", "keeper", "stop"]
        assert "result" in await op(tmp_path, "status", version="9.9", said="")


@pytest.mark.parametrize("frame", [b"\xff\xff\xff\xff", b"\0\0\0\2[]", b"\0\0\0\1x"])
async def test_what_is_no_frame_is_refused(tmp_path: Path, frame: bytes) -> None:
    async with serving(tmp_path):
        answer = await ask(tmp_path, frame)
        assert answer is not None
        assert answer["error"]["code"] in {"usage", "limit"}


async def test_a_door_that_says_nothing_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_FIRST_FRAME_SECONDS", 0.2)
    async with serving(tmp_path):
        reader, writer = await asyncio.open_unix_connection(places.socket_in(str(tmp_path)))
        async with asyncio.timeout(3):
            await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_doors_beyond_the_limit_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_SESSIONS_PER_UID", 2)
    async with serving(tmp_path):
        held = [await asyncio.open_unix_connection(places.socket_in(str(tmp_path))) for _ in range(2)]
        for reader, writer in held:
            writer.write(protocol.encode({"gate": __version__, "op": "hold"}))
            await reader.readexactly(4)
        assert (await op(tmp_path, "echo", said=""))["error"]["code"] == "limit"
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.1)
        assert "result" in await op(tmp_path, "echo", said="")


async def test_a_keeper_ends_when_it_is_idle_or_was_replaced(tmp_path: Path) -> None:
    async with serving(tmp_path, idle_seconds=0.2) as task, asyncio.timeout(5):
        await task
    async with serving(tmp_path) as task:
        (tmp_path / "keeper.sock").unlink()
        (tmp_path / "keeper.sock").touch()
        async with asyncio.timeout(5):
            await task
    assert (tmp_path / "keeper.sock").is_file()


async def test_a_stale_socket_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "keeper.sock").touch()
    async with serving(tmp_path):
        assert "result" in await op(tmp_path, "echo", said="")


def test_an_answer_of_another_kind_is_no_answer() -> None:
    messages: list[dict[str, object]] = [{"error": "x"}, {"error": {"code": "nonsense"}}]
    for message in messages:
        with pytest.raises(GateError) as refused:
            client.checked(message)
        assert refused.value.code == "keeper_unavailable"
    assert client.checked({"result": {}}) == {"result": {}}
