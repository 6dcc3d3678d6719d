"""The schemas of docs/schema, made from the code: what gate.yaml, a policy, a decision and an event look like.

Files that people write are described by the models that read them, down to the patterns and vocabularies of their
checks. What the gate writes is described here, with the vocabularies of the code. Also what a version of a schema
promises, for the test that nothing of it is taken back. Holds no test and writes no file.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from jsonschema import Draft202012Validator
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from gate.audit.chain import BEGINNING
from gate.config.document import CustodyEntry, Document, _seconds
from gate.config.findings import _first_version, _not_empty, _not_null
from gate.config.values import key_path, origin
from gate.errors import EXITS
from gate.grant.grant import CLOSED, CUT_FAILED, ENDS, GRANT_MOVES
from gate.grant.request import CANCELLED, DENIED, LAPSED, PENDING, REQUEST_MOVES
from gate.intent.effects import EFFECTS
from gate.intent.intent import DIMENSIONS
from gate.policy.rules import DOORS, RULE_CLASSES, VERBS
from gate.policy.schema import Conditions, NeedsText, Policy, RuleText

Json = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DURATION = "^[1-9][0-9]{0,8}[smh]$"

# What a check says that has no vocabulary or pattern of its own to read.
_CHECKS: Mapping[Callable[..., Any], Json] = {
    _first_version: {"const": 1},
    _not_empty: {"minItems": 1},
    origin: {"format": "uri"},
    key_path: {"pattern": "^keys/"},
}

# What a model demands of its keys together.
_TOGETHER: Mapping[type[BaseModel], Json] = {
    Conditions: {"minProperties": 1},
    NeedsText: {"minProperties": 1},
    RuleText: {
        "oneOf": [{"required": ["allow"]}, {"required": ["deny"]}, {"required": ["require"]}],
        "dependentRequired": {"require": ["needs"], "needs": ["require"]},
    },
    CustodyEntry: {
        "oneOf": [{"required": ["file"]}, {"required": ["env_file"]}, {"required": ["command"]}],
        "dependentRequired": {"timeout": ["command"]},
    },
}


class _Written(GenerateJsonSchema):
    """Schemas of documents as they are written: durations are text, an optional key is left out and never null."""

    def function_after_schema(self, schema: core_schema.AfterValidatorFunctionSchema) -> Json:
        return {**self.generate_inner(schema["schema"]), **_said(schema["function"]["function"])}

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> Json:
        function = schema["function"]["function"]
        if function is _seconds:
            return {"type": "string", "pattern": _DURATION}
        inner = schema["schema"]
        if function is _not_null and inner["type"] == "nullable":
            inner = inner["schema"]
        return self.generate_inner(inner)

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Json:
        """A default is shown where it could be written."""
        inner: Json = self.generate_inner(schema["schema"])
        default = self.encode_default(schema.get("default"))
        shown = default is not None and Draft202012Validator(inner | {"$defs": {}}).is_valid(default)
        return inner | {"default": default} if shown else inner

    def dict_schema(self, schema: core_schema.DictSchema) -> Json:
        """A key that does not match is no key."""
        inner = super().dict_schema(schema)
        return inner | {"additionalProperties": False} if "patternProperties" in inner else inner

    def model_schema(self, schema: core_schema.ModelSchema) -> Json:
        return {**super().model_schema(schema), **_TOGETHER.get(schema["cls"], {})}

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def _said(check: Callable[..., Any]) -> Json:
    """What `check` demands: its vocabulary or its pattern, where it was made from one."""
    if check in _CHECKS:
        return dict(_CHECKS[check])
    said: Json = {}
    if not inspect.isfunction(check):
        return said
    for value in inspect.getclosurevars(check).nonlocals.values():
        if isinstance(value, re.Pattern):
            said["pattern"] = f"^(?:{value.pattern})$"
        elif isinstance(value, frozenset):
            said["enum"] = sorted(value)
    return said


_TEXT: Json = {"type": "string"}
_NUMBER: Json = {"type": "integer", "minimum": 0}
_FLAG: Json = {"type": "boolean"}
_DIGEST: Json = {"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}
_HASH: Json = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_TIME: Json = {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{3}Z$"}
_DECISION_ID: Json = {"type": "string", "pattern": "^dec-[0-9a-z]+$"}
_REQUEST_ID: Json = {"type": "string", "pattern": "^req-[0-9a-z]+$"}
_GRANT_ID: Json = {"type": "string", "pattern": "^grt-[0-9a-z]+$"}
_COUNT: Json = {"type": "integer", "minimum": 1}
# What an event is found by, where its body would name something else first.
_SUBJECT = {"subject": _TEXT}
_MOMENT = {"boot": _TEXT, "boot_ms": _NUMBER}
_SIGNED = {"nonce": _TEXT, "statement": _TEXT, "signature": _TEXT}


def _words(words: Any) -> Json:
    return {"enum": list(words)}


def _list(item: Json) -> Json:
    return {"type": "array", "items": item}


def _or_null(schema: Json) -> Json:
    return {"anyOf": [schema, {"type": "null"}]}


def _object(properties: Mapping[str, Json], *, optional: tuple[str, ...] = (), says: str = "") -> Json:
    """An object whose keys are always there, but for the `optional` ones; later versions may add keys."""
    required = [name for name in properties if name not in optional]
    described = {"description": says} if says else {}
    return {**described, "type": "object", "properties": dict(properties), "required": required}


def _intent() -> Json:
    resources = {name: _or_null(_list(_TEXT)) for name in DIMENSIONS}
    return _object(
        {
            "command": _TEXT,
            "effects": _list(_words(sorted(EFFECTS))),
            "resources": _object(
                resources, optional=DIMENSIONS, says="A dimension that does not apply is absent; null is not known."
            ),
        },
        says="What the words ask for.",
    )


def _target() -> Json:
    return _object(
        {
            "deployment": _TEXT,
            "class": _words(RULE_CLASSES),
            "name": _or_null(_TEXT),
            "url": _or_null(_TEXT),
            "chosen_by": _TEXT,
        },
        says="The one deployment.",
    )


def _needs() -> Json:
    block = {
        "count": {"type": "integer", "minimum": 1},
        "from": _list(_TEXT),
        "not": _list(_words(("requester", "owner"))),
        "touch": _FLAG,
    }
    return _object(
        {
            "grant": _FLAG,
            "ticket": _list(_TEXT),
            "reason_min": _NUMBER,
            "ack_risk": _FLAG,
            "ttl_max_seconds": _or_null({"type": "integer", "minimum": 1}),
            "max_uses": _or_null({"type": "integer", "minimum": 1}),
            "approvals": _list({"$ref": "#/$defs/approvals"}),
        },
        says="What all matching require rules demand together.",
    ) | {"$defs": {"approvals": _object(block)}}


def _decision_parts() -> dict[str, Json]:
    needs = _needs()
    return {
        "principal": _object({"id": _TEXT, "proof": _words(("claimed", "peer")), "owner": _or_null(_TEXT)}),
        "intent": _intent(),
        "target": _target(),
        "rule": _object({"id": _TEXT, "verb": _words(VERBS), "at": _TEXT, "because": _TEXT}),
        **needs.pop("$defs"),
        "needs": needs,
        "remedy": _object({"text": _TEXT, "argv": _or_null(_list(_TEXT))}),
    }


def _part(name: str) -> Json:
    return {"$ref": f"#/$defs/{name}"}


def _decision_itself() -> Json:
    return _object(
        {
            "gate": {"const": 1},
            "kind": {"const": "decision"},
            "id": _DECISION_ID,
            "time": _TIME,
            "enforcement": _words(("enforced", "advisory")),
            "verdict": _words(("allow", "deny", "grant_required")),
            "code": _words(EXITS),
            "exit": _words(sorted(set(EXITS.values()))),
            "message": _TEXT,
            "principal": _part("principal"),
            "door": _words(DOORS),
            "intent": _or_null(_part("intent")),
            "target": _or_null(_part("target")),
            "rules": _list(_part("rule")),
            "needs": _or_null(_part("needs")),
            "indeterminate": _list(_words((*DIMENSIONS, "kind"))),
            "grant": _or_null(_TEXT),
            "request": _or_null(_TEXT),
            "remedy": _or_null(_part("remedy")),
            "bundle": _or_null(_DIGEST),
        }
    )


def _bodies() -> dict[str, Json]:
    """The body of every type of event, without the ledger's own three members."""
    return {
        "ledger.created": _object({"id": _TEXT}),
        "bundle.activated": _object(
            {
                "digest": _DIGEST,
                "statement": _TEXT,
                "signatures": _list(_TEXT) | {"minItems": 1},
                "signers": _list(_TEXT) | {"minItems": 1},
                "files": {"type": "object", "additionalProperties": _TEXT},
            }
        ),
        "decision": _object(
            {
                "id": _DECISION_ID,
                "object": _part("decision_object"),
                "runs": _FLAG,
                "uid": _NUMBER,
                "keeper": _object({"boot": _TEXT, "pid": _NUMBER}),
            }
        ),
        "outcome": _object(
            {
                "decision": _DECISION_ID,
                "outcome": _words(("ok", "failed", "not_started", "cut", "unknown")),
                "status": {"type": "integer"},
                "why": _TEXT,
                "counts": _part("counts"),
                "refusals": _list(_part("refusal")),
            },
            optional=("status", "why", "counts", "refusals"),
        ),
        "key.set": _object({"custody": _TEXT, "subject": _TEXT, "uid": _NUMBER}),
        "hook": _object(
            {"subject": _TEXT, "agent": _TEXT, "verdict": _TEXT, "why": _TEXT, "sha256": _HASH, "uid": _NUMBER}
        ),
        **_of_requests(),
        **_of_grants(),
    }


