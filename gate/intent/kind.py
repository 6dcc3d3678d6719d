"""What calling a function of a given kind takes. Looks nothing up: the proxy asks the deployment, this is the table."""

from dataclasses import replace

from gate.intent.intent import Intent

# docs/contract.md, Effects of commands. The words are Convex's: visibility and functionType of its apiSpec.
KIND_EFFECTS: dict[str, tuple[str, ...]] = {
    "query": ("deployment:data:view",),
    "mutation": ("deployment:data:view", "deployment:data:write"),
    "action": ("deployment:data:view", "deployment:data:write"),
    "internal query": ("deployment:data:view", "deployment:functions:runInternalQueries"),
    "internal mutation": (
        "deployment:data:view",
        "deployment:data:write",
        "deployment:functions:runInternalMutations",
    ),
    "internal action": (
        "deployment:data:view",
        "deployment:data:write",
        "deployment:functions:runInternalActions",
    ),
}

# A function that the deployment does not list, or that nobody can look up, is taken for the strictest kind.
UNLISTED = "internal mutation"


def with_kind(intent: Intent, kind: str) -> Intent:
    """`intent` with the effects of calling its function as `kind` (a key of KIND_EFFECTS) added."""
    effects = sorted({*intent.effects, *KIND_EFFECTS[kind]})
    return replace(intent, effects=tuple(effects), kind_known=True)
