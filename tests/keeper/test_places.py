"""Where the gate's files are, what is pinned, and that one keeper at most lives."""

import os
import pwd
import socket
from pathlib import Path

import pytest

from gate.errors import GateError
from gate.keeper import places, start
from gate.keeper.trust import distrusted, pin

GENESIS = "ab" * 32


def test_the_state_folder_is_named_or_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATE_HOME", "/srv/../srv/gate")
    monkeypatch.setenv("XDG_STATE_HOME", "/x")
    assert places.state_root() == "/srv/gate"
    monkeypatch.setenv("GATE_HOME", "")
    assert places.state_root() == "/x/gate"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert places.state_root() == "/home/ada/.local/state/gate"
    for odd in ("", "relative"):
        monkeypatch.setenv("HOME", odd)
        assert places.state_root() == str(Path(pwd.getpwuid(os.getuid()).pw_dir) / ".local" / "state" / "gate")
    assert places.socket_in(places.INSTALLED_STATE) == places.INSTALLED_SOCKET
    assert places.socket_in("/s") == "/s/keeper.sock"


def test_a_state_folder_is_private_or_refused(tmp_path: Path) -> None:
    made = tmp_path / "a" / "b"
    places.ensure_private(str(made))
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o750)
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    for name, why in (("a/b", "others may enter"), ("file", "File exists"), ("link", "not a folder")):
        with pytest.raises(GateError, match=why) as refused:
            places.ensure_private(str(tmp_path / name))
        assert refused.value.code == "keeper_unavailable"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_state_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o700)
    os.chown(folder, 12345, 12345)
    with pytest.raises(GateError, match="another user"):
        places.ensure_private(str(folder))


@pytest.mark.parametrize("length", [10, 150])
def test_sockets_are_reached_however_long_their_path_is(tmp_path: Path, length: int) -> None:
    folder = tmp_path / ("x" * length)
    folder.mkdir()
    path = str(folder / "keeper.sock")
    listener = socket.socket(socket.AF_UNIX)
    with places.Address(path) as address:
        listener.bind(address)
    listener.listen()
    client = socket.socket(socket.AF_UNIX)
    with places.Address(path) as address:
        client.connect(address)
    client.close()
    listener.close()
    assert Path(path).is_socket()


def test_one_keeper_at_most_holds_the_lock(tmp_path: Path) -> None:
    held = start.lock(str(tmp_path))
    assert held is not None
    assert start.lock(str(tmp_path)) is None
    os.close(held)
    again = start.lock(str(tmp_path))
    assert again is not None
    os.close(again)


def test_a_genesis_that_is_not_the_pinned_one_is_not_trusted(tmp_path: Path) -> None:
    trust = tmp_path / "trust"

    def why(genesis: str | None = GENESIS, *, installed: bool = False) -> str | None:
        return distrusted("chat", genesis, tmp_path, installed=installed, trust=trust)

    assert why(None) == "no bundle is activated"
    assert "not the one that is pinned" in (why() or "")
    pin(GENESIS, tmp_path)
    assert why() is None
    assert "not the one that is pinned" in (why("cd" * 32) or "")
    assert "names no genesis" in (why(installed=True) or "")
    trust.write_text(f"other sha256:{GENESIS}\n# chat\nchat sha256:{'cd' * 32}\n")
    assert "not the one that is pinned" in (why() or "")
    trust.write_text(f"chat sha256:{GENESIS}\n")
    assert why() is None
    assert why(installed=True) is None
    trust.write_bytes(b"\xff")
    assert "cannot be read" in (why() or "")
