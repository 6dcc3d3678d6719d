"""What docs/policy.md says a policy answers, written down a second time: slow, obvious, without anything of decide.py.

One request is looked at one effect at a time, every effect one rule at a time, every rule one key at a time.
"""

from dataclasses import dataclass, field

from gate.policy.rules import Rule
from gate.policy.verdict import Needs, Question

RESOURCES = ("functions", "tables", "variables", "components")
DEPLOYMENT_WIDE = ("deployment:deploy", "deployment:token:create")


@dataclass(slots=True)
class Answer:
    """Verdict, the ids of the rules that bear on it, and everything that a grant needs."""

    verdict: str
    rules: list[str] = field(default_factory=list)
    needs: list[Needs] = field(default_factory=list)


def glob_fits(glob: str, text: str) -> bool:
    """`*` is any run of characters, everything else is itself: tried character by character."""
    if not glob:
        return not text
    if glob[0] == "*":
        return any(glob_fits(glob[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and glob[0] == text[0] and glob_fits(glob[1:], text[1:])


def one_fits(items: tuple[str, ...], value: str | None) -> bool:
    """Items are ORed; what does not apply matches nothing."""
    return value is not None and any(glob_fits(item, value) for item in items)


def principal_fits(items: tuple[str, ...], question: Question) -> bool:
    """A person, or a member of a group; a name is never a group."""
    for item in items:
        if item.startswith("group:"):
            if item[len("group:") :] in question.groups:
                return True
        elif glob_fits(item, question.principal):
            return True
    return False


def resource_fits(verb: str, items: tuple[str, ...], question: Question, dimension: str) -> bool:
    """`deny` and `require` match what they name one of, and what nobody knows; `allow` what it names wholly."""
    if dimension not in question.resources:
        return False
    names = question.resources[dimension]
    if names is None:
        return verb != "allow"
    if not names:
        return False
    if verb == "allow":
        return all(one_fits(items, name) for name in names)
    return any(one_fits(items, name) for name in names)


def rule_fits(rule: Rule, question: Question, effect: str) -> bool:
    """Keys are ANDed, an absent key is any."""
    return all(key_fits(rule.verb, key, items, question, effect) for key, items in rule.conditions.items())


def key_fits(verb: str, key: str, items: tuple[str, ...], question: Question, effect: str) -> bool:
    """One key of a condition."""
    if key == "principals":
        return principal_fits(items, question)
    if key in RESOURCES:
        return resource_fits(verb, items, question, key)
    values = {
        "effects": effect,
        "classes": question.cls,
        "deployments": question.deployment,
        "doors": question.door,
    }
    return one_fits(items, values[key])


def brings(effect: str, every: tuple[str, ...]) -> list[str]:
    """What an effect brings with it, itself included."""
    if effect in DEPLOYMENT_WIDE:
        return [other for other in every if other.startswith("deployment:")]
    if effect == "deployment:env:write":
        return [effect, "deployment:data:write"]
    return [effect]


def answer(rules: tuple[Rule, ...], question: Question, every: tuple[str, ...]) -> Answer:
    """Any deny, else an effect without an allow, else any require, else allow. `every`: all effects there are."""
    denying = [
        rule
        for rule in rules
        if rule.verb == "deny" and any(rule_fits(rule, question, effect) for effect in question.effects)
    ]
    if denying:
        return Answer("deny", [rule.cited.id for rule in denying])
    for effect in question.effects:
        if not any(rule.verb == "allow" and rule_fits(rule, question, effect) for rule in rules):
            return Answer("deny")
    wanted = [brought for effect in question.effects for brought in brings(effect, every)]
    requiring = [
        rule for rule in rules if rule.verb == "require" and any(rule_fits(rule, question, effect) for effect in wanted)
    ]
    if requiring:
        needs = [rule.needs for rule in requiring if rule.needs is not None]
        return Answer("grant_required", [rule.cited.id for rule in requiring], needs)
    return Answer("allow")
