"""Who is at the other end of a socket, as the kernel says."""

import os
import socket
import struct

import pytest

from gate.identity import peer


def test_the_kernel_names_this_process() -> None:
    """Both ends of a pair are ours."""
    one, two = socket.socketpair()
    with one, two:
        assert peer.peer_of(one) == peer.Peer(os.getpid(), os.geteuid())


class MacSocket:
    """Answers as macOS does: a `struct xucred`, and the pid apart."""

    def getsockopt(self, _level: int, name: int, size: int = 0) -> bytes | int:
        return struct.pack("2IH", 0, 501, 1)[:size] if name == 1 else 4242


def test_the_layout_of_macos(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read on macOS from LOCAL_PEERCRED; the layout is what can be held here."""
    monkeypatch.setattr("sys.platform", "darwin")
    assert peer.peer_of(MacSocket()) == peer.Peer(4242, 501)  # type: ignore[arg-type]
