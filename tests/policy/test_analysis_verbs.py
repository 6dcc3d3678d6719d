"""`gate policy prove|diff|who-can` and `gate whoami --can` as a person types them: their output and exit status."""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gate_cli import gate_in, person
from ssh_kit import key_of

from gate.cli import app
from gate.cli.policy_who_can import covers
from gate.config.draft import shipped
from gate.keeper import client, protocol

GATE_YAML = """\
gate: 1
project: chat
signers: gate.signers
roots: [human:ada]
policies: [policies/default.yaml, policies/production.yaml]
deployments:
  prod: {class: prod, url: "https://proud-lynx-456.convex.cloud", custody: k}
principals:
  agent:codex: {owner: human:ada}
  human:ada: {groups: [leads]}
custody:
  k: {file: keys/k}
"""
GOOD = """\
invariants:
  - {id: signed-for, never: {principals: ["agent:*"], classes: [prod], verdicts: [allow]}, because: Somebody signs.}
  - {id: nowhere, never: {classes: [local], deployments: [prod], verdicts: [deny]}, because: There is none.}
"""
BAD = """\
  - {id: risky, always: {classes: [prod], needs: {max_uses: 1}}, because: Once is enough.}
"""


def project(folder: Path, more: str = "", public: str | None = None) -> Path:
    """A project whose policies are those that come with the gate, and `more` after them."""
    files = {**shipped(), "gate.yaml": GATE_YAML, "gate.signers": f"human:ada {public or key_of().public}\n"}
    files["policies/production.yaml"] += more
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


class Said:
    """One call in this process: `status`, `out` and `err`."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`gate` in a project of tmp_path, where no keeper runs."""
    monkeypatch.chdir(project(tmp_path, GOOD))
    monkeypatch.setenv("GATE_HOME", str(tmp_path / "state"))

    def call(*words: str) -> Said:
        status = app.main(list(words))
        captured = capsys.readouterr()
        return Said(status, captured.out, captured.err)

    return call


def test_prove_says_what_is_proven(gate: Callable[..., Said]) -> None:
    said = gate("policy", "prove")
    assert (said.status, [line.split()[:2] for line in said.out.splitlines()]) == (
        0,
        [["proven", "signed-for"], ["proven", "nowhere"]],
    )
    assert said.err == "gate: nowhere speaks of no request at all\n"
    told = json.loads(gate("--json", "policy", "prove").out)
    assert (told["proven"], [one["vacuous"] for one in told["invariants"]]) == (True, [False, True])


def test_prove_shows_a_counterexample_and_exits_1(gate: Callable[..., Said], tmp_path: Path) -> None:
    project(tmp_path, GOOD + BAD)
    said = gate("policy", "prove")
    assert said.status == 1
    assert "BROKEN  risky at policies/production.yaml:24:17\n  because  Once is enough.\n" in said.out
    assert "request  agent:codex: deployment:data:view on prod (prod) through cli\n" in said.out
    assert "verdict  grant_required: ticket OPS-[0-9]+, a reason of 12 characters" in said.out
    assert "lacking  max_uses\n" in said.out
    assert "rule     require prod-under-grant at policies/production.yaml:8:5:" in said.out


def test_prove_takes_a_folder_or_a_file(gate: Callable[..., Said], tmp_path: Path) -> None:
    other = project(tmp_path / "other", GOOD + BAD)
    assert gate("policy", "prove", str(other)).status == 1
    assert gate("policy", "prove", str(other / "gate.yaml")).status == 1
    assert gate("policy", "prove", str(tmp_path)).status == 0


def test_without_invariants_nothing_is_proven(gate: Callable[..., Said], tmp_path: Path) -> None:
    project(tmp_path)
    said = gate("policy", "prove")
    assert (said.status, said.out) == (1, "nothing is proven: no policy has invariants\n")


@pytest.mark.parametrize("words", [("prove",), ("diff", ".", "."), ("who-can", "deployment:deploy", "prod")])
def test_invalid_files_are_a_finding(gate: Callable[..., Said], tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "policies" / "default.yaml").write_text("policy: 2\n")
    said = gate("policy", *words)
    assert (said.status, said.out) == (1, "")
    assert said.err.splitlines()[-1].startswith("gate: config_invalid: policies/default.yaml:1:1:")
    (tmp_path / "policies" / "default.yaml").unlink()
    assert gate("policy", *words).err.splitlines()[-1] == (
        "gate: config_invalid: policies/default.yaml:1:1: is not there"
    )


def test_what_cannot_be_told_exits_3(gate: Callable[..., Said], tmp_path: Path) -> None:
    globs = [f"*{a}{b}*" for a in "abcdef" for b in "uvwxyz"]
    rules = "".join(
        f'  - {{id: r{number}, deny: {{tables: ["{glob}"]}}, because: No.}}\n' for number, glob in enumerate(globs)
    )
    project(tmp_path, GOOD)
    path = tmp_path / "policies" / "default.yaml"
    path.write_text(path.read_text() + rules)
    said = gate("policy", "prove")
    assert (said.status, said.err.splitlines()[-1].split(":")[1].strip()) == (3, "limit")


