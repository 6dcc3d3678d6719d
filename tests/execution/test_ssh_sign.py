"""Signing with a key in a file, by OpenSSH's own program."""

import os
from pathlib import Path

import pytest
from ssh_kit import make_key, ssh_keygen_agrees

from gate.errors import GateError
from gate.execution import ssh

NAMESPACE = "approve@convex-gate"


def test_a_signature_is_that_keys_over_these_bytes_in_this_namespace(tmp_path: Path) -> None:
    key = make_key(tmp_path, "ada")
    message = b"kind: approve\nreason: \\u00e9\n"
    armored = ssh.sign(message, key.path, NAMESPACE).encode("ascii")
    assert ssh_keygen_agrees(tmp_path, key.public, armored, message, NAMESPACE)
    assert not ssh_keygen_agrees(tmp_path, key.public, armored, message + b"\n", NAMESPACE)
    assert not ssh_keygen_agrees(tmp_path, key.public, armored, message, "activate@convex-gate")


def test_what_cannot_sign_is_a_refusal_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    broken = tmp_path / "broken"
    broken.write_text("no key\n")
    for file in (broken, tmp_path / "nowhere"):
        with pytest.raises(GateError, match=f"did not sign with {file}") as refused:
            ssh.sign(b"text", file, NAMESPACE)
        assert refused.value.code == "bad_signature"
    assert capfd.readouterr().out == ""


def test_without_openssh_it_is_a_refusal_with_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_key(tmp_path, "ada")
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(GateError, match="ssh-keygen could not be run") as refused:
        ssh.sign(b"text", key.path, NAMESPACE)
    assert (refused.value.code, refused.value.remedy) == ("bad_signature", "Install OpenSSH's client.")
