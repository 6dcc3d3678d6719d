"""The signers file: OpenSSH's allowed_signers, of which the gate takes the part that names one person per line.

No wildcards, no lists of persons, no certificate authorities (ADR-0029; docs/contract.md, gate.yaml). Verifies nothing.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from gate.errors import ConfigInvalid
from gate.identity import sshkey
from gate.identity.wire import MalformedError, base64_strict

_LARGEST = 256 * 1024
_PERSON = re.compile(r"human:[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_NAMESPACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")
# A quoted value has neither quotes nor escapes in it: none of the values below has a use for them.
_OPTION = re.compile(r'([a-z-]+)="([^"\\]*)"')
_OPTIONS = re.compile(r"cert-authority|[^=]*=")
_WORD = re.compile(r"[^ \t]+")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_TIMES = {len("20260101Z"): "%Y%m%dZ", len("202601011200Z"): "%Y%m%d%H%MZ", len("20260101120000Z"): "%Y%m%d%H%M%SZ"}


@dataclass(frozen=True, slots=True)
class Signer:
    """One line: `principal` may sign with `key` (wire form), within the limits given; None is no limit."""

    principal: str
    key_type: str
    key: bytes
    namespaces: tuple[str, ...] | None
    valid_after_ms: int | None
    valid_before_ms: int | None
    line: int

    def may(self, namespace: str | None, at_ms: int | None) -> bool:
        """Whether the line covers `namespace` and the time `at_ms`; what is None is not asked."""
        if namespace is not None and self.namespaces is not None and namespace not in self.namespaces:
            return False
        if at_ms is None:
            return True
        early = self.valid_after_ms is not None and at_ms < self.valid_after_ms
        late = self.valid_before_ms is not None and at_ms > self.valid_before_ms
        return not early and not late


@dataclass(frozen=True, slots=True)
class Signers:
    """Every line of a signers file, in its order."""

    entries: tuple[Signer, ...]

    @property
    def principals(self) -> frozenset[str]:
        """Everybody who has a line."""
        return frozenset(entry.principal for entry in self.entries)

    def who(self, key: bytes, namespace: str | None = None, at_ms: int | None = None) -> str | None:
        """Whose key (wire form) this is, where a line covers `namespace` and `at_ms`; None: nobody's."""
        owner = next((entry for entry in self.entries if entry.key == key), None)
        return owner.principal if owner is not None and owner.may(namespace, at_ms) else None


class _Found(Exception):
    """A finding on its way to the list; never seen outside."""

    def __init__(self, column: int, text: str) -> None:
        super().__init__(text)
        self.column = column


@dataclass(slots=True)
class _Limits:
    namespaces: tuple[str, ...] | None = None
    valid_after_ms: int | None = None
    valid_before_ms: int | None = None
    seen: set[str] = field(default_factory=set)


def parse_signers(data: bytes, file: str) -> Signers:
    """Read a signers file; `file` is its name in findings.

    All or nothing: raises ConfigInvalid with every `FILE:LINE:COL` that is not of the format, and for a key that
    stands on two lines: a signature has to say who signed.
    """
    entries: list[Signer] = []
    findings: list[str] = []
    for number, line in enumerate(_lines(data, file), 1):
        try:
            if line.strip(" \t") and not line.startswith("#"):
                entries.append(_entry(line, number, entries))
        except _Found as found:
            findings.append(f"{file}:{number}:{found.column}: {found}")
    if findings:
        raise ConfigInvalid(findings)
    return Signers(tuple(entries))


def _lines(data: bytes, file: str) -> list[str]:
    if len(data) > _LARGEST:
        raise ConfigInvalid([f"{file}:1:1: it is larger than {_LARGEST} bytes"])
    try:
        return data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ConfigInvalid([f"{file}:{line}:{column}: it is not UTF-8"]) from error


