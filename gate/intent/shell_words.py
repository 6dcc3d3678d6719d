"""What the words of a shell text come to before it runs: quotes undone, known variables put in. Runs nothing.

A word may come to several values, of which any may hold when it runs; what is not known is UNKNOWN.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product

from tree_sitter import Node

from gate.intent.shell_tables import UNKNOWN

# Never in a text of anybody's: noncharacters of Unicode.
_SPLIT, _OPEN, _CLOSE, _COMMA = "\ufdd1", "\ufdd2", "\ufdd3", "\ufdd4"
_MOST = 16
_LONGEST = 4096
_ALL = "@*"
_PARTS = {"string": 1, "concatenation": 0, "command_name": 0, "heredoc_body": 0, "string_content": 0}
WORDS = frozenset(
    {
        "word",
        "number",
        "string",
        "raw_string",
        "ansi_c_string",
        "translated_string",
        "concatenation",
        "simple_expansion",
        "expansion",
        "command_substitution",
        "process_substitution",
        "arithmetic_expansion",
        "brace_expression",
    }
)
_DEFAULTS = frozenset({":-", "-", ":=", "="})
_SIMPLE_ESCAPES = dict(zip("abefnrtv", "\a\b\x1b\f\n\r\t\v", strict=True))
_ANSI = re.compile(r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3})|c.|(.))", re.DOTALL)
_BRACES = re.compile(f"{_OPEN}([^{_OPEN}{_CLOSE}]*){_CLOSE}")
_BACK = str.maketrans({_OPEN: "{", _CLOSE: "}", _COMMA: ","})


@dataclass(slots=True)
class Variables:
    """Every value that the text may give to a name; what it never assigns is unknown."""

    values: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: str, values: list[str]) -> None:
        """Let `name` have `values` too."""
        known = self.values.setdefault(name, [])
        bounded = (value if len(value) <= _LONGEST else UNKNOWN for value in values)
        known += [value for value in bounded if value not in known]
        if len(known) > _MOST:
            known[:] = [UNKNOWN]

    def of(self, name: str) -> list[str]:
        """What `name` may hold."""
        return self.values.get(name) or [UNKNOWN]

    def with_parameters(self, words: list[str], name: str = "bash") -> "Variables":
        """The same under positional parameters of their own."""
        numbered = {str(at): [word] for at, word in enumerate([name, *words])}
        every = [_SPLIT.join(words)]
        return Variables({**self.values, **numbered, **dict.fromkeys(_ALL, every)})


def text_of(node: Node) -> str:
    """The source of `node`."""
    return (node.text or b"").decode("utf-8", "replace")


def targets(redirect: Node) -> list[Node]:
    """Where a redirection goes, and the words after it that the grammar puts there: they are the command's."""
    nested = [node for child in redirect.named_children if child.type == "file_redirect" for node in targets(child)[1:]]
    return [child for child in redirect.named_children if child.type in WORDS] + nested


def fields(node: Node, variables: Variables) -> list[list[str]]:
    """The words that the word `node` comes to, one list for each way that it may come out."""
    quoted = any(inner.type in _QUOTES for inner in (node, *node.children))
    return [list(_split(value, keep_empty=quoted)) for value in values(node, variables)]


def values(node: Node, variables: Variables, *, quoted: bool = False) -> list[str]:
    """What `node` may come to as one text, with marks of where a shell would split it."""
    if node.type in _PARTS:
        return _joined(node, variables, quoted=quoted or node.type in ("string", "heredoc_body"))
    read = _LEAVES.get(node.type)
    return [UNKNOWN] if read is None else read(node, variables, quoted)


def joined(value: str) -> str:
    """A value as one text again."""
    return value.replace(_SPLIT, " ").translate(_BACK)


def _joined(node: Node, variables: Variables, *, quoted: bool) -> list[str]:
    """The parts of a composite one after the other, with the source between them as it stands."""
    margin = _PARTS[node.type]
    start, end, source = node.start_byte + margin, node.end_byte - margin, node.text or b""
    choices: list[list[str]] = []
    for child in [child for child in node.named_children if start <= child.start_byte and child.end_byte <= end]:
        choices += [[_gap(source, node, start, child.start_byte, quoted)], values(child, variables, quoted=quoted)]
        start = child.end_byte
    choices.append([_gap(source, node, start, end, quoted)])
    return _products(choices)


