"""docs/reference.md is the help of every verb, docs/errors.md explains every code: neither lags behind the code.

`GATE_WRITE_DOCS=1 pytest tests/docs` writes the reference anew.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gate.cli.app import gate
from gate.errors import EXITS

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference.md"
ERRORS = ROOT / "docs" / "errors.md"
_WIDTH = 100
_HEAD = """\
# Reference

The help of every verb, and the exit status of every code. This page is generated; `tests/docs` holds it to the code.
"""
_CODES = """\
## Codes

| code | exit status |
| --- | --- |
"""


def contexts(context: click.Context) -> Iterator[click.Context]:
    """`context` and one for each verb below it, in the order of their names."""
    yield context
    command = context.command
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            verb = command.get_command(context, name)
            assert verb is not None
            yield from contexts(click.Context(verb, parent=context, info_name=name, **verb.context_settings))


def render() -> str:
    """The whole page."""
    root = click.Context(gate, info_name="gate", terminal_width=_WIDTH, **gate.context_settings)
    helps = (f"## {it.command_path}\n\n```text\n{it.command.get_help(it)}\n```\n" for it in contexts(root))
    rows = (f"| [`{code}`](errors.md#{code}) | {status} |\n" for code, status in EXITS.items())
    return "\n".join((_HEAD, *helps, _CODES + "".join(rows)))


def explained() -> dict[str, str]:
    """Code -> what docs/errors.md says about it."""
    sections = re.split(r"^### (.*)\n", ERRORS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(sections[1::2], map(str.strip, sections[2::2]), strict=True))


def given() -> set[str]:
    """Codes that the code itself names outside the table of codes."""
    sources = (path.read_text(encoding="utf-8") for path in (ROOT / "gate").rglob("*.py") if path.name != "errors.py")
    text = "\n".join(sources)
    return {code for code in EXITS if f'"{code}"' in text}


def test_reference_is_what_the_command_line_says() -> None:
    """Whoever reads the page reads the help of this very version."""
    page = render()
    if os.environ.get("GATE_WRITE_DOCS") == "1":
        REFERENCE.write_text(page, encoding="utf-8")
    assert REFERENCE.read_text(encoding="utf-8") == page


def test_reference_leaves_no_verb_out() -> None:
    """Sub-verbs included."""
    assert {"## gate convex\n", "## gate audit verify\n", "## gate key set\n"} <= set(
        render().splitlines(keepends=True)
    )


def test_every_code_is_explained_in_the_order_of_the_table() -> None:
    """No code without a section, no section without a code, none twice."""
    headings = re.findall(r"^### (.*)$", ERRORS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert headings == sorted(set(headings), key=headings.index)
    assert set(headings) == set(EXITS)


@pytest.mark.parametrize("code", EXITS)
def test_a_code_is_reserved_exactly_when_nothing_gives_it(code: str) -> None:
    """What a reader can meet is explained as such, what is for later says so."""
    text = explained()[code]
    assert text.endswith(".")
    assert text.startswith("*Reserved.*") == (code not in given())
