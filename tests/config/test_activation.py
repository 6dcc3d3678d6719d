"""Activation: a root or two persons, on exactly the statement about these two bundles, signed by ssh-keygen."""

import json
from collections.abc import Sequence

import pytest
from ssh_kit import key_of

from gate.config.activation import NAMESPACE, check_activation, statement
from gate.config.bundle import Bundle, load_bundle
from gate.errors import GateError

PEOPLE = ("ada", "lee", "kim")
KEYS = {name: key_of(number=number) for number, name in enumerate(PEOPLE)}
HEAD = "ab" * 32

# Any moment: the signers of these tests have no time limits.
AT = 1_767_225_600_000


def _bundle(roots: str = "human:ada", *, signers: Sequence[str] = PEOPLE, note: str = "", options: str = "") -> Bundle:
    people = "".join(f"  human:{name}: {{}}\n" for name in PEOPLE)
    lines = "".join(f"human:{name} {options}{KEYS[name].public}\n" for name in signers)
    gate_yaml = (
        f"gate: 1\nproject: acme\nsigners: s\nroots: [{roots}]\npolicies: [p]\ndeployments: {{}}\n"
        f"principals:\n{people}custody: {{}}\n"
    )
    return load_bundle({"gate.yaml": gate_yaml.encode(), "s": lines.encode(), "p": note.encode()})


BEFORE, AFTER = _bundle(), _bundle(note="# new")


def _signed(text: bytes, *names: str, namespace: str = NAMESPACE) -> list[bytes]:
    return [KEYS[name].sign(text, namespace) for name in names]


def _refused(text: bytes, signatures: Sequence[bytes], before: Bundle | None, after: Bundle) -> str:
    with pytest.raises(GateError) as caught:
        check_activation(text, signatures, before, after, at_ms=AT)
    return caught.value.code


def test_the_statement_is_canonical_and_names_both_bundles() -> None:
    text = statement("led-1", HEAD, BEFORE.digest, AFTER)
    assert text.isascii()
    members = json.loads(text)
    assert text.decode() == json.dumps(members, sort_keys=True, separators=(",", ":"))
    assert members == {
        "gate": 1,
        "kind": "activation",
        "ledger": "led-1",
        "head": HEAD,
        "previous": BEFORE.digest,
        "bundle": AFTER.digest,
        "project": "acme",
    }


def test_the_genesis_names_roots_and_keys_and_takes_a_root() -> None:
    text = statement("led-1", HEAD, None, AFTER)
    members = json.loads(text)
    assert members["previous"] is None
    assert members["roots"] == ["human:ada"]
    assert members["signers"] == [f"human:{name} {KEYS[name].public}" for name in PEOPLE]
    assert check_activation(text, _signed(text, "ada"), None, AFTER, at_ms=AT) == ("human:ada",)
    assert check_activation(text, _signed(text, "lee", "ada"), None, AFTER, at_ms=AT) == ("human:lee", "human:ada")
    assert _refused(text, _signed(text, "lee", "kim"), None, AFTER) == "not_a_signer"


def test_a_later_change_takes_a_root_or_two_persons() -> None:
    text = statement("led-1", HEAD, BEFORE.digest, AFTER)
    assert check_activation(text, _signed(text, "ada"), BEFORE, AFTER, at_ms=AT) == ("human:ada",)
    assert check_activation(text, _signed(text, "lee", "kim"), BEFORE, AFTER, at_ms=AT) == ("human:lee", "human:kim")
    assert _refused(text, _signed(text, "lee"), BEFORE, AFTER) == "not_a_signer"
    assert _refused(text, _signed(text, "lee", "lee"), BEFORE, AFTER) == "not_a_signer"
    assert _refused(text, [], BEFORE, AFTER) == "not_a_signer"


def test_only_those_count_who_could_sign_before() -> None:
    """A bundle cannot make its own root: who is new in it signs nothing yet."""
    before, after = _bundle(signers=["ada"]), _bundle("human:lee")
    text = statement("led-1", HEAD, before.digest, after)
    assert _refused(text, _signed(text, "lee"), before, after) == "not_a_signer"
    assert _refused(text, _signed(text, "ada", "lee"), before, after) == "not_a_signer"
    assert check_activation(text, _signed(text, "ada"), before, after, at_ms=AT) == ("human:ada",)


def test_a_line_for_another_purpose_activates_nothing() -> None:
    before = _bundle(options='namespaces="approve@convex-gate" ')
    text = statement("led-1", HEAD, before.digest, AFTER)
    assert _refused(text, _signed(text, "ada"), before, AFTER) == "not_a_signer"


def test_a_signature_counts_for_its_bytes_and_its_purpose_only() -> None:
    text = statement("led-1", HEAD, BEFORE.digest, AFTER)
    other = statement("led-2", HEAD, BEFORE.digest, AFTER)
    assert _refused(text, _signed(other, "ada"), BEFORE, AFTER) == "bad_signature"
    assert _refused(text, _signed(text, "ada", namespace="approve@convex-gate"), BEFORE, AFTER) == "bad_signature"
    assert _refused(text, [*_signed(text, "ada"), b"junk"], BEFORE, AFTER) == "bad_signature"


@pytest.mark.parametrize(
    "text",
    [
        statement("led-1", HEAD, AFTER.digest, AFTER),
        statement("led-1", HEAD, BEFORE.digest, BEFORE),
        statement("led-1", HEAD, None, AFTER),
        statement("led-1", HEAD, BEFORE.digest, AFTER) + b"\n",
        statement("led-1", HEAD, BEFORE.digest, AFTER).replace(b'"gate":1', b'"gate": 1'),
        statement("led-1", HEAD, BEFORE.digest, AFTER).replace(b'"gate":1', b'"extra":1,"gate":1'),
        statement("led-1", HEAD, BEFORE.digest, AFTER).replace(b'"led-1"', b"1"),
        *(b"", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000),
    ],
)
def test_another_statement_is_refused_however_well_signed(text: bytes) -> None:
    assert _refused(text, _signed(text or b"-", "ada"), BEFORE, AFTER) == "bundle_changed"
