"""What is amiss with an agent's installation, and the ways around it that stay. Mends nothing, starts no agent.

Each check is what the real agents do (docs/agents.md); names of variables are shown, never their values.
"""

import json
import os
import re
import shlex
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gate.agents import catalogue, edit, jsonc, trust
from gate.agents.catalogue import File
from gate.agents.pieces import Misfit, state
from gate.agents.sources import Source, at, content, sources, tables
from gate.errors import ConfigInvalid
from gate.hook import wrapper

_FLAGS = ("--dangerously-enable-production-deployments", "--cautiously-allow-production-pii")
_ALSO_FLAGS = ("package.json", ".vscode/mcp.json")
_HARMLESS = "CONVEX_AGENT_MODE"
_SERVERS = ("mcp_servers", "mcpServers")
_REMOVE = {
    "codex": "`codex mcp remove {}`",
    "claude": "`claude mcp remove {}`",
    "gemini": "`gemini mcp remove {}`",
    "cursor": "delete `mcpServers.{}` from the file",
}
# Members of a hook that each agent documents.
_KNOWN = {
    "codex": {"type", "command", "timeout", "async", "statusMessage"},
    "claude": {"type", "command", "timeout", "async", "statusMessage", "if", "once"},
    "gemini": {"type", "command", "timeout", "name", "description"},
    "cursor": {"type", "command", "timeout", "matcher", "failClosed", "loop_limit"},
}
# Table, member and value by which an agent runs no hook at all.
_SWITCHED_OFF = {
    "codex": (("features", "hooks", False), ("features", "codex_hooks", False)),
    "claude": (("", "disableAllHooks", True),),
    "gemini": (("hooksConfig", "enabled", False),),
    "cursor": (),
}
_OTHERS_WRITE = 0o022
_WAYS = {
    "codex": (
        "codex: rules stop a command as it is typed; a script, an alias or an open shell (`write_stdin`) passes them",
        "codex: without --managed, `--ignore-rules` and `--dangerously-bypass-approvals-and-sandbox` switch it off",
        "codex: outside its sandbox /proc shows the variables of the process that started it, also excluded ones",
    ),
    "claude": (
        "claude: settings set variables and take none away: a key in the environment it is started from stays in reach",
        "claude: `permissions.deny` does not see into `bash -c` or scripts",
        "claude: a hook that crashes or answers late lets the tool run; only the wrapper line makes it a denial",
    ),
    "gemini": (
        "gemini: GEMINI_CLI_SYSTEM_SETTINGS_PATH points it at other system settings; hooks need a trusted folder",
        "gemini: its own environment filter is off by default: a key in the environment stays in reach",
    ),
    "cursor": (
        "cursor: hooks see the agent's commands only, not its terminals nor what a person types",
        "cursor: its files have no list of allowed MCP servers: another one may be added in its settings",
    ),
}
_ANY_WAY = (
    "any agent: what can read a key (.env files, the environment, ~/.convex) reaches Convex without gate; custody"
)


def ways_around(folder: Path) -> list[str]:
    """The ways that stay open for the agents that are installed in `folder`, one sentence each; none for none."""
    here = [agent for agent in catalogue.AGENTS if _is_installed(agent, folder)]
    ways = [way for agent in here for way in _WAYS[agent]]
    return [f"{_ANY_WAY} takes the keys away, hooks and rules only steer", *ways] if here else []


def findings(folder: Path, home: Path, system: Path = Path("/")) -> list[str]:
    """What is amiss in the files that the agents read for the project in `folder`, one sentence each, in order.

    `home` is the person's folder, `system` the root of the administrator's files. An agent that is not installed here
    is checked only for what goes around the gate. Raises nothing for files that cannot be read: they are findings.
    """
    folder = folder.resolve()
    read = list(sources(folder, home, system))
    found = [finding for source in read for check in _CHECKS for finding in check(source)]
    found += _flags(read, folder)
    for agent in catalogue.AGENTS:
        if _is_installed(agent, folder):
            mine = [source for source in read if source.agent == agent]
            found += [*_incomplete(agent, folder, mine), *trust.findings(agent, folder, home, mine)]
    return list(dict.fromkeys(found))


def direct_servers(folder: Path, home: Path, agent: str) -> list[str]:
    """The findings on servers of Convex's own that `agent` would start beside the gate's."""
    read = sources(folder.resolve(), home, Path("/"))
    return [finding for source in read if source.agent == agent for finding in _direct(source)]


def _broken(source: Source) -> Iterator[str]:
    if source.problem is not None:
        yield f"{source.shown}:{source.problem}: {source.agent} cannot read it, so nothing in it counts"


def _direct(source: Source) -> Iterator[str]:
    for name, entry in _servers(source.data):
        words = " ".join(_words(entry))
        if not catalogue.is_server(entry) and re.search(r"\bconvex\b.*\bmcp\b", words):
            how = _REMOVE[source.agent].format(shlex.quote(name))
            yield f"{source.shown}: MCP server {name} is Convex's own and goes around gate; remove it: {how}"


def _servers(data: Any) -> Iterator[tuple[str, Any]]:
    for _, table in tables(data):
        for key in _SERVERS:
            entries = table.get(key)
            if isinstance(entries, dict):
                yield from entries.items()


def _words(entry: Any) -> Iterator[str]:
    """Command and arguments of a server."""
    if isinstance(entry, dict):
        yield str(entry.get("command", ""))
        arguments = entry.get("args")
        yield from map(str, arguments if isinstance(arguments, list) else [])


