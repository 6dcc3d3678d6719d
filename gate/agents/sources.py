"""Which files an agent reads its configuration from, and what they hold. Judges nothing, changes nothing."""

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gate.agents import files, jsonc, toml_text

_Place = Literal["folder", "home", "system"]
# Where each agent looks, its administrator's files last. Strict: a comment or a comma too many loses the whole file.
_TABLE: tuple[tuple[str, _Place, str, bool], ...] = (
    ("codex", "folder", ".codex/config.toml", True),
    ("codex", "folder", ".codex/hooks.json", True),
    ("codex", "home", ".codex/config.toml", True),
    ("codex", "home", ".codex/hooks.json", True),
    ("codex", "system", "etc/codex/config.toml", True),
    ("codex", "system", "etc/codex/requirements.toml", True),
    ("claude", "folder", ".mcp.json", True),
    ("claude", "folder", ".claude/settings.json", False),
    ("claude", "folder", ".claude/settings.local.json", False),
    ("claude", "home", ".claude.json", False),
    ("claude", "home", ".claude/settings.json", False),
    ("claude", "system", "etc/claude-code/managed-settings.json", False),
    ("claude", "system", "etc/claude-code/managed-mcp.json", False),
    ("claude", "system", "Library/Application Support/ClaudeCode/managed-settings.json", False),
    ("gemini", "folder", ".gemini/settings.json", False),
    ("gemini", "home", ".gemini/settings.json", False),
    ("gemini", "system", "etc/gemini-cli/settings.json", False),
    ("gemini", "system", "Library/Application Support/GeminiCli/settings.json", False),
    ("cursor", "folder", ".cursor/mcp.json", False),
    ("cursor", "folder", ".cursor/hooks.json", False),
    ("cursor", "home", ".cursor/mcp.json", False),
    ("cursor", "home", ".cursor/hooks.json", False),
    ("cursor", "system", "etc/cursor/hooks.json", False),
    ("cursor", "system", "Library/Application Support/Cursor/hooks.json", False),
)
_PREFIX = {"folder": "", "home": "~/", "system": "/"}


@dataclass(frozen=True, slots=True)
class Source:
    """One file that an agent reads. `shown` is its name for people; `problem` says why it cannot be read."""

    agent: str
    place: _Place
    path: str
    text: str = ""
    data: Any = None
    problem: str | None = None

    @property
    def shown(self) -> str:
        """The file's name for people."""
        return _PREFIX[self.place] + self.path

    @property
    def managed(self) -> bool:
        """Whether it is the administrator's."""
        return self.place == "system"


def sources(folder: Path, home: Path, system: Path) -> Iterator[Source]:
    """Every file of the table that is there, read as its agent reads it."""
    roots = {"folder": folder, "home": home, "system": system}
    for agent, place, path, strict in _TABLE:
        if place != "folder" and roots[place] / path == folder / path:
            continue
        data = content(roots[place] / path)
        if data is not None:
            yield _narrowed(_source(Source(agent, place, path), data, strict), folder)


def _narrowed(source: Source, folder: Path) -> Source:
    """Claude Code's own file is about every project and holds what was typed: only what counts here is looked at."""
    if source.path != ".claude.json" or not isinstance(source.data, dict):
        return source
    here = at(source.data, "projects", str(folder))
    data = {"mcpServers": source.data.get("mcpServers"), "projects": {str(folder): here}}
    return Source(source.agent, source.place, source.path, "", data)


def content(path: Path) -> bytes | None:
    """The bytes of a file; None for one that is not there or cannot be taken."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as opened:
            return opened.read(files.LARGEST)
    except OSError:
        return None


def _source(bare: Source, data: bytes, strict: bool) -> Source:
    text = data.decode("utf-8", "replace")
    parsed, problem = _parsed(bare.path, text, strict)
    return Source(bare.agent, bare.place, bare.path, text, parsed, problem)


def _parsed(path: str, text: str, strict: bool) -> tuple[Any, str | None]:
    """What the text means, or where it is broken as `LINE:COL: what`."""
    try:
        if path.endswith(".toml"):
            return toml_text.data(text), None
        return json.loads(text) if strict else jsonc.data(text), None
    except tomllib.TOMLDecodeError as error:
        line, column = toml_text.position(text, error)
    except json.JSONDecodeError as error:
        line, column = error.lineno, error.colno
    except jsonc.Broken as error:
        line = text.count("\n", 0, error.offset) + 1
        column = error.offset - text.rfind("\n", 0, error.offset)
    except RecursionError:
        line, column = 1, 1
    return None, f"{line}:{column}"


def at(data: Any, *path: str) -> Any:
    """What stands at `path`; None where there is nothing, or no table on the way."""
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return data


def tables(data: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each table within `data`, with its own name; the whole under an empty one."""
    waiting: list[tuple[str, Any]] = [("", data)]
    while waiting:
        name, value = waiting.pop()
        if isinstance(value, dict):
            yield name, value
            waiting += value.items()
        elif isinstance(value, list):
            waiting += ((name, item) for item in value)
