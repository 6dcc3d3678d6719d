"""Frames between doors and the keeper: a 4-byte big-endian length, then one JSON object. Knows no operation.

Standard library only: the doors on the hot path import it. docs/protocol.md lists the operations.
"""

import json
import socket

from gate.errors import GateError

LARGEST = 8 * 1024 * 1024
_HEADER_BYTES = 4
# A door that ends by SIGPIPE could not say that its run was cut. macOS has an option of the socket for it (client.py).
_NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)


class Gone(Exception):
    """The other side closed the connection."""


def encode(message: dict[str, object]) -> bytes:
    """One frame. Raises GateError `limit` above LARGEST bytes."""
    body = json.dumps(message, separators=(",", ":")).encode("ascii")
    if len(body) > LARGEST:
        raise GateError("limit", "the message is larger than 8 MiB", remedy="Send less: smaller files, fewer words.")
    return len(body).to_bytes(_HEADER_BYTES) + body


def size_of(header: bytes) -> int:
    """Length of the body that follows a 4-byte `header`. Raises GateError `limit` above LARGEST."""
    size = int.from_bytes(header)
    if size > LARGEST:
        raise GateError("limit", "the other side sent more than 8 MiB at once", remedy="Update gate on both sides.")
    return size


def decode(body: bytes) -> dict[str, object]:
    """The object in a frame's body. Raises GateError `usage` unless it is one strict JSON object."""
    try:
        message = json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise GateError("usage", "the other side sent no proper message", remedy="Update gate.") from error
    if not isinstance(message, dict):
        raise GateError("usage", "the other side sent no object", remedy="Update gate.")
    return message


def send(connection: socket.socket, message: dict[str, object]) -> None:
    """Send one frame. Raises Gone when the other side has closed."""
    try:
        connection.sendall(encode(message), _NO_SIGNAL)
    except OSError as error:
        raise Gone from error


def receive(connection: socket.socket) -> dict[str, object]:
    """Wait for one frame. Raises Gone at the end of the stream, also in the middle of a frame."""
    return decode(_exactly(connection, size_of(_exactly(connection, _HEADER_BYTES))))


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        try:
            chunk = connection.recv(min(size - len(data), 1 << 20))
        except OSError as error:
            raise Gone from error
        if not chunk:
            raise Gone
        data += chunk
    return bytes(data)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def _refuse(name: str) -> object:
    raise ValueError(name)
