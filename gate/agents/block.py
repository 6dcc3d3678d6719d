"""Text at the end of a file that can be found and taken out again to the byte. Knows no format and no file."""

import re

from gate.agents.pieces import Misfit


def newline_of(text: str) -> str:
    """The line ending of the first line; LF where there is none."""
    head = text.partition("\n")[0]
    return "\r\n" if head.endswith("\r") and "\n" in text else "\n"


def appended(text: str, chunk: str) -> str:
    """`text` with `chunk` (two lines or more, with LF, the last one open) as a paragraph of its own at the end.

    A text that ends without a newline still does: so `cut` can tell what was there before.
    """
    newline = newline_of(text)
    chunk = chunk.replace("\n", newline)
    if not text:
        return chunk + newline
    return text + newline + chunk + newline if text.endswith("\n") else text + newline + newline + chunk


def cut(text: str, start: int, end: int) -> str:
    """`text` without the paragraph that `appended` put at [start, end), whatever was written around it since."""
    before, after = text[:start], text[end:]
    newline = "\r\n" if "\r\n" in text[start:end] else "\n"
    if after.startswith(newline):
        after = after.removeprefix(newline)
        shorter = before.removesuffix(newline)
        return (shorter if shorter.endswith("\n") else before) + after
    return before.removesuffix(newline * 2) + after


def paragraph(begin: str, body: str, end: str) -> str:
    """Lines between the two marks."""
    return f"{begin}\n{body.strip()}\n{end}"


def find(text: str, begin: str, end: str) -> tuple[int, int] | None:
    """Where the marked paragraph stands; None where no mark is. Raises Misfit for marks that do not make one pair."""
    starts, ends = _lines(text, begin), _lines(text, end)
    if not starts and not ends:
        return None
    if len(starts) != 1 or len(ends) != 1 or ends[0] < starts[0]:
        raise Misfit((), f"text with one pair of the marks `{begin}` and `{end}`")
    return starts[0], ends[0] + len(end)


def _lines(text: str, mark: str) -> list[int]:
    """Offsets of the lines that are `mark`."""
    return [found.start() for found in re.finditer(rf"^{re.escape(mark)}(?=\r?$)", text, re.MULTILINE)]
