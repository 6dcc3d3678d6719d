"""The tools that `gate mcp` lists: names, input and output schemas, annotations, as data. Calls nothing.

Names and input schemas of the first twelve are those of Convex's own server (convex 1.48.0, `convex mcp start`): what
one accepts, the other accepts. Descriptions are the gate's. The list is the same at all times: what a caller may do is
decided at the call.

Standard library only: this is the hot path of `gate mcp`.
"""

from gate.mcp import schema as schemas

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Schema = dict[str, Any]

CONVEX_VERSION = "1.48.0"

_TEXT = {"type": "string"}
_FLAG = {"type": "boolean"}
_NUMBER = {"type": "number"}
_TEXTS = {"type": "array", "items": _TEXT}
_OBJECT = {"type": "object"}
_OBJECTS = {"type": "array", "items": _OBJECT}
_SELECTOR = {"type": "string", "description": "Selector of the deployment, from the status tool."}
# Any tool can be refused; a client holds that answer to the same schema.
_REFUSALS = {"decision": _OBJECT, "error": _OBJECT}


class Tool:
    """One tool.

    `wrap` is the member that holds a result which is no object. `either` are sets of arguments of which exactly one has
    to be there; the schema does not say it, because some model APIs take no `oneOf` at its root.
    """

    __slots__ = ("annotations", "description", "either", "input", "name", "output", "wrap")

    def __init__(
        self,
        name: str,
        description: str,
        annotations: "dict[str, bool]",
        arguments: "Schema",
        results: "Schema",
        *,
        wrap: str | None = None,
        either: "tuple[tuple[str, ...], ...]" = (),
    ) -> None:
        self.name = name
        self.description = description
        self.annotations = annotations
        self.input = arguments
        self.output = results
        self.wrap = wrap
        self.either = either

    def listed(self) -> "dict[str, Any]":
        """The tool as an entry of `tools/list`."""
        return {
            "name": self.name,
            "description": self.description,
            "inputSchema": self.input,
            "outputSchema": self.output,
            "annotations": self.annotations,
        }

    def problems(self, arguments: "dict[str, Any]") -> "list[str]":
        """What of `arguments` the tool does not take, one short sentence each; empty where all is well."""
        wrong = schemas.problems(self.input, arguments)
        chosen = [names for names in self.either if any(name in arguments for name in names)]
        if self.either and (len(chosen) != 1 or not all(name in arguments for name in chosen[0])):
            wrong.append("arguments: give either " + ", or ".join(" and ".join(names) for names in self.either))
        return wrong


def _takes(properties: "Schema", *required: str) -> "Schema":
    shape = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**shape, "required": list(required)} if required else shape


def _gives(**properties: "Schema") -> "Schema":
    """An object with at least these members, or the decision or error that refused the call."""
    ways = [list(properties)] + [[name] for name in _REFUSALS if name not in properties]
    return {
        "type": "object",
        "properties": {**_REFUSALS, **properties},
        "anyOf": [{"required": names} for names in ways],
    }


def _hints(reads: bool, destroys: bool, repeats: bool, reaches_out: bool = False) -> "dict[str, bool]":
    return {
        "readOnlyHint": reads,
        "destructiveHint": destroys,
        "idempotentHint": repeats,
        "openWorldHint": reaches_out,
    }


_READS = _hints(reads=True, destroys=False, repeats=True)
_OVERWRITES = _hints(reads=False, destroys=True, repeats=True)
_RUNS = _hints(reads=False, destroys=True, repeats=False, reaches_out=True)
_ASKS = _hints(reads=False, destroys=False, repeats=True)