def test_diff_finds_a_widening_until_it_is_acknowledged(gate: Callable[..., Said], tmp_path: Path) -> None:
    new = project(tmp_path / "new", GOOD)
    path = new / "policies" / "production.yaml"
    text = path.read_text().replace("      reason_min: 12\n", "")
    path.write_text(text.replace("ttl_max: 60m", "ttl_max: 90s\n      max_uses: 3"))
    said = gate("policy", "diff", str(tmp_path), str(new))
    assert said.status == 1
    head, *rest = said.out.splitlines()
    kind, change = head.split()
    assert kind == "WIDER"
    assert "  less     reason_min" in rest
    assert any(
        line.startswith("  to       grant_required: ") and "at most 90s, at most 3 uses" in line for line in rest
    )
    assert any(line.startswith("  where    effect deployment:data:view, deployment:logs:view") for line in rest)
    acknowledged = gate("policy", "diff", str(tmp_path), str(new), "--ack", change, "--ack", "chg-0")
    assert (acknowledged.status, acknowledged.out.splitlines()[0]) == (0, f"wider, acknowledged {change}")
    assert acknowledged.err == "gate: --ack chg-0 names no widening of this difference\n"
    told = json.loads(gate("--json", "policy", "diff", str(tmp_path), str(new)).out)
    assert (told["findings"], [one["acknowledged"] for one in told["changes"]]) == ([change], [False])
    back = gate("policy", "diff", str(new), str(tmp_path))
    assert (back.status, back.out.split()[0]) == (1, "WIDER")


def test_diff_of_what_means_the_same_is_empty(gate: Callable[..., Said], tmp_path: Path) -> None:
    new = project(tmp_path / "new", "# a remark\n")
    said = gate("policy", "diff", ".", str(new))
    assert (said.status, said.out) == (0, "no request is answered in another way\n")


def test_diff_counts_what_it_does_not_show(gate: Callable[..., Said], tmp_path: Path) -> None:
    new = project(tmp_path / "new", GOOD)
    path = new / "policies" / "default.yaml"
    rules = "".join(
        f'  - {{id: r{n}, deny: {{principals: ["agent:t{n}"], tables: [t{n}]}}, because: No.}}\n' for n in range(8)
    )
    path.write_text(path.read_text() + rules)
    said = gate("policy", "diff", ".", str(new))
    assert (said.status, said.out.splitlines()[0].split()[0]) == (0, "stricter")
    assert any(line.startswith("  where    and ") for line in said.out.splitlines())


def test_diff_says_that_a_deployment_is_new(gate: Callable[..., Said], tmp_path: Path) -> None:
    new = project(tmp_path / "new", GOOD)
    entry = '  dev: {class: dev, url: "https://a.example", custody: k}\nprincipals:\n'
    (new / "gate.yaml").write_text(GATE_YAML.replace("principals:\n", entry))
    said = gate("policy", "diff", ".", str(new))
    assert said.status == 1
    assert "  before   that deployment is not registered\n" in said.out


