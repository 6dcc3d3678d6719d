"""What Convex reads out of an env file: JS dotenv 16.6.1's grammar, exactly. Opens no file and sets no variable.

python-dotenv reads other values out of the same bytes (colons, `#`, backticks, `${}`), so it cannot be asked.
"""

import re

from gate.errors import GateError

# Doors send no larger file; a keeper that read one would serve nobody meanwhile.
_LARGEST = 1024 * 1024
# A file with more blank in one place takes the grammar's backtracking quadratic time, here as in JavaScript.
_MOST_BLANK = 128
_TOO_BLANK = re.compile(rf"\s{{{_MOST_BLANK + 1}}}")

# JavaScript's \s and its line ends differ from Python's, so both are spelled out.
_S = r"[\t\n\v\f\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]"
_BLANKS = (
    "\t\n\v\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
_ENDS = "\n\r\u2028\u2029"
_END = rf"(?:\Z|(?=[{_ENDS}]))"
_START = rf"(?:\A|(?<=[{_ENDS}]))"
_OPEN = re.compile(rf"{_START}(['\"`])")
_CLOSE = re.compile(rf"(['\"`]){_END}")
# Possessive where giving back could not help: the pattern is dotenv's, minus some of its steps back.
_LINE = re.compile(
    rf"{_START}{_S}*+(?:export{_S}++)?([\w.-]+)(?:{_S}*+={_S}*?|:{_S}+?)"
    rf"({_S}*'(?:\\'|[^'])*'|{_S}*\"(?:\\\"|[^\"])*\"|{_S}*`(?:\\`|[^`])*`|[^#\r\n]+)?{_S}*(?:#[^{_ENDS}]*)?{_END}",
    re.ASCII,
)


def parse(data: bytes, name: str) -> dict[str, str]:
    """The variables in `data`, content of the env file `name`, as dotenv's `parse` gives them; the last of a name wins.

    Raises GateError `bad_env_file` for what cannot be read exactly as Convex would: no UTF-8, a NUL (cut off in a
    process's environment), or a size or a stretch of blank so large that reading it is an attack.
    """
    text = _text(data, name).replace("\r\n", "\n").replace("\r", "\n")
    values: dict[str, str] = {}
    for match in _LINE.finditer(text):
        # Assigning a text to `__proto__` does nothing in JavaScript.
        if match[1] != "__proto__":
            values[match[1]] = _value(match[2] or "")
    return values


def _text(data: bytes, name: str) -> str:
    if len(data) > _LARGEST:
        raise bad_env_file(name, "is larger than 1 MiB")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise bad_env_file(name, "is not UTF-8") from error
    if "\0" in text:
        raise bad_env_file(name, "holds a NUL")
    if _TOO_BLANK.search(text.replace("\ufeff", " ")):
        raise bad_env_file(name, f"holds more than {_MOST_BLANK} blank characters in one place")
    return text


def bad_env_file(name: str, what: str) -> GateError:
    """The refusal of the env file `name`."""
    return GateError(
        "bad_env_file",
        f"{name[:60]!r} {what}",
        remedy="Mend the file: the gate takes only what it can read exactly as Convex does.",
    )


def _value(raw: str) -> str:
    trimmed = raw.strip(_BLANKS)
    value = _unquoted(trimmed)
    if trimmed[:1] == '"':
        value = value.replace("\\n", "\n").replace("\\r", "\r")
    return value


def _unquoted(text: str) -> str:
    """Strip quotes at both ends of a run of lines, as dotenv does: up to the last such quote that ends a line.

    Its pattern `^(['"`])...$` with the flags `mg` would take quadratic time on text that holds no pair.
    """
    closes = {match[1]: match.start() for match in _CLOSE.finditer(text)}
    pieces, start = [], 0
    for match in _OPEN.finditer(text):
        at, close = match.start(), closes.get(match[1], -1)
        if start <= at < close:
            pieces += [text[start:at], text[at + 1 : close]]
            start = close + 1
    return "".join([*pieces, text[start:]])
