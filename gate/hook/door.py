"""`gate hook AGENT`: send an agent's pre-tool event to the keeper and print the answer. Decides only without a keeper.

Standard library only: an agent waits for it before every command (docs/performance.md).
"""

import os
import sys

from gate.cli import sight
from gate.errors import GateError
from gate.hook import answers
from gate.intent.event import AGENTS, Asked, read_event
from gate.intent.mention import mentions
from gate.keeper import client

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_LARGEST = 2 * 1024 * 1024
_PACKAGE = "package.json"
# Under the 2 seconds after which the installed line denies without a reason.
_PATIENCE_SECONDS = 1.5


def main(arguments: list[str]) -> int:
    """Answer the event on stdin for the agent that `arguments` name; returns the exit status.

    Refuses what it cannot take: an unknown agent, an event of more than 2 MiB or that is no JSON object.
    """
    agent = arguments[0] if len(arguments) == 1 else ""
    if agent not in AGENTS:
        return _print(answers.refused("", f"gate: usage: gate hook {'|'.join(AGENTS)}"))
    event = _stdin()
    if event is None:
        return _print(answers.refused(agent, "gate: limit: the event is larger than 2 MiB; send less at once"))
    try:
        asked = read_event(event)
    except ValueError:
        return _print(answers.refused(agent, "gate: usage: the event cannot be read, so the call is refused"))
    if not (asked.shell or asked.servers or asked.unread):
        return _print(answers.passed())
    return _print(_answer(agent, event, asked))


def _stdin() -> bytes | None:
    data = bytearray()
    while len(data) <= _LARGEST:
        chunk = os.read(0, 1 << 16)
        if not chunk:
            return bytes(data)
        data += chunk
    return None


def _answer(agent: str, event: bytes, asked: Asked) -> tuple[str, str, int]:
    _enter(asked)
    try:
        result = _ask(agent, event)
        verdict = result["verdict"]
        if verdict == "pass":
            return answers.passed()
        if verdict == "rewrite":
            return answers.rewritten(result["input"])  # type: ignore[arg-type]
        return answers.refused(agent, str(result["reason"]))
    except (GateError, OSError, KeyError) as error:
        return _alone(agent, asked, event, error)


def _ask(agent: str, event: bytes) -> "Mapping[str, object]":
    connection = client.connect()
    with connection:
        connection.settimeout(_PATIENCE_SECONDS)
        answer: Mapping[str, Any] = client.ask(
            connection,
            "hook",
            _package_from,
            agent=agent,
            event=sight.text(event),
            gate_yaml=sight.gate_yaml(),
            package_json=_package_from("."),
        )
        result: Mapping[str, object] = answer["result"]
        return result


def _alone(agent: str, asked: Asked, event: bytes, error: Exception) -> tuple[str, str, int]:
    """The answer where no keeper gives one: what names Convex in any spelling is refused, the rest goes on."""
    named = event.decode("utf-8", "replace") if asked.unread else asked.shell or ""
    if asked.of_gate or not (asked.around or mentions(named)):
        return answers.passed()
    code = error.code if isinstance(error, GateError) else "keeper_unavailable"
    reason = f"gate: {code}: no keeper judged this call, and it names Convex; see `gate keeper status`"
    return answers.refused(agent, reason)


def _enter(asked: Asked) -> None:
    """Stand where the call would run; a folder that cannot be entered is none for the call either."""
    for folder in asked.folder:
        try:
            os.chdir(os.path.expanduser(folder))
        except OSError:
            return


def _package_from(folder: str) -> str | None:
    """The nearest package.json from `folder` upwards, as it travels."""
    place = os.path.abspath(os.path.expanduser(folder))
    while True:
        content = sight.read_text(os.path.join(place, _PACKAGE))
        parent = os.path.dirname(place)
        if content is not None or parent == place:
            return content
        place = parent


def _print(answer: tuple[str, str, int]) -> int:
    out, err, status = answer
    sys.stdout.write(out)
    sys.stdout.flush()
    sys.stderr.write(err.encode("utf-8", "backslashreplace").decode("utf-8"))
    sys.stderr.flush()
    return status
