"""The signers file: who may sign, and every way of writing it that is refused."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from ssh_kit import NAMESPACE, SoftwareKey, key_of, ssh_keygen_agrees

from gate.errors import ConfigInvalid
from gate.identity.signers import parse_signers
from gate.identity.sshsig import verify

ADA, LEE = key_of().public, key_of(number=1).public
DAY = 86_400_000
NEW_YEAR_2026 = 1_767_225_600_000


def findings(text: str | bytes) -> list[str]:
    """Every finding about a signers file that has to be refused."""
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ConfigInvalid) as caught:
        parse_signers(data, "gate.signers")
    return caught.value.findings


def test_persons_and_their_keys(tmp_path: Path) -> None:
    """Comments, blank lines, several keys of one person; the key out of a signature finds the person."""
    touch = SoftwareKey("sk-ssh-ed25519@openssh.com")
    text = f"# leads — all of them\n\nhuman:ada {ADA} laptop\nhuman:ada\t{touch.public}\nhuman:lee {LEE}\n"
    signers = parse_signers(text.encode(), "gate.signers")
    assert signers.principals == {"human:ada", "human:lee"}
    assert [(entry.principal, entry.line) for entry in signers.entries] == [
        ("human:ada", 3),
        ("human:ada", 4),
        ("human:lee", 5),
    ]
    armored = touch.sign(b"text")
    assert signers.who(verify(armored, b"text", NAMESPACE).key) == "human:ada"
    assert signers.who(b"somebody else's") is None
    assert ssh_keygen_agrees(tmp_path, touch.public, armored, b"text")


def test_an_empty_file_names_nobody() -> None:
    """No line, no signer."""
    assert parse_signers(b"", "gate.signers").entries == ()


def test_namespaces_limit_what_a_key_is_good_for() -> None:
    """A key for approvals activates nothing."""
    text = f'human:ada namespaces="approve@convex-gate,git" {ADA}\n'
    signers = parse_signers(text.encode(), "gate.signers")
    assert signers.who(key_of().wire, "approve@convex-gate") == "human:ada"
    assert signers.who(key_of().wire, NAMESPACE) is None
    assert signers.who(key_of().wire) == "human:ada"


@pytest.mark.parametrize("until", ["20260102Z", "202601020000Z", "20260102000000Z"])
def test_times_limit_when_a_key_is_good(until: str) -> None:
    """Both ends belong to the time, as with ssh-keygen."""
    text = f'human:ada valid-after="20260101Z",valid-before="{until}" {ADA}\n'
    signers = parse_signers(text.encode(), "gate.signers")
    at = [NEW_YEAR_2026 - 1, NEW_YEAR_2026, NEW_YEAR_2026 + DAY, NEW_YEAR_2026 + DAY + 1]
    assert [signers.who(key_of().wire, None, ms) for ms in at] == [None, "human:ada", "human:ada", None]


@pytest.mark.parametrize(
    ("line", "at", "why"),
    [
        ("human:ada,human:lee KEY", "1:1", "one person per line"),
        ("* KEY", "1:1", "wildcards"),
        ("human:a* KEY", "1:1", "wildcards"),
        ("!human:ada KEY", "1:1", "wildcards"),
        ("ada@example.org KEY", "1:1", "human:NAME"),
        ("agent:codex KEY", "1:1", "human:NAME"),
        ("  ada KEY", "1:3", "human:NAME"),
        ("human:ada cert-authority KEY", "1:11", "certificate authorities"),
        ('human:ada namespaces="a",cert-authority KEY', "1:26", "certificate authorities"),
        ('human:ada namespaces="a*" KEY', "1:11", "without wildcards"),
        ('human:ada namespaces="" KEY', "1:11", "without wildcards"),
        ('human:ada namespaces="a", KEY', "1:25", "one comma"),
        ('human:ada namespaces="a"valid-after="20260101Z" KEY', "1:25", "one comma"),
        ('human:ada namespaces="a",namespaces="b" KEY', "1:26", "twice"),
        ("human:ada namespaces=a KEY", "1:11", "NAME="),
        ('human:ada no-touch-required="" KEY', "1:11", "no option of the gate's"),
        ('human:ada valid-after="20260101" KEY', "1:11", "UTC"),
        ('human:ada valid-after="2026010aZ" KEY', "1:11", "UTC"),
        ('human:ada valid-after="20260230Z" KEY', "1:11", "no such time"),
        ("human:ada", "1:10", "key is missing"),
        ("human:ada ssh-ed25519", "1:22", "key is missing"),
        ("human:ada ssh-ed25519 AAAA", "1:23", "no key"),
        ("human:ada ssh-ed25519 !!!", "1:23", "no key"),
        ("human:ada ssh-rsa BASE64", "1:11", "another type"),
        ("human:ada KEY\r", f"1:{11 + len(ADA)}", "control character"),
        ("human:ada \0", "1:11", "control character"),
    ],
)
def test_what_is_refused(line: str, at: str, why: str) -> None:
    """Each finding says where and why."""
    found = findings(line.replace("KEY", ADA).replace("BASE64", ADA.split()[1]) + "\n")
    assert len(found) == 1
    assert found[0].startswith(f"gate.signers:{at}: ")
    assert why in found[0]


def test_a_key_has_one_person() -> None:
    """The same key on a second line is refused, whoever is named there."""
    assert "line 1 already, for human:ada" in findings(f"human:ada {ADA}\nhuman:lee {ADA}\n")[0]
    assert "line 1 already, for human:ada" in findings(f"human:ada {ADA}\nhuman:ada {ADA}\n")[0]


def test_every_finding_is_told() -> None:
    """All or nothing, and all of it at once."""
    found = findings(f"* {ADA}\nhuman:lee {LEE}\nhuman:max\n")
    assert [text.split(": ")[0] for text in found] == ["gate.signers:1:1", "gate.signers:3:10"]


def test_not_text_and_too_large() -> None:
    """UTF-16 and megabytes are refused with a position."""
    assert findings(b"# ok\nhuman:\xff\n")[0].startswith("gate.signers:2:7: ")
    assert findings(f"human:ada {ADA}\n".encode("utf-16"))[0].startswith("gate.signers:1:1: ")
    assert "larger" in findings(b"#" * 300_000)[0]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.binary(max_size=60))
def test_noise_is_refused_with_positions(text: str, data: bytes) -> None:
    """Property: whatever the bytes, the answer is signers or findings with positions; noise names nobody."""
    for noise in (text.encode("utf-8", "surrogatepass"), data):
        try:
            told = [] if parse_signers(noise, "f").entries == () else ["a signer out of noise"]
        except ConfigInvalid as error:
            told = [found for found in error.findings if not re.match(r"f:[0-9]+:[0-9]+: ", found)]
        assert told == []
