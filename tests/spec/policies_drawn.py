"""Small policies and the small world that they are about, for hypothesis; and every request of that world."""

import itertools
from collections.abc import Iterator
from random import Random

from hypothesis import strategies as st

from gate.config.document import Document, parse_document
from gate.intent.effects import EFFECTS, implied
from gate.intent.intent import DIMENSIONS
from gate.policy.analysis.sides import Side
from gate.policy.rules import ALWAYS, DOORS, NEVER, VERDICTS, Floor, Invariant, Rule, rule_set
from gate.policy.verdict import Approvals, Cited, Needs, Question

VIEW, WRITE, DEPLOY, SET = (
    "deployment:data:view",
    "deployment:data:write",
    "deployment:deploy",
    "deployment:env:write",
)
_GATE_YAML = """\
gate: 1
project: p
signers: s
roots: [human:ada]
policies: [p.yaml]
deployments:
  dev: {class: dev, url: "https://a.example", custody: k}
  p1: {class: prod, url: "https://b.example", custody: k}
principals:
  agent:a: {owner: human:ada, groups: [g]}
  agent:b: {owner: human:ada}
  human:ada: {groups: [g, leads], uids: [7]}
custody:
  k: {file: keys/k}
"""
WORLD: Document = parse_document(_GATE_YAML.encode())
# Beside what the bundle lists: callers and deployments that it does not know, told apart by every glob drawn below.
PRINCIPALS = (*WORLD.principals, "agent:c", "agent:ab", "agent:aab", "ci:a", "ci:b", "human:zoe", "runtime:a1")
PLACES: tuple[tuple[str | None, str | None], ...] = (
    (None, None),
    ("dev", "dev"),
    ("p1", "prod"),
    ("local", "local"),
    ("q", "prod"),
    ("p2", "dev"),
    ("d1", "prod"),
)
NAMES = ("a", "b", "ab", "aab", "bab", "z", "xyz")


def some(*items: str) -> st.SearchStrategy[tuple[str, ...]]:
    """One or two of `items`."""
    return st.lists(st.sampled_from(items), min_size=1, max_size=2, unique=True).map(tuple)


_GLOBS = some("a", "ab", "*", "a*", "*b", "a*b", "b*a*b", "*a*")
CONDITIONS = st.fixed_dictionaries(
    {},
    optional={
        "principals": some("agent:a", "agent:*", "*:a", "human:ada", "group:g", "*", "a*a", "agent:*b"),
        "effects": some(VIEW, "deployment:data:*", "deployment:*", "*:view", "local:run", DEPLOY, SET),
        "classes": some("dev", "prod", "local"),
        "deployments": some("p1", "d*", "*1", "*"),
        "doors": some("cli", "mcp"),
        "functions": _GLOBS,
        "tables": _GLOBS,
    },
)
_BLOCKS = (
    Approvals(1, ("group:leads",), ("requester", "owner"), touch=True),
    Approvals(2, ("human:*",), ("requester",), touch=False),
)
NEEDS = st.builds(
    Needs,
    grant=st.just(value=True),
    ticket=st.sampled_from([(), ("OPS-1",), ("OPS-.*",)]),
    reason_min=st.sampled_from([0, 5]),
    ack_risk=st.booleans(),
    ttl_max_seconds=st.sampled_from([None, 600, 3600]),
    max_uses=st.sampled_from([None, 3]),
    approvals=st.sampled_from([(), _BLOCKS[:1], _BLOCKS[1:]]),
)
RULE = st.tuples(st.sampled_from(["allow", "allow", "deny", "require"]), CONDITIONS, NEEDS)
FLOORS = st.builds(
    Floor,
    ticket=st.booleans(),
    ttl_max_seconds=st.sampled_from([None, 600, 3600]),
    reason_min=st.sampled_from([0, 5]),
    approvals=st.sampled_from([0, 2]),
)
_VERDICTS = st.lists(st.sampled_from(VERDICTS), min_size=1, max_size=2, unique=True).map(tuple)


def cited(name: str, verb: str, line: int) -> Cited:
    """A place in a file that there is not."""
    return Cited(name, verb, f"p.yaml:{line}:5", "because")