def test_who_can_counts_everybody_who_can_call(gate: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").write_text(GATE_YAML.replace("groups: [leads]", "groups: [leads], uids: [1]"))
    assert "not counted" not in gate("policy", "who-can", "deployment:data:view", "prod").err


def test_a_folder_without_a_project_is_refused(gate: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "gate.yaml").unlink()
    said = gate("policy", "prove")
    assert (said.status, said.err.splitlines()[-1]) == (
        1,
        "gate: config_invalid: no gate.yaml in this folder or above it",
    )


@pytest.mark.parametrize(
    ("grant", "shown"),
    [
        ({}, True),
        ({"state": "scheduled"}, True),
        ({"state": "closed"}, False),
        ({"deployment": "dev"}, False),
        ({"effects": ["deployment:data:write"]}, False),
    ],
)
def test_a_grant_counts_where_it_lives_and_covers(grant: dict[str, object], shown: bool) -> None:
    live = {"deployment": "prod", "effects": ["deployment:data:view"], "state": "active", **grant}
    assert covers(live, "deployment:data:view", "prod") is shown


GRANT = {
    "id": "grt-1",
    "state": "active",
    "requester": "agent:codex",
    "deployment": "prod",
    "effects": ["deployment:data:view"],
    "ends": "2026-02-19T10:04:05.123Z",
    "used": 1,
    "max_uses": None,
}


def test_who_can_lists_live_grants(gate: Callable[..., Said], monkeypatch: pytest.MonkeyPatch) -> None:
    """As a keeper tells them, or what it refuses with."""
    here, there = socket.socketpair()
    monkeypatch.setattr(client, "running", here.dup)
    with here, there:
        protocol.send(there, {"result": {"grants": [GRANT]}})
        said = gate("policy", "who-can", "deployment:data:view", "prod")
        assert "live grant grt-1 active agent:codex prod ends 2026-02-19T10:04:05.123Z used 1" in said.out
        assert protocol.receive(there)["op"] == "grants"
        protocol.send(there, {"error": {"code": "denied_by_rule", "message": "not for you"}})
        said = gate("policy", "who-can", "deployment:data:view", "prod")
        assert (said.status, said.err.splitlines()[-1]) == (0, "live grants are not known: not for you")


def test_recorded_files_that_are_not_those_in_force_are_refused(
    gate: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a keeper says is in force has the digest that it says."""
    files = {name: (tmp_path / name).read_text() for name in ("gate.yaml", "gate.signers")}
    files |= {name: (tmp_path / name).read_text() for name in shipped()}
    body = json.dumps({"type": "bundle.activated", "files": files})
    answers = {
        "whoami": {"bundle": {"digest": "sha256:" + "0" * 64}},
        "audit.show": {"events": [json.dumps({"body": body})]},
    }
    monkeypatch.setattr(client, "request", lambda op, **_: answers[op])
    said = gate("policy", "prove", "active")
    assert (said.status, said.err.splitlines()[-1].split(":")[1].strip()) == (74, "ledger_tampered")


def test_who_can_works_without_a_keeper_and_says_so(gate: Callable[..., Said]) -> None:
    said = gate("policy", "who-can", "deployment:data:view", "prod")
    assert said.status == 0
    assert "  who      agent:codex, other agent:*\n" in said.out
    assert "rule     require prod-under-grant at policies/production.yaml:8:5" in said.out
    assert said.err.splitlines() == [
        "not counted: no system user is mapped to human:ada, who cannot call",
        "live grants are not known: no keeper runs",
    ]
    told = json.loads(gate("--json", "policy", "who-can", "deployment:data:view", "prod").out)
    assert (told["grants"], told["grants_unknown"], told["cannot_call"]) == (None, "no keeper runs", ["human:ada"])
    assert told["access"][0]["verdict"] == "grant_required"
    assert gate("policy", "who-can", "deployment:data:write", "prod").out == "nobody\n"
    local = gate("policy", "who-can", "deployment:data:write", "local", "--in", ".")
    assert local.out.startswith("allow\n")


def test_who_can_shows_conditions(gate: Callable[..., Said], tmp_path: Path) -> None:
    path = tmp_path / "policies" / "default.yaml"
    path.write_text(path.read_text() + "  - {id: no-users, deny: {tables: [users]}, because: No.}\n")
    assert "  where    tables no tables, any other\n" in gate("policy", "who-can", "deployment:data:view", "prod").out


@pytest.mark.parametrize(
    ("words", "status", "last"),
    [
        (("deployment:data:viev", "prod"), 64, "usage: there is no such effect; did you mean `deployment:data:view`?"),
        (("deployment:data:view", "prd"), 77, "unknown_deployment: no such deployment in the registry"),
    ],
)
def test_who_can_wants_known_words(gate: Callable[..., Said], words: tuple[str, str], status: int, last: str) -> None:
    said = gate("policy", "who-can", *words)
    assert said.status == status
    assert said.err.splitlines()[-1].startswith(f"gate: {last}")


async def test_what_is_in_force_is_asked_of_the_keeper(tmp_path: Path) -> None:
    """Before and after an activation, with the files here and without them."""
    key = await person(tmp_path)
    public = " ".join((tmp_path / "ada.pub").read_text().split()[:2])
    folder = project(tmp_path / "chat", GOOD, public)
    async with gate_in(folder, tmp_path / "state") as gate:
        before = json.loads((await gate("--json", "whoami", "--can")).out)["can"]
        assert [row["deployment"] for row in before] == ["anonymous", "local", None]
        assert (await gate("policy", "diff", "active", ".")).code == 1
        assert (await gate("activate", "--key", str(key))).code == 0
        ran = await gate("whoami", "--can")
        assert ran.code == 0, ran
        lines = ran.out.splitlines()
        prod = lines[lines.index("on prod") + 1 :][:2]
        assert prod[0].startswith("  under grant  deployment:data:view, deployment:logs:view with ticket OPS-[0-9]+")
        assert prod[1].startswith("  never        deployment:*, not deployment:data:view")
        assert lines[-2:] == ["on no deployment", "  never        anything"]
        (folder / "policies" / "default.yaml").write_text("policy: 2\n")
        ran = await gate("--json", "policy", "who-can", "deployment:data:view", "prod", "--in", "active")
        told: Any = json.loads(ran.out)
        assert (told["grants"], told["grants_unknown"]) == ([], None)
        (folder / "policies" / "default.yaml").unlink()
        assert (await gate("policy", "prove", "active")).code == 0
