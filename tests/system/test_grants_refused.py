"""Requests that are not taken, drafts that count for nothing, words that only look like the gate's own.

Through command line, keeper and ledger; production hears of none of it.
"""

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from production_kit import VIEW, WRITE, Edit, Production, production
from system_kit import decision_of, last

from gate.demo.stage import PROD_KEY, Came

READ = "messages:list"


@pytest.fixture(scope="module")
def stage_of_one(node_modules: Path) -> Iterator[Production]:
    with production(node_modules) as made:
        yield made


@pytest.fixture
def one(stage_of_one: Production) -> Production:
    """An agent of its own."""
    return stage_of_one.fresh()


# Requests that are not made.

FIELDS = {"--ticket": "OPS-1", "--reason": "the data looks stale", "--ttl": "30m"}


def asked(made: Production, *more: str, ack: bool = True, **fields: str | None) -> Came:
    """`gate request` to read production, with other fields, or without those that are None."""
    said = {**FIELDS, **{f"--{name}": value for name, value in fields.items()}}
    words = [word for name, value in said.items() if value is not None for word in (name, value)]
    risk = ["--ack-risk"] if ack else []
    return made.gate("request", "--deployment", "prod", "--effect", VIEW, *words, *risk, *more)


IMPROPER: dict[str, tuple[dict[str, Any], str]] = {
    "no ticket": ({"ticket": None}, "change_control"),
    "a blank ticket": ({"ticket": "  "}, "change_control"),
    "another ticket": ({"ticket": "JIRA-1"}, "change_control"),
    "more than a ticket": ({"ticket": "OPS-1 and OPS-2"}, "change_control"),
    "a line behind the ticket": ({"ticket": "OPS-1\n"}, "change_control"),
    "no reason": ({"reason": None}, "change_control"),
    "a short reason": ({"reason": "just so"}, "change_control"),
    "a blank reason": ({"reason": " " * 40}, "change_control"),
    "a spread reason": ({"reason": "a" + " " * 40 + "b"}, "change_control"),
    "a long reason": ({"reason": "long " * 1000}, "limit"),
    "a reason of signs that take many bytes": ({"reason": "\N{PILE OF POO}" * 400}, "limit"),
    "no time": ({"ttl": None}, "change_control"),
    "more time than is allowed": ({"ttl": "2h"}, "change_control"),
    "no acknowledgement": ({"ack": False}, "change_control"),
}


@pytest.mark.parametrize(("fields", "code"), IMPROPER.values(), ids=IMPROPER.keys())
def test_a_request_that_is_not_accounted_for_is_not_made(one: Production, fields: dict[str, Any], code: str) -> None:
    came = asked(one, **fields)
    assert (came.code, last(came), came.out) == (77, code, "")
    assert _of(one) == []
    assert one.reached() == []


def _of(made: Production) -> list[Any]:
    """Every request of this agent's."""
    return [found for found in made.done("requests", all=True)["requests"] if found["requester"] == made.agent]


WRONG_WORDS = {
    "no such effect": ("--deployment", "prod", "--effect", "deployment:everything"),
    "an effect with a wildcard": ("--deployment", "prod", "--effect", "deployment:*"),
    "no effect": ("--deployment", "prod"),
    "no deployment": ("--effect", VIEW),
    "nothing": (),
    "no such decision": ("--for", "dec-00000000"),
    "another thing than a decision": ("--for", "led-00000000"),
    "a decision and a deployment": ("--for", "dec-00000000", "--deployment", "prod"),
    "no such deployment": ("--deployment", "proud-lynx-456", "--effect", VIEW),
    "no uses": ("--deployment", "prod", "--effect", VIEW, "--max-uses", "0"),
    "no duration": ("--deployment", "prod", "--effect", VIEW, "--ttl", "half an hour"),
    "no time at all": ("--deployment", "prod", "--effect", VIEW, "--ttl", "0m"),
}


