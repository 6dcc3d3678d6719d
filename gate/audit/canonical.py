"""The one JSON text of an event: sorted ASCII keys, no blanks, integers only. Knows no event.

What is hashed is the text as it was stored; this form is what the ledger writes (docs/contract.md, audit export).
"""

import json
from collections.abc import Mapping
from typing import Any

LARGEST_INTEGER = 2**53 - 1
_DEEPEST = 32
_LONGEST_INTEGER = len(str(-LARGEST_INTEGER))


def encode(mapping: Mapping[str, Any]) -> str:
    """`mapping` as canonical JSON. Raises ValueError for what the form cannot carry (floats, large integers, ...)."""
    return join(members(mapping))


def members(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Each value of `mapping` as canonical JSON, for `join`. Raises ValueError as `encode` does."""
    _insist_on_form(mapping, 0)
    return {key: _text(value) for key, value in mapping.items()}


def join(texts: Mapping[str, str]) -> str:
    """The canonical object of members that are canonical JSON already."""
    return "{" + ",".join(f"{_text(key)}:{texts[key]}" for key in sorted(texts)) + "}"


def decode(text: str) -> dict[str, Any]:
    """The object in `text`.

    Raises ValueError for anything else: duplicate keys, floats and integers beyond 2**53-1 mean different things to
    different readers.
    """
    try:
        value = _DECODER.decode(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(value, dict):
        raise ValueError("it is not an object")  # noqa: TRY004 - one kind of error for one kind of mistake
    return value


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _insist_on_form(value: Any, depth: int) -> None:
    if depth > _DEEPEST:
        raise ValueError("it is nested too deeply")
    if isinstance(value, Mapping):
        for key, member in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise ValueError("a key is not an ASCII text")
            _insist_on_form(member, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _insist_on_form(item, depth + 1)
    elif isinstance(value, int):
        if abs(value) > LARGEST_INTEGER:
            raise ValueError("an integer is beyond 2**53-1")
    elif value is not None and not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} has no canonical form")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key stands twice")
    return value


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER or abs(int(text)) > LARGEST_INTEGER:
        raise ValueError("an integer is beyond 2**53-1")
    return int(text)


def _no_number(text: str) -> Any:
    raise ValueError(f"{text[:20]} is not an integer")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_no_number, parse_constant=_no_number
)
