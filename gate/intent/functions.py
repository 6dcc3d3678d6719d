"""How a function is named on a command line, and what Convex's own `_system/*` functions take. Calls nothing."""

import re

from gate.errors import GateError

# Convex's own backend takes nothing else: a name in any other spelling could pass a rule about functions unseen.
_CANONICAL = re.compile(r"[A-Za-z0-9_.]+(/[A-Za-z0-9_.]+)*:[A-Za-z_$][A-Za-z0-9_$]*")
_EXTENSIONS = (".ts", ".js", ".tsx", ".jsx", ".mts", ".mjs", ".cts", ".cjs")
_FOLDER = "convex/"
_SHOWN = 60
_API_PARTS = 3

_SYSTEM = "_system/"
_SYSTEM_READS_VARIABLES = "_system/cli/queryEnvironmentVariables"
_SYSTEM_WRITERS = frozenset(
    f"_system/frontend/{name}"
    for name in (
        "addDocument",
        "clearTablePage",
        "createTable",
        "deleteDocuments",
        "patchDocumentsFields",
        "replaceDocument",
    )
)


def canonical(name: str) -> str:
    """`name` as the CLI sends it (run.ts, parseFunctionName): `api.a.b` is `a:b`, `a/b.js:c` `a/b:c`, `a` `a:default`.

    A leading `convex/` is taken for the functions' folder. Where the project has a folder of that name inside it the
    CLI sends another path, which the lease then does not cover. Raises GateError `unknown_option` for what is no name.
    """
    path = _of_api(name) if name.startswith(("api.", "internal.")) else _of_path(name)
    module = path.rpartition(":")[0]
    tricky = module.endswith(_EXTENSIONS) or any(set(part) == {"."} for part in module.split("/"))
    if tricky or _CANONICAL.fullmatch(path) is None:
        raise GateError(
            "unknown_option",
            f"{name[:_SHOWN]!r} is not how a function is named",
            remedy="Name it as `messages:list` or `folder/file:export`.",
        )
    return path


def system_effects(function: str) -> tuple[str, ...] | None:
    """Effects of one of Convex's own functions; None for a function of the user's.

    An unlisted one counts as all that the listed ones do: there is no list of them in the deployment's apiSpec.
    """
    module = function.rpartition(":")[0]
    if not function.startswith(_SYSTEM):
        return None
    if module == _SYSTEM_READS_VARIABLES:
        return ("deployment:env:view",)
    writes = ("deployment:data:view", "deployment:data:write")
    if module in _SYSTEM_WRITERS:
        return (*writes, "deployment:functions:runInternalMutations")
    return (*writes, "deployment:env:view", "deployment:functions:runInternalMutations")


def _of_api(name: str) -> str:
    parts = name.split(".")
    return f"{'/'.join(parts[1:-1])}:{parts[-1]}" if len(parts) >= _API_PARTS else ""


def _of_path(name: str) -> str:
    pieces = name.split(":")
    module = next((pieces[0][: -len(end)] for end in _EXTENSIONS if pieces[0].endswith(end)), pieces[0])
    export = pieces[1] if len(pieces) > 1 else "default"
    return f"{module.removeprefix(_FOLDER)}:{export}"
