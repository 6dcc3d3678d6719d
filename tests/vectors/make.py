"""Makes the golden vectors anew: `PYTHONPATH=tests python tests/vectors/make.py`. The keys are thrown away.

Only for a change of the format: the files beside this one are what both verifiers are held to.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from granted_attacks import ATTACKS
from granted_stories import STORY
from ledger_kit import History, bundle_of, changed, lines_of, relinked
from ssh_kit import key_of

from gate.audit.chain import Entry
from gate.config.bundle import Bundle, load_bundle

FOLDER = Path(__file__).parent
ADA, LEE, EVE = (key_of(number=number) for number in range(3))
PEOPLE = {"human:ada": ADA, "human:lee": LEE}
POLICY = b"""\
policy: 1
name: default
rules:
  - id: own
    allow: {classes: [local], effects: ["deployment:*"]}
    because: Work on a deployment of your own is free.
"""
# Vector -> what was forged into it; all of them are held against both verifiers in tests/audit as well.
FORGED = {
    "forged-grant": "forged grant",
    "stranger-approval": "approval by a stranger",
    "self-approval": "self-approval",
    "replayed-nonce": "replayed nonce",
    "wider-approval": "wider approval",
    "edited-statement": "edited statement",
    "late-write": "write after the end",
    "overdrawn": "use beyond the last",
    "second-answer": "second answer",
    "run-of-another-function": "run of another function",
    "run-that-was-refused": "run that was refused",
    "write-of-another-function": "write of another function",
    "write-by-reading": "write by a grant of reading",
    "use-after-outcome": "use after the outcome",
    "unrecorded-writes": "more writes than on record",
    "cut-in-no-time": "cut in no time",
    "ended-untruly": "ends that had not come",
    "approved-by-requester": "approval by who is the requesting user now",
}


def bundle_with(note: str = "") -> Bundle:
    """A bundle whose policy can be read."""
    return load_bundle({**bundle_of(PEOPLE, note=note).files, "policies/default.yaml": POLICY})


def good() -> History:
    """Two activations, a run with its outcome, a refusal, and an event of a type that verifiers do not know."""
    history = History()
    bundle = bundle_with()
    history.activate(bundle, {"human:ada": ADA})
    decided = {"id": "dec-7k3f9q2m", "verdict": "allow", "bundle": bundle.digest, "grant": None, "target": None}
    asked = {"principal": {"id": "agent:unknown", "proof": "claimed", "owner": None}, "door": "cli"}
    asked |= {"intent": {"command": "docs", "effects": [], "resources": {}}}
    said = {"message": "déjà vu \udc80", "exit": 0, **decided, **asked}
    history.add("decision", {"id": "dec-7k3f9q2m", "runs": True, "uid": 1000, "object": said})
    history.add("outcome", {"decision": "dec-7k3f9q2m", "outcome": "ok", "status": 0})
    history.activate(bundle_with("second"), {"human:ada": ADA})
    history.add("decision", {"id": "dec-2m7k3f9q", "runs": False, "object": {"exit": 77}})
    history.add("key.set", {"custody": "dev", "subject": "dev", "uid": 1000})
    return history


def appended(history: History, kind: str, body: dict[str, object]) -> History:
    """The history with one more event."""
    history.add(kind, body)
    return history


def forged() -> History:
    """A stranger's activation of a stranger's signers."""
    history = good()
    history.activate(bundle_of({"human:ada": EVE}), {"human:ada": EVE})
    return history


def stranger() -> History:
    """A whole ledger by a stranger who calls herself ada."""
    history = History()
    history.activate(bundle_of({"human:ada": EVE}), {"human:ada": EVE})
    return history


def with_body(entries: Sequence[Entry], at: int, old: str, new: str) -> list[Entry]:
    """The history with a piece of one body's text replaced, linked anew."""
    entry = entries[at - 1]
    edited = replace(entry, body=entry.body.replace(old, new, 1))
    return relinked([*entries[: at - 1], edited, *entries[at:]])


def histories() -> dict[str, list[Entry]]:
    """Every vector by name."""
    whole = good().entries
    edited = replace(whole[2], body=whole[2].body.replace('"exit":0', '"exit":1'))
    opened = {**json.loads(whole[1].body)["files"], "policies/default.yaml": "# everything goes\n"}
    backdated = changed(whole[3], time="2026-02-19T10:00:00.000Z")
    return {
        "good": whole,
        "edited": [*whole[:2], edited, *whole[3:]],
        "edited-relinked": with_body(whole, 3, '"exit":0', '"exit":1'),
        "dropped": [*whole[:2], *whole[3:]],
        "dropped-relinked": relinked([*whole[:2], *whole[3:]]),
        "cut": whole[:5],
        "backdated": relinked([*whole[:3], backdated, *whole[4:]]),
        "swapped": [*whole[:2], whole[3], whole[2], *whole[4:]],
        "forged-activation": forged().entries,
        "replayed-activation": appended(good(), "bundle.activated", json.loads(whole[4].body)).entries,
        "files-edited": relinked([whole[0], changed(whole[1], files=opened), *whole[2:]]),
        "stranger": stranger().entries,
        "second-outcome": appended(good(), "outcome", {"decision": "dec-7k3f9q2m", "outcome": "failed"}).entries,
        "outcome-first": appended(good(), "outcome", {"decision": "dec-00000000", "outcome": "ok"}).entries,
        "second-decision": appended(good(), "decision", {"id": "dec-7k3f9q2m", "runs": True}).entries,
        "second-beginning": appended(good(), "ledger.created", {"id": "led-00000000"}).entries,
        "no-beginning": relinked(whole[1:]),
        "duplicate-key": with_body(whole, 4, '"outcome":"ok"', '"outcome":"failed","outcome":"ok"'),
        "float": with_body(whole, 4, '"status":0', '"status":0.0'),
        "empty": [],
        "granted": STORY.entries,
        **{name: ATTACKS[attack]().entries for name, attack in FORGED.items()},
    }


def main() -> None:
    """Write vectors and the two signers files; expected.json is written by hand."""
    for name, entries in histories().items():
        (FOLDER / f"{name}.jsonl").write_bytes(b"".join(lines_of(entries)))
    (FOLDER / "noise.jsonl").write_bytes(b"\x00\xff not a ledger\n")
    people = f"human:ada {ADA.public}\nhuman:lee {LEE.public}\n"
    (FOLDER / "people.signers").write_text(people, encoding="ascii")
    (FOLDER / "others.signers").write_text(f"human:ada {EVE.public}\n", encoding="ascii")
    (FOLDER / "broken.signers").write_text(f"* {EVE.public}\n", encoding="ascii")


if __name__ == "__main__":
    main()
