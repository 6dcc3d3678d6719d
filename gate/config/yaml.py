"""YAML as a bundle may use it, with the position of everything. Knows no key of any document.

Taken: one UTF-8 document of mappings with text keys, lists, text, whole numbers, `true`, `false` and `null`. What
YAML's versions read differently, or what hides a value from a reader's eye, is refused (ADR-0029: deny on doubt).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from gate.errors import ConfigInvalid

LARGEST = 1024 * 1024
DEEPEST = 50
MOST_FINDINGS = 100
# JSON's exact integers: the same number in every language that reads a bundle.
LARGEST_NUMBER = 2**53 - 1

Steps = tuple[str | int, ...]

_WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
_NUMBER = re.compile(r"0|-?[1-9][0-9]{0,15}")
_NUMBER_ELSEWHERE = re.compile(
    r"""[-+]?0b[01_]+ | [-+]?0o[0-7_]+ | [-+]?0x[0-9a-f_]+
      | [-+]?[0-9][0-9_]*(?::[0-9]+)*(?:\.[0-9_]*)?(?:e[-+]?[0-9]+)?
      | [-+]?\.[0-9_]+(?:e[-+]?[0-9]+)? | [-+]?\.(?:inf|nan)""",
    re.ASCII | re.IGNORECASE | re.VERBOSE,
)
_DATE_ELSEWHERE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt \t].*)?", re.ASCII)
_WORD_ELSEWHERE = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~", "="})


@dataclass(frozen=True, slots=True)
class Loaded:
    """Plain data of one file, lists as tuples, and where each key and value stands (line and column from 1)."""

    file: str
    data: Any
    keys: dict[Steps, tuple[int, int]]
    values: dict[Steps, tuple[int, int]]

    def at(self, steps: Steps, *, key: bool = False) -> tuple[int, int]:
        """Find the place of the value (or key) at `steps`; of the nearest thing around it where there is none."""
        places = self.keys if key else self.values
        while steps and steps not in places:
            steps, places = steps[:-1], self.values
        return places.get(steps, (1, 1))

    def finding(self, steps: Steps, text: str, *, key: bool = False) -> str:
        """Print `FILE:LINE:COL: text` for what stands at `steps`."""
        return place(self.file, *self.at(steps, key=key)) + f": {text}"


def place(file: str, line: int, column: int) -> str:
    """Print `FILE:LINE:COL`, as every finding and every cited rule names it."""
    return f"{file}:{line}:{column}"


def load(data: bytes, file: str) -> Loaded:
    """Read `data`; `file` is named in findings only. Raises ConfigInvalid with all findings."""
    reader = _Reader(_text(data, file), file)
    try:
        loaded = reader.document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        reader.note(line, column, f"is no YAML: {error.problem}")
    except yaml.reader.ReaderError as error:
        reader.note(_line(data, error.position), 1, "holds a character that YAML does not take")
    except _StopError:
        pass
    if reader.findings:
        raise ConfigInvalid(reader.findings)
    return loaded


class _StopError(Exception):
    """Too deep or too many findings: reading ends, what was found is noted."""


def _line(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


def _text(data: bytes, file: str) -> str:
    if len(data) > LARGEST:
        raise ConfigInvalid([place(file, 1, 1) + f": larger than {LARGEST} bytes"])
    if b"\0" in data:
        line = _line(data, data.index(b"\0"))
        raise ConfigInvalid([place(file, line, 1) + ": holds a NUL byte (UTF-16 is not read)"])
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigInvalid([place(file, _line(data, error.start), 1) + ": is not UTF-8"]) from error


@dataclass(slots=True)
class _Reader:
    """One pass over the parser's events: nothing is composed before its depth is known."""

    text: str
    file: str
    findings: list[str] = field(default_factory=list)
    keys: dict[Steps, tuple[int, int]] = field(default_factory=dict)
    values: dict[Steps, tuple[int, int]] = field(default_factory=dict)

    def note(self, line: int, column: int, text: str) -> None:
        self.findings.append(f"{place(self.file, line, column)}: {text}")
        if len(self.findings) >= MOST_FINDINGS:
            raise _StopError

    def document(self) -> Loaded:
        events: Iterator[Any] = iter(yaml.parse(self.text, Loader=yaml.CSafeLoader))
        next(events)
        start = next(events)
        if isinstance(start, yaml.StreamEndEvent):
            self.note(1, 1, "is empty")
            return Loaded(self.file, None, self.keys, self.values)
        if start.version or start.tags:
            self._refuse(start, "directives are not taken")
        data = self._node(next(events), events, ())
        next(events)
        if isinstance(after := next(events), yaml.DocumentStartEvent):
            self._refuse(after, "a second document is not taken")
        return Loaded(self.file, data, self.keys, self.values)

    def _refuse(self, event: Any, text: str) -> None:
        self.note(event.start_mark.line + 1, event.start_mark.column + 1, text)

    def _node(self, event: Any, events: Iterator[Any], steps: Steps) -> Any:
        self.values[steps] = (event.start_mark.line + 1, event.start_mark.column + 1)
        self._refuse_properties(event)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.AliasEvent):
            return None
        if len(steps) >= DEEPEST:
            self._refuse(event, f"nested deeper than {DEEPEST}")
            raise _StopError
        sequence = isinstance(event, yaml.SequenceStartEvent)
        return self._sequence(events, steps) if sequence else self._mapping(events, steps)

    def _refuse_properties(self, event: Any) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._refuse(event, "aliases are not taken: write the value out")
        elif event.anchor is not None:
            self._refuse(event, "anchors are not taken: write the value out")
        if getattr(event, "tag", None) is not None:
            self._refuse(event, "tags are not taken")

    def _sequence(self, events: Iterator[Any], steps: Steps) -> tuple[Any, ...]:
        items: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._node(event, events, (*steps, len(items))))
        return tuple(items)

    def _mapping(self, events: Iterator[Any], steps: Steps) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._key(event, events)
            inner = (*steps, key)
            if key in members:
                self._refuse(event, f"this key stands twice, first in line {self.keys[inner][0]}")
            self.keys.setdefault(inner, (event.start_mark.line + 1, event.start_mark.column + 1))
            value = self._node(next(events), events, inner)
            if key:
                members[key] = value
        return members

    def _key(self, event: Any, events: Iterator[Any]) -> str:
        """Read the key that starts with `event`; empty when it is none, which is noted."""
        key = None
        if isinstance(event, yaml.ScalarEvent):
            if event.value == "<<" and not event.style:
                self._refuse(event, "merges are not taken: write the members out")
                return ""
            self._refuse_properties(event)
            key = self._scalar(event)
        _skip(event, events)
        if isinstance(key, str) and key and key.isprintable():
            return key
        self._refuse(event, "a key has to be text in one line; quote it")
        return ""

    def _scalar(self, event: Any) -> str | int | bool | None:
        text: str = event.value
        if event.style:
            return self._clean(event, text)
        if text in _WORDS:
            return _WORDS[text]
        if _NUMBER.fullmatch(text) and abs(int(text)) <= LARGEST_NUMBER:
            return int(text)
        if why := _elsewhere(text):
            self._refuse(event, why)
        return self._clean(event, text)

    def _clean(self, event: Any, text: str) -> str:
        bad = next((char for char in text if not char.isprintable() and char not in "\n\t"), None)
        if bad is not None:
            self._refuse(event, f"holds the invisible character U+{ord(bad):04X}")
        return text


def _elsewhere(text: str) -> str | None:
    """Say why a plain text is not taken although it is one here: another reader of YAML sees something else in it."""
    if text == "":
        return "has no value; write `null`, `[]`, `{}` or `''`"
    if text.lower() in _WORD_ELSEWHERE:
        return "only `true`, `false` and `null` are words of YAML here; quote it if it is text"
    if _NUMBER_ELSEWHERE.fullmatch(text):
        return "only plain whole numbers are taken; quote it if it is text"
    if _DATE_ELSEWHERE.fullmatch(text):
        return "dates are not taken; quote it if it is text"
    return None


def _skip(event: Any, events: Iterator[Any]) -> None:
    """Read past a node without building it, however deep it is."""
    depth = 0
    while True:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth == 0:
            return
        event = next(events)