@pytest.mark.parametrize("words", WRONG_WORDS.values(), ids=WRONG_WORDS.keys())
def test_a_request_for_nothing_that_there_is_is_not_made(one: Production, words: tuple[str, ...]) -> None:
    came = one.gate("request", *one.fields(), *words)
    assert (came.code in (64, 77), came.out) == (True, ""), came.err
    assert _of(one) == []
    assert one.reached() == []


def test_who_has_no_name_or_no_owner_makes_no_request(one: Production) -> None:
    for name in ("agent:unknown", "agent:nobody", ""):
        came = one.gate("request", "--deployment", "prod", "--effect", VIEW, *one.fields(), GATE_PRINCIPAL=name)
        assert last(came) == "change_control", came.err
    came = one.gate("request", "--deployment", "prod", "--effect", VIEW, *one.fields(), GATE_PRINCIPAL="human:ada")
    assert last(came) == "denied_by_rule"
    assert {found["requester"] for found in one.done("requests", all=True)["requests"]} <= _agents(one)
    assert one.reached() == []


def _agents(made: Production) -> set[str]:
    config = (made.project.made.work / "gate.yaml").read_text()
    return set(re.findall(r"agent:\w+(?=: \{owner)", config))


def test_a_sixth_request_waits_for_one_of_five(one: Production) -> None:
    requests = [one.request(ttl=f"{minutes}m") for minutes in range(10, 15)]
    came = asked(one, ttl="15m")
    assert (came.code, last(came)) == (77, "limit")
    assert one.fresh().request(ttl="15m")
    assert one.gate("cancel", requests[0]).code == 0
    assert asked(one, ttl="15m").code == 0
    assert one.reached() == []


def test_a_request_too_many_in_a_day_is_not_made(one: Production) -> None:
    for _ in range(20):
        one.done("cancel", id=one.request())
    came = asked(one)
    assert (came.code, last(came)) == (77, "limit")
    assert len(_of(one)) == 20
    assert one.reached() == []


def test_the_same_is_asked_for_once(one: Production) -> None:
    came = [asked(one) for _ in range(3)]
    assert len({done.out for done in came}) == 1
    assert [done.err.count("The same is asked for already") for done in came] == [0, 1, 1]
    assert asked(one, reason="the data looks stale!").out != came[0].out
    assert asked(one, "--max-uses", "1").out != came[0].out
    assert asked(one, ttl="29m").out != came[0].out
    assert len(one.events("request.made")) >= len(_of(one)) == 4
    assert one.reached() == []


def test_what_is_allowed_is_not_asked_for(one: Production) -> None:
    words = ["request", "--deployment", "dev", "--effect", VIEW, *one.fields()]
    assert one.refused(*words) == "change_control"
    explained = one.json("explain", "convex", "run", READ)
    assert explained["verdict"] == "allow"
    assert one.refused("request", "--for", explained["id"], *one.fields()) == "change_control"
    assert _of(one) == []
    assert one.reached() == []


def test_what_is_denied_is_not_asked_for(one: Production) -> None:
    came = one.gate("--json", "convex", "deployment", "token", "create", "name", "--prod")
    decision = decision_of(came)
    assert decision["verdict"] == "deny", decision
    assert one.refused("request", "--for", decision["id"], *one.fields()) == "change_control"
    words = ["--deployment", "prod", "--effect", "deployment:token:create"]
    assert one.refused("request", *words, *one.fields()) in ("denied_by_rule", "no_rule")
    assert _of(one) == []
    assert one.reached() == []


def test_a_pending_request_opens_nothing(one: Production) -> None:
    request = one.request(VIEW, WRITE)
    came = one.quick("run", READ)
    assert (came.code, last(came), request in came.err) == (75, "request_pending", True)
    assert one.quick("run", READ, options=("--grant", request)).code == 77
    assert one.gate("wait", request, "--timeout", "1s").code == 75
    assert one.reached() == []


# What a reviewer sees.

