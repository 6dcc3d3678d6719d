"""The tools that are questions to the keeper: what each asks it, and its answer as the tool's. Asks nothing itself.

None of them waits for a person, and none can approve. Standard library only: this is the hot path of `gate mcp`.
"""

from gate.errors import GateError
from gate.mcp import catalogue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Members = Mapping[str, Any]

_SECONDS = {"s": 1, "m": 60, "h": 3600}
# What Convex's own server calls a deployment; the rest goes by its class.
_KINDS = {"dev": "ownDev", "prod": "prod", "preview": "preview"}
_UNKNOWN = "agent:unknown"


class Question:
    """What a tool asks: the operation `op` (docs/protocol.md), its `members`, and what of the answer is `shown`.

    `members` gets the arguments and the invocation of this folder, `shown` the answer and that invocation.
    """

    __slots__ = ("members", "op", "shown")

    def __init__(
        self,
        op: str,
        members: "Callable[[Members, Members], dict[str, Any]]",
        shown: "Callable[[Members, Members], dict[str, Any]]",
    ) -> None:
        self.op = op
        self.members = members
        self.shown = shown


def _invocation(_arguments: "Members", invocation: "Members") -> "dict[str, Any]":
    return {"invocation": invocation}


def _explained(arguments: "Members", invocation: "Members") -> "dict[str, Any]":
    """Raises GateError `usage` for what is no call that could be made."""
    tool, asked = catalogue.TOOLS[arguments["tool"]], dict(arguments["arguments"])
    wrong = tool.problems(asked)
    if tool.name == "status":
        wrong.append("status is always answered: there is nothing to explain")
    if wrong:
        raise GateError("usage", f"{tool.name} cannot be called so: {'; '.join(wrong)}", remedy="See its input schema.")
    selector = asked.pop("deploymentSelector")
    return {"invocation": {**invocation, "tool": tool.name, "arguments": asked, "selector": selector}}


def _requested(arguments: "Members", invocation: "Members") -> "dict[str, Any]":
    return {
        **_who(invocation),
        "for": arguments.get("decision"),
        "deployment": arguments.get("deployment"),
        "effects": arguments.get("effects", []),
        "ticket": arguments["ticket"],
        "reason": arguments["reason"],
        "ttl_seconds": _seconds(arguments["ttl"]),
        "ack_risk": arguments["ack_risk"],
        "max_uses": arguments.get("max_uses"),
    }


def _listed(_arguments: "Members", invocation: "Members") -> "dict[str, Any]":
    return {**_who(invocation), "all": False}


def _dropped(arguments: "Members", invocation: "Members") -> "dict[str, Any]":
    return {**_who(invocation), "id": arguments["grant"]}


def _who(invocation: "Members") -> "dict[str, Any]":
    return {"gate_yaml": invocation["gate_yaml"], "principal": invocation["principal"]}


def _seconds(ttl: str) -> int:
    return min(int(ttl[:-1][:12]) * _SECONDS[ttl[-1]], 1 << 31)


def _deployments(answer: "Members", _invocation: "Members") -> "dict[str, Any]":
    return {"availableDeployments": [_deployment(row) for row in answer["result"]["deployments"]]}


def _deployment(row: "Members") -> "dict[str, Any]":
    """One deployment: reading and running are free, or granted, or need a grant; `free` and `under_grant` say which."""
    lasting = max(row["grants"], key=lambda grant: grant["seconds_left"], default=None)
    access = "free" if not row["under_grant"] else "needs_grant" if lasting is None else "granted"
    return {
        "kind": "urlWithAdminKey" if row["name"] is None else _KINDS.get(row["class"], row["class"]),
        "class": row["class"],
        "deployment": row["deployment"],
        "selected": row["selected"],
        "access": access,
        "deploymentSelector": row["selector"],
        "url": row["url"] or "",
        "grant": None if lasting is None else lasting["id"],
        "seconds_left": None if lasting is None else lasting["seconds_left"],
        "free": row["free"],
        "under_grant": row["under_grant"],
        "grants": row["grants"],
    }


def _decision(answer: "Members", _invocation: "Members") -> "dict[str, Any]":
    return {"decision": answer["decision"]}


def _request(answer: "Members", _invocation: "Members") -> "dict[str, Any]":
    return {name: answer["result"][name] for name in ("id", "merged", "approvers")}


def _grants(answer: "Members", invocation: "Members") -> "dict[str, Any]":
    """The caller's own: the keeper shows a system user all of its grants."""
    own = invocation["principal"] or _UNKNOWN
    return {"grants": [grant for grant in answer["result"]["grants"] if grant["requester"] == own]}


def _grant(answer: "Members", _invocation: "Members") -> "dict[str, Any]":
    return {"grant": answer["result"]["grant"]}


QUESTIONS = {
    "status": Question("deployments", _invocation, _deployments),
    "gate_explain": Question("explain", _explained, _decision),
    "gate_request_access": Question("request", _requested, _request),
    "gate_grants": Question("grants", _listed, _grants),
    "gate_drop": Question("drop", _dropped, _grant),
}
