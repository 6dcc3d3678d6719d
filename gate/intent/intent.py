"""The noun of this room: Intent. Holds no command: `commands.py` is the table, `parse.py` reads a line with it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# A resource dimension that applies to the command but whose value cannot be known from its words.
UNKNOWN = None

# The dimensions of a resource, in the order in which decisions print them (docs/contract.md, Policy document).
DIMENSIONS = ("functions", "tables", "variables", "components")


@dataclass(frozen=True, slots=True)
class Selection:
    """Values of Convex's seven selection options as commander would hand them over; None or False: not given."""

    url: str | None = None
    admin_key: str | None = None
    prod: bool = False
    preview_name: str | None = None
    deployment_name: str | None = None
    deployment: str | None = None
    env_file: str | None = None


@dataclass(frozen=True, slots=True)
class Intent:
    """What one Convex command line asks for.

    `command`: path in Convex's command tree, words joined by a blank (`env list`), or `--help` / `--version`.
    `effects`: stated effects, sorted (Convex's role actions and `local:*` / `account:*` / `project:*`).
    `resources`: dimension -> sorted names, or UNKNOWN; a dimension that does not apply is absent.
    `selection`: the seven selection options. `default`: where the command goes when nothing selects: `own`, `prod`
    (plain deploy) or `none` (touches no deployment).
    `child_argv`: the words for the real CLI: `argv` without the selection options, every other byte as it came.
    `function`: canonical path of the function that `run` (or `dev --run`) calls, else None.
    `kind_known`: False when the effects of `function` hang on a kind (query, mutation, ...) nobody has looked up.
    `acts_as_user`: `--identity` was given. `stays`: runs until it is stopped (logs, dev, run --watch).
    """

    command: str
    effects: tuple[str, ...]
    resources: Mapping[str, tuple[str, ...] | None]
    selection: Selection
    default: str
    child_argv: tuple[str, ...]
    function: str | None = None
    kind_known: bool = True
    acts_as_user: bool = False
    stays: bool = False
    options: Mapping[str, str | bool] = field(default_factory=dict)
