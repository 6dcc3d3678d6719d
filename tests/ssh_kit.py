"""Keys and signatures made by the real ssh-keygen, and security keys played in software."""

import atexit
import base64
import functools
import hashlib
import struct
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

NAMESPACE = "activate@convex-gate"


def wire_string(data: bytes) -> bytes:
    """`data` with its length before it."""
    return struct.pack(">I", len(data)) + data


def wire_mpint(number: int) -> bytes:
    """`number` in its shortest form."""
    return wire_string(number.to_bytes(number.bit_length() // 8 + 1))


def armor(blob: bytes, width: int = 70) -> bytes:
    """`blob` as ssh-keygen prints a signature."""
    text = base64.b64encode(blob)
    lines = [text[at : at + width] for at in range(0, len(text), width)]
    return b"\n".join([b"-----BEGIN SSH SIGNATURE-----", *lines, b"-----END SSH SIGNATURE-----", b""])


def unarmor(armored: bytes) -> bytes:
    """The blob in an armored signature."""
    return base64.b64decode(b"".join(armored.split(b"\n")[1:-2]))


@dataclass(frozen=True)
class KeyPair:
    """One key pair of ssh-keygen's in a file."""

    path: Path

    @property
    def public(self) -> str:
        """`TYPE BASE64`."""
        return " ".join(self.path.with_suffix(".pub").read_text().split()[:2])

    @property
    def wire(self) -> bytes:
        return base64.b64decode(self.public.split()[1])

    def sign(self, message: bytes, namespace: str = NAMESPACE, *options: str) -> bytes:
        """Armored signature by ssh-keygen."""
        command = ["ssh-keygen", "-Y", "sign", "-q", "-n", namespace, "-f", str(self.path), *options]
        return subprocess.run(command, input=message, capture_output=True, check=True).stdout


def make_key(folder: Path, name: str, kind: str = "ed25519", bits: str | None = None) -> KeyPair:
    """Have ssh-keygen make a key, unless the folder holds it already."""
    path = folder / name
    if path.exists():
        return KeyPair(path)
    size = [] if bits is None else ["-b", bits]
    command = ["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return KeyPair(path)


@functools.cache
def key_of(kind: str = "ed25519", bits: str | None = None, number: int = 0) -> KeyPair:
    """The key of that kind, size and number; each is made once and goes with the process."""
    return make_key(Path(_folder().name), f"{kind}-{bits}-{number}", kind, bits)


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="keys-")
    atexit.register(folder.cleanup)
    return folder


class SoftwareKey:
    """A security key played in software: it signs what a real one would sign (PROTOCOL.u2f)."""

    application = b"ssh:"

    def __init__(self, kind: str) -> None:
        self.kind = kind.encode()
        self.ed = Ed25519PrivateKey.generate()
        self.ec = ec.generate_private_key(ec.SECP256R1())

    @property
    def wire(self) -> bytes:
        if b"ed25519" in self.kind:
            raw = self.ed.public_key().public_bytes_raw()
            return wire_string(self.kind) + wire_string(raw) + wire_string(self.application)
        encoding, shape = serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
        point = self.ec.public_key().public_bytes(encoding, shape)
        parts = (self.kind, b"nistp256", point, self.application)
        return b"".join(wire_string(part) for part in parts)

    @property
    def public(self) -> str:
        return f"{self.kind.decode()} {base64.b64encode(self.wire).decode()}"

    def sign(self, message: bytes, *, flags: int = 1, namespace: str = NAMESPACE, tail: bytes = b"") -> bytes:
        """Armored signature with the given flags; `tail` is put after the inner signature."""
        names = wire_string(namespace.encode()) + wire_string(b"") + wire_string(b"sha512")
        signed = b"SSHSIG" + names + wire_string(hashlib.sha512(message).digest())
        state = bytes([flags]) + struct.pack(">I", 7)
        seen = hashlib.sha256(self.application).digest() + state + hashlib.sha256(signed).digest()
        inner = wire_string(self.kind) + wire_string(self._raw(seen)) + state + tail
        return armor(b"SSHSIG" + struct.pack(">I", 1) + wire_string(self.wire) + names + wire_string(inner))

    def _raw(self, seen: bytes) -> bytes:
        if b"ed25519" in self.kind:
            return self.ed.sign(seen)
        r, s = decode_dss_signature(self.ec.sign(seen, ec.ECDSA(hashes.SHA256())))
        return wire_mpint(r) + wire_mpint(s)


def ssh_keygen_agrees(folder: Path, public: str, armored: bytes, message: bytes, namespace: str = NAMESPACE) -> bool:
    """Whether `ssh-keygen -Y verify` takes the signature as that key's."""
    (folder / "allowed").write_text(f"human:ada {public}\n")
    (folder / "signature").write_bytes(armored)
    files = ["-f", str(folder / "allowed"), "-s", str(folder / "signature")]
    command = ["ssh-keygen", "-Y", "verify", "-I", "human:ada", "-n", namespace, *files]
    return subprocess.run(command, input=message, capture_output=True, check=False).returncode == 0