def _of_requests() -> dict[str, Json]:
    about = {"request": _REQUEST_ID, **_SUBJECT}
    return {
        "request.made": _object({"id": _REQUEST_ID, "digest": _DIGEST, "request": _part("request")}),
        "approval.given": _object(
            {**about, **_SIGNED, "at_ms": _NUMBER, "signer": _TEXT, "touched": _FLAG, "single_person": _FLAG}
        ),
        "request.denied": _object({**about, **_SIGNED, "by": _TEXT, "reason": _TEXT}),
        "request.cancelled": _object({**about, "by": _TEXT}),
        "request.lapsed": _object({**about, "why": _words(("lapsed", "bundle_changed"))}),
    }


def _of_grants() -> dict[str, Json]:
    about = {"grant": _GRANT_ID, **_SUBJECT}
    charged = {**about, "decision": _DECISION_ID, "use": _COUNT, **_MOMENT}
    written = {"place": _TEXT, "function": _or_null(_TEXT), "component": _or_null(_TEXT), "sha256": _HASH}
    ended = {**about, "why": _words(ENDS), "by": _TEXT, "reason": _TEXT, **_SIGNED}
    made = {"id": _GRANT_ID, "request": _REQUEST_ID, "ask": _part("ask"), "approvals": _list(_TEXT), **_MOMENT}
    return {
        "grant.made": _object(made),
        "grant.used": _object(charged),
        "grant.write": _object({**charged, **written}),
        "grant.ended": _object(ended, optional=("reason", *_SIGNED)),
        "grant.closing": _object(about),
        "grant.closed": _object({**about, "latency_ms": _NUMBER}),
        "grant.cut_failed": _object({**about, "why": _TEXT}),
    }


