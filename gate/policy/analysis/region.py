"""Boxes of requests in words: what has to be so of each dimension that matters. Decides nothing."""

from collections.abc import Iterable, Mapping

from gate.intent.effects import EFFECTS
from gate.policy.analysis.diagram import Box
from gate.policy.analysis.kinds import Kind
from gate.policy.analysis.space import EFFECT, ORDER, Space

Region = Mapping[str, tuple[str, ...]]

# Kinds of one dimension that are told; the others are counted.
_MOST_TOLD = 24
_FAMILIES = ("deployment", "local", "project", "account")


def region(space: Space, box: Box) -> Region:
    """Dimension -> what it may be, of those that are not free, in the order in which requests are told.

    One of the words has to be so, and none of those after a `not`; `some tables`: the command has tables.
    """
    told = {EFFECT: families(kind.word for kind in box.kinds.get(EFFECT, space.kinds[0]))}
    for level, name in enumerate(ORDER):
        if name != EFFECT and name in box.kinds and len(box.kinds[name]) < len(space.kinds[level]):
            told[name] = _told(space.kinds[level], box.kinds[name])
    return told if set(told[EFFECT]) != _EVERYTHING else {name: words for name, words in told.items() if name != EFFECT}


def families(effects: Iterable[str]) -> tuple[str, ...]:
    """Effects in few words: a family of which most are among them by its glob, with those that are not (`not X`)."""
    given = set(effects)
    told: list[str] = []
    for family in _FAMILIES:
        whole = {effect for effect in EFFECTS if effect.startswith(f"{family}:")}
        missing = sorted(f"not {effect}" for effect in whole - given)
        most = len(missing) * 2 < len(whole)
        told += [f"{family}:*", *missing] if most else sorted(whole & given)
    return tuple(told)


_EVERYTHING = {f"{family}:*" for family in _FAMILIES}


def _told(every: tuple[Kind, ...], kinds: tuple[Kind, ...]) -> tuple[str, ...]:
    """Some of the kinds of a dimension: these, or what they are not where that is shorter."""
    among = {id(kind) for kind in kinds}
    others = [kind for kind in every if id(kind) not in among]
    if others and len(others) < len(kinds):
        return _shortened((kind.opposite for kind in others), len(others))
    return _shortened((kind.words for kind in kinds), len(kinds))


def _shortened(words: Iterable[str], count: int) -> tuple[str, ...]:
    shown = [word for _, word in zip(range(_MOST_TOLD), words, strict=False)]
    more = (f"{count - len(shown)} more kinds",) if count > len(shown) else ()
    return (*dict.fromkeys(shown), *more)
