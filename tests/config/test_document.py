"""gate.yaml: docs/contract.md's own example, and each of its rules broken with the position of the break."""

import pytest

from gate.config.document import CustodyEntry, DeploymentEntry, parse_document
from gate.errors import ConfigInvalid

CONTRACT = """\
gate: 1
project: acme-chat
signers: gate.signers
roots: [human:ada]
policies: [policies/default.yaml, policies/production.yaml]
deployments:
  dev:  {class: dev,  name: happy-otter-123, url: "https://happy-otter-123.convex.cloud", custody: dev}
  prod: {class: prod, name: proud-lynx-456,  url: "https://proud-lynx-456.convex.cloud",  custody: prod}
principals:
  agent:codex: {owner: human:ada}
  human:ada:   {groups: [leads]}
  human:lee:   {groups: [leads]}
custody:
  dev:  {file: keys/dev}
  prod: {command: [op, read, "op://acme/convex/prod"], timeout: 10s}
"""


def _findings(text: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        parse_document(text.encode())
    return caught.value.findings


def _changed(before: str, after: str) -> list[str]:
    assert before in CONTRACT
    return _findings(CONTRACT.replace(before, after, 1))


def test_the_contract_s_example() -> None:
    document = parse_document(CONTRACT.encode())
    assert document.project == "acme-chat"
    assert document.deployments["prod"].cls == "prod"
    assert document.principals["human:lee"].groups == ("leads",)
    assert document.custody["prod"] == CustodyEntry(command=("op", "read", "op://acme/convex/prod"), timeout=10)


def test_every_optional_key() -> None:
    text = CONTRACT.replace(
        "custody: dev}", "custody: dev, ca: certs/dev.pem, team: acme, slug: chat, reference: dev/ada}"
    ).replace("{groups: [leads]}", "{groups: [leads], uids: [1000, 1001]}", 1)
    document = parse_document(text.encode())
    dev = document.deployments["dev"]
    assert (dev.ca, dev.team, dev.slug, dev.reference) == ("certs/dev.pem", "acme", "chat", "dev/ada")
    assert document.principals["human:ada"].uids == (1000, 1001)


def test_an_empty_registry_and_self_hosted_entries() -> None:
    head, _, tail = CONTRACT.partition("deployments:\n")
    assert parse_document((head + "deployments: {}\n" + tail[tail.index("principals:") :]).encode()).deployments == {}
    url = "http://127.0.0.1:3210/"
    hosted = CONTRACT.replace('name: happy-otter-123, url: "https://happy-otter-123.convex.cloud"', f'url: "{url}"')
    assert parse_document(hosted.encode()).deployments["dev"] == DeploymentEntry(
        cls="dev", url="http://127.0.0.1:3210", custody="dev"
    )


@pytest.mark.parametrize("key", ["gate", "project", "signers", "roots", "policies", "deployments", "custody"])
def test_every_top_level_key_is_required(key: str) -> None:
    start = ("\n" + CONTRACT).index(f"\n{key}:")
    rest = CONTRACT[start:].splitlines(keepends=True)
    end = next((n for n, line in enumerate(rest) if n and not line.startswith(" ")), len(rest))
    assert any(f"{key} is missing" in finding for finding in _findings(CONTRACT[:start] + "".join(rest[end:])))


@pytest.mark.parametrize(
    ("before", "after", "finding"),
    [
        ("gate: 1", "gate: 2", "gate.yaml:1:7: gate must be 1"),
        ("gate: 1", "gate: true", "gate.yaml:1:7: gate must be a whole number"),
        ("gate: 1", "gate: '1'", "gate.yaml:1:7: gate must be a whole number"),
        ("project:", "projekt: x\nproject:", "gate.yaml:2:1: projekt is not a known key; did you mean `project`?"),
        ("class: dev", "class: dve", "gate.yaml:7:17: deployments.dev.class unknown class; did you mean `dev`?"),
        ("class: dev", "class: local", "gate.yaml:7:17: deployments.dev.class unknown class"),
        ("class: dev", "class: true", "gate.yaml:7:17: deployments.dev.class must be text"),
        (
            "class: dev,",
            "klass: dev,",
            "gate.yaml:7:10: deployments.dev.klass is not a known key; did you mean `class`?",
        ),
        ("class: dev,", "cls: dev,", "gate.yaml:7:10: deployments.dev.cls is not a known key; did you mean `class`?"),
        ("[human:ada]", "[]", "gate.yaml:4:8: roots must not be empty"),
        ("[human:ada]", "human:ada", "gate.yaml:4:8: roots must be a list"),
        ("[human:ada]", "[human:ada, human:ada]", "gate.yaml:4:20: roots.1 stands twice"),
        (
            "[human:ada]",
            "[human:adda]",
            "gate.yaml:4:9: roots.0 must be a `human:*` listed under principals; did you mean `human:ada`?",
        ),
        ("[human:ada]", "[agent:codex]", "gate.yaml:4:9: roots.0 must be a `human:*` listed under principals"),
        (
            "owner: human:ada",
            "owner: human:eve",
            "gate.yaml:10:24: principals.agent:codex.owner must be a `human:*` listed under principals; did you mean",
        ),
        ("owner: human:ada", "owner: null", "gate.yaml:10:24: principals.agent:codex.owner must not be null"),
        ("  human:lee:   {", "  human:lee:   {owner: human:ada, ", "gate.yaml:12:17: a person has no owner"),
        ("agent:codex: {", "agent:codex: {uids: [1], ", "gate.yaml:10:17: only a person has uids"),
        ("[leads]}\n  human:lee:   {", "[leads], uids: [7, 7]}\n  human:lee:   {", "gate.yaml:11:41: this uid is"),
        ("{groups: [leads]}", "{uids: [-1]}", "gate.yaml:11:24: principals.human:ada.uids.0 Input should be greater"),
        ("{groups: [leads]}", "{uids: [true]}", "gate.yaml:11:24: principals.human:ada.uids.0 must be a whole number"),
        ("agent:codex:", "robot:codex:", "gate.yaml:10:3: principals.robot:codex must be `agent:NAME`, `ci:NAME`"),
        ("acme-chat", "Acme", "gate.yaml:2:10: project must be 1 to 63 lower-case"),
        ("acme-chat", "-acme", "gate.yaml:2:10: project must be 1 to 63 lower-case"),
        ("acme-chat", "_", "gate.yaml:2:10: project must be 1 to 63 lower-case"),
        ("acme-chat", '"a\\n"', "gate.yaml:2:10: project must be 1 to 63 lower-case"),
        ("gate.signers", "../gate.signers", "gate.yaml:3:10: signers must be a relative path"),
        ("gate.signers", "gate.yaml", "gate.yaml:3:10: signers must be a file of its own"),
        (
            "policies/production.yaml",
            "policies/default.yaml",
            "gate.yaml:5:35: policies.1 names a file of the bundle a",
        ),
        ("policies/default.yaml", "gate.signers", "gate.yaml:5:12: policies.0 names a file of the bundle a second"),
        ("policies/default.yaml", "/etc/passwd", "gate.yaml:5:12: policies.0 must be a relative path"),
        ("  dev:  {class", "  local:  {class", "gate.yaml:7:3: `local` is built in and reserved"),
        ("  dev:  {class", "  anonymous:  {class", "gate.yaml:7:3: `anonymous` is built in and reserved"),
        ("happy-otter-123,", "happy,", "gate.yaml:7:29: deployments.dev.name must be as `happy-otter-123`"),
        ("happy-otter-123,", "proud-lynx-456,", "gate.yaml:7:29: deployments.dev.name is that of another entry too"),
        ('"https://happy-otter-123.c', '"https://PROUD-lynx-456.c', "gate.yaml:7:51: deployments.dev.url is that of"),
        (
            '"https://happy-otter-123.c',
            '"http://happy-otter-123.c',
            "gate.yaml:7:51: deployments.dev.url must use https",
        ),
        (
            "custody: prod}",
            "custody: prd}",
            "gate.yaml:8:100: deployments.prod.custody is not listed under custody; did",
        ),
        (
            '{command: [op, read, "op://acme/convex/prod"], timeout: 10s}',
            "{env_file: .env.local}",
            "gate.yaml:8:100: deployments.prod.custody is an env_file, which is for class dev only",
        ),
        ("{file: keys/dev}", "{}", "gate.yaml:14:9: custody.dev must have exactly one of file, env_file and command"),
        ("{file: keys/dev}", "{file: keys/a, env_file: b}", "gate.yaml:14:9: custody.dev must have exactly one of"),
        ("{file: keys/dev}", "{file: keys/a, timeout: 5s}", "gate.yaml:14:24: custody.dev.timeout belongs to"),
        ("{file: keys/dev}", "{file: keys/a\\b}", "gate.yaml:14:16: custody.dev.file must be a relative path"),
        ("{file: keys/dev}", "{command: []}", "gate.yaml:14:19: custody.dev.command must not be empty"),
        ("timeout: 10s", "timeout: 10", "gate.yaml:15:65: custody.prod.timeout must be a duration"),
        ("timeout: 10s", "timeout: 0s", "gate.yaml:15:65: custody.prod.timeout must be a duration"),
        ("timeout: 10s", "timeout: true", "gate.yaml:15:65: custody.prod.timeout must be a duration"),
        ("  dev:  {file: keys/dev}", "  dev:  keys/dev", "gate.yaml:14:9: custody.dev must be a mapping"),
    ],
)
def test_a_broken_rule_is_named_where_it_breaks(before: str, after: str, finding: str) -> None:
    findings = _changed(before, after)
    assert any(found.startswith(finding) for found in findings), findings


def test_findings_come_together_in_the_order_of_the_file() -> None:
    text = CONTRACT.replace("class: prod", "class: prd").replace("gate: 1", "gate: 3").replace("10s", "ten")
    assert [finding.split(":")[1] for finding in _findings(text)] == ["1", "8", "15"]
    assert _findings("[]\n") == ["gate.yaml:1:1: the file must be a mapping"]


def test_a_value_is_never_shown() -> None:
    secret = "prod:proud-lynx-456|c2VjcmV0"
    for before in ("class: dev", "happy-otter-123,", "keys/dev", "custody: dev}", "10s"):
        key, _, _ = before.rpartition(" ")
        end = before[-1] if before[-1] in ",}" else ""
        assert secret not in "".join(_changed(before, f"{key} '/{secret}'{end}".strip()))
