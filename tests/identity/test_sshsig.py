"""SSH signatures: what ssh-keygen made holds, and nothing else does."""

import contextlib
import struct
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings, strategies as st
from ssh_kit import (
    NAMESPACE,
    SoftwareKey,
    armor,
    key_of,
    ssh_keygen_agrees,
    unarmor,
    wire_mpint,
    wire_string,
)

from gate.errors import GateError
from gate.identity.sshsig import verify

MESSAGE = b'{"gate":1,"kind":"activation"}'
KINDS = [("ed25519", None), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521"), ("rsa", "2048")]
SECURITY_KEYS = ["sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"]


def refusal(armored: bytes, message: bytes = MESSAGE, namespace: str = NAMESPACE) -> str:
    """Message of the refusal that has to come."""
    with pytest.raises(GateError) as caught:
        verify(armored, message, namespace)
    assert caught.value.code == "bad_signature"
    return caught.value.message


def parts_of(armored: bytes) -> list[bytes]:
    """Key, namespace, reserved, hash and signature of a signature."""
    blob, parts = unarmor(armored)[10:], []
    while blob:
        size = struct.unpack(">I", blob[:4])[0]
        parts.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return parts


def rebuilt(parts: list[bytes], *, magic: bytes = b"SSHSIG", version: int = 1, tail: bytes = b"") -> bytes:
    """An armored signature out of its parts."""
    return armor(magic + struct.pack(">I", version) + b"".join(wire_string(part) for part in parts) + tail)


@pytest.mark.parametrize(("kind", "bits"), KINDS)
@pytest.mark.parametrize("hashed", ["sha256", "sha512"])
def test_what_ssh_keygen_signs_holds(kind: str, bits: str | None, hashed: str) -> None:
    """Each kind of key and hash; the key and its type come out as ssh-keygen wrote them."""
    key = key_of(kind, bits)
    signature = verify(key.sign(MESSAGE, NAMESPACE, "-O", f"hashalg={hashed}"), MESSAGE, NAMESPACE)
    assert (signature.key, signature.key_type) == (key.wire, key.public.split()[0])
    assert not signature.user_present


@pytest.mark.parametrize("kind", SECURITY_KEYS)
def test_a_security_key_says_whether_it_was_touched(kind: str, tmp_path: Path) -> None:
    """The flag comes out of the signed bytes, and ssh-keygen takes the same signature."""
    key = SoftwareKey(kind)
    touched, silent = key.sign(MESSAGE), key.sign(MESSAGE, flags=0)
    assert verify(touched, MESSAGE, NAMESPACE).user_present
    assert not verify(silent, MESSAGE, NAMESPACE).user_present
    assert ssh_keygen_agrees(tmp_path, key.public, touched, MESSAGE)


@pytest.mark.parametrize("kind", SECURITY_KEYS)
def test_the_touch_cannot_be_added_later(kind: str) -> None:
    """Setting the flag in a signature made without touch breaks it; so do bytes behind the counter."""
    key = SoftwareKey(kind)
    parts = parts_of(key.sign(MESSAGE, flags=0))
    parts[4] = parts[4][:-5] + b"\x01" + parts[4][-4:]
    assert "not the key's signature" in refusal(rebuilt(parts))
    assert "follows" in refusal(key.sign(MESSAGE, tail=b"\0"))


@pytest.mark.parametrize(("kind", "bits"), KINDS)
def test_another_text_does_not_hold(kind: str, bits: str | None) -> None:
    """One byte more is another text."""
    armored = key_of(kind, bits).sign(MESSAGE)
    assert "over this text" in refusal(armored, MESSAGE + b"\n")


def test_another_purpose_does_not_hold() -> None:
    """A signature for an approval activates nothing; an empty namespace is never asked for."""
    assert "namespace" in refusal(key_of().sign(MESSAGE, "approve@convex-gate"))
    assert "namespace" in refusal(key_of().sign(MESSAGE), namespace="")


def test_another_key_does_not_hold() -> None:
    """The key inside a signature is part of what is checked."""
    parts = parts_of(key_of().sign(MESSAGE))
    parts[0] = key_of(number=1).wire
    assert "over this text" in refusal(rebuilt(parts))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"magic": b"SSHSIX"}, "version 1"),
        ({"version": 2}, "version 1"),
        ({"tail": b"\0"}, "follows"),
    ],
)
def test_the_envelope_is_taken_in_one_form(change: dict[str, bytes], why: str) -> None:
    """Other magic, other version and trailing bytes are refused although the signature inside is good."""
    assert why in refusal(rebuilt(parts_of(key_of().sign(MESSAGE)), **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("part", "value", "why"),
    [(2, b"x", "reserved"), (3, b"sha1", "sha256 nor sha512"), (3, b"md5", "sha256 nor sha512"), (4, b"", "early")],
)
def test_fields_are_checked(part: int, value: bytes, why: str) -> None:
    """Reserved bytes, weak hashes and an empty signature are refused."""
    parts = parts_of(key_of().sign(MESSAGE))
    parts[part] = value
    assert why in refusal(rebuilt(parts))


def test_bytes_after_the_signature_are_refused() -> None:
    """Trailing data at the innermost level, for each shape of signature."""
    for kind, bits in KINDS:
        parts = parts_of(key_of(kind, bits).sign(MESSAGE))
        parts[4] += b"\0"
        assert "follows" in refusal(rebuilt(parts)), kind


def test_rsa_with_sha1_is_refused() -> None:
    """The old `ssh-rsa` signature algorithm names SHA-1."""
    parts = parts_of(key_of("rsa", "2048").sign(MESSAGE))
    parts[4] = wire_string(b"ssh-rsa") + wire_string(b"x" * 256)
    assert "rsa-sha2-256" in refusal(rebuilt(parts))


def test_weak_and_malformed_keys_are_refused() -> None:
    """A short RSA key, an even exponent, a point off its curve, a compressed point, an unknown kind."""
    parts = parts_of(key_of().sign(MESSAGE))
    short = rsa.generate_private_key(65537, 1024).public_key().public_numbers()  # noqa: S505 - has to be refused
    strong = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
    ec_kind = wire_string(b"ecdsa-sha2-nistp256")
    for wire, why in [
        (wire_string(b"ssh-rsa") + wire_mpint(short.e) + wire_mpint(short.n), "2048 bits"),
        (wire_string(b"ssh-rsa") + wire_mpint(4) + wire_mpint(strong.n), "no valid public key"),
        (wire_string(b"ssh-rsa") + wire_string(b"\0\x03") + wire_mpint(strong.n), "shortest form"),
        (ec_kind + wire_string(b"nistp256") + wire_string(b"\x04" + b"\1" * 64), "no valid public key"),
        (ec_kind + wire_string(b"nistp256") + wire_string(b"\x02" + b"\1" * 32), "uncompressed"),
        (ec_kind + wire_string(b"nistp384") + wire_string(b"\x04" + b"\1" * 64), "different algorithms"),
        (wire_string(b"ssh-ed25519") + wire_string(b"\1" * 31), "32 bytes"),
        (wire_string(b"ssh-dss") + wire_string(b"\1"), "keys of its type"),
        (key_of().wire + b"\0", "follows"),
    ]:
        assert why in refusal(rebuilt([wire, *parts[1:]]))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: b" " + text,
        lambda text: text + b"\n",
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"BEGIN", b"begin"),
        lambda text: text.replace(b"-----END SSH SIGNATURE-----\n", b""),
        lambda text: text + text,
        lambda text: text[:30] + text[-28:],
        lambda text: b"".join(text.split(b"\n")),
        lambda text: text[:0],
        lambda text: text.replace(b"U1NI", b"U1N!", 1),
        lambda text: armor(unarmor(text), width=200),
        lambda text: armor(text * 100),
        # Padding taken away, or added where there is none.
        lambda text: text.replace(b"=\n", b"\n") if b"=" in text else text.replace(b"\n-----END", b"=\n-----END"),
    ],
)
def test_armor_is_taken_in_one_form(spoil) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Blanks, other line ends, missing ends, several signatures and lax base64 are refused."""
    spoiled = spoil(key_of("ecdsa", "256").sign(MESSAGE))
    if spoiled == key_of("ecdsa", "256").sign(MESSAGE):  # no padding to drop
        return
    refusal(spoiled)


def test_base64_has_one_form() -> None:
    """Bits that base64 throws away may not be set."""
    blob = unarmor(key_of().sign(MESSAGE))
    while len(blob) % 3 != 2:
        blob += b"\0"
    text = armor(blob)
    at = text.index(b"=")
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(text[at - 1]) ^ 1]
    assert "one form" in refusal(text[: at - 1] + bytes([other]) + text[at:])


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_no_changed_signature_holds(data: st.DataObject) -> None:
    """Property: flip, cut or insert anything in the blob and it is refused, never an error of another kind."""
    kind, bits = data.draw(st.sampled_from(KINDS))
    blob = unarmor(signed(kind, bits))
    at = data.draw(st.integers(0, len(blob) - 1))
    changed = data.draw(
        st.sampled_from(
            [
                blob[:at] + bytes([blob[at] ^ data.draw(st.integers(1, 255))]) + blob[at + 1 :],
                blob[:at],
                blob[:at] + data.draw(st.binary(min_size=1, max_size=4)) + blob[at:],
            ]
        )
    )
    if changed != blob:
        refusal(armor(changed))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_refused(noise: bytes) -> None:
    """Property: arbitrary bytes, armored or not, are a refusal and nothing else."""
    with contextlib.suppress(GateError):
        raise AssertionError(verify(noise, MESSAGE, NAMESPACE))
    refusal(armor(noise))


_SIGNED: dict[str, bytes] = {}


def signed(kind: str, bits: str | None) -> bytes:
    """A signature over MESSAGE, made once."""
    name = f"{kind}{bits}"
    if name not in _SIGNED:
        _SIGNED[name] = key_of(kind, bits).sign(MESSAGE)
    return _SIGNED[name]
