"""A real ssh-agent with real keys: which of them sign for whoever asks."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ssh_kit import KeyPair, SoftwareKey, make_key, ssh_keygen_agrees

from gate.execution import ssh

_TOOLS = {"PATH": os.environ["PATH"]}


@dataclass(frozen=True)
class Agent:
    """A running ssh-agent and the socket it listens on."""

    process: subprocess.Popen[bytes]
    socket: str

    def add(self, key: KeyPair, *options: str) -> str:
        """Load `key`; returns its public half."""
        command = ["ssh-add", "-q", *options, str(key.path)]
        subprocess.run(command, env={**_TOOLS, "SSH_AUTH_SOCK": self.socket}, check=True, capture_output=True)
        return key.public


Start = Callable[..., Agent]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts agents that end with the test; what is given is all that they see of an environment."""
    agents: list[Agent] = []

    def started(**environment: str) -> Agent:
        socket = tmp_path / f"agent-{len(agents)}"
        process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(socket)], env={**_TOOLS, **environment}, stdout=subprocess.DEVNULL
        )
        agents.append(Agent(process, str(socket)))
        deadline = time.monotonic() + 5
        while not socket.exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        return agents[-1]

    yield started
    for agent in agents:
        agent.process.send_signal(signal.SIGCONT)
        agent.process.terminate()
        agent.process.wait(timeout=5)


@pytest.fixture
def agent(start: Start) -> Agent:
    return start()


@pytest.mark.parametrize(("kind", "bits"), [("ed25519", None), ("ecdsa", "256"), ("rsa", "3072")])
def test_a_key_that_was_just_added_signs_for_anybody(agent: Agent, tmp_path: Path, kind: str, bits: str | None) -> None:
    public = agent.add(make_key(tmp_path, "ada", kind, bits))
    assert ssh.agent_keys(agent.socket) == (public,)
    assert ssh.signs_silently(agent.socket, public)


def test_neither_the_file_of_the_key_nor_its_passphrase_is_needed(agent: Agent, tmp_path: Path) -> None:
    key = make_key(tmp_path, "ada")
    public = agent.add(key)
    key.path.unlink()
    assert ssh.signs_silently(agent.socket, public)


def test_a_private_key_on_disk_is_not_what_signs(agent: Agent, tmp_path: Path) -> None:
    """The finding is about the agent; this key is not in it."""
    key = make_key(tmp_path, "ada")
    agent.add(make_key(tmp_path, "other"))
    assert key.path.exists()
    assert not ssh.signs_silently(agent.socket, key.public)


def test_a_key_that_wants_confirmation_is_refused_at_once_where_nobody_can_be_asked(
    agent: Agent, tmp_path: Path
) -> None:
    public = agent.add(make_key(tmp_path, "ada"), "-c")
    began = time.monotonic()
    assert ssh.agent_keys(agent.socket) == (public,)
    assert not ssh.signs_silently(agent.socket, public)
    assert time.monotonic() - began < 2


def _program(folder: Path, text: str) -> str:
    program = folder / "askpass"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return str(program)


def test_a_person_who_does_not_answer_is_not_waited_for(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_PATIENCE_SECONDS", 0.3)
    asking = start(SSH_ASKPASS=_program(tmp_path, "exec sleep 2"), SSH_ASKPASS_REQUIRE="force")
    public = asking.add(make_key(tmp_path, "ada"), "-c")
    began = time.monotonic()
    assert not ssh.signs_silently(asking.socket, public)
    assert time.monotonic() - began < 1.5


def test_a_confirmation_that_a_program_gives_is_none(start: Start, tmp_path: Path) -> None:
    asking = start(SSH_ASKPASS=_program(tmp_path, "exit 0"), SSH_ASKPASS_REQUIRE="force")
    public = asking.add(make_key(tmp_path, "ada"), "-c")
    assert ssh.signs_silently(asking.socket, public)


def test_the_callers_own_way_of_asking_is_not_used(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that pops up for a person at every `gate doctor` would teach them to say yes."""
    marks = tmp_path / "asked"
    for name, value in {"DISPLAY": ":0", "SSH_ASKPASS": _program(tmp_path, f"touch {marks}")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    public = start().add(make_key(tmp_path, "ada"), "-c")
    assert not ssh.signs_silently(str(tmp_path / "agent-0"), public)
    assert not marks.exists()


def test_a_locked_agent_signs_nothing(agent: Agent, tmp_path: Path) -> None:
    public = agent.add(make_key(tmp_path, "ada"))
    environment = {**_TOOLS, "SSH_AUTH_SOCK": agent.socket, "SSH_ASKPASS_REQUIRE": "force"}
    environment["SSH_ASKPASS"] = _program(tmp_path, "echo word")
    subprocess.run(["ssh-add", "-x"], env=environment, check=True, capture_output=True)
    assert ssh.agent_keys(agent.socket) == ()
    assert not ssh.signs_silently(agent.socket, public)


def test_a_key_on_a_security_key_is_not_tried(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would blink and wait for a touch."""
    monkeypatch.setattr(ssh, "_PATIENCE_SECONDS", 0)
    assert not ssh.signs_silently(agent.socket, SoftwareKey("sk-ssh-ed25519@openssh.com").public)


@pytest.mark.parametrize("left", ["nothing", "file", "socket", "folder"])
def test_where_no_agent_answers_nothing_signs(start: Start, tmp_path: Path, left: str) -> None:
    there = tmp_path / "agent-0"
    if left == "socket":
        gone = start()
        gone.process.kill()
        gone.process.wait()
        assert there.exists()
    elif left != "nothing":
        (Path.touch if left == "file" else Path.mkdir)(there)
    assert ssh.agent_keys(str(there)) == ()
    assert not ssh.signs_silently(str(there), make_key(tmp_path, "ada").public)


def test_an_agent_that_hangs_is_left(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "_PATIENCE_SECONDS", 0.3)
    stopped = start()
    public = stopped.add(make_key(tmp_path, "ada"))
    stopped.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    assert ssh.agent_keys(stopped.socket) == ()
    assert not ssh.signs_silently(stopped.socket, public)
    assert time.monotonic() - began < 2


def test_without_openssh_nothing_is_found(agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = agent.add(make_key(tmp_path, "ada"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ssh.agent_keys(agent.socket) == ()
    assert not ssh.signs_silently(agent.socket, public)


def test_what_is_signed_counts_as_nothing_and_lies_nowhere(
    agent: Agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in ssh-keygen's place keeps what the real one prints: a signature in the doctor's own namespace."""
    public = agent.add(make_key(tmp_path, "ada"))
    real, temporary = shutil.which("ssh-keygen"), tmp_path / "tmp"
    temporary.mkdir()
    keeping = tmp_path / "bin"
    keeping.mkdir()
    program = keeping / "ssh-keygen"
    program.write_text(f'#!/bin/sh\ntee {tmp_path}/text | {real} "$@" | tee {tmp_path}/kept\n')
    program.chmod(0o755)
    with monkeypatch.context() as there:
        there.setenv("PATH", f"{keeping}:{os.environ['PATH']}")
        there.setattr("tempfile.tempdir", str(temporary))
        assert ssh.signs_silently(agent.socket, public)
    armored, text = (tmp_path / "kept").read_bytes(), (tmp_path / "text").read_bytes()
    assert ssh_keygen_agrees(tmp_path, public, armored, text, ssh.DOCTOR)
    assert not ssh_keygen_agrees(tmp_path, public, armored, text, "approve@convex-gate")
    assert list(temporary.iterdir()) == []
