"""Approvals that must not count, by name, through command line, keeper, ledger and a stand-in of production.

Every test ends with what reached production: nothing, or exactly what a grant gave.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from production_kit import POLICY, POLICY_OF_TWO, VIEW, WRITE, Edit, Production, production
from system_kit import last

from gate.audit.activations import ACTIVATED
from gate.cli.review import split
from gate.config.draft import shipped
from gate.demo.stage import Came
from gate.execution.ssh import sign
from gate.grant.request import Request, request_from
from gate.grant.statement import NAMESPACE

Asked = tuple[Production, str]


@pytest.fixture(scope="module")
def stage_of_one(node_modules: Path) -> Iterator[Production]:
    with production(node_modules) as made:
        yield made


@pytest.fixture(scope="module")
def stage_of_two(node_modules: Path) -> Iterator[Production]:
    with production(node_modules, POLICY_OF_TWO) as made:
        yield made


@pytest.fixture
def one(stage_of_one: Production) -> Production:
    """An agent of its own where one approval is enough."""
    return stage_of_one.fresh()


@pytest.fixture
def two(stage_of_two: Production) -> Production:
    """An agent of its own where two people have to approve."""
    return stage_of_two.fresh()


@pytest.fixture(scope="module")
def narrow(stage_of_one: Production) -> Asked:
    """A request that answers a refusal: three calls of `messages:list` and nothing else. No test decides about it."""
    made = stage_of_one.fresh()
    came = made.gate("--json", "convex", "run", "messages:list", "--prod")
    decision = json.loads(came.err.splitlines()[0])["id"]
    asked = made.gate("request", "--for", decision, *made.fields(), "--max-uses", "3")
    assert asked.code == 0, asked.err
    return made, asked.out.strip()


def replaced(text: str, before: str, after: str) -> str:
    """`text` with one line in place of another."""
    found, times = re.subn(rf"^{before}$", after, text, flags=re.MULTILINE)
    assert times == 1, text
    return found


def at_once(*calls: Callable[[], Came]) -> list[Came]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def codes(answers: Sequence[Came]) -> list[str]:
    return sorted("ok" if came.code == 0 else last(came) for came in answers)


def refuses(made: Production, request: str, envelope: str, code: str) -> None:
    """Hold that the approval is refused with `code`, leaves the request as it was, and opens nothing."""
    came = made.accept(envelope)
    assert (came.code, last(came)) == (77, code), came.err
    assert made.state(request)["approvals"] == []
    assert made.state(request)["state"] == "pending"
    assert made.quick("run", "messages:list").code == 75
    assert made.reached() == []


# Used again.


def test_an_approval_that_is_handed_in_twice_counts_once(one: Production) -> None:
    request = one.request()
    envelope = one.envelope(request)
    grant = one.accept(envelope).out.strip()
    assert last(one.accept(envelope)) == "change_control"
    assert [found["id"] for found in one.json("grants", "--all")["grants"] if found["request"] == request] == [grant]
    assert one.reached() == []


def test_an_approval_opens_nothing_after_its_grant_ended(one: Production) -> None:
    request = one.request()
    envelope = one.envelope(request)
    grant = one.accept(envelope).out.strip()
    assert one.gate("drop", grant).code == 0
    assert last(one.accept(envelope)) == "change_control"
    assert one.refused("convex", "run", "messages:list", "--prod") == "grant_required"
    assert one.reached() == []


def test_an_approval_is_no_approval_of_a_twin_made_later(one: Production) -> None:
    first = one.request()
    envelope = one.envelope(first)
    assert one.gate("cancel", first).code == 0
    twin = one.request()
    assert twin != first
    assert last(one.accept(envelope)) == "change_control"
    refuses(one, twin, one.signed(replaced(one.statement(twin), "request: .*", f"request: {first}")), "change_control")


def test_an_approval_is_not_counted_twice_towards_two(two: Production) -> None:
    request = two.request()
    envelope = two.envelope(request)
    assert two.accept(envelope).code == 0
    assert last(two.accept(envelope)) == "bad_signature"
    assert len(two.state(request)["approvals"]) == 1
    assert two.state(request)["state"] == "pending"
    assert two.reached() == []


def test_a_person_who_signs_twice_is_one_person(two: Production) -> None:
    request = two.request()
    for _ in range(2):
        assert two.approve(request).code == 0
    assert two.state(request)["state"] == "pending"
    assert two.quick("run", "messages:list").code == 75
    assert two.reached() == []
    assert two.approve(request, "kim").out.startswith("grt-")


# Approvals that nobody has to give.

NOBODYS = {
    "nobody": "from: []",
    "no list": "count: 1",
    "a group that nobody is in": 'from: ["group:ghosts"]',
    "an agent": 'from: ["agent:codex"]',
}


@pytest.mark.parametrize("asked", NOBODYS.values(), ids=NOBODYS.keys())
def test_an_approvals_block_that_nobody_can_meet_is_no_policy(one: Production, asked: str) -> None:
    block = f"approvals: {{{asked}}}"
    assert _activating(one, re.sub(r"approvals: \{.*\}", block, POLICY)) == "config_invalid"


@pytest.mark.parametrize("count", ["0", "-1", "3", "1.5"])
def test_a_number_of_approvals_that_nobody_can_meet_is_no_policy(one: Production, count: str) -> None:
    changed = POLICY.replace("count: 1", f"count: {count}").replace('from: ["group:leads"]', "from: [human:lee]")
    assert _activating(one, changed) == "config_invalid"


def test_an_empty_approvals_block_is_no_policy(one: Production) -> None:
    assert _activating(one, re.sub(r"approvals: \{.*\}", "approvals: {}", POLICY)) == "config_invalid"


def _activating(made: Production, policy: str) -> str:
    """The code with which the draft of `policy` is refused; what was in force still is."""
    file = made.project.made.work / "policies" / "production.yaml"
    before, head = file.read_text(), made.ask("frame")["result"]["head"]
    try:
        file.write_text(policy)
        return made.refused("activate", "--key", str(made.keys["ada"]))
    finally:
        file.write_text(before)
        assert made.ask("frame")["result"]["head"] == head
        assert made.reached() == []


WITHOUT = """\
  - id: grant-alone
    require: {classes: [prod]}
    needs: {grant: true}
    because: A rule that names no approvals.
