"""What the reading of one shell text knows and has found so far. Reads nothing and knows no program."""

import posixpath
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gate import world
from gate.intent.shell_tables import COMMANDS, FILES, UNKNOWN
from gate.intent.shell_words import Variables

# Programs that one text may start, so that no text takes long: scripts and functions multiply. Long ones cost more.
_MOST = 4000
_DEEPEST = 40
_LONGEST_MS = 300


@dataclass(frozen=True, slots=True)
class Call:
    """One start of the Convex CLI. `words`: those after `convex`, UNKNOWN where they are not known before it runs.

    `bare`: the program was named `convex` with no package runner before it.
    """

    words: tuple[str, ...]
    bare: bool = False

    @property
    def serves(self) -> bool:
        """Whether it is the start of Convex's MCP server."""
        return next((word for word in self.words if not word.startswith("-")), None) == "mcp"


@dataclass(slots=True)
class Ground:
    """State of one reading. `run` starts a program by its words, `read` reads another shell text in place.

    `packages`: scripts by the folder whose package.json is the nearest one; `wanted`: folders that were looked for.
    `doubts` refuse by themselves, `suspects` only a text that names Convex somewhere. `folder` is None where `cd` went
    to a place that is not known. `written` are files that it writes, `data` what may be in them, `tried` what of that
    was read as a shell text. `unseen`: there was too much in it to look at everything.
    """

    packages: Mapping[str, Mapping[str, str]]
    run: Callable[[list[str]], None]
    read: Callable[[str], None]
    variables: Variables = field(default_factory=Variables)
    aliases: dict[str, str] = field(default_factory=dict)
    functions: dict[str, Callable[[list[str]], None]] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    suspects: list[str] = field(default_factory=list)
    wanted: set[str] = field(default_factory=set)
    written: set[str] = field(default_factory=set)
    data: list[str] = field(default_factory=list)
    tried: set[str] = field(default_factory=set)
    folder: str | None = "."
    stdin: str | None = None
    nesting: int = 0
    active: list[tuple[str, str]] = field(default_factory=list)
    left: int = _MOST
    until: int = field(default_factory=lambda: world.boot_ms() + _LONGEST_MS)
    unseen: bool = False

    def spend(self, cost: int = 0) -> bool:
        """Take `cost` and one of what is left to spend; False when there is none, or the nesting is too deep.

        What was not looked at then stays in doubt for good.
        """
        self.left -= 1 + cost
        within = self.nesting <= _DEEPEST
        self.unseen = self.unseen or not within or self.spent
        return within and not self.spent

    @property
    def spent(self) -> bool:
        """Whether there is nothing left to spend, or no time."""
        return self.left < 0 or world.boot_ms() > self.until

    def call(self, words: list[str], *, bare: bool = False) -> None:
        """Note a start of the Convex CLI."""
        self.calls.append(Call(tuple(words), bare))

    def is_cli(self, path: str) -> bool:
        """Whether `path` is a file by which the package `convex` is started, seen from here."""
        here = posixpath.normpath(posixpath.join(self.folder or ".", path))
        return any(FILES.fullmatch(place) for place in (path, here))

    def enter(self, folder: str) -> str | None:
        """Where `folder` leads from here; None when that is not known."""
        if UNKNOWN in folder or (self.folder is None and not folder.startswith(("/", "~"))):
            return None
        return posixpath.normpath(folder if folder.startswith("~") else posixpath.join(self.folder or "/", folder))

    def scripts(self, folder: str | None) -> Mapping[str, str] | None:
        """Scripts of the package that `folder` is in; None when they are not known, which is noted."""
        if folder is None:
            return None
        if folder not in self.packages:
            self.wanted.add(folder)
        return self.packages.get(folder)

    def guess(self, attempt: Callable[[], None]) -> None:
        """Note what `attempt` finds if words that may be data are run; only plain starts of the CLI count."""
        calls, doubts, suspects = len(self.calls), len(self.doubts), len(self.suspects)
        attempt()
        del self.doubts[doubts:], self.suspects[suspects:]
        found = self.calls[calls:]
        self.calls[calls:] = [call for call in found if not call.bare or COMMANDS.intersection(call.words[:1])]
