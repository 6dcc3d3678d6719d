"""Findings of a schema check: what pydantic reports, as `FILE:LINE:COL: text` with the nearest known word.

Checks nothing by itself. Values are never shown: the wrong value in the wrong place may be a key.
"""

import types
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError, ValidationInfo
from pydantic.fields import FieldInfo

from gate.config.values import hint
from gate.config.yaml import MOST_FINDINGS, Loaded, Steps
from gate.errors import ConfigInvalid

# Context of a check of a written document, where seconds are written as durations (`10s`) and never as numbers.
WRITTEN = {"written": True}

_EXPECTED = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "bool_type": "must be `true` or `false`",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "missing": "is missing",
}


class Closed(BaseModel):
    """A mapping with exactly the keys that its class names, and values exactly of their types."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, populate_by_name=True, hide_input_in_errors=True
    )


_Item = TypeVar("_Item")
_Model = TypeVar("_Model", bound=BaseModel)


def _not_null(value: object, info: ValidationInfo) -> object:
    if value is None and info.context:
        raise ValueError("must not be null; leave the key out")
    return value


# For optional keys: what is written has a value, so that nothing reads `null` as "any" or "none demanded".
NOT_NULL = BeforeValidator(_not_null)


def _not_empty(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    if not items:
        raise ValueError("must not be empty")
    return items


# For lists: an empty one would read as "any" to one reader and as "none" to the next.
NOT_EMPTY = AfterValidator(_not_empty)


def _first_version(value: int) -> int:
    if value != 1:
        raise ValueError("must be 1")
    return value


# The number at the head of a document: which version of its language it is written in.
Version = Annotated[int, AfterValidator(_first_version)]


def validate(model: type[_Model], loaded: Loaded) -> _Model:
    """Read `loaded` as a `model`. Raises ConfigInvalid with the findings in the order of the file."""
    try:
        return model.model_validate(loaded.data, by_alias=True, by_name=False, context=WRITTEN)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=False)[:MOST_FINDINGS]
        raise ConfigInvalid(in_order(loaded, [_finding(model, detail) for detail in details])) from None


def in_order(loaded: Loaded, found: list[tuple[Steps, bool, str]]) -> list[str]:
    """Print findings (steps, whether the key is meant, text) in the order of their places in the file."""
    placed = sorted(found, key=lambda item: loaded.at(item[0], key=item[1]))
    return [loaded.finding(steps, text, key=key) for steps, key, text in placed]


def _finding(model: type[BaseModel], detail: Any) -> tuple[Steps, bool, str]:
    steps: Steps = detail["loc"]
    if steps and steps[-1] == "[key]":
        return steps[:-1], True, f"{_name(steps[:-1])} {_text(detail)}"
    if detail["type"] == "extra_forbidden":
        known = _keys(model, steps[:-1])
        return steps, True, f"{_name(steps)} is not a known key{hint(str(steps[-1]), known)}"
    return steps, False, f"{_name(steps)} {_text(detail)}"


def _text(detail: Any) -> str:
    kind = detail["type"]
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    return _EXPECTED.get(kind) or str(detail["msg"])


def _name(steps: Steps) -> str:
    return ".".join(str(step) for step in steps) or "the file"


def _keys(kind: Any, steps: Steps) -> list[str]:
    """List the keys of the mapping that the schema `kind` has at `steps`."""
    for step in steps:
        kind = _inside(_required(kind), step)
    fields: dict[str, FieldInfo] = getattr(_required(kind), "model_fields", {})
    return [_written(name, field) for name, field in fields.items()]


def _inside(kind: Any, step: str | int) -> Any:
    if get_origin(kind) in (dict, tuple):
        return get_args(kind)[-1 if get_origin(kind) is dict else 0]
    fields: dict[str, FieldInfo] = getattr(kind, "model_fields", {})
    return next((field.annotation for name, field in fields.items() if _written(name, field) == step), None)


def _required(kind: Any) -> Any:
    """Strip `kind` of `| None`."""
    if isinstance(kind, types.UnionType):
        return next(arg for arg in get_args(kind) if arg is not types.NoneType)
    return kind


def _written(name: str, field: FieldInfo) -> str:
    return str(field.validation_alias or name)
