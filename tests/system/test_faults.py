"""What goes away in the middle: keeper, door, ledger, bundle. Access goes with it, and the record stays whole."""

import http.client
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from system_kit import Live, Project, forge, gone, last, until

_QUICK = "console.log('ran');"


def use(live: Live) -> int:
    """Status that the proxy gives the lease's own credential; 0 when nothing listens there any more."""
    connection = http.client.HTTPConnection(live.host.removeprefix("http://"), timeout=5)
    headers = {"Authorization": f"Convex {live.key}", "Content-Type": "application/json"}
    body = json.dumps({"path": "messages:list", "args": [{}], "format": "json"})
    try:
        with closing(connection):
            connection.request("POST", "/api/function", body, headers)
            return connection.getresponse().status
    except OSError:
        return 0


def quick(project: Project) -> Path:
    return forge(project.made.work / "quick", _QUICK)


def verified(project: Project) -> bool:
    came = project.gate("audit", "verify", "--signers", "gate.signers")
    return came.code == 0


def test_a_killed_keeper_ends_access_and_child_and_leaves_a_whole_ledger(shared: Project) -> None:
    before = shared.events()[-1]["seq"]
    with shared.live() as live:
        assert use(live) == 200
        started = time.monotonic()
        shared.kill_keeper()
        code, err = live.ended()
        assert code == 76
        assert err.strip().endswith("gate: cut: the keeper is gone")
        assert time.monotonic() - started < 10
        assert gone(live.child)
        assert use(live) == 0
    assert list(shared.outcomes(before).values()) == [["unknown"]]
    assert verified(shared)


def test_a_stopped_keeper_ends_what_runs(shared: Project) -> None:
    before = shared.events()[-1]["seq"]
    with shared.live() as live:
        assert shared.gate("keeper", "stop").code == 0
        code, _ = live.ended()
        assert code == 76
        assert gone(live.child)
    assert [len(outcomes) for outcomes in shared.outcomes(before).values()] == [1]


def test_killed_at_any_moment_each_run_has_one_outcome(shared: Project) -> None:
    before = shared.events()[-1]["seq"]
    folder, chance = quick(shared), random.Random(20260219)
    codes = []
    for _ in range(10):
        shared.ensure_keeper()
        pid = shared.keeper_pid()
        with shared.door("convex", "run", "messages:list", cwd=folder) as door:
            time.sleep(chance.uniform(0, 0.25))
            os.kill(pid, signal.SIGKILL)
            door.communicate(timeout=20)
            codes.append(door.returncode)
        assert until(lambda killed=pid: gone(killed))  # type: ignore[misc]
    assert set(codes) <= {0, 74, 76}, codes
    outcomes = shared.outcomes(before)
    assert [found for found in outcomes.values() if len(found) != 1] == []
    assert verified(shared)


def test_a_killed_door_ends_access_within_a_second(shared: Project) -> None:
    before = shared.events()[-1]["seq"]
    with shared.live() as live:
        assert use(live) == 200
        live.process.kill()
        assert until(lambda: use(live) not in (200, 0), seconds=1)
        reached = len(shared.made.dev.requests)
        assert use(live) in (403, 560)
        assert len(shared.made.dev.requests) == reached
        os.kill(live.child, signal.SIGKILL)
    assert until(lambda: list(shared.outcomes(before).values()) == [["unknown"]])


def test_a_stopped_door_keeps_its_lease(shared: Project) -> None:
    with shared.live() as live:
        live.process.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        assert use(live) == 200
        live.process.send_signal(signal.SIGCONT)
        live.process.send_signal(signal.SIGTERM)
        assert live.ended()[0] == 128 + signal.SIGTERM


def test_a_bundle_without_the_deployment_cuts_what_runs_there(project: Project) -> None:
    with project.live() as live:
        config = project.made.work / "gate.yaml"
        lines = config.read_text().splitlines(keepends=True)
        config.write_text("".join(line for line in lines if not line.startswith("  dev: ")))
        assert project.gate("activate", "--key", str(project.made.person)).code == 0
        code, err = live.ended()
        assert code == 76
        assert "the activated bundle changed" in err
        assert gone(live.child)
        assert use(live) == 403 or use(live) == 560
    assert list(project.outcomes().values()) == [["cut"]]
    assert last(project.gate("convex", "run", "messages:list")) == "unknown_deployment"


def test_an_activation_that_changes_nothing_for_a_run_leaves_it_alone(project: Project) -> None:
    with project.live() as live:
        config = project.made.work / "gate.yaml"
        config.write_text(config.read_text().replace("  human:ada:", "  human:lee: {groups: [leads]}\n  human:ada:"))
        assert project.gate("activate", "--key", str(project.made.person)).code == 0
        assert use(live) == 200
        live.process.send_signal(signal.SIGTERM)
        assert live.ended()[0] == 128 + signal.SIGTERM


