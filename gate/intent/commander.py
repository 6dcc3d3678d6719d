"""How commander 14.0.3, the parser of the Convex CLI, reads a command line. Knows no command of Convex and no effect.

A port of `_parseCommand` and `parseOptions`, level by level as commander does it, because what it makes of a line
follows from that: `run f --component --prod` names a component, `env set --from-file --prod x` selects production.
Left out is what Convex does not use: variadic options, pass-through, default commands, executables.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gate.config.values import hint
from gate.errors import GateError

_NEGATIVE_NUMBER = re.compile(r"-(\d+|\d*\.\d+)(e[+-]?\d+)?", re.ASCII)
_WITH_VALUE = re.compile(r"(--[^=]+)=")
_HELP = ("--help", "-h")
_LONGEST_CLUSTER = 32
_SHOWN = 40

VERSION = "version"
HELP = "help"
RUN = "run"


@dataclass(frozen=True, slots=True)
class Option:
    """One option as commander declares it: `-y, --yes`, `--table <table>` (value required), `--history [n]` (optional).

    `refused` says why the gate does not take the option; None where it does.
    """

    flags: str
    choices: tuple[str, ...] = ()
    refused: str | None = None

    @property
    def long(self) -> str:
        """The long flag, `--yes`."""
        return next(word for word in self.flags.replace(",", " ").split() if word.startswith("--"))

    @property
    def short(self) -> str | None:
        """The short flag, `-y`, where there is one."""
        first = self.flags.split(",")[0]
        return None if first.startswith("--") else first

    @property
    def name(self) -> str:
        """The long flag without its dashes; the key of the value in Parsed.options."""
        return self.long[2:]

    @property
    def value(self) -> str:
        """`required`, `optional` or `none`."""
        return {">": "required", "]": "optional"}.get(self.flags[-1], "none")


@dataclass(frozen=True, slots=True)
class Node:
    """One command in the tree. `arguments` are written as commander prints them: `<path>`, `[args]`.

    A node with `commands` has no action of its own. `helps`: it answers to the word `help` (groups only).
    """

    name: str
    aliases: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    options: tuple[Option, ...] = ()
    commands: tuple["Node", ...] = ()
    helps: bool = True

    def find(self, word: str) -> "Node | None":
        """The sub-command of that name or alias; commander knows no abbreviations."""
        return next((node for node in self.commands if word == node.name or word in node.aliases), None)

    def option(self, flag: str) -> Option | None:
        """The option with exactly that flag."""
        return self.flags().get(flag)

    def flags(self) -> dict[str, Option]:
        """Every flag, long and short, and its option."""
        return {flag: option for option in self.options for flag in (option.long, option.short) if flag is not None}


class Word(NamedTuple):
    """One word of the command line and its place there."""

    text: str
    at: int


@dataclass(slots=True)
class Parsed:
    """What commander makes of a line.

    `kind`: VERSION or HELP (it prints that and runs nothing) or RUN. `path`: names of the commands, aliases resolved.
    `options`: name of each option given -> its last value, True where it takes none. `places`: name -> places of the
    words that spell it, value included. `operands`: the command's arguments.
    """

    kind: str = RUN
    path: tuple[str, ...] = ()
    node: Node | None = None
    options: dict[str, str | bool] = field(default_factory=dict)
    places: dict[str, set[int]] = field(default_factory=dict)
    operands: tuple[str, ...] = ()


def parse(root: Node, argv: Sequence[str]) -> Parsed:
    """Read `argv` with the commands below `root`, whose one option is the version's.

    Raises GateError `unknown_command` and `unknown_option` where commander would print an error and exit. No message
    repeats a value or an operand: either may be a key.
    """
    parsed = Parsed()
    node, operands = root, [Word(text, at) for at, text in enumerate(argv)]
    unknown: list[Word] = operands
    operands = []
    while True:
        fresh, unknown = _Level(node, parsed).read(unknown)
        operands += fresh
        if VERSION in parsed.options:
            parsed.kind = VERSION
            return parsed
        child = node.find(operands[0].text) if operands else None
        if child is None:
            return _end(node, parsed, operands, unknown)
        node, operands = child, operands[1:]
        parsed.path = (*parsed.path, child.name)


def _end(node: Node, parsed: Parsed, operands: list[Word], unknown: list[Word]) -> Parsed:
    """The last level: help, or an action with its arguments counted."""
    parsed.node = node
    if _asks_for_help(node, operands, unknown):
        parsed.kind = HELP
        return parsed
    if node.commands and operands:
        raise _unknown_command(node, parsed, operands[0].text)
    if unknown:
        raise _unknown_option(node, parsed, unknown[0].text)
    _count(node, parsed, len(operands))
    parsed.operands = tuple(word.text for word in operands)
    return parsed


def _asks_for_help(node: Node, operands: list[Word], unknown: list[Word]) -> bool:
    if node.commands and ((node.helps and operands and operands[0].text == "help") or not (operands or unknown)):
        return True
    return any(word.text in _HELP for word in unknown)


def _count(node: Node, parsed: Parsed, given: int) -> None:
    wanted = sum(argument.startswith("<") for argument in node.arguments)
    if given < wanted:
        raise _malformed(parsed, f"{_line(parsed)} wants {node.arguments[given]}")
    if given > len(node.arguments):
        raise _malformed(parsed, f"{_line(parsed)} takes {len(node.arguments)} arguments, not {given}")


@dataclass(slots=True)
class _Level:
    """One pass of commander's parseOptions: takes the options `node` knows, leaves the others to the next level."""

    node: Node
    parsed: Parsed
    flags: dict[str, Option] = field(init=False)
    rest: list[Word] = field(default_factory=list)
    operands: list[Word] = field(default_factory=list)
    unknown: list[Word] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.flags = self.node.flags()

    def read(self, words: list[Word]) -> tuple[list[Word], list[Word]]:
        self.rest = words[::-1]
        while self.rest and VERSION not in self.parsed.options:
            word = self.rest.pop()
            if word.text == "--":
                self._leave_options(word)
            elif not (self._whole(word) or self._cluster(word) or self._joined(word)):
                self._keep(word)
        return self.operands, self.unknown

    def _leave_options(self, word: Word) -> None:
        """`--` ends the options; a level below has to see it too once there is something unknown."""
        if self.unknown:
            self.unknown += [word, *self.rest[::-1]]
        else:
            self.operands += self.rest[::-1]
        self.rest = []

    def _whole(self, word: Word) -> bool:
        option = self.flags.get(word.text) if _may_be_option(word.text) else None
        if option is None:
            return False
        if option.value == "required" or (option.value == "optional" and self._value_follows()):
            if not self.rest:
                raise _malformed(self.parsed, f"{option.long} wants a value")
            value = self.rest.pop()
            self._set(option, value.text, {word.at, value.at})
        else:
            self._set(option, True, {word.at})
        return True

    def _value_follows(self) -> bool:
        return bool(self.rest) and (not _may_be_option(self.rest[-1].text) or _is_negative(self.rest[-1].text))

    def _cluster(self, word: Word) -> bool:
        """`-vy` is `-v -y`; `-xVALUE` where x takes a value."""
        text, at = word.text, 1
        # In one pass: what is left of a cluster only becomes a word again where a letter is no flag of this command.
        # Nobody writes a long one, and each letter costs time in which the keeper serves nobody else.
        while text[0:1] == "-" and len(text) > at + 1 and (option := self.flags.get("-" + text[at])) is not None:
            if option.value != "none":
                self._set(option, text[at + 1 :], {word.at})
                return True
            self._set(option, True, {word.at})
            at += 1
            if at > _LONGEST_CLUSTER:
                raise _malformed(self.parsed, f"more than {_LONGEST_CLUSTER} options in one word")
        if at > 1:
            self.rest.append(Word("-" + text[at:], word.at))
        return at > 1

    def _joined(self, word: Word) -> bool:
        """`--table=messages`; commander does not take `--prod=true`."""
        match = _WITH_VALUE.match(word.text)
        option = self.flags.get(match[1]) if match else None
        if match is None or option is None or option.value == "none":
            return False
        self._set(option, word.text[match.end() :], {word.at})
        return True

    def _keep(self, word: Word) -> None:
        """To the operands until the first thing that looks like an option, then everything to the level below."""
        number = not self.node.commands and _is_negative(word.text)
        if self.unknown or (_may_be_option(word.text) and not number):
            self.unknown.append(word)
        else:
            self.operands.append(word)

    def _set(self, option: Option, value: str | bool, places: set[int]) -> None:
        if option.choices and value is not True and value not in option.choices:
            raise _malformed(self.parsed, f"{option.long} is one of {', '.join(option.choices)}")
        self.parsed.options[option.name] = value
        self.parsed.places.setdefault(option.name, set()).update(places)


