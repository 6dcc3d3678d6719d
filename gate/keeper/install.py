"""Setting up a keeper under a user of its own: the steps as data, and their execution. Asks nobody, prints nothing.

Linux only. docs/operations.md, A keeper of its own, says what the pieces are for.
"""

import json
import os
import pwd
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from gate import __version__, world
from gate.errors import GateError
from gate.keeper import places
from gate.keeper.unit import HOME, PYTHON, SERVICE, UNIT, unit_text

_DISTRIBUTION = "convex-gate"
_SOCKET_FOLDER = str(Path(places.INSTALLED_SOCKET).parent)
_USER_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
# useradd --system gives numbers below this one (login.defs, UID_MIN).
_FIRST_PERSON = 1000
_OTHERS_WRITE = 0o022
_OTHERS_REACH = stat.S_IROTH | stat.S_IXOTH
_PIP_OPTIONS = ("--no-input", "--disable-pip-version-check", "--no-cache-dir", "--quiet")
# PATH and the loader's variables decide what root runs here; what pip reads (PIP_*, proxies) stays the caller's.
_DANGEROUS = ("PYTHON", "LD_", "GATE_", "XDG_")


@dataclass(frozen=True, slots=True)
class Command:
    """One process to run. `what` says it to a person."""

    what: str
    argv: tuple[str, ...]

    def lines(self) -> list[str]:
        """The step as a person reads it."""
        return [self.what, f"  $ {shlex.join(self.argv)}"]

    def to_json(self) -> dict[str, Any]:
        """The step as a program reads it."""
        return {"what": self.what, "argv": list(self.argv)}

    def perform(self) -> None:
        """Run it, away from the caller's folder and mask. Raises GateError `keeper_unavailable` when it fails."""
        try:
            # What installers say is no result of ours: it goes where prose goes.
            ended = subprocess.run(
                self.argv,
                cwd="/",
                env=_installer_environment(),
                stdin=subprocess.DEVNULL,
                stdout=2,
                check=False,
                umask=0o022,
            )
        except OSError as error:
            raise _failed(self.what, f"{self.argv[0]} could not be started ({error.strerror})") from error
        if ended.returncode != 0:
            raise _failed(self.what, f"{self.argv[0]} ended with status {ended.returncode}")


@dataclass(frozen=True, slots=True)
class File:
    """One file of root's, mode 0644, to write whole."""

    what: str
    path: str
    text: str

    def lines(self) -> list[str]:
        """The step as a person reads it."""
        return [self.what, f"  > {self.path}", *(f"  | {line}" for line in self.text.splitlines())]

    def to_json(self) -> dict[str, Any]:
        """The step as a program reads it."""
        return {"what": self.what, "path": self.path, "text": self.text}

    def perform(self) -> None:
        """Put the whole text in the file's place at once. Raises GateError `keeper_unavailable` when it fails."""
        fresh = f"{self.path}.new"
        try:
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
                os.fchmod(descriptor, 0o644)
                opened.write(self.text)
            Path(fresh).replace(self.path)
        except OSError as error:
            raise _failed(self.what, f"{self.path} could not be written ({error.strerror})") from error


Step = Command | File


@dataclass(frozen=True, slots=True)
class Found:
    """What is there already: the user, the file of pins."""

    user: bool
    trust: bool


def look(user: str) -> Found:
    """What this machine has. Raises GateError `usage` when `user` cannot be the keeper's.

    A keeper guards against processes of other users only, so its user is one that nobody logs in as
    (docs/threat-model.md, Three ways of running).
    """
    if _USER_NAME.fullmatch(user) is None:
        raise _usage("that is no name for a system user", "Use lower-case letters, digits, `-` and `_`.")
    trust = Path(places.TRUST).exists()
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        return Found(user=False, trust=trust)
    if not 0 < uid < _FIRST_PERSON:
        raise _usage(
            f"{user} is root or a person (uid {uid})", "Name a system user that runs nothing else, or a new one."
        )
    return Found(user=True, trust=trust)


def plan(user: str, python: str, source: str, found: Found, *, container: bool) -> list[Step]:
    """Steps that set up a keeper as `user`, from the interpreter `python` and the package `source`.

    The pins in /etc/gate/trust are a person's and are never overwritten. `container`: without systemd.
    """
    steps: list[Step] = []
    if not found.user:
        steps.append(Command(f"the user {user}, which runs nothing but the keeper", _useradd(user)))
    steps += [
        Command("an environment that only root can change", (python, "-I", "-m", "venv", "--clear", HOME)),
        Command("this version of gate in it", (PYTHON, "-I", "-m", "pip", "install", *_PIP_OPTIONS, source)),
        Command("the folder of pinned trust", _folder("/etc/gate", "0755", "root")),
    ]
    if not found.trust:
        steps.append(File("no project is trusted yet", places.TRUST, ""))
    steps += [
        Command("the state: ledger and keys", _folder(places.INSTALLED_STATE, "0700", user)),
        Command("the folder of the socket", _folder(_SOCKET_FOLDER, "0755", user)),
    ]
    return steps if container else [*steps, *_service(user)]


