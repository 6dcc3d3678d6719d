"""The schemas of docs/schema are those of the code, fit what the gate reads and writes, and only grow.

`GATE_WRITE_DOCS=1 pytest tests/docs` writes them anew. schema-1.json is what the first version promised: it stays.
"""

import copy
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from granted_stories import STORIES
from hypothesis import given, settings, strategies as st
from jsonschema import Draft202012Validator
from schema_kit import Json, broken, facts, schemas

from gate.config.document import parse_document
from gate.demo.stage import DEV_KEY, Stage, stage
from gate.errors import EXITS
from gate.identity.caller import Caller
from gate.invocation import Invocation
from gate.policy.load import shipped_rules
from gate.walk import Ground, walk

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "schema"
FIRST = Path(__file__).parent / "schema-1.json"
MADE = schemas()
WRITTEN = ("gate-yaml", "policy")
_FENCE = re.compile(r"^```yaml\n(.*?)^```$", re.MULTILINE | re.DOTALL)

_GATE_YAML = b"""\
gate: 1
project: chat
signers: gate.signers
roots: [human:ada]
policies: [policies/default.yaml]
deployments:
  dev: {class: dev, name: happy-otter-123, url: "https://happy-otter-123.convex.cloud", custody: k}
  own: {class: dev, url: "http://127.0.0.1:3210", custody: k}
  prod: {class: prod, name: proud-lynx-456, url: "https://proud-lynx-456.convex.cloud", custody: k}
principals:
  human:ada: {}
custody:
  k: {command: [op, read, x], timeout: 10s}
"""
GROUND = Ground(parse_document(_GATE_YAML), shipped_rules(), "sha256:" + "0" * 64, "advisory", None, {})
CODEX = Caller("agent:codex", "claimed", "human:ada", frozenset(), 1000)
_WORDS = st.sampled_from(
    [
        *(
            "run",
            "data",
            "export",
            "import",
            "env",
            "set",
            "list",
            "deploy",
            "dev",
            "logs",
            "insights",
            "--prod",
            "docs",
        ),
        *("init", "deployment", "token", "create", "messages:list", "messages", "--identity", "{}", "--component", "x"),
        *("--help", "--once", "--inline-query", "--table", "--url", "--admin-key", "https://x.y", "NAME", "-1", ""),
    ]
)


def validator(name: str, part: str | None = None, *, closed: bool = False) -> Draft202012Validator:
    """Of a schema, or of one of its definitions; `closed`: no key that the schema does not name."""
    schema = copy.deepcopy(MADE[name])
    if part is not None:
        schema = {"$ref": f"#/$defs/{part}", "$defs": schema["$defs"]}
    return Draft202012Validator(_closed(schema) if closed else schema)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        inner["additionalProperties"] = False
    return inner


def decided(*argv: str, selected: str = "dev:happy-otter-123") -> Json:
    """The real decision about a call."""
    call = Invocation(
        door="cli",
        argv=argv,
        cwd="/",
        variables={},
        files={".env.local": f"CONVEX_DEPLOYMENT={selected}\n".encode()},
        problems={},
        gate_yaml=None,
        principal="agent:codex",
        grant=None,
        local_config=None,
        cli_version="1.48.0",
        tty=False,
    )
    return walk(call, CODEX, GROUND, decision_id="dec-7k3f9q2m", time="2026-02-19T10:04:05.123Z").to_json()


@pytest.mark.parametrize("name", MADE)
def test_a_schema_is_what_the_code_says(name: str) -> None:
    """Whoever reads the file reads the formats of this very version."""
    text = json.dumps(MADE[name], indent=2) + "\n"
    path = FOLDER / f"{name}.schema.json"
    if os.environ.get("GATE_WRITE_DOCS") == "1":
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
    Draft202012Validator.check_schema(MADE[name])


@pytest.mark.parametrize("name", MADE)
def test_a_schema_only_grows(name: str) -> None:
    """What was written for the first version is still taken, what was read by it is still there."""
    first = json.loads(FIRST.read_text(encoding="utf-8"))[name]
    assert broken(first, facts(MADE[name]), written=name in WRITTEN) == set()


@pytest.mark.parametrize(
    ("name", "change", "found"),
    [
        ("decision", lambda it: it["properties"].pop("exit"), "/exit"),
        ("decision", lambda it: it["properties"]["code"]["enum"].remove("limit"), "/code = limit"),
        ("decision", lambda it: it["$defs"].pop("remedy"), "$remedy"),
        ("decision", lambda it: it["required"].remove("door"), "/door"),
        ("decision", lambda it: it["properties"].update(door={"type": "null"}), "/door = cli"),
        ("decision", lambda it: it["properties"]["message"].update(anyOf=[{"type": "null"}]), "/message : null"),
        ("policy", lambda it: it["$defs"]["RuleText"]["required"].append("fix"), "$RuleText/fix"),
        ("policy", lambda it: it["$defs"]["Conditions"]["properties"].pop("tables"), "$Conditions/tables"),
        ("gate-yaml", lambda it: it["$defs"]["DeploymentEntry"]["required"].append("name"), "$DeploymentEntry/name"),
        ("event", lambda it: it["$defs"].pop("key.set"), "$key.set"),
    ],
)
def test_a_step_back_is_found(name: str, change: Callable[[Json], object], found: str) -> None:
    """The check above is none if everything is growth."""
    changed = copy.deepcopy(MADE[name])
    change(changed)
    assert found in broken(facts(MADE[name]), facts(changed), written=name in WRITTEN)


