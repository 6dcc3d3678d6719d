"""Convex's tools done by the door itself, for self-hosted deployments, which Convex's own server refuses to serve.

The same requests through the same proxy under the same lease, and the same results. `insights` is not here: it needs a
person's login and is never leased. Decides nothing. Source: convex 1.48.0, src/cli/lib/mcp/tools.

Standard library only: this is the hot path of `gate mcp`. The one deferred import below keeps HTTP out of its start:
that costs as much as an empty Python, and most sessions never make a direct call (docs/performance.md).
"""

import json

from gate.errors import GateError
from gate.intent.functions import canonical
from gate.mcp import logs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Arguments = Mapping[str, Any]

_OK = 200
# Of a function that failed: the answer is in the body (convex 1.48.0, browser/http_client.ts).
_FUNCTION_FAILED = 560
_FORMAT = "convex_encoded_json"
_CLIENT = "npm-cli-1.48.0"
_INTEGRAL = 2**53


class Failed(Exception):
    """The deployment took the call and answered that it failed; the text is the deployment's."""


def serves(pins: "Mapping[str, str]") -> bool:
    """Whether `pins` select a deployment that the door has to serve itself."""
    return bool(pins.get("CONVEX_SELF_HOSTED_URL"))


def call(pins: "Mapping[str, str]", tool: str, arguments: "Arguments") -> "Any":
    """What `tool` gives for `arguments` on the deployment that `pins` select. Waits for the network.

    Raises Failed, and GateError `upstream_unreachable` or `limit` where there is no proper answer.
    """
    deployment = _Deployment(pins["CONVEX_SELF_HOSTED_URL"], pins["CONVEX_SELF_HOSTED_ADMIN_KEY"])
    try:
        return _TOOLS[tool](deployment, arguments)
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        raise _unreachable("its answer has another form") from error


class _Deployment:
    """A deployment behind a lease."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url
        self.key = key

    def query(self, path: str, arguments: "Arguments") -> "Any":
        """Result of one of Convex's own queries."""
        body = {"path": path, "format": _FORMAT, "args": [arguments]}
        return _value(self.ask("POST", "/api/query", body), "{}")["value"]

    def ask(self, method: str, path: str, body: "Arguments | None" = None) -> "Any":
        """The JSON of an answer, None where there is nothing in it."""
        status, data = self._exchange(method, path, body)
        try:
            answer = json.loads(data, parse_float=_number) if data else None
        except (ValueError, RecursionError) as error:
            raise _unreachable("its answer is no JSON") from error
        if status not in (_OK, _FUNCTION_FAILED):
            raise Failed(str(answer.get("message")) if isinstance(answer, dict) else f"HTTP error {status}")
        return answer

    def _exchange(self, method: str, path: str, body: "Arguments | None") -> tuple[int, bytes]:
        headers = {"Authorization": f"Convex {self.key}", "Convex-Client": _CLIENT, "Content-Type": "application/json"}
        from gate.mcp import exchange  # noqa: PLC0415 - see the module's docstring

        try:
            return exchange.exchange(self._url, method, path, None if body is None else json.dumps(body), headers)
        except exchange.Broken as error:
            raise _unreachable(str(error)) from error


def _data(deployment: _Deployment, arguments: "Arguments") -> "Any":
    options = {"numItems": arguments.get("limit", 100), "cursor": arguments.get("cursor")}
    asked = {"table": arguments["tableName"], "order": arguments["order"], "paginationOpts": options}
    page = deployment.query("_system/cli/tableData", asked)
    return {name: _member(page, name) for name in ("page", "isDone", "continueCursor")}


def _tables(deployment: _Deployment, _arguments: "Arguments") -> "Any":
    active = _member(deployment.query("_system/frontend/getSchemas", {}), "active")
    declared = {table["tableName"]: table for table in json.loads(active)["tables"]} if active else {}
    inferred = deployment.ask("GET", "/api/shapes2")
    return {"tables": {name: _table(name, declared, inferred) for name in sorted({*declared, *inferred})}}


def _table(name: str, declared: "Arguments", inferred: "Arguments") -> "Any":
    found = (("schema", declared), ("inferredSchema", inferred))
    return {member: known[name] for member, known in found if name in known}


