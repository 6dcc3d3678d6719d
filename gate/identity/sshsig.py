"""Signatures as `ssh-keygen -Y sign` makes them (OpenSSH's PROTOCOL.sshsig), verified in process. Knows no persons."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gate.errors import GateError
from gate.identity import sshkey
from gate.identity.wire import MalformedError, Reader, base64_strict, string

_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
_MAGIC = b"SSHSIG"
_VERSION = 1
_LARGEST = 16 * 1024
_LONGEST_LINE = 76
_HASHES: dict[bytes, Callable[[bytes], Any]] = {b"sha256": hashlib.sha256, b"sha512": hashlib.sha512}


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that holds: `key` (wire form) and `key_type` of the signer.

    `user_present`: a security key says, in the signature, that it was touched; False for every other key.
    """

    key: bytes
    key_type: str
    user_present: bool


def verify(armored: bytes, message: bytes, namespace: str) -> Signature:
    """Verify an armored signature over exactly `message` under `namespace`.

    Says whose key signed, not whether that key may. Anything but the one encoding is refused (trailing data, other
    versions, other hashes), so that nobody can make a second form of a signature. Raises GateError `bad_signature`.
    """
    try:
        return _verify(_unarmor(armored), message, namespace.encode())
    except MalformedError as error:
        raise _refused(str(error)) from error


def _verify(blob: bytes, message: bytes, namespace: bytes) -> Signature:
    reader = Reader(blob)
    if reader.take(len(_MAGIC)) != _MAGIC or reader.uint32() != _VERSION:
        raise MalformedError("it is not a signature of SSHSIG version 1")
    wire, named, reserved, algorithm, signature = (reader.string() for _ in range(5))
    reader.end()
    if reserved:
        raise MalformedError("its reserved field is not empty")
    if not namespace or named != namespace:
        raise MalformedError("it was made for another purpose (namespace)")
    if algorithm not in _HASHES:
        raise MalformedError("it hashes with neither sha256 nor sha512")
    digest = _HASHES[algorithm](message).digest()
    signed = _MAGIC + string(named) + string(reserved) + string(algorithm) + string(digest)
    key = sshkey.parse_key(wire)
    present = sshkey.holds(key, signature, signed)
    if present is None:
        raise MalformedError("it is not the key's signature over this text")
    return Signature(wire, key.key_type, present)


def _unarmor(armored: bytes) -> bytes:
    if len(armored) > _LARGEST:
        raise MalformedError("it is too large")
    lines = armored.removesuffix(b"\n").split(b"\n")
    body = lines[1:-1]
    if lines[0] != _BEGIN or lines[-1] != _END or not body or any(len(line) > _LONGEST_LINE for line in body):
        raise MalformedError("it is not one armored SSH signature")
    return base64_strict(b"".join(body))


def _refused(why: str) -> GateError:
    return GateError(
        "bad_signature",
        f"the signature does not hold: {why}",
        remedy="Sign the exact text again with `ssh-keygen -Y sign`.",
    )
