"""What a call comes to, as the result of `tools/call`: data, a denial, an error. Knows no revision of the protocol.

A result has a text for the model and the same as an object. Denials teach: what, by which rule, what would make it
pass, and the exact arguments to ask with (docs/contract.md, Decision).

Standard library only: this is the hot path of `gate mcp`.
"""

import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from gate.errors import GateError
    from gate.mcp.catalogue import Tool

_LONGEST_LINE = 300
_MOST_PROBLEMS = 5
# An option of `gate request`, and the argument of gate_request_access that says the same.
_SAME = {
    "--for": "decision",
    "--deployment": "deployment",
    "--effect": "effects",
    "--ticket": "ticket",
    "--reason": "reason",
    "--ttl": "ttl",
    "--ack-risk": "ack_risk",
    "--max-uses": "max_uses",
}


def data(tool: "Tool", value: "Any") -> "dict[str, Any]":
    """`value` as the result of `tool`: the text is `value` itself as JSON, the object is wrapped where it is none."""
    structured = value if isinstance(value, dict) else {tool.wrap or "result": value}
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return {**_texts([text]), "structuredContent": structured, "isError": False}


def denial(decision: "Mapping[str, Any]") -> "dict[str, Any]":
    """A refused decision: at most six lines for the model, and the decision object itself."""
    lines = [_line(f"Refused ({decision['code']}): {decision['message']}")]
    lines += [_line(f"Rule {rule['id']} ({rule['at']}): {rule['because']}") for rule in decision["rules"][:2]]
    lines += _wanted(decision["needs"] or {})
    lines += _remedy(decision["remedy"] or {})
    return {**_texts(lines), "structuredContent": {"decision": dict(decision)}, "isError": True}


def failure(error: "GateError") -> "dict[str, Any]":
    """A refusal or failure that is no decision."""
    remedy = {"text": error.remedy, "argv": error.argv}
    members = {"gate": 1, "kind": "error", "code": error.code, "message": error.message, "exit": error.exit}
    lines = [_line(f"Failed ({error.code}): {error.message}"), *_remedy(remedy)]
    return {**_texts(lines), "structuredContent": {"error": {**members, "remedy": remedy}}, "isError": True}


def wrong_arguments(tool: "Tool", problems: "Sequence[str]") -> "dict[str, Any]":
    """Arguments that `tool` does not take: nothing was decided and nothing was called."""
    message = f"{tool.name} was not called: its arguments are not those of its schema"
    error = {"gate": 1, "kind": "error", "code": "usage", "message": message, "problems": list(problems)}
    lines = [message + ".", *problems[:_MOST_PROBLEMS]]
    return {**_texts(lines), "structuredContent": {"error": error}, "isError": True}


def request_arguments(argv: "Sequence[str] | None") -> "dict[str, Any] | None":
    """The `gate request` command line of a remedy as arguments of gate_request_access; None for another command."""
    words = list(argv or ())
    if words[:2] != ["gate", "request"]:
        return None
    asked: dict[str, Any] = {}
    rest = iter(words[2:])
    for option in rest:
        name = _SAME.get(option)
        if name is None:
            return None
        asked[name] = _value(name, rest, asked)
    return asked


def _value(name: str, rest: "Any", asked: "Mapping[str, Any]") -> "Any":
    if name == "ack_risk":
        return True
    word = next(rest, "")
    if name == "effects":
        return [*asked.get(name, []), word]
    return int(word) if name == "max_uses" and word.isdecimal() else word


def _wanted(needs: "Mapping[str, Any]") -> "list[str]":
    """What would make the call pass, as the merged needs say."""
    parts = [f"a ticket that matches {pattern}" for pattern in needs.get("ticket") or ()]
    parts += [f"a reason of at least {needs['reason_min']} characters"] if needs.get("reason_min") else []
    parts += [f"a ttl of at most {needs['ttl_max_seconds']}s"] if needs.get("ttl_max_seconds") else []
    parts += [f"at most {needs['max_uses']} uses"] if needs.get("max_uses") else []
    parts += ["ack_risk true"] if needs.get("ack_risk") else []
    parts += [f"{block['count']} approval from {', '.join(block['from'])}" for block in needs.get("approvals") or ()]
    return [_line(f"To pass: {'; '.join(parts)}.")] if parts else []


def _remedy(remedy: "Mapping[str, Any]") -> "list[str]":
    """The way out: a tool that the model can call, else a command line, which is a person's to run."""
    argv = remedy.get("argv")
    asked = request_arguments(argv)
    if asked is not None:
        return [
            f"Ask for it: gate_request_access {json.dumps(asked)}",
            "A person decides. Do not wait: go on, and call again once it is granted.",
        ]
    command = f" Command: {' '.join(argv)}" if argv else ""
    return [_line(f"{remedy['text']}{command}")] if remedy.get("text") else []


def _line(text: str) -> str:
    """`text` on one line of bounded length: it may hold words of an agent's or of a deployment's."""
    shown = "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text[:_LONGEST_LINE])
    return shown + "…" * (len(text) > _LONGEST_LINE)


def _texts(lines: "Sequence[str]") -> "dict[str, Any]":
    return {"content": [{"type": "text", "text": "\n".join(lines)}]}
