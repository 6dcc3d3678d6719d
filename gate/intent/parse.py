"""Reads a command line as an Intent, or refuses it. Holds no table: that is `commands.py`, read by `commander.py`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gate.errors import GateError
from gate.intent.commander import HELP, RUN, Parsed, parse
from gate.intent.commands import BY_PATH, EVERYTHING, NONE, PUSH, ROOT, SELECTING, VIEW, Command
from gate.intent.functions import canonical, system_effects
from gate.intent.intent import UNKNOWN, Intent, Selection

# `env set NAME=value` (env.ts, allowEqualsSyntax); any other word with a `=` is a name.
_ASSIGNMENT = re.compile(r"([a-zA-Z][a-zA-Z0-9_]*)=")
# Stands in for the value of --admin-key wherever an intent goes.
_HIDDEN = "***"
# No command takes more, and every decision puts its names on record.
_MOST_WORDS = 1000
_LONGEST_NAME = 512


def read_intent(argv: Sequence[str]) -> Intent:
    """What `convex ARGV` asks for. Pure: reads no file and no variable.

    Raises GateError: `unknown_command` and `unknown_option` for what the table does not hold or the gate does not
    take, `key_in_argv` and `bad_env_file` where a credential or an env file would stay among the child's words.
    Source of effects and resources: docs/contract.md.
    """
    _insist_bounded(argv)
    parsed = parse(ROOT, argv)
    child = _child_argv(argv, parsed)
    selection = _selection(parsed)
    if parsed.kind != RUN:
        return Intent(_word(parsed), (), {}, selection, NONE, child)
    command = BY_PATH[parsed.path]
    _insist_taken(parsed)
    meaning = _Meaning(set(command.effects), dict.fromkeys(command.resources, UNKNOWN), stays=command.stays)
    _READERS.get(" ".join(parsed.path), _nothing_more)(meaning, parsed)
    return _intent(command, meaning, parsed, selection, child)


@dataclass(slots=True)
class _Meaning:
    """Effects and resources while the words of a command are read."""

    effects: set[str]
    resources: dict[str, tuple[str, ...] | None]
    function: str | None = None
    kind_known: bool = True
    acts_as_user: bool = False
    stays: bool = False

    def name(self, dimension: str, value: str) -> None:
        _insist_short(value)
        self.resources[dimension] = (value,)

    def push(self) -> None:
        self.effects |= set(PUSH)
        self.resources = dict.fromkeys(EVERYTHING, UNKNOWN)

    def call(self, name: str) -> None:
        _insist_short(name)
        self.function = canonical(name)
        effects = system_effects(self.function)
        self.kind_known = effects is not None
        self.effects |= set(effects or ())
        if "deployment:env:view" in self.effects:
            self.resources["variables"] = UNKNOWN
        self.name("functions", self.function)


def _intent(
    command: Command, meaning: _Meaning, parsed: Parsed, selection: Selection, child: tuple[str, ...]
) -> Intent:
    shown = {name: value for name, value in parsed.options.items() if name not in SELECTING | {"identity"}}
    return Intent(
        command=" ".join(command.path),
        effects=tuple(sorted(meaning.effects)),
        resources=meaning.resources,
        selection=selection,
        default=command.default,
        child_argv=child,
        function=meaning.function,
        kind_known=meaning.kind_known,
        acts_as_user=meaning.acts_as_user,
        stays=meaning.stays,
        options=shown,
    )


def _insist_bounded(argv: Sequence[str]) -> None:
    if len(argv) > _MOST_WORDS:
        raise GateError(
            "unknown_option",
            f"no command takes {len(argv)} words",
            remedy=f"Give at most {_MOST_WORDS}; quote the function's arguments as one.",
        )


def _insist_short(name: str) -> None:
    if len(name) > _LONGEST_NAME:
        raise GateError(
            "unknown_option",
            f"a name of {len(name)} characters is none of Convex's",
            remedy=f"Names have at most {_LONGEST_NAME} characters.",
        )


def _word(parsed: Parsed) -> str:
    return "--help" if parsed.kind == HELP else "--version"


def _selection(parsed: Parsed) -> Selection:
    given = {name.replace("-", "_"): value for name, value in parsed.options.items() if name in SELECTING}
    if "admin_key" in given:
        given["admin_key"] = _HIDDEN
    return Selection(**given)  # type: ignore[arg-type]  # the table says which one takes a value


def _insist_taken(parsed: Parsed) -> None:
    """Refuse the options that Convex has and the gate does not take."""
    node = parsed.node
    for name in parsed.options:
        option = None if node is None else node.option("--" + name)
        if option is not None and option.refused is not None:
            raise GateError(
                "unknown_option",
                f"the gate does not take {option.long}: {option.refused}",
                remedy=f"Leave {option.long} out.",
            )


def _child_argv(argv: Sequence[str], parsed: Parsed) -> tuple[str, ...]:
    """`argv` without the words of the selection options; the rest has to mean to Convex what it meant before."""
    gone = set().union(*(parsed.places.get(name, ()) for name in SELECTING))
    child = tuple(word for at, word in enumerate(argv) if at not in gone)
    for word in child:
        _insist_harmless(word)
    if gone and not _same(child, parsed):
        raise GateError(
            "unknown_option",
            "without the options that select a deployment these words would mean something else",
            remedy="Put --prod, --deployment and the like at the end.",
        )
    return child


def _insist_harmless(word: str) -> None:
    flag = word.partition("=")[0]
    if flag == "--admin-key":
        raise GateError(
            "key_in_argv",
            "--admin-key puts a key where every process of this machine can read it",
            remedy="Take the key out of the command; the gate uses the one in its own custody.",
        )
    # Node searches all words for it, also where Convex sees a value, and runs what NODE_OPTIONS in the file says.
    if flag in ("--env-file", "--env-file-if-exists"):
        raise GateError(
            "bad_env_file",
            f"Node itself would read {flag} in that place",
            remedy=f"Give {flag} as an option of the command, or leave it out.",
        )


def _same(child: tuple[str, ...], parsed: Parsed) -> bool:
    try:
        again = parse(ROOT, child)
    except GateError:
        return False
    kept = {name: value for name, value in parsed.options.items() if name not in SELECTING}
    return (again.kind, again.path, again.operands, again.options) == (parsed.kind, parsed.path, parsed.operands, kept)


def _nothing_more(_: _Meaning, __: Parsed) -> None:
    """The row says it all."""


def _run(meaning: _Meaning, parsed: Parsed) -> None:
    options = parsed.options
    if "inline-query" in options:
        meaning.effects |= {VIEW, "deployment:functions:runTestQuery"}
    elif parsed.operands:
        meaning.call(parsed.operands[0])
    else:
        raise GateError(
            "unknown_option",
            "convex run wants a function or --inline-query",
            remedy="See `convex run --help`.",
        )
    meaning.acts_as_user = "identity" in options
    if meaning.acts_as_user:
        meaning.effects.add("deployment:functions:actAsUser")
    meaning.stays = "watch" in options
    _component(meaning, parsed)
    if "push" in options:
        meaning.push()


def _component(meaning: _Meaning, parsed: Parsed) -> None:
    """The component that --component names; the app itself, which is none, is written empty and in queries `_App`."""
    path = str(parsed.options.get("component", ""))
    if "inline-query" in parsed.options:
        path = "" if path.strip() == "_App" else path.strip()
    if path:
        meaning.name("components", path)


def _data(meaning: _Meaning, parsed: Parsed) -> None:
    if parsed.operands:
        meaning.name("tables", parsed.operands[0])
    _component(meaning, parsed)


def _import(meaning: _Meaning, parsed: Parsed) -> None:
    # --replace-all empties the tables that are not imported, too.
    if "table" in parsed.options and "replace-all" not in parsed.options:
        meaning.name("tables", str(parsed.options["table"]))
    _component(meaning, parsed)


def _variable(meaning: _Meaning, parsed: Parsed) -> None:
    meaning.name("variables", parsed.operands[0])


def _env_set(meaning: _Meaning, parsed: Parsed) -> None:
    """Without a name, or with an empty one, the CLI reads any number of variables from a file or stdin."""
    name = parsed.operands[0] if parsed.operands else ""
    if name:
        assignment = _ASSIGNMENT.match(name)
        meaning.name("variables", assignment[1] if assignment else name)
    else:
        # It compares with every value there is before it writes (env.ts, envSetFromContent).
        meaning.effects.add("deployment:env:view")


def _dev(meaning: _Meaning, parsed: Parsed) -> None:
    if "run" in parsed.options:
        meaning.call(str(parsed.options["run"]))
    meaning.push()
    meaning.stays = "once" not in parsed.options


_READERS: Mapping[str, Callable[[_Meaning, Parsed], None]] = {
    "run": _run,
    "data": _data,
    "import": _import,
    "env get": _variable,
    "env remove": _variable,
    "env set": _env_set,
    "dev": _dev,
}
