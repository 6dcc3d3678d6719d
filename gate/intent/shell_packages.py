"""What npm, npx, pnpm, yarn, bun and deno start: a package's program, a script of package.json, a file."""

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from gate.intent import shell_tables as tables
from gate.intent.shell_ground import Ground
from gate.intent.shell_tables import SPEC, UNKNOWN

_TEXTS = ("-c", "--call")
_ONLY_SHELL = ("-c", "--shell-mode")

Options = list[tuple[str, str]]


def options(words: Sequence[str], valued: frozenset[str]) -> tuple[Options, list[str]]:
    """The options that lead `words`, with their values, and what comes after them; `--` ends them."""
    found: Options = []
    rest = list(words)
    while rest and rest[0].startswith("-"):
        if rest[0] == "--":
            return found, rest[1:]
        option, rest = _option(rest, valued)
        found.append(option)
    return found, rest


def _option(words: list[str], valued: frozenset[str]) -> tuple[tuple[str, str], list[str]]:
    name, joined, value = words[0].partition("=")
    if not joined and name in valued and len(words) > 1:
        return (name, words[1]), words[2:]
    return (name, value), words[1:]


def launch(ground: Ground, words: list[str]) -> None:
    """Start what a runner is told to: the program of a package, by its name or the package's."""
    if not words:
        return
    if SPEC.fullmatch(words[0]) or ground.is_cli(words[0]):
        ground.call(words[1:])
    elif UNKNOWN in words[0]:
        ground.suspects.append("a package runner is told what to run by a word that is not known")
    else:
        bare = words[0] if words[0].startswith("@") else words[0].partition("@")[0]
        ground.run([bare or words[0], *words[1:]])


def script(ground: Ground, folder: str | None, name: str, words: Sequence[str] = ()) -> bool:
    """Read the scripts that `name` or a pattern stands for, with what runs before and after; whether there are any."""
    scripts = ground.scripts(folder) or {}
    pattern = name.replace(UNKNOWN, "*")
    matching = [one for one in scripts if fnmatchcase(one, pattern)]
    for one in matching:
        for part in (f"pre{one}", one, f"post{one}"):
            _read_script(ground, folder or "", part, scripts, words if part == one else ())
    return bool(matching)


def _read_script(ground: Ground, folder: str, name: str, scripts: Mapping[str, str], words: Sequence[str]) -> None:
    if name not in scripts or (folder, name) in ground.active:
        return
    ground.active.append((folder, name))
    before, ground.folder = ground.folder, folder
    ground.read(" ".join([scripts[name], *map(shlex.quote, words)]))
    ground.folder = before
    ground.active.pop()


def npx(ground: Ground, words: list[str]) -> None:
    """`npx`, `bunx` and their like."""
    given, rest = options(words[1:], tables.MANAGER_VALUED)
    if not _texts(ground, given):
        launch(ground, rest)


def _texts(ground: Ground, given: Options) -> bool:
    texts = [value for name, value in given if name in _TEXTS and value]
    for text in texts:
        ground.read(text)
    return bool(texts)


def npm(ground: Ground, words: list[str]) -> None:
    """`npm [OPTION...] VERB ...`: only some verbs start anything."""
    valued = tables.MANAGER_VALUED - tables.FLAGS["npm"]
    given, rest = options(words[1:], valued)
    if rest and rest[0] in tables.EXECUTES:
        more, operands = _interspersed(rest[1:], valued)
        if not _texts(ground, given + more):
            launch(ground, operands)
    elif rest:
        more, operands = _interspersed(rest[1:], valued)
        _npm_verb(ground, rest[0], _place(ground, given + more), operands, words)


def _npm_verb(ground: Ground, verb: str, folder: str | None, operands: list[str], words: list[str]) -> None:
    if UNKNOWN in verb:
        ground.suspects.append("npm is told what to do by a word that is not known")
    elif verb in tables.RUNS_SCRIPT and operands:
        script(ground, folder, operands[0], operands[1:])
    elif verb in tables.SHORT_SCRIPTS:
        script(ground, folder, tables.SHORT_SCRIPTS[verb], operands)
    elif verb in tables.INSTALLS and not operands:
        _install(ground, folder, words)
    elif verb == "explore" and operands:
        ground.run(operands[1:])