def _may_be_option(text: str) -> bool:
    return len(text) > 1 and text[0] == "-"


def _is_negative(text: str) -> bool:
    return _NEGATIVE_NUMBER.fullmatch(text) is not None


def _line(parsed: Parsed) -> str:
    return " ".join(("convex", *parsed.path))


def _malformed(parsed: Parsed, message: str) -> GateError:
    return GateError("unknown_option", message, remedy=f"See `{_line(parsed)} --help`.")


def _unknown_command(node: Node, parsed: Parsed, word: str) -> GateError:
    known = [name for command in node.commands for name in (command.name, *command.aliases)]
    return GateError(
        "unknown_command",
        f"{_line(parsed)} has no command {word[:_SHOWN]!r} that the gate knows{hint(word[:_SHOWN], known)}",
        remedy="`gate convex help` lists Convex's commands; docs/contract.md says which ones the gate takes.",
    )


def _unknown_option(node: Node, parsed: Parsed, word: str) -> GateError:
    flag = (word.partition("=")[0] if word.startswith("--") else word[:2])[:_SHOWN]
    known = [option.long for option in node.options if option.refused is None]
    return GateError(
        "unknown_option",
        f"{_line(parsed)} has no option {flag!r}{hint(flag, known)}",
        remedy=f"See `{_line(parsed)} --help`.",
    )
