"""The variables that Convex's CLI selects a deployment from: which file or environment each one comes from.

Opens nothing: works on what the door sent. Chooses nothing: that is `select.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gate.errors import GateError
from gate.intent.intent import Selection
from gate.invocation import Invocation
from gate.target.dotenv import bad_env_file, parse

_FILES = (".env.local", ".env")


@dataclass(frozen=True, slots=True)
class Setting:
    """A variable's value and where it comes from, in words."""

    value: str
    place: str


def read_settings(selection: Selection, invocation: Invocation) -> dict[str, Setting]:
    """The environment that the CLI selects from: `--env-file` alone, or the process's, then `.env.local`, then `.env`.

    Raises GateError `bad_env_file`: a file is missing, cannot be read exactly as Convex would, or runs code.
    Source: the CLI's deploymentSelection.ts and dotenv 16.6.1's `config`, which overrides nothing that is set.
    """
    if selection.env_file is not None:
        read = _read(selection.env_file, invocation)
        if read is None:
            raise bad_env_file(selection.env_file, "does not exist")
        # Node reads this file on its own account too, by another grammar, and runs what this variable says.
        if b"NODE_OPTIONS" in invocation.files[selection.env_file]:
            raise bad_env_file(selection.env_file, "holds NODE_OPTIONS")
        return {name: Setting(value, "the --env-file") for name, value in read.items()}
    settings = {name: Setting(value, "the environment") for name, value in invocation.variables.items()}
    for file in _FILES:
        for name, value in (_read(file, invocation) or {}).items():
            # A variable that is set counts, even an empty one: dotenv overrides nothing.
            settings.setdefault(name, Setting(value, file))
    _insist_plain(settings)
    return settings


def _read(name: str, invocation: Invocation) -> dict[str, str] | None:
    if name in invocation.problems:
        raise bad_env_file(name, f"cannot be read: {invocation.problems[name][:60]}")
    return parse(invocation.files[name], name) if name in invocation.files else None


def _insist_plain(settings: Mapping[str, Setting]) -> None:
    key = settings.get("DOTENV_KEY")
    if key is not None and key.value:
        raise GateError(
            "bad_env_file",
            f"DOTENV_KEY in {key.place} makes Convex read an encrypted env file",
            remedy="Unset DOTENV_KEY; select with a plain .env.local.",
        )