def _function_spec(deployment: _Deployment, _arguments: "Arguments") -> "Any":
    return deployment.query("_system/cli/modules:apiSpec", {})


def _run(deployment: _Deployment, arguments: "Arguments") -> "Any":
    path = canonical(arguments["functionName"])
    body = {"path": path, "format": _FORMAT, "args": _arguments_of(arguments["args"])}
    answer = _value(deployment.ask("POST", "/api/function", body), f"Failed to run function {path}: {{}}")
    lines = [logs.line_of_call(path, line) for line in answer.get("logLines", [])]
    return {"result": answer["value"], "logLines": lines}


def _arguments_of(text: str) -> "Any":
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Failed("Failed to parse the function's arguments as JSON") from error


def _env_list(deployment: _Deployment, arguments: "Arguments") -> "Any":
    variables = deployment.query("_system/cli/queryEnvironmentVariables", {})
    members = ("name", "value") if arguments.get("includeValues") is True else ("name",)
    return {"variables": [{member: one[member] for member in members} for one in variables]}


def _env_get(deployment: _Deployment, arguments: "Arguments") -> "Any":
    found = deployment.query("_system/cli/queryEnvironmentVariables:get", {"name": arguments["name"]})
    return {"value": None if found is None else found["value"]}


def _env_set(deployment: _Deployment, arguments: "Arguments") -> "Any":
    return _update(deployment, arguments["name"], arguments["value"])


def _env_remove(deployment: _Deployment, arguments: "Arguments") -> "Any":
    return _update(deployment, arguments["name"], None)


def _update(deployment: _Deployment, name: str, value: str | None) -> "Any":
    deployment.ask("POST", "/api/update_environment_variables", {"changes": [{"name": name, "value": value}]})
    return {"success": True}


def _oneoff(deployment: _Deployment, arguments: "Arguments") -> "Any":
    bundle = {"path": "testQuery.js", "source": arguments["query"]}
    body = {"adminKey": deployment.key, "args": {}, "bundle": bundle, "format": _FORMAT}
    answer = _value(deployment.ask("POST", "/api/run_test_function", body), "Query failed: {}")
    return {"result": answer["value"], "logLines": answer.get("logLines", [])}


def _logs(deployment: _Deployment, arguments: "Arguments") -> "Any":
    answer = deployment.ask("GET", f"/api/stream_function_logs?cursor={arguments.get('cursor', 0)}")
    entries = logs.chosen(
        _member(answer, "entries"),
        arguments.get("status", "all"),
        arguments.get("entriesLimit"),
        arguments.get("tokensLimit", 20_000),
    )
    text = logs.as_lines(entries) if arguments.get("jsonl") is True else logs.as_text(entries)
    return {"entries": text, "newCursor": _member(answer, "newCursor")}


_TOOLS: "dict[str, Callable[[_Deployment, Arguments], Any]]" = {
    "data": _data,
    "envGet": _env_get,
    "envList": _env_list,
    "envRemove": _env_remove,
    "envSet": _env_set,
    "functionSpec": _function_spec,
    "logs": _logs,
    "run": _run,
    "runOneoffQuery": _oneoff,
    "tables": _tables,
}


def _value(answer: "Any", sentence: str) -> "Any":
    """An answer with a value in it; Failed, with `sentence` around what the deployment says, for any other."""
    if isinstance(answer, dict) and answer.get("status") == "success" and "value" in answer:
        return answer
    said = answer.get("errorMessage") if isinstance(answer, dict) else None
    raise Failed(sentence.format(said or "the deployment did not say why"))


def _member(answer: "Any", name: str) -> "Any":
    if not isinstance(answer, dict) or name not in answer:
        raise _unreachable("its answer has another form")
    return answer[name]


def _number(text: str) -> int | float:
    """A number as JavaScript writes it: 1.0 is 1."""
    number = float(text)
    return int(number) if number.is_integer() and abs(number) < _INTEGRAL else number


def _unreachable(why: str) -> GateError:
    return GateError(
        "upstream_unreachable",
        f"the deployment gave no proper answer: {why}",
        remedy="Whether the call took effect is not known: look at what it should have changed before you call again.",
    )
