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

import pytest
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


def test_a_killed_keeper_ends_access_and_child_and_leaves_a_whole_ledger(project: Project) -> None:
    with project.live() as live:
        assert use(live) == 200
        started = time.monotonic()
        project.kill_keeper()
        code, err = live.ended()
        assert code == 76
        assert err.strip().endswith("gate: cut: the keeper is gone")
        assert time.monotonic() - started < 2
        assert gone(live.child)
        assert use(live) == 0
    assert list(project.outcomes().values()) == [["unknown"]]
    assert verified(project)


def test_a_stopped_keeper_ends_what_runs(project: Project) -> None:
    with project.live() as live:
        assert project.gate("keeper", "stop").code == 0
        code, _ = live.ended()
        assert code == 76
        assert gone(live.child)
    assert [len(outcomes) for outcomes in project.outcomes().values()] == [1]


def test_killed_at_any_moment_each_run_has_one_outcome(project: Project) -> None:
    folder, chance = quick(project), random.Random(20260219)
    codes = []
    for _ in range(10):
        pid = project.keeper_pid() if project.gate("whoami").code == 0 else 0
        with project.door("convex", "run", "messages:list", cwd=folder) as door:
            time.sleep(chance.uniform(0, 0.25))
            os.kill(pid, signal.SIGKILL)
            door.communicate(timeout=20)
            codes.append(door.returncode)
        assert until(lambda killed=pid: gone(killed))  # type: ignore[misc]
    assert set(codes) <= {0, 74, 76}, codes
    outcomes = project.outcomes()
    assert [found for found in outcomes.values() if len(found) != 1] == []
    assert verified(project)


def test_a_killed_door_ends_access_within_a_second(project: Project) -> None:
    with project.live() as live:
        assert use(live) == 200
        reached = len(project.made.dev.requests)
        live.process.kill()
        assert until(lambda: use(live) not in (200, 0), seconds=1)
        assert len(project.made.dev.requests) - reached <= 1 + 50
        os.kill(live.child, signal.SIGKILL)
    assert until(lambda: list(project.outcomes().values()) == [["unknown"]])


def test_a_stopped_door_keeps_its_lease(project: Project) -> None:
    with project.live() as live:
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


def replaced(project: Project) -> Callable[[], None]:
    beside = project.ledger.with_name("copy")
    shutil.copy(project.ledger, beside)
    beside.replace(project.ledger)
    return lambda: None


def locked(project: Project) -> Callable[[], None]:
    connection = sqlite3.connect(project.ledger, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection.close


def without_room(project: Project) -> Callable[[], None]:
    pid, limit = project.keeper_pid(), resource.RLIMIT_FSIZE
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (1024, before[1]))
    return lambda: resource.prlimit(pid, limit, before) and None


@pytest.mark.parametrize(
    ("harm", "code"),
    [(replaced, "ledger_tampered"), (locked, "ledger_unavailable"), (without_room, "ledger_unavailable")],
)
def test_a_ledger_that_cannot_be_written_cuts_and_refuses_until_mended(
    project: Project, harm: Callable[[Project], Callable[[], None]], code: str
) -> None:
    folder = quick(project)
    with project.live() as live:
        mend = harm(project)
        came = project.gate("convex", "run", "messages:list", cwd=folder)
        assert came.code == 74
        assert last(came) == code
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
    assert project.made.dev.requests == []


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


def test_sixteen_doors_at_once_are_all_served_and_recorded(project: Project) -> None:
    assert at_once(project, 16, "convex", "run", "messages:list", cwd=quick(project)) == [0] * 16
    assert list(project.outcomes().values()) == [["ok"]] * 16
    assert verified(project)


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
def test_eight_doors_without_a_keeper_start_exactly_one(project: Project) -> None:
    folder = quick(project)
    project.kill_keeper()
    assert at_once(project, 8, "convex", "run", "messages:list", cwd=folder) == [0] * 8
    assert until(lambda: keepers(project.state) == [project.keeper_pid()])
    assert list(project.outcomes().values()) == [["ok"]] * 8


def test_a_stale_socket_or_any_file_in_its_place_is_recovered(project: Project) -> None:
    project.kill_keeper()
    assert (project.state / "keeper.sock").is_socket()
    assert project.gate("whoami").code == 0
    project.kill_keeper()
    (project.state / "keeper.sock").unlink()
    (project.state / "keeper.sock").write_text("no socket")
    assert project.gate("whoami").code == 0


def test_a_keeper_whose_socket_was_taken_away_ends_and_another_takes_over(project: Project) -> None:
    before = project.keeper_pid()
    (project.state / "keeper.sock").unlink()
    assert until(lambda: gone(before))
    assert project.gate("whoami").code == 0
    assert project.keeper_pid() != before


def test_an_idle_keeper_ends_but_not_under_a_door(project: Project) -> None:
    project.gate("keeper", "stop")
    with project.door("keeper", "run", "--idle-seconds", "0.5") as keeper:
        assert until(lambda: (project.state / "keeper.sock").exists())
        with project.live() as live:
            time.sleep(1.5)
            assert keeper.poll() is None
            live.process.send_signal(signal.SIGTERM)
            live.ended()
        assert keeper.wait(timeout=5) == 0
    assert not (project.state / "keeper.sock").exists()


def test_a_door_of_another_version_is_told_to_stop_the_keeper_and_can(shared: Project) -> None:
    assert shared.gate("whoami").code == 0
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


@pytest.mark.parametrize("mode", [0o755, 0o710, 0o702])
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
    shared.gate("whoami")
    pid, chance = shared.keeper_pid(), random.Random(1)
    for noise in (b"\xff\xff\xff\xff", b"\0\0\0\x05[1,2]", b"\0\0\0\x02{}", b"\0\0", chance.randbytes(4096)):
        with shared.connect() as connection:
            connection.sendall(noise)
            connection.shutdown(1)
            connection.recv(65536)
    assert shared.keeper_pid() == pid


@pytest.mark.parametrize(
    "op", ["run", "explain", "whoami", "doctor", "init", "activate.prepare", "activate.commit", "key.set",
           "audit.tail", "audit.show", "audit.export", "bundle.paths", "status.", ""],
)  # fmt: skip
@pytest.mark.parametrize("members", [{}, {"gate_yaml": 7}, {"invocation": []}, {"invocation": {"argv": 1}}])
def test_an_operation_with_nonsense_is_a_usage_error(shared: Project, op: str, members: dict[str, object]) -> None:
    shared.gate("whoami")
    answer = shared.ask(op, **members)
    if "error" in answer:
        assert answer["error"]["code"] in ("usage", "config_invalid", "denied_by_rule"), answer