def _request_parts() -> dict[str, Json]:
    names = dict.fromkeys(DIMENSIONS, _or_null(_list(_TEXT)))
    optional = dict.fromkeys(("max_uses", "not_before_ms"), _or_null(_COUNT))
    place = {"deployment": _TEXT, "origin": _TEXT, "effects": _list(_words(sorted(EFFECTS))), "ttl_seconds": _COUNT}
    asked = {
        **dict.fromkeys(("id", "requester", "owner", "ticket", "reason"), _TEXT),
        "uid": _NUMBER,
        "excluded": _list(_TEXT),
        "ask": _part("ask"),
        "ack_risk": _FLAG,
        "bundle": _DIGEST,
        "decision": _or_null(_DECISION_ID),
        "needs": _part("needs"),
        "time_ms": _NUMBER,
    }
    return {
        "ask": _object({**place, **names, **optional}, says="Access: a dimension is null for any, [] for none."),
        "request": _object(asked, says="What the digest of a request is over."),
    }


def _event_parts() -> dict[str, Json]:
    counted = dict.fromkeys(("reads", "writes", "refused", "bytes_out", "rows", "transitions"), _NUMBER)
    later = ("rows", "transitions", "rows_unknown")
    own = {"seq": _NUMBER | {"minimum": 1}, "time": _TIME}
    bodies = {}
    for kind, body in _bodies().items():
        properties = {**own, "type": {"const": kind}, **body["properties"]}
        bodies[kind] = body | {"properties": properties, "required": [*own, "type", *body["required"]]}
    parts = {
        "counts": _object({**counted, "rows_unknown": _FLAG}, optional=later),
        "refusal": _object({"why": _TEXT, "times": _NUMBER}),
    }
    return bodies | parts | {"decision_object": _decision_itself()} | _decision_parts() | _request_parts()


