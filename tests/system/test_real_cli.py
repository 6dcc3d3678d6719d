"""The real Convex CLI through the gate and without it: same output, same files, and only the keeper holds the key."""

import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path

import pytest
from convex_cli import workspace
from system_kit import Project, forge, in_force, last

from gate.demo.stage import DEV, DEV_KEY, Came, stage

_SECRET = DEV_KEY.rpartition("|")[2]
_ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|localhost):\d+")
_TOKEN = re.compile(r"[0-9a-f]{64}")
_KEPT = re.compile(r"gate: dec-[0-9a-z]{8} [a-z ]+ \(advisory\)\n")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two equal workspaces, each on a deployment of its own: one goes through the gate, one has the key in hand."""

    gated: Project
    bare: Project
    form: str

    def command(self, side: str, *argv: str) -> tuple[list[str], dict[str, str]]:
        """Words and environment of `convex ARGV` on one side."""
        if side == "gated":
            claim = {} if self.form == "cloud" else {"CONVEX_SELF_HOSTED_ADMIN_KEY": "not-the-key"}
            return self.gated.command("convex", *argv), self.gated.environment(**claim)
        url = self.bare.made.dev.url
        key = {"CONVEX_DEPLOY_KEY": DEV_KEY, "CONVEX_PROVISION_HOST": url}
        if self.form != "cloud":
            key = {"CONVEX_SELF_HOSTED_ADMIN_KEY": DEV_KEY}
        home = {"HOME": str(self.bare.made.folder), "CONVEX_VERSION_API_ORIGIN": url}
        return ["node", "node_modules/convex/bin/main.js", *argv], self.bare.environment(**key, **home)

    def project(self, side: str) -> Project:
        return self.gated if side == "gated" else self.bare

    @contextmanager
    def start(self, side: str, *argv: str) -> Iterator[subprocess.Popen[str]]:
        """`convex ARGV` on one side; whatever is left of it ends with the block."""
        words, environment = self.command(side, *argv)
        with subprocess.Popen(
            words, cwd=self.project(side).made.work, env=environment, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    def run(self, *argv: str, stdin: str = "") -> dict[str, Came]:
        """`convex ARGV` on both sides at once, to its end."""
        came: dict[str, Came] = {}

        def one(side: str) -> None:
            with self.start(side, *argv) as process:
                out, err = process.communicate(stdin, timeout=90)
                came[side] = Came(process.returncode, out, err)

        threads = [threading.Thread(target=one, args=(side,)) for side in ("gated", "bare")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return came

    def reset(self) -> None:
        """Workspaces and deployments as they were at the start."""
        for project in (self.gated, self.bare):
            app, work = project.made.dev.app, project.made.work
            project.made.dev.requests.clear()
            app.tables = {"messages": [], "users": []}
            app.env.clear()
            app.insert("messages", {"body": "seed"})
            app.env["EXISTING"] = "value"
            url = f"# mine\nCONVEX_SELF_HOSTED_URL={project.own_url}\n"
            (work / ".env.local").write_text(f"# mine\nCONVEX_DEPLOYMENT=dev:{DEV}\n" if self.form == "cloud" else url)
            (work / "rows.jsonl").write_text('{"body": "one"}\n{"body": "two"}\n')

    def same_files(self) -> None:
        """The workspaces are equal byte for byte, addresses of the two deployments apart."""
        gated, bare = files(self.gated), files(self.bare)
        assert gated.keys() == bare.keys()
        for path, content in bare.items():
            expected = content.replace(self.bare.own_url.encode(), self.gated.own_url.encode())
            assert gated[path] == expected, path

    def only_the_key_arrived(self) -> None:
        """The gated deployment saw the key and never a token, and the workspace neither."""
        requests = self.gated.made.dev.requests
        acting = DEV_KEY + ":"
        assert {request.key for request in requests if request.key and not request.key.startswith(acting)} <= {DEV_KEY}
        for left in (repr(requests), repr(files(self.gated))):
            assert _TOKEN.search(left) is None
        assert _SECRET not in repr(files(self.gated))


def files(project: Project) -> Mapping[str, bytes]:
    """Content of every file of a workspace but the draft's."""
    work = project.made.work
    paths = (path for path in work.rglob("*") if path.is_file() and "node_modules" not in path.parts)
    found = {str(path.relative_to(work)): path.read_bytes() for path in paths}
    return {name: data for name, data in found.items() if not name.startswith(("gate.", "policies/"))}


