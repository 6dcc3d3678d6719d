"""Log entries of a deployment as Convex's tools show them: chosen, and as text. Reads nothing from anywhere.

Source: convex 1.48.0, src/cli/lib/logs.ts and src/cli/lib/mcp/tools/logs.ts. The time is the machine's own, written as
en-US whatever the locale.

Standard library only: this is the hot path of `gate mcp`.
"""

import json
import re
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Entry = Mapping[str, Any]

_TOKENS_PER_CHARACTER = 0.33
_LEVEL = re.compile(r"\[(.*?)\] ")
# What a terminal would act on; no text of a log is one.
_CONTROLS = re.compile(r"[\x1b\x9b][\[\]()#;?]*(?:\d{1,4}(?:;\d{0,4})*)?[\dA-PR-TZcf-nq-uy=><~]")
_NOON = 12


def line_of_call(path: str, line: str) -> str:
    """One log line of a function that was run, as Convex's client passes it on."""
    found = _LEVEL.match(line)
    if found is None:
        return f"error: [CONVEX ?({path})] Could not parse console.log"
    return f"info: %c[CONVEX ?({path})] [{found[1]}] color:rgb(0, 145, 255) {line[found.end() :]}"


def chosen(entries: "Sequence[Entry]", status: str, most: int | None, tokens: int) -> "list[Entry]":
    """The entries of `status` (all | success | failure), of the last `most` as many as `tokens` are enough for."""
    kept = [entry for entry in entries if status == "all" or _outcome(entry) == status]
    kept = kept if most is None else kept[-most:]
    made: list[Entry] = []
    spent = 0.0
    for entry in kept:
        spent += len(_json(entry)) * _TOKENS_PER_CHARACTER
        if spent > tokens:
            break
        made.append(entry)
    return made


def as_lines(entries: "Sequence[Entry]") -> str:
    """Each entry as JSON on a line of its own."""
    return "\n".join(map(_json, entries))


def as_text(entries: "Sequence[Entry]") -> str:
    """What the functions logged, and how they failed."""
    lines: list[str] = []
    for entry in entries:
        head = f"[CONVEX {str(entry.get('udfType'))[:1]}({entry.get('identifier')})]"
        logged = entry.get("logLines")
        if logged is None:
            continue
        lines += [_logged(head, entry["timestamp"] * 1000, line) for line in logged]
        if entry.get("error"):
            lines.append(f"{_clock(entry['timestamp'] * 1000)} {head} {entry['error']}")
    return "\n".join(_CONTROLS.sub("", line) for line in lines)


def _logged(head: str, milliseconds: float, line: "Any") -> str:
    if not isinstance(line, str):
        cut = " (truncated due to length)" if line.get("isTruncated") else ""
        return f"{_clock(line['timestamp'])} {head} [{line['level']}] {' '.join(line['messages'])}{cut}"
    found = _LEVEL.match(line)
    if found is None:
        return f"{head} Could not parse console.log"
    return f"{_clock(milliseconds)} {head} [{found[1]}] {line[found.end() :]}"


def _outcome(entry: "Entry") -> str | None:
    if entry.get("kind") != "Completion":
        return None
    return "success" if entry.get("error") is None else "failure"


def _clock(milliseconds: float) -> str:
    """`2/19/2026, 10:04:05 AM`."""
    at = time.localtime(milliseconds // 1000)
    half = "AM" if at.tm_hour < _NOON else "PM"
    hour = (at.tm_hour - 1) % _NOON + 1
    return f"{at.tm_mon}/{at.tm_mday}/{at.tm_year}, {hour}:{at.tm_min:02}:{at.tm_sec:02} {half}"


def _json(value: "Any") -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
