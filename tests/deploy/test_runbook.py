"""deploy/convex/README.md: its links resolve, its commands exist, and it knows what to do about every code."""

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from gate.cli.app import gate
from gate.errors import EXITS, GateError
from gate.intent.parse import read_intent

RUNBOOK = Path(__file__).parents[2] / "deploy" / "convex" / "README.md"
TEXT = RUNBOOK.read_text(encoding="utf-8")


def headings(page: Path) -> set[str]:
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_links_resolve() -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", TEXT):
        path, _, anchor = link.partition("#")
        page = RUNBOOK.parent / path if path else RUNBOOK
        assert page.is_file(), link
        assert not anchor or anchor in headings(page), link


def test_every_code_is_an_alarm_that_somebody_knows_how_to_answer() -> None:
    """Once each, and no code that the gate does not have; `cut_failed` is a state of grants."""
    rows = re.findall(r"^\| (`.*?) \|", TEXT.partition("## Alarms")[2], re.MULTILINE)
    codes = [code for row in rows for code in re.findall(r"`(\w+)`", row)]
    assert len(codes) == len(set(codes))
    assert set(codes) == set(EXITS) - {"ok"} | {"cut_failed"}


def shown(text: str) -> Iterator[str]:
    """Every command line of `text`: behind a prompt, continued or not, and between backticks."""
    joined = re.sub(r"\\\n\s*", " ", text)
    yield from re.findall(r"^ *\$ (.*)$", joined, re.MULTILINE)
    yield from re.findall(r"`(gate [^`]*)`", re.sub(r"\n\s*", " ", joined))


def calls(line: str) -> Iterator[list[str]]:
    """The words behind each `gate` in a shell's command line, without what is piped in or sent elsewhere."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|<>;&")
    lexer.whitespace_split = True
    parts: list[list[str]] = [[]]
    for word in lexer:
        if word[0] in "|;&":
            parts.append([])
        else:
            parts[-1].append(word)
    for part in parts:
        words = list(itertools.takewhile(lambda word: word not in ("<", ">", ">>"), part))
        if words[:1] == ["gate"]:
            yield words[1:]


def insist_it_parses(words: list[str]) -> None:
    """Read `words` as the command line does, down to the last verb. Raises click's error, or the gate's, for others."""
    command: click.Command = gate
    context = gate.make_context("gate", list(words))
    while isinstance(command, click.Group):
        name, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])  # noqa: SLF001
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)
    if "convex" in words:
        read_intent(words[words.index("convex") + 1 :])


COMMANDS = sorted({shlex.join(words) for line in shown(TEXT) for words in calls(line)})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_of_the_gates(command: str) -> None:
    insist_it_parses(shlex.split(command))


def test_the_commands_are_found() -> None:
    """Among them one that is piped to, one that goes on in the next line, and every verb of a grant's life."""
    verbs = {shlex.split(command)[0] for command in COMMANDS}
    life = {"request", "wait", "requests", "show", "approve", "accept", "deny", "cancel", "grants", "drop", "revoke"}
    assert life | {"activate", "audit", "doctor", "keeper", "whoami"} <= verbs
    assert "key set prod" in COMMANDS
    assert any(command.startswith("request --deployment") and "--max-uses 5" in command for command in COMMANDS)


@pytest.mark.parametrize(
    "line",
    [
        "gate break-glass prod",
        "gate approve req-7k3f9q2m",
        "gate approve req-7k3f9q2m --key k --force",
        "gate approve - --key k --ttl soon",
        "gate deny req-7k3f9q2m --key k",
        "gate accept approval.txt",
        "gate grants --everything",
        "gate audit",
        "gate convex data --unheard-of",
        "cat key.txt | gate keys set prod",
    ],
)
def test_a_command_that_is_none_would_be_found(line: str) -> None:
    [words] = calls(line)
    with pytest.raises((click.UsageError, GateError, click.exceptions.NoArgsIsHelpError)):
        insist_it_parses(words)