_CONVEX = (
    Tool(
        "status",
        "List the deployments that you can reach or ask for: class, whether access is free, needs a grant or is "
        "granted and for how long, and the selector that the other tools take. Develop on the dev deployment.",
        _READS,
        _takes({"projectDir": {"type": "string", "description": "Taken and ignored: the gate knows its project."}}),
        _gives(
            availableDeployments={
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "kind": _TEXT,
                        "class": _TEXT,
                        "access": {"type": "string", "description": "free, needs_grant or granted"},
                        "deploymentSelector": _TEXT,
                        "url": _TEXT,
                        "grant": {"type": ["string", "null"]},
                        "seconds_left": {"type": ["integer", "null"]},
                    },
                    "required": ["kind", "class", "access", "deploymentSelector", "url"],
                },
            }
        ),
    ),
    Tool(
        "data",
        "Read one page of a table's documents. `continueCursor` of a page is the `cursor` of the next.",
        _READS,
        _takes(
            {
                "deploymentSelector": _SELECTOR,
                "tableName": {"type": "string", "description": "Name of the table."},
                "order": {"type": "string", "enum": ["asc", "desc"], "description": "Order of the documents."},
                "cursor": {"type": "string", "description": "Where to go on reading."},
                "limit": {"type": "number", "maximum": 1000, "description": "Documents in the page; 100 if left out."},
            },
            "deploymentSelector",
            "tableName",
            "order",
        ),
        _gives(page={"type": "array"}, isDone=_FLAG, continueCursor=_TEXT),
    ),
    Tool(
        "tables",
        "List the tables of a deployment, each with its declared and its inferred schema.",
        _READS,
        _takes({"deploymentSelector": _SELECTOR}, "deploymentSelector"),
        _gives(tables=_OBJECT),
    ),
    Tool(
        "functionSpec",
        "List the functions of a deployment: path, validators of arguments and return value, whether it is a query, "
        "mutation, action or HTTP action, public or internal.",
        _READS,
        _takes({"deploymentSelector": _SELECTOR}, "deploymentSelector"),
        _gives(functions={"type": "array"}),
        wrap="functions",
    ),
    Tool(
        "run",
        "Run a query, mutation or action of the deployment; gives its result and its log lines.",
        _RUNS,
        _takes(
            {
                "deploymentSelector": _SELECTOR,
                "functionName": {"type": "string", "description": "Path and name, such as `folder/module.js:name`."},
                "args": {"type": "string", "description": "The function's arguments: one object, as JSON in a text."},
            },
            "deploymentSelector",
            "functionName",
            "args",
        ),
        _gives(result={}, logLines=_TEXTS),
    ),
    Tool(
        "envList",
        "List the names of a deployment's environment variables. Values are secrets: they come only when asked for, "
        "and only where a grant or the policy opens them.",
        _READS,
        _takes(
            {
                "deploymentSelector": _SELECTOR,
                "includeValues": {"type": "boolean", "description": "Values too. Prefer envGet for a single one."},
            },
            "deploymentSelector",
        ),
        _gives(variables=_OBJECTS),
    ),
    Tool(
        "envGet",
        "Read one environment variable of a deployment; null where it is not set.",
        _READS,
        _takes(
            {"deploymentSelector": _SELECTOR, "name": {"type": "string", "description": "Name of the variable."}},
            "deploymentSelector",
            "name",
        ),
        _gives(value={"type": ["string", "null"]}),
    ),
    Tool(
        "envSet",
        "Set one environment variable of a deployment; a value that it had is lost.",
        _OVERWRITES,
        _takes(
            {
                "deploymentSelector": _SELECTOR,
                "name": {"type": "string", "description": "Name of the variable."},
                "value": {"type": "string", "description": "Its new value."},
            },
            "deploymentSelector",
            "name",
            "value",
        ),
        _gives(success=_FLAG),
    ),
    Tool(
        "envRemove",
        "Remove one environment variable of a deployment; its value is lost.",
        _OVERWRITES,
        _takes(
            {"deploymentSelector": _SELECTOR, "name": {"type": "string", "description": "Name of the variable."}},
            "deploymentSelector",
            "name",
        ),
        _gives(success=_FLAG),
    ),
    Tool(
        "runOneoffQuery",
        "Run JavaScript that you write as a query: it reads, cannot write, and has no network. The module's default "
        'export is a query, `query` comes from "convex:/_system/repl/wrappers.js", and nothing else can be imported.',
        _READS,
        _takes(
            {
                "deploymentSelector": _SELECTOR,
                "query": {
                    "type": "string",
                    "description": "Source of the module: `export default query({ handler: async (ctx) => ... })`.",
                },
            },
            "deploymentSelector",
            "query",
        ),
        _gives(result={}, logLines=_TEXTS),
    ),
    Tool(
        "logs",
        "Fetch recent executions from a deployment's log, once; `newCursor` is the `cursor` of the next fetch.",
        _READS,
        _takes(
            {
                "deploymentSelector": _SELECTOR,
                "status": {
                    "type": "string",
                    "enum": ["all", "success", "failure"],
                    "default": "all",
                    "description": "`failure` for executions that threw, with message and stack.",
                },
                "cursor": {"type": "number", "description": "Milliseconds to start from; 0 for the beginning."},
                "entriesLimit": {
                    "type": "integer",
                    "exclusiveMinimum": 0,
                    "maximum": 1000,
                    "description": "At most so many entries, counted from the end.",
                },
                "tokensLimit": {
                    "type": "integer",
                    "exclusiveMinimum": 0,
                    "default": 20000,
                    "description": "Roughly the number of tokens to give at most.",
                },
                "jsonl": {"type": "boolean", "default": False, "description": "Raw entries, one JSON object a line."},
            },
            "deploymentSelector",
        ),
        _gives(entries=_TEXT, newCursor=_NUMBER),
    ),
    Tool(
        "insights",
        "Health of a cloud deployment over the last 72 hours: write conflicts, and functions that read too much.",
        _READS,
        _takes({"deploymentSelector": _SELECTOR}, "deploymentSelector"),
        _gives(insights=_OBJECTS, summary=_TEXT, dashboardUrl=_TEXT),
    ),
)
CONVEX = tuple(tool.name for tool in _CONVEX)

