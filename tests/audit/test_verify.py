"""Both verifiers: what holds, what does not, and that they never disagree."""

import asyncio
import importlib.util
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from granted_attacks import ATTACKS, RULES, Attack
from granted_kit import Office, office
from granted_stories import ENDS, LOOSE, STORIES, STORY
from hypothesis import given, settings, strategies as st
from ledger_kit import START, History, bundle_of, changed, lines_of, relinked
from ssh_kit import key_of

from gate.audit import canonical, chain
from gate.audit.chain import Entry
from gate.audit.export import entry_of, write
from gate.audit.ledger import Ledger
from gate.audit.verify import verify_database, verify_export
from gate.errors import GateError
from gate.grant import scope
from gate.grant.history import Grants
from gate.grant.scope import Ask
from gate.grant.statement import Statement, parse_statement, render
from gate.intent.effects import EFFECTS

ROOT = Path(__file__).parents[2]
ALONE = ROOT / "docs" / "verify" / "gate_verify.py"
VECTORS = ROOT / "tests" / "vectors"
EXPECTED = json.loads((VECTORS / "expected.json").read_bytes())
GOOD = (VECTORS / "good.jsonl").read_bytes().splitlines(keepends=True)
ADA, LEE, EVE = (key_of(number=number) for number in range(3))
LAST_ACTIVATION = 5
PEOPLE = {"human:ada": ADA, "human:lee": LEE}