def replaced(project: Project) -> None:
    """Put an equal copy where the ledger was."""
    beside = project.ledger.with_name("copy")
    shutil.copy(project.ledger, beside)
    beside.replace(project.ledger)


def taken(project: Project) -> None:
    """Move the ledger away for a moment that is longer than the keeper's own look at it."""
    away = project.state / "away"
    project.ledger.rename(away)
    time.sleep(1.5)
    away.rename(project.ledger)


@pytest.mark.parametrize("harm", [replaced, taken])
def test_a_ledger_that_goes_away_under_a_run_cuts_it_without_any_call(
    project: Project, harm: Callable[[Project], None]
) -> None:
    folder = quick(project)
    with project.live() as live:
        started = time.monotonic()
        harm(project)
        ended, err = live.ended()
        assert ended == 76
        assert "ledger" in err
        assert time.monotonic() - started < 15
        assert gone(live.child)
        assert use(live) != 200
    assert project.gate("convex", "run", "messages:list", cwd=folder).code == 0
    assert sorted(project.outcomes().values()) == [["ok"], ["unknown"]]
    assert verified(project)


def locked(project: Project) -> Callable[[], None]:
    connection = sqlite3.connect(project.ledger, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection.close


def without_room(project: Project) -> Callable[[], None]:
    pid, limit = project.keeper_pid(), resource.RLIMIT_FSIZE
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (1024, before[1]))

    def mend() -> None:
        resource.prlimit(pid, limit, before)

    return mend


@pytest.mark.parametrize("harm", [locked, without_room])
def test_a_ledger_that_cannot_be_written_cuts_and_refuses_until_mended(
    project: Project, harm: Callable[[Project], Callable[[], None]]
) -> None:
    folder = quick(project)
    with project.live() as live:
        mend = harm(project)
        came = project.gate("convex", "run", "messages:list", cwd=folder)
        assert came.code == 74
        assert last(came) == "ledger_unavailable"
        assert "ran" not in came.out
        ended, err = live.ended()
        assert ended == 76
        assert "ledger" in err
        assert gone(live.child)
        assert use(live) != 200
    mend()
    assert until(lambda: project.gate("convex", "run", "messages:list", cwd=folder).code == 0)
    assert sorted(project.outcomes().values()) == [["ok"], ["unknown"]]
    assert verified(project)


def test_a_ledger_that_was_written_by_another_is_refused_for_good(project: Project) -> None:
    with closing(sqlite3.connect(project.ledger)) as connection:
        connection.executescript("DROP TRIGGER events_append_only_update; UPDATE events SET type = 'x' WHERE seq = 2;")
    for _ in range(2):
        came = project.gate("convex", "run", "messages:list")
        assert came.code == 74
        assert last(came) == "ledger_tampered"
    assert "POST /api/function" not in project.made.dev.paths()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a folder read-only in a namespace of its own")
def test_a_read_only_ledger_runs_nothing(project: Project) -> None:
    folder = quick(project)
    assert project.gate("keeper", "stop").code == 0
    mounts = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounts, "sh", str(project.state / "demo"),
         sys.executable, "-I", "-m", "gate", "convex", "run", "messages:list"],
        cwd=folder, env=project.environment(), capture_output=True, text=True, check=False, timeout=30,
    )  # fmt: skip
    assert done.returncode == 74, done.stderr
    assert "gate: ledger_unavailable:" in done.stderr
    assert "ran" not in done.stdout


def at_once(project: Project, count: int, *words: str, cwd: Path) -> list[int]:
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(project.gate(*words, cwd=cwd).code)) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return codes


def test_sixteen_doors_at_once_are_all_served_and_recorded(shared: Project) -> None:
    before = shared.events()[-1]["seq"]
    assert at_once(shared, 16, "convex", "run", "messages:list", cwd=quick(shared)) == [0] * 16
    assert list(shared.outcomes(before).values()) == [["ok"]] * 16
    assert verified(shared)