def _variables(source: Source) -> Iterator[str]:
    names = {name for key, table in tables(source.data) if key in ("env", "set") for name in table if table[name] != ""}
    for _, table in tables(source.data):
        passed = table.get("env_vars")
        names.update(map(str, passed if isinstance(passed, list) else []))
    for name in sorted(names):
        if name.startswith("CONVEX_") and name != _HARMLESS:
            yield f"{source.shown}: gives the agent {name}; take it out and store keys with `gate key set`"


def _hooks(source: Source) -> Iterator[str]:
    """The gate's hooks as this agent takes them."""
    for handler in trust.handlers(source):
        unknown = sorted(set(handler) - _KNOWN[source.agent])
        if unknown:
            yield f"{source.shown}: a hook of gate has {', '.join(unknown)}, which {source.agent} does not document"
        if handler.get("async"):
            yield f"{source.shown}: a hook of gate is `async`: its answer comes too late to deny"
        if source.agent != "cursor" and handler.get("type") != "command":
            yield f'{source.shown}: a hook of gate is not of type "command", so {source.agent} skips it'
        yield from _command(source, handler["command"])


def _command(source: Source, command: str) -> Iterator[str]:
    program = _program(command)
    if command != wrapper.line(source.agent, program):
        yield (
            f"{source.shown}: a hook of gate lacks the wrapper line, so a crash or a missing program lets the tool "
            f"run; call `gate install {source.agent}`"
        )
    real = shutil.which(program)
    if real is None:
        closed = command == wrapper.line(source.agent, program)
        what = "every call is denied" if closed else "every call runs"
        yield f"{source.shown}: the hook's program {program} is not there: {what}"
    elif source.managed and _changeable(Path(real)):
        yield f"{source.shown}: {program} can be changed by others than root, and the hook with it"


def _program(command: str) -> str:
    """The word before `hook`, which starts the gate."""
    try:
        words = shlex.split(command)
    except ValueError:
        return "gate"
    places = [place for place in range(1, len(words)) if words[place] == "hook"]
    return words[places[0] - 1] if places else "gate"


def _changeable(path: Path) -> bool:
    """Whether somebody but root may write the file, or replace it or a link or folder on the way to it."""
    real = Path(os.path.realpath(path))
    states = [place.stat() for place in (real, *real.parents, *path.parents)]
    return any(state_.st_uid != 0 or _opened(state_) for state_ in states)


def _opened(status: os.stat_result) -> bool:
    """Writable for others; in a folder with the sticky bit they cannot replace what is not theirs."""
    return bool(status.st_mode & _OTHERS_WRITE) and not (stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX)


def _off(source: Source) -> Iterator[str]:
    for table, member, value in _SWITCHED_OFF[source.agent]:
        path = (table, member) if table else (member,)
        if at(source.data, *path) is value:
            yield f"{source.shown}: {'.'.join(path)} is {json.dumps(value)}, so {source.agent} runs no hook"


def _root_keys(source: Source) -> Iterator[str]:
    """Codex refuses a hooks.json for one member more; measured on 0.169."""
    if source.path == ".codex/hooks.json" and isinstance(source.data, dict):
        unknown = sorted(set(source.data) - {"hooks", "description"})
        if unknown:
            yield f"{source.shown}: holds {', '.join(unknown)}, so Codex refuses the whole file"


_CHECKS: tuple[Callable[[Source], Iterator[str]], ...] = (
    _broken,
    _direct,
    _variables,
    _hooks,
    _off,
    _root_keys,
)


def _flags(read: list[Source], folder: Path) -> Iterator[str]:
    texts = [(source.shown, source.text) for source in read]
    texts += [(name, (content(folder / name) or b"").decode("utf-8", "replace")) for name in _ALSO_FLAGS]
    for shown, text in texts:
        for number, line in enumerate(text.split("\n"), 1):
            yield from (f"{shown}:{number}: {flag} opens production to the agent" for flag in _FLAGS if flag in line)


def _is_installed(agent: str, folder: Path) -> bool:
    return any(_held(file, folder) for file in catalogue.files(agent, "gate"))


def _held(file: File, folder: Path) -> bool:
    data = content(folder / file.path)
    if data is None:
        return False
    try:
        return edit.holds(file, data.decode("utf-8", "replace"))
    except (jsonc.Broken, ValueError, Misfit):
        return False


def _incomplete(agent: str, folder: Path, read: list[Source]) -> Iterator[str]:
    """Pieces that are not there. The administrator's hooks stand in for the project's."""
    hooked = any(source.managed and any(True for _ in trust.handlers(source)) for source in read)
    for file in catalogue.files(agent, "gate"):
        for lacking in _lacking(file, folder):
            if not (hooked and lacking.startswith("hooks")):
                yield f"{file.path}: {lacking} of gate's is missing; run `gate install {agent}`"


def _lacking(file: File, folder: Path) -> list[str]:
    data = content(folder / file.path)
    if file.format == "text":
        return [] if _held(file, folder) else ["the paragraph"]
    try:
        parsed = edit.parsed(file, file.path, edit.decoded(file.path, data or b"")) if data is not None else {}
        states = [(piece, state(parsed, piece)) for piece in file.pieces]
    except (ConfigInvalid, Misfit):
        return ["everything"]
    return [".".join(piece.path) for piece, how in states if how in ("absent", "foreign")]
