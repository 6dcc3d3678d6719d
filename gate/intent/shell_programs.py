"""What a program starts by the words after it: wrappers, shells, interpreters, and whatever else may hide a call.

The generic rule for programs that no table knows: a package runner among their words, or a shell text in one, is run.
"""

import re
import shlex
from collections.abc import Callable, Mapping
from functools import partial

from gate.intent import shell_tables as tables
from gate.intent.mention import mentions
from gate.intent.shell_ground import Ground
from gate.intent.shell_packages import options, script, starters
from gate.intent.shell_tables import UNKNOWN

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=", re.ASCII)
_TEXT_OPTION = re.compile(r"-[A-Za-z]*c[A-Za-z]*", re.ASCII)
_SUFFIXES = (".cmd", ".exe", ".ps1", ".bat")
_BLANKS = re.compile(r"[\s;&|()`]")
_STDIN = frozenset({"-", "/dev/stdin", "/proc/self/fd/0", "/dev/fd/0"})
_SHORT_OPTION = 2
_WORDS = 20
# What is taken for a program wherever it stands among the words of one that no table knows.
_STARTERS = tables.STARTERS | tables.SHELLS | {"env", "timeout", "sudo", "xargs"}

Reader = Callable[[Ground, list[str]], None]


def program(word: str) -> str:
    """The name of the program that `word` starts, as the tables know it."""
    name = word.rpartition("/")[2].lower()
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    base, at, _ = name.partition("@")
    return base if at and base in tables.STARTERS else name