def keepers(state: Path) -> list[int]:
    """Every keeper of the state folder `state` that this process may look at."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
            if b"keeper" in words and f"GATE_HOME={state}".encode() in (place / "environ").read_bytes().split(b"\0"):
                found.append(int(place.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may see whose keeper a process is")
def test_eight_doors_without_a_keeper_start_exactly_one(shared: Project) -> None:
    before = shared.events()[-1]["seq"]
    folder = quick(shared)
    shared.kill_keeper()
    assert at_once(shared, 8, "convex", "run", "messages:list", cwd=folder) == [0] * 8
    assert until(lambda: keepers(shared.state) == [shared.keeper_pid()])
    assert list(shared.outcomes(before).values()) == [["ok"]] * 8


def test_a_stale_socket_or_any_file_in_its_place_is_recovered(shared: Project) -> None:
    shared.kill_keeper()
    assert (shared.state / "keeper.sock").is_socket()
    assert shared.gate("whoami").code == 0
    shared.kill_keeper()
    (shared.state / "keeper.sock").unlink()
    (shared.state / "keeper.sock").write_text("no socket")
    assert shared.gate("whoami").code == 0


def test_a_keeper_whose_socket_was_taken_away_ends_and_another_takes_over(shared: Project) -> None:
    before = shared.keeper_pid()
    (shared.state / "keeper.sock").unlink()
    assert until(lambda: gone(before))
    assert shared.gate("whoami").code == 0
    assert shared.keeper_pid() != before


def test_an_idle_keeper_ends_but_not_under_a_door(shared: Project) -> None:
    shared.gate("keeper", "stop")
    with shared.door("keeper", "run", "--idle-seconds", "0.5") as keeper:
        assert until((shared.state / "keeper.sock").exists)
        with shared.live() as live:
            time.sleep(1.5)
            assert keeper.poll() is None
            live.process.send_signal(signal.SIGTERM)
            live.ended()
        assert keeper.wait(timeout=5) == 0
    assert not (shared.state / "keeper.sock").exists()


def test_a_door_of_another_version_is_told_to_stop_the_keeper_and_can(shared: Project) -> None:
    shared.ensure_keeper()
    error = shared.ask("whoami", version="0.0.0")["error"]
    assert (error["code"], error["exit"]) == ("keeper_unavailable", 74)
    assert error["remedy"]["argv"] == ["gate", "keeper", "stop"]
    pid = shared.keeper_pid()
    assert shared.ask("status", version="0.0.0")["result"]["pid"] == pid
    assert shared.ask("stop", version="0.0.0")["result"]["stopping"] is True
    assert until(lambda: gone(pid))


def test_a_state_folder_too_deep_for_a_socket_address_works(shared: Project) -> None:
    deep = shared.made.folder / ("d" * 60) / ("e" * 60)
    assert shared.gate("whoami", GATE_HOME=str(deep)).code == 0
    assert shared.gate("keeper", "stop", GATE_HOME=str(deep)).code == 0


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_state_folder_that_others_may_enter_is_refused(shared: Project, mode: int) -> None:
    folder = shared.made.folder / f"open-{mode:o}"
    folder.mkdir()
    folder.chmod(mode)
    came = shared.gate("convex", "--version", GATE_HOME=str(folder))
    assert came.code == 74
    assert last(came) == "keeper_unavailable"
    assert "1.48.0" not in came.out


def test_a_state_folder_behind_a_link_is_refused(shared: Project) -> None:
    link = shared.made.folder / "link"
    link.symlink_to(shared.state)
    shared.gate("keeper", "stop")
    assert last(shared.gate("whoami", GATE_HOME=str(link))) == "keeper_unavailable"


def test_noise_on_the_socket_is_refused_and_harms_nobody(shared: Project) -> None:
    shared.ensure_keeper()
    pid = shared.keeper_pid()
    for noise in (b"\xff\xff\xff\xff", b"\0\0\0\x05[1,2]", b"\0\0\0\x02{}", b"\0\0", bytes(range(256)) * 16):
        with shared.connect() as connection:
            connection.sendall(noise)
            connection.shutdown(1)
            connection.recv(65536)
    assert shared.keeper_pid() == pid


_OPERATIONS = (
    "run", "explain", "whoami", "doctor", "init", "activate.prepare", "activate.commit", "key.set",
    "audit.tail", "audit.show", "audit.export", "bundle.paths", "status.", "",
)  # fmt: skip
_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=3)
_NAMES = st.sampled_from(
    ("env", "files", "statement", "signatures", "custody", "key", "count", "id", "after", "human", "convex_json")
)


@pytest.mark.parametrize("op", _OPERATIONS)
def test_an_operation_with_nonsense_is_refused_as_usage(shared: Project, op: str) -> None:
    shared.ensure_keeper()
    nonsense: list[dict[str, object]] = [
        {},
        {"gate_yaml": 7},
        {"invocation": []},
        {"invocation": {"argv": 1}},
        {"gate_yaml": "gate: 1"},
    ]
    for members in nonsense:
        proper(shared.ask(op, members))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(op=st.sampled_from(_OPERATIONS), members=st.dictionaries(_NAMES, _JSON))
def test_members_of_any_type_never_make_the_keeper_fail(shared: Project, op: str, members: dict[str, object]) -> None:
    shared.ensure_keeper()
    yaml = (shared.made.work / "gate.yaml").read_text()
    proper(shared.ask(op, {"gate_yaml": yaml, **members}))


def proper(answer: dict[str, Any]) -> None:
    """An answer of the protocol, whose refusal is about the message and not about the keeper."""
    assert answer.keys() <= {"result", "error"}
    if "error" in answer:
        assert answer["error"]["code"] in ("usage", "config_invalid", "custody_failed", "bundle_changed"), answer
