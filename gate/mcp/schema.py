"""Arguments against a tool's input schema: exactly the keywords that the catalogue uses, and no others.

Standard library only: this is the hot path of `gate mcp`.
"""

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    Schema = dict[str, Any]
    Check = Callable[[Schema, Any, str], Iterator[str]]

# They describe and do not restrict.
ANNOTATIONS = frozenset(("description", "default"))
_LONGEST_NAME = 60


def problems(schema: "Schema", value: "Any", where: str = "arguments") -> "list[str]":
    """What of `value` is not as `schema` wants it, one short sentence each, in a stable order.

    Sentences name members and never quote a value. JSON Schema 2020-12, for the keywords of KEYWORDS.
    """
    wrong = list(_type(schema, value, where))
    checks = [_CHECKS[keyword] for keyword in schema if keyword in _CHECKS]
    return wrong or [text for check in checks for text in check(schema, value, where)]


def _type(schema: "Schema", value: "Any", where: str) -> "Iterator[str]":
    if not _TYPES[schema["type"]](value):
        yield f"{where}: has to be of type {schema['type']}"


def _is_number(value: "Any") -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: "dict[str, Callable[[Any], bool]]" = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": _is_number,
    "integer": lambda value: _is_number(value) and value == int(value),
}


def _enum(schema: "Schema", value: "Any", where: str) -> "Iterator[str]":
    if value not in schema["enum"]:
        yield f"{where}: has to be one of {', '.join(schema['enum'])}"


def _maximum(schema: "Schema", value: "Any", where: str) -> "Iterator[str]":
    if value > schema["maximum"]:
        yield f"{where}: has to be at most {schema['maximum']}"


def _minimum(schema: "Schema", value: "Any", where: str) -> "Iterator[str]":
    if value < schema["minimum"]:
        yield f"{where}: has to be at least {schema['minimum']}"


def _exclusive_minimum(schema: "Schema", value: "Any", where: str) -> "Iterator[str]":
    if value <= schema["exclusiveMinimum"]:
        yield f"{where}: has to be more than {schema['exclusiveMinimum']}"


def _pattern(schema: "Schema", value: "Any", where: str) -> "Iterator[str]":
    # The patterns are anchored; Python's `$` alone would let a line feed follow.
    if not re.fullmatch(schema["pattern"], value):
        yield f"{where}: has to look like {schema['pattern']}"


def _min_items(schema: "Schema", value: "Any", where: str) -> "Iterator[str]":
    if len(value) < schema["minItems"]:
        yield f"{where}: needs at least {schema['minItems']}"


def _items(schema: "Schema", value: "Any", where: str) -> "Iterator[str]":
    for index, item in enumerate(value):
        yield from problems(schema["items"], item, f"{where}[{index}]")


def _required(schema: "Schema", value: "Any", where: str) -> "Iterator[str]":
    for name in schema["required"]:
        if name not in value:
            yield f"{where}: `{name}` is missing"


def _properties(schema: "Schema", value: "Any", _where: str) -> "Iterator[str]":
    for name, inner in schema["properties"].items():
        if name in value:
            yield from problems(inner, value[name], name)


def _additional(schema: "Schema", value: "Any", where: str) -> "Iterator[str]":
    """Of `additionalProperties`, only `false` is in use."""
    for name in value:
        if name not in schema["properties"]:
            shown = "".join(char if char.isprintable() else "?" for char in name[:_LONGEST_NAME])
            yield f"{where}: there is no `{shown}`"


_CHECKS: "dict[str, Check]" = {
    "enum": _enum,
    "maximum": _maximum,
    "minimum": _minimum,
    "exclusiveMinimum": _exclusive_minimum,
    "pattern": _pattern,
    "minItems": _min_items,
    "items": _items,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
}
KEYWORDS = frozenset(_CHECKS) | {"type"}
