"""Which functions a lease may call: the user's own by name and kind, Convex's `_system/` ones by this table.

Holds no route and reads no request; a path that is not in its plainest form is refused rather than understood.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gate.proxy.lease import Scope
from gate.proxy.refusal import Refused

VIEW = "deployment:data:view"
WRITE = "deployment:data:write"
DEPLOY = "deployment:deploy"
ENV_VIEW = "deployment:env:view"
BACKUP = "deployment:backups:create"
IMPORT = "deployment:backups:import"
AS_USER = "deployment:functions:actAsUser"

# Commands that call functions of the user's own; every other one has helpers only.
_CALLERS = frozenset({"run", "dev", "mcp:run"})
_SEGMENT = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_PATH = re.compile(rf"({_SEGMENT}(?:/{_SEGMENT})*)(?::([A-Za-z_$][A-Za-z0-9_$]*))?", re.ASCII)
_TYPES = frozenset({"query", "mutation", "action"})


@dataclass(frozen=True, slots=True)
class Helper:
    """A `_system/` function: what it needs (any of `needs`), and which commands call it on their own behalf.

    `table` and `variable` name the argument that a scope's tables or variables are checked against; `every` tells
    that it reads all variables. `writes`: it changes data.
    """

    needs: tuple[frozenset[str], ...]
    commands: frozenset[str]
    table: str | None = None
    variable: str | None = None
    every: bool = False
    writes: bool = False


def _reads(effect: str, *commands: str, **more: Any) -> Helper:
    """A helper that wants `effect`; a push may use those that it lists without it, deploying implies more."""
    needs = (frozenset({effect}), frozenset({DEPLOY}))
    return Helper(needs, frozenset(commands), **more)


_WRITER = Helper((frozenset({VIEW, WRITE}),), frozenset(), table="table", writes=True)

# Who calls what: the CLI 1.48 sources. Anything else under `_system/` is refused.
HELPERS: dict[str, Helper] = {
    "_system/cli/tables:default": _reads(VIEW, "data"),
    "_system/cli/tableData:default": _reads(VIEW, "data", "mcp:data", table="table"),
    "_system/cli/queryTable:default": _reads(VIEW, "dev", table="tableName"),
    "_system/cli/tableSize:default": _reads(DEPLOY, "deploy", "dev", "run", table="tableName"),
    "_system/cli/queryEnvironmentVariables:default": _reads(
        ENV_VIEW, "env list", "env set", "dev", "mcp:envList", every=True
    ),
    "_system/cli/queryEnvironmentVariables:get": _reads(ENV_VIEW, "env get", "mcp:envGet", variable="name"),
    "_system/cli/modules:apiSpec": _reads(VIEW, "function-spec", "run", "dev", "mcp:functionSpec"),
    "_system/cli/convexUrl:cloudUrl": _reads(VIEW, "function-spec"),
    "_system/cli/exports:getLatest": _reads(BACKUP, "export"),
    "_system/cli/queryImport:default": _reads(IMPORT, "import"),
    "_system/cli/queryImport:list": _reads(IMPORT, "import"),
    "_system/frontend/getSchemas:default": _reads(VIEW, "mcp:tables"),
    "_system/frontend/components:list": _reads(VIEW, "run"),
    "_system/frontend/addDocument:default": _WRITER,
    "_system/frontend/patchDocumentsFields:default": _WRITER,
    "_system/frontend/replaceDocument:default": _WRITER,
    "_system/frontend/deleteDocuments:default": _WRITER,
    "_system/frontend/clearTablePage:default": _WRITER,
    "_system/frontend/createTable:default": _WRITER,
}


@dataclass(frozen=True, slots=True)
class Call:
    """One function call of a request, in canonical form."""

    path: str
    component: str | None
    arguments: Mapping[str, Any]


def canonical(path: str) -> str:
    """`module:name` of the function at `path`: no `.js`, the default export by name.

    Raises Refused for what a backend might read in another way: empty or dotted segments, a second colon, escapes.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise Refused("the function path is not in its plain form")
    return f"{match[1].removesuffix('.js')}:{match[2] or 'default'}"


