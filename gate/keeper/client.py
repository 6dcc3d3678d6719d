"""A door's side of the connection: find the keeper, start one if none lives, ask. Decides nothing.

Standard library only: the doors on the hot path import it.
"""

import os
import select
import socket
import sys
import time

from gate import __version__
from gate.errors import EXITS, ConfigInvalid, GateError, KeeperUnavailable
from gate.keeper import places, protocol, start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[[str], str | None]

_PATIENCE_MS = 30_000
_ANSWER_SECONDS = 60
_SO_NOSIGPIPE = 0x1022  # <sys/socket.h> of macOS; Python has no name for it
# What a sandbox says when it does not let its processes open sockets.
_FORBIDDEN = (PermissionError,)


def connect() -> socket.socket:
    """A connection to the installed keeper, else to this user's, which is started when none answers.

    Raises KeeperUnavailable when none can be reached or started.
    """
    if os.path.exists(places.INSTALLED_SOCKET):
        return _reach(places.INSTALLED_SOCKET)
    root = places.state_root()
    path = places.socket_in(root)
    try:
        return _reach(path)
    except KeeperUnavailable as error:
        if isinstance(error.__cause__, _FORBIDDEN):
            raise
    _await_start(start.start(root))
    return _reach(path)


def running() -> socket.socket | None:
    """A connection to a keeper that lives already, or None: nothing is started."""
    installed = os.path.exists(places.INSTALLED_SOCKET)
    try:
        return _reach(places.INSTALLED_SOCKET if installed else places.socket_in(places.state_root()))
    except KeeperUnavailable:
        return None


def ask(connection: socket.socket, op: str, read: "Reader | None" = None, /, **members: object) -> dict[str, object]:
    """Send one operation and return its first answer. Raises the GateError that the keeper answers with.

    `read`: content of a file of the caller's, by a name that the activated bundle holds (custody `env_file`).
    """
    try:
        protocol.send(connection, {"gate": __version__, "op": op, **members})
        return _answer(connection, read)
    except protocol.Gone as error:
        raise _unavailable("the keeper closed the connection") from error


def _answer(connection: socket.socket, read: "Reader | None") -> dict[str, object]:
    answer = checked(protocol.receive(connection))
    while "want" in answer:
        protocol.send(connection, {"file": None if read is None else read(str(answer["want"]))})
        answer = checked(protocol.receive(connection))
    return answer


def request(op: str, read: "Reader | None" = None, /, **members: object) -> dict[str, object]:
    """`result` of one operation on a connection of its own. Raises the GateError that the keeper answers with."""
    connection = connect()
    with connection:
        result = ask(connection, op, read, **members)["result"]
    if not isinstance(result, dict):
        raise _unavailable("the keeper gave no proper answer")
    return result


def checked(message: dict[str, object]) -> dict[str, object]:
    """`message` itself; raises the GateError that it carries when it is an error frame."""
    error = message.get("error")
    if error is None:
        return message
    if not isinstance(error, dict) or error.get("code") not in EXITS:
        raise _unavailable("the keeper gave an answer of another version")
    findings = error.get("findings")
    if isinstance(findings, list) and findings:
        raise ConfigInvalid(findings)
    remedy = error.get("remedy") or {}
    raise GateError(error["code"], str(error.get("message")), remedy=str(remedy.get("text")), argv=remedy.get("argv"))


def _reach(path: str) -> socket.socket:
    try:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise _unavailable("this process may not open sockets") from error
    try:
        if sys.platform == "darwin":
            connection.setsockopt(socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)
        connection.settimeout(_ANSWER_SECONDS)
        with places.Address(path) as address:
            connection.connect(address)
    except OSError as error:
        connection.close()
        raise _unavailable(f"no keeper answers at {path}") from error
    return connection


def _await_start(ready: int) -> None:
    """Wait until the keeper that was started serves or gives up; either way the socket tells which."""
    deadline = time.monotonic() + _PATIENCE_MS / 1000
    try:
        while (left := deadline - time.monotonic()) > 0:
            if select.select([ready], [], [], left)[0] and os.read(ready, 1) == b"":
                return
    finally:
        os.close(ready)


def _unavailable(what: str) -> KeeperUnavailable:
    return KeeperUnavailable(
        "keeper_unavailable",
        what,
        remedy="Call gate outside a sandbox that forbids sockets; else see `gate keeper status`.",
        argv=["gate", "keeper", "status"],
    )