def run(ground: Ground, words: list[str]) -> None:
    """Note what starting `words` comes to."""
    if not words or not ground.spend(len(words) // _WORDS):
        return
    ground.nesting += 1
    _start(ground, words)
    ground.nesting -= 1


def _start(ground: Ground, words: list[str]) -> None:
    name = program(words[0])
    _defined(ground, words)
    if ground.is_cli(words[0]) or name == "convex":
        ground.call(words[1:], bare="/" not in words[0])
    elif UNKNOWN in name:
        ground.suspects.append("a program is named by a word that is not known")
        _unknown(ground, words)
    else:
        _note_written(ground, words[0])
        reader = _READERS.get(name, None if name in tables.DATA else _unknown)
        if reader is not None:
            reader(ground, words)


def _defined(ground: Ground, words: list[str]) -> None:
    """Functions and aliases of the same text; the program of that name may be meant as well."""
    alias, body = ground.aliases.get(words[0]), ground.functions.get(words[0])
    if alias is not None and not alias.lstrip().startswith(words[0]):
        ground.read(" ".join([alias, *map(shlex.quote, words[1:])]))
    if body is not None:
        body(words[1:])


def _note_written(ground: Ground, path: str) -> None:
    if path.rpartition("/")[2] not in ground.written:
        return
    for data in [data for data in dict.fromkeys(ground.data) if data not in ground.tried]:
        ground.tried.add(data)
        ground.guess(partial(ground.read, data))
        if mentions(data):
            ground.doubts.append("it runs a file that it writes, and names Convex in what it writes")


def _unknown(ground: Ground, words: list[str]) -> None:
    """A program that may run some of its words."""
    for at, word in enumerate(words[1:], 1):
        if ground.spent:
            ground.unseen = True
            return
        if _may_start(ground, words, at):
            ground.guess(partial(ground.run, words[at:]))
        for text in {word, word.partition("=")[2]}:
            _guess_text(ground, text)
    if ground.stdin is not None:
        _guess_text(ground, ground.stdin)


def _may_start(ground: Ground, words: list[str], at: int) -> bool:
    name = program(words[at])
    return name in _STARTERS or name == "convex" or words[at - 1] == "--" or ground.is_cli(words[at])


def _guess_text(ground: Ground, text: str) -> None:
    if _BLANKS.search(text) and mentions(text):
        ground.guess(partial(ground.read, text))


def _wrapper(ground: Ground, words: list[str]) -> None:
    """The program after it, past its own options, assignments and operands."""
    name = program(words[0])
    wrapper = tables.WRAPPERS[name]
    given, rest = options(words[1:], wrapper.valued)
    for option, value in given:
        if option in ("-S", "--split-string"):
            ground.read(" ".join([value, *map(shlex.quote, rest)]))
    while rest and _ASSIGNMENT.match(rest[0]):
        rest = rest[1:]
    if not tables.LOOKUPS.get(name, frozenset()) & {option for option, _ in given}.union(rest[:1]):
        ground.run(rest[wrapper.operands :])


def _xargs(ground: Ground, words: list[str]) -> None:
    """What comes in on stdin is added to the words, or put in place of one."""
    given, rest = options(words[1:], tables.WRAPPERS["xargs"].valued)
    marks = [value or "{}" for option, value in given if option in ("-I", "-i", "--replace")]
    marks += [option[2:] for option, _ in given if option.startswith("-I") and len(option) > _SHORT_OPTION]
    filled = [UNKNOWN if any(mark in word for mark in marks) else word for word in rest]
    ground.run(filled if marks else [*filled, UNKNOWN])


def _shell(ground: Ground, words: list[str]) -> None:
    """`sh -c TEXT`, `sh FILE`, or a text on stdin."""
    is_text, rest = False, words[1:]
    while rest and rest[0][:1] in ("-", "+") and rest[0] not in ("-", "--"):
        is_text = is_text or _TEXT_OPTION.fullmatch(rest[0]) is not None
        rest = rest[2:] if rest[0] in tables.SHELL_VALUED else rest[1:]
    rest = rest[1:] if rest[:1] == ["--"] else rest
    if is_text and rest:
        _read_as(ground, rest[0], rest[1:])
    elif not rest or rest[0] in _STDIN or "-s" in words:
        _from_stdin(ground)
    else:
        _file(ground, rest)


def _read_as(ground: Ground, text: str, words: list[str]) -> None:
    """Another shell's text: `$0` and the parameters are the words after it."""
    before = ground.variables
    ground.variables = before.with_parameters(words[1:], words[0] if words else "sh")
    if text.strip(UNKNOWN + " "):
        ground.read(text)
    else:
        ground.suspects.append("a shell is given a text that is not known")
    ground.variables = before


def _from_stdin(ground: Ground) -> None:
    if ground.stdin is not None:
        ground.read(ground.stdin)


def _file(ground: Ground, words: list[str]) -> None:
    """A file that a shell or an interpreter runs."""
    _note_written(ground, words[0])
    if ground.is_cli(words[0]):
        ground.call(words[1:])
    elif UNKNOWN in words[0]:
        ground.suspects.append("a file is run whose name is not known")


def _source(ground: Ground, words: list[str]) -> None:
    if words[1:] and words[1] in _STDIN:
        _from_stdin(ground)
    elif words[1:]:
        _file(ground, words[1:])


def _interpreter(ground: Ground, words: list[str]) -> None:
    """Code of another language, on the line, on stdin or in a file."""
    codes, rest = tables.INTERPRETERS[program(words[0])], words[1:]
    while rest and rest[0].startswith("-") and rest[0] != "-":
        name, _, value = rest[0].partition("=")
        if name in codes or name[:_SHORT_OPTION] in codes:
            return _code(ground, " ".join([name[_SHORT_OPTION:], value, *rest[1:2]]))
        if name == "--run":
            script(ground, ground.folder, (value or " ".join(rest[1:2])), rest[2:])
        rest = rest[2:] if name in tables.INTERPRETER_VALUED and not value else rest[1:]
    if not rest or rest[0] in _STDIN:
        return _code(ground, ground.stdin or "")
    if program(words[0]) in tables.RUNS_JAVASCRIPT or ground.is_cli(rest[0]):
        _file(ground, rest)
    return _unknown(ground, rest)


def _code(ground: Ground, code: str) -> None:
    if mentions(code) and tables.CODE.search(code):
        ground.doubts.append("code of another language would start it")


def _awk(ground: Ground, words: list[str]) -> None:
    if re.search(r"system\s*\(|getline|\|", " ".join(words)):
        _code(ground, " ".join(words))


def _git(ground: Ground, words: list[str]) -> None:
    """Most words of git are data; some verbs and options run a program."""
    if any(tables.GIT_RUNS.fullmatch(word) for word in words):
        _unknown(ground, [word.removeprefix("!") for word in words])
        for word in words:
            _guess_text(ground, word.partition("=!")[2])


def _find(ground: Ground, words: list[str]) -> None:
    for at, word in enumerate(words):
        if word in ("-exec", "-execdir", "-ok", "-okdir", "-x", "--exec", "-X", "--exec-batch"):
            ground.run([UNKNOWN if "{}" in one else one for one in words[at + 1 :]])


def _alias(ground: Ground, words: list[str]) -> None:
    for word in words[1:]:
        name, equals, value = word.partition("=")
        if equals:
            ground.aliases[name] = value
            ground.read(value)


def _cd(ground: Ground, words: list[str]) -> None:
    _, operands = options(words[1:], frozenset())
    ground.folder = ground.enter(operands[0]) if operands else None


def _read(ground: Ground, words: list[str]) -> None:
    """`read`, `mapfile`, `printf -v`: the names hold what nobody knows yet."""
    for word in words[1:]:
        ground.variables.add(word, [UNKNOWN])


def _printf(ground: Ground, words: list[str]) -> None:
    if words[1:2] == ["-v"]:
        ground.variables.add("".join(words[2:3]), [UNKNOWN, *words[3:]])


def _eval(ground: Ground, words: list[str]) -> None:
    _read_as(ground, " ".join(words[1:]), []) if words[1:] else None


def _trap(ground: Ground, words: list[str]) -> None:
    _, operands = options(words[1:], frozenset())
    if operands:
        ground.read(operands[0])


def _watch(ground: Ground, words: list[str]) -> None:
    _, rest = options(words[1:], frozenset({"-n", "--interval"}))
    ground.read(" ".join(rest))


_READERS: Mapping[str, Reader] = {
    **dict.fromkeys(tables.WRAPPERS, _wrapper),
    **dict.fromkeys(tables.SHELLS, _shell),
    **dict.fromkeys(tables.INTERPRETERS, _interpreter),
    **dict.fromkeys(("awk", "gawk", "mawk", "nawk"), _awk),
    **dict.fromkeys(("find", "fd"), _find),
    **dict.fromkeys(("cd", "pushd"), _cd),
    **dict.fromkeys(("source", "."), _source),
    **dict.fromkeys(("read", "mapfile", "readarray"), _read),
    **dict(starters()),
    "xargs": _xargs,
    "eval": _eval,
    "trap": _trap,
    "watch": _watch,
    "git": _git,
    "alias": _alias,
    "printf": _printf,
}