def load_alone() -> Any:
    """The single-file verifier as a module."""
    spec = importlib.util.spec_from_file_location("gate_verify", ALONE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


gate_verify = load_alone()
Outcome = tuple[int, int, str | None, str | None, list[int], bool]


def outcome(report: Any) -> Outcome:
    """What both verifiers have to agree on: all but the wording, and the rules that one of them cannot evaluate."""
    notes = [note for note in report.notes if not note.startswith("the rules of the policies")]
    at = sorted({int(found[1]) for text in report.findings if (found := re.match(r"event (\d+) ", text))})
    return report.status, report.events, report.head, report.ledger_id, at, bool(notes)


def both(lines: Iterable[bytes], signers: bytes | None = None, head: str | None = None) -> Outcome:
    """The outcome that both verifiers come to."""
    listed = list(lines)
    ours = outcome(verify_export(listed, signers=signers, head=head, more=[Grants()]))
    assert outcome(gate_verify.verify(listed, signers, head)) == ours
    return ours


def signers_named(name: str | None) -> bytes | None:
    """One of the signers files of the vectors."""
    return None if name is None else (VECTORS / name).read_bytes()


def name_of(case: dict[str, Any]) -> str:
    """A name for a case."""
    return f"{case['export']}-{case['signers']}-{'pinned' if case['head'] else 'unpinned'}"


@pytest.mark.parametrize("case", EXPECTED, ids=name_of)
def test_golden_vectors(case: dict[str, Any]) -> None:
    """Each vector comes out as expected.json says, from both."""
    lines = (VECTORS / case["export"]).read_bytes().splitlines(keepends=True)
    status, events, _, _, at, _ = both(lines, signers_named(case["signers"]), case["head"])
    assert (status, events, at) == (case["status"], case["events"], case["at"])


def test_every_vector_is_expected() -> None:
    """No vector is left out."""
    assert {path.name for path in VECTORS.glob("*.jsonl")} == {case["export"] for case in EXPECTED}


@pytest.mark.parametrize(
    ("arguments", "status", "last"),
    [
        (["good.jsonl", "--signers", "people.signers"], 0, "clean: 7 events of led-7k3f9q2m"),
        (["good.jsonl"], 0, "clean: 7 events"),
        (["good.jsonl", "--head", "0" * 64], 1, "findings: 7 events"),
        (["edited.jsonl"], 1, "findings: 2 events"),
        (["empty.jsonl"], 3, "cannot tell: 0 events"),
        (["missing.jsonl"], 3, ""),
    ],
)
def test_the_single_file_alone(tmp_path: Path, arguments: list[str], status: int, last: str) -> None:
    """It runs from a copy, in isolated mode, without this package; its exit codes are the contract's."""
    shutil.copy(ALONE, tmp_path)
    command = [sys.executable, "-I", str(tmp_path / ALONE.name), *arguments]
    done = subprocess.run(command, cwd=VECTORS, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert (done.stdout.splitlines() or [""])[-1].startswith(last)


def test_the_single_file_imports_nothing_of_ours() -> None:
    """Nothing but the standard library."""
    imported = re.findall(r"^(?:from|import) (\w+)", ALONE.read_text(), flags=re.MULTILINE)
    assert set(imported) <= sys.stdlib_module_names


def test_without_ssh_keygen_it_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature that nobody checked is not a clean one."""
    monkeypatch.setenv("PATH", "/nonexistent")
    report = gate_verify.verify(GOOD)
    assert (report.status, report.events) == (3, 2)
    assert "ssh-keygen" in report.findings[0]


def mutated(lines: Sequence[bytes], data: st.DataObject) -> list[bytes]:
    """The lines with something done to them that needs no knowledge of the rules."""
    made = list(lines)
    at = data.draw(st.integers(0, len(made) - 1))
    byte = data.draw(st.integers(0, len(made[at]) - 1))
    match data.draw(st.sampled_from(["flip", "cut", "drop", "double", "swap", "insert", "blank"])):
        case "flip":
            made[at] = made[at][:byte] + bytes([made[at][byte] ^ data.draw(st.integers(1, 255))]) + made[at][byte + 1 :]
        case "cut":
            made[at] = made[at][:byte]
        case "drop":
            del made[at]
        case "double":
            made.insert(at, made[at])
        case "swap":
            made[at - 1], made[at] = made[at], made[at - 1]
        case "insert":
            made[at] = made[at][:byte] + data.draw(st.binary(min_size=1, max_size=3)) + made[at][byte:]
        case _:
            made.insert(at, b"\n")
    return made


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_they_agree_on_damage(data: st.DataObject) -> None:
    """Property: any damage short of the end is found by both, at the same event."""
    lines = mutated(GOOD, data)
    status, events, head, *_ = both(lines)
    sound = lines == GOOD[: len(lines)] or b"".join(lines).rstrip(b"\n") == b"".join(GOOD).rstrip(b"\n")
    if not sound:
        assert (status, head == json.loads(GOOD[-1])["hash"]) == (1, False) or events == len(GOOD)


MEMBERS = st.none() | st.booleans() | st.integers(-5, 10) | st.text(max_size=6) | st.lists(st.text(max_size=3))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_they_agree_on_forgery(data: st.DataObject) -> None:
    """Property: whatever member of a body is changed by somebody who links everything anew, both say the same."""
    entries = [entry_of(line) for line in GOOD]
    at = data.draw(st.integers(0, len(entries) - 1))
    members = json.loads(entries[at].body)
    name = data.draw(st.sampled_from(sorted({*members, "more"} - {"seq"})))
    value = data.draw(MEMBERS)
    if name in {"time", "type", "subject"}:
        value = data.draw(st.sampled_from(["2026-02-19T10:04:09.123Z", "decision", "outcome", "bundle.activated", ""]))
    entries[at] = changed(entries[at], **{name: value})
    status, *_ = both(lines_of(relinked(entries)), signers_named("people.signers"))
    if json.loads(entries[at].body) != members and at < LAST_ACTIVATION - 1:
        assert status == 1  # before the last activation, which signs the head that it saw


def spoiled(text: str, data: st.DataObject) -> str:
    """`text` with one character changed."""
    at = data.draw(st.integers(0, len(text) - 1))
    return text[:at] + data.draw(st.sampled_from("Aa0+/=\n -{")) + text[at + 1 :]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_they_agree_on_spoiled_activations(data: st.DataObject) -> None:
    """Property: one character of a statement, a signature or a signers file changed, linked anew: found by both."""
    entries = [entry_of(line) for line in GOOD]
    members = json.loads(entries[1].body)
    what = data.draw(st.sampled_from(["statement", "signatures", "files"]))
    if what == "statement":
        value: Any = spoiled(members[what], data)
    elif what == "signatures":
        value = [spoiled(members[what][0], data)]
    else:
        value = {**members[what], "gate.signers": spoiled(members[what]["gate.signers"], data)}
    if value != members[what]:
        entries[1] = changed(entries[1], **{what: value})
        status, _, _, _, at, _ = both(lines_of(relinked(entries)))
        assert status == 1
        assert 2 in at


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_they_agree_on_signers_files(data: st.DataObject) -> None:
    """Property: they take the same signers files, and read the same persons out of them."""
    options = data.draw(
        st.sampled_from(
            [
                "",
                'namespaces="activate@convex-gate" ',
                'namespaces="approve@convex-gate" ',
                'namespaces="a,activate@convex-gate",valid-before="20200101Z" ',
                'valid-after="202601011200Z",valid-after="20260101Z" ',
                'valid-after="20261301Z" ',
                'valid-after="2026Z" ',
                'namespaces="" ',
                'namespaces="*" ',
                "cert-authority ",
                "namespaces=a ",
                'namespaces="a"namespaces="b" ',
            ]
        )
    )
    person, comment = data.draw(st.sampled_from(["human:ada", "human:lee", "ada", "*"])), data.draw(st.text("ab \t\r"))
    ada = (VECTORS / "people.signers").read_text().split()[1:3]
    text = f"{person} {options}{' '.join(ada)} {comment}\n"
    if data.draw(st.booleans()):
        text = spoiled(text, data)
    both(GOOD, text.encode() + data.draw(st.sampled_from([b"", b"# more\n", b"\xff", text.encode()])))


def activated(*more: tuple[Any, dict[str, Any]], **changes: Any) -> History:
    """A history with a genesis by ada and further activations."""
    history = History()
    history.activate(bundle_of(PEOPLE), {"human:ada": ADA}, **changes)
    for bundle, keys in more:
        history.activate(bundle, keys)
    return history


def test_who_may_activate() -> None:
    """A root, or two who were signers before; nobody by what the new bundle says."""
    ours = bundle_of({**PEOPLE, "human:eve": EVE}, roots=["human:eve"])
    assert both(activated((ours, {"human:ada": ADA})).lines())[0] == 0
    assert both(activated((ours, {"human:lee": LEE, "human:ada": ADA})).lines())[0] == 0
    assert both(activated((ours, {"human:lee": LEE})).lines())[4] == [3]
    assert both(activated((ours, {"human:eve": EVE})).lines())[4] == [3]
    assert both(activated((ours, {"human:ada": ADA, "human:eve": EVE})).lines())[4] == [3]
    assert both(activated((ours, {})).lines())[4] == [3]


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "sha256:" + "0" * 64},
        {"signers": []},
        {"signers": ["human:lee"]},
        {"signatures": []},
        {"signatures": None},
        {"statement": "{}"},
        {"statement": None},
        {"files": {}},
        {"files": {"gate.yaml": "gate: 1\n"}},
        {"files": {"gate.yaml": 1}},
    ],
)
def test_an_activation_says_what_was_signed(changes: dict[str, Any]) -> None:
    """Members that contradict the signed statement, or are not there, are found by both."""
    assert both(activated(**changes).lines())[4] == [2]


def test_a_statement_counts_once_and_in_its_ledger() -> None:
    """Going back to an earlier bundle with its old statement, and one signed for another ledger, are found."""
    first, second = bundle_of(PEOPLE), bundle_of(PEOPLE, note="2")
    history = activated((second, {"human:ada": ADA}), (first, {"human:ada": ADA}), (second, {"human:ada": ADA}))
    assert both(history.lines())[0] == 0
    replayed = json.loads(history.entries[2].body)
    again = History()
    again.entries = history.entries[:4]
    again.add("bundle.activated", replayed)
    assert both(again.lines())[4] == [5]
    other = activated()
    other.entries[0] = changed(other.entries[0], id="led-00000000")
    assert both(lines_of(relinked(other.entries)))[4] == [2]


@pytest.mark.parametrize("body", [{}, {"id": ""}, {"id": 7}])
def test_a_ledger_has_an_id(body: dict[str, Any]) -> None:
    """Event 1 names it."""
    history = History(None)
    history.add("ledger.created", body)
    assert both(history.lines()) == (1, 1, history.head, None, [1], True)


@pytest.mark.parametrize("body", [{}, {"id": 1}])
def test_a_decision_has_an_id(body: dict[str, Any]) -> None:
    """So has what its outcome refers to."""
    history = History()
    history.add("decision", body)
    history.add("outcome", {"decision": body.get("id")})
    assert both(history.lines())[4] == [2, 3]


@pytest.mark.parametrize(
    "roots",
    [
        "roots:\n  - human:ada\n",
        "roots:\n- 'human:ada'  # root\n",
        'roots: ["human:ada",]\n',
        "roots: [human:ada] # a\n",
    ],
)
def test_the_single_file_reads_plain_gate_yaml(roots: str) -> None:
    """The usual spellings of roots come out the same."""
    bundle = bundle_of(PEOPLE)
    text = bundle.files["gate.yaml"].decode().replace("roots: [human:ada]\n", roots)
    lines = gate_verify.top_level(text)
    assert gate_verify.words_of(lines, "roots") == ["human:ada"]
    assert gate_verify.words_of(lines, "project") == ["acme-chat"]


PEOPLE_OF = {"human:ada": {"groups": ["leads", "ops"], "uids": ["1000"]}, "agent:codex": {"owner": ["human:ada"]}}


@pytest.mark.parametrize(
    "text",
    [
        """ # who
  human:ada: {groups: [leads, "ops"], uids: [1000]}  # root
  agent:codex: {owner: human:ada,}
""",
        """
    "human:ada":
      groups:
        - leads
        - 'ops' # and more
      uids: [1000]

    agent:codex:
      owner: human:ada
""",
    ],
)
def test_the_single_file_reads_plain_entries(text: str) -> None:
    """The usual spellings of the registry and of people come out the same."""
    assert gate_verify.entries_of(text.split("\n"), "principals") == PEOPLE_OF
    assert gate_verify.entries_of([" {}"], "principals") == {}


@pytest.mark.parametrize(
    "text",
    [
        " {human:ada: {}}",
        "\n  human:ada: {}\n  human:ada: {}",
        "\n  human:ada: {groups: [a], groups: [b]}",
        "\n  human:ada:\n    uids: [1]\n    uids: [2]",
        "\n  human:ada: &a {groups: [a]}",
        "\n  human:ada: {groups: {a: b}}",
        "\n  human:ada:\n    groups: [a]\n   - b",
        "\n  - human:ada",
        "\n  human:ada:\n    <<: *a",
    ],
)
def test_the_single_file_does_not_guess_who_somebody_is(text: str) -> None:
    """Where another reader could find other groups or users, it cannot tell."""
    with pytest.raises(gate_verify.CannotTell):
        gate_verify.entries_of(text.split("\n"), "principals")


def test_the_single_file_cannot_tell_where_people_are_spelt_otherwise() -> None:
    """The chain is judged; requests of people that it cannot read are not."""
    o = Office(office(people="  human:zoe: {groups:\n    [guests]}\n"))
    o.granted()
    report = gate_verify.verify(o.lines())
    assert (report.status, report.events) == (3, 3)


@pytest.mark.parametrize(
    "text",
    [
        'roots: [human:ada]\n"roots": [human:eve]\n',
        "deployments: {\nroots: [human:eve]\n}\nroots: [human:ada]\n",
        "roots: [human:ada]\nroots: [human:eve]\n",
        "{roots: [human:ada]}\n",
        "roots: &a [human:ada]\n",
        "roots:\n  - [human:ada]\n",
    ],
)
def test_the_single_file_does_not_guess(text: str) -> None:
    """Where another reader could find other roots, it cannot tell."""
    with pytest.raises(gate_verify.CannotTell):
        gate_verify.words_of(gate_verify.top_level(text), "roots")


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_they_agree_on_forged_requests_and_grants(attack: Attack) -> None:
    """Every forged event is found by both, and no other."""
    o = attack()
    assert both(o.lines())[4] == o.bad


@pytest.mark.parametrize("o", STORIES.values(), ids=STORIES)
def test_they_agree_on_sound_requests_and_grants(o: History) -> None:
    """Nothing is wrong with what the gate itself writes."""
    assert both(o.lines())[:2] == (0, len(o.entries))


@pytest.mark.parametrize("attack", RULES.values(), ids=RULES)
def test_the_single_file_says_that_it_evaluates_no_rules(attack: Attack) -> None:
    """What only the policies forbid is found by the gate itself; the other says that it did not look."""
    o = attack()
    assert outcome(verify_export(o.lines(), more=[Grants()]))[4] == o.bad
    report = gate_verify.verify(o.lines())
    assert report.findings == []
    assert any("rules of the policies were not evaluated" in note for note in report.notes)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_they_agree_on_changed_requests_and_grants(data: st.DataObject) -> None:
    """Property: a member of an event is changed and all linked anew: both find it, unless nothing hangs on it."""
    entries = data.draw(st.sampled_from([STORY, ENDS])).entries
    at = data.draw(st.integers(2, len(entries) - 1))
    members = json.loads(entries[at].body)
    name = data.draw(st.sampled_from(sorted(members.keys() - {"seq", "time", "type", "keeper"})))
    edited = [*entries[:at], changed(entries[at], **{name: data.draw(MEMBERS)}), *entries[at + 1 :]]
    status, *_ = both(lines_of(relinked(edited)))
    assert status == 1 or edited[at].body == entries[at].body or (entries[at].type, name) in LOOSE


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_they_agree_on_spoiled_approvals(data: st.DataObject) -> None:
    """Property: one character of what was signed, or of a signature, or an event more or less."""
    entries = data.draw(st.sampled_from([STORY, ENDS])).entries
    signed = [at for at, entry in enumerate(entries) if "statement" in json.loads(entry.body) and at > 1]
    at, name = (
        data.draw(st.sampled_from(signed)),
        data.draw(st.sampled_from(["statement", "signature", "drop", "double"])),
    )
    edited = [*entries[:at], *([entries[at]] * {"drop": 0, "double": 2}.get(name, 1)), *entries[at + 1 :]]
    if name in {"statement", "signature"}:
        edited[at] = changed(entries[at], **{name: spoiled(json.loads(entries[at].body)[name], data)})
    status, *_ = both(lines_of(relinked(edited)))
    assert status == 1 or edited == entries


def deeper(members: Any, data: st.DataObject) -> Any:
    """The members with one of them changed, at any depth."""
    if isinstance(members, dict) and members and data.draw(st.integers(0, 5)):
        name = data.draw(st.sampled_from(sorted(members)))
        return {**members, name: deeper(members[name], data)}
    if isinstance(members, list) and members and data.draw(st.booleans()):
        return [deeper(members[0], data), *members[1:]]
    return data.draw(MEMBERS)


INSIDE = (("request.made", "request"), ("grant.made", "ask"), ("decision", "object"))
# What the rules alone, or the vocabulary of effects, say of a request.
OF_THE_RULES = ("needs", "ticket", "ask")


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_they_agree_on_what_is_edited_inside(data: st.DataObject) -> None:
    """Property: whatever is changed inside a request (with its digest) or an ask, both say the same.

    What the rules alone speak of, and what they say of a decision, is found by the gate.
    """
    entries = STORY.entries
    kind, name = data.draw(st.sampled_from(INSIDE))
    at = next(number for number, entry in enumerate(entries) if entry.type == kind)
    before = json.loads(entries[at].body)[name]
    value = deeper(before, data)
    members = {name: value}
    if name == "request" and isinstance(value, dict):
        members["digest"] = "sha256:" + sha256(canonical.encode(value).encode()).hexdigest()
    lines = lines_of(relinked([*entries[:at], changed(entries[at], **members), *entries[at + 1 :]]))
    ours, theirs = (outcome(report) for report in (verify_export(lines, more=[Grants()]), gate_verify.verify(lines)))
    if kind == "decision" or ("digest" in members and any(value[one] != before[one] for one in OF_THE_RULES)):
        assert set(theirs[4]) <= set(ours[4])
    else:
        assert ours == theirs


def names_of(words: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.sets(st.sampled_from(words.split())).map(lambda names: tuple(sorted(names)))


NAMES = st.none() | names_of("a:b (any) é \\")
ASKS = st.builds(
    Ask,
    st.sampled_from(["prod", "dev"]),
    st.just("https://x.example"),
    names_of("deployment:data:view deployment:data:write").filter(bool),
    st.integers(1, 3),
    *[NAMES] * 4,
    max_uses=st.none() | st.integers(1, 3),
    not_before_ms=st.none() | st.integers(1, 3),
)


@given(ASKS, ASKS)
def test_they_agree_on_access(one: Ask, other: Ask) -> None:
    """Property: what lies inside what, and what two approvals have in common."""
    ours = scope.intersection(one, other)
    assert gate_verify.both(one.to_json(), other.to_json()) == (None if ours is None else ours.to_json())
    assert gate_verify.within(one.to_json(), other.to_json()) == scope.within(one, other)


@settings(max_examples=200)
@given(ASKS, st.text(max_size=3), st.data())
def test_they_agree_on_signed_texts(ask: Ask, word: str, data: st.DataObject) -> None:
    """Property: the same texts are statements, and state the same access; one other character is none or another."""
    signed = render(Statement("led-1", word, word, "sha256:0", word, word, ask, "sha256:1", START, word)).decode()
    text = data.draw(st.sampled_from([signed, spoiled(signed, data)]))
    try:
        ours = parse_statement(text.encode()).ask.to_json()
    except GateError:
        ours = None
    try:
        said = gate_verify.fields_of(text, gate_verify.APPROVAL)
        theirs = gate_verify.ask_of(said) if said["kind"] == "approve" else None
    except (gate_verify.Wrong, ValueError):
        theirs = None
    known = theirs is not None and set(theirs["effects"]) <= EFFECTS
    assert ours == (theirs if known else None)


async def made(path: Path) -> list[Entry]:
    """A closed ledger with some events."""
    ledger = await Ledger.open(path)
    await ledger.append("decision", {"id": "dec-1", "runs": True})
    await ledger.append("outcome", {"decision": "dec-1", "outcome": "ok"})
    entries = list(ledger.export())
    await ledger.close()
    return entries


def copied(path: Path) -> Path:
    """A lone copy in a folder of its own."""
    folder = path.with_name("copy")
    folder.mkdir()
    return Path(shutil.copy(path, folder))


async def test_a_live_database(tmp_path: Path) -> None:
    """Verified while a keeper writes; its export comes out the same."""
    path = tmp_path / "ledger.db"
    ledger = await Ledger.open(path)
    await ledger.append("note", {})
    report = verify_database(path, head=ledger.head)
    assert (report.status, report.events, report.ledger_id) == (0, 2, ledger.id)
    assert both(write(ledger.export()))[:4] == (report.status, report.events, report.head, report.ledger_id)
    await ledger.append("note", {})
    assert ledger.latched is None
    await ledger.close()


async def test_a_forged_grant_in_a_database(tmp_path: Path) -> None:
    """A row that is linked as it should be, and that nobody signed."""
    path = tmp_path / "ledger.db"
    ledger = await Ledger.open(path)
    body = {"id": "grt-1", "request": "req-1", "ask": {}, "approvals": [], "boot": "b", "boot_ms": 1}
    await ledger.append("grant.made", body)
    report = verify_database(path, more=[Grants()])
    assert (report.status, report.findings) == (1, ("event 2 does not hold: no bundle was in force",))
    assert both(write(ledger.export()))[:2] == (1, 2)
    await ledger.close()


def test_a_copied_database(tmp_path: Path) -> None:
    """A lone copy is verified as well; nothing is left behind or changed."""
    entries = asyncio.run(made(tmp_path / "ledger.db"))
    copy = copied(tmp_path / "ledger.db")
    before = copy.read_bytes()
    assert verify_database(copy).events == len(entries)
    assert [entry.name for entry in copy.parent.iterdir()] == ["ledger.db"]
    assert copy.read_bytes() == before


@pytest.mark.parametrize(
    ("statements", "finding"),
    [
        ("UPDATE events SET body = replace(body, 'ok', 'ko') WHERE seq = 3", "event 3 does not hold"),
        ("UPDATE events SET subject = 'x' WHERE seq = 2", "event 2 does not hold"),
        ("DELETE FROM events WHERE seq = 2", "event 2 does not hold"),
        ("DELETE FROM events WHERE seq = 3", "the pinned head"),
        ("SELECT 1", "triggers"),
        ("DROP TABLE events", "not the gate's"),
    ],
)
async def test_a_changed_database(tmp_path: Path, statements: str, finding: str) -> None:
    """Edits, deletions, lost guards and a lost table are findings."""
    path = tmp_path / "ledger.db"
    head = (await made(path))[-1].hash
    connection = sqlite3.connect(path)
    connection.executescript(
        f"DROP TRIGGER events_append_only_update; DROP TRIGGER events_append_only_delete; {statements};"
    )
    connection.close()
    report = verify_database(path, head=head)
    assert report.status == 1
    assert any(finding in text for text in report.findings) or finding == "not the gate's"


async def test_what_is_no_database(tmp_path: Path) -> None:
    """A missing one: cannot tell. Noise, an empty file and a damaged index: findings."""
    assert verify_database(tmp_path / "none.db").status == 3
    (tmp_path / "noise.db").write_bytes(b"\xa5" * 8192)
    assert verify_database(tmp_path / "noise.db").status == 1
    (tmp_path / "empty.db").touch()
    assert verify_database(tmp_path / "empty.db").status == 1
    path = tmp_path / "ledger.db"
    await made(path)
    with path.open("r+b") as raw:
        raw.seek(4 * 4096)
        raw.write(b"\xa5" * 4096)
    report = verify_database(path)
    assert report.status == 1
    assert "malformed" in report.findings[0]


def test_large_histories_are_read_as_they_come() -> None:
    """Lines are taken one at a time, and nothing is read behind the first that does not hold."""
    taken: list[bytes] = []

    def source() -> Iterable[bytes]:
        for line in [GOOD[0], b"noise", *GOOD]:
            taken.append(line)
            yield line

    report = verify_export(source())
    assert (report.status, report.events, len(taken)) == (1, 1, 2)
    assert chain.BEGINNING not in str(report)