"""


def test_a_rule_without_approvals_waives_none_of_another(node_modules: Path) -> None:
    with production(node_modules, POLICY + WITHOUT) as made:
        request = made.request()
        assert made.refused("approve", request, "--key", str(made.keys["ada"])) == "self_approval"
        assert made.quick("run", "messages:list").code == 75
        assert made.reached() == []
        assert made.approve(request).out.startswith("grt-")


def test_a_grant_that_names_no_approvals_still_wants_somebody_elses_touch(node_modules: Path) -> None:
    alone = re.sub(r"      approvals: \{.*\}\n", "", POLICY)
    with production(node_modules, alone) as made:
        request = made.request()
        assert last(made.approve(request, "ada")) == "self_approval"
        assert last(made.approve(request, "lee")) == "bad_signature"
        assert made.quick("run", "messages:list").code == 75
        assert made.reached() == []


# Decided twice.


def test_a_denial_after_the_approval_changes_nothing(one: Production) -> None:
    request = one.request()
    grant = one.approve(request).out.strip()
    assert one.refused("deny", request, "--reason", "too late", "--key", str(one.keys["kim"])) == "change_control"
    assert one.state(grant)["state"] == "scheduled"
    assert one.state(request)["ended"] is None
    assert one.reached() == []


def test_an_approval_after_the_denial_opens_nothing(one: Production) -> None:
    request = one.request()
    envelope = one.envelope(request)
    assert one.gate("deny", request, "--reason", "no", "--key", str(one.keys["kim"])).code == 0
    assert last(one.accept(envelope)) == "change_control"
    assert last(one.approve(request, "lee")) == "change_control"
    assert one.state(request)["state"] == "denied"
    assert one.refused("convex", "run", "messages:list", "--prod") == "grant_required"
    assert one.reached() == []


def test_a_denial_is_not_signed_by_a_stranger_or_handed_in_for_another(one: Production) -> None:
    request, other = one.request(), one.request(WRITE, VIEW)
    assert one.refused("deny", request, "--reason", "no", "--key", str(one.keys["stranger"])) == "not_a_signer"
    envelope = one.envelope(request)
    text, begin, rest = envelope.partition("-----BEGIN")
    answer = one.ask("deny", id=other, statement=text, signature=begin + rest)
    assert answer["error"]["code"] == "bad_signature"
    assert [one.state(named)["state"] for named in (request, other)] == ["pending", "pending"]
    assert one.reached() == []


def test_two_approvals_at_once_make_one_grant(one: Production) -> None:
    request = one.request()
    envelopes = [one.envelope(request, by) for by in ("lee", "kim")]
    answers = at_once(*(lambda text=text: one.accept(text) for text in envelopes))
    assert codes(answers) == ["change_control", "ok"]
    assert len(one.events("grant.made", request=request)) == 1
    assert len(one.events("approval.given", request=request)) == 1
    assert one.reached() == []


def test_a_cancellation_and_an_approval_at_once_leave_one_of_them(one: Production) -> None:
    for _ in range(3):
        request = one.request()
        envelope = one.envelope(request)
        answers = at_once(lambda text=envelope: one.accept(text), lambda named=request: one.gate("cancel", named))  # type: ignore[misc]
        assert codes(answers) == ["change_control", "ok"]
        approved = answers[0].code == 0
        assert one.state(request)["state"] == ("approved" if approved else "cancelled")
        assert len(one.events("grant.made", request=request)) == approved
        if approved:
            assert one.gate("drop", answers[0].out.strip()).code == 0
    assert one.reached() == []


# About something else.


def test_an_approval_that_is_changed_after_it_was_signed_does_not_hold(one: Production) -> None:
    request = one.request()
    envelope = one.envelope(request)
    for before, after in (
        ("ttl-seconds: 1800", "ttl-seconds: 1799"),
        ("nonce: ", "nonce: x"),
        ("max-uses: ", "max-uses: 1"),
    ):
        assert before in envelope
        refuses(one, request, envelope.replace(before, after), "bad_signature")


ELSEWHERE: dict[str, tuple[Edit, str]] = {
    "another ledger": (("ledger: .*", "ledger: led-00000000"), "bad_signature"),
    "another history": (("head: .*", f"head: {'0' * 64}"), "bad_signature"),
    "another digest": (("request-digest: .*", f"request-digest: sha256:{'0' * 64}"), "bad_signature"),
    "another requester": (("requester: .*", "requester: agent:codex"), "bad_signature"),
    "another owner": (("owner: .*", "owner: human:kim"), "bad_signature"),
    "another bundle": (("bundle: .*", f"bundle: sha256:{'0' * 64}"), "bundle_changed"),
    "a time that is over": (("sign-by: .*", "sign-by: 2026-01-01T00:00:00.000Z"), "bad_signature"),
    "no date": (("sign-by: .*", "sign-by: tomorrow"), "bad_signature"),
    "a second line": (("owner: (.*)", r"owner: \1\nowner: \1"), "bad_signature"),
    "a blank more": (("owner: (.*)", r"owner: \1 "), "bad_signature"),
    "a denial": (("kind: approve", "kind: deny"), "bad_signature"),
}


@pytest.mark.parametrize(("edit", "code"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_an_approval_of_something_else_does_not_count(narrow: Asked, edit: Edit, code: str) -> None:
    made, request = narrow
    refuses(made, request, made.signed(replaced(made.statement(request), *edit)), code)


WIDER: dict[str, Edit] = {
    "an effect more": ("effects: .*", f"effects: {VIEW} {WRITE}"),
    "another effect": ("effects: .*", f"effects: {WRITE}"),
    "a second more": ("ttl-seconds: 1800", "ttl-seconds: 1801"),
    "any number of uses": ("max-uses: 3", "max-uses: (any)"),
    "a use more": ("max-uses: 3", "max-uses: 4"),
    "any function": ("functions: .*", "functions: (any)"),
    "another function": ("functions: .*", "functions: messages:send"),
    "a function more": ("functions: .*", "functions: messages:list messages:send"),
    "any component": ("components: .*", "components: (any)"),
    "any variable": ("variables: .*", "variables: (any)"),
    "another deployment": ("deployment: .*", "deployment: dev"),
    "another origin": ("origin: .*", "origin: https://happy-otter-123.convex.cloud"),
}


@pytest.mark.parametrize("edit", WIDER.values(), ids=WIDER.keys())
def test_an_approval_of_more_than_was_asked_for_does_not_count(narrow: Asked, edit: Edit) -> None:
    made, request = narrow
    refuses(made, request, made.signed(replaced(made.statement(request), *edit)), "change_control")


def test_a_signature_that_was_made_for_something_else_is_no_approval(one: Production) -> None:
    request = one.request()
    text = one.statement(request)
    refuses(one, request, one.signed(text, namespace="activate@convex-gate"), "bad_signature")
    refuses(one, request, one.signed(text, namespace="file"), "bad_signature")
    refuses(one, request, one.signed(text, by="stranger"), "not_a_signer")


def test_an_approval_with_two_signatures_or_none_is_none(one: Production) -> None:
    request = one.request()
    envelope = one.envelope(request)
    text, begin, rest = envelope.partition("-----BEGIN")
    for broken in (text, begin + rest, envelope + begin + rest, "", envelope.replace("\n", "\r\n")):
        refuses(one, request, broken, "bad_signature")


def test_a_text_that_was_changed_on_its_way_is_not_signed(one: Production) -> None:
    portable = one.portable(one.request())
    portable["request"]["ask"]["ttl_seconds"] = 60
    assert last(one.export(portable)) == "change_control"
    assert one.reached() == []


def test_a_text_that_was_changed_with_its_digest_is_about_another_request(one: Production) -> None:
    request = one.request()
    portable = one.portable(request)
    forged = _ask_for(portable, effects=[VIEW, WRITE], ttl_seconds=3600)
    came = one.export({**portable, "request": forged.to_json(), "digest": forged.digest})
    assert came.code == 0, came.err
    refuses(one, request, came.out, "bad_signature")


def _ask_for(portable: dict[str, Any], **more: Any) -> Request:
    asked = portable["request"]
    return request_from({**asked, "ask": {**asked["ask"], **more}}, 0)


def test_a_request_of_more_time_than_the_rules_allow_is_not_made(one: Production) -> None:
    words = ["request", "--deployment", "prod", "--effect", VIEW]
    assert one.refused(*words, *one.fields("61m")) == "change_control"
    assert one.refused(*words, *one.fields("3601s")) == "change_control"
    assert one.gate(*words, *one.fields("60m")).code == 0
    assert one.reached() == []


def test_an_approval_narrows_and_never_widens(one: Production) -> None:
    request = one.request(VIEW, WRITE, ttl="10m")
    assert last(one.approve(request, "lee", "--ttl", "11m")) == "change_control"
    assert last(one.approve(request, "lee", "--effect", "deployment:env:view")) == "change_control"
    grant = one.approve(request, "lee", "--ttl", "5m", "--effect", VIEW).out.strip()
    assert one.state(grant)["effects"] == [VIEW]
    assert one.state(grant)["ttl_seconds"] == 300
    assert one.quick("run", "messages:send").code == 77
    assert one.reached() == []


def test_two_approvals_give_what_both_permit(two: Production) -> None:
    request = two.request(VIEW, WRITE, ttl="10m")
    assert two.approve(request, "lee", "--effect", VIEW).code == 0
    assert last(two.approve(request, "kim", "--effect", WRITE)) == "change_control"
    grant = two.approve(request, "kim", "--ttl", "5m").out.strip()
    assert (two.state(grant)["effects"], two.state(grant)["ttl_seconds"]) == ([VIEW], 300)
    assert two.quick("run", "messages:send").code == 77
    assert two.reached() == []


# By people who may not, and with keys that say nothing.


def test_a_view_from_before_another_bundle_is_stale(granting: Production) -> None:
    request = granting.request()
    portable, envelope = granting.portable(request), granting.envelope(request)
    granting.activate(config=("gate: 1\n", "gate: 1\n# looked at again\n"))
    refuses(granting, request, envelope, "bundle_changed")
    refuses(granting, request, granting.export(portable).out, "bundle_changed")
    assert granting.approve(request).out.startswith("grt-")


def test_an_approval_before_another_bundle_is_not_added_to_one_behind_it(node_modules: Path) -> None:
    with production(node_modules, POLICY_OF_TWO) as made:
        request = made.request()
        assert made.approve(request, "lee").code == 0
        made.activate(config=("gate: 1\n", "gate: 1\n# looked at again\n"))
        assert made.approve(request, "kim").code == 0
        assert made.state(request)["state"] == "pending"
        assert made.quick("run", "messages:list").code == 75
        assert made.reached() == []


def without(name: str, made: Production) -> None:
    """Take a person's line out of the signers file, and activate that."""
    made.activate(signers=(f"human:{name} {made.keys[name].with_suffix('.pub').read_text()}", ""))


