"""A child under a door: its status, its signals, its end. Each door is a real process of its own."""

import os
import pty
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

_DOOR = """
import os, socket, sys
from gate.execution.child import Child
watched = socket.socket(fileno=int(sys.argv[1]))
child = Child(sys.argv[2:], dict(os.environ))
status = child.wait(watched.fileno())
if status is None:
    child.end()
    print("cut", flush=True)
    sys.exit(76)
sys.exit(status)
"""


class Door:
    """A door with a child; `keeper` is the keeper's end of its connection."""

    def __init__(self, argv: list[str]) -> None:
        self.keeper, door_end = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, "-c", _DOOR, str(door_end.fileno()), *argv],
            pass_fds=[door_end.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        door_end.close()

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def end(self) -> int:
        code = self.process.wait(timeout=20)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()
        self.keeper.close()
        return code


@pytest.fixture
def door() -> Callable[..., Door]:
    return lambda *script: Door(["/bin/sh", "-c", *script])


def gone(pid: int) -> bool:
    """Whether `pid` ends within two seconds."""
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)]
)
def test_the_childs_status_is_the_doors(door: Callable[..., Door], script: str, code: int) -> None:
    assert door(script).end() == code


def test_stdin_and_stdout_are_the_childs_own(door: Callable[..., Door]) -> None:
    running = door("read word; echo got $word")
    assert running.process.stdin is not None
    running.process.stdin.write(b"hello\n")
    running.process.stdin.flush()
    assert running.line() == "got hello"
    assert running.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_are_forwarded_without_a_terminal(door: Callable[..., Door], number: signal.Signals) -> None:
    running = door("trap 'echo caught; exit 3' TERM INT HUP USR1; echo ready; while :; do sleep 0.05; done")
    assert running.line() == "ready"
    running.process.send_signal(number)
    assert running.line() == "caught"
    assert running.end() == 3


def test_a_cut_ends_the_whole_group_though_it_ignores_signals(door: Callable[..., Door]) -> None:
    running = door("trap '' TERM INT HUP; sleep 60 & echo $!; echo $$; wait; sleep 60")
    background, shell = int(running.line()), int(running.line())
    started = time.monotonic()
    running.keeper.close()
    assert running.line() == "cut"
    assert running.end() == 76
    assert time.monotonic() - started < 5
    assert gone(background)
    assert gone(shell)


def test_a_cut_ends_a_stopped_child_and_one_that_left_the_group(door: Callable[..., Door]) -> None:
    running = door("setsid sleep 60 & echo $!; echo $$; kill -STOP $$")
    escaped, shell = int(running.line()), int(running.line())
    time.sleep(0.2)
    running.keeper.close()
    assert running.end() == 76
    assert gone(shell)
    assert gone(escaped)


def test_a_command_that_is_not_there_is_a_refusal() -> None:
    failing = Door(["/nowhere/node"])
    assert failing.process.stderr is not None
    assert b"unknown_version" not in failing.process.stderr.read(0)
    assert failing.end() == 1


def test_with_a_terminal_control_c_reaches_the_child_once_and_the_door_waits() -> None:
    keeper, door_end = socket.socketpair()
    script = "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.05; done"
    pid, terminal = pty.fork()
    if pid == 0:
        os.set_inheritable(door_end.fileno(), True)
        os.execv(sys.executable, [sys.executable, "-c", _DOOR, str(door_end.fileno()), "/bin/sh", "-c", script])
    door_end.close()
    seen = b""
    while b"ready" not in seen:
        seen += os.read(terminal, 1024)
    os.write(terminal, b"\x03")
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 5
    while b"caught" not in seen:
        seen += os.read(terminal, 1024)
    assert seen.count(b"caught") == 1
    os.close(terminal)
    keeper.close()


def test_with_a_terminal_a_cut_ends_child_and_descendants_but_not_the_group() -> None:
    keeper, door_end = socket.socketpair()
    pid, terminal = pty.fork()
    if pid == 0:
        os.set_inheritable(door_end.fileno(), True)
        argv = [
            sys.executable,
            "-c",
            _DOOR,
            str(door_end.fileno()),
            "/bin/sh",
            "-c",
            "sleep 60 & echo pid $! end; wait",
        ]
        os.execv(sys.executable, argv)
    door_end.close()
    seen = b""
    while b"end" not in seen:
        seen += os.read(terminal, 1024)
    background = int(seen.split()[1])
    keeper.close()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 76
    assert gone(background)
    os.close(terminal)
