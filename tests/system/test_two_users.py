"""A keeper under a user of its own, and callers who are somebody else: what they can reach, and what they cannot.

Everything is mounted in a namespace of its own: nothing of this machine's /etc, /run or /var/lib is touched.
"""

import http.client
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from production_kit import POLICY, PROD_ENV, Production
from system_kit import Project, last, until, waiting

from gate import __version__
from gate.demo.stage import DEV_KEY, PROD_KEY, Came, Stage, stage
from gate.execution.ssh import sign

_NEEDS = ("unshare", "nsenter", "setpriv", "mount")
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, _NEEDS)), reason="becomes other users and mounts: wants root"
)

Shown = dict[str, Any]
KEEPER, CALLER, OTHER, OWNER, REVIEWER = 64001, 64002, 64003, 64004, 64005
_SECRETS = [key.rpartition("|")[2] for key in (DEV_KEY, PROD_KEY)]
_SET_UP = """\
set -e
own=$1 keeper=$2 covered=; shift 2
mount -t tmpfs -o mode=755 none "$own"
mkdir "$own/etc"
cp -a /etc/. "$own/etc"
mkdir -p "$own/etc/gate"
mount --bind "$own/etc" /etc
mount -t tmpfs -o mode=755 none /run
mount -t tmpfs -o mode=755 none /var/lib
mkdir -m 755 /run/gate
mkdir -m 700 /var/lib/gate
chown "$keeper" /run/gate /var/lib/gate
count=0
for pair in "$@"; do
    count=$((count + 1))
    mkdir "$own/$count"
    mount --bind "${pair#*:}" "$own/$count"
done
count=0
for pair in "$@"; do
    count=$((count + 1))
    case " $covered " in *" ${pair%%:*} "*) ;; *) mount -t tmpfs -o mode=755 none "${pair%%:*}" ;; esac
    covered="$covered ${pair%%:*}"
    mkdir -p "${pair#*:}"
    mount --bind "$own/$count" "${pair#*:}"
done
echo ready
exec sleep infinity
"""
_ASK = """\
import socket, sys, json
from gate.keeper import protocol
connection = socket.socket(socket.AF_UNIX)
connection.connect("/run/gate/keeper.sock")
protocol.send(connection, json.loads(sys.argv[1]))
print(json.dumps(protocol.receive(connection)))
"""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine of its own with an installed keeper, process `keeper`; `inside` is a process that stands in it."""

    made: Stage
    inside: int
    keeper: int

    def words(
        self, uid: int, *command: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
    ) -> list[str]:
        home = self.made.folder / f"home-{uid}"
        variables = {"PATH": os.environ["PATH"], "HOME": str(home), "GATE_PRINCIPAL": "agent:codex", **(env or {})}
        settings = [f"{name}={value}" for name, value in variables.items()]
        return [*become(self.inside, uid), "env", "-i", "-C", str(cwd or self.made.work), *settings, *command]

    def run(self, uid: int, *command: str, stdin: str = "", cwd: Path | None = None) -> Came:
        done = subprocess.run(
            self.words(uid, *command, cwd=cwd), input=stdin, capture_output=True, text=True, check=False, timeout=60
        )
        return Came(done.returncode, done.stdout, done.stderr)

    def gate(self, uid: int, *words: str, stdin: str = "", cwd: Path | None = None) -> Came:
        return self.run(uid, *Project.command(*words), stdin=stdin, cwd=cwd)

    def ask(self, uid: int, op: str, **members: object) -> Mapping[str, Mapping[str, object]]:
        yaml = (self.made.work / "gate.yaml").read_text()
        frame = json.dumps({"gate": __version__, "op": op, "gate_yaml": yaml, **members})
        came = self.run(uid, sys.executable, "-I", "-c", _ASK, frame)
        assert came.code == 0, came.err
        return dict(json.loads(came.out))

    def python(self, uid: int, script: str, *words: str) -> Came:
        return self.run(uid, sys.executable, "-I", "-c", script, *words)

    def trust(self, text: str | None) -> None:
        """What /etc/gate/trust of this machine says."""
        file = "/etc/gate/trust"
        put = f"rm -f {file}" if text is None else f"cat > {file} && chmod 644 {file}"
        subprocess.run(
            ["nsenter", "-t", str(self.inside), "-m", "sh", "-c", put], input=text or "", text=True, check=True
        )


def become(inside: int, uid: int) -> list[str]:
    """Words that run a command in the namespace of `inside` as `uid`, with no group or capability of root's."""
    user = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs"]
    return ["nsenter", "-t", str(inside), "-m", "--", *(user if uid else [])]


