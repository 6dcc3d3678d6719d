"""Who is at the other end of a unix socket, as the kernel says. Knows no names.

Linux: SO_PEERCRED; macOS: LOCAL_PEERCRED.
"""

import os
import socket
import struct
import sys
from dataclasses import dataclass

# <sys/un.h> of macOS; Python has no names for them.
_SOL_LOCAL, _LOCAL_PEERCRED, _LOCAL_PEERPID = 0, 1, 2
_UCRED = struct.Struct("3i")
_XUCRED = struct.Struct("2IH")


@dataclass(frozen=True, slots=True)
class Peer:
    """Process and user at the other end when it connected."""

    pid: int
    uid: int

    @property
    def privileged(self) -> bool:
        """Whether it runs as this very user or as root."""
        return self.uid in (os.geteuid(), 0)


def peer_of(connection: socket.socket) -> Peer:
    """The peer of a connected unix socket. Raises OSError when the kernel cannot tell."""
    if sys.platform == "darwin":
        _, uid, _ = _XUCRED.unpack_from(connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERCRED, 128))
        pid = connection.getsockopt(_SOL_LOCAL, _LOCAL_PEERPID)
        return Peer(pid, uid)
    pid, uid, _ = _UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    return Peer(pid, uid)