def _products(choices: list[list[str]]) -> list[str]:
    count = 1
    for choice in choices:
        count *= len(choice)
    return ["".join(parts) for parts in product(*choices)] if count <= _MOST else [UNKNOWN]


def _gap(source: bytes, node: Node, start: int, end: int, quoted: bool) -> str:
    text = source[start - node.start_byte : end - node.start_byte].decode("utf-8", "replace")
    return _in_quotes(text) if quoted else _bare(text)


def _in_quotes(text: str) -> str:
    return re.sub(r"\\(\n|[\"\\$`])", lambda match: "" if match[1] == "\n" else match[1], text)


def _bare(text: str) -> str:
    """An unquoted piece: backslashes undone, file patterns unknown, braces marked."""
    return re.sub(r"\\(\n)|\\(.)|([*?\[])|([{},])|\\$", _bare_part, text, flags=re.DOTALL)


def _bare_part(match: re.Match[str]) -> str:
    if match[4]:
        return {"{": _OPEN, "}": _CLOSE, ",": _COMMA}[match[4]]
    return UNKNOWN if match[3] else match[2] or ""


def _word(node: Node, variables: Variables, quoted: bool) -> list[str]:
    del variables
    return [_in_quotes(text_of(node)) if quoted else _bare(text_of(node))]


def _raw(node: Node, variables: Variables, quoted: bool) -> list[str]:
    del variables, quoted
    return [text_of(node)[1:-1]]


def _ansi(node: Node, variables: Variables, quoted: bool) -> list[str]:
    del variables, quoted
    return [_ANSI.sub(_ansi_letter, text_of(node)[2:-1])]


def _ansi_letter(match: re.Match[str]) -> str:
    number = match[1] or match[2] or match[3]
    if number:
        point = int(number, 16)
        return chr(point) if point <= 0x10FFFF else UNKNOWN  # noqa: PLR2004 - the last code point of Unicode
    if match[4]:
        return chr(int(match[4], 8) & 0xFF)
    return _SIMPLE_ESCAPES.get(match[5], match[5]) if match[5] else UNKNOWN


def _translated(node: Node, variables: Variables, quoted: bool) -> list[str]:
    del quoted
    return values(node.named_children[0], variables)


def _expansion(node: Node, variables: Variables, quoted: bool) -> list[str]:
    """`$X`, `${X}`, `${X[@]}` and defaults; other operators are not followed."""
    named = node.named_children
    name = text_of(named[0]) if named else ""
    operators = [child.type for child in node.children if not child.is_named and child.type not in ("${", "}", "$")]
    if not operators:
        found = variables.of(name)
    elif operators[0] in _DEFAULTS and len(named) > 1:
        found = [*variables.of(name), *values(named[1], variables), UNKNOWN]
    else:
        found = [UNKNOWN]
    return found if quoted else [re.sub(r"\s+", _SPLIT, value) for value in found]


def _split(value: str, *, keep_empty: bool) -> Iterator[str]:
    if not value and keep_empty:
        yield ""
    for part in value.split(_SPLIT):
        if part:
            yield from _alternatives(part)


def _alternatives(part: str) -> Iterator[str]:
    """`{a,b}c` is `ac bc`; braces without a comma stand for themselves."""
    match = next((found for found in _BRACES.finditer(part) if _COMMA in found[1]), None)
    if match is None:
        yield part.translate(_BACK)
    elif part.count(_OPEN) > _MOST // 4:
        yield UNKNOWN
    else:
        for choice in match[1].split(_COMMA):
            yield from _alternatives(part[: match.start()] + choice + part[match.end() :])


_QUOTES = frozenset({"string", "raw_string", "ansi_c_string", "translated_string"})
_LEAVES: Mapping[str, Callable[[Node, Variables, bool], list[str]]] = {
    "word": _word,
    "number": _word,
    "raw_string": _raw,
    "ansi_c_string": _ansi,
    "translated_string": _translated,
    "simple_expansion": _expansion,
    "expansion": _expansion,
    "heredoc_content": _word,
    "extglob_pattern": _word,
    "regex": _word,
}
