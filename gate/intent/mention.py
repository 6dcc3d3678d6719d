"""Whether a text names Convex in any spelling that a shell undoes. Parses no shell and decides nothing.

Standard library only: the door of hooks falls back on it when no keeper answers.
"""

import binascii
import re

_NAME = "convex"
_HEXADECIMAL = _NAME.encode().hex()
# What a shell takes away or leaves empty between the letters of a word.
_NOTHING = re.compile(r"\\\r?\n|\$\{[^}]{0,80}\}|\$[@*#?!$0-9-]|\$\(\)|``|[\\'\"$]")
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|[uU]0*([0-9A-Fa-f]{2})(?![0-9A-Fa-f])|0?([0-7]{3}))")
_PATTERN = re.compile(r"(?<![\w.-])[\w.-]*(?:[*?]|\[[\w^!.-]+\])[\w.*?\[\]^!-]*")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}")
_FEWEST_LETTERS = 3
_LONGEST_PATTERN = 32


def mentions(text: str) -> bool:
    """Whether `text` holds `convex`: as it stands, quoted, escaped, as a file pattern, in hexadecimal or base64."""
    lowered = text.lower()
    if _NAME in lowered or _HEXADECIMAL in lowered:
        return True
    spelled = _NOTHING.sub("", _ESCAPE.sub(_letter, text)).lower()
    return _NAME in spelled or _is_matched(lowered) or _is_encoded(text)


def _letter(match: re.Match[str]) -> str:
    hexadecimal = match[1] or match[2]
    return chr(int(hexadecimal, 16) if hexadecimal else int(match[3], 8) & 0xFF)


def _is_matched(text: str) -> bool:
    """Whether a file pattern in `text` that is about this name would match it."""
    return any(_matches(found[0]) for found in _PATTERN.finditer(text))


def _matches(pattern: str) -> bool:
    if len(pattern) > _LONGEST_PATTERN or sum(map(str.isalpha, pattern)) < _FEWEST_LETTERS:
        return False
    parts = re.findall(r"\[[^\]]+\]|.", pattern)
    try:
        return re.fullmatch("".join(map(_part, parts)), _NAME) is not None
    except re.error:
        # A class that no shell takes either.
        return False


def _part(part: str) -> str:
    if part in ("*", "?"):
        return {"*": "[a-z]*", "?": "."}[part]
    return part.replace("[!", "[^") if len(part) > 1 else re.escape(part)


def _is_encoded(text: str) -> bool:
    return any(_NAME.encode() in _decoded(found[0]).lower() for found in _BASE64.finditer(text))


def _decoded(word: str) -> bytes:
    whole = word[: len(word) // 4 * 4]
    rest = word[len(whole) :]
    padded = whole + (rest + "=" * (4 - len(rest)) if len(rest) > 1 else "")
    try:
        return binascii.a2b_base64(padded.translate({ord("-"): "+", ord("_"): "/"}))
    except binascii.Error:  # pragma: no cover - the pattern and the padding above leave nothing to refuse
        return b""
