"""The nouns of a loaded policy: Rule, Invariant, and RuleSet with the index that `decide.py` reads. Decides nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from gate.config.values import BUILT_IN, CLASSES
from gate.intent.effects import EFFECTS
from gate.intent.intent import DIMENSIONS
from gate.policy.index import Column, column
from gate.policy.verdict import Cited, Needs

ALLOW, DENY, REQUIRE = VERBS = ("allow", "deny", "require")
NEVER, ALWAYS = ("never", "always")
VERDICTS = ("allow", "grant_required", "deny")
DOORS = ("cli", "mcp", "hook", "ci")
RULE_CLASSES = (*BUILT_IN, *CLASSES)
GROUP = "group:"

# The keys of a rule's condition (docs/contract.md, Policy document).
CONDITIONS = ("principals", "effects", "classes", "deployments", "doors", *DIMENSIONS)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule: `verb` holds where every key of `conditions` has an item that matches. `needs`: of require only."""

    verb: str
    conditions: Mapping[str, tuple[str, ...]]
    needs: Needs | None
    cited: Cited


@dataclass(frozen=True, slots=True)
class Floor:
    """What an invariant wants every grant to need: characters, seconds, signatures. None, 0, False: nothing."""

    grant: bool = False
    ticket: bool = False
    reason_min: int = 0
    ack_risk: bool = False
    ttl_max_seconds: int | None = None
    max_uses: int | None = None
    approvals: int = 0


@dataclass(frozen=True, slots=True)
class Invariant:
    """What has to hold for all requests that `conditions` match, as those of an `allow` do.

    `verb`: `never`, none of `verdicts` comes out; `always`, one of them does, or any where it names none. `floor`: of
    always only; what a grant needs wherever one is needed.
    """

    verb: str
    conditions: Mapping[str, tuple[str, ...]]
    verdicts: tuple[str, ...]
    floor: Floor | None
    cited: Cited


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules by file order, and the same as sets of rules (integers, see index.py) per verb, effect and condition.

    `groups`: rules that name a group; they are no part of the column `principals`, so that nobody can claim to be one.
    `classes` and `doors`: by word of the vocabulary; None: where the dimension does not apply.
    `resources`: dimension and column, of the dimensions that any rule names; `resourced`: the rules that name one.
    `invariants`: of the same documents; no decision looks at them.
    """

    rules: tuple[Rule, ...]
    verbs: Mapping[str, int]
    effects: Mapping[str | None, int]
    principals: Column
    groups: Mapping[str, int]
    classes: Mapping[str | None, int]
    deployments: Column
    doors: Mapping[str | None, int]
    resources: tuple[tuple[str, Column], ...]
    resourced: int
    invariants: tuple[Invariant, ...] = ()


def rule_set(rules: Sequence[Rule], invariants: Sequence[Invariant] = ()) -> RuleSet:
    """Index `rules`, given in file order. `invariants` decide nothing: they are proven beside (analysis/prove.py)."""
    columns = {key: column([rule.conditions.get(key, ()) for rule in rules]) for key in CONDITIONS}
    every = (1 << len(rules)) - 1
    named = columns["principals"]
    return RuleSet(
        rules=tuple(rules),
        verbs={verb: sum(1 << n for n, rule in enumerate(rules) if rule.verb == verb) for verb in VERBS},
        effects=_words(columns["effects"], EFFECTS),
        principals=replace(
            named, exact={item: bits for item, bits in named.exact.items() if not item.startswith(GROUP)}
        ),
        groups={item[len(GROUP) :]: bits for item, bits in named.exact.items() if item.startswith(GROUP)},
        classes=_words(columns["classes"], RULE_CLASSES),
        deployments=columns["deployments"],
        doors=_words(columns["doors"], DOORS),
        resources=tuple((key, columns[key]) for key in DIMENSIONS if columns[key].free != every),
        resourced=sum(1 << n for n, rule in enumerate(rules) if not rule.conditions.keys().isdisjoint(DIMENSIONS)),
        invariants=tuple(invariants),
    )


def _words(indexed: Column, vocabulary: Iterable[str]) -> dict[str | None, int]:
    words: dict[str | None, int] = {word: indexed.free | indexed.naming(word) for word in vocabulary}
    return {None: indexed.free, **words}
