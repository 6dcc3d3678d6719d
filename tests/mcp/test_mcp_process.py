"""The server as a process: its start, its signals, its end, its streams."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mcp_kit import ERAS, Client

_DOOR = Path(__file__).parent / "mcp_door.py"
_TOO_DEAR = {"asyncio", "dataclasses", "inspect", "logging", "pathlib", "ssl", "subprocess", "threading", "typing"}
_IMPORTS = "import sys; before = set(sys.modules); import gate.mcp.stdio; print(*sorted(set(sys.modules) - before))"


class Process:
    def __init__(self, era: str) -> None:
        self.began = time.monotonic()
        self.child = subprocess.Popen(
            [sys.executable, str(_DOOR)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.client = Client(era, self.child.stdin.fileno(), self.child.stdout.fileno())

    def status(self) -> int:
        """How it ended; the backend was told so first."""
        _, err = self.child.communicate(timeout=20)
        assert err.split() == [b"close"]
        return self.child.returncode


@pytest.fixture
def process(request: pytest.FixtureRequest) -> Iterator[Process]:
    one = Process(getattr(request, "param", ERAS[-1]))
    yield one
    one.child.kill()
    one.child.communicate()


@pytest.mark.parametrize("process", ERAS, indirect=True)
def test_start_to_first_answer(process: Process) -> None:
    """Answered before anything upstream is there; the time is for the reader of the test's output."""
    assert "tools" in process.client.open().ask("tools/list")["result"]
    print(f"start to first list of tools: {(time.monotonic() - process.began) * 1000:.0f} ms")


def test_the_end_of_stdin_is_the_end_of_the_process(process: Process) -> None:
    process.client.ask("tools/list")
    process.client.say(process.client.call("never") + process.client.call("echo")[:-20])
    assert process.status() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_is_the_end_of_the_process(process: Process, number: int) -> None:
    """Also with a call in flight: the backend is told to end what it started."""
    process.client.ask("tools/list")
    process.client.say(process.client.call("never"))
    process.child.send_signal(number)
    process.child.send_signal(signal.SIGWINCH)
    assert process.status() == 128 + number


def test_other_signals_are_not_the_end(process: Process) -> None:
    process.client.ask("tools/list")
    process.child.send_signal(signal.SIGWINCH)
    process.child.send_signal(signal.SIGCHLD)
    assert process.client.ask("tools/list")["result"]


def test_nothing_else_prints_into_the_protocol_or_reads_from_it(process: Process) -> None:
    """What a prompt would read is the end of file, so no approval comes from the stream that an agent writes."""
    process.client.say(process.client.call("print", 1) + process.client.call("echo", 2))
    first = process.client.hear()
    assert first["result"]["structuredContent"] == {"tables": {"stdin": ""}}
    assert process.client.hear()["id"] == 2


def test_stdin_and_stdout_may_be_one_file_and_stay_as_they_were(tmp_path: Path) -> None:
    """A file as stdin is read to its end; the descriptor that others share blocks again afterwards."""
    client = Client(ERAS[-1], 0, 0)
    asked = tmp_path / "asked"
    asked.write_bytes(client.request("tools/list", number=1) + client.request("server/discover", number=2))
    with asked.open("rb") as source, (tmp_path / "told").open("wb") as sink:
        done = subprocess.run([sys.executable, str(_DOOR)], stdin=source, stdout=sink, check=False, timeout=20)
        assert os.get_blocking(sink.fileno())
    assert done.returncode == 0
    assert [json.loads(text)["id"] for text in (tmp_path / "told").read_text().splitlines()] == [1, 2]


def test_only_the_cheap_part_of_the_standard_library_is_imported() -> None:
    """The start is paid for by every session of an agent (docs/performance.md)."""
    done = subprocess.run(
        [sys.executable, "-I", "-c", _IMPORTS], capture_output=True, text=True, check=True, timeout=20
    )
    imported = set(done.stdout.split())
    assert not imported & _TOO_DEAR
    assert {name.split(".")[0] for name in imported} - sys.stdlib_module_names == {"gate"}
    assert {name for name in imported if name.startswith("gate.")} == {
        "gate.errors", "gate.world", "gate.mcp", "gate.mcp.answers", "gate.mcp.backend", "gate.mcp.catalogue",
        "gate.mcp.eras", "gate.mcp.output", "gate.mcp.schema", "gate.mcp.server", "gate.mcp.stdio", "gate.mcp.wire",
    }  # fmt: skip