def _entry(line: str, number: int, before: list[Signer]) -> Signer:
    control = _CONTROL.search(line)
    if control:
        raise _Found(control.start() + 1, "a control character")
    words = list(_WORD.finditer(line))
    principal = _principal(words[0])
    rest = words[1:]
    limits = _Limits()
    if rest and _OPTIONS.match(rest[0].group()):
        limits = _limits(rest.pop(0))
    key_type, key, column = _key(line, rest)
    twin = next((entry for entry in before if entry.key == key), None)
    if twin is not None:
        raise _Found(column, f"this key stands on line {twin.line} already, for {twin.principal}")
    return Signer(principal, key_type, key, limits.namespaces, limits.valid_after_ms, limits.valid_before_ms, number)


def _principal(word: re.Match[str]) -> str:
    text, column = word.group(), word.start() + 1
    if "," in text:
        raise _Found(column, "one person per line: no commas")
    if any(sign in text for sign in "*?!"):
        raise _Found(column, "a person is named, never matched: no wildcards")
    if not _PERSON.fullmatch(text):
        raise _Found(column, "a line begins with the person's id: human:NAME")
    return text


def _limits(word: re.Match[str]) -> _Limits:
    limits = _Limits()
    text, at = word.group(), 0
    while at < len(text):
        option = _OPTION.match(text, at)
        column = word.start() + at + 1
        if text.startswith("cert-authority", at):
            raise _Found(column, "certificate authorities are not taken: list each person's key")
        if option is None:
            raise _Found(column, 'an option is written NAME="VALUE", several with commas and no blanks')
        _limit(limits, option.group(1), option.group(2), column)
        at = option.end()
        if at < len(text) and (text[at] != "," or at + 1 == len(text)):
            raise _Found(word.start() + at + 1, "options are separated by one comma")
        at += 1
    return limits


def _limit(limits: _Limits, name: str, value: str, column: int) -> None:
    setting = _SETTINGS.get(name)
    if setting is None:
        raise _Found(column, f"no option of the gate's: {name} (namespaces, valid-after, valid-before)")
    if name in limits.seen:
        raise _Found(column, f"{name} is given twice")
    limits.seen.add(name)
    setting(limits, value, column)


def _set_namespaces(limits: _Limits, value: str, column: int) -> None:
    names = tuple(value.split(","))
    if not all(_NAMESPACE.fullmatch(name) for name in names):
        raise _Found(column, "namespaces are names with commas between them, without wildcards")
    limits.namespaces = names


def _set_after(limits: _Limits, value: str, column: int) -> None:
    limits.valid_after_ms = _time(value, column)


def _set_before(limits: _Limits, value: str, column: int) -> None:
    limits.valid_before_ms = _time(value, column)


def _time(value: str, column: int) -> int:
    # Without the Z OpenSSH reads local time, which is another moment on another machine.
    layout = _TIMES.get(len(value))
    if layout is None or not value[:-1].isascii() or not value[:-1].isdigit():
        raise _Found(column, "a time is YYYYMMDDZ, YYYYMMDDHHMMZ or YYYYMMDDHHMMSSZ (UTC)")
    try:
        return int(datetime.strptime(value, layout).replace(tzinfo=UTC).timestamp()) * 1000
    except ValueError as error:
        raise _Found(column, "there is no such time") from error


def _key(line: str, words: list[re.Match[str]]) -> tuple[str, bytes, int]:
    if len(words) < 2:  # noqa: PLR2004 - a key is two words: its type and its base64
        raise _Found(len(line) + 1, "a key is missing: its type and its base64")
    column = words[1].start() + 1
    try:
        wire = base64_strict(words[1].group().encode())
        key = sshkey.parse_key(wire)
    except MalformedError as error:
        raise _Found(column, f"no key that the gate takes: {error}") from error
    if key.key_type != words[0].group():
        raise _Found(words[0].start() + 1, "the key is of another type than the line says")
    return key.key_type, wire, column


_SETTINGS: dict[str, Callable[[_Limits, str, int], None]] = {
    "namespaces": _set_namespaces,
    "valid-after": _set_after,
    "valid-before": _set_before,
}