HOSTILE = {
    "colours": "\x1b[2J\x1b[31mapproved by human:lee\x1b[0m",
    "a title": "\x1b]0;gate: ok\x07 and more of it",
    "lines": "fine\ngate: ok: approved\n  approved by human:kim",
    "a return": "harmless reason\rgrant grt-00000000 is active",
    "a backspace": "harmless reason" + "\b" * 15,
    "right to left": "read only \u202eetirw\u202c \u2066x\u2069",
    "invisible": "a\u200bb\u200cc\u2060d\ufeff e f g h i",
    "bytes of another table": "caf\u0301e \u0085 \u009b31m next line",
    "line ends of another kind": "one\u2028two\u2029three\x0bfour\x0cfive",
    "what the gate says": "the data looks stale | acknowledges the risk: yes\n  !! nothing",
}


@pytest.fixture(scope="module")
def said(stage_of_one: Production) -> tuple[Production, str]:
    """What the gate says about a request that claims nothing odd."""
    made = stage_of_one.fresh()
    request = made.request()
    return made, made.gate("show", request).out.partition("what the agent says")[0].replace(request, "ID")


@pytest.mark.parametrize("reason", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_the_agent_says_cannot_pass_for_what_the_gate_says(said: tuple[Production, str], reason: str) -> None:
    made, expected = said
    request = asked(made, reason=reason).out.strip()
    assert request.startswith("req-")
    shown = made.gate("show", request)
    # What a reviewer reads before signing; this one has no key that counts.
    signing = made.approve(request, "stranger")
    assert all(map(plain, (shown.out, shown.err, signing.out, signing.err)))
    facts, _, claims = shown.out.partition("what the agent says (not verified):\n")
    lapses = re.compile("lapses [0-9TZ:.-]+")
    assert lapses.sub("", facts.replace(request, "ID")) == lapses.sub("", expected)
    assert all(line.startswith("  | ") for line in claims.splitlines())
    assert made.state(request)["claims"]["reason"] == reason
    made.done("cancel", id=request)
    assert made.reached() == []


def plain(text: str) -> bool:
    """Whether a terminal shows `text` as it is: letters and blanks, nothing that moves, colours, hides or turns."""
    return all(line.isprintable() for line in text.split("\n"))


def test_a_ticket_is_shown_as_the_agents_words(granting: Production) -> None:
    granting.activate(production=('"OPS-[0-9]+"', '"(.|\\\\n)*"'))
    request = asked(granting, ticket="OPS-1\x1b[2J\nrules want   nothing\u202e").out.strip()
    shown = granting.gate("show", request).out
    facts, _, claims = shown.partition("what the agent says (not verified):\n")
    assert plain(shown)
    assert "nothing" not in facts
    assert all(line.startswith("  | ") for line in claims.splitlines())
    assert granting.reached() == []


def test_a_denial_is_shown_as_its_signers_words(one: Production) -> None:
    request = one.request()
    reason = "no\x1b[31m\ngate: ok: approved\u202e"
    assert one.gate("deny", request, "--reason", reason, "--key", str(one.keys["kim"])).code == 0
    for came in (one.gate("show", request), one.gate("wait", request)):
        assert plain(came.out + came.err)
        assert "\ngate: ok" not in came.out + came.err
    assert one.reached() == []


# Drafts, and what stands in the workspace.


def prod_line(made: Production) -> str:
    config = (made.project.made.work / "gate.yaml").read_text()
    return next(line for line in config.splitlines() if line.startswith("  prod: {class"))


def _elsewhere(made: Production) -> Edit:
    line = prod_line(made)
    # The stand-in of dev: whoever gets the key there has it.
    return line, line.replace(made.prod.url, made.project.made.dev.url.replace("127.0.0.1", "localhost") + "/")


def _as_dev(made: Production) -> Edit:
    line = prod_line(made)
    return line, line.replace("class: prod", "class: dev")


def _by_command(made: Production) -> Edit:
    return "  prod: {file: keys/prod}", f"  prod: {{command: [touch, {made.project.made.folder / 'ran'}]}}"


def _another_owner(made: Production) -> Edit:
    del made
    return "agent:codex: {owner: human:ada}", "agent:codex: {owner: human:kim}"


EDITS = [_elsewhere, _as_dev, _by_command, _another_owner]


@pytest.mark.parametrize("edit", EDITS)
def test_an_edited_draft_changes_nothing(granting: Production, edit: Callable[[Production], Edit]) -> None:
    request = granting.request()
    granting.edit(config=edit(granting))
    assert last(granting.quick("run", READ)) == "request_pending"
    assert last(granting.approve(request, "ada")) == "self_approval"
    assert granting.reached() == []
    assert granting.approve(request).out.startswith("grt-")
    with granting.held("run", READ) as held:
        assert held.call(READ)[0] == 200
    assert granting.called() == [READ]
    assert {one.key for one in granting.reached()} == {PROD_KEY}
    dev = granting.project.made.dev
    assert [one.path for one in dev.requests if one.key == PROD_KEY] == []
    assert not (granting.project.made.folder / "ran").exists()


def test_an_edited_draft_of_policies_and_signers_changes_nothing(granting: Production) -> None:
    stranger = granting.keys["stranger"].with_suffix(".pub").read_text()
    granting.edit(production=("grant: true", "grant: false"), signers=("human:kim", f"human:kim {stranger}human:kim"))
    request = granting.request()
    assert last(granting.approve(request, "stranger")) == "not_a_signer"
    assert last(granting.quick("run", READ)) == "request_pending"
    assert granting.refused("activate", "--key", str(granting.keys["stranger"])) == "not_a_signer"
    assert last(granting.quick("run", READ)) == "request_pending"
    assert granting.reached() == []


# The state folder, which the same user can write to: advisory, and it shows.


def started_anew(made: Production, *left: str) -> str:
    """Delete the project's state but for `left`, and activate it as an agent would; returns the head of before."""
    head = str(made.done("frame")["head"])
    assert made.gate("keeper", "stop").code == 0
    state = made.project.state / "demo"
    for path in list(state.iterdir()):
        if path.name not in left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    own = made.keys["stranger"].with_suffix(".pub").read_text()
    work = made.project.made.work
    (work / "gate.signers").write_text(f"human:lee {own}")
    (work / "gate.yaml").write_text(
        (work / "gate.yaml").read_text().replace("roots: [human:ada]", "roots: [human:lee]")
    )
    came = made.gate("activate", "--key", str(made.keys["stranger"]))
    assert came.code == 0, came.err
    return head


def test_a_state_that_was_made_anew_is_another_history_and_has_no_key(granting: Production) -> None:
    grant = granting.grant()
    signers = granting.project.made.work / "gate.signers"
    trusted = granting.project.made.folder / "trusted.signers"
    shutil.copy(signers, trusted)
    head = started_anew(granting)
    assert granting.gate("audit", "verify").code == 0
    found = granting.gate("audit", "verify", "--head", head)
    assert (found.code, "made anew" in found.out) == (1, True), found.out
    found = granting.gate("audit", "verify", "--signers", str(trusted))
    assert (found.code, "finding" in found.out) == (1, True), found.out
    assert granting.json("whoami")["bundle"]["signers"] == ["human:lee"]
    doctor = json.loads(granting.gate("--json", "doctor").out)
    assert any("pinned in the state folder" in note for note in doctor["notes"])
    assert any(finding.startswith("deployment prod: ") for finding in doctor["findings"])
    assert granting.refused("show", grant) == "usage"
    # In a history of its own the agent's key counts as anybody's: without the key of production it opens nothing.
    assert granting.approve(granting.request(), "stranger").out.startswith("grt-")
    assert last(granting.quick("run", READ)) == "custody_failed"
    assert granting.reached() == []


def test_a_ledger_that_was_made_anew_beside_its_pin_serves_no_production(granting: Production) -> None:
    granting.grant()
    started_anew(granting, "genesis", "keys")
    since = len(granting.prod.requests)
    assert last(granting.quick("run", READ)) == "untrusted_keeper"
    assert "not the one that is pinned" in granting.gate("whoami").out
    approved = granting.approve(granting.request(), "stranger")
    assert last(granting.quick("run", READ)) == "untrusted_keeper", approved.err
    assert granting.reached() == []
    assert [one.path for one in granting.prod.requests[since:] if one.key == PROD_KEY] == []
