"""Invariants proven over all requests, on few and on many rules. Loads no YAML: that is done once per activation.

`python tests/bench/bench_analysis.py` prints the rows by itself.
"""

import functools
import statistics
import sys

from bench_measure import Row, Run, milliseconds, table

from gate.policy.analysis.diff import diff
from gate.policy.analysis.prove import prove
from gate.policy.analysis.reach import who_can
from gate.policy.analysis.sides import Side
from gate.policy.rules import ALLOW, ALWAYS, DENY, NEVER, REQUIRE, Floor, Invariant, Rule, RuleSet, rule_set
from gate.policy.verdict import Cited, Needs

VIEW, WRITE = "deployment:data:view", "deployment:data:write"
# Rules -> milliseconds for all three invariants together.
_BUDGETS = {50: 50.0, 1000: 10_000.0}


def measure(turns: int) -> list[Row]:
    """Median milliseconds of proving, of the difference to the same without its last rule, and of one who-can."""
    rows = []
    for count, budget in _BUDGETS.items():
        often = max(1, turns // count)
        rules = _rules(count)
        proven = _median(functools.partial(_insist_proven, Side(rules, None)), often)
        what = f"{len(rules.invariants)} invariants proven, {count} rules, ms p50"
        rows.append(Row(what, f"{proven:.1f}", f"<= {budget:g}", proven <= budget))
        rows += [_difference(count, rules, often), _who(count, rules, often)]
    return rows


def _difference(count: int, rules: RuleSet, often: int) -> Row:
    fewer = Side(rule_set(rules.rules[:-1]), None)
    taken = _median(lambda: diff(fewer, Side(rules, None)), often)
    return Row(f"difference by one rule, {count} rules, ms p50", f"{taken:.1f}")


def _who(count: int, rules: RuleSet, often: int) -> Row:
    taken = _median(lambda: list(who_can(Side(rules, None), VIEW, "local")), often)
    return Row(f"who can, {count} rules, ms p50", f"{taken:.1f}")


def _median(run: Run, often: int) -> float:
    return statistics.median(milliseconds(run) for _ in range(often))


def _insist_proven(side: Side) -> None:
    if not all(proof.proven for proof in prove(side)):
        raise AssertionError(side)


def _rules(count: int) -> RuleSet:
    """Rules of an organisation: for everybody at first, then of one team after the other, each on its own tables.

    Every hundredth has a glob that begins with its star.
    """
    rules = [_everybody(number) if number < len(_FOR_ALL) else _team(number) for number in range(count)]
    return rule_set(rules, _INVARIANTS)


_FOR_ALL: tuple[tuple[str, dict[str, tuple[str, ...]]], ...] = (
    (ALLOW, {"classes": ("dev",), "effects": ("deployment:*", "local:*")}),
    (ALLOW, {"classes": ("prod",), "effects": (VIEW,), "principals": ("agent:*",)}),
    (DENY, {"effects": ("deployment:token:*", "account:*")}),
    (REQUIRE, {"classes": ("prod", "preview", "custom")}),
)
_NEEDS = Needs(grant=True, ticket=("OPS-[0-9]+",), reason_min=12, ttl_max_seconds=3600)


def _everybody(number: int) -> Rule:
    verb, conditions = _FOR_ALL[number]
    return Rule(verb, conditions, _NEEDS if verb == REQUIRE else None, _cited(f"rule-{number}", verb, number))


def _team(number: int) -> Rule:
    team = number % 100
    conditions = {
        "principals": (f"agent:team{team}-*", f"ci:team{team}"),
        "effects": (VIEW, WRITE),
        "tables": (f"table{number}", f"*_{number}" if number % 100 == 0 else f"t{number}_*"),
    }
    verb = (ALLOW, ALLOW, DENY, REQUIRE)[number % 4]
    needs = Needs(grant=True, ttl_max_seconds=600) if verb == REQUIRE else None
    return Rule(verb, conditions, needs, _cited(f"rule-{number}", verb, number))


def _cited(name: str, verb: str, number: int) -> Cited:
    return Cited(name, verb, f"policies/many.yaml:{number + 4}:5", "It is so.", None)


_INVARIANTS = (
    Invariant(
        NEVER,
        {"principals": ("agent:*",), "classes": ("prod",), "effects": ("deployment:*",)},
        ("allow",),
        None,
        _cited("no-prod-without-grant", NEVER, 1),
    ),
    Invariant(
        NEVER,
        {"effects": ("deployment:token:create",)},
        ("allow", "grant_required"),
        None,
        _cited("no-tokens", NEVER, 2),
    ),
    Invariant(
        ALWAYS, {"classes": ("prod",)}, (), Floor(ticket=True, ttl_max_seconds=3600), _cited("bounded", ALWAYS, 3)
    ),
)

if __name__ == "__main__":
    sys.stdout.write(table(measure(500)) + "\n")
