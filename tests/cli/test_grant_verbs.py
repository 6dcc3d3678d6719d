"""From a refusal to a grant and its end, as an agent and its reviewers type it, against a stand-in deployment."""

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest
from convex_cli import Ran, workspace
from gate_cli import Gate, gate_in, person
from hypothesis import given, strategies as st
from ssh_kit import key_of

from gate import world
from gate.cli.request import seconds
from gate.cli.review import draft, missing, split
from gate.config.draft import shipped
from gate.demo.standin import StandIn
from gate.errors import GateError
from gate.grant.request import DAY_MS, LAPSES_MS, Request
from gate.grant.scope import Ask, within
from gate.grant.statement import NAMESPACE, parse_statement, render
from gate.policy.verdict import Approvals, Needs

PROD = "proud-lynx-456"
KEY = f"prod:{PROD}|real-key-of-production"
VIEW, LOGS, WRITE = "deployment:data:view", "deployment:logs:view", "deployment:data:write"
NOW = 1_771_495_445_000
CONFIG = """\
gate: 1
project: chat
signers: gate.signers
roots: [human:ada]
policies: [policies/default.yaml, policies/production.yaml]
deployments:
  prod: {{class: prod, name: {name}, url: "{url}", custody: prod}}
principals:
  agent:codex: {{owner: human:ada}}
  agent:claude: {{owner: human:ada}}
  human:ada: {{groups: [leads]}}
  human:lee: {{groups: [leads]}}
  human:kim: {{groups: [leads]}}
custody:
  prod: {{file: keys/prod}}
"""
WORDS = ("--ticket", "OPS-411", "--reason", "users see stale messages", "--ttl", "30m", "--ack-risk")
ASKED = ("request", "--deployment", "prod", "--effect", VIEW, *WORDS)


def code(ran: Ran) -> str:
    """The code in the last line of a refusal."""
    return ran.err.splitlines()[-1].split(": ")[1]


def promised(heading: str) -> Any:
    """The example of an object in docs/contract.md."""
    return json.loads(shown_in_contract(heading, "json"))


