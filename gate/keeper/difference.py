"""What activating a bundle would change, in lines for a person. Judges nothing."""

import difflib
from collections.abc import Mapping

from gate.config.bundle import Bundle


def difference(before: Bundle | None, after: Bundle) -> list[str]:
    """Unified difference of every file of the two bundles, in lines; everything is new where `before` is None."""
    old: Mapping[str, bytes] = {} if before is None else before.files
    lines: list[str] = []
    for path in sorted({*old, *after.files}):
        names = _name("before", path, old), _name("after", path, after.files)
        lines += difflib.unified_diff(_lines(old.get(path)), _lines(after.files.get(path)), *names, lineterm="")
    return lines


def _lines(data: bytes | None) -> list[str]:
    return [] if data is None else data.decode("utf-8").splitlines()


def _name(side: str, path: str, files: Mapping[str, bytes]) -> str:
    return f"{side}/{path}" if path in files else f"{side}/{path} (absent)"