def closed(paths: list[Path]) -> list[str]:
    """For each of `paths` below a folder that others may not enter: that folder and the path, as `FOLDER:PATH`."""
    found = []
    for path in paths:
        shut = [folder for folder in reversed(path.parents) if not folder.stat().st_mode & stat.S_IXOTH]
        found += [f"{shut[0]}:{path}"] if shut else []
    return found


@contextmanager
def namespace(folder: Path) -> Iterator[int]:
    folder.mkdir()
    hidden = closed([Path(sys.base_prefix), Path(sys.prefix), Path(__file__).parents[2]])
    with subprocess.Popen(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", _SET_UP, "sh", str(folder), str(KEEPER), *hidden],
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
            yield holder.pid
        finally:
            holder.kill()


@contextmanager
def keeper_in(inside: int) -> Iterator[int]:
    environment = ["env", "-i", "-C", "/", "PATH=/usr/bin:/bin", "HOME=/", "GATE_HOME=/var/lib/gate"]
    command = Project.command("keeper", "run", "--idle-seconds", "1000000000")
    with subprocess.Popen([*become(inside, KEEPER), *environment, *command]) as keeper:
        try:
            socket = Path(f"/proc/{inside}/root/run/gate/keeper.sock")
            assert until(socket.exists, seconds=20)
            yield keeper.pid
        finally:
            keeper.kill()


def hand_over(made: Stage) -> None:
    """The workspace is the caller's, and each user has a home."""
    made.folder.chmod(0o755)
    for uid in (0, CALLER, OTHER, OWNER, REVIEWER):
        home = made.folder / f"home-{uid}"
        home.mkdir(mode=0o700)
        os.chown(home, uid, uid)
    for path in (made.work, *made.work.rglob("*")):
        os.chown(path, CALLER, CALLER, follow_symlinks=False)


def in_force(machine: Machine) -> Machine:
    """Let root activate the bundle and store the keys."""
    for words, stdin in (
        (("activate", "--key", str(machine.made.person)), ""),
        (("key", "set", "dev"), DEV_KEY),
        (("key", "set", "prod"), PROD_KEY),
    ):
        came = machine.gate(0, *words, stdin=stdin)
        assert came.code == 0, came.err
    return machine


@pytest.fixture(scope="module")
def machine(node_modules: Path) -> Iterator[Machine]:
    with stage(node_modules) as made, namespace(made.folder / "own") as inside, keeper_in(inside) as keeper:
        waiting(made.work / "waiting")
        hand_over(made)
        yield in_force(Machine(made, inside, keeper))


@contextmanager
def live(machine: Machine, uid: int = CALLER, name: str = "waiting") -> Iterator[tuple[subprocess.Popen[str], Shown]]:
    """A call of `uid` in the folder `name` that runs until it is ended, and what its child shows."""
    words = machine.words(uid, *Project.command("convex", "run", "messages:list"), cwd=machine.made.work / name)
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.terminate()


def test_a_call_through_it_is_enforced_and_only_the_keeper_has_the_key(machine: Machine) -> None:
    came = machine.gate(CALLER, "convex", "run", "messages:list")
    assert (came.code, came.out) == (0, "[]\n"), came.err
    assert "dev (enforced)" in came.err
    assert {request.key for request in machine.made.dev.requests if request.key} == {DEV_KEY}
    left = [path.read_bytes() for path in machine.made.work.rglob("*") if path.is_file()]
    left += [path.read_bytes() for path in (machine.made.folder / f"home-{CALLER}").rglob("*") if path.is_file()]
    assert not any(secret.encode() in data for secret in _SECRETS for data in left)


def test_root_as_the_caller_is_advisory(machine: Machine) -> None:
    assert "(advisory)" in machine.gate(0, "convex", "--version").err


def test_a_caller_with_a_keeper_home_of_its_own_still_meets_the_installed_one(machine: Machine) -> None:
    words = machine.words(CALLER, *Project.command("--json", "whoami"), env={"GATE_HOME": "/tmp/of-the-caller"})
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["keeper"]["uid"] == KEEPER
    assert json.loads(done.stdout)["enforcement"] == "enforced"


@pytest.mark.parametrize(
    "path",
    ["", "/demo", "/demo/ledger.db", "/demo/keys/dev", "/demo/keys/prod", "/demo/genesis", "/keeper.lock"],
)
def test_no_file_of_the_keepers_can_be_read_or_written(machine: Machine, path: str) -> None:
    where = "/var/lib/gate" + path
    assert machine.run(0, "test", "-e", where).code == 0
    for tried in (f"cat {where}", f"ls {where}/", f"cp /etc/hosts {where}", f"mv {where} /tmp/x", f"rm -rf {where}"):
        assert machine.run(CALLER, "sh", "-c", tried).code != 0
    assert machine.run(0, "test", "-e", where).code == 0


@pytest.mark.parametrize(
    "socket", ["rm -f /run/gate/keeper.sock", "mv /run/gate/keeper.sock /tmp/x", "touch /run/gate/x"]
)
def test_the_socket_cannot_be_replaced(machine: Machine, socket: str) -> None:
    assert machine.run(CALLER, "sh", "-c", socket).code != 0


@pytest.mark.parametrize("file", ["environ", "mem", "maps", "fd", "auxv", "stack"])
def test_the_keepers_process_shows_nothing(machine: Machine, file: str) -> None:
    look = "import sys, os; p = sys.argv[1]; print(os.listdir(p) if os.path.isdir(p) else open(p, 'rb').read(1))"
    came = machine.python(CALLER, look, f"/proc/{machine.keeper}/{file}")
    assert came.code == 1
    assert "Permission" in came.err or "not permitted" in came.err


def test_the_keeper_cannot_be_signalled(machine: Machine) -> None:
    assert machine.python(CALLER, f"import os; os.kill({machine.keeper}, 9)").code == 1
    assert machine.gate(CALLER, "keeper", "status").code == 0


@pytest.mark.parametrize(
    ("op", "members"),
    [
        ("audit.export", {"after": 0}),
        ("audit.tail", {"count": 5}),
        ("audit.show", {"id": "dec-00000000"}),
        ("key.set", {"custody": "dev", "key": "mine"}),
        ("stop", {}),
    ],
)
def test_history_keys_and_its_end_are_not_for_callers(machine: Machine, op: str, members: dict[str, object]) -> None:
    error = machine.ask(CALLER, op, **members)["error"]
    assert (error["code"], error["exit"]) == ("denied_by_rule", 77)


def test_no_secret_stands_in_any_argument_list(machine: Machine) -> None:
    with live(machine) as (_, shown):
        came = machine.python(
            OTHER, "import pathlib; print([p.read_bytes() for p in pathlib.Path('/proc').glob('[0-9]*/cmdline')])"
        )
    assert came.code == 0, came.err
    token = shown["key"].rpartition("|")[2]
    assert not any(secret in came.out for secret in [*_SECRETS, token])


def test_another_users_lease_cannot_be_seen(machine: Machine) -> None:
    with live(machine) as (_, shown):
        came = machine.python(OTHER, f"print(open('/proc/{shown['pid']}/environ').read())")
        assert came.code == 1
        assert "Permission" in came.err
        assert machine.gate(OTHER, "audit", "tail").code == 77


def test_a_token_is_worth_nothing_after_its_end_whoever_shows_it(machine: Machine) -> None:
    with live(machine) as (process, shown):
        assert use(shown) == 200
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
        assert process.returncode == 128 + signal.SIGTERM
        reached = len(machine.made.dev.requests)
        assert use(shown) in (403, 560)
        assert len(machine.made.dev.requests) == reached


def use(shown: Mapping[str, str]) -> int:
    connection = http.client.HTTPConnection(shown["host"].removeprefix("http://"), timeout=5)
    headers = {"Authorization": f"Convex {shown['key']}", "Content-Type": "application/json"}
    with closing(connection):
        connection.request("POST", "/api/function", '{"path": "messages:list", "args": [{}]}', headers)
        return connection.getresponse().status


def genesis_of(machine: Machine) -> str:
    """Hash of the first activation."""
    lines = map(json.loads, machine.gate(0, "audit", "export").out.splitlines())
    return next(str(line["hash"]) for line in lines if line["type"] == "bundle.activated")


def test_production_wants_the_pinned_genesis(machine: Machine) -> None:
    genesis = genesis_of(machine)
    expected = {
        None: "untrusted_keeper",
        "demo sha256:" + "0" * 64 + "\n": "untrusted_keeper",
        f"other sha256:{genesis}\n": "untrusted_keeper",
        f"# ours\ndemo sha256:{genesis}\n": "grant_required",
    }
    for trust, code in expected.items():
        machine.trust(trust)
        assert last(machine.gate(CALLER, "convex", "run", "messages:list", "--prod")) == code
        assert machine.gate(CALLER, "convex", "run", "messages:list").code == 0
    assert machine.made.prod.requests == []


def test_the_caller_cannot_write_the_pin(machine: Machine) -> None:
    machine.trust("demo sha256:" + "0" * 64 + "\n")
    assert machine.run(CALLER, "sh", "-c", "echo > /etc/gate/trust").code != 0
    assert machine.run(CALLER, "sh", "-c", "rm -f /etc/gate/trust").code != 0


def foreign(machine: Machine, marker: Path) -> dict[str, object]:
    """A bundle of a project of its own, whose custody command would run as the keeper."""
    work = machine.made.work
    files = {name: (work / name).read_text() for name in ("gate.signers", "policies/default.yaml")}
    files["gate.yaml"] = (
        "gate: 1\nproject: foreign\nsigners: gate.signers\nroots: [human:ada]\npolicies: [policies/default.yaml]\n"
        f'deployments:\n  dev: {{class: dev, name: happy-otter-123, url: "{machine.made.dev.url}", custody: k}}\n'
        "principals:\n  agent:codex: {owner: human:ada}\n  human:ada: {}\n"
        f'custody:\n  k: {{command: [sh, -c, "id -u > {marker}; echo key"]}}\n'
    )
    return {"gate_yaml": files["gate.yaml"], "files": files}


def test_a_project_of_ones_own_makes_the_keeper_run_nothing(machine: Machine) -> None:
    """Its first bundle is root's to activate, and its command waits for the pin, which only root can write."""
    folder = machine.made.folder / "marked"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    members = foreign(machine, folder / "ran")
    answer = machine.ask(CALLER, "activate.prepare", **members)
    assert answer["error"]["code"] == "config_invalid"
    prepared = machine.ask(0, "activate.prepare", **members)["result"]
    signature = sign(str(prepared["statement"]).encode(), machine.made.person, "activate@convex-gate")
    signed = {**members, "statement": prepared["statement"], "signatures": [signature]}
    assert machine.ask(CALLER, "activate.commit", **signed)["error"]["code"] == "denied_by_rule"
    assert "result" in machine.ask(0, "activate.commit", **signed)
    home = machine.made.work / "foreign"
    home.mkdir(mode=0o755)
    (home / "gate.yaml").write_text(str(members["gate_yaml"]))
    (home / ".env.local").write_text("CONVEX_DEPLOYMENT=dev:happy-otter-123\n")
    came = machine.gate(CALLER, "convex", "data", cwd=home)
    assert came.err.splitlines()[-1].startswith("gate: untrusted_keeper:"), came
    assert machine.gate(CALLER, "doctor", cwd=home).code == 1
    assert not (folder / "ran").exists()


def test_the_keepers_end_ends_the_run_of_another_user(machine: Machine) -> None:
    with live(machine) as (process, shown):
        os.kill(machine.keeper, signal.SIGKILL)
        process.communicate(timeout=10)
        assert process.returncode == 76
        assert not Path(f"/proc/{shown['pid']}").exists()
        came = machine.gate(CALLER, "convex", "--version")
        assert (came.code, last(came)) == (74, "keeper_unavailable")


@pytest.fixture(scope="module")
def granting(node_modules: Path) -> Iterator[Machine]:
    """A machine whose production can be granted: ada owns the agent and is a user of her own, lee approves."""
    with stage(node_modules) as made, namespace(made.folder / "own") as inside, keeper_in(inside) as keeper:
        work, key = made.work, made.folder / "lee"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(key)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        (work / "policies" / "production.yaml").write_text(POLICY)
        config = (work / "gate.yaml").read_text()
        people = f"human:ada: {{groups: [leads], uids: [{OWNER}]}}\n  human:lee: {{groups: [leads]}}\n"
        (work / "gate.yaml").write_text(config.replace("human:ada: {groups: [leads]}\n", people))
        with (work / "gate.signers").open("a") as signers:
            signers.write(f"human:lee {key.with_suffix('.pub').read_text()}")
        (waiting(work / "prod") / ".env.local").write_text(PROD_ENV)
        hand_over(made)
        os.chown(key, REVIEWER, REVIEWER)
        # OpenSSH signs for nobody whom the system does not know.
        known = f"echo 'lee:x:{REVIEWER}:{REVIEWER}::/:/bin/sh' >> /etc/passwd"
        subprocess.run(["nsenter", "-t", str(inside), "-m", "sh", "-c", known], check=True)
        machine = in_force(Machine(made, inside, keeper))
        machine.trust(f"demo sha256:{genesis_of(machine)}\n")
        yield machine


ASKED = ("request", "--deployment", "prod", "--effect", "deployment:data:view", *Production.fields())


def grant_by_text(machine: Machine) -> tuple[str, str]:
    """Ids of a request of the agent's and of its grant: asked for by one user, signed by another, handed in by a third.

    The texts travel; the reviewer's user never talks to the keeper.
    """
    came = machine.gate(CALLER, *ASKED)
    assert came.code == 0, came.err
    request = came.out.strip()
    portable = machine.gate(CALLER, "show", request, "--portable").out
    words = ("approve", "-", "--export", "--key", str(machine.made.folder / "lee"))
    assert machine.gate(CALLER, *words, stdin=portable).code != 0
    envelope = machine.gate(REVIEWER, *words, stdin=portable)
    assert envelope.code == 0, envelope.err
    came = machine.gate(OTHER, "accept", "-", stdin=envelope.out)
    assert came.code == 0, came.err
    return request, came.out.strip()


def reached(machine: Machine) -> int:
    """How often the agent's function was called on production."""
    return sum("messages:list" in repr(request.body) for request in machine.made.prod.requests)


def refusal(came: Came) -> str:
    assert came.code != 0, came.out
    return last(came)


def test_a_grant_between_users_is_enforced_and_the_requesters_alone(granting: Machine) -> None:
    request, grant = grant_by_text(granting)
    folder = granting.made.work / "prod"
    with live(granting, name="prod") as (_, shown):
        assert use(shown) == 200
        assert PROD_KEY not in json.dumps(shown)
    decision = json.loads(granting.gate(CALLER, "--json", "explain", "convex", "data", cwd=folder).out)
    assert (decision["enforcement"], decision["grant"], decision["verdict"]) == ("enforced", grant, "allow")
    before = reached(granting)
    call = ("convex", "run", "messages:list")
    assert refusal(granting.gate(OTHER, *call, cwd=folder)) == "grant_required"
    assert refusal(granting.gate(OTHER, "--grant", grant, *call, cwd=folder)) == "grant_ended"
    assert refusal(granting.gate(OTHER, "drop", grant)) == "denied_by_rule"
    assert refusal(granting.gate(OTHER, "revoke", grant, "--reason", "no need")) == "denied_by_rule"
    assert refusal(granting.gate(OTHER, "--as", "human:ada", "revoke", grant, "--reason", "x")) == "denied_by_rule"
    for hidden in (request, grant):
        assert refusal(granting.gate(OTHER, "show", hidden)) == "usage"
    assert (granting.gate(OTHER, "grants", "--all").out, granting.gate(OTHER, "requests", "--all").out) == ("", "")
    assert reached(granting) == before
    assert granting.gate(CALLER, "drop", grant).code == 0


def test_a_request_is_cancelled_by_the_user_who_made_it(granting: Machine) -> None:
    request = granting.gate(CALLER, *ASKED).out.strip()
    assert refusal(granting.gate(OTHER, "cancel", request)) == "usage"
    assert granting.gate(CALLER, "cancel", request).code == 0


def test_the_owner_revokes_as_the_user_that_she_is(granting: Machine) -> None:
    _, grant = grant_by_text(granting)
    with live(granting, name="prod") as (process, shown):
        assert use(shown) == 200
        came = granting.gate(OWNER, "--as", "human:ada", "revoke", grant, "--reason", "not today")
        assert came.code == 0, came.err
        before = reached(granting)
        assert use(shown) in (403, 560)
        process.wait(timeout=10)
        assert process.returncode == 76
        assert reached(granting) == before
    found = json.loads(granting.gate(OWNER, "--json", "show", grant).out)
    assert (found["state"], found["why"]) == ("closed", "revoked")


def test_a_door_that_its_own_user_kills_takes_the_access_with_it(granting: Machine) -> None:
    _, grant = grant_by_text(granting)
    with live(granting, name="prod") as (process, shown):
        assert use(shown) == 200
        assert granting.python(CALLER, f"import os; os.kill({process.pid}, 9)").code == 0
        assert until(lambda: use(shown) in (403, 560), seconds=1)
        before = reached(granting)
        assert use(shown) in (403, 560)
        assert reached(granting) == before
        assert granting.python(CALLER, f"import os; os.kill({shown['pid']}, 9)").code == 0
    assert granting.gate(CALLER, "drop", grant).code == 0


_TRACE = """\
import ctypes, sys
libc, pid = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
for way in (PTRACE_ATTACH, PTRACE_SEIZE):
    print(libc.ptrace(way, pid, None, None))
"""


def test_no_grant_lets_its_holder_look_into_the_keeper(granting: Machine) -> None:
    """Neither its memory, nor its folder, nor the marks of what was cut."""
    _, grant = grant_by_text(granting)
    assert granting.gate(CALLER, "drop", grant).code == 0
    assert granting.python(CALLER, _TRACE, str(granting.keeper)).out == "-1\n-1\n"
    for path in ("", "/demo", "/demo/ledger.db", "/demo/barred", "/demo/keys/prod"):
        assert granting.run(0, "test", "-e", f"/var/lib/gate{path}").code == 0
        assert granting.run(CALLER, "ls", f"/var/lib/gate{path}/").code != 0
        assert granting.run(CALLER, "cat", f"/var/lib/gate{path}").code != 0
