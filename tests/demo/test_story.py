"""The demo comes out, says so, and fails when a step does not."""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gate.demo import granted, story, tools
from gate.demo.forgery import forge_grant
from gate.demo.stage import CAST, PROD_KEY, Person, Stage, stage
from gate.demo.step import Step
from gate.errors import GateError

# Issue 3, item 9, in its order: the command, how it ends, what comes back.
WHOLE_STORY = (
    (r"gate convex run messages:send .*", 0, "messages-1"),
    (r"gate convex run messages:list --prod", 77, "gate: grant_required:"),
    (r"gate request --for dec-\w+ --ticket OPS-411 .*", 0, "req-"),
    (r"gate approve req-\w+ --key ada", 77, "gate: self_approval:"),
    (r"gate approve req-\w+ --key mallory", 77, "gate: not_a_signer:"),
    (r"gate approve req-\w+ --key lee", 0, "grt-"),
    (r"gate convex run messages:list --prod", 0, "reached production with the real key: "),
    (r"gate convex run messages:list --prod   # forged", 0, "key:  prod:proud-lynx-456|"),
    (r"gate convex data users --prod", 77, "gate: grant_required:"),
    (r"gate convex run messages:list --prod   # forged", 0, "status 560"),
    (r"gate convex run messages:list --watch --prod & gate revoke grt-\w+ .* --key lee", 76, "gate: cut: "),
    (r"gate --json show grt-\w+", 0, "no access was left "),
    (r"gate convex run messages:list --prod", 77, "gate: grant_required:"),
    (r"GATE_HOME=copy gate convex run messages:list --prod", 74, "gate: ledger_tampered:"),
    (r"gate audit verify copy/demo/ledger.db", 1, "NOT clean"),
    (r"gate audit verify --signers gate.signers", 0, ": clean"),
    (r"gate audit verify tampered.jsonl", 1, "NOT clean"),
)
# What the ledger of a grant that was asked for, given, used and revoked has to hold, in order.
ON_RECORD = (
    "request.made",
    "approval.given",
    "grant.made",
    "grant.used",
    "grant.ended",
    "grant.closing",
    "grant.closed",
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, node_modules: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's cache, which holds the CLI already: npm is not asked."""
    folder = tmp_path / "gate" / f"convex-{tools.CONVEX}"
    folder.mkdir(parents=True)
    (folder / "node_modules").symlink_to(node_modules)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return folder


def told(text: str) -> list[tuple[str, int, str]]:
    """Command, exit status and the rest of every step that was told."""
    steps = re.findall(r"^\d+\. .*\n   \$ (.*)\n((?:   .*\n)*?)   -> exit (\d+): ", text, re.MULTILINE)
    return [(command, int(code), rest) for command, rest, code in steps]


def is_told(steps: Iterator[tuple[str, int, str]], wanted: tuple[str, int, str]) -> bool:
    """Whether one of the `steps` that are left is the `wanted` one."""
    command, code, says = wanted
    return any(re.fullmatch(command, done) and (code, True) == (ended, says in rest) for done, ended, rest in steps)


def test_every_step_comes_out_and_the_story_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the demo says is held against what the ledger and production itself have on record at its end."""
    stages: list[Stage] = []
    events: list[Any] = []

    @contextmanager
    def seen(node_modules: Path, people: Sequence[Person]) -> Iterator[Stage]:
        with stage(node_modules, people) as made:
            yield made
            stages.append(made)
            events.extend(
                json.loads(json.loads(line)["body"]) for line in made.gate("audit", "export").out.splitlines()
            )

    monkeypatch.setattr(story, "stage", seen)
    said: list[str] = []
    assert story.play(said.append) == 0, "\n".join(said)
    text = "\n".join(said)
    assert "Every step came out" in text
    assert "NOT as promised" not in text
    assert PROD_KEY.rpartition("|")[2] not in text
    left = iter(told(text))
    assert [one for one in WHOLE_STORY if not is_told(left, one)] == []
    assert len(told(text)) <= 30

    (made,) = stages
    assert {one.key for one in made.prod.requests} <= {None, PROD_KEY}
    assert {one.path for one in made.prod.requests if one.key is None} <= {"/instance_name", "/api/1.48.0/sync"}
    assert "addDocument" not in json.dumps([one.body for one in made.prod.requests])
    assert [row["body"] for row in made.prod.app.tables["messages"]] == ["hello from production"]
    kinds = [event["type"] for event in events if event["type"].startswith(("request.", "approval.", "grant."))]
    assert tuple(dict.fromkeys(kinds)) == ON_RECORD
    (given,) = (event for event in events if event["type"] == "approval.given")
    (ended,) = (event for event in events if event["type"] == "grant.ended")
    assert (given["signer"], ended["by"], ended["why"]) == ("human:lee", "human:lee", "revoked")


def test_a_step_that_does_not_come_out_is_told_and_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where promises are broken, the demo must not call that a success.

    Dev's key does not fit; a child that holds the key of production; a cut that takes too long; a forger who has the
    approver's own key.
    """
    monkeypatch.setattr(story, "DEV_KEY", "dev:happy-otter-123|another")
    monkeypatch.setattr(granted, "_PEEKING_CLI", f'console.log("env: ", "{PROD_KEY}")')
    monkeypatch.setattr(granted, "_CUT_MS", -1)
    monkeypatch.setattr(
        granted,
        "forge_grant",
        lambda path, request, signer, key: forge_grant(path, request, signer, key.with_name("lee")),
    )
    said: list[str] = []
    assert story.play(said.append) == 1
    text = "\n".join(said)
    failed = re.findall(r"^\d+\. (.*)\n(?:   .*\n)*?   -> exit \d+: NOT as promised", text, re.MULTILINE)
    assert failed == [
        "An agent runs a mutation on dev: free, recorded.",
        "And a query. Only the keeper ever held the key.",
        "A forged Convex CLI in node_modules uses its lease of a query to write.",
        "A Convex CLI that prints its arguments and environment: a lease's token, no key.",
        "How long it took is on record.",
        "In a copy of the ledger, lee's approval and a grant are forged, each linked as it should be: refused.",
    ]
    assert f"{len(failed)} steps did NOT come out" in text


def in_production(made: Stage, approvals: str) -> list[Step]:
    """The steps on production where the rules say `approvals`."""
    policy = made.work / "policies" / "production.yaml"
    policy.write_text(policy.read_text().replace("not: [requester, owner]", approvals))
    for words, stdin in ((("activate", "--key", str(made.person)), ""), (("key", "set", "prod"), PROD_KEY)):
        assert made.gate(*words, stdin=stdin).code == 0
    return list(granted.steps(made, made.gate("convex", "run", "messages:list", "--prod")))


def test_an_owner_who_may_approve_is_no_success(node_modules: Path) -> None:
    """Nothing is tried under a grant that the wrong person gave."""
    with stage(node_modules, CAST) as made:
        steps = in_production(made, "not: [requester], touch: false")
    assert [(step.held, step.came.code) for step in steps] == [(True, 0), (False, 0), (False, 77), (False, 77)]
    assert not made.prod.requests


def test_production_that_cannot_be_asked_for_is_no_success(node_modules: Path) -> None:
    """A refusal without the line to paste: no step holds, and none is tried behind it."""
    with stage(node_modules, CAST) as made:
        steps = list(granted.steps(made, made.gate("convex", "run", "messages:list", "--prod")))
    assert [step.held for step in steps] == [False] * 4


@pytest.mark.parametrize("tool", ["node", "npm", "ssh-keygen"])
def test_a_missing_tool_is_named_with_how_to_get_it(tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {"node", "npm", "ssh-keygen"} - {tool}:
        found = shutil.which(name)
        assert found is not None
        (tmp_path / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GateError, match=f"the demo needs {tool}") as refused:
        story.play(print)
    assert "nstall" in refused.value.remedy


def test_npm_that_cannot_get_the_cli_is_a_refusal(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "node_modules").unlink()
    failing = tmp_path / "npm"
    failing.write_text("#!/bin/sh\necho 'no route to the registry' >&2\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(GateError, match="no route to the registry"):
        tools.node_modules()
    failing.write_text("#!/bin/sh\nmkdir -p node_modules/convex/bin && touch node_modules/convex/bin/main.js\n")
    assert tools.node_modules() == cache / "node_modules"
