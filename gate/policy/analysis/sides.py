"""One bundle as the analysis sees it: its rules as sets, by what they are about. Decides nothing.

The sets come from the very columns that gate/policy/decide.py reads.
"""

from dataclasses import dataclass

from gate.config.document import Document
from gate.config.values import BUILT_IN
from gate.intent.effects import implied
from gate.policy.index import Column
from gate.policy.rules import REQUIRE, RuleSet


@dataclass(frozen=True, slots=True)
class Side:
    """One bundle's rules and what its gate.yaml lists; None: nothing is registered."""

    rules: RuleSet
    document: Document | None

    @property
    def principals(self) -> tuple[str, ...]:
        """The listed principals."""
        return () if self.document is None else tuple(self.document.principals)

    @property
    def deployments(self) -> dict[str, str]:
        """Id -> class of what is registered, and of what every project has."""
        entries = {} if self.document is None else self.document.deployments
        return {**{name: entry.cls for name, entry in entries.items()}, **{name: name for name in BUILT_IN}}

    def groups(self, principal: str) -> frozenset[str]:
        """The groups that a principal is listed with."""
        listed = None if self.document is None else self.document.principals.get(principal)
        return frozenset(() if listed is None else listed.groups)

    def who(self, principal: str) -> int:
        """The rules whose principals name this one."""
        bits = self.rules.principals.free | self.rules.principals.naming(principal)
        for group in self.groups(principal):
            bits |= self.rules.groups.get(group, 0)
        return bits

    def where(self, deployment: str | None, cls: str | None) -> int:
        """The rules whose deployments and classes name this one."""
        named = self.rules.deployments.naming(deployment) if deployment is not None else 0
        return (self.rules.deployments.free | named) & self.rules.classes[cls]

    def what(self, effect: str) -> int:
        """The rules that speak of an effect; of those that it brings with it, `require` only."""
        brought = self.rules.effects[effect]
        for other in implied((effect,)):
            brought |= self.rules.effects[other]
        needing = self.rules.verbs[REQUIRE]
        return self.rules.effects[effect] & ~needing | brought & needing

    def column(self, dimension: str) -> Column | None:
        """The index of a resource dimension; None where no rule names it."""
        return dict(self.rules.resources).get(dimension)

    @property
    def every(self) -> int:
        """All rules."""
        return (1 << len(self.rules.rules)) - 1
