"""Members of a door's message, each insisted to be of its type (docs/protocol.md). Knows no operation.

Every function raises GateError `usage` for a member that is missing or of another type.
"""

from collections.abc import Mapping
from typing import Any

from gate.errors import GateError


def text(message: Mapping[str, Any], name: str) -> str:
    """A member that is text."""
    value = message.get(name)
    if not isinstance(value, str):
        raise _improper(name)
    return value


def optional_text(message: Mapping[str, Any], name: str) -> str | None:
    """A member that is text, None where it is null or absent."""
    return None if message.get(name) is None else text(message, name)


def number(message: Mapping[str, Any], name: str, default: int) -> int:
    """A member that is a whole number from 0, `default` where it is absent."""
    value = message.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise _improper(name)
    return value


def table(message: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A member that is an object."""
    value = message.get(name)
    if not isinstance(value, dict):
        raise _improper(name)
    return value


def optional_table(message: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    """A member that is an object, None where it is null or absent."""
    return None if message.get(name) is None else table(message, name)


def files(message: Mapping[str, Any], name: str = "files") -> dict[str, bytes]:
    """A member that holds files: content by path."""
    return {path: octets(content) for path, content in table(message, name).items()}


def octets_list(message: Mapping[str, Any], name: str) -> list[bytes]:
    """A member that is a list of byte strings."""
    value = message.get(name)
    if not isinstance(value, list):
        raise _improper(name)
    return [octets(item) for item in value]


def octets(value: Any) -> bytes:
    """Bytes out of a frame's latin-1 text."""
    try:
        data: bytes = value.encode("latin-1")
    except (AttributeError, UnicodeEncodeError) as error:
        raise _improper("a file") from error
    return data


def _improper(name: str) -> GateError:
    return GateError("usage", f"the door sent no proper message ({name})", remedy="Update the door.")
