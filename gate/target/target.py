"""The noun of this room: Target, one pinned deployment. Chooses nothing."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """The one deployment that an invocation acts on.

    `deployment`: its id in the registry, or the built-in `anonymous` / `local`. `cls`: its class.
    `name`: Convex's deployment name (None: self-hosted, or anonymous state that does not exist yet).
    `url`: origin of the deployment, no trailing slash (None for anonymous and local).
    `custody`: id of the custody entry that holds its key (None for anonymous and local).
    `chosen_by`: the flag, variable or file that decided, in words (`--prod`, `CONVEX_DEPLOYMENT in .env.local`).
    """

    deployment: str
    cls: str
    name: str | None
    url: str | None
    custody: str | None
    chosen_by: str