def read_call(message: Mapping[str, Any], path: str) -> Call:
    """The call in a request body (`path` is "path") or a sync message ("udfPath"). Raises Refused when it is none."""
    name, component, arguments = message.get(path), message.get("componentPath"), message.get("args", {})
    if isinstance(arguments, list):
        arguments = arguments[0] if len(arguments) == 1 else {} if not arguments else None
    if not isinstance(name, str) or not isinstance(arguments, Mapping) or not isinstance(component, str | None):
        raise Refused("the call is malformed")
    return Call(canonical(name), component, arguments)


def check(call: Call, scope: Scope) -> None:
    """Return only when `scope` covers `call`. Raises Refused, naming what is missing."""
    check_component(call.component, scope)
    if call.path.startswith("_system/"):
        _check_helper(call, scope)
    elif scope.command not in _CALLERS:
        raise Refused(f"{scope.command} calls no functions of the application")
    elif scope.functions is not None and call.path not in scope.functions:
        raise Refused(f"{call.path} is not the function that was decided")
    else:
        _need((frozenset({VIEW}),), scope, call.path)


def writes(call: Call, scope: Scope) -> bool:
    """Whether `call` may change data, as far as the gate knows."""
    helper = HELPERS.get(call.path)
    return helper.writes if helper is not None else typed(call, scope) != "query"


def decided(call: Call, scope: Scope) -> bool:
    """Whether `call` is what the invocation is about, and not a helper that the CLI calls on its own behalf."""
    return call.path not in HELPERS or _named(call, scope)


def typed(call: Call, scope: Scope) -> str | None:
    """The kind as which `call` has to be forwarded: `query`, `mutation`, `action`; None: as it came.

    A scope without the effect of writing gets a query whatever was decided. None where the scope allows every kind,
    where more than one was decided, and inside a component, which the typed routes do not know.
    """
    if call.component:
        return None
    helper = HELPERS.get(call.path)
    if helper is not None:
        return "mutation" if helper.writes else "query"
    if WRITE not in scope.effects:
        return "query"
    kinds = {kind.removeprefix("internal ") for kind in scope.kinds or ()} & _TYPES
    return kinds.pop() if len(kinds) == 1 else None


def check_untyped(call: Call, scope: Scope) -> None:
    """Raises Refused where `call` would go out without a type, in a scope that does not cover a mutation."""
    if call.path not in HELPERS and typed(call, scope) is None and not {VIEW, WRITE} <= scope.effects:
        raise Refused(f"{call.path} may turn out to be a mutation, which needs {WRITE}")


def check_component(component: str | None, scope: Scope) -> None:
    """Return only when `scope` covers what happens inside `component`; None or empty: in the app itself."""
    if not component:
        allowed = not scope.components or "" in scope.components
    else:
        allowed = scope.components is None or component in scope.components
    if not allowed:
        raise Refused("the component is not the one that was decided")


def among(name: object, names: frozenset[str] | None) -> bool:
    """Whether `name`, any JSON value of a request, is one of `names`; None: any is."""
    return names is None or (isinstance(name, str) and name in names)


def _check_helper(call: Call, scope: Scope) -> None:
    helper = HELPERS.get(call.path)
    if helper is None:
        raise Refused(f"{call.path} is not a system function that the gate lets through")
    named = _named(call, scope)
    if not named and scope.command not in helper.commands:
        raise Refused(f"{call.path} is not part of {scope.command}")
    # A function that the decision names is held to its own effect; deploying stands in only for the CLI's helpers.
    _need(helper.needs[:1] if named else helper.needs, scope, call.path)
    _check_resource(call, helper, scope)


def _named(call: Call, scope: Scope) -> bool:
    return scope.command in _CALLERS and scope.functions is not None and call.path in scope.functions


def _check_resource(call: Call, helper: Helper, scope: Scope) -> None:
    # Convex's own functions take a component by its id too, which no decision knows.
    if call.arguments.get("componentId") is not None and scope.components is not None:
        raise Refused("the component is not the one that was decided")
    if helper.table is not None and not among(call.arguments.get(helper.table), scope.tables):
        raise Refused("the table is not one that was decided")
    if helper.variable is not None and not among(call.arguments.get(helper.variable), scope.variables):
        raise Refused("the variables are not those that were decided")
    if helper.every and scope.variables is not None:
        raise Refused("the variables are not those that were decided")


def _need(needs: tuple[frozenset[str], ...], scope: Scope, what: str) -> None:
    if not any(need <= scope.effects for need in needs):
        raise Refused(f"{what} needs {' and '.join(sorted(needs[0] - scope.effects))}")
