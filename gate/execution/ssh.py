"""Signing with the person's own OpenSSH key. Verifies nothing: the keeper does that on the exact bytes."""

import subprocess
from pathlib import Path

from gate.errors import GateError


def sign(message: bytes, key: Path, namespace: str) -> str:
    """Armored SSHSIG of `message` under `namespace`, made by `ssh-keygen -Y sign` with the key in `key`.

    A passphrase or a touch is asked for by ssh-keygen itself, at the terminal. Raises GateError `bad_signature`.
    """
    command = ["ssh-keygen", "-Y", "sign", "-q", "-n", namespace, "-f", str(key)]
    try:
        signed = subprocess.run(command, input=message, stdout=subprocess.PIPE, check=False)
    except OSError as error:
        raise GateError(
            "bad_signature", f"ssh-keygen could not be run ({error.strerror})", remedy="Install OpenSSH's client."
        ) from error
    if signed.returncode != 0:
        raise GateError(
            "bad_signature",
            f"ssh-keygen did not sign with {key}",
            remedy="Name a private key that you can use: `--key ~/.ssh/id_ed25519`.",
        )
    return signed.stdout.decode("ascii", "replace")