def event() -> Json:
    """A line of an export. `body` is text; what it says is described by the definition of the event's type."""
    line = _object(
        {
            "seq": _NUMBER | {"minimum": 1},
            "time": _TIME,
            "type": _words(_bodies()),
            "body": {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": {"oneOf": [_part(kind) for kind in _bodies()]},
            },
            "prev": _HASH | {"description": f"{BEGINNING[:4]}... for the first event."},
            "hash": _HASH,
        }
    )
    return _headed("Event of the ledger", line | {"additionalProperties": False, "$defs": _event_parts()})


def decision() -> Json:
    """The decision object."""
    return _headed("Decision", _decision_itself() | {"$defs": _decision_parts()})


def request() -> Json:
    """A request as `gate --json show` and `requests` print it."""
    approval: dict[str, Json] = {
        "signer": _TEXT,
        "touched": _FLAG,
        "single_person": _FLAG,
        "at": _TIME,
        "effects": _list(_words(sorted(EFFECTS))),
        "ttl_seconds": _COUNT,
        "max_uses": _or_null(_COUNT),
    }
    ended = {"how": _words((DENIED, CANCELLED, LAPSED)), "by": _or_null(_TEXT), "reason": _or_null(_TEXT)}
    claims = _object({"ticket": _TEXT, "reason": _TEXT, "ack_risk": _FLAG}, says="The requester's own words.")
    shown = {
        **_shown("request", _REQUEST_ID, (PENDING, *sorted(REQUEST_MOVES[PENDING]))),
        "digest": _DIGEST,
        "uid": _NUMBER,
        "excluded": _list(_TEXT),
        "class": _or_null(_words(RULE_CLASSES)),
        "lapses": _TIME,
        "needs": _part("needs"),
        "bundle": _DIGEST,
        "decision": _or_null(_DECISION_ID),
        "grant": _or_null(_GRANT_ID),
        "approvals": _list(_object(approval)),
        "ended": _or_null(_object(ended)),
        "enforcement": _words(("enforced", "advisory")),
        "claims": claims,
    }
    needs = _needs()
    return _headed("Request", _object(shown) | {"$defs": {**needs.pop("$defs"), "needs": needs}})


def grant() -> Json:
    """A grant as `gate --json show` and `grants` print it."""
    cut = {"latency_ms": _or_null(_NUMBER), "failed": _or_null(_TEXT)}
    shown = {
        **_shown("grant", _GRANT_ID, (*GRANT_MOVES, CLOSED, CUT_FAILED)),
        "request": _REQUEST_ID,
        "used": _NUMBER,
        "first_use": _or_null(_TIME),
        "ends": _TIME,
        "why": _or_null(_words(ENDS)),
        "ended": _or_null(_TIME),
        "cut": _or_null(_object(cut, says="How long after the end a probe was refused, or what came through.")),
        "approvals": _list(_TEXT),
        "single_person": _FLAG,
    }
    return _headed("Grant", _object(shown))


def portable() -> Json:
    """What `gate show ID --portable` prints for a reviewer on another machine."""
    shown: dict[str, Json] = {
        "gate": {"const": 1},
        "kind": {"const": "portable"},
        "ledger": _TEXT,
        "head": _HASH,
        "bundle": _DIGEST,
        "project": _TEXT,
        "class": _or_null(_words(RULE_CLASSES)),
        "request": _part("request"),
        "digest": _DIGEST,
    }
    needs = _needs()
    parts = {**_request_parts(), **needs.pop("$defs"), "needs": needs}
    return _headed("Portable request", _object(shown) | {"$defs": parts})