def test_a_signer_who_was_taken_off_the_list_approves_nothing(granting: Production) -> None:
    request = granting.request()
    envelope = granting.envelope(request, "lee")
    without("lee", granting)
    refuses(granting, request, envelope, "not_a_signer")
    assert last(granting.approve(request, "lee")) == "not_a_signer"
    assert granting.approve(request, "kim").out.startswith("grt-")
    assert granting.reached() == []


def test_a_grant_ends_with_the_signer_who_approved_it(granting: Production) -> None:
    grant = granting.grant()
    without("lee", granting)
    found = granting.state(grant)
    assert (found["state"], found["why"]) == ("closed", "bundle_changed")
    assert granting.quick("run", "messages:list").code == 77
    assert granting.reached() == []


def test_one_person_with_two_keys_is_one_person(node_modules: Path) -> None:
    with production(node_modules, POLICY_OF_TWO) as made:
        spare = f"human:lee {made.keys['spare'].with_suffix('.pub').read_text()}human:kim"
        made.activate(signers=("human:kim", spare))
        request = made.request()
        for key in ("lee", "spare"):
            assert made.approve(request, key).code == 0
        assert {given["signer"] for given in made.state(request)["approvals"]} == {"human:lee"}
        assert made.state(request)["state"] == "pending"
        assert made.quick("run", "messages:list").code == 75
        assert made.reached() == []
        assert made.approve(request, "kim").out.startswith("grt-")