def shown(text: str) -> str:
    """Output without what two runs may differ in: addresses and durations."""
    return re.sub(r"\d+(?:\.\d+)?(?:ms|s)\b|\d\d:\d\d:\d\d", "TIME", _ADDRESS.sub("URL", text))


@contextmanager
def pair(node_modules: Path, folder: Path, form: str) -> Iterator[Pair]:
    pattern = workspace(folder, node_modules)
    with stage(node_modules) as gated, stage(node_modules) as bare:
        for made in (gated, bare):
            shutil.copytree(pattern / "convex", made.work / "convex")
            shutil.copy(pattern / "convex.json", made.work)
        yield Pair(in_force(gated), Project(bare), form)


@pytest.fixture(scope="module")
def cloud(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(node_modules, tmp_path_factory.mktemp("pattern"), "cloud") as made:
        yield made


@pytest.fixture(scope="module")
def hosted(node_modules: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(node_modules, tmp_path_factory.mktemp("pattern"), "self-hosted") as made:
        yield made


CALLS: dict[str, tuple[list[str], str]] = {
    "query": (["run", "messages:list"], ""),
    "mutation": (["run", "messages:send", '{"body": "x y \\" z"}'], ""),
    "action": (["run", "tasks:work"], ""),
    "failing": (["run", "messages:fail"], ""),
    "absent": (["run", "no:such"], ""),
    "internal": (["run", "messages:purge"], ""),
    "identity": (["run", "messages:list", "--identity", '{"name": "Jo"}'], ""),
    "inline": (["run", "--inline-query", "return 1"], ""),
    "push": (["run", "messages:list", "--push", "--typecheck", "disable"], ""),
    "tables": (["data"], ""),
    "table": (["data", "messages", "--limit", "5"], ""),
    "env-list": (["env", "list"], ""),
    "env-get": (["env", "get", "EXISTING"], ""),
    "env-get-absent": (["env", "get", "NONE"], ""),
    "env-set": (["env", "set", "A", "b"], ""),
    "env-set-value-on-stdin": (["env", "set", "A"], "from stdin"),
    "env-set-bulk": (["env", "set"], "A=1\nB='two words'\n"),
    "env-remove": (["env", "remove", "EXISTING"], ""),
    "function-spec": (["function-spec"], ""),
    "export": (["export", "--path", "snapshot.zip"], ""),
    "import-append": (["import", "--table", "messages", "rows.jsonl", "--append", "-y"], ""),
    "import-replace": (["import", "--table", "messages", "rows.jsonl", "--replace", "-y"], ""),
    "dev": (["dev", "--once", "--typecheck", "disable"], ""),
    "dev-run": (["dev", "--once", "--typecheck", "disable", "--run", "messages:send"], ""),
    "codegen": (["codegen", "--typecheck", "disable"], ""),
    "help": (["--help"], ""),
    "help-of-run": (["run", "--help"], ""),
    "version": (["--version"], ""),
}
# Their paths through the gate are those of others that stay.
_SLOW = (
    "absent",
    "action",
    "dev-run",
    "env-get-absent",
    "env-remove",
    "help-of-run",
    "import-replace",
    "push",
    "tables",
)
_SELF_HOSTED = ("query", "mutation", "table", "env-set-bulk", "dev")


def compare(made: Pair, call: str) -> None:
    made.reset()
    argv, stdin = CALLS[call]
    came = made.run(*argv, stdin=stdin)
    gated, bare = came["gated"], came["bare"]
    assert (gated.code, shown(gated.out)) == (bare.code, shown(bare.out)), gated.err
    assert shown(_KEPT.sub("", gated.err)) == shown(bare.err)
    assert made.gated.made.dev.app.tables == made.bare.made.dev.app.tables
    assert made.gated.made.dev.app.env == made.bare.made.dev.app.env
    made.same_files()
    made.only_the_key_arrived()


@pytest.mark.parametrize(
    "call", [pytest.param(call, marks=pytest.mark.slow) if call in _SLOW else call for call in CALLS]
)
def test_on_a_cloud_deployment_it_is_as_without_the_gate(cloud: Pair, call: str) -> None:
    compare(cloud, call)


@pytest.mark.parametrize("call", _SELF_HOSTED)
def test_on_a_self_hosted_deployment_it_is_as_without_the_gate(hosted: Pair, call: str) -> None:
    compare(hosted, call)


@pytest.mark.parametrize(
    ("argv", "until_shown", "number"),
    [
        (["run", "messages:list", "--watch"], "seed", signal.SIGINT),
        (["logs", "--history", "5"], "ran", signal.SIGTERM),
        (["logs", "--history", "5"], "ran", signal.SIGINT),
    ],
)
def test_what_runs_for_long_streams_and_ends_by_a_signal_as_without_the_gate(
    cloud: Pair, argv: list[str], until_shown: str, number: signal.Signals
) -> None:
    cloud.reset()
    codes = {}
    for side in ("gated", "bare"):
        if argv[0] == "logs":
            cloud.project(side).made.dev.app.call("messages:send", None, {"body": "logged"})
        with cloud.start(side, *argv) as process:
            assert process.stdout is not None
            seen = ""
            while until_shown not in seen:
                line = process.stdout.readline()
                assert line, seen + cloud_error(process)
                seen += line
            process.send_signal(number)
            process.communicate(timeout=10)
            # A shell shows an end by a signal as 128 and its number; the door cannot but exit with that.
            codes[side] = process.returncode if process.returncode >= 0 else 128 - process.returncode
    assert codes["gated"] == codes["bare"]
    cloud.only_the_key_arrived()


def cloud_error(process: subprocess.Popen[str]) -> str:
    return "" if process.stderr is None else process.stderr.read()


def test_a_watched_query_shows_what_another_call_writes(cloud: Pair) -> None:
    cloud.reset()
    with cloud.start("gated", "run", "messages:list", "--watch") as process:
        assert process.stdout is not None
        assert read_until(process, "seed")
        assert cloud.gated.gate("convex", "run", "messages:send", '{"body": "while watching"}').code == 0
        assert read_until(process, "while watching")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)


def read_until(process: subprocess.Popen[str], text: str) -> bool:
    assert process.stdout is not None
    while line := process.stdout.readline():
        if text in line:
            return True
    return False


def test_the_dashboard_is_answered_without_a_lease(cloud: Pair) -> None:
    cloud.reset()
    came = cloud.gated.gate("convex", "dashboard", "--no-open")
    assert (came.code, came.out) == (0, f"https://dashboard.convex.dev/d/{DEV}\n")
    assert cloud.gated.made.dev.requests == []


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["deploy", "--typecheck", "disable"], "no_rule"),
        (["run", "messages:list", "--prod"], "grant_required"),
        (["env", "list", "--prod"], "no_rule"),
        (["insights"], "denied_by_rule"),
        (["deployment", "token", "create", "x"], "denied_by_rule"),
        (["login"], "unknown_command"),
        (["run", "messages:list", "--verbos"], "unknown_option"),
    ],
)
def test_what_is_refused_reaches_nobody(cloud: Pair, argv: list[str], code: str) -> None:
    cloud.reset()
    before = files(cloud.gated)
    came = cloud.gated.gate("convex", *argv)
    assert (came.code, came.out, last(came)) == (77, "", code)
    assert cloud.gated.made.prod.requests == []
    assert cloud.gated.made.dev.requests == []
    assert files(cloud.gated) == before