def _shown(kind: str, own: Json, states: tuple[str, ...]) -> dict[str, Json]:
    """What requests and grants have in common."""
    names = _object(dict.fromkeys(DIMENSIONS, _or_null(_list(_TEXT))), says="Null for any, [] for none.")
    return {
        "gate": {"const": 1},
        "kind": {"const": kind},
        "id": own,
        "state": _words(states),
        "requester": _TEXT,
        "owner": _TEXT,
        "deployment": _TEXT,
        "origin": _TEXT,
        "effects": _list(_words(sorted(EFFECTS))),
        "resources": names,
        "ttl_seconds": _COUNT,
        "max_uses": _or_null(_COUNT),
        "not_before": _or_null(_TIME),
        "made": _TIME,
    }


def document(model: type[BaseModel], title: str) -> Json:
    """A file that people write, as `model` reads it."""
    return _headed(title, model.model_json_schema(by_alias=True, schema_generator=_Written))


def _headed(title: str, schema: Json) -> Json:
    told = {"$schema": _DIALECT, "title": f"convex-gate: {title}"}
    tidied: Json = _tidied(schema)
    return tidied | told


def _tidied(schema: Any) -> Any:
    """`schema` in the words of JSON Schema, without the titles that pydantic derives from the names of models."""
    if isinstance(schema, list):
        return [_tidied(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key != "title" or isinstance(value, dict)}
    return {"minimum" if key == "ge" else key: _tidied(value) for key, value in kept.items()}


def schemas() -> dict[str, Json]:
    """File name in docs/schema -> schema."""
    return {
        "gate-yaml": document(Document, "gate.yaml"),
        "policy": document(Policy, "Policy"),
        "decision": decision(),
        "event": event(),
        "request": request(),
        "grant": grant(),
        "portable": portable(),
    }


def facts(schema: Json) -> dict[str, list[str]]:
    """What a version of `schema` promises, in lines: `has` its keys, types and words, `wants` the keys it demands."""
    has, wants = _facts(schema, "")
    return {"has": sorted(has), "wants": sorted(wants)}


def _facts(schema: Json, at: str) -> tuple[set[str], set[str]]:
    has = {f"{at} : {kind}" for kind in _kinds(schema)} | {f"{at} = {word}" for word in _vocabulary(schema)}
    wants = {f"{at}/{name}" for name in schema.get("required", ())}
    for below, inner in _inside(schema, at):
        more_has, more_wants = _facts(inner, below)
        has |= {below, *more_has}
        wants |= more_wants
    return has, wants


def _inside(schema: Json, at: str) -> list[tuple[str, Json]]:
    found = [(f"{at}/{name}", inner) for name, inner in schema.get("properties", {}).items()]
    found += [(f"${name}", inner) for name, inner in schema.get("$defs", {}).items()]
    found += [(f"{at}[]", schema["items"])] if "items" in schema else []
    found += [(f"{at}{{}}", inner) for inner in schema.get("patternProperties", {}).values()]
    return found + [(at, inner) for inner in schema.get("anyOf", ())]


def _kinds(schema: Json) -> set[str]:
    return {schema[key] for key in ("type", "$ref") if key in schema}


def _vocabulary(schema: Json) -> list[Any]:
    return [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else ())]


def broken(before: dict[str, list[str]], after: dict[str, list[str]], *, written: bool) -> set[str]:
    """What `after` breaks of what `before` promised. `written`: people write these files, the gate only reads them."""
    gone = set(before["has"]) - set(after["has"])
    demanded = {path for path in set(after["wants"]) - set(before["wants"]) if _parent(path) in _paths(before)}
    if written:
        return gone | demanded
    wider = {
        fact for fact in set(after["has"]) - set(before["has"]) if " : " in fact and _subject(fact) in before["has"]
    }
    return gone | demanded | wider | (set(before["wants"]) - set(after["wants"]))


def _paths(told: dict[str, list[str]]) -> set[str]:
    return {"", *(_subject(fact) for fact in told["has"])}


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _subject(fact: str) -> str:
    return fact.partition(" ")[0]
