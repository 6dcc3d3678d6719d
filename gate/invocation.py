"""What a door saw, verbatim and untrusted: arguments, variables, files. Interprets nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gate.errors import GateError

DOORS = ("cli", "mcp", "hook", "ci")
LARGEST = 3 * 1024 * 1024
LONGEST_NAME = 128


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call as it arrived at a door. Every field is a claim of the caller's.

    `argv`: the words after `convex`. `variables`: those of the caller's environment that Convex's selection reads.
    `files`: content of `.env.local`, `.env`, their vaults and each `--env-file` as the caller named it; None where
    the file exists but cannot be taken (`too large`, `not a regular file`, ...; the reason is in `problems`).
    `local_config`: `.convex/local/default/config.json`. `cli_version`: of the Convex package that would run.
    From MCP: the `tool` that is called with `arguments`, on the deployment that `selector` is said to select.
    """

    door: str
    argv: tuple[str, ...]
    cwd: str
    variables: Mapping[str, str]
    files: Mapping[str, bytes]
    problems: Mapping[str, str]
    gate_yaml: bytes | None
    principal: str | None
    grant: str | None
    local_config: bytes | None
    cli_version: str | None
    tty: bool
    tool: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    selector: str | None = None


def from_wire(message: Mapping[str, Any]) -> Invocation:
    """Read the `invocation` member of a door's message (docs/protocol.md).

    Bytes travel as latin-1 text: every byte is one character, nothing is lost and JSON stays text.
    Raises GateError `usage` when a member is missing or has another type.
    """
    try:
        read = Invocation(
            door=_one_of(DOORS, message["door"]),
            argv=tuple(_text(word) for word in message["argv"]),
            cwd=_text(message["cwd"]),
            variables={_text(name): _text(value) for name, value in message["variables"].items()},
            files={_text(name): _bytes(data) for name, data in message["files"].items()},
            problems={_text(name): _text(why) for name, why in message["problems"].items()},
            gate_yaml=_optional_bytes(message["gate_yaml"]),
            principal=_optional_text(message["principal"]),
            grant=_optional_text(message["grant"]),
            local_config=_optional_bytes(message["local_config"]),
            cli_version=_optional_text(message["cli_version"]),
            tty=message["tty"] is True,
            tool=_optional_text(message.get("tool")),
            arguments=dict(message.get("arguments") or {}),
            selector=_optional_text(message.get("selector")),
        )
    except (KeyError, TypeError, ValueError, AttributeError, UnicodeEncodeError) as error:
        raise GateError(
            "usage", f"the door sent no proper invocation ({type(error).__name__})", remedy="Update the door."
        ) from error
    _insist_on_size(read)
    return read


def _insist_on_size(read: Invocation) -> None:
    """A run keeps its invocation for as long as it lasts, to be decided again when the bundle changes."""
    texts = (*read.argv, *read.variables, *read.variables.values(), *read.problems, *read.problems.values(), read.cwd)
    size = sum(map(len, (*texts, *read.files.values(), read.gate_yaml or b"", read.local_config or b"")))
    size += len(json.dumps(read.arguments)) + len(read.selector or "")
    named = max(len(read.tool or ""), len(read.principal or ""), len(read.grant or ""), len(read.cli_version or ""))
    if size > LARGEST or named > LONGEST_NAME:
        raise GateError("limit", "the invocation is too large", remedy="Send less: smaller files, fewer words.")


def _one_of(words: tuple[str, ...], value: Any) -> str:
    if value not in words:
        raise TypeError
    return _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _bytes(value: Any) -> bytes:
    return _text(value).encode("latin-1")


def _optional_text(value: Any) -> str | None:
    return None if value is None else _text(value)


def _optional_bytes(value: Any) -> bytes | None:
    return None if value is None else _bytes(value)
