"""A keeper under a user of its own: what would be done, what is refused, and one real installation without systemd."""

import json
import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, strategies as st

from gate.cli.convex import Options
from gate.cli.keeper import keeper
from gate.errors import GateError
from gate.keeper import install, unit
from gate.keeper.install import Command, File, Found, Step

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).parent / "install_for_real.sh"
PIP_OPTIONS = ("--no-input", "--disable-pip-version-check", "--no-cache-dir", "--quiet")
NEW = Found(user=False, trust=False)
THERE = Found(user=True, trust=True)
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can install")


def argvs(steps: list[Step]) -> list[tuple[str, ...]]:
    return [step.argv for step in steps if isinstance(step, Command)]


def files(steps: list[Step]) -> dict[str, str]:
    return {step.path: step.text for step in steps if isinstance(step, File)}


def plan(found: Found = NEW, *, container: bool = False) -> list[Step]:
    return install.plan("gate", "/usr/bin/python3.11", "/src/gate.whl", found, container=container)


def call(*words: str, as_json: bool = False) -> tuple[object, str]:
    """Exception (None: none) and stdout of `gate keeper WORDS`."""
    ran = CliRunner().invoke(keeper, words, obj=Options(as_json))
    return ran.exception, ran.stdout


def test_everything_is_planned_in_the_order_in_which_it_is_needed() -> None:
    """The user before its folders, the interpreter before the package, the unit before its start."""
    words = [" ".join(argv) for argv in argvs(plan())]
    assert words == [
        "useradd --system --user-group --no-create-home --home-dir /var/lib/gate --shell /usr/sbin/nologin gate",
        "/usr/bin/python3.11 -I -m venv --clear /opt/gate",
        f"/opt/gate/bin/python -I -m pip install {' '.join(PIP_OPTIONS)} /src/gate.whl",
        "install -d -m 0755 -o root -g root /etc/gate",
        "install -d -m 0700 -o gate -g gate /var/lib/gate",
        "install -d -m 0755 -o gate -g gate /run/gate",
        "systemctl daemon-reload",
        "systemctl enable --quiet gate-keeper.service",
        "systemctl restart gate-keeper.service",
    ]
    assert files(plan()) == {
        "/etc/gate/trust": "",
        "/etc/systemd/system/gate-keeper.service": unit.unit_text("gate"),
    }


def test_what_is_there_is_kept() -> None:
    """The pins above all: they are a person's word about whom to trust."""
    steps = plan(THERE)
    assert "/etc/gate/trust" not in files(steps)
    assert all("useradd" not in argv for argv in argvs(steps))
    assert all("/etc/gate/trust" not in argv for argv in argvs(steps))


def test_a_container_gets_all_but_the_service() -> None:
    assert plan(container=True) == plan()[:-4]
    assert not any("systemctl" in argv for argv in argvs(plan(container=True)))


def test_the_unit_is_isolated_and_hardened() -> None:
    lines = unit.unit_text("vault").splitlines()
    assert {
        "ExecStart=/opt/gate/bin/python -I -m gate keeper run --idle-seconds 1000000000",
        "User=vault",
        "Group=vault",
        "Environment=GATE_HOME=/var/lib/gate",
        "Environment=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ReadWritePaths=/var/lib/gate /run/gate",
        "PrivateTmp=yes",
        "UMask=0077",
        "Restart=always",
        "RuntimeDirectory=gate",
    } <= set(lines)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / unit.SERVICE
    path.write_text(unit.unit_text("root").replace(unit.PYTHON, "/bin/true"))
    ran = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)], capture_output=True, text=True, check=False
    )
    if "gate-keeper" not in ran.stderr and ran.returncode != 0:
        pytest.skip("systemd-analyze cannot work here")
    assert (ran.returncode, ran.stderr) == (0, "")


def test_removal_keeps_state_pins_and_user() -> None:
    """What was recorded outlives the program that recorded it."""
    words = [" ".join(argv) for argv in argvs(install.removal(service=True))]
    assert words == [
        "systemctl disable --now gate-keeper.service",
        "rm -f -- /etc/systemd/system/gate-keeper.service",
        "systemctl daemon-reload",
        "rm -rf -- /run/gate",
        "rm -rf -- /opt/gate",
    ]
    assert argvs(install.removal(service=False)) == [tuple(line.split()) for line in words[3:]]


