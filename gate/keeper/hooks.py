"""The operation `hook`: what the gate says to an agent's pre-tool event. Steering and audit; custody is the boundary.

The answer's form is the door's; docs/hooks.md says what is found in a shell text and what is not.
"""

import asyncio
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gate import world
from gate.errors import GateError, LedgerError
from gate.intent import shell
from gate.intent.event import AGENTS, Asked, read_event
from gate.intent.mention import mentions
from gate.intent.shell import Reading, read_shell
from gate.intent.shell_tables import UNKNOWN
from gate.keeper import members
from gate.keeper.project import Project
from gate.keeper.server import Message, Session

_PASS, _REWRITE, _REFUSE = "pass", "rewrite", "refuse"
_HERE = "."
# A text that runs scripts of more folders than this is not followed further.
_MOST_FOLDERS = 4
_LONGEST_LINE = 300
_PLAIN = re.compile(r"[A-Za-z0-9_@%+=:,./{}\[\]-]+", re.ASCII)
_KEY = "--admin-key"
_HIDDEN = "<value>"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`pass`, `rewrite` with the tool's new `input`, or `refuse` with the `reason` for the model.

    `why` is for the record and holds nothing of the command.
    """

    kind: str
    why: str = ""
    reason: str | None = None
    input: Mapping[str, Any] | None = None


async def hook(project: Project, session: Session, message: Message) -> None:
    """Judge the event that an agent's hook was given; every verdict but `pass` is on record before it is sent.

    The door may be asked for the package.json of folders that the text goes to. Raises GateError `usage` for a
    message that is none.
    """
    agent, event = members.text(message, "agent"), members.octets(message.get("event"))
    packages = {_HERE: _scripts(_optional_octets(message, "package_json"))}
    verdict = await _verdict(session, agent, event, packages)
    if verdict.kind != _PASS:
        verdict = await _recorded(project, session, agent, event, verdict)
    await session.send({"result": {"verdict": verdict.kind, "reason": verdict.reason, "input": verdict.input}})


async def _verdict(session: Session, agent: str, event: bytes, packages: dict[str, Mapping[str, str]]) -> Verdict:
    if agent not in AGENTS:
        raise GateError("usage", "the hook is for no agent that the gate knows", remedy=f"Use {', '.join(AGENTS)}.")
    try:
        asked = read_event(event)
    except ValueError:
        return _refusal("event", "usage: the event cannot be read, so the call is refused")
    if asked.of_gate:
        return Verdict(_PASS)
    if asked.around:
        return _refusal(
            "mcp tool",
            "denied_by_rule: this MCP server goes around the gate",
            "Use the tools of the MCP server `gate` (it runs `gate mcp`).",
        )
    if asked.shell is None:
        return _blind(event) if asked.unread else Verdict(_PASS)
    return judge(agent, asked, await _reading(session, asked.shell, packages))


async def _reading(session: Session, text: str, packages: dict[str, Mapping[str, str]]) -> Reading:
    """Read `text` beside the event loop, again as long as it leads to folders that were not seen."""
    reading = await asyncio.to_thread(read_shell, text, packages)
    while (unseen := sorted(reading.wanted - packages.keys())) and len(packages) <= _MOST_FOLDERS:
        packages[unseen[0]] = _scripts(await session.fetch(unseen[0]))
        reading = await asyncio.to_thread(read_shell, text, packages)
    return reading


def judge(agent: str, asked: Asked, reading: Reading) -> Verdict:
    """What `reading` of the text that `agent` asked to run comes to."""
    if reading.kind == shell.NONE:
        return Verdict(_PASS)
    if reading.kind == shell.SERVER:
        return _refusal(
            "convex mcp",
            "denied_by_rule: Convex's MCP server goes around the gate",
            "Do not start `convex mcp start`: configure `gate mcp` as the MCP server.",
        )
    if reading.kind == shell.UNCLEAR:
        return _refusal(
            f"unclear: {reading.why}",
            f"unknown_command: it names Convex, and what it runs cannot be told: {reading.why}",
            "Call the Convex CLI by itself and plainly: `gate convex ARG...`.",
        )
    if reading.rewritten is not None and _takes(agent, asked, reading):
        return Verdict(_REWRITE, "convex call", input={**asked.input, asked.member: reading.rewritten})
    lines = " && ".join(dict.fromkeys(_line(call.words) for call in reading.calls))
    return _refusal("convex call", "denied_by_rule: the Convex CLI runs through the gate only", f"Run instead: {lines}")


def _takes(agent: str, asked: Asked, reading: Reading) -> bool:
    """Whether the agent runs another text in place of its own, with no leave beside that.

    To Claude Code a new input is leave for the whole call, so none is given to a call that also writes a file.
    """
    return AGENTS[agent] and asked.rewritable and not (agent == "claude" and reading.writes)


def _line(words: Sequence[str]) -> str:
    """`gate convex WORDS` as a shell takes it, without values that are, or may be, secret."""
    shown = ["gate", "convex", *map(_shown, _without_secrets(list(words)))]
    line = " ".join(shown)
    return line if len(line) <= _LONGEST_LINE else "gate convex ARG..."


def _without_secrets(words: Sequence[str]) -> Iterator[str]:
    """Key-shaped words, the value of `--admin-key`, and what `env set` is given stand as a placeholder."""
    sets = words.index("set") if words[:1] == ["env"] and "set" in words else len(words)
    named = False
    for at, word in enumerate(words):
        name, equals, _ = word.partition("=")
        operand = at > sets and not word.startswith("-")
        if "|" in word or (operand and named) or words[at - 1 : at] == [_KEY]:
            yield _HIDDEN
        else:
            yield f"{name}={_HIDDEN}" if equals and (operand or name == _KEY) else word
        named = named or operand


def _shown(word: str) -> str:
    if UNKNOWN in word:
        return "ARG"
    plain = _PLAIN.fullmatch(word.removesuffix(_HIDDEN)) or word == _HIDDEN
    return word if plain else "'" + word.replace("'", "'\\''") + "'"


def _blind(event: bytes) -> Verdict:
    if not mentions(event.decode("utf-8", "replace")):
        return Verdict(_PASS)
    return _refusal("no command", "usage: a shell is called, but the event holds no command that can be read")


def _refusal(why: str, message: str, remedy: str = "") -> Verdict:
    return Verdict(_REFUSE, why, "\n".join([*[remedy] * bool(remedy), f"gate: {message}"]))


async def _recorded(project: Project, session: Session, agent: str, event: bytes, verdict: Verdict) -> Verdict:
    """`verdict` once it is on record; a refusal where it cannot be recorded. Never the command, only its digest."""
    written = {
        "agent": agent,
        "verdict": verdict.kind,
        "why": verdict.why,
        "sha256": hashlib.sha256(_command(event)).hexdigest(),
        "uid": session.peer.uid,
    }
    try:
        await project.record("hook", world.new_id("hook"), written)
    except LedgerError as error:
        return _refusal(error.code, f"{error.code}: what the gate says cannot be recorded")
    return verdict


def _command(event: bytes) -> bytes:
    """The text that a shell would run, else the event itself."""
    try:
        text = read_event(event).shell
    except ValueError:
        text = None
    return event if text is None else text.encode("utf-8", "surrogatepass")


def _scripts(data: bytes | None) -> Mapping[str, str]:
    """Scripts of a package.json; none where it holds none that npm would run."""
    try:
        package = json.loads((data or b"").decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return {}
    scripts = package.get("scripts") if isinstance(package, dict) else None
    found = scripts.items() if isinstance(scripts, dict) else ()
    return {name: text for name, text in found if isinstance(text, str)}


def _optional_octets(message: Message, name: str) -> bytes | None:
    return None if message.get(name) is None else members.octets(message[name])
