"""What is proven, found and told about policies: each promise by itself, on policies as people write them."""

from dataclasses import replace

import pytest
from ssh_kit import key_of

from gate.config.bundle import load_bundle
from gate.errors import ConfigInvalid, GateError
from gate.intent.effects import EFFECTS
from gate.policy.analysis import diagram
from gate.policy.analysis.diagram import Diagram, Outcome, merged
from gate.policy.analysis.diff import Change, diff
from gate.policy.analysis.kinds import Kind, Place
from gate.policy.analysis.prove import Proof, prove
from gate.policy.analysis.reach import Access, can, mute, never, who_can
from gate.policy.analysis.region import families, region
from gate.policy.analysis.sides import Side
from gate.policy.analysis.space import ORDER, space_of
from gate.policy.analysis.strictness import milder, normal, short_of
from gate.policy.analysis.witness import ask
from gate.policy.load import load_rules, shipped_rules
from gate.policy.rules import Floor
from gate.policy.verdict import Approvals, Needs

GATE_YAML = """\
gate: 1
project: acme-chat
signers: gate.signers
roots: [human:ada]
policies: [p.yaml]
deployments:
  dev:  {class: dev, name: happy-otter-123, url: "https://happy-otter-123.convex.cloud", custody: key}
  prod: {class: prod, name: proud-lynx-456, url: "https://proud-lynx-456.convex.cloud", custody: key}
principals:
  agent:codex: {owner: human:ada, groups: [builders]}
  agent:claude: {owner: human:ada}
  human:ada: {groups: [leads], uids: [1001]}
  human:lee: {groups: [leads]}
custody:
  key: {file: keys/key}
"""
VIEW, WRITE, TOKEN = "deployment:data:view", "deployment:data:write", "deployment:token:create"

HEAD = "policy: 1\nname: test\nrules:\n"
ANYTHING = '  - {id: anything, allow: {principals: ["*"]}, because: It may.}\n'
READS = (
    f'  - {{id: reads, allow: {{principals: ["agent:*"], classes: [prod], effects: ["{VIEW}"]}}, because: It may.}}\n'
)
SIGNED = """\
  - id: signed
    require: {classes: [prod]}
    needs: {grant: true, ticket: "OPS-[0-9]+", ttl_max: 60m, approvals: {count: 1, from: ["group:leads"]}}
    because: Somebody signs.
"""


def files_of(policy: str, gate_yaml: str = GATE_YAML) -> dict[str, bytes]:
    """A bundle with one policy."""
    signers = f"human:ada {key_of().public}\n"
    return {"gate.yaml": gate_yaml.encode(), "gate.signers": signers.encode(), "p.yaml": policy.encode()}


def side_of(policy: str, gate_yaml: str = GATE_YAML) -> Side:
    bundle = load_bundle(files_of(policy, gate_yaml))
    return Side(load_rules(bundle), bundle.document)


def proof_of(rules: str, invariant: str) -> Proof:
    text = f"{HEAD}{rules}invariants:\n  - {{id: it, {invariant}, because: So it is.}}\n"
    (proof,) = prove(side_of(text))
    return proof


def changes(old: str, new: str) -> list[Change]:
    return diff(side_of(HEAD + old), side_of(HEAD + new))


# Invariants as they are written.