@pytest.mark.parametrize(
    "name", ["", "Gate", "-gate", "ga te", "gate\nUser=root", "a" * 32, "gate:x", "../gate", "0gate", "gate\n"]
)
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(GateError, match="no name for a system user"):
        install.look(name)


@given(st.text(max_size=40))
def test_no_name_reaches_the_unit_as_anything_but_a_word(name: str) -> None:
    """Whatever `look` lets through is one word of plain letters."""
    try:
        install.look(name)
    except GateError:
        return
    assert name.replace("-", "a").replace("_", "a").isalnum()
    assert name.isascii()


def test_a_user_that_people_log_in_as_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its processes would be the keeper's own: nothing would be enforced."""
    assert install.look("no-such-user-here").user is False
    with pytest.raises(GateError, match="is root or a person"):
        install.look("root")
    daemon = pwd.getpwnam("daemon")
    assert install.look("daemon").user is True
    person = pwd.struct_passwd((*daemon[:2], 1000, *daemon[3:]))
    monkeypatch.setattr(pwd, "getpwnam", lambda _: person)
    with pytest.raises(GateError, match="uid 1000"):
        install.look("daemon")


@as_root
def test_only_an_interpreter_that_is_roots_alone_is_used(tmp_path: Path) -> None:
    """Whoever can change it, or a folder above it, would be the keeper."""
    trusted = Path("/usr/bin/env").resolve()
    assert install.trusted_python("/usr/bin/env") == str(trusted)
    theirs = tmp_path / "python"
    theirs.touch(mode=0o755)
    os.chown(theirs, 12345, 12345)
    with pytest.raises(GateError, match="belongs to another user"):
        install.trusted_python(str(theirs))
    os.chown(theirs, 0, 0)
    theirs.chmod(0o775)
    with pytest.raises(GateError, match="can be changed by others"):
        install.trusted_python(str(theirs))
    theirs.chmod(0o700)
    with pytest.raises(GateError, match="cannot be reached by others"):
        install.trusted_python(str(theirs))
    theirs.chmod(0o755)
    # Now it is the folders above: the system's /tmp is everybody's.
    with pytest.raises(GateError, match=r"/tmp|pytest"):
        install.trusted_python(str(theirs))
    (tmp_path / "link").symlink_to(theirs)
    with pytest.raises(GateError, match=r"/tmp|pytest"):
        install.trusted_python(str(tmp_path / "link"))


def test_an_interpreter_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="cannot be used") as refused:
        install.trusted_python(str(tmp_path / "none"))
    assert "--python" in refused.value.remedy
    assert Path(install.base_python()).exists()


