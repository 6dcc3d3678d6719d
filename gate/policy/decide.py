"""The decision: one pure function over an indexed set of rules (docs/contract.md, Policy document). Explains itself.

Any deny beats no allow, which beats unmet needs, which beat allow. Order decides only which rule is named first.
"""

from collections.abc import Iterable, Mapping

from gate.policy.index import members
from gate.policy.rules import ALLOW, DENY, REQUIRE, RuleSet
from gate.policy.verdict import Needs, Question, Verdict

_Resources = Mapping[str, tuple[str, ...] | None]


def decide(rules: RuleSet, question: Question) -> Verdict:
    """Answer `question`; total: every question has an answer, and what no rule speaks of is denied.

    Implied effects bring only needs. Nothing is ever met here: grants are looked at by whoever holds them.
    """
    if not question.effects:
        return Verdict("allow", "ok", None, None, (), None, question.indeterminate)
    context = _context(rules, question)
    stated = _naming(rules, question.effects)
    touched = _narrow(rules, context & ~rules.verbs[ALLOW], question.resources, unknown=True, every=False)
    if denying := touched & stated & rules.verbs[DENY]:
        return _because(rules, question, "deny", "denied_by_rule", denying)
    allowing = context & stated & rules.verbs[ALLOW]
    covered = _narrow(rules, allowing, question.resources, unknown=False, every=True)
    for effect in question.effects:
        if not covered & rules.effects.get(effect, 0):
            return _no_rule(rules, question, effect, allowing)
    requiring = touched & rules.verbs[REQUIRE]
    if requiring and (requiring := requiring & (stated | _naming(rules, question.implied))):
        return _because(rules, question, "grant_required", "grant_required", requiring)
    return _because(rules, question, "allow", "ok", covered)


def merge(needs: Iterable[Needs]) -> Needs:
    """Merge towards the stricter: least ttl and uses, greatest reason, every ticket pattern, every approvals block."""
    every = list(needs)
    if len(every) == 1:
        return every[0]
    ttls = [one.ttl_max_seconds for one in every if one.ttl_max_seconds is not None]
    uses = [one.max_uses for one in every if one.max_uses is not None]
    return Needs(
        grant=any(one.grant for one in every),
        ticket=tuple(dict.fromkeys(pattern for one in every for pattern in one.ticket)),
        reason_min=max((one.reason_min for one in every), default=0),
        ack_risk=any(one.ack_risk for one in every),
        ttl_max_seconds=min(ttls, default=None),
        max_uses=min(uses, default=None),
        approvals=tuple(dict.fromkeys(block for one in every for block in one.approvals)),
    )


def _context(rules: RuleSet, question: Question) -> int:
    """Collect the rules that fit who asks, through which door, about which deployment."""
    who = rules.principals.free | rules.principals.naming(question.principal)
    for group in question.groups:
        who |= rules.groups.get(group, 0)
    deployment = rules.deployments.free
    if question.deployment is not None:
        deployment |= rules.deployments.naming(question.deployment)
    cls = rules.classes.get(question.cls, rules.classes[None])
    return who & deployment & cls & rules.doors.get(question.door, rules.doors[None])


def _naming(rules: RuleSet, effects: Iterable[str]) -> int:
    bits = 0
    for effect in effects:
        bits |= rules.effects.get(effect, 0)
    return bits


def _narrow(rules: RuleSet, bits: int, resources: _Resources, *, unknown: bool, every: bool) -> int:
    """Keep of `bits` the rules that fit `resources`.

    `unknown`: whether a value that nobody knows fits. `every`: whether a rule has to name each value (allow: what it
    does not name stays closed) or just one (deny and require).
    """
    if not bits & rules.resourced:
        return bits
    for dimension, column in rules.resources:
        fits = column.free
        values = resources.get(dimension, ())
        if values is None:
            fits = bits if unknown else fits
        elif values:
            named = [column.naming(value) for value in values]
            fits |= _all(named) if every else _any(named)
        bits &= fits
    return bits


def _all(sets: list[int]) -> int:
    bits = sets[0]
    for other in sets[1:]:
        bits &= other
    return bits


def _any(sets: list[int]) -> int:
    bits = 0
    for other in sets:
        bits |= other
    return bits


def _because(rules: RuleSet, question: Question, verdict: str, code: str, bits: int) -> Verdict:
    """Answer with the rules in `bits`; the first by file order decides."""
    numbers = members(bits)
    deciding = rules.rules[numbers[0]]
    first = 1 << numbers[0]
    needs = [one for number in numbers if (one := rules.rules[number].needs) is not None]
    return Verdict(
        verdict=verdict,
        code=code,
        rule=deciding.cited.id,
        effect=_named_by(rules, question, first),
        rules=tuple([rules.rules[number].cited for number in numbers]),
        needs=merge(needs) if needs else None,
        indeterminate=_indeterminate(rules, question, bits),
    )


def _named_by(rules: RuleSet, question: Question, rule: int) -> str:
    """Return the first effect that `rule` speaks of, stated ones before those they bring with them."""
    for effect in question.effects:
        if rules.effects.get(effect, 0) & rule:
            return effect
    return next(effect for effect in question.implied if rules.effects.get(effect, 0) & rule)


def _no_rule(rules: RuleSet, question: Question, effect: str, allowing: int) -> Verdict:
    """Nothing allows `effect`; what would have, had a value been known, is reported as indeterminate."""
    perhaps = _narrow(rules, allowing, question.resources, unknown=True, every=True) & rules.effects.get(effect, 0)
    return Verdict("deny", "no_rule", None, effect, (), None, _indeterminate(rules, question, perhaps))


def _indeterminate(rules: RuleSet, question: Question, bits: int) -> tuple[str, ...]:
    """Add the dimensions that nobody knows and that a rule in `bits` hangs on to what the question could not tell."""
    if not bits & rules.resourced:
        return question.indeterminate
    unknown = [
        name for name, column in rules.resources if question.resources.get(name, ()) is None and bits & ~column.free
    ]
    return (*question.indeterminate, *unknown)