def public(made: Production, name: str) -> str:
    return made.keys[name].with_suffix(".pub").read_text().strip()


def certificate(made: Production) -> str:
    """A certificate of the spare key, as OpenSSH writes it."""
    authority, key = made.keys["stranger"], made.keys["spare"]
    command = ["ssh-keygen", "-q", "-s", str(authority), "-I", "spare", "-n", "human:lee", str(key.with_suffix(".pub"))]
    subprocess.run(command, check=True, capture_output=True)
    return key.with_name("spare-cert.pub").read_text().strip()


def test_a_signature_with_a_certificate_is_no_approval(one: Production) -> None:
    certificate(one)
    key = one.keys["spare"]
    # ssh-keygen looks for the private key beside the certificate.
    shutil.copy(key, key.with_name("spare-cert"))
    request = one.request()
    text = one.statement(request)
    signature = sign(text.encode(), key.with_name("spare-cert.pub"), NAMESPACE)
    refuses(one, request, text + signature, "bad_signature")


SIGNERS: dict[str, Callable[[Production], str]] = {
    "a certificate": lambda made: f"human:lee {certificate(made)}",
    "an authority": lambda made: f"human:lee cert-authority {public(made, 'spare')}",
    "a wildcard": lambda made: f"human:* {public(made, 'spare')}",
    "everybody": lambda made: f"* {public(made, 'spare')}",
    "everybody but one": lambda made: f"human:*,!human:ada {public(made, 'spare')}",
    "two ids": lambda made: f"human:lee,human:kim {public(made, 'spare')}",
    "two ids on two lines": lambda made: f"human:kim {public(made, 'lee')}",
    "the requester": lambda made: f"agent:codex {public(made, 'spare')}",
    "a namespace with a wildcard": lambda made: f'human:lee namespaces="*@convex-gate" {public(made, "spare")}',
}


