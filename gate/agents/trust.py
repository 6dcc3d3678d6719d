"""What keeps an agent from reading what is installed: trust in the folder, review of hooks, places. Mends nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gate.agents import catalogue, jsonc
from gate.agents.sources import Source, at, content, tables

_EVENTS = {
    "codex": ("PreToolUse",),
    "claude": ("PreToolUse",),
    "gemini": ("BeforeTool",),
    "cursor": ("beforeShellExecution", "beforeMCPExecution"),
}


def findings(agent: str, folder: Path, home: Path, read: list[Source]) -> Iterator[str]:
    """What keeps `agent` from reading the project's files; `read` are those that it looks at."""
    return _TRUST[agent](folder, home, read)


def handlers(source: Source) -> Iterator[dict[str, Any]]:
    """The gate's hooks in a file, where its agent looks for them."""
    mine = catalogue.is_handler(source.agent)
    for event in _EVENTS[source.agent]:
        yield from (table for _, table in tables(at(source.data, "hooks", event)) if mine(table))


def _codex_trust(folder: Path, home: Path, read: list[Source]) -> Iterator[str]:
    own = _data(read, "~/.codex/config.toml")
    if not any(at(own, "projects", str(place), "trust_level") == "trusted" for place in (folder, *folder.parents)):
        yield "Codex skips .codex/ (server, hook and rules) until this folder is trusted: start `codex` here once"
    key = f"{folder}/.codex/hooks.json:"
    known = at(own, "hooks", "state")
    managed = any(source.managed and any(True for _ in handlers(source)) for source in read)
    if not managed and not any(name.startswith(key) for name in (known if isinstance(known, dict) else ())):
        yield "Codex runs the hook only after its review: `/hooks` in a session; `codex exec` skips it silently"
    for stray in sorted((folder / ".codex").glob("*.rules")):
        yield f".codex/{stray.name}: Codex reads rules from .codex/rules/ only"
    yield from _lost_excludes(own, read)
    del home


def _data(read: list[Source], shown: str) -> Any:
    return next((source.data for source in read if source.shown == shown), None)


def _lost_excludes(own: Any, read: list[Source]) -> Iterator[str]:
    """A list of the project's replaces the person's own; measured on 0.169."""
    here, there = _excluded(_data(read, ".codex/config.toml")), _excluded(own)
    lost = [name for name in there if name not in here]
    if here and lost:
        yield (
            f".codex/config.toml: shell_environment_policy.exclude replaces yours of ~/.codex/config.toml; "
            f"add {', '.join(lost)} to it"
        )


def _excluded(data: Any) -> list[str]:
    names = at(data, "shell_environment_policy", "exclude")
    return [str(name) for name in names] if isinstance(names, list) else []


def _claude_trust(folder: Path, home: Path, read: list[Source]) -> Iterator[str]:
    del home
    if at(_data(read, "~/.claude.json"), "projects", str(folder), "hasTrustDialogAccepted") is not True:
        yield "Claude Code skips the server of .mcp.json until this folder is trusted: start `claude` here once"
    for source in read:
        refused = at(source.data, "disabledMcpjsonServers")
        if isinstance(refused, list) and "gate" in refused:
            yield f"{source.shown}: disabledMcpjsonServers holds gate, so its server is not started"


def _gemini_trust(folder: Path, home: Path, read: list[Source]) -> Iterator[str]:
    on = any(
        key == "folderTrust" and table.get("enabled") is True for source in read for key, table in tables(source.data)
    )
    raw = content(home / ".gemini" / "trustedFolders.json")
    try:
        trusted = jsonc.data((raw or b"{}").decode("utf-8", "replace"))
    except jsonc.Broken:
        trusted = {}
    if on and not any(at(trusted, str(place)) == "TRUST_FOLDER" for place in (folder, *folder.parents)):
        yield "Gemini CLI skips .gemini/settings.json until this folder is trusted: start `gemini` here once"


def _cursor_trust(folder: Path, home: Path, read: list[Source]) -> Iterator[str]:
    """Cursor keeps its trust in a database of its own: nothing that could be checked here."""
    del folder, home, read
    return iter(())


_TRUST: dict[str, Callable[[Path, Path, list[Source]], Iterator[str]]] = {
    "codex": _codex_trust,
    "claude": _claude_trust,
    "gemini": _gemini_trust,
    "cursor": _cursor_trust,
}