@pytest.mark.parametrize(
    ("invariant", "finding"),
    [
        ("never: {classes: [prod]}", "6:21: invariants.0.never.verdicts is missing"),
        ("never: {verdicts: []}", "6:32: invariants.0.never.verdicts must not be empty"),
        ("never: {verdicts: [alow]}", "6:33: invariants.0.never.verdicts.0 unknown verdict; did you mean `allow`?"),
        ("never: {verdict: [allow]}", "6:22: invariants.0.never.verdict is not a known key; did you mean `verdicts`?"),
        ("always: {classes: [prod]}", "6:22: invariants.0.always must have verdicts, needs or both"),
        ("always: {needs: {}}", "6:30: invariants.0.always.needs must need something"),
        ("always: {needs: {ticket: false}}", "must be `true`; leave the key out where it need not be so"),
        ("never: {needs: {ticket: true}, verdicts: [allow]}", "6:22: invariants.0.never.needs is not a known key"),
        ("always: {needs: {ttl_max: 60}}", "must be a duration such as `10s`"),
        ("never: null", "6:21: invariants.0.never must not be null; leave the key out"),
        ("fix: x", "6:14: invariants.0.fix is not a known key"),
        (
            "never: {verdicts: [allow]}, always: {verdicts: [deny]}",
            "6:5: invariants.0 must have exactly one of never and always",
        ),
        (
            "never: {deployments: [prd], verdicts: [allow]}",
            "6:36: it: no such deployment in the registry; did you mean `prod`?",
        ),
        ('never: {principals: ["group:x"], verdicts: [allow]}', "6:35: it: nobody is in this group"),
    ],
)
def test_an_invariant_that_is_not_in_the_language_is_refused_with_its_place(invariant: str, finding: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        proof_of(ANYTHING, invariant)
    assert any(one.startswith("p.yaml:") and finding in one for one in caught.value.findings), caught.value.findings


def test_an_id_stands_once_among_invariants() -> None:
    one = "  - {id: it, never: {verdicts: [deny]}, because: So.}\n"
    with pytest.raises(ConfigInvalid) as caught:
        side_of(f"{HEAD}{ANYTHING}invariants:\n{one}{one}")
    assert caught.value.findings == ["p.yaml:7:10: it: this id stands twice, first at p.yaml:6:14"]


def test_invariants_decide_nothing() -> None:
    plain = side_of(HEAD + READS)
    watched = side_of(f"{HEAD}{READS}invariants:\n  - {{id: it, never: {{verdicts: [allow]}}, because: So.}}\n")
    assert diff(plain, watched) == []
    assert list(prove(plain)) == []


# What is proven.


@pytest.mark.parametrize(
    ("rules", "invariant"),
    [
        (READS + SIGNED, 'never: {principals: ["agent:*"], classes: [prod], verdicts: [allow]}'),
        (READS + SIGNED, "always: {classes: [prod], needs: {grant: true, ticket: true, ttl_max: 60m, approvals: 1}}"),
        (READS + SIGNED, "always: {classes: [prod], verdicts: [deny, grant_required]}"),
        (READS, f'never: {{effects: ["{TOKEN}"], verdicts: [allow, grant_required]}}'),
        (READS, f'always: {{principals: ["agent:*"], classes: [prod], effects: ["{VIEW}"], verdicts: [allow]}}'),
        (ANYTHING, "always: {verdicts: [allow]}"),
    ],
)
def test_what_holds_for_every_request_is_proven(rules: str, invariant: str) -> None:
    proof = proof_of(rules, invariant)
    assert (proof.proven, proof.vacuous, proof.counterexample) == (True, False, None)
    assert proof.to_json()["at"] == f"p.yaml:{rules.count(chr(10)) + 5}:14"


def test_a_counterexample_is_a_request_its_answer_and_the_rules_with_their_places() -> None:
    told = proof_of(READS, "never: {classes: [prod], verdicts: [allow]}").to_json()
    assert (told["id"], told["because"], told["proven"], told["lacking"]) == ("it", "So it is.", False, [])
    found = told["counterexample"]
    assert found["request"] == {
        "principal": "agent:codex",
        "groups": ["builders"],
        "effect": VIEW,
        "deployment": "prod",
        "class": "prod",
        "door": "cli",
        "resources": {},
    }
    assert (found["verdict"], found["code"], found["needs"], found["indeterminate"]) == ("allow", "ok", None, [])
    assert [(rule["id"], rule["at"]) for rule in found["rules"]] == [("reads", "p.yaml:4:17")]


def test_needs_that_fall_short_are_named() -> None:
    proof = proof_of(
        READS + SIGNED, "always: {needs: {ack_risk: true, ttl_max: 30m, max_uses: 2, approvals: 2, ticket: true}}"
    )
    assert proof.lacking == ("ack_risk", "ttl_max", "max_uses", "approvals")
    assert proof.counterexample is not None
    assert proof.counterexample.verdict.verdict == "grant_required"


def test_an_invariant_about_no_request_is_proven_and_said_to_be_about_none() -> None:
    proof = proof_of(ANYTHING, "never: {classes: [anonymous], deployments: [prod], verdicts: [allow]}")
    assert (proof.proven, proof.vacuous) == (True, True)


def test_an_effect_on_a_deployment_without_one_is_no_counterexample() -> None:
    closed = "  - {id: closed, deny: {classes: [anonymous, local, dev, preview, prod, custom]}, because: No.}\n"
    assert proof_of(ANYTHING + closed, 'never: {effects: ["deployment:*"], verdicts: [allow]}').proven
    assert not proof_of(ANYTHING + closed, 'never: {effects: ["account:*"], verdicts: [allow]}').proven


def test_what_is_registered_later_counts() -> None:
    """A word that a glob names may be production some day; what is dev in the registry is not production."""
    dev = "  - {id: own, allow: {deployments: [dev]}, because: It may.}\n"
    assert proof_of(dev, "never: {classes: [prod], verdicts: [allow]}").proven
    found = proof_of(dev.replace("[dev]", '["dev-*"]'), "never: {classes: [prod], verdicts: [allow]}").counterexample
    assert found is not None
    assert str(found.question.deployment).startswith("dev-")


def test_who_is_not_listed_counts() -> None:
    named = '  - {id: own, allow: {principals: ["agent:*-z"]}, because: It may.}\n'
    found = proof_of(named, 'never: {principals: ["agent:*"], verdicts: [allow]}').counterexample
    assert found is not None
    assert found.question.principal == "agent:a-z"


TWO_TABLES = """\
  - {id: one, allow: {principals: ["agent:*"], tables: [users, both]}, because: It may.}
  - {id: two, allow: {principals: ["agent:*"], tables: [rooms, both]}, because: It may.}
"""


def test_several_names_at_once_are_looked_for_where_they_are_stricter() -> None:
    """Each table is open, and no rule names both: what is asked of two tables is denied."""
    always = 'always: {{principals: ["agent:*"], tables: {}, verdicts: [allow]}}'
    assert proof_of(TWO_TABLES, always.format("[users]")).proven
    proof = proof_of(TWO_TABLES, always.format("[users, rooms, both]"))
    assert proof.counterexample is not None
    assert set(proof.counterexample.question.resources["tables"] or ()) == {"users", "rooms"}
    assert proof.counterexample.verdict.code == "no_rule"


def test_the_plainer_counterexample_is_told() -> None:
    proof = proof_of(TWO_TABLES, 'always: {principals: ["agent:*"], verdicts: [allow]}')
    assert proof.counterexample is not None
    assert proof.counterexample.question.resources == {}


# Who can.


def test_who_can_tells_listed_and_others_apart() -> None:
    rules = """\
  - {id: own, allow: {principals: ["agent:*"], classes: [prod], tables: [rooms, "r_*"]}, because: It may.}
  - {id: not-claude, deny: {principals: ["agent:claude"]}, because: No.}
  - {id: by-hand, allow: {principals: ["group:leads"], doors: [cli]}, because: It may.}
"""
    side = side_of(HEAD + rules)
    found = {access.principals: access for access in who_can(side, VIEW, "prod")}
    assert set(found) == {("agent:codex", "other agent:*"), ("human:ada",)}
    agents, ada = found["agent:codex", "other agent:*"], found["human:ada",]
    assert agents.conditions == {"tables": ("r_* or rooms",)}
    assert ada.conditions == {"door": ("cli",)}
    assert mute(side) == ("human:lee",)
    told = agents.to_json()
    assert (told["effects"], told["verdict"], told["needs"]) == ([VIEW], "allow", None)
    assert told["witness"]["request"]["resources"]["tables"] in (["rooms"], ["r_"])
    assert list(who_can(side, VIEW, "dev")) == [replace(ada, witness=next(who_can(side, VIEW, "dev")).witness)]


def test_who_can_names_what_a_grant_needs() -> None:
    (access,) = who_can(side_of(HEAD + READS + SIGNED), VIEW, "prod")
    assert access.outcome.needs == Needs(
        grant=True,
        ticket=("OPS-[0-9]+",),
        ttl_max_seconds=3600,
        approvals=(Approvals(1, ("group:leads",), ("requester", "owner"), touch=True),),
    )
    assert access.principals == ("agent:codex", "agent:claude", "other agent:*")


def test_what_one_caller_can_is_told_for_every_deployment_and_for_none() -> None:
    rows = dict(can(side_of(HEAD + READS + SIGNED), "agent:stranger"))
    assert list(rows) == ["dev", "prod", "anonymous", "local", None]
    (access,) = rows["prod"]
    assert (access.effects, access.outcome.verdict) == ((VIEW,), "grant_required")
    assert rows["dev"] == rows[None] == []
    assert never(rows["prod"]) == tuple(sorted(EFFECTS - {VIEW}))
    nowhere = dict(can(side_of(HEAD + ANYTHING), "agent:codex"))[None]
    assert not any(effect.startswith("deployment:") for access in nowhere for effect in access.effects)
    assert nowhere[0].witness.question.deployment is None


# The difference.


def _found(changed: list[Change]) -> list[tuple[str, str, bool, tuple[str, ...]]]:
    return [(one.before.verdict, one.after.verdict, one.wider, one.less) for one in changed]


def test_what_opens_is_wider_and_what_closes_is_not() -> None:
    assert _found(changes(READS + SIGNED, READS)) == [("grant_required", "allow", True, ())]
    assert _found(changes(READS, READS + SIGNED)) == [("allow", "grant_required", False, ())]
    assert _found(changes(SIGNED, READS + SIGNED)) == [("deny", "grant_required", True, ())]
    assert _found(changes(READS, READS.replace("because: It may.", "because: Why not."))) == []


def test_less_needs_are_wider() -> None:
    later = SIGNED.replace("60m", "90m")
    assert _found(changes(READS + SIGNED, READS + later)) == [("grant_required", "grant_required", True, ("ttl_max",))]
    assert _found(changes(READS + later, READS + SIGNED)) == [("grant_required", "grant_required", False, ())]


def test_a_change_says_where_and_shows_a_request() -> None:
    (change,) = changes(SIGNED, READS + SIGNED)
    told = change.to_json()
    assert told["id"].startswith("chg-")
    assert told["requests"] == [
        {
            "effect": [VIEW],
            "deployment": ["prod", "unregistered prod deployments"],
            "principal": ["agent:codex", "agent:claude", "other agent:*"],
        }
    ]
    assert (told["more"], told["witness"]["principal"], told["witness"]["deployment"]) == (0, "agent:codex", "prod")
    assert [[rule["id"] for rule in rules] for rules in told["rules"]] == [[], ["signed"]]


def test_the_id_of_a_change_is_that_of_its_requests_and_answers() -> None:
    (one,) = changes(SIGNED, READS + SIGNED)
    (again,) = changes(SIGNED, SIGNED + READS)
    (more,) = changes(SIGNED, READS.replace(VIEW, "deployment:data:*") + SIGNED)
    assert one.id == again.id != more.id


def test_a_deployment_that_one_bundle_does_not_register_is_refused_there() -> None:
    without = GATE_YAML.replace("  dev:", "  # dev:")
    opened = diff(side_of(HEAD + ANYTHING, without), side_of(HEAD + ANYTHING))
    assert _found(opened) == [("deny", "allow", True, ())]
    assert (opened[0].old, opened[0].to_json()["rules"][0]) == (None, [])
    assert opened[0].new is not None
    assert opened[0].new.question.deployment == "dev"
    closed = diff(side_of(HEAD + ANYTHING), side_of(HEAD + ANYTHING, without))
    assert _found(closed) == [("allow", "deny", False, ())]
    assert closed[0].to_json()["witness"]["deployment"] == "dev"


def test_a_membership_and_a_class_are_part_of_the_meaning() -> None:
    leads = '  - {id: leads, allow: {principals: ["group:leads"], classes: [dev]}, because: It may.}\n'
    joined = GATE_YAML.replace("agent:claude: {owner: human:ada}", "agent:claude: {owner: human:ada, groups: [leads]}")
    (change,) = diff(side_of(HEAD + leads), side_of(HEAD + leads, joined))
    assert (change.wider, change.to_json()["witness"]["principal"]) == (True, "agent:claude")
    turned = GATE_YAML.replace("class: prod", "class: dev")
    (change,) = diff(side_of(HEAD + leads), side_of(HEAD + leads, turned))
    assert (change.wider, change.to_json()["witness"]["deployment"]) == (True, "prod")


# Words, bounds and the machinery.


@pytest.mark.parametrize(
    ("old", "new", "less"),
    [
        (Needs(grant=True), Needs(), ("grant",)),
        (Needs(ticket=("A",)), Needs(ticket=("B",)), ("ticket",)),
        (Needs(ticket=("A",)), Needs(ticket=("B", "A")), ()),
        (Needs(reason_min=5), Needs(reason_min=4), ("reason_min",)),
        (Needs(ack_risk=True), Needs(), ("ack_risk",)),
        (Needs(ttl_max_seconds=5), Needs(), ("ttl_max",)),
        (Needs(max_uses=5), Needs(max_uses=6), ("max_uses",)),
        (Needs(), Needs(ttl_max_seconds=5, max_uses=1, grant=True, ack_risk=True, reason_min=1), ()),
        (Needs(approvals=(Approvals(2, ("group:leads",), ("owner",), touch=True),)), Needs(), ("approvals",)),
        (
            Needs(approvals=(Approvals(2, ("human:*",), (), touch=True),)),
            Needs(approvals=(Approvals(1, ("human:*",), (), touch=True),)),
            ("approvals",),
        ),
        (Needs(), Needs(approvals=(Approvals(1, ("human:a*",), ("requester", "owner"), touch=True),)), ()),
        (Needs(), Needs(approvals=(Approvals(1, ("human:a*",), ("requester",), touch=True),)), ("approvals",)),
        (Needs(), Needs(approvals=(Approvals(1, ("human:*",), ("requester", "owner"), touch=False),)), ("approvals",)),
        (
            Needs(approvals=(Approvals(1, ("human:a*",), (), touch=False),)),
            Needs(approvals=(Approvals(1, ("group:leads",), (), touch=False),)),
            ("approvals",),
        ),
    ],
)
def test_needs_are_compared_one_by_one(old: Needs, new: Needs, less: tuple[str, ...]) -> None:
    assert milder(old, new) == less


def test_equal_needs_have_one_order() -> None:
    blocks = (Approvals(2, ("human:*",), (), touch=True), Approvals(1, ("human:*",), (), touch=True))
    one = Needs(ticket=("B", "A"), approvals=blocks)
    assert normal(one) == normal(Needs(ticket=("A", "B"), approvals=blocks[::-1]))
    assert normal(None) is None


def test_a_floor_is_reached_or_not() -> None:
    floor = Floor(grant=True, ticket=True, reason_min=1, ack_risk=True, ttl_max_seconds=60, max_uses=1, approvals=1)
    keys = ("grant", "ticket", "reason_min", "ack_risk", "ttl_max", "max_uses")
    assert short_of(Needs(), floor) == keys
    assert short_of(Needs(True, ("A",), 1, True, 60, 1), floor) == ()


def test_effects_are_told_by_families() -> None:
    assert families(EFFECTS) == ("deployment:*", "local:*", "project:*", "account:*")
    assert families(EFFECTS - {TOKEN, "account:login"})[:2] == ("deployment:*", f"not {TOKEN}")
    assert families({VIEW, "account:login"}) == (VIEW, "account:login")


def test_a_box_is_told_by_what_it_is_or_what_it_is_not() -> None:
    rules = """\
  - {id: most, allow: {classes: [prod], tables: ["*"]}, because: It may.}
  - {id: no-users, deny: {tables: [users, "s_*"]}, because: No.}
"""
    (access,) = who_can(side_of(HEAD + rules), VIEW, "prod")
    assert access.conditions == {"tables": ("*",)}


def test_many_kinds_are_counted() -> None:
    """Forty kinds of tables are open, each with rules of its own, and as many are not."""
    rules = "".join(
        f"  - {{id: r{number}, {'allow' if number % 2 else 'deny'}: {{tables: [t{number}]}}, because: So.}}\n"
        for number in range(80)
    )
    (access,) = who_can(side_of(HEAD + rules), VIEW, "prod")
    assert len(access.conditions["tables"]) == 25
    assert access.conditions["tables"][-1] == "16 more kinds"


def test_too_many_kinds_of_requests_are_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagram, "MOST_NODES", 3)
    with pytest.raises(GateError) as caught:
        proof_of(READS + SIGNED, "never: {verdicts: [allow]}")
    assert caught.value.code == "limit"


