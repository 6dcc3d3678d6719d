"""Signing with a person's own OpenSSH key, and what an ssh-agent signs. Verifies nothing: the keeper does that.

No private key is read here: OpenSSH's own programs do that, or the agent.
"""

import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from gate import world
from gate.errors import GateError

# Of signatures that are made to see whether they are made: nothing takes one in this namespace.
DOCTOR = "doctor@convex-gate"
_HARMLESS = b"gate doctor asks whether this agent signs without asking anybody\n"
# Longer than an agent takes that asks nobody, shorter than a person who is asked.
_PATIENCE_SECONDS = 3


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


def agent_keys(agent: str) -> tuple[str, ...]:
    """Public keys, each `TYPE BASE64`, that the ssh-agent at the socket `agent` holds; none when none answers."""
    lines = _ask(["ssh-add", "-L"], agent).decode("ascii", "replace").splitlines()
    return tuple(" ".join(words[:2]) for words in map(str.split, lines) if len(words) > 1)


def signs_silently(agent: str, public_key: str) -> bool:
    """Whether the ssh-agent at the socket `agent` signs with `public_key` (`TYPE BASE64`) without anybody's doing.

    It is asked to sign a harmless text. An agent that asks a person is waited for 3 seconds at most. Keys on security
    keys (`sk-`) are not tried: they want a touch, and without one their signatures do not count.
    """
    if public_key.startswith("sk-"):
        return False
    with TemporaryDirectory(prefix="gate-doctor-") as folder:
        # ssh-keygen looks for a private key beside this file: there is none, so the agent signs or nobody does.
        file = Path(folder) / "key.pub"
        file.write_text(public_key + "\n", encoding="ascii")
        return bool(_ask(["ssh-keygen", "-Y", "sign", "-q", "-n", DOCTOR, "-f", str(file)], agent, _HARMLESS))


def _ask(command: list[str], agent: str, message: bytes = b"") -> bytes:
    """What `command` prints about the agent; nothing when it fails, is not there or takes too long.

    It sees neither a display nor a terminal: whatever it wanted to ask, it cannot.
    """
    environment = {"PATH": world.variable("PATH") or world.PATH, "LC_ALL": "C", "SSH_AUTH_SOCK": agent}
    try:
        done = subprocess.run(
            command,
            input=message,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return b""
    return done.stdout if done.returncode == 0 else b""
