"""A run on record held against what it stood on: the bundle, its rules, its grant, and what it may write.

Reads no database and changes nothing but its own count of writes; gate/grant/history.py hands it the decisions.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gate.config.bundle import Bundle
from gate.config.values import BUILT_IN
from gate.grant.grant import Grant
from gate.grant.scope import Names, covers
from gate.identity.caller import Caller, who
from gate.intent.effects import implied
from gate.policy.decide import decide
from gate.policy.rules import RuleSet
from gate.policy.verdict import Question, Verdict

# A decision is on record once its deployment's key was fetched and probed; what it stood on may have ended meanwhile.
LOOKED_UP_MS = 60_000
WRITE = "deployment:data:write"
# Every place where a write passes under a grant (gate/proxy/routes.py, gate/proxy/sync.py), and the effect it takes.
PLACES = {
    **dict.fromkeys(("POST /api/function", "WS Mutation", "WS Action"), WRITE),
    "POST /api/update_environment_variables": "deployment:env:write",
    "POST /api/perform_import": "deployment:backups:import",
}
# What Convex's CLI reads on its own behalf while it runs a function: as a mutation it writes nothing, and is recorded.
HELPERS = frozenset({"_system/cli/modules:apiSpec", "_system/frontend/components:list"})


@dataclass(slots=True)
class Bundles:
    """Which bundle was in force when. To be told of every event, in order."""

    _now: Bundle | None = None
    _before: list[tuple[Bundle | None, int]] = field(default_factory=list)
    _told_ms: int = 0

    def tell(self, bundle: Bundle | None, now_ms: int) -> None:
        """At `now_ms` an event was written while `bundle` was in force (None: none was)."""
        if bundle is not self._now:
            # It came in force with the event before this one.
            self._before = [*self._late(now_ms), (self._now, self._told_ms)]
            self._now = bundle
        self._told_ms = now_ms

    def recent(self, since_ms: int = 0) -> list[Bundle | None]:
        """The one in force, and those until just now under which what comes on record now may have been decided.

        Those only that were in force after `since_ms`.
        """
        return [self._now, *(bundle for bundle, until_ms in self._late(self._told_ms) if until_ms > since_ms)]

    def named(self, digest: str | None) -> Bundle | None:
        """The recent one of that digest, None for none. Raises ValueError where none of them is it."""
        for bundle in self.recent():
            if digest == (None if bundle is None else bundle.digest):
                return bundle
        raise ValueError("no such bundle was in force")

    def _late(self, now_ms: int) -> list[tuple[Bundle | None, int]]:
        return [(bundle, until_ms) for bundle, until_ms in self._before if now_ms - until_ms <= LOOKED_UP_MS]


@dataclass(slots=True)
class Run:
    """What a decision let through under `grant`: `effects` and names, and how many `writes` of it are on record."""

    grant: str
    effects: frozenset[str]
    resources: Mapping[str, Names]
    writes: int = 0

    def gives(self, place: str, function: object, component: object) -> bool:
        """Whether the proxy would let this write pass: its lease is worth this run and nothing else."""
        effect = PLACES.get(place)
        if effect != WRITE:
            return effect in self.effects and function is None and component is None
        return effect in self.effects and self._calls(function) and self._reaches(component)

    def _calls(self, function: object) -> bool:
        names = self.resources.get("functions", ())
        return isinstance(function, str) and (names is None or function in names or function in HELPERS)

    def _reaches(self, component: object) -> bool:
        names = self.resources.get("components", ())
        if component is None:
            return not names or "" in names
        return isinstance(component, str) and (names is None or component in names)


def run_under(grant: Grant, decided: Mapping[str, Any], uid: int) -> Run | None:
    """The run that `grant` gives leave to, by a decision of system user `uid`; None where it gives none."""
    principal, target, intent = decided["principal"], decided["target"], decided["intent"]
    said = (principal["id"], principal["owner"], uid, target["deployment"], target["url"])
    given = (grant.requester, grant.owner, grant.uid, grant.ask.deployment, grant.ask.origin)
    run = Run(grant.id, frozenset(intent["effects"]), _names(intent))
    return run if said == given and covers(grant.ask, run.effects, run.resources) else None


def place(said: Mapping[str, Any] | None, bundle: Bundle | None) -> tuple[str | None, str | None]:
    """Id and class of the deployment that a decision names; None, None where it is about none.

    Raises ValueError for one that `bundle` does not register, or registers in another way.
    """
    if said is None:
        return None, None
    entry = None if bundle is None else bundle.document.deployments.get(said["deployment"])
    if entry is None and said["deployment"] not in BUILT_IN:
        raise ValueError("the deployment is not registered")
    cls, url = (said["deployment"], None) if entry is None else (entry.cls, entry.url)
    if (said["class"], said["url"]) != (cls, url):
        raise ValueError("the deployment is registered in another way")
    return said["deployment"], cls


def judge(decided: Mapping[str, Any], uid: int, bundle: Bundle, rules: RuleSet) -> Verdict:
    """What the rules of `bundle` say about a decision of system user `uid`.

    Raises ValueError where it names a deployment or a caller in another way than the bundle does, and GateError for a
    claim to be a person that nothing backs.
    """
    intent = decided["intent"]
    caller = _caller(decided["principal"], uid, bundle)
    deployment, cls = place(decided["target"], bundle)
    return decide(
        rules,
        Question(
            principal=caller.id,
            groups=caller.groups,
            effects=tuple(intent["effects"]),
            implied=implied(intent["effects"]),
            resources=_names(intent),
            deployment=deployment,
            cls=cls,
            door=decided["door"],
        ),
    )


def _caller(said: Mapping[str, Any], uid: int, bundle: Bundle) -> Caller:
    caller = who(said["id"], uid, bundle.document.principals)
    if (said["id"], said["proof"], said["owner"]) != (caller.id, caller.proof, caller.owner):
        raise ValueError("it names another caller than the bundle")
    return caller


def _names(intent: Mapping[str, Any]) -> dict[str, Names]:
    return {name: None if names is None else tuple(names) for name, names in intent["resources"].items()}
