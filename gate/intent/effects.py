"""The closed vocabulary of effects, and which effects bring others with them. Knows no command and no rule.

The words are Convex's own role actions (what a deploy key can be limited to), plus `deployment:insights:view` and
`deployment:token:*` for what the CLI does with a login, and `project:*`, `account:*` and `local:*`.
"""

from collections.abc import Iterable

_DEPLOYMENT = (
    "auditLog:view",
    "backups:create",
    "backups:delete",
    "backups:download",
    "backups:import",
    "backups:view",
    "data:view",
    "data:write",
    "deploy",
    "env:view",
    "env:write",
    "functions:actAsUser",
    "functions:runInternalActions",
    "functions:runInternalMutations",
    "functions:runInternalQueries",
    "functions:runTestQuery",
    "insights:view",
    "integrations:view",
    "integrations:write",
    "logs:view",
    "metrics:view",
    "pause",
    "token:create",
    "token:delete",
    "unpause",
    "usage:view",
    "usageLimits:view",
    "usageLimits:write",
)

DEPLOYMENT_EFFECTS: frozenset[str] = frozenset(f"deployment:{action}" for action in _DEPLOYMENT)

EFFECTS: frozenset[str] = DEPLOYMENT_EFFECTS | {
    "account:login",
    "account:logout",
    "local:read",
    "local:run",
    "local:write",
    "project:create",
    "project:delete",
    "project:update",
}

# Deployed code and a fresh key outlive the grant and can do anything; a variable can steer any function's writes.
_BRINGS: dict[str, frozenset[str]] = {
    "deployment:deploy": DEPLOYMENT_EFFECTS,
    "deployment:token:create": DEPLOYMENT_EFFECTS,
    "deployment:env:write": frozenset({"deployment:data:write"}),
}


def implied(effects: Iterable[str]) -> tuple[str, ...]:
    """Effects that `effects` bring with them and do not state, sorted (docs/contract.md, Policy document)."""
    stated = frozenset(effects)
    brought = frozenset[str]().union(*(_BRINGS[effect] for effect in stated & _BRINGS.keys()))
    return tuple(sorted(brought - stated))
