"""Files that no parser should meet, where the gate looks for a bundle or a selection: refused at once, nothing runs."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from system_kit import Project, last

from gate.demo.stage import DEV

Spoil = Callable[[Path], None]


def large(path: Path) -> None:
    path.write_bytes(b"# " + b"x" * (10 << 20) + b"\n")


def deep(path: Path) -> None:
    path.write_text("[" * 100_000)


def nul(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0\n")


def utf16(path: Path) -> None:
    path.write_bytes(path.read_text().encode("utf-16"))


def not_utf8(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"A=\xff\xfe\n")


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.fixture
def workspace(shared: Project) -> Path:
    """A folder with copies of the project's own files, to be spoilt."""
    work = shared.made.work
    made = work / f"spoilt-{time.monotonic_ns()}"
    made.mkdir()
    for name in ("gate.yaml", "gate.signers"):
        (made / name).write_bytes((work / name).read_bytes())
    (made / "policies").mkdir()
    for policy in (work / "policies").iterdir():
        (made / "policies" / policy.name).write_bytes(policy.read_bytes())
    (made / ".env.local").write_text(f"CONVEX_DEPLOYMENT=dev:{DEV}\n")
    return made


@pytest.mark.parametrize("spoil", [large, deep, nul, utf16, not_utf8, loop, pipe, folder, device])
def test_a_spoilt_gate_yaml_is_invalid_and_runs_nothing(shared: Project, workspace: Path, spoil: Spoil) -> None:
    spoil(workspace / "gate.yaml")
    started, reached = time.monotonic(), len(shared.made.dev.requests)
    came = shared.gate("convex", "run", "messages:list", cwd=workspace)
    assert (came.code, last(came)) == (78, "config_invalid"), came.err
    assert "gate.yaml:" in came.err
    assert len(came.err) < 4000
    assert len(shared.made.dev.requests) == reached
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("name", ["gate.signers", "policies/production.yaml"])
@pytest.mark.parametrize("spoil", [large, nul, utf16, loop, pipe, folder])
def test_a_bundle_with_a_spoilt_file_is_not_activated(
    shared: Project, workspace: Path, name: str, spoil: Spoil
) -> None:
    spoil(workspace / name)
    came = shared.gate("activate", "--key", str(shared.made.person), cwd=workspace)
    assert (came.code, last(came)) == (78, "config_invalid"), came.err
    assert name in came.err


@pytest.mark.parametrize("name", [".env.local", ".env"])
@pytest.mark.parametrize("spoil", [large, loop, pipe, folder, device])
def test_an_env_file_that_cannot_be_taken_is_refused(shared: Project, workspace: Path, name: str, spoil: Spoil) -> None:
    (workspace / name).touch()
    spoil(workspace / name)
    reached = len(shared.made.dev.requests)
    came = shared.gate("convex", "run", "messages:list", cwd=workspace)
    assert (came.code, last(came)) == (77, "bad_env_file"), came.err
    assert len(shared.made.dev.requests) == reached


@pytest.mark.parametrize("spoil", [nul, utf16, not_utf8])
def test_an_env_file_in_no_text_of_ours_never_selects_another_deployment(
    shared: Project, workspace: Path, spoil: Spoil
) -> None:
    spoil(workspace / ".env.local")
    came = shared.gate("convex", "run", "messages:list", cwd=workspace)
    assert came.code == 77 or " dev " in came.err, came.err
    assert shared.made.prod.requests == []


def test_an_env_file_option_that_names_a_pipe_does_not_hang(shared: Project, workspace: Path) -> None:
    os.mkfifo(workspace / "named")
    came = shared.gate("convex", "deploy", "--env-file", "named", cwd=workspace)
    assert (came.code, last(came)) == (77, "bad_env_file"), came.err


def test_words_that_are_no_text_are_refused_without_a_trace(shared: Project, workspace: Path) -> None:
    for word in ("\udcff\udcfe", "a\nb", "\x1b[2J"):
        came = shared.gate("convex", "run", word, cwd=workspace)
        assert came.code in (64, 77), came.err
        assert "Traceback" not in came.err
        assert "\x1b" not in came.err
