"""How a refusal looks: the object first where it was asked for, prose with the remedy, the code in the last line.

Standard library only: the doors on the hot path import it.
"""

import json
import sys

from gate.errors import ConfigInvalid, GateError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_LONGEST = 500


def show_decision(decision: "Mapping[str, Any]", as_json: bool) -> int:
    """Print a refused decision on stderr; returns the exit status."""
    if as_json:
        _print(json.dumps(decision, separators=(",", ":")))
    else:
        for rule in decision["rules"]:
            _print(f"  {rule['verb']} {rule['id']} ({rule['at']}): {escaped(rule['because'])}")
        for name in decision["indeterminate"]:
            _print(f"  not known before it runs: {name}")
        _remedy(decision["remedy"] or {})
    _print(f"gate: {decision['code']}: {escaped(decision['message'])}")
    return int(decision["exit"])


def verdict_of(error: GateError) -> "Mapping[str, Any]":
    """A refusal that never became a decision, as an object."""
    members = {"gate": 1, "kind": "error", "code": error.code, "message": error.message, "exit": error.exit}
    return {**members, "remedy": {"text": error.remedy, "argv": error.argv}}


def of_system(error: OSError) -> GateError:
    """A refusal for what the system did not let the door do, such as stand in a folder that is gone."""
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return GateError("usage", f"the system refuses: {what}", remedy="Call from a folder that is there and can be read.")


def warn(sentence: str) -> None:
    """Print something that changes nothing."""
    _print(f"gate: {sentence}")


def show_error(error: GateError, as_json: bool) -> int:
    """Print a refusal that never became a decision on stderr; returns the exit status."""
    remedy = {"text": error.remedy, "argv": error.argv}
    if as_json:
        _print(json.dumps(verdict_of(error), separators=(",", ":")))
    else:
        for finding in error.findings if isinstance(error, ConfigInvalid) else ():
            _print(f"  {escaped(finding)}")
        _remedy(remedy)
    _print(f"gate: {error.code}: {escaped(error.message)}")
    return error.exit


def escaped(text: str) -> str:
    """`text` on one line of bounded length, without anything that a terminal would act on."""
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:_LONGEST])
    return shown + "…" * (len(text) > _LONGEST)


def _remedy(remedy: "Mapping[str, Any]") -> None:
    if remedy.get("text"):
        _print(f"  {escaped(remedy['text'])}")
    if remedy.get("argv"):
        _print(f"  {escaped(command(remedy['argv']))}")


def command(argv: "Sequence[str]") -> str:
    """`argv` as a shell takes it."""
    return " ".join(_quoted(word) for word in argv)


def _quoted(word: str) -> str:
    return word if word and all(char.isalnum() or char in "-_./:=@" for char in word) else f"'{word}'"


def _print(line: str) -> None:
    sys.stderr.write(line.encode("utf-8", "backslashreplace").decode("utf-8") + "\n")
