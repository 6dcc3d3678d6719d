"""Keys: where they come from, what is refused, and that no refusal shows one."""

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from gate.config.document import CustodyEntry
from gate.custody import file
from gate.custody.keyring import KeyRing
from gate.errors import GateError

URL = "https://convex.example"
SECRET = "dev:happy-otter-123|s3cret"


def entry(**members: Any) -> CustodyEntry:
    command = members.pop("command", None)
    return CustodyEntry.model_validate(members | ({} if command is None else {"command": tuple(command)}))


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    return KeyRing(tmp_path / "project", tmp_path)


async def refusal(ring: KeyRing, backend: CustodyEntry, files: dict[str, bytes] | None = None) -> GateError:
    with pytest.raises(GateError) as refused:
        await ring.key("dev", backend, URL, files or {})
    assert refused.value.code == "custody_failed"
    assert "s3cret" not in f"{refused.value.message}{refused.value.remedy}{refused.value.argv}"
    return refused.value


async def test_a_stored_key_comes_back_and_nobody_else_can_read_it(ring: KeyRing) -> None:
    ring.store("dev", entry(file="keys/dev"), SECRET)
    assert await ring.key("dev", entry(file="keys/dev"), URL, {}) == SECRET
    status = (ring.state / "keys" / "dev").stat()
    assert stat.S_IMODE(status.st_mode) == 0o600
    assert stat.S_IMODE((ring.state / "keys").stat().st_mode) == 0o700


async def test_storing_again_replaces_at_once(ring: KeyRing) -> None:
    for key in ("one", "two"):
        ring.store("dev", entry(file="keys/dev"), key)
    assert await ring.key("dev", entry(file="keys/dev"), URL, {}) == "two"
    assert [path.name for path in (ring.state / "keys").iterdir()] == ["dev"]


@pytest.mark.parametrize("key", ["", "two\nlines", "blank in it", "caf\u00e9", "nul\0", "x" * 70_000, "\udc80"])
def test_what_is_no_key_is_not_stored(ring: KeyRing, key: str) -> None:
    with pytest.raises(GateError, match="does not hold a key"):
        ring.store("dev", entry(file="keys/dev"), key)
    assert not (ring.state / "keys" / "dev").exists()


async def test_a_key_file_that_others_can_reach_is_refused(ring: KeyRing) -> None:
    path = ring.state / "keys" / "dev"
    backend = entry(file="keys/dev")
    assert (await refusal(ring, backend)).argv == ["gate", "key", "set", "dev"]
    ring.store("dev", backend, SECRET)
    path.chmod(0o640)
    assert "private" in (await refusal(ring, backend)).message
    path.unlink()
    target = ring.state / "elsewhere"
    target.write_text(SECRET)
    path.symlink_to(target)
    await refusal(ring, backend)
    path.unlink()
    os.mkfifo(path, 0o600)
    await refusal(ring, backend)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
async def test_a_key_file_of_another_user_is_refused(ring: KeyRing) -> None:
    backend = entry(file="keys/dev")
    ring.store("dev", backend, SECRET)
    os.chown(ring.state / "keys" / "dev", 12345, 12345)
    assert "private" in (await refusal(ring, backend)).message


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_cannot_be_written_is_a_refusal(ring: KeyRing) -> None:
    ring.state.mkdir(mode=0o500)
    with pytest.raises(GateError, match="could not be stored"):
        ring.store("dev", entry(file="keys/dev"), SECRET)


def test_a_place_that_is_no_folder_is_a_refusal(ring: KeyRing) -> None:
    ring.state.write_text("a file where the folder should be")
    with pytest.raises(GateError, match="could not be stored"):
        ring.store("dev", entry(file="keys/dev"), SECRET)


async def test_an_env_file_gives_its_key_to_its_own_url_only(ring: KeyRing) -> None:
    backend = entry(env_file=".env.local")
    pair = f"CONVEX_SELF_HOSTED_URL={URL}/\nCONVEX_SELF_HOSTED_ADMIN_KEY={SECRET}\n"
    assert await ring.key("dev", backend, URL, {".env.local": pair.encode()}) == SECRET
    await refusal(ring, backend, {".env.local": pair.replace("convex.example", "evil.example").encode()})
    await refusal(ring, backend, {".env.local": b"CONVEX_SELF_HOSTED_ADMIN_KEY=s3cret"})
    await refusal(ring, backend, {".env": pair.encode()})
    with pytest.raises(GateError, match="not a file of the gate's"):
        ring.store("dev", backend, SECRET)


async def test_a_command_runs_without_a_shell_and_is_asked_once(ring: KeyRing, tmp_path: Path) -> None:
    count = tmp_path / "count"
    script = f"echo asked >> {count}; echo {SECRET.replace('|', 'I')}"
    backend = entry(command=["/bin/sh", "-c", script])
    keys = [await ring.key("dev", backend, URL, {}) for _ in range(2)]
    assert keys == [SECRET.replace("|", "I")] * 2
    assert count.read_text() == "asked\n"
    ring.forget()
    await ring.key("dev", backend, URL, {})
    assert count.read_text() == "asked\n" * 2


async def test_a_command_sees_keeper_env_and_nothing_of_the_caller(
    ring: KeyRing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLER", "s3cret")
    (tmp_path / "keeper.env").write_text("TOKEN=from-keeper-env\n")
    backend = entry(command=["/bin/sh", "-c", "echo $TOKEN,$CALLER,$PWD"])
    assert await ring.key("dev", backend, URL, {}) == "from-keeper-env,,/"


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["/bin/sh", "-c", "echo s3cret; exit 3"], "status 3"),
        (["/nowhere/op"], "could not be started"),
        (["/bin/sh", "-c", "printf 's3cret\\ntwo'"], "does not hold a key"),
        (["/bin/sh", "-c", "exec head -c 200000 /dev/zero"], "status"),
        (["/bin/echo", "\0"], "could not be started"),
    ],
)
async def test_a_command_that_fails_is_refused_without_its_output(ring: KeyRing, command: list[str], says: str) -> None:
    assert says in (await refusal(ring, entry(command=command))).message


async def test_a_command_that_hangs_is_ended(ring: KeyRing) -> None:
    started = time.monotonic()
    backend = entry(command=["/bin/sleep", "30"], timeout="1s")
    assert "within 1 seconds" in (await refusal(ring, backend)).message
    assert time.monotonic() - started < 5


@given(st.binary(max_size=64))
def test_a_key_is_one_printable_line_or_refused(raw: bytes) -> None:
    line = raw.removesuffix(b"\n").removesuffix(b"\r")
    if line and all(0x20 < byte < 0x7F for byte in line):
        assert file.clean(raw, "dev").encode() == line
    else:
        with pytest.raises(GateError, match="does not hold a key"):
            file.clean(raw, "dev")