def _install(ground: Ground, folder: str | None, words: list[str]) -> None:
    if "--ignore-scripts" in words:
        return
    scripts = ground.scripts(folder) or {}
    for name in tables.INSTALL_SCRIPTS:
        _read_script(ground, folder or "", name, scripts, ())


def _interspersed(words: list[str], valued: frozenset[str]) -> tuple[Options, list[str]]:
    """Options are npm's own before `--`."""
    found: Options = []
    operands: list[str] = []
    while words and words[0] != "--":
        if words[0].startswith("-"):
            option, words = _option(words, valued)
            found.append(option)
        else:
            operands.append(words[0])
            words = words[1:]
    return found, operands + words[1:]


def _place(ground: Ground, given: Options) -> str | None:
    """Folder whose package.json counts; None where options name a workspace."""
    names = {name for name, _ in given}
    if names & tables.ELSEWHERE:
        return None
    moved = [value for name, value in given if name in tables.MOVES and value]
    return ground.enter(moved[-1]) if moved else ground.folder


def manager(ground: Ground, words: list[str]) -> None:
    """`pnpm`, `yarn`, `bun`: a verb of their own, else a script, else a program of a package."""
    name = words[0].rpartition("/")[2].lower().partition("@")[0]
    valued = tables.MANAGER_VALUED - tables.FLAGS[name]
    given, rest = options(words[1:], valued)
    if any(option in tables.INTERPRETERS["node"] for option, _ in given):
        ground.run(["node", *words[1:]])
    elif rest[:1] == ["workspace"]:
        manager(ground, [name, "--workspace=", *rest[2:]])
    else:
        _managed(ground, given, rest, valued)


def _managed(ground: Ground, given: Options, rest: list[str], valued: frozenset[str]) -> None:
    verb = rest[0] if rest else "install"
    if verb in tables.EXECUTES:
        _execute(ground, rest[1:])
    elif verb in tables.RUNS_SCRIPT:
        more, operands = options(rest[1:], valued)
        _named(ground, _place(ground, given + more), operands)
    elif verb in tables.INSTALLS and len(rest) <= 1:
        _install(ground, _place(ground, given), [name for name, _ in given])
    elif verb not in tables.BUILT_IN:
        _named(ground, _place(ground, given), rest)


def _execute(ground: Ground, words: list[str]) -> None:
    given, rest = options(words, tables.MANAGER_VALUED - set(_ONLY_SHELL))
    if any(name in _ONLY_SHELL for name, _ in given):
        ground.read(" ".join(rest))
    else:
        launch(ground, rest)


def _named(ground: Ground, folder: str | None, words: list[str]) -> None:
    name = tables.SHORT_SCRIPTS.get(words[0], words[0]) if words else ""
    if words and not script(ground, folder, name, words[1:]):
        launch(ground, words)


def deno(ground: Ground, words: list[str]) -> None:
    """`deno run npm:convex`, `deno task NAME`, `deno run FILE`."""
    at = next((at for at, word in enumerate(words) if word.startswith("npm:") and SPEC.fullmatch(word)), None)
    _, rest = options(words[1:], tables.MANAGER_VALUED)
    if at is not None:
        ground.call(words[at + 1 :])
    elif rest[:1] == ["task"] and len(rest) > 1:
        script(ground, ground.folder, rest[1], rest[2:])
    elif rest:
        ground.run(["node", *rest[1:]])


def several(ground: Ground, words: list[str]) -> None:
    """`run-p A B:*` and its like: scripts by name or pattern."""
    for word in words[1:]:
        script(ground, ground.folder, word)


def concurrently(ground: Ground, words: list[str]) -> None:
    """Every word is a shell text, or `npm:NAME` for a script."""
    for word in options(words[1:], frozenset({"-n", "--names", "-c", "--prefix-colors", "-p", "--prefix"}))[1]:
        manager_name, colon, name = word.partition(":")
        if colon and manager_name in tables.MANAGERS:
            script(ground, ground.folder, name)
        else:
            ground.read(word)


def starters() -> Iterator[tuple[str, Callable[[Ground, list[str]], None]]]:
    """Every program of this module and what reads its words."""
    yield from dict.fromkeys(tables.RUNNERS, npx).items()
    yield from dict.fromkeys(("npm", "cnpm"), npm).items()
    yield from dict.fromkeys(("pnpm", "yarn", "bun"), manager).items()
    yield from dict.fromkeys(tables.SCRIPT_RUNNERS, several).items()
    yield "deno", deno
    yield "concurrently", concurrently
