"""What a grant is worth: Ask, and when one ask lies inside another or covers an invocation. Knows no person, no clock.

A dimension of resources is None for any, `()` for none, else the names. One that is limited to names covers only what
names some of them and nothing else: a grant for one function is no grant to browse every table.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from gate.audit.canonical import LARGEST_INTEGER
from gate.intent.effects import EFFECTS
from gate.intent.intent import DIMENSIONS

Names = tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Ask:
    """Access to one deployment: asked for in a request, stated in an approval, given by a grant.

    `deployment`: its id in the registry; `origin`: its URL. `effects`, and the names of each dimension, are sorted
    without repetition. `ttl_seconds`: from first use. `max_uses`: None for any number. `not_before_ms`: wall clock,
    None for at once. Raises ValueError when a field is not of this form.
    """

    deployment: str
    origin: str
    effects: tuple[str, ...]
    ttl_seconds: int
    functions: Names = None
    tables: Names = None
    variables: Names = None
    components: Names = None
    max_uses: int | None = None
    not_before_ms: int | None = None

    def __post_init__(self) -> None:
        if not (_is_word(self.deployment) and _is_word(self.origin)):
            raise ValueError("an ask names its deployment and origin")
        if not self.effects or not _is_set(self.effects) or not EFFECTS.issuperset(self.effects):
            raise ValueError("an ask states known effects, sorted")
        if not all(names is None or _is_set(names) for names in self.resources.values()):
            raise ValueError("the names of an ask are sorted and stand once")
        optional = (number for number in (self.max_uses, self.not_before_ms) if number is not None)
        if not all(_is_count(number) for number in (self.ttl_seconds, *optional)):
            raise ValueError("the numbers of an ask are positive integers")

    @property
    def resources(self) -> dict[str, Names]:
        """Names by dimension, in the order in which decisions print them."""
        return {dimension: getattr(self, dimension) for dimension in DIMENSIONS}

    def to_json(self) -> dict[str, Any]:
        """The ask as members of an event."""
        members = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in members.items()}


def ask_from(members: Mapping[str, Any]) -> Ask:
    """Read what `to_json` wrote. Raises ValueError or TypeError for anything else."""
    read: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in members.items()}
    return Ask(**read)


def limits(resources: Mapping[str, Names]) -> dict[str, Names]:
    """Names of an ask for exactly what an intent touches: a dimension is none where absent, any where unknown."""
    return {dimension: resources.get(dimension, ()) for dimension in DIMENSIONS}


def touched(ask: Ask) -> dict[str, Names]:
    """What `ask` would touch, as an intent says it: the policy is asked about an ask as about an intent."""
    return {dimension: names for dimension, names in ask.resources.items() if names != ()}


def within(narrow: Ask, wide: Ask) -> bool:
    """Whether everything that `narrow` permits, and for no longer, is permitted by `wide` (ADR-0029: proven subset)."""
    return (
        (narrow.deployment, narrow.origin) == (wide.deployment, wide.origin)
        and set(narrow.effects) <= set(wide.effects)
        and all(_inside(narrow.resources[name], names) for name, names in wide.resources.items())
        and narrow.ttl_seconds <= wide.ttl_seconds
        and (wide.max_uses is None or (narrow.max_uses is not None and narrow.max_uses <= wide.max_uses))
        and (narrow.not_before_ms or 0) >= (wide.not_before_ms or 0)
    )


def covers(ask: Ask, effects: Iterable[str], resources: Mapping[str, Names], function: str | None = None) -> bool:
    """Whether `ask` alone covers an intent with these `effects` and `resources` that calls `function`.

    All or nothing: what `ask` does not cover is not made up by another grant. A resource that nobody knows is covered
    by any only (docs/contract.md, Policy document).
    """
    wanted = limits(resources)
    if function is not None and wanted["functions"] is not None:
        wanted["functions"] = (*wanted["functions"], function)
    return set(effects) <= set(ask.effects) and all(
        _inside(wanted[name], names) for name, names in ask.resources.items()
    )


def intersection(one: Ask, other: Ask) -> Ask | None:
    """What both permit; None where there is nothing that both do."""
    effects = tuple(sorted(set(one.effects) & set(other.effects)))
    both = {name: _both(names, other.resources[name]) for name, names in one.resources.items()}
    same_place = (one.deployment, one.origin) == (other.deployment, other.origin)
    fits = all(_inside(names, ask.resources[name]) for ask in (one, other) for name, names in both.items())
    if not (same_place and effects and fits):
        return None
    return Ask(
        one.deployment,
        one.origin,
        effects,
        min(one.ttl_seconds, other.ttl_seconds),
        **both,
        max_uses=min((uses for uses in (one.max_uses, other.max_uses) if uses is not None), default=None),
        not_before_ms=max((at for at in (one.not_before_ms, other.not_before_ms) if at is not None), default=None),
    )


def _inside(inner: Names, outer: Names) -> bool:
    if outer is None:
        return True
    return inner is not None and bool(inner) == bool(outer) and set(inner) <= set(outer)


def _both(one: Names, other: Names) -> Names:
    if one is None or other is None:
        return other if one is None else one
    return tuple(sorted(set(one) & set(other)))


def _is_word(text: object) -> bool:
    return isinstance(text, str) and text != ""


def _is_set(names: object) -> bool:
    return isinstance(names, tuple) and all(_is_word(name) for name in names) and list(names) == sorted(set(names))


def _is_count(number: object) -> bool:
    return type(number) is int and 0 < number <= LARGEST_INTEGER