# Approving is no tool: a signature never travels this way (docs/threat-model.md).
_GATE = (
    Tool(
        "gate_explain",
        "Say what the gate would decide about a call of one of Convex's tools, without making it.",
        _READS,
        _takes(
            {
                "tool": {"type": "string", "enum": list(CONVEX), "description": "Name of the tool."},
                "arguments": {"type": "object", "description": "The arguments of the call."},
            },
            "tool",
            "arguments",
        ),
        _gives(decision=_OBJECT),
    ),
    Tool(
        "gate_request_access",
        "Ask a person for access: for what a refused call needed (`decision`, its id), or for effects on a deployment. "
        "Answers at once with the request's id and who can approve it. Then go on with something else.",
        _ASKS,
        _takes(
            {
                "decision": {"type": "string", "description": "Id of the decision that refused, `dec-...`."},
                "deployment": {"type": "string", "description": "Name of the deployment in the bundle."},
                "effects": {
                    "type": "array",
                    "items": _TEXT,
                    "minItems": 1,
                    "description": "`deployment:data:view`, ...",
                },
                "ticket": {"type": "string", "description": "Ticket of the change; empty where none is wanted."},
                "reason": {"type": "string", "description": "Why, in a sentence for the person who approves."},
                "ttl": {"type": "string", "pattern": "^[1-9][0-9]*[smh]$", "description": "How long: `30m`."},
                "ack_risk": {"type": "boolean", "description": "That you know that this is production."},
                "max_uses": {"type": "integer", "minimum": 1, "description": "How many calls at most."},
            },
            "ticket",
            "reason",
            "ttl",
            "ack_risk",
        ),
        _gives(id=_TEXT, merged=_FLAG, approvers=_TEXTS),
        either=(("decision",), ("deployment", "effects")),
    ),
    Tool(
        "gate_grants",
        "List your grants that have not ended: what each covers and how long it lasts.",
        _READS,
        _takes({}),
        _gives(grants=_OBJECTS),
    ),
    Tool(
        "gate_drop",
        "Give a grant of yours back before its end. It cannot be taken up again.",
        _OVERWRITES,
        _takes({"grant": {"type": "string", "description": "Id of the grant, `grt-...`."}}, "grant"),
        _gives(grant=_OBJECT),
    ),
)
TOOLS = {tool.name: tool for tool in (*_CONVEX, *_GATE)}


def listing() -> "list[dict[str, Any]]":
    """All tools as `tools/list` gives them, always the same and in the same order."""
    return [tool.listed() for tool in TOOLS.values()]