def test_a_witness_that_does_not_come_out_is_a_defect() -> None:
    side = side_of(HEAD + READS)
    question = space_of([side]).question([kinds[0] for kinds in space_of([side]).kinds])
    for asked in (question, None):
        with pytest.raises(GateError) as caught:
            ask(side, asked, lambda verdict: verdict.verdict == "grant_required")
        assert caught.value.code == "internal"


def test_boxes_are_put_together() -> None:
    side = Side(shipped_rules(), None)
    made = Diagram(space_of([side]), lambda outcomes: outcomes[0])
    boxes = list(made.boxes(lambda label: label == Outcome("allow")))
    fewer = merged(boxes)
    assert 0 < len(fewer) <= len(boxes)
    assert _count(made, fewer) == _count(made, boxes)
    assert made.first(lambda label: label == "nothing") is None
    assert all(region(made.space, box) for box in fewer)


def _count(made: Diagram, boxes: list[diagram.Box]) -> int:
    total = 0
    for box in boxes:
        size = 1
        for name, kinds in zip(ORDER, made.space.kinds, strict=True):
            size *= len(box.kinds.get(name, kinds))
        total += size
    return total


def test_an_empty_space_has_no_requests() -> None:
    space = space_of([Side(shipped_rules(), None)]).only({"door": lambda kind: kind.value == "window"})
    assert list(Diagram(space, lambda outcomes: outcomes[0]).boxes(lambda _: True)) == []


def test_kinds_read_as_what_they_stand_for() -> None:
    kinds = {
        name: [kind.words for kind in kinds]
        for name, kinds in zip(ORDER, space_of([Side(shipped_rules(), None)]).kinds, strict=True)
    }
    assert kinds["principal"] == ["other agent:*", "other ci:*", "other human:*", "other runtime:*"]
    assert "unregistered prod deployments" in kinds["deployment"]
    assert kinds["tables"] == ["no tables", "any other", "unknown tables"]
    nowhere = space_of([Side(shipped_rules(), None)]).kinds[1][-1]
    assert isinstance(nowhere, Kind)
    assert nowhere.value == Place(None, (None,), listed=True)
    assert nowhere.opposite == "not no deployment"


def test_access_is_told_with_every_key() -> None:
    (access,) = who_can(side_of(HEAD + READS), VIEW, "prod")
    assert isinstance(access, Access)
    assert set(access.to_json()) == {"effects", "principals", "conditions", "verdict", "needs", "witness"}
