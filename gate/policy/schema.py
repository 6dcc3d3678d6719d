"""A policy document as written: keys, vocabularies and types (docs/contract.md, Policy document). Decides nothing."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from gate.config.document import Seconds
from gate.config.findings import NOT_EMPTY, NOT_NULL, Closed, Version
from gate.config.values import PRINCIPAL_KINDS, hint, matching, one_of
from gate.intent.effects import EFFECTS
from gate.policy.globs import matches
from gate.policy.rules import ALWAYS, DOORS, GROUP, NEVER, RULE_CLASSES, VERBS, VERDICTS

# Globs worth proposing: whole families of effects.
_FAMILIES = {f"{effect.rpartition(':')[0]}:*" for effect in EFFECTS}
_LONGEST_REASON = 2000


def _effect_glob(text: str) -> str:
    if not any(matches(text, effect) for effect in EFFECTS):
        raise ValueError(f"matches no known effect{hint(text, EFFECTS | _FAMILIES)}")
    return text


def _principal_glob(text: str) -> str:
    head, star, _ = text.partition("*")
    if head.startswith((*PRINCIPAL_KINDS, GROUP)):
        return text
    if star and any(kind.startswith(head) for kind in PRINCIPAL_KINDS):
        return text
    kinds = ", ".join(f"`{kind}`" for kind in (*PRINCIPAL_KINDS, GROUP))
    near = hint(head.partition(":")[0] + ":", (*PRINCIPAL_KINDS, GROUP))
    raise ValueError(f"must start with one of {kinds}, or be a glob{near}")


def _principal(text: str) -> str:
    if not text.startswith(PRINCIPAL_KINDS) or "*" in text:
        raise ValueError("must be one principal such as `agent:codex`")
    return text


def _ticket(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error.msg})") from error
    return text


def _group_without_glob(text: str) -> str:
    if text.startswith(GROUP) and ("*" in text or text == GROUP):
        raise ValueError("names a group in full: `group:NAME`")
    return text


def _true(value: bool) -> bool:
    if not value:
        raise ValueError("must be `true`; leave the key out where it need not be so")
    return value


_Text = Annotated[str, Field(min_length=1, max_length=_LONGEST_REASON)]
_RuleId = Annotated[str, AfterValidator(matching("[a-z0-9][a-z0-9-]{0,62}", "lower-case letters, digits and `-`"))]
_Principal = Annotated[str, AfterValidator(_principal_glob), AfterValidator(_group_without_glob)]
_Effect = Annotated[str, AfterValidator(one_of(EFFECTS, "effect"))]
_Door = Annotated[str, AfterValidator(one_of(DOORS, "door"))]

_Principals = Annotated[tuple[_Principal, ...], NOT_EMPTY]
_EffectGlobs = Annotated[tuple[Annotated[str, AfterValidator(_effect_glob)], ...], NOT_EMPTY]
_Classes = Annotated[tuple[Annotated[str, AfterValidator(one_of(RULE_CLASSES, "class"))], ...], NOT_EMPTY]
_Doors = Annotated[tuple[_Door, ...], NOT_EMPTY]
_Globs = Annotated[tuple[_Text, ...], NOT_EMPTY]
_Verdict = Annotated[str, AfterValidator(one_of(VERDICTS, "verdict"))]
_Verdicts = Annotated[tuple[_Verdict, ...], NOT_EMPTY]
_Wanted = Annotated[bool, AfterValidator(_true)]


class Conditions(Closed):
    """When a rule speaks: keys are ANDed, items ORed, an absent key is any."""

    principals: _Principals = ()
    effects: _EffectGlobs = ()
    classes: _Classes = ()
    deployments: _Globs = ()
    doors: _Doors = ()
    functions: _Globs = ()
    tables: _Globs = ()
    variables: _Globs = ()
    components: _Globs = ()

    @model_validator(mode="after")
    def _speaks_of_something(self) -> "Conditions":
        if not self.model_fields_set:
            raise ValueError("must not be empty")
        return self


class ApprovalsText(Closed):
    """Whose signatures a grant takes. Without `not`, requester and owner cannot approve."""

    count: Annotated[int, Field(ge=1, le=100)]
    from_: _Principals = Field(validation_alias="from")
    not_: Annotated[tuple[Annotated[str, AfterValidator(one_of(("requester", "owner"), "word"))], ...], NOT_EMPTY] = (
        Field(default=("requester", "owner"), validation_alias="not")
    )
    touch: bool = True


class NeedsText(Closed):
    """What a grant has to have. At least one thing is needed."""

    grant: bool = False
    ticket: Annotated[_Text, AfterValidator(_ticket)] = ""
    reason_min: Annotated[int, Field(ge=1, le=_LONGEST_REASON)] = 0
    ack_risk: bool = False
    ttl_max: Annotated[Seconds | None, NOT_NULL] = None
    max_uses: Annotated[int | None, NOT_NULL, Field(ge=1)] = None
    approvals: Annotated[ApprovalsText | None, NOT_NULL] = None

    @model_validator(mode="after")
    def _needs_something(self) -> "NeedsText":
        if not any(getattr(self, key) for key in self.model_fields_set):
            raise ValueError("must need something")
        return self


class Example(Closed):
    """What the whole bundle has to answer: asserted whenever policies are loaded.

    `deployment`: an id of the registry, else a class that stands for any deployment of it; null: the command has no
    target. A dimension that is absent does not apply, null is unknown.
    """

    principal: Annotated[str, AfterValidator(_principal)]
    deployment: _Text | None
    effects: Annotated[tuple[_Effect, ...], NOT_EMPTY]
    door: _Door = "cli"
    functions: tuple[_Text, ...] | None = None
    tables: tuple[_Text, ...] | None = None
    variables: tuple[_Text, ...] | None = None
    components: tuple[_Text, ...] | None = None
    verdict: _Verdict
    rule: _RuleId | None


class RuleText(Closed):
    """One rule: exactly one verb, and needs exactly where the verb is require."""

    id: _RuleId
    allow: Annotated[Conditions | None, NOT_NULL] = None
    deny: Annotated[Conditions | None, NOT_NULL] = None
    require: Annotated[Conditions | None, NOT_NULL] = None
    needs: Annotated[NeedsText | None, NOT_NULL] = None
    because: _Text
    fix: Annotated[_Text | None, NOT_NULL] = None
    examples: Annotated[tuple[Example, ...], NOT_EMPTY] = ()

    @model_validator(mode="after")
    def _one_verb(self) -> "RuleText":
        verbs = self.model_fields_set & set(VERBS)
        if len(verbs) != 1:
            raise ValueError("must have exactly one of allow, deny and require")
        if (self.needs is not None) != (self.require is not None):
            raise ValueError("must have needs together with require, and only then")
        return self

    @property
    def verb(self) -> str:
        """Return the verb that is set."""
        return next(verb for verb in VERBS if getattr(self, verb) is not None)


class FloorText(Closed):
    """What every grant has to need at least, wherever one is needed. `approvals`: so many signatures."""

    grant: _Wanted = False
    ticket: _Wanted = False
    reason_min: Annotated[int, Field(ge=1, le=_LONGEST_REASON)] = 0
    ack_risk: _Wanted = False
    ttl_max: Annotated[Seconds | None, NOT_NULL] = None
    max_uses: Annotated[int | None, NOT_NULL, Field(ge=1)] = None
    approvals: Annotated[int, Field(ge=1, le=100)] = 0

    @model_validator(mode="after")
    def _wants_something(self) -> "FloorText":
        if not self.model_fields_set:
            raise ValueError("must need something")
        return self


class Never(Conditions):
    """No request that the conditions match gets one of `verdicts`."""

    verdicts: _Verdicts


class Always(Conditions):
    """Every request that the conditions match gets one of `verdicts`; where a grant is needed, it needs `needs`."""

    verdicts: _Verdicts = ()
    needs: Annotated[FloorText | None, NOT_NULL] = None

    @model_validator(mode="after")
    def _says_something(self) -> "Always":
        if not self.verdicts and self.needs is None:
            raise ValueError("must have verdicts, needs or both")
        return self


class InvariantText(Closed):
    """One invariant: what has to be so for all requests, whatever the rules are."""

    id: _RuleId
    never: Annotated[Never | None, NOT_NULL] = None
    always: Annotated[Always | None, NOT_NULL] = None
    because: _Text

    @model_validator(mode="after")
    def _one_kind(self) -> "InvariantText":
        if (self.never is None) == (self.always is None):
            raise ValueError("must have exactly one of never and always")
        return self

    @property
    def verb(self) -> str:
        """Return which of the two is set."""
        return ALWAYS if self.never is None else NEVER


class Policy(Closed):
    """One policy document."""

    policy: Version
    name: _RuleId
    rules: Annotated[tuple[RuleText, ...], NOT_EMPTY]
    invariants: Annotated[tuple[InvariantText, ...], NOT_EMPTY] = ()
