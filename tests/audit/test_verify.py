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
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from ledger_kit import History, bundle_of, changed, lines_of, relinked
from ssh_kit import key_of

from gate.audit import chain
from gate.audit.chain import Entry
from gate.audit.export import entry_of, write
from gate.audit.ledger import Ledger
from gate.audit.verify import verify_database, verify_export

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
    """What both verifiers have to agree on: all but the wording."""
    at = sorted({int(found[1]) for text in report.findings if (found := re.match(r"event (\d+) ", text))})
    return report.status, report.events, report.head, report.ledger_id, at, bool(report.notes)


def both(lines: Iterable[bytes], signers: bytes | None = None, head: str | None = None) -> Outcome:
    """The outcome that both verifiers come to."""
    listed = list(lines)
    ours = outcome(verify_export(listed, signers=signers, head=head))
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