@pytest.mark.parametrize("line", SIGNERS.values(), ids=SIGNERS.keys())
def test_a_signers_file_that_does_not_name_one_person_for_a_key_is_not_taken(
    one: Production, line: Callable[[Production], str]
) -> None:
    file = one.project.made.work / "gate.signers"
    before = file.read_text()
    try:
        file.write_text(f"{before}{line(one)}\n")
        assert one.refused("activate", "--key", str(one.keys["ada"])) == "config_invalid"
    finally:
        file.write_text(before)
    request = one.request()
    assert last(one.approve(request, "spare")) == "not_a_signer"
    assert one.reached() == []


def test_the_owner_does_not_approve(granting: Production) -> None:
    request = granting.request()
    assert last(granting.approve(request, "ada")) == "self_approval"
    assert granting.state(request)["approvals"] == []
    assert granting.quick("run", "messages:list").code == 75
    assert granting.reached() == []


def test_a_person_whom_the_rules_do_not_ask_does_not_approve(granting: Production) -> None:
    granting.activate(config=("  human:kim: {groups: [leads]}", "  human:kim: {groups: [guests]}"))
    request = granting.request()
    assert last(granting.approve(request, "kim")) == "not_a_signer"
    assert granting.state(request)["approvals"] == []
    assert granting.reached() == []


