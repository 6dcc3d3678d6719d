"""What comes back is data: bounded in size and rows, without secrets, and marked where it talks to a model.

Decides nothing, executes nothing and hides nothing but secrets. docs/mcp.md says what a reader finds where.

Standard library only: this is the hot path of `gate mcp`.
"""

import json
import math

from gate.mcp import answers, shapes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gate.mcp.catalogue import Tool

LARGEST = 256_000
MOST_ROWS = 1000
DEEPEST = 64
CUT = "convex-gate/cut"
SUSPICIOUS = "convex-gate/suspicious"
NOTE = "gate_note"
_MOST_NAMED = 20
_LONGEST_PATH = 200
_LONGEST_ERROR = 4000
_LONGEST_SECRET = 8192
_LARGEST_INTEGER = 2**53 - 1
# Values that were asked for as secrets: a decision about `deployment:env:view` let the call through.
_OPENED = {"envGet": ("value",), "envList": ("variables", "value")}


def parse(text: str) -> "Any":
    """The value that Convex's server wrote as `text`. Raises ValueError for what is no JSON."""
    try:
        return json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def result(tool: "Tool", arguments: "dict[str, Any]", value: "Any") -> "dict[str, Any]":
    """`value`, as `tool` gave it for `arguments`, as the result of `tools/call`."""
    if tool.name == "envList" and arguments.get("includeValues") is not True:
        value = _names_only(value)
    walk = _Walk(_OPENED.get(tool.name))
    made = answers.data(tool, walk.copy(value))
    if walk.cuts:
        note = f"The gate cut this short: {'; '.join(walk.cuts)}. Ask for less at once."
        made["structuredContent"] = {**made["structuredContent"], NOTE: note}
        made["content"] = [*made["content"], {"type": "text", "text": note}]
    meta = {name: found for name, found in ((CUT, walk.cuts), (SUSPICIOUS, walk.marks)) if found}
    return {**made, "_meta": meta} if meta else made


def failed(text: str) -> "dict[str, Any]":
    """What Convex says of a call that failed: the call was let through, and this is its answer."""
    shown = _masked(text, shapes.masked)
    shown = shown[:_LONGEST_ERROR] + "…" * (len(shown) > _LONGEST_ERROR)
    error = {"kind": "convex", "message": shown}
    made = {"content": [{"type": "text", "text": shown}], "structuredContent": {"error": error}, "isError": True}
    return {**made, "_meta": {SUSPICIOUS: ["error.message"]}} if shapes.instructs(shown) else made


def _names_only(value: "Any") -> "Any":
    """Convex's server leaves values out unless they are asked for; this does not depend on it."""
    variables = value.get("variables") if isinstance(value, dict) else None
    if not isinstance(variables, list):
        return value
    return {**value, "variables": [{"name": one.get("name")} for one in variables if isinstance(one, dict)]}


class _Walk:
    """One copy of a value; `cuts` says what is missing from it, `marks` where something talks to a model."""

    def __init__(self, opened: "tuple[str, ...] | None") -> None:
        self.cuts: list[str] = []
        self.marks: list[str] = []
        self._left = LARGEST
        self._opened = opened
        self._path: list[str | int] = []
        self._kinds: dict[type, Callable[[Any], Any]] = {dict: self._object, list: self._list, str: self._text}

    def copy(self, value: "Any") -> "Any":
        """`value` within bounds."""
        if len(self._path) > DEEPEST:
            self._note(self.cuts, "is nested too deep")
            return None
        return self._kinds.get(type(value), self._plain)(value)

    def _object(self, value: "dict[str, Any]") -> "dict[str, Any]":
        made: dict[str, Any] = {}
        # What is small goes first, so that no flag or cursor is lost to the rows before it.
        for name in sorted(value, key=lambda name: _is_large(value[name])):
            # The members at the top are those that a schema demands: they stay, if need be without their content.
            if self._left <= 0 and self._path:
                self._note(self.cuts, f"has {len(made)} of {len(value)} members")
                break
            shown = self._key(name)
            made[shown] = self._inside(name, value[name])
        return {self._key(name): made[self._key(name)] for name in value if self._key(name) in made}

    def _list(self, value: "list[Any]") -> "list[Any]":
        made: list[Any] = []
        for index, item in enumerate(value[:MOST_ROWS]):
            if self._left <= 0:
                break
            made.append(self._inside(index, item))
        if len(made) < len(value):
            self._note(self.cuts, f"has {len(made)} of {len(value)} rows")
        return made

    def _text(self, value: str) -> str:
        names = tuple(part for part in self._path if isinstance(part, str))
        shown = _masked(_whole(value), shapes.without_convex_keys if names == self._opened else shapes.masked)
        size = len(json.dumps(shown, ensure_ascii=False))
        if size > self._left:
            whole = len(shown)
            shown = shown[: max(0, self._left) * whole // size]
            self._note(self.cuts, f"has {len(shown)} of {whole} characters")
        self._left -= size
        if shapes.instructs(shown):
            self._note(self.marks)
        return shown

    def _plain(self, value: "Any") -> "Any":
        self._left -= len(repr(value))
        return _number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value

    def _key(self, name: str) -> str:
        return shapes.masked(_whole(name))

    def _inside(self, part: "str | int", value: "Any") -> "Any":
        # A quoted name and its colon, or a comma.
        self._left -= 1 + (len(part) + 3 if isinstance(part, str) else 0)
        self._path.append(part)
        copied = self.copy(value)
        self._path.pop()
        return copied

    def _note(self, notes: "list[str]", what: str = "") -> None:
        if len(notes) < _MOST_NAMED:
            place = ".".join(str(part) for part in self._path)[-_LONGEST_PATH:] or "the result"
            notes.append(f"{shapes.masked(place)} {what}".rstrip())


def _masked(text: str, mask: "Callable[[str], str]") -> str:
    """`text` masked; of a text that is cut anyway no more is looked at than can be shown."""
    if len(text) <= LARGEST:
        return mask(text)
    # Where the text is cut half a secret may stand, which has no known shape.
    return mask(text[: LARGEST + _LONGEST_SECRET])[:-_LONGEST_SECRET]


def _whole(text: str) -> str:
    """`text` without halves of surrogate pairs, which JSON can escape and no message can hold."""
    return text.encode("utf-8", "replace").decode()


def _number(value: float) -> int | float | None:
    """A number that every reader of JSON understands in the same way; null for one that is none of JavaScript's."""
    if isinstance(value, int) and abs(value) <= _LARGEST_INTEGER:
        return value
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _refuse(name: str) -> object:
    raise ValueError(name)


def _is_large(value: "Any") -> bool:
    return isinstance(value, (dict, list)) or (isinstance(value, str) and len(value) > _LONGEST_PATH)
