"""One decision of the policy, on few and on many rules. Loads no YAML: that is done once per activation."""

import statistics
import time

from bench_measure import Row

from gate.policy.decide import decide
from gate.policy.rules import ALLOW, DENY, REQUIRE, Rule, RuleSet, rule_set
from gate.policy.verdict import Cited, Needs, Question

VIEW, WRITE = "deployment:data:view", "deployment:data:write"
_BUDGETS = {50: 10.0, 10_000: 150.0}


def measure(turns: int) -> list[Row]:
    """Median microseconds of each kind of verdict; the slowest kind is the figure."""
    rows = [_row(count, _rules(count, odd=100), turns, budget) for count, budget in _BUDGETS.items()]
    many = 10_000
    return [*rows, _row(many, _rules(many, odd=1), max(10, turns // 100))]


def _row(count: int, rules: RuleSet, turns: int, budget: float | None = None) -> Row:
    questions = _questions()
    medians = [_microseconds(rules, question, turns) for question in questions]
    codes = [decide(rules, question).code for question in questions]
    shown = ", ".join(f"{code} {median:.1f}" for code, median in zip(codes, medians, strict=True))
    slowest = max(medians)
    if budget is None:
        return Row(f"decision, {count} rules, each with a glob `*X` of its own, us p50", f"{slowest:.0f}")
    what = f"decision, {count} rules, us p50"
    return Row(what, f"{slowest:.1f} ({shown})", f"<= {budget:g}", slowest <= budget)


def _microseconds(rules: RuleSet, question: Question, turns: int) -> float:
    times = []
    for _ in range(turns):
        begun = time.perf_counter_ns()
        decide(rules, question)
        times.append(time.perf_counter_ns() - begun)
    return statistics.median(times) / 1000


def _rules(count: int, odd: int) -> RuleSet:
    """Rules of an organisation: for everybody at first, then of one team after the other, each on its own tables.

    Every `odd`th rule has a glob that begins with its star, which an index by first letters cannot narrow.
    """
    return rule_set([_everybody(number) if number < len(_FOR_ALL) else _team(number, odd) for number in range(count)])


_FOR_ALL: tuple[tuple[str, dict[str, tuple[str, ...]]], ...] = (
    (ALLOW, {"classes": ("dev",), "effects": ("deployment:*", "local:*")}),
    (ALLOW, {"classes": ("prod",), "effects": (VIEW,), "principals": ("agent:*",)}),
    (DENY, {"effects": ("deployment:token:*", "account:*")}),
    (REQUIRE, {"classes": ("prod",)}),
)


def _everybody(number: int) -> Rule:
    verb, conditions = _FOR_ALL[number]
    needs = Needs(grant=True, ticket=("OPS-[0-9]+",), reason_min=12) if verb == REQUIRE else None
    return Rule(verb, conditions, needs, _cited(number, verb))


def _team(number: int, odd: int) -> Rule:
    team = number % 100
    conditions = {
        "principals": (f"agent:team{team}-*", f"group:team{team}"),
        "effects": (VIEW, WRITE),
        "tables": (f"table{number}", f"*_{number}" if number % odd == 0 else f"t{number}_*"),
    }
    verb = (ALLOW, ALLOW, DENY, REQUIRE)[number % 4]
    return Rule(verb, conditions, Needs(grant=True) if verb == REQUIRE else None, _cited(number, verb))


def _cited(number: int, verb: str) -> Cited:
    return Cited(f"rule-{number}", verb, f"policies/many.yaml:{number + 4}:5", "It is so.", None)


def _questions() -> list[Question]:
    """Allowed, needing a grant, denied by a rule, and covered by none."""
    return [
        _question("dev", "dev", (VIEW, WRITE)),
        _question("prod", "prod", (VIEW,)),
        _question("dev", "dev", ("deployment:token:create",)),
        _question("prod", "prod", (WRITE,)),
    ]


def _question(deployment: str, cls: str, effects: tuple[str, ...]) -> Question:
    resources = {"tables": ("messages",), "components": ()}
    return Question("agent:team7-codex", frozenset({"leads", "team7"}), effects, (), resources, deployment, cls, "cli")