def test_nobody_approves_whom_the_bundle_maps_to_the_requesting_user(granting: Production) -> None:
    mapped = f"  human:lee: {{groups: [leads], uids: [{os.getuid()}]}}"
    granting.activate(config=("  human:lee: {groups: [leads]}", mapped))
    request = granting.request()
    assert granting.state(request)["excluded"] == ["human:lee"]
    assert last(granting.approve(request, "lee")) == "self_approval"
    assert granting.state(request)["approvals"] == []
    assert granting.approve(request, "kim").out.startswith("grt-")
    assert granting.reached() == []


def test_who_asks_as_a_person_does_not_approve_it(granting: Production) -> None:
    mapped = f"  human:lee: {{groups: [leads], uids: [{os.getuid()}]}}"
    reach = 'principals: ["agent:*", "human:*"]'
    granting.activate(config=("  human:lee: {groups: [leads]}", mapped), production=('principals: ["agent:*"]', reach))
    came = granting.gate(
        "request", "--deployment", "prod", "--effect", VIEW, *granting.fields(), GATE_PRINCIPAL="human:lee"
    )
    assert came.code == 0, came.err
    assert last(granting.approve(came.out.strip(), "lee")) == "self_approval"
    assert granting.reached() == []


def agent_with(key: Path, folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """An ssh-agent that holds `key` and signs for whoever reaches its socket."""
    socket = str(folder / "agent.sock")
    agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    for _ in range(200):
        added = subprocess.run(
            ["ssh-add", "-q", str(key)], env={**os.environ, "SSH_AUTH_SOCK": socket}, capture_output=True, check=False
        )
        if added.returncode == 0:
            return agent, socket
    agent.kill()
    raise AssertionError(added.stderr)


def test_a_signers_key_in_an_agent_is_found_and_counts_only_where_no_touch_is_wanted(
    granting: Production, tmp_path: Path
) -> None:
    agent, socket = agent_with(granting.keys["lee"], tmp_path)
    alone = tmp_path / "lee.pub"
    alone.write_text(public(granting, "lee"))
    words = ("approve", "REQUEST", "--key", str(alone))
    try:
        found = granting.gate("doctor", SSH_AUTH_SOCK=socket)
        assert (found.code, "signs as human:lee without asking" in found.out) == (1, True), found.out
        request = granting.request()
        came = granting.gate(*(word.replace("REQUEST", request) for word in words), SSH_AUTH_SOCK=socket)
        assert came.out.startswith("grt-"), came.err
        assert granting.gate("drop", came.out.strip()).code == 0
        _ship(granting)
        request = granting.request()
        came = granting.gate(*(word.replace("REQUEST", request) for word in words), SSH_AUTH_SOCK=socket)
        assert last(came) == "bad_signature"
        assert granting.state(request)["approvals"] == []
        assert granting.reached() == []
    finally:
        agent.kill()
        agent.wait()


def _ship(made: Production) -> None:
    """Activate the production policy that comes with the gate."""
    file = made.project.made.work / "policies" / "production.yaml"
    file.write_text(shipped()["policies/production.yaml"])
    assert made.gate("activate", "--key", str(made.keys["ada"])).code == 0


def test_the_shipped_policy_takes_no_key_without_a_touch(granting: Production) -> None:
    _ship(granting)
    request = granting.request()
    for by in ("lee", "kim"):
        assert last(granting.approve(request, by)) == "bad_signature"
    assert granting.state(request)["approvals"] == []
    assert granting.quick("run", "messages:list").code == 75
    assert granting.reached() == []


def test_an_approval_says_whose_it_is_and_who_asks_signs_nothing(one: Production) -> None:
    grant = one.grant()
    (made,) = one.events("grant.made", id=grant)
    (given,) = one.events("approval.given", request=made["request"])
    assert given["signer"] == "human:lee"
    assert made["approvals"] == [given["nonce"]]
    assert f"requester: {one.agent}\nowner: {one.owner}\n" in given["statement"]
    assert one.quick("run", "messages:list").code == 0
    assert one.reached() == []


def test_what_meets_an_activation_is_decided_before_it_or_under_it(granting: Production) -> None:
    statement, signature = split(granting.envelope(granting.request()).encode())
    activation = activating(granting.edit(config=("gate: 1\n", "gate: 1\n# looked at again\n")))
    with closing(sqlite3.connect(granting.project.ledger, isolation_level=None)) as connection:
        # Nothing gets on record while this is open: all wait for the ledger, the activation first.
        connection.execute("BEGIN IMMEDIATE")
        with ThreadPoolExecutor(3) as pool:
            activated = pool.submit(granting.ask, "activate.commit", **activation)
            time.sleep(0.7)
            approved = pool.submit(granting.ask, "accept", statement=statement, signature=signature)
            asked = pool.submit(granting.ask, "request", **asking())
            time.sleep(0.3)
            connection.execute("ROLLBACK")
    digest = activated.result()["result"]["digest"]
    at = granting.events(ACTIVATED)[-1]["seq"]
    assert all(one["seq"] < at for one in granting.events("approval.given"))
    assert approved.result().get("error", {"code": "bundle_changed"})["code"] == "bundle_changed"
    (made,) = granting.events("request.made", id=asked.result()["result"]["id"])
    assert (made["request"]["bundle"] == digest) == (made["seq"] > at)
    verified = granting.gate("audit", "verify")
    assert verified.code == 0, verified.out
    assert granting.reached() == []


def activating(made: Production) -> dict[str, Any]:
    """What puts the files of the workspace in force, signed."""
    work = made.project.made.work
    files = {path: (work / path).read_text() for path in ("gate.yaml", "gate.signers", *shipped())}
    text = made.done("activate.prepare", files=files)["statement"]
    signatures = [sign(text.encode(), made.keys["ada"], "activate@convex-gate")]
    return {"files": files, "statement": text, "signatures": signatures}


def asking() -> dict[str, Any]:
    """Members of a request for writing."""
    fields = {"ticket": "OPS-1", "reason": "the data looks stale", "ttl_seconds": 600, "ack_risk": True}
    return {"deployment": "prod", "effects": [VIEW, WRITE], **fields}