def shape(value: Any) -> Any:
    """Names of members at every depth, without what they hold."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    return (
        [shape(one) for one in value[:1]] if isinstance(value, list) and value and isinstance(value[0], dict) else None
    )


def shown_in_contract(heading: str, language: str) -> str:
    """The first example under `heading` of docs/contract.md."""
    page = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")
    return page.partition(f"\n## {heading}\n")[2].partition(f"```{language}\n")[2].partition("```")[0]


async def project(tmp_path: Path, node_modules: Path, url: str, count: int) -> Path:
    """A project with three people who sign with plain keys; `count` of them have to approve."""
    folder = tmp_path / "chat"
    (folder / "policies").mkdir(parents=True)
    workspace(folder, node_modules)
    policies = shipped()
    production = policies["policies/production.yaml"]
    named = f'count: {count}, from: ["group:leads"], not: [requester, owner], touch: false'
    policies["policies/production.yaml"] = re.sub(r"count: 1, .*owner\]", named, production)
    keys = [await person(tmp_path, name) for name in ("ada", "lee", "kim", "mallory")]
    lines = [f"human:{key.name} {key.with_suffix('.pub').read_text()}" for key in keys[:3]]
    files = {"gate.yaml": CONFIG.format(name=PROD, url=url), "gate.signers": "".join(lines), **policies}
    for path, text in files.items():
        (folder / path).write_text(text)
    return folder


@pytest.fixture
async def prod() -> AsyncIterator[StandIn]:
    async with StandIn(KEY, PROD) as standin:
        yield standin


@pytest.fixture
async def gate(
    request: pytest.FixtureRequest, tmp_path: Path, node_modules: Path, prod: StandIn
) -> AsyncIterator[Gate]:
    """The project in force, its key stored; one approval is enough unless the test says how many."""
    folder = await project(tmp_path, node_modules, prod.url, getattr(request, "param", 1))
    async with gate_in(folder, tmp_path / "state") as made:
        for words, stdin in ((("activate", "--key", "../ada"), None), (("key", "set", "prod"), KEY.encode())):
            ran = await made(*words, stdin=stdin)
            assert ran.code == 0, ran
        yield made


async def requested(gate: Gate, *more: str) -> str:
    """Id of a new request."""
    ran = await gate(*ASKED, *more)
    assert ran.code == 0, ran
    return ran.out.strip()


async def test_from_a_refusal_to_a_grant_that_is_given_back(gate: Gate) -> None:
    """One pasted line asks; neither owner nor stranger approves it; who may, gives less; nobody decides twice."""
    ran = await gate("--json", "convex", "data", "messages", "--prod")
    argv = json.loads(ran.err.splitlines()[0])["remedy"]["argv"]
    filled = {"<ticket>": "OPS-411", "<reason>": "users see \x1b[31mstale messages"}
    ran = await gate(*(filled.get(word, word) for word in argv[1:]))
    assert (ran.code, re.fullmatch(r"req-[0-9a-z]{8}\n", ran.out) is not None) == (0, True), ran
    asked = ran.out.strip()
    assert ran.err.splitlines()[-2:] == ["Can approve: group:leads", f"Then: gate wait {asked}"]

    shown = await gate("show", asked)
    assert (shown.code, len(shown.out.splitlines()) <= 24) == (0, True), shown
    assert "  tables       messages\n" in shown.out
    assert "  | reason: users see \\x1b[31mstale messages\n" in shown.out
    assert json.loads((await gate("--json", "show", asked)).out)["state"] == "pending"
    assert (await gate("requests")).out == f"{asked} pending agent:codex prod 30m {VIEW}\n"

    for key, refused in (("ada", "self_approval"), ("mallory", "not_a_signer"), ("nobody", "bad_signature")):
        ran = await gate("approve", asked, "--key", f"../{key}")
        assert (ran.code, ran.out, code(ran)) == (77, "", refused), ran
    for wider in (("--ttl", "31m"), ("--effect", WRITE)):
        ran = await gate("approve", asked, "--key", "../lee", *wider)
        assert (ran.code, code(ran), "This is what you sign" in ran.err) == (77, "change_control", False), ran
    ran = await gate("wait", asked, "--timeout", "1s")
    assert (ran.code, ran.out, code(ran)) == (75, "", "request_pending"), ran

    ran = await gate("convex", "data", "messages", "--prod")
    assert (ran.code, code(ran), asked in ran.err) == (75, "request_pending", True), ran

    waiting = asyncio.create_task(gate("wait", asked))
    await asyncio.sleep(0.5)
    ran = await gate("approve", asked, "--key", "../lee", "--ttl", "15m")
    assert (ran.code, re.fullmatch(r"grt-[0-9a-z]{8}\n", ran.out) is not None) == (0, True), ran
    assert ran.err.index(f"request {asked}") < ran.err.index("This is what you sign:\nkind: approve\n")
    assert "ttl-seconds: 900\n" in ran.err
    granted = ran.out.strip()
    assert await waiting == Ran(0, f"{granted}\n", "")
    assert shape(json.loads((await gate("--json", "show", asked)).out)) == shape(promised("Request"))
    assert shape(json.loads((await gate("--json", "show", granted)).out)) == shape(promised("Grant"))
    grants = json.loads((await gate("--json", "grants")).out)["grants"]
    assert [(one["id"], one["ttl_seconds"], one["effects"]) for one in grants] == [(granted, 900, [VIEW])]
    assert granted in (await gate("grants")).out
    assert f"request      {asked}" in (await gate("show", granted)).out
    assert json.loads((await gate("--json", "wait", asked)).out)["grant"] == granted
    again = await gate("approve", asked, "--key", "../kim")
    assert (again.code, code(again)) == (77, "change_control")

    ran = await gate("--as", "agent:claude", "drop", granted)
    assert (ran.code, code(ran)) == (77, "denied_by_rule")
    assert (await gate("drop", granted)).err.startswith(f"{granted} is ")
    assert (await gate("grants")).out == ""
    assert granted in (await gate("grants", "--all")).out
    ran = await gate("drop", granted)
    assert (ran.code, code(ran)) == (77, "grant_ended")


async def test_an_approval_is_made_on_another_machine_and_counts_once(gate: Gate, tmp_path: Path) -> None:
    """There is no project there and no keeper; a text that was changed on the way is refused before it is signed."""
    asked = await requested(gate, "--effect", LOGS)
    portable = (await gate("show", asked, "--portable")).out
    assert max(map(len, portable.splitlines())) < 1000
    assert json.loads((await gate("--json", "show", asked, "--portable")).out)["request"]["id"] == asked
    desk = tmp_path / "desk"
    desk.mkdir()
    away = Gate(desk, desk / "state")

    changed = portable.replace("users see stale", "users see fresh")
    ran = await away("approve", "-", "--key", "../lee", "--export", stdin=changed.encode())
    assert (ran.code, ran.out, code(ran)) == (77, "", "change_control")
    ran = await away("approve", "-", "--key", "../lee", "--export", "--effect", LOGS, stdin=portable.encode())
    assert (ran.code, (desk / "state").exists()) == (0, False), ran
    envelope = ran.out
    assert (f"effects: {LOGS}\n" in envelope, envelope.count("BEGIN SSH SIGNATURE")) == (True, 1)

    ran = await gate("accept", "-", stdin=envelope.replace("ttl-seconds: 1800", "ttl-seconds: 1799").encode())
    assert (ran.code, code(ran)) == (77, "bad_signature")
    ran = await gate("--json", "accept", "-", stdin=envelope.encode())
    grant = json.loads(ran.out)
    assert (ran.code, grant["kind"], grant["effects"], grant["approvals"]) == (0, "grant", [LOGS], ["human:lee"])
    ran = await gate("accept", "-", stdin=envelope.encode())
    assert (ran.code, ran.out, code(ran)) == (77, "", "change_control")
    assert len(json.loads((await gate("--json", "grants", "--all")).out)["grants"]) == 1


async def test_a_denial_and_a_cancellation_are_told_to_who_waits(gate: Gate) -> None:
    asked = await requested(gate)
    ran = await gate("deny", asked, "--reason", "no\x1b[2J way", "--key", "../mallory")
    assert (ran.code, code(ran)) == (77, "not_a_signer")
    ran = await gate("deny", asked, "--reason", "no\x1b[2J way", "--key", "../lee")
    assert (ran.code, ran.out, ran.err.splitlines()[-1]) == (0, "", f"{asked} is denied"), ran
    assert f"kind: deny\nsubject: {asked}\nreason: no\\u001b[2J way\n" in ran.err
    ran = await gate("wait", asked)
    assert (ran.code, ran.out, code(ran)) == (77, "", "change_control")
    assert ran.err.splitlines()[-1].endswith("no grant comes of it: denied by human:lee: no\\x1b[2J way")

    second = await requested(gate)
    assert second != asked
    ran = await gate("--as", "agent:claude", "cancel", second)
    assert (ran.code, code(ran)) == (77, "denied_by_rule")
    assert json.loads((await gate("--json", "cancel", second)).out)["state"] == "cancelled"
    ran = await gate("wait", second)
    assert (ran.code, ran.err.splitlines()[-1].endswith("cancelled by agent:codex")) == (77, True), ran
    assert (await gate("requests")).out == ""
    listed = json.loads((await gate("--json", "requests", "--all")).out)["requests"]
    assert {one["id"]: one["state"] for one in listed} == {asked: "denied", second: "cancelled"}


async def test_revoking_wants_the_requester_or_a_signature(gate: Gate) -> None:
    grants = []
    for uses in ("1", "2"):
        asked = await requested(gate, "--max-uses", uses)
        grants.append((await gate("approve", asked, "--key", "../lee")).out.strip())
    assert [line.split()[0] for line in (await gate("grants")).out.splitlines()] == grants
    words = ("--reason", "wrong table")
    ran = await gate("--as", "agent:claude", "revoke", grants[0], *words)
    assert (ran.code, code(ran)) == (77, "denied_by_rule")
    ran = await gate("revoke", grants[0], *words, "--key", "../mallory")
    assert (ran.code, code(ran)) == (77, "not_a_signer")
    ran = await gate("revoke", grants[0], *words, "--key", "../kim")
    assert (ran.code, f"kind: revoke\nsubject: {grants[0]}\n" in ran.err) == (0, True), ran
    ran = await gate("--json", "revoke", grants[1], *words)
    assert (ran.code, json.loads(ran.out)["why"]) == (0, "revoked"), ran
    assert (await gate("grants")).out == ""


async def test_what_change_control_wants_is_asked_for_by_name(gate: Gate) -> None:
    """Every field that is missing is a refusal with its remedy, and nothing is filed."""
    for option, remedy in (("--ticket", "--ticket"), ("--reason", "--reason"), ("--ttl", "--ttl")):
        at = ASKED.index(option)
        ran = await gate(*ASKED[:at], *ASKED[at + 2 :])
        assert (ran.code, ran.out, code(ran)) == (77, "", "change_control"), ran
        assert remedy in ran.err
    ran = await gate(*ASKED[:-1])
    assert (ran.code, code(ran), "--ack-risk" in ran.err) == (77, "change_control", True)
    ran = await gate(*(word.replace("30m", "2h") for word in ASKED))
    assert (ran.code, code(ran)) == (77, "change_control")
    ran = await gate("--as", "agent:unknown", *ASKED)
    assert (ran.code, code(ran)) == (77, "change_control")
    for words in (("--ttl", "soon"), ("--max-uses", "0")):
        assert (await gate(*ASKED, *words)).code == 64
    assert (await gate("requests", "--all")).out == ""
    asked = await requested(gate)
    again = await gate("--json", *ASKED)
    assert (json.loads(again.out)["id"], "asked for already" in again.err) == (asked, True)


@pytest.mark.parametrize("gate", [2], indirect=True)
async def test_two_approvals_are_two_persons(gate: Gate) -> None:
    asked = await requested(gate)
    first = await gate("approve", asked, "--key", "../lee")
    assert (first.code, first.out) == (0, ""), first
    assert first.err.splitlines()[-1] == f"{asked} is pending: 1 more wanted"
    again = await gate("--json", "approve", asked, "--key", "../lee")
    assert json.loads(again.out)["state"] == "pending"
    assert "approved by  human:lee" in (await gate("show", asked)).out
    assert (await gate("approve", asked, "--key", "../kim")).out.startswith("grt-")


async def test_verbs_without_a_project_say_so(tmp_path: Path) -> None:
    """Also what stands on stdin is checked before anything is asked or signed."""
    async with gate_in(tmp_path, tmp_path / "state") as nowhere:
        assert (await nowhere(*ASKED)).code == 77
        for stdin in (b"", b"{}", b"\xff", b'{"gate":1.5}'):
            ran = await nowhere("approve", "-", "--key", "ada", stdin=stdin)
            assert (ran.code, ran.out, code(ran)) == (64, "", "usage"), ran
        ran = await nowhere("accept", "-", stdin=b"kind: approve\n")
        assert (ran.code, code(ran)) == (77, "bad_signature")
        assert (await nowhere("accept", "file")).code == 64


def portable(**changes: Any) -> dict[str, Any]:
    """The text of a request as the keeper hands it on."""
    block = Approvals(1, ("group:leads",), ("requester", "owner"), touch=True)
    request = Request(
        id="req-7k3f9q2m",
        requester="agent:codex",
        owner="human:ada",
        uid=1000,
        excluded=("human:ada",),
        ask=Ask("prod", "https://proud-lynx-456.convex.cloud", (VIEW, LOGS), 1800, tables=("messages",)),
        ticket="OPS-411",
        reason="users see stale messages",
        ack_risk=True,
        bundle="sha256:" + "1" * 64,
        decision=None,
        needs=Needs(grant=True, approvals=(block,)),
        time_ms=NOW,
    )
    request = replace(request, **changes)
    frame = {"ledger": "led-7k3f9q2m", "head": "2" * 64, "bundle": "sha256:" + "3" * 64}
    known = {"gate": 1, "kind": "portable", "project": "chat", "class": "prod", "digest": request.digest}
    return {**known, **frame, "request": request.to_json()}


def drafted(text: dict[str, Any], ttl: int | None = None, effects: tuple[str, ...] = (), now_ms: int = NOW) -> Any:
    return draft(text, ttl, effects, now_ms=now_ms, nonce="0" * 32)


def attempted(text: dict[str, Any], ttl: int | None = None, effects: tuple[str, ...] = ()) -> Any:
    """The draft, or the code of its refusal."""
    try:
        return drafted(text, ttl, effects)
    except GateError as refused:
        return refused.code


def test_the_statement_of_the_contract_is_one() -> None:
    assert parse_statement(shown_in_contract("Exported approval", "text").encode()).ask.ttl_seconds == 900


def test_a_statement_names_what_the_text_names() -> None:
    """And is signed for a day at most, and never beyond the life of the request."""
    stated = parse_statement(drafted(portable()).text)
    text = portable()
    assert (stated.ledger, stated.head, stated.bundle) == (text["ledger"], text["head"], text["bundle"])
    assert (stated.request, stated.request_digest) == ("req-7k3f9q2m", text["digest"])
    assert (stated.requester, stated.owner) == ("agent:codex", "human:ada")
    assert stated.sign_by_ms == NOW + DAY_MS
    late = NOW + LAPSES_MS - 1
    assert parse_statement(drafted(text, now_ms=late).text).sign_by_ms == NOW + LAPSES_MS
    with pytest.raises(GateError) as refused:
        drafted(text, now_ms=NOW + LAPSES_MS)
    assert refused.value.code == "change_control"


@given(
    ttl=st.none() | st.integers(1, 3600),
    effects=st.lists(st.sampled_from([VIEW, LOGS, WRITE, "deployment:everything"]), max_size=3),
)
def test_an_approval_never_gives_more_than_was_asked_for(ttl: int | None, effects: list[str]) -> None:
    text = portable()
    made = attempted(text, ttl, tuple(effects))
    if (ttl or 0) > 1800 or not {*effects} <= {VIEW, LOGS}:
        assert made == "change_control"
        return
    gives = parse_statement(made.text).ask
    assert within(gives, Ask("prod", text["request"]["ask"]["origin"], (VIEW, LOGS), 1800, tables=("messages",)))
    assert gives.ttl_seconds == (ttl or 1800)
    assert {*gives.effects} == ({*effects} or {VIEW, LOGS})


def test_the_screen_of_a_text_shows_what_it_holds() -> None:
    shown = drafted(portable(ask=Ask("prod", "https://x.example", (WRITE,), 60, not_before_ms=NOW))).screen
    assert "  !! CHANGES DATA" in shown
    assert "https://x.example" in shown
    assert f"1m from first use, not before {world.iso(NOW)}" in shown
    assert "class prod" not in shown


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.pop("request"),
        lambda text: text.update(gate=2),
        lambda text: text.update(kind="request"),
        lambda text: text.update(ledger=7),
        lambda text: text.update(bundle=None),
        lambda text: text.update(request=[]),
        lambda text: text["request"].update(ask=[]),
        lambda text: text["request"].update(extra=1),
        lambda text: text["request"]["ask"].update(effects=["deployment:everything"]),
        lambda text: text["request"]["needs"].update(approvals=[{}]),
        lambda text: text["request"]["needs"].update(approvals=None),
        lambda text: text["request"].update(time_ms="soon"),
    ],
)
def test_what_is_no_text_of_a_request_is_not_signed(spoil: Callable[[dict[str, Any]], object]) -> None:
    text = portable()
    spoil(text)
    with pytest.raises(GateError) as refused:
        drafted(text)
    assert refused.value.code == "usage"


@pytest.mark.parametrize("changes", [{"time_ms": -DAY_MS * 9}, {"time_ms": -1}, {"needs": Needs(ttl_max_seconds=[])}])  # type: ignore[arg-type]
def test_a_text_that_is_well_formed_and_absurd_is_a_refusal(changes: dict[str, Any]) -> None:
    """Its digest may be right: whoever made it up made that up too."""
    with pytest.raises(GateError) as refused:
        drafted(portable(**changes))
    assert refused.value.code in ("usage", "change_control")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda of: st.lists(of, max_size=3) | st.dictionaries(st.text(), of, max_size=3),
        max_leaves=6,
    ),
    st.data(),
)
def test_no_text_makes_the_reviewers_side_fail(value: Any, data: st.DataObject) -> None:
    """Any member replaced, under a digest that is right: what is drafted is what the text says, or it is refused."""
    text = portable()
    request = text["request"]
    inner = [request, request["ask"], request["needs"], request["needs"]["approvals"][0]]
    place = data.draw(st.sampled_from(inner))
    place[data.draw(st.sampled_from(sorted(place)))] = value
    text["digest"] = (
        "sha256:" + hashlib.sha256(json.dumps(request, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
    )
    made = attempted(text)
    assert made in ("usage", "change_control") or parse_statement(made.text).ask.to_json() == request["ask"]


def test_an_envelope_is_one_text_and_one_signature() -> None:
    text = drafted(portable()).text
    armored = key_of().sign(text, NAMESPACE)
    assert split(text + armored) == (text.decode(), armored.decode())
    for wrong in (
        b"",
        text,
        armored,
        b"\n" + armored,
        text + armored + armored,
        armored + text + armored,
        text + b" " + armored,
        text.replace(b"\n", b"\r\n") + armored.replace(b"\n", b"\r\n"),
        "é".encode() + text + armored,
        text * 40 + b"x" * 65536 + b"\n" + armored,
    ):
        with pytest.raises(GateError) as refused:
            split(wrong)
        assert refused.value.code == "bad_signature"


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_what_is_split_is_what_came(before: bytes, behind: bytes) -> None:
    """Not a byte is added, lost or moved over to the other side."""
    came = before + b"\n-----BEGIN SSH SIGNATURE-----\n" + behind
    try:
        text, signature = split(came)
    except GateError:
        assert not came.isascii() or before == b"" or b"-----BEGIN" in before + behind
    else:
        assert (text + signature).encode() == came
        assert signature.startswith("-----BEGIN SSH SIGNATURE-----\n")


def test_what_is_signed_is_what_the_grant_room_reads() -> None:
    made = drafted(portable(), 60, (VIEW, VIEW))
    assert render(parse_statement(made.text)) == made.text


@pytest.mark.parametrize(
    ("blocks", "signers", "said"), [([2], 1, "1 more"), ([1], 1, "more app"), ([1, 1], 1, "more app")]
)
def test_how_many_are_missing_is_said_where_it_can_be_told(blocks: list[int], signers: int, said: str) -> None:
    approvals = [{"signer": "human:lee"}] * signers
    request = {"needs": {"approvals": [{"count": count} for count in blocks]}, "approvals": approvals}
    assert missing(request).startswith(said)


def test_durations_are_those_of_gate_yaml() -> None:
    assert [seconds(text) for text in ("10s", "60m", "8h")] == [10, 3600, 28800]
    for text in ("", "0m", "5", "1d", "-1s", " 1s"):
        with pytest.raises(click.BadParameter):
            seconds(text)