def test_the_selection_of_the_child_is_the_gates_whatever_lies_around(cloud: Pair) -> None:
    """A hostile environment and env files that Convex reads too: what was decided is where it runs."""
    cloud.reset()
    prod = cloud.gated.made.prod
    hostile = {"CONVEX_PROVISION_HOST": prod.url, "HTTP_PROXY": prod.url, "NODE_OPTIONS": "", "DOTENV_CONFIG_PATH": "x"}
    came = cloud.gated.gate("convex", "run", "messages:list", cwd=None, stdin="", **hostile)
    assert came.code == 0, came.err
    env = cloud.gated.made.work / ".env"
    for text, code in (
        (f"HTTPS_PROXY={prod.url}\nHTTP_PROXY={prod.url}\n", 0),
        ("CONVEX_SELF_HOSTED_ADMIN_KEY=x\n", 77),
    ):
        env.write_text(text)
        came = cloud.gated.gate("convex", "run", "messages:list")
        env.unlink()
        assert came.code == code, came.err
    assert prod.requests == []
    cloud.only_the_key_arrived()


class Terminal:
    """`gate convex ARGV` with a terminal of its own, which it controls."""

    def __init__(self, project: Project, *argv: str, shell: str = 'exec "$@"', cwd: Path | None = None) -> None:
        words = ["/bin/bash", "--norc", "-c", shell, "bash", *project.command("convex", *argv)]
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            os.chdir(cwd or project.made.work)
            os.execve(words[0], words, project.environment())
        self.seen = ""

    def shows(self, text: str, seconds: float = 20) -> bool:
        """Whether `text` appears in time."""
        deadline = time.monotonic() + seconds
        while text not in self.seen and time.monotonic() < deadline:
            if select.select([self.screen], [], [], 0.1)[0]:
                try:
                    data = os.read(self.screen, 65536)
                except OSError:
                    break
                self.seen += data.decode(errors="replace")
        return text in self.seen

    def type(self, keys: bytes) -> None:
        os.write(self.screen, keys)

    def resize(self, rows: int, columns: int) -> None:
        ioctl(self.screen, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def end(self) -> int:
        """Exit status as a shell shows it."""
        self.shows("\0never\0", seconds=0.1)
        _, status = os.waitpid(self.pid, 0)
        os.close(self.screen)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code


_TERMINAL = """
const size = () => console.log("size " + process.stdout.rows + "x" + process.stdout.columns);
console.log("tty " + process.stdin.isTTY + " " + process.stdout.isTTY + " " + process.stderr.isTTY);
size();
process.stdout.on("resize", size);
process.on("SIGINT", () => { console.log("interrupted"); process.exit(7); });
process.stdin.on("data", (data) => console.log("typed " + String(data).trim()));
"""


@pytest.fixture
def terminal_app(cloud: Pair) -> Path:
    return forge(cloud.gated.made.work / "terminal", _TERMINAL)


def test_the_child_has_the_terminal_its_size_and_its_interrupt(cloud: Pair, terminal_app: Path) -> None:
    cloud.reset()
    terminal = Terminal(cloud.gated, "run", "messages:list", cwd=terminal_app)
    assert terminal.shows("tty true true true"), terminal.seen
    terminal.resize(33, 77)
    assert terminal.shows("size 33x77"), terminal.seen
    terminal.type(b"hello\n")
    assert terminal.shows("typed hello"), terminal.seen
    terminal.type(b"\x03")
    assert terminal.shows("interrupted"), terminal.seen
    assert terminal.end() == 7
    assert cloud.gated.events()[-1]["outcome"] == "failed"


def test_stop_and_continue_are_the_shells(cloud: Pair, terminal_app: Path) -> None:
    cloud.reset()
    job = 'set -m; "$@"; echo "stopped $?"; sleep 1; fg >/dev/null; echo "ended $?"'
    terminal = Terminal(cloud.gated, "run", "messages:list", shell=job, cwd=terminal_app)
    assert terminal.shows("size "), terminal.seen
    terminal.type(b"\x1a")
    assert terminal.shows("stopped 148"), terminal.seen
    time.sleep(1.5)
    terminal.type(b"again\n")
    assert terminal.shows("typed again"), terminal.seen
    terminal.type(b"\x03")
    assert terminal.shows("ended 7"), terminal.seen
    terminal.end()


def test_a_cut_under_a_terminal_ends_the_child_too(cloud: Pair, terminal_app: Path) -> None:
    cloud.reset()
    terminal = Terminal(cloud.gated, "run", "messages:list", cwd=terminal_app)
    assert terminal.shows("size "), terminal.seen
    assert cloud.gated.gate("keeper", "stop").code == 0
    assert terminal.shows("gate: cut: "), terminal.seen
    assert terminal.end() == 76


def test_a_childs_death_by_a_signal_is_128_and_its_number(cloud: Pair) -> None:
    folder = forge(cloud.gated.made.work / "dying", "process.kill(process.pid, 'SIGKILL');")
    assert cloud.gated.gate("convex", "run", "messages:list", cwd=folder).code == 128 + signal.SIGKILL
