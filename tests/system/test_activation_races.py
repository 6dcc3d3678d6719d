"""Activations that meet each other, a run, or a large history: one counts, the ledger stays whole."""

import concurrent.futures
import json
from typing import Any

from system_kit import Project, last

from gate.execution.ssh import sign


def _files(project: Project, more: str) -> dict[str, str]:
    work = project.made.work
    paths = ["gate.yaml", "gate.signers", "policies/default.yaml", "policies/production.yaml"]
    files = {path: (work / path).read_text() for path in paths}
    files["policies/default.yaml"] += more
    return {path: text.encode().decode("latin-1") for path, text in files.items()}


def _prepared(project: Project, files: dict[str, str]) -> dict[str, Any]:
    yaml = files["gate.yaml"]
    statement = project.ask("activate.prepare", {"gate_yaml": yaml, "files": files})["result"]["statement"]
    signature = sign(statement.encode(), project.made.person, "activate@convex-gate")
    return {"gate_yaml": yaml, "files": files, "statement": statement, "signatures": [signature]}


def test_one_signature_counts_once_however_often_it_is_sent_at_once(project: Project) -> None:
    members = _prepared(project, _files(project, "# edited\n"))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: project.ask("activate.commit", members), range(4)))
    codes = sorted(str(answer.get("error", {}).get("code")) for answer in answers)
    assert codes == ["None", "bundle_changed", "bundle_changed", "bundle_changed"]
    assert project.gate("audit", "verify").code == 0
    project.kill_keeper()
    assert project.gate("convex", "data").code == 0


def test_files_of_another_project_are_not_activated_here(project: Project) -> None:
    files = _files(project, "")
    other = files | {"gate.yaml": files["gate.yaml"].replace("project: demo", "project: another")}
    answer = project.ask("activate.prepare", {"gate_yaml": files["gate.yaml"], "files": other})
    assert answer["error"]["code"] == "config_invalid"
    assert "another project" in answer["error"]["message"]


def test_a_history_of_large_events_is_exported_page_by_page(project: Project) -> None:
    """Bundles at their limit of size, written with characters that JSON makes long."""
    for round_ in range(2):
        members = _prepared(project, _files(project, f"# {round_}\n" + "# \u20ac\n" * 150_000))
        assert "result" in project.ask("activate.commit", members)
    export = project.gate("audit", "export")
    assert export.code == 0, last(export)
    sequence = [json.loads(line)["seq"] for line in export.out.splitlines()]
    assert sequence == list(range(1, len(sequence) + 1))
    assert project.gate("audit", "tail", "-n", "500").code == 0
    assert project.gate("audit", "verify").code == 0
    huge = _files(project, "# \u20ac\n" * 250_000)
    answer = project.ask("activate.prepare", {"gate_yaml": huge["gate.yaml"], "files": huge})
    assert "more than 1 MiB" in answer["error"]["message"]


def test_an_invocation_that_is_too_large_is_refused(project: Project) -> None:
    frame: dict[str, Any] = {
        "gate_yaml": None,
        "files": {".env": "#" * 1_000_000, ".env.local": "#" * 1_000_000},
        "problems": {},
    }
    frame |= {"door": "cli", "argv": ["x" * 1_000_001, "y" * 500_000], "cwd": "/", "variables": {}, "principal": None}
    frame |= {"grant": None, "local_config": None, "cli_version": None, "tty": False}
    assert project.ask("explain", {"invocation": frame})["error"]["code"] == "limit"
    frame |= {"argv": ["data"], "principal": "agent:" + "x" * 200}
    assert project.ask("explain", {"invocation": frame})["error"]["code"] == "limit"
    frame |= {"principal": None, "door": "back"}
    assert project.ask("explain", {"invocation": frame})["error"]["code"] == "usage"


def test_projects_that_nobody_uses_do_not_hold_their_files(project: Project) -> None:
    pid = project.keeper_pid()
    for number in range(40):
        answer = project.ask("bundle.paths", {"gate_yaml": f"gate: 1\nproject: p{number}\n"})
        assert "error" in answer
        project.ask("audit.tail", {"gate_yaml": f"gate: 1\nproject: p{number}\n"})
    assert project.keeper_pid() == pid
    assert len(project.ask("status")["result"]["projects"]) <= 33
