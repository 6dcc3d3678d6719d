"""What a door sees of its caller and sends to the keeper: words, variables, files. Interprets nothing.

Standard library only: the doors on the hot path import it.
"""

import os
import stat
import sys

from gate import world
from gate.execution import convex

LARGEST = 1024 * 1024
CONFIG = "gate.yaml"
_ENV_FILES = (".env.local", ".env", ".env.local.vault", ".env.vault")
_LOCAL_CONFIG = os.path.join(".convex", "local", "default", "config.json")
_SELECTING_PREFIXES = ("CONVEX_", "DOTENV_")
# Build environments change what Convex does when nothing is configured (deploymentSelection.ts).
_SELECTING = frozenset({"NODE_OPTIONS", "VERCEL", "NETLIFY", "WORKERS_CI", "CF_PAGES"})


def config_path() -> str | None:
    """GATE_CONFIG, else the nearest gate.yaml upwards; None when there is none."""
    named = world.variable("GATE_CONFIG")
    if named is not None:
        return os.path.abspath(named)
    folder = os.getcwd()
    while True:
        path = os.path.join(folder, CONFIG)
        if os.path.lexists(path):
            return path
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def read_file(path: str) -> tuple[bytes | None, str | None]:
    """Content of a regular file of at most LARGEST bytes, or why it cannot be taken; neither when it is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None, None
    except OSError as error:
        return None, error.strerror or "cannot be opened"
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None, "not a regular file"
    with os.fdopen(descriptor, "rb") as opened:
        data = opened.read(LARGEST + 1)
    return (data, None) if len(data) <= LARGEST else (None, "larger than 1 MiB")


def read_text(path: str) -> str | None:
    """Content of a file as it travels; None where it cannot be taken."""
    return text(read_file(path)[0])


def text(data: bytes | None) -> str | None:
    """Bytes as they travel in frames: every byte one character."""
    return None if data is None else data.decode("latin-1")


def gate_yaml() -> str | None:
    """gate.yaml of the project as it travels; a file that cannot be read is sent as one that cannot be taken."""
    path = config_path()
    if path is None:
        return None
    data, problem = read_file(path)
    # A NUL is no YAML: the keeper refuses it with a position, as it does any other broken file.
    return text(data) if data is not None else f"\0 {problem or 'not there'}"


def invocation(argv: list[str], principal: str | None, grant: str | None, door: str = "cli") -> dict[str, object]:
    """The `invocation` member of a message (docs/protocol.md)."""
    files, problems = _files(argv)
    environment = world.environment()
    package = convex.package_in(".")
    return {
        "door": door,
        "argv": argv,
        "cwd": os.getcwd(),
        "variables": {name: value for name, value in environment.items() if _selects(name)},
        "files": files,
        "problems": problems,
        "gate_yaml": gate_yaml(),
        "principal": principal or world.variable("GATE_PRINCIPAL"),
        "grant": grant,
        "local_config": text(read_file(_LOCAL_CONFIG)[0]),
        "cli_version": None if package is None else convex.version_of(package) or "without a version",
        "tty": sys.stdin.isatty() if sys.stdin is not None else False,
    }


def _files(argv: list[str]) -> tuple[dict[str, str | None], dict[str, str]]:
    files: dict[str, str | None] = {}
    problems: dict[str, str] = {}
    for name in (*_ENV_FILES, *_named(argv)):
        data, problem = read_file(name)
        if data is not None:
            files[name] = text(data)
        elif problem is not None:
            problems[name] = problem
    return files, problems


def _named(argv: list[str]) -> list[str]:
    """Every word that could be the value of `--env-file`: the keeper decides which one is."""
    after = [argv[index + 1] for index, word in enumerate(argv[:-1]) if word == "--env-file"]
    return after + [word.partition("=")[2] for word in argv if word.startswith("--env-file=")]


def _selects(name: str) -> bool:
    return name.startswith(_SELECTING_PREFIXES) or name in _SELECTING