def made(drawn: list[tuple[str, dict[str, tuple[str, ...]], Needs]]) -> tuple[Rule, ...]:
    """Rules out of what was drawn."""
    return tuple(
        Rule(verb, conditions, needs if verb == "require" else None, cited(f"r{number}", verb, number + 1))
        for number, (verb, conditions, needs) in enumerate(drawn)
    )


RULES = st.lists(RULE, max_size=6).map(made)


def side(rules: tuple[Rule, ...], invariants: tuple[Invariant, ...] = ()) -> Side:
    """The rules in the small world."""
    return Side(rule_set(rules, invariants), WORLD)


INVARIANTS = st.one_of(
    st.builds(
        lambda where, verdicts: Invariant(NEVER, where, verdicts, None, cited("i", NEVER, 1)), CONDITIONS, _VERDICTS
    ),
    st.builds(
        lambda where, verdicts, floor: Invariant(ALWAYS, where, verdicts, floor, cited("i", ALWAYS, 1)),
        CONDITIONS,
        st.just(()) | _VERDICTS,
        FLOORS,
    ),
    st.builds(
        lambda where, verdicts: Invariant(ALWAYS, where, verdicts, None, cited("i", ALWAYS, 1)), CONDITIONS, _VERDICTS
    ),
)

EFFECTS_ASKED = (VIEW, WRITE, DEPLOY, SET, "deployment:logs:view", "local:run", "account:login")
EVERY = tuple(sorted(EFFECTS))
_VALUES: tuple[tuple[str, ...] | None, ...] = ((), None, *((name,) for name in NAMES), ("a", "b"), NAMES)


def question(
    principal: str,
    effects: tuple[str, ...],
    place: tuple[str | None, str | None],
    door: str,
    values: dict[str, tuple[str, ...] | None],
) -> Question:
    """One request; empty `values` of a dimension: it does not apply."""
    listed = WORLD.principals.get(principal)
    return Question(
        principal=principal,
        groups=frozenset(() if listed is None else listed.groups),
        effects=effects,
        implied=implied(effects),
        resources={name: names for name, names in values.items() if names != ()},
        deployment=place[0],
        cls=place[1],
        door=door,
    )


def possible(asked: Question) -> bool:
    """Whether a command can ask that: an effect on a deployment has one."""
    return asked.deployment is not None or not any(effect.startswith("deployment:") for effect in asked.effects)


def tiny_world() -> Iterator[Question]:
    """Every request of some effects about one table or none, some 1,700: for policies that name nothing else."""
    values: tuple[tuple[str, ...] | None, ...] = ((), None, ("a",), ("b",), ("aab",), ("z",))
    for principal, effect, place, tables in itertools.product(
        PRINCIPALS, (VIEW, WRITE, DEPLOY, "local:run"), PLACES, values
    ):
        yield question(principal, (effect,), place, "cli", {"tables": tables})


QUESTIONS = st.builds(
    lambda effects, **more: question(effects=tuple(sorted(effects)), **more),
    st.lists(st.sampled_from(EFFECTS_ASKED), min_size=1, max_size=3, unique=True),
    principal=st.sampled_from(PRINCIPALS),
    place=st.sampled_from(PLACES),
    door=st.sampled_from(DOORS),
    values=st.dictionaries(st.sampled_from(DIMENSIONS[:2]), st.sampled_from(_VALUES)),
).filter(possible)


def by_chance(seed: int, count: int) -> list[Question]:
    """As many requests as QUESTIONS would draw, at a fraction of its cost: for what shrinks by its policy."""
    chance = Random(seed)
    drawn = (
        question(
            chance.choice(PRINCIPALS),
            tuple(sorted(chance.sample(EFFECTS_ASKED, chance.choice((1, 1, 1, 2, 3))))),
            chance.choice(PLACES),
            chance.choice(DOORS),
            {name: chance.choice(_VALUES) for name in DIMENSIONS[:2]},
        )
        for _ in range(count)
    )
    return [one for one in drawn if possible(one)]
