"""Loading policies: all or nothing, closed vocabularies, positions, and examples that assert the effective answer."""

import re
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st
from ssh_kit import key_of

from gate.config.bundle import Bundle, load_bundle
from gate.errors import ConfigInvalid
from gate.intent.effects import implied
from gate.policy.decide import decide
from gate.policy.load import load_rules, shipped_rules
from gate.policy.verdict import Approvals, Needs, Question

GATE_YAML = """\
gate: 1
project: acme-chat
signers: gate.signers
roots: [human:ada]
policies: [{policies}]
deployments:
  dev:  {{class: dev, name: happy-otter-123, url: "https://happy-otter-123.convex.cloud", custody: key}}
  prod: {{class: prod, name: proud-lynx-456, url: "https://proud-lynx-456.convex.cloud", custody: key}}
  eu:   {{class: custom, url: "https://convex.acme.example", custody: key}}
principals:
  agent:codex: {{owner: human:ada, groups: [builders]}}
  human:ada: {{groups: [leads]}}
  human:lee: {{groups: [leads]}}
custody:
  key: {{file: keys/key}}
"""

RULE = """\
policy: 1
name: test
rules:
  - id: one
    allow: {effects: ["deployment:*"]}
    because: It may.
"""

REQUIRE = """\
policy: 1
name: test
rules:
  - id: one
    require: {classes: [prod]}
    needs: {approvals: {count: 1, from: ["group:leads"]}}
    because: It may.
"""


def _bundle(*policies: str) -> Bundle:
    paths = [f"p{number}.yaml" for number in range(len(policies))]
    files = {path: text.encode() for path, text in zip(paths, policies, strict=True)}
    gate_yaml = GATE_YAML.format(policies=", ".join(paths)).encode()
    signers = f"human:ada {key_of().public}\n".encode()
    return load_bundle({"gate.yaml": gate_yaml, "gate.signers": signers, **files})