def removal(*, service: bool) -> list[Step]:
    """Steps that take the keeper away; `service`: systemd runs it.

    State, pins and user stay: a ledger is evidence, and its keys are a person's to remove.
    """
    steps: list[Step] = [
        # A keeper whose socket is gone ends by itself.
        Command("the socket; a keeper that still runs ends", ("rm", "-rf", "--", _SOCKET_FOLDER)),
        Command("the environment", ("rm", "-rf", "--", HOME)),
    ]
    if not service:
        return steps
    return [
        Command("stop the keeper; what runs through it is cut", ("systemctl", "disable", "--now", SERVICE)),
        Command("the unit", ("rm", "-f", "--", UNIT)),
        Command("let systemd forget it", ("systemctl", "daemon-reload")),
        *steps,
    ]


def has_service() -> bool:
    """Whether the unit is there."""
    return Path(UNIT).exists()


def perform(steps: Iterable[Step], tell: Callable[[str], None]) -> None:
    """Take `steps` in order and `tell` each before it is taken; the first that fails is the last.

    Raises GateError `usage` when the caller is not root, and `keeper_unavailable` when a step fails.
    """
    if os.geteuid() != 0:
        raise _usage("only root can do this", "Call it with sudo, or see the steps with --dry-run.")
    for step in steps:
        for line in step.lines()[:2]:
            tell(line)
        step.perform()


def insist_on_linux() -> None:
    """Raises GateError `unsupported_platform` elsewhere."""
    if sys.platform != "linux":
        raise GateError(
            "unsupported_platform",
            "a keeper of its own is set up on Linux only",
            remedy="Elsewhere the keeper runs under your own user, started by the first call.",
        )


def base_python() -> str:
    """Interpreter that this one's environment was made from."""
    return f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"


def trusted_python(path: str) -> str:
    """`path`, once only root can change it and others can run it. Raises GateError `usage` with what is in the way.

    The environment that is made from it is no safer than the interpreter itself.
    """
    try:
        resolved = Path(path).resolve(strict=True)
        problems = [(place, _problem(place.stat())) for place in (resolved, *resolved.parents)]
    except OSError as error:
        raise _python_refused(f"{path} cannot be used ({error.strerror})") from error
    for place, problem in problems:
        if problem is not None:
            raise _python_refused(f"{place} {problem}")
    return str(resolved)


def package_source(given: str | None) -> str:
    """What pip installs: the wheel or source folder `given`, else the version that runs, from the package index.

    A running gate that did not come from an index has to be named: its name there may be somebody else's. Raises
    GateError `usage`.
    """
    if given is None:
        if _came_from_elsewhere():
            raise _usage(
                "this gate was not installed from a package index", "Name its wheel or source folder: `--from PATH`."
            )
        return f"{_DISTRIBUTION}=={__version__}"
    try:
        return str(Path(given).resolve(strict=True))
    except OSError as error:
        raise _usage("there is nothing at the path of --from", "Name a wheel or a source folder.") from error


def _useradd(user: str) -> tuple[str, ...]:
    options = ("--system", "--user-group", "--no-create-home", "--home-dir", places.INSTALLED_STATE)
    return ("useradd", *options, "--shell", "/usr/sbin/nologin", user)


def _folder(path: str, mode: str, owner: str) -> tuple[str, ...]:
    return ("install", "-d", "-m", mode, "-o", owner, "-g", owner, path)


def _service(user: str) -> list[Step]:
    return [
        File("the unit", UNIT, unit_text(user)),
        Command("let systemd read it", ("systemctl", "daemon-reload")),
        Command("start it at every boot", ("systemctl", "enable", "--quiet", SERVICE)),
        Command("start it now; what ran through an older one is cut", ("systemctl", "restart", SERVICE)),
    ]


def _installer_environment() -> dict[str, str]:
    kept = {name: value for name, value in world.environment().items() if not name.startswith(_DANGEROUS)}
    return {**kept, "PATH": world.PATH}


def _problem(status: os.stat_result) -> str | None:
    if status.st_uid != 0:
        return "belongs to another user than root"
    if status.st_mode & _OTHERS_WRITE:
        return "can be changed by others than root"
    if status.st_mode & _OTHERS_REACH != _OTHERS_REACH:
        return "cannot be reached by others than root"
    return None


def _came_from_elsewhere() -> bool:
    """Whether pip noted where it had this distribution from, or never installed it (PEP 610)."""
    try:
        noted = metadata.distribution(_DISTRIBUTION).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        return True
    return noted is not None and bool(json.loads(noted))


def _python_refused(what: str) -> GateError:
    return _usage(what, "Name an interpreter that belongs to root and that all may run: `--python /usr/bin/python3`.")


def _usage(what: str, remedy: str) -> GateError:
    return GateError("usage", what, remedy=remedy)


def _failed(what: str, why: str) -> GateError:
    return GateError(
        "keeper_unavailable",
        f"not installed: {what}: {why}",
        remedy="Mend what stands above this line, then call the same again: every step can be repeated.",
    )
