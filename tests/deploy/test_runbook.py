"""deploy/convex/README.md: its links resolve, and it knows what to do about every code."""

import re
from pathlib import Path

from gate.errors import EXITS

RUNBOOK = Path(__file__).parents[2] / "deploy" / "convex" / "README.md"


def headings(page: Path) -> set[str]:
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_links_resolve() -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", RUNBOOK.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        assert (RUNBOOK.parent / path).is_file(), link
        assert not anchor or anchor in headings(RUNBOOK.parent / path), link


def test_every_code_is_an_alarm_that_somebody_knows_how_to_answer() -> None:
    """Once each, and no code that the gate does not have; `cut_failed` is a state of grants."""
    rows = re.findall(r"^\| (`.*?) \|", RUNBOOK.read_text(encoding="utf-8").partition("## Alarms")[2], re.MULTILINE)
    codes = [code for row in rows for code in re.findall(r"`(\w+)`", row)]
    assert len(codes) == len(set(codes))
    assert set(codes) == set(EXITS) - {"ok"} | {"cut_failed"}