def test_the_source_is_named_or_the_index_that_this_version_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout's name may be somebody else's on an index, and root would install that."""
    wheel = tmp_path / "gate.whl"
    wheel.touch()
    monkeypatch.chdir(tmp_path)
    assert install.package_source("gate.whl") == str(wheel)
    with pytest.raises(GateError, match="nothing at the path"):
        install.package_source("--index-url=https://evil.example")
    info = tmp_path / "convex_gate-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.4\nName: convex-gate\nVersion: 0.1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert install.package_source(None) == "convex-gate==0.1.0"
    (info / "direct_url.json").write_text('{"url": "file:///src", "dir_info": {}}')
    with pytest.raises(GateError, match="not installed from a package index"):
        install.package_source(None)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "empty")])
    with pytest.raises(GateError, match="not installed from a package index"):
        install.package_source(None)


def test_other_systems_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install.insist_on_linux()
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(GateError) as refused:
        install.insist_on_linux()
    assert refused.value.code == "unsupported_platform"


def test_a_dry_run_prints_everything_and_does_nothing(tmp_path: Path) -> None:
    """Texts of files included: what is reviewed is what would be written."""
    before = {path: Path(path).exists() for path in ("/opt/gate", "/run/gate", unit.UNIT)}
    words = ["install", "--dry-run", "--user", "no-such-user-here", "--python", "/usr/bin/env", "--from", str(tmp_path)]
    failed, out = call(*words)
    assert failed is None
    assert "useradd --system" in out
    assert all(f"  | {line}" in out for line in unit.unit_text("no-such-user-here").splitlines())
    assert "setpriv" not in out
    failed, out = call(*words, "--container")
    assert failed is None
    assert "systemctl" not in out
    assert "note: as the entry point: setpriv --reuid no-such-user-here" in out
    failed, out = call(*words, as_json=True)
    result = json.loads(out)
    assert (failed, result["done"]) == (None, False)
    assert result["steps"][0]["argv"][0] == "useradd"
    assert {step["path"] for step in result["steps"] if "path" in step} >= {unit.UNIT}
    failed, out = call("uninstall", "--dry-run")
    assert failed is None
    assert "rm -rf -- /opt/gate" in out
    assert before == {path: Path(path).exists() for path in before}


def test_only_root_may_take_the_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    made = tmp_path / "made"
    with pytest.raises(GateError, match="only root"):
        install.perform([File("x", str(made), "")], print)
    assert not made.exists()


@as_root
def test_steps_are_told_before_they_are_taken_and_the_first_failure_is_the_last(tmp_path: Path) -> None:
    told: list[str] = []
    steps: list[Step] = [
        File("a file", str(tmp_path / "file"), "text\n"),
        Command("it fails", ("sh", "-c", "echo out; umask; pwd; exit 3")),
        File("another", str(tmp_path / "never"), ""),
    ]
    with pytest.raises(GateError, match="it fails: sh ended with status 3") as refused:
        install.perform(steps, told.append)
    assert refused.value.code == "keeper_unavailable"
    assert told == ["a file", f"  > {tmp_path / 'file'}", "it fails", "  $ sh -c 'echo out; umask; pwd; exit 3'"]
    assert (tmp_path / "file").read_text() == "text\n"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644
    assert not (tmp_path / "never").exists()


@as_root
def test_what_cannot_be_done_is_said(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="could not be started"):
        Command("x", (str(tmp_path / "no-program"),)).perform()
    with pytest.raises(GateError, match="could not be written"):
        File("x", str(tmp_path / "no" / "folder"), "").perform()
    victim = tmp_path / "victim"
    victim.write_text("kept")
    (tmp_path / "file.new").symlink_to(victim)
    with pytest.raises(GateError, match="could not be written"):
        File("x", str(tmp_path / "file"), "other").perform()
    assert victim.read_text() == "kept"


def test_commands_run_away_from_the_callers_surroundings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither its PATH nor what its Python would load is root's; what pip reads of a mirror stays."""
    (tmp_path / "env").write_text("#!/bin/sh\necho hijacked\n")
    (tmp_path / "env").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    Command("x", ("sh", "-c", "pwd; umask; env")).perform()
    out, err = capfd.readouterr()
    assert out == ""
    assert err.splitlines()[:2] == ["/", "0022"]
    assert "hijacked" not in err
    assert str(tmp_path) not in err.replace("PWD=", "")
    assert "PIP_INDEX_URL=https://mirror.example/simple" in err


@pytest.mark.slow
@as_root
def test_a_real_installation_enforces(tmp_path: Path) -> None:
    """In a mount namespace of its own: installed twice, run by its entry point, asked by another user, removed."""
    ran = subprocess.run(
        ["unshare", "-m", "sh", "-eu", str(SCRIPT), str(tmp_path), sys.executable, str(ROOT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd="/",
    )
    if ran.returncode == 77:
        pytest.skip(ran.stderr)
    assert ran.returncode == 0, ran.stderr
    said = dict(line.split("=", 1) for line in ran.stdout.splitlines() if "=" in line)
    decision = json.loads(said["decision"])
    assert decision["enforcement"] == "enforced"
    assert json.loads(said["as-root"])["enforcement"] == "advisory"
    assert said["state-mode"] == "700 gate"
    assert said["trust"] == "kept sha256:00"
    assert said["environment-of-others"] == ""
    assert said["spied"] == "refused"
    assert said["left"] == "/etc/gate/trust /var/lib/gate"
    assert not Path("/opt/gate").exists()
    assert not Path("/run/gate").exists()