def _page() -> list[str]:
    page = Path(__file__).parents[2] / "docs" / "policy.md"
    return re.findall(r"^```yaml\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_page_s_examples_load() -> None:
    loaded = [load_rules(_bundle(text)).rules for text in _page() if text.startswith("policy:")]
    assert {rule.verb for rules in loaded for rule in rules} == {"allow", "deny", "require"}


def _findings(*policies: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load_rules(_bundle(*policies))
    return caught.value.findings


def _question(deployment: str, cls: str, *effects: str) -> Question:
    return Question("agent:codex", frozenset(), effects, implied(effects), {}, deployment, cls, "cli")


def test_the_shipped_policies_answer_as_the_contract_says() -> None:
    rules = shipped_rules()
    dev = decide(rules, _question("dev", "dev", "deployment:deploy"))
    assert (dev.verdict, dev.rule) == ("allow", "own-deployments")
    view = decide(rules, _question("prod", "prod", "deployment:data:view"))
    assert (view.verdict, view.code, view.rule) == ("grant_required", "grant_required", "prod-under-grant")
    assert [rule.to_json() for rule in view.rules] == [
        {
            "id": "prod-under-grant",
            "verb": "require",
            "at": "policies/production.yaml:8:5",
            "because": "Somebody else signs for production.",
        }
    ]
    leads = Approvals(1, ("group:leads",), ("requester", "owner"), touch=True)
    assert view.needs == Needs(True, ("OPS-[0-9]+",), 12, True, 3600, None, (leads,))
    write = decide(rules, _question("prod", "prod", "deployment:data:write"))
    assert (write.verdict, write.code, write.rule) == ("deny", "no_rule", None)
    token = decide(rules, _question("dev", "dev", "deployment:token:create"))
    assert (token.code, token.rule) == ("denied_by_rule", "no-new-credentials")
    assert token.rules[0].fix == "Ask an owner to do it in the dashboard."


def test_rules_keep_the_order_of_the_bundle() -> None:
    rules = load_rules(_bundle(RULE, RULE.replace("id: one", "id: two")))
    assert [(rule.cited.id, rule.cited.at) for rule in rules.rules] == [("one", "p0.yaml:5:5"), ("two", "p1.yaml:5:5")]


@pytest.mark.parametrize(
    ("before", "after", "finding"),
    [
        ("policy: 1", "policy: 2", "1:9: policy must be 1"),
        ("name: test\n", "", "1:1: name is missing"),
        ("rules:\n", "rulez: 1\nrules:\n", "3:1: rulez is not a known key; did you mean `rules`?"),
        ("allow:", "alow:", "5:5: rules.0.alow is not a known key; did you mean `allow`?"),
        ("effects", "efects", "5:13: rules.0.allow.efects is not a known key; did you mean `effects`?"),
        (
            "deployment:*",
            "deploment:*",
            "5:23: rules.0.allow.effects.0 matches no known effect; did you mean `deployment:*`?",
        ),
        (
            "deployment:*",
            "deployment:data:veiw",
            "5:23: rules.0.allow.effects.0 matches no known effect; did you mean `deployment:data:view`?",
        ),
        ('["deployment:*"]', "[]", "5:22: rules.0.allow.effects must not be empty"),
        ('["deployment:*"]', "null", "5:22: rules.0.allow.effects must be a list"),
        ('["deployment:*"]', "deployment", "5:22: rules.0.allow.effects must be a list"),
        ('{effects: ["deployment:*"]}', "{}", "5:12: rules.0.allow must not be empty"),
        ('{effects: ["deployment:*"]}', "null", "5:12: rules.0.allow must not be null; leave the key out"),
        (
            '{effects: ["deployment:*"]}',
            "{classes: [prd]}",
            "5:23: rules.0.allow.classes.0 unknown class; did you mean",
        ),
        (
            '{effects: ["deployment:*"]}',
            "{doors: [clli]}",
            "5:21: rules.0.allow.doors.0 unknown door; did you mean `cli`?",
        ),
        ('{effects: ["deployment:*"]}', '{tables: [""]}', "5:22: rules.0.allow.tables.0"),
        (
            '{effects: ["deployment:*"]}',
            '{principals: ["agnet:*"]}',
            "5:26: rules.0.allow.principals.0 must start with one of `agent:`, `ci:`, `human:`, `runtime:`",
        ),
        ('{effects: ["deployment:*"]}', "{principals: [codex]}", "5:26: rules.0.allow.principals.0 must start with"),
        (
            '{effects: ["deployment:*"]}',
            '{principals: ["group:*"]}',
            "5:26: rules.0.allow.principals.0 names a group in",
        ),
        (
            '{effects: ["deployment:*"]}',
            '{principals: ["group:leeds"]}',
            "5:26: one: nobody is in this group; did you mean `group:leads`?",
        ),
        (
            '{effects: ["deployment:*"]}',
            "{deployments: [prdo]}",
            "5:27: one: no such deployment in the registry; did you mean `prod`?",
        ),
        ("    because: It may.\n", "", "4:5: rules.0.because is missing"),
        ("because: It may.", "because: ''", "6:14: rules.0.because"),
        ("because:", "deny: {classes: [dev]}\n    because:", "4:5: rules.0 must have exactly one of allow, deny and"),
        (
            '    allow: {effects: ["deployment:*"]}\n',
            "",
            "4:5: rules.0 must have exactly one of allow, deny and require",
        ),
        ("because:", "needs: {grant: true}\n    because:", "4:5: rules.0 must have needs together with require"),
        ("id: one", "id: One", "4:9: rules.0.id must be lower-case"),
        ("because:", "examples: []\n    because:", "6:15: rules.0.examples must not be empty"),
        ("policy: 1", "policy: &a 1", "1:9: anchors are not taken"),
    ],
)
def test_what_is_not_in_the_language_is_named_where_it_stands(before: str, after: str, finding: str) -> None:
    assert before in RULE
    findings = _findings(RULE.replace(before, after, 1))
    assert any(found.startswith(f"p0.yaml:{finding}") for found in findings), findings


@pytest.mark.parametrize(
    ("needs", "finding"),
    [
        ("{}", "6:12: rules.0.needs must need something"),
        ("{grant: false}", "6:12: rules.0.needs must need something"),
        ("{grant: 1}", "6:20: rules.0.needs.grant must be `true` or `false`"),
        ("{tiket: x}", "6:13: rules.0.needs.tiket is not a known key; did you mean `ticket`?"),
        ('{ticket: "OPS-["}', "6:21: rules.0.needs.ticket is no regular expression"),
        ('{ticket: ""}', "6:21: rules.0.needs.ticket"),
        ("{reason_min: 0}", "6:25: rules.0.needs.reason_min"),
        ("{ttl_max: 60}", "6:22: rules.0.needs.ttl_max must be a duration"),
        ("{ttl_max: 0m}", "6:22: rules.0.needs.ttl_max must be a duration"),
        ("{ttl_max: null}", "6:22: rules.0.needs.ttl_max must not be null"),
        ("{max_uses: 0}", "6:23: rules.0.needs.max_uses"),
        ("{approvals: {}}", "6:24: rules.0.needs.approvals.count is missing"),
        ("{approvals: null}", "6:24: rules.0.needs.approvals must not be null"),
        ("{approvals: {count: 1, from: []}}", "6:41: rules.0.needs.approvals.from must not be empty"),
        ('{approvals: {count: 0, from: ["human:*"]}}', "6:32: rules.0.needs.approvals.count"),
        (
            '{approvals: {count: 1, from: ["human:*"], not: [ownr]}}',
            "6:60: rules.0.needs.approvals.not.0 unknown word; did",
        ),
        ('{approvals: {count: 1, from: ["human:*"], not: []}}', "6:59: rules.0.needs.approvals.not must not be empty"),
        ('{approvals: {count: 3, from: ["human:*"]}}', "6:24: one: asks for 3 approvals, and 2 of the listed persons"),
        ('{approvals: {count: 1, from: ["agent:*"]}}', "6:24: one: asks for 1 approvals, and 0 of the listed persons"),
        ('{approvals: {count: 1, from: ["group:builders"]}}', "6:24: one: asks for 1 approvals, and 0 of the listed"),
        ('{approvals: {count: 1, from: ["group:leads", "group:leds"]}}', "6:57: one: nobody is in this group; did you"),
    ],
)
def test_needs_that_ask_for_nothing_or_the_impossible_are_refused(needs: str, finding: str) -> None:
    text = REQUIRE.replace('{approvals: {count: 1, from: ["group:leads"]}}', needs)
    findings = _findings(text)
    assert any(found.startswith(f"p0.yaml:{finding}") for found in findings), findings


def test_a_require_without_needs_is_refused_and_defaults_are_the_strict_ones() -> None:
    line = '    needs: {approvals: {count: 1, from: ["group:leads"]}}\n'
    assert "needs together with require" in _findings(REQUIRE.replace(line, ""))[0]
    (rule,) = load_rules(_bundle(REQUIRE)).rules
    assert rule.needs == Needs(approvals=(Approvals(1, ("group:leads",), ("requester", "owner"), touch=True),))
    written = REQUIRE.replace('["group:leads"]}', '["human:lee", "*"], not: [requester], touch: false}')
    (rule,) = load_rules(_bundle(written)).rules
    assert rule.needs == Needs(approvals=(Approvals(1, ("human:lee", "*"), ("requester",), touch=False),))


def test_every_condition_of_the_contract_is_taken() -> None:
    conditions = (
        '{principals: ["agent:*", "*:ada", "group:leads", "a*"], effects: ["*:view"], classes: [anonymous, local, dev, '
        'preview, prod, custom], deployments: [dev, local, "p*", "none*"], doors: [cli, mcp, hook, ci], '
        'functions: ["messages:*"], tables: [messages], variables: ["STRIPE_*"], components: ["*"]}'
    )
    (rule,) = load_rules(_bundle(RULE.replace('{effects: ["deployment:*"]}', conditions))).rules
    assert list(rule.conditions) == [
        *("principals", "effects", "classes", "deployments", "doors", "functions", "tables", "variables", "components")
    ]


def test_all_or_nothing_over_all_files() -> None:
    broken = RULE.replace("allow", "permit")
    findings = _findings(broken, RULE.replace("because", "why"), "policy: yes\n")
    assert {finding.split(":")[0] for finding in findings} == {"p0.yaml", "p1.yaml", "p2.yaml"}
    assert _findings(RULE, RULE) == ["p1.yaml:4:9: one: this id stands twice, first at p0.yaml:5:5"]


def _with_example(example: str, *others: str) -> list[str]:
    text = RULE + f"    examples:\n      - {{{example}}}\n"
    try:
        load_rules(_bundle(text, *others))
    except ConfigInvalid as error:
        return error.findings
    return []


ASKED = 'principal: agent:codex, deployment: dev, effects: ["deployment:data:view"]'


@pytest.mark.parametrize(
    "example",
    [
        f"{ASKED}, verdict: allow, rule: one",
        f"{ASKED}, door: mcp, functions: [a], tables: null, variables: [], components: [b], verdict: allow, rule: one",
        'principal: human:eve, deployment: preview, effects: ["deployment:pause"], verdict: allow, rule: one',
        'principal: agent:codex, deployment: null, effects: ["account:login"], verdict: deny, rule: null',
    ],
)
def test_examples_that_come_out(example: str) -> None:
    assert _with_example(example) == []


@pytest.mark.parametrize(
    ("example", "finding"),
    [
        (f"{ASKED}, verdict: deny, rule: null", "one: the example says deny by no rule, the policies say allow by one"),
        (f"{ASKED}, verdict: allow, rule: two", "one: the example says allow by two, the policies say allow by one"),
        (ASKED.replace("dev", "devv") + ", verdict: allow, rule: one", "one: the example's deployment is neither"),
        (f"{ASKED}, verdict: alow, rule: one", "rules.0.examples.0.verdict unknown verdict; did you mean `allow`?"),
        (f"{ASKED}, rule: one", "rules.0.examples.0.verdict is missing"),
        (f"{ASKED}, verdict: allow", "rules.0.examples.0.rule is missing"),
        (ASKED.replace(":view", ":*") + ", verdict: allow, rule: one", "rules.0.examples.0.effects.0 unknown effect"),
        (ASKED.replace("codex", '"*"') + ", verdict: allow, rule: one", ""),
        (
            ASKED.replace("agent:codex", "codex") + ", verdict: allow, rule: one",
            "rules.0.examples.0.principal must be one",
        ),
    ],
)
def test_examples_that_do_not_come_out_stop_the_load(example: str, finding: str) -> None:
    (found, *_) = _with_example(example)
    assert finding in found
    assert found.startswith("p0.yaml:8:")


def test_an_example_asserts_the_answer_of_all_policies_together() -> None:
    """A rule elsewhere that shadows this one makes the example fail: what is asserted is what would happen."""
    shadow = RULE.replace("id: one", "id: two").replace("allow:", "deny:")
    assert _with_example(f"{ASKED}, verdict: allow, rule: one", shadow) == [
        "p0.yaml:8:9: one: the example says allow by one, the policies say deny by two"
    ]


def test_an_example_s_deployment_is_its_entry_before_it_is_a_class() -> None:
    only = RULE.replace('effects: ["deployment:*"]', "classes: [custom]")
    asked = ASKED.replace("dev", "eu")
    text = only + f"    examples:\n      - {{{asked}, verdict: allow, rule: one}}\n"
    assert load_rules(_bundle(text)).rules
    grouped = RULE.replace('effects: ["deployment:*"]', 'principals: ["group:builders"]')
    text = grouped + f"    examples:\n      - {{{ASKED}, verdict: allow, rule: one}}\n"
    assert load_rules(_bundle(text)).rules


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(RULE) - 1), st.sampled_from(["", "*", ":", "{", "]", "x", "\n", "'", "&", "null"]))
def test_a_policy_with_one_character_changed_loads_or_is_refused(at: int, character: str) -> None:
    text = RULE[:at] + character + RULE[at + 1 :]
    try:
        load_rules(_bundle(text))
    except ConfigInvalid as error:
        assert all(finding.startswith("p0.yaml:") for finding in error.findings)  # noqa: PT017 - both ways are right