@pytest.mark.parametrize("name", MADE)
def test_growth_is_no_step_back(name: str) -> None:
    """A new optional key, a new word, a new definition with demands of its own."""
    changed = copy.deepcopy(MADE[name])
    changed["properties"]["later"] = {"enum": ["a"]}
    changed.setdefault("$defs", {})["later"] = {"type": "object", "properties": {"x": {}}, "required": ["x"]}
    assert broken(facts(MADE[name]), facts(changed), written=name in WRITTEN) == set()


def test_the_shipped_policies_fit() -> None:
    """And the examples in them."""
    for path in sorted((ROOT / "policies").glob("*.yaml")):
        validator("policy").validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", ["contract.md", "policy.md"])
def test_the_documents_that_the_pages_show_fit(page: str) -> None:
    blocks = [yaml.safe_load(text) for text in _FENCE.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))]
    assert blocks
    for block in blocks:
        validator("gate-yaml" if "gate" in block else "policy").validate(block)


def test_a_full_gate_yaml_fits() -> None:
    validator("gate-yaml").validate(yaml.safe_load(_GATE_YAML))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gate-yaml", _GATE_YAML.replace(b"class: prod", b"class: production")),
        ("gate-yaml", _GATE_YAML.replace(b"gate: 1", b"gate: 2")),
        ("gate-yaml", _GATE_YAML.replace(b"timeout: 10s", b"timeout: 10")),
        ("gate-yaml", _GATE_YAML.replace(b"command: [op, read, x]", b"file: keys/k")),
        ("gate-yaml", _GATE_YAML.replace(b"{command: [op, read, x], timeout: 10s}", b"{file: ../k}")),
        ("gate-yaml", _GATE_YAML.replace(b"human:ada: {}", b"ada: {}")),
        ("gate-yaml", _GATE_YAML.replace(b"roots: [human:ada]", b"roots: []")),
        ("policy", b"{policy: 1, name: a, rules: []}"),
        ("policy", b"{policy: 1, name: a, rules: [{id: a, because: b, allow: {}}]}"),
        ("policy", b"{policy: 1, name: a, rules: [{id: a, because: b, require: {classes: [prod]}}]}"),
        (
            "policy",
            b"{policy: 1, name: a, rules: [{id: a, because: b, allow: {classes: [prod]}, deny: {doors: [ci]}}]}",
        ),
        ("policy", b"{policy: 1, name: a, rules: [{id: a, because: b, allow: {doors: [window]}}]}"),
        ("policy", b"{policy: 1, name: a, rules: [{id: a, because: b, fix: null, allow: {doors: [ci]}}]}"),
    ],
)
def test_what_the_gate_refuses_for_its_shape_does_not_fit(name: str, text: bytes) -> None:
    """A schema that takes anything helps no editor."""
    assert not validator(name).is_valid(yaml.safe_load(text))


@pytest.mark.parametrize("argv", [("data", "messages", "--prod"), ("deploy",), ("run", "a:b"), ("--help",), ("nope",)])
def test_a_decision_fits(argv: tuple[str, ...]) -> None:
    """With every key, and with none that the schema does not name."""
    validator("decision", closed=True).validate(decided(*argv))


@settings(max_examples=150, deadline=None)
@given(st.lists(_WORDS, max_size=5), st.sampled_from(["dev:happy-otter-123", "prod:proud-lynx-456", "local:x", "x"]))
def test_every_decision_fits(argv: list[str], selected: str) -> None:
    """Whatever is asked."""
    validator("decision", closed=True).validate(decided(*argv, selected=selected))


def test_a_decision_names_every_code() -> None:
    """In the order of the table, as docs/reference.md does."""
    assert MADE["decision"]["properties"]["code"]["enum"] == list(EXITS)


_EVENT = json.dumps({"tool_name": "Bash", "tool_input": {"command": "npx convex mcp start"}})


@pytest.fixture(scope="module")
def played(node_modules: Path) -> Iterator[Stage]:
    """A project in force in which things ran, ended badly and were refused."""
    with stage(node_modules) as made:
        hostile = made.hostile_workspace()
        for words, stdin, cwd in (
            (("activate", "--key", str(made.person)), "", None),
            (("key", "set", "dev"), DEV_KEY, None),
            (("convex", "run", "messages:list"), "", hostile),
            (("convex", "env", "get"), "", None),
            (("hook", "codex"), _EVENT, None),
            (("explain", "convex", "data", "messages", "--prod"), "", None),
        ):
            made.gate(*words, stdin=stdin, cwd=cwd)
        yield made


def test_every_event_of_a_real_ledger_fits(played: Stage) -> None:
    """The lines of an export, and the bodies in them, with no key that the schema does not name."""
    lines = [json.loads(line) for line in played.gate("audit", "export").out.splitlines()]
    lines += [json.loads(line) for o in STORIES.values() for line in o.lines()]
    for line in lines:
        validator("event", closed=True).validate(line)
        validator("event", line["type"], closed=True).validate(json.loads(line["body"]))
    assert {line["type"] for line in lines} == set(MADE["event"]["properties"]["type"]["enum"])
