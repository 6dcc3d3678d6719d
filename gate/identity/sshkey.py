"""Public keys as OpenSSH writes them, and what each kind of key can verify. Knows no persons and no armor.

Formats: RFC 4253 (RSA), RFC 5656 (ECDSA), RFC 8709 (Ed25519), OpenSSH's PROTOCOL.u2f (security keys).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from gate.identity.wire import MalformedError, Reader

# A key of fewer bits is refused as a signer's (NIST SP 800-131A); more bits than OpenSSH makes are a denial of service.
_RSA_BITS = range(2048, 16385)
_USER_PRESENT = 0x01
_UNCOMPRESSED = 0x04
_ED25519_SIZE = 32
_RSA_HASHES: dict[bytes, hashes.HashAlgorithm] = {
    b"rsa-sha2-256": hashes.SHA256(),
    b"rsa-sha2-512": hashes.SHA512(),
}
_CURVES: dict[bytes, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    b"nistp256": (ec.SECP256R1(), hashes.SHA256()),
    b"nistp384": (ec.SECP384R1(), hashes.SHA384()),
    b"nistp521": (ec.SECP521R1(), hashes.SHA512()),
}

# (signature's type, what is left of the signature after its type, signed bytes) -> the user was present.
# Raises InvalidSignature or MalformedError.
Check = Callable[[bytes, Reader, bytes], bool]


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One parsed key. `key_type` is its OpenSSH name (`ssh-ed25519`), `check` verifies with it."""

    key_type: str
    check: Check


def parse_key(wire: bytes) -> PublicKey:
    """The key in `wire`. Raises MalformedError for another kind, a weak key, a point off its curve, trailing bytes."""
    reader = Reader(wire)
    kind = reader.string()
    make = _KINDS.get(kind)
    if make is None:
        raise MalformedError("the gate does not take keys of its type")
    try:
        check = make(kind, reader)
    except ValueError as error:
        raise error if isinstance(error, MalformedError) else MalformedError("it is no valid public key") from error
    reader.end()
    return PublicKey(kind.decode("ascii"), check)


def holds(key: PublicKey, signature: bytes, signed: bytes) -> bool | None:
    """Whether `signature` (its wire form) over `signed` is `key`'s: None if not, else whether the user was present."""
    reader = Reader(signature)
    try:
        present = key.check(reader.string(), reader, signed)
        reader.end()
    except InvalidSignature:
        return None
    return present


def _ed25519(kind: bytes, reader: Reader) -> Check:
    verify = _ed25519_point(reader).verify

    def check(algorithm: bytes, signature: Reader, signed: bytes) -> bool:
        _same(algorithm, kind)
        verify(signature.string(), signed)
        return False

    return check


def _sk_ed25519(kind: bytes, reader: Reader) -> Check:
    key = _ed25519_point(reader)
    application = reader.string()

    def check(algorithm: bytes, signature: Reader, signed: bytes) -> bool:
        _same(algorithm, kind)
        raw = signature.string()
        seen, present = _assertion(application, signature, signed)
        key.verify(raw, seen)
        return present

    return check


def _ecdsa(kind: bytes, reader: Reader) -> Check:
    key, digest = _ec_point(kind.removeprefix(b"ecdsa-sha2-"), reader)

    def check(algorithm: bytes, signature: Reader, signed: bytes) -> bool:
        _same(algorithm, kind)
        key.verify(_ec_signature(signature.string()), signed, ec.ECDSA(digest))
        return False

    return check


def _sk_ecdsa(kind: bytes, reader: Reader) -> Check:
    key, digest = _ec_point(b"nistp256", reader)
    application = reader.string()

    def check(algorithm: bytes, signature: Reader, signed: bytes) -> bool:
        _same(algorithm, kind)
        raw = _ec_signature(signature.string())
        seen, present = _assertion(application, signature, signed)
        key.verify(raw, seen, ec.ECDSA(digest))
        return present

    return check


def _rsa(_kind: bytes, reader: Reader) -> Check:
    exponent, modulus = reader.mpint(), reader.mpint()
    if modulus.bit_length() not in _RSA_BITS:
        raise MalformedError(f"an RSA key has to have at least {_RSA_BITS.start} bits")
    key = rsa.RSAPublicNumbers(exponent, modulus).public_key()

    def check(algorithm: bytes, signature: Reader, signed: bytes) -> bool:
        digest = _RSA_HASHES.get(algorithm)
        if digest is None:
            raise MalformedError("RSA signs with rsa-sha2-256 or rsa-sha2-512 only")
        key.verify(signature.string(), signed, padding.PKCS1v15(), digest)
        return False

    return check


def _ed25519_point(reader: Reader) -> Ed25519PublicKey:
    point = reader.string()
    if len(point) != _ED25519_SIZE:
        raise MalformedError("an Ed25519 key has 32 bytes")
    return Ed25519PublicKey.from_public_bytes(point)


def _ec_point(name: bytes, reader: Reader) -> tuple[ec.EllipticCurvePublicKey, hashes.HashAlgorithm]:
    curve, digest = _CURVES[name]
    _same(reader.string(), name)
    point = reader.string()
    if point[:1] != bytes([_UNCOMPRESSED]):
        raise MalformedError("its point is not in the uncompressed form")
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, point), digest


def _ec_signature(raw: bytes) -> bytes:
    reader = Reader(raw)
    r, s = reader.mpint(), reader.mpint()
    reader.end()
    return encode_dss_signature(r, s)


def _assertion(application: bytes, signature: Reader, signed: bytes) -> tuple[bytes, bool]:
    """What a security key signs instead of `signed`, and whether it was touched."""
    flags, counter = signature.take(1), signature.take(4)
    seen = hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(signed).digest()
    return seen, bool(flags[0] & _USER_PRESENT)


def _same(actual: bytes, wanted: bytes) -> None:
    if actual != wanted:
        raise MalformedError("its parts name different algorithms")


_KINDS: dict[bytes, Callable[[bytes, Reader], Check]] = {
    b"ssh-ed25519": _ed25519,
    b"ecdsa-sha2-nistp256": _ecdsa,
    b"ecdsa-sha2-nistp384": _ecdsa,
    b"ecdsa-sha2-nistp521": _ecdsa,
    b"ssh-rsa": _rsa,
    b"sk-ssh-ed25519@openssh.com": _sk_ed25519,
    b"sk-ecdsa-sha2-nistp256@openssh.com": _sk_ecdsa,
}
