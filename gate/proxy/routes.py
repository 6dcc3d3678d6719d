"""The routes of a deployment that a lease may use at all: one table, everything else is refused. Reads no body."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from gate.proxy.functions import BACKUP, DEPLOY, IMPORT, WRITE
from gate.proxy.lease import Scope
from gate.proxy.refusal import Refused

SYNC = re.compile(r"/api/\d+\.\d+\.\d+(?:-[0-9A-Za-z.]+)?/sync", re.ASCII)
_LOGS = "deployment:logs:view"
_ENV_WRITE = "deployment:env:write"
_DOWNLOAD = "deployment:backups:download"
_TEST = "deployment:functions:runTestQuery"
_LIMITS = "deployment:usageLimits:view"
_PUSHERS = frozenset({"deploy", "dev", "codegen", "run"})
_TOOLS_THAT_QUERY = frozenset({"mcp:data", "mcp:tables", "mcp:functionSpec", "mcp:envList", "mcp:envGet"})


@dataclass(frozen=True, slots=True)
class Route:
    """One route: which commands use it, and the effects it needs (any of `needs`).

    `body`: what is read before it is forwarded: `none` (streamed as it comes), `json` (parsed and written anew),
    `key` (the same, and it must carry the credential as adminKey: the backend reads it nowhere else).
    `check`: what is looked at in the body (`function`, `query`, `variables`, `import`, `confirm`, `test`). `query`:
    names of query parameters that may be there. `writes`: it changes the deployment. `charges`: it costs a use of a
    grant; on function routes only what was decided does, and whether it writes is the function's matter. `answer`:
    what is read in the answer while it passes: `rows` (counted under a grant), `import` (the id of a new import).
    """

    commands: frozenset[str]
    needs: tuple[frozenset[str], ...]
    body: str = "none"
    check: str = ""
    query: frozenset[str] = frozenset()
    writes: bool = False
    charges: bool = False
    answer: str = ""


def _push(*commands: str, writes: bool = False, charges: bool = False) -> Route:
    return Route(frozenset(commands) or _PUSHERS, (frozenset({DEPLOY}),), "key", writes=writes, charges=charges)


def _import(body: str = "none", check: str = "", **more: Any) -> Route:
    return Route(frozenset({"import"}), (frozenset({IMPORT, WRITE}),), body, check, **more)


_VARIABLES = Route(
    frozenset({"env set", "env remove", "mcp:envSet", "mcp:envRemove"}),
    (frozenset({_ENV_WRITE}),),
    "json",
    check="variables",
    writes=True,
    charges=True,
)
_ANY = (frozenset[str](),)

# Who uses what: the CLI 1.48's sources. Needs: the keys' permissions of each route (docs/contract.md, Effects).
ROUTES: dict[str, Route] = {
    "POST /api/function": Route(
        frozenset({"run", "dev", "mcp:run"}), _ANY, "json", check="function", charges=True, answer="rows"
    ),
    # The import's CLI, and the gate's own door where it does a tool itself (docs/mcp.md).
    "POST /api/query": Route(frozenset({"import", *_TOOLS_THAT_QUERY}), _ANY, "json", check="query", answer="rows"),
    "GET /api/shapes2": Route(frozenset({"mcp:tables"}), (frozenset({"deployment:data:view"}),)),
    "POST /api/run_test_function": Route(
        frozenset({"run", "mcp:runOneoffQuery"}),
        (frozenset({_TEST, "deployment:data:view"}),),
        "key",
        check="test",
        charges=True,
        answer="rows",
    ),
    "POST /api/update_environment_variables": _VARIABLES,
    "GET /api/stream_function_logs": Route(
        frozenset({"logs", "dev", "mcp:logs"}), (frozenset({_LOGS}), frozenset({DEPLOY})), query=frozenset({"cursor"})
    ),
    "POST /api/export/request/zip": Route(
        frozenset({"export"}), (frozenset({BACKUP}),), query=frozenset({"includeStorage"})
    ),
    "GET /api/export/zip/N": Route(frozenset({"export"}), (frozenset({_DOWNLOAD}),)),
    "POST /api/import/start_upload": _import(),
    "POST /api/import/upload_part": _import(query=frozenset({"uploadToken", "partNumber"})),
    "POST /api/import/finish_upload": _import("json", "import", answer="import"),
    "POST /api/perform_import": _import("json", "confirm", writes=True, charges=True),
    "POST /api/get_config_hashes": _push(),
    "POST /api/deploy2/evaluate_push": _push(),
    "POST /api/deploy2/evaluate_schema": _push(),
    "POST /api/deploy2/start_push": _push(writes=True),
    "POST /api/deploy2/wait_for_schema": _push("deploy", "dev", "run"),
    "POST /api/deploy2/finish_push": _push("deploy", "dev", "run", writes=True, charges=True),
    "POST /api/deploy2/report_push_completed": _push("deploy", "dev", "run"),
    "GET /api/v1/get_canonical_urls": Route(frozenset({"deploy", "dev", "init", "codegen"}), _ANY),
    "GET /api/v1/get_current_usage": Route(
        frozenset({"deployment usage", "deployment usage-limits list"}), (frozenset({_LIMITS}),)
    ),
    "GET /api/v1/list_usage_limits": Route(frozenset({"deployment usage-limits list"}), (frozenset({_LIMITS}),)),
}
_SNAPSHOT = re.compile(r"GET /api/export/zip/\d{1,20}", re.ASCII)


def find(method: str, raw_path: str, scope: Scope) -> Route:
    """The route of a request for `raw_path` (as it came, undecoded, with its query) if `scope` may use it.

    Only the plain spelling of a path matches: escapes, dots and doubled slashes are unknown routes. Raises Refused.
    """
    path, _, query = raw_path.partition("?")
    place = f"{method} {path}"
    route = ROUTES.get("GET /api/export/zip/N" if _SNAPSHOT.fullmatch(place) else place)
    if route is None or place.endswith("/N"):
        raise Refused("this route is not one that the gate lets through")
    _check_query(query, route)
    check(route, scope, place)
    return route


def check(route: Route, scope: Scope, place: str) -> None:
    """Raises Refused unless `scope` is of one of the route's commands and holds what it needs."""
    if scope.command not in route.commands:
        raise Refused(f"{place} is not part of {scope.command}")
    if not any(need <= scope.effects for need in route.needs):
        raise Refused(f"{place} needs {' and '.join(sorted(route.needs[0] - scope.effects))}")


def _check_query(query: str, route: Route) -> None:
    names = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
    if not names <= route.query:
        raise Refused("a query parameter is not one that the gate lets through")
