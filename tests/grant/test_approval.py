"""Approvals: whose, over what, once, in time, and enough of them. Each test tries one way to get access without."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from grant_kit import CLAUDE, HOUR, LEADS, NEEDS, PEOPLE, Chain, World, ask_of, bundle_with, key_of, sign
from ssh_kit import armor, key_of as file_key, wire_string

from gate.config.bundle import load_bundle
from gate.errors import ConfigInvalid, GateError
from gate.grant import filing
from gate.grant.request import Request
from gate.grant.statement import NAMESPACE, render
from gate.policy.verdict import Approvals, Needs


def refused(w: World, code: str, request: Request, person: str = "human:lee", /, **changes: Any) -> str:
    """Approving is refused with `code`, and nothing is on record."""
    before = len(w.chain.entries)
    with pytest.raises(GateError) as caught:
        w.approve(request, person, **changes)
    assert caught.value.code == code
    assert caught.value.remedy
    assert len(w.chain.entries) == before
    assert w.complete(request) is None
    return caught.value.message


def test_a_signature_by_somebody_else_makes_a_grant() -> None:
    w = World()
    request = w.file()
    w.approve(request)
    grant = w.complete(request)
    assert grant is not None
    assert (grant.state, grant.ask, w.book.request(request.id).state) == ("scheduled", request.ask, "approved")
    assert w.again(grant) == request.ask


def test_replayed_approval() -> None:
    w = World(replace(NEEDS, approvals=(replace(LEADS, count=2, not_=("requester",)),)))
    request = w.file(CLAUDE)
    signed = render(w.stated(request))
    w.hand_in(request, signed, sign(signed, "human:kim"))
    assert w.complete(request) is None
    for person in ("human:kim", "human:ada"):
        with pytest.raises(GateError, match="used before"):
            w.hand_in(request, signed, sign(signed, person))
    assert w.complete(request) is None


def test_replayed_approval_for_the_next_request_of_the_same() -> None:
    w = World()
    first = w.file()
    signed = render(w.stated(first))
    w.hand_in(first, signed, sign(signed, "human:lee"))
    w.complete(first)
    second = w.file()
    with pytest.raises(GateError, match="another request"):
        w.hand_in(second, signed, sign(signed, "human:lee"))
    with pytest.raises(GateError, match="request is approved"):
        w.hand_in(first, signed, sign(signed, "human:lee"))


def test_empty_approver_list() -> None:
    """No block is no waiver: it still takes a signer by touch who is not behind the request."""
    w = World(replace(NEEDS, approvals=()))
    request = w.file()
    assert w.complete(request) is None
    refused(w, "self_approval", request, "human:ada")
    refused(w, "bad_signature", request, "human:lee", flags=0)
    w.approve(request)
    assert w.complete(request) is not None


def test_waived_approval() -> None:
    """A lenient rule waives nothing of a strict one: every block has to be met."""
    lenient = Approvals(1, ("human:*",), ("requester",), touch=False)
    strict = Approvals(2, ("group:leads",), ("requester", "owner"), touch=True)
    w = World(replace(NEEDS, approvals=(lenient, strict)))
    request = w.file(CLAUDE)
    w.approve(request, "human:eve", flags=0)
    assert w.complete(request) is None
    w.approve(request, "human:ada")
    assert w.complete(request) is None
    w.approve(request, "human:kim")
    assert w.complete(request) is not None


def test_double_decision() -> None:
    """The first decision stands: neither a denial after an approval nor the other way round."""
    w = World()
    request, other = w.file(), w.file(reason="another good reason")
    signed = render(w.objection("deny", request.id))
    w.record(filing.deny(w.book, request.id, signed, sign(signed, "human:kim"), w.against))
    with pytest.raises(GateError, match="request is denied"):
        w.approve(request)
    w.approve(other)
    w.complete(other)
    signed = render(w.objection("deny", other.id))
    with pytest.raises(GateError, match="request is approved") as caught:
        filing.deny(w.book, other.id, signed, sign(signed, "human:kim"), w.against)
    assert caught.value.code == "change_control"
    with pytest.raises(GateError, match="request is approved"):
        w.complete(other)


def test_stale_view() -> None:
    """Who signs what the ledger looked like before the request has not seen the request."""
    w = World()
    early = w.chain.head
    request = w.file()
    assert "history" in refused(w, "bad_signature", request, head=early)
    assert "history" in refused(w, "bad_signature", request, head="0" * 64)
    assert "history" in refused(w, "bad_signature", request, head=Chain("led-other").head)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"ledger": "led-another1"}, "bad_signature"),
        ({"request": "req-another1"}, "bad_signature"),
        ({"request_digest": "sha256:" + "0" * 64}, "bad_signature"),
        ({"requester": "agent:claude"}, "bad_signature"),
        ({"owner": "human:kim"}, "bad_signature"),
        ({"bundle": bundle_with(note="another").digest}, "bundle_changed"),
        ({"ask": ask_of(tables=("messages",), ttl_seconds=1801)}, "change_control"),
        ({"ask": ask_of(effects=("deployment:data:view", "deployment:data:write"))}, "change_control"),
        ({"ask": ask_of(deployment="eu")}, "change_control"),
        ({"ask": ask_of(origin="https://elsewhere.convex.cloud")}, "change_control"),
    ],
)
def test_an_approval_of_something_else(changes: dict[str, Any], code: str) -> None:
    w = World()
    refused(w, code, w.file(), **changes)


def test_wider_than_requested_in_every_dimension() -> None:
    w = World()
    limited = {"tables": ("messages",), "max_uses": 2, "not_before_ms": w.now.wall_ms + 1000}
    request = w.file(ask=ask_of(**limited))
    for wider in ({"tables": None}, {"tables": ("users",)}, {"max_uses": None}, {"not_before_ms": None}):
        refused(w, "change_control", request, ask=ask_of(**{**limited, **wider}))


def test_an_approval_may_narrow() -> None:
    w = World()
    request = w.file()
    narrow = ask_of(tables=("messages",), ttl_seconds=60, max_uses=1)
    w.approve(request, ask=narrow)
    grant = w.complete(request)
    assert grant is not None
    assert grant.ask == w.again(grant) == narrow


def test_sign_by_time() -> None:
    w = World()
    request = w.file()
    signed = render(w.stated(request, sign_by_ms=w.now.wall_ms + HOUR))
    w.pass_ms(HOUR + 1)
    with pytest.raises(GateError, match="after the time"):
        w.hand_in(request, signed, sign(signed, "human:lee"))


def test_approval_by_a_key_that_is_not_listed() -> None:
    w = World()
    refused(w, "not_a_signer", w.file(), "agent's own key")


def test_approval_with_a_revoked_signer() -> None:
    w = World()
    request = w.file()
    signed = render(w.stated(request))
    w.bundle = bundle_with(("human:ada", "human:kim"))
    with pytest.raises(GateError) as caught:
        w.hand_in(request, signed, sign(signed, "human:lee"))
    assert caught.value.code == "not_a_signer"


@pytest.mark.parametrize("options", ['namespaces="activate@convex-gate"', 'valid-before="20260101Z"'])
def test_approval_with_a_key_listed_for_something_else_or_another_time(options: str) -> None:
    w = World()
    files = dict(w.bundle.files)
    public = key_of("human:lee").public
    files["gate.signers"] = files["gate.signers"].replace(
        f"human:lee {public}".encode(), f"human:lee {options} {public}".encode()
    )
    w.bundle = load_bundle(files)
    refused(w, "not_a_signer", w.file())


def test_approval_with_a_certificate() -> None:
    """A certificate in the place of a key is no key, whatever it says about its holder."""
    w = World()
    request = w.file()
    signed = render(w.stated(request))
    names = wire_string(NAMESPACE.encode()) + wire_string(b"") + wire_string(b"sha512")
    key = wire_string(b"ssh-ed25519-cert-v01@openssh.com") + wire_string(b"\0" * 32)
    forged = armor(b"SSHSIG\0\0\0\1" + wire_string(key) + names + wire_string(wire_string(b"ssh-ed25519")))
    with pytest.raises(GateError) as caught:
        w.hand_in(request, signed, forged)
    assert caught.value.code == "bad_signature"


@pytest.mark.parametrize("line", ["human:* KEY", "* KEY", "human:lee,human:kim KEY", "human:lee cert-authority KEY"])
def test_approval_by_wildcard_or_authority_is_no_line_of_a_signers_file(line: str) -> None:
    files = {**bundle_with().files, "gate.signers": line.replace("KEY", key_of("x").public).encode()}
    with pytest.raises(ConfigInvalid):
        load_bundle(files)


def test_two_ids_of_one_person() -> None:
    """One key stands for one person; one person twice is one."""
    files = dict(bundle_with().files)
    files["gate.signers"] += f"human:kim {key_of('human:lee').public}\n".encode()
    with pytest.raises(ConfigInvalid, match="stands on line"):
        load_bundle(files)
    w = World(replace(NEEDS, approvals=(replace(LEADS, count=2),)))
    request = w.file()
    w.approve(request)
    w.approve(request)
    assert w.complete(request) is None
    w.approve(request, "human:kim")
    assert w.complete(request) is not None


def test_a_second_key_of_one_person_is_no_second_person() -> None:
    files = dict(bundle_with().files)
    files["gate.signers"] += f"human:lee {key_of('second key').public}\n".encode()
    w = World(replace(NEEDS, approvals=(replace(LEADS, count=2),)), load_bundle(files))
    request = w.file()
    w.approve(request)
    signed = render(w.stated(request))
    w.hand_in(request, signed, sign(signed, "second key"))
    assert w.complete(request) is None


@pytest.mark.parametrize("flags", [0, 4])
def test_agents_ssh_agent(flags: int) -> None:
    """A key that signs without a hand on it does not count where the rules want touch."""
    w = World()
    assert "touching" in refused(w, "bad_signature", w.file(), flags=flags)


def test_an_ordinary_key_counts_only_where_the_rules_say_so_in_writing() -> None:
    key = file_key()
    files = dict(bundle_with().files)
    files["gate.signers"] += f"human:lee {key.public}\n".encode()
    w = World(NEEDS, load_bundle(files))
    request = w.file()
    signed = render(w.stated(request))
    signature = key.sign(signed, NAMESPACE)
    with pytest.raises(GateError, match="touching"):
        w.hand_in(request, signed, signature)
    w.needs = replace(NEEDS, approvals=(replace(LEADS, touch=False),))
    w.hand_in(request, signed, signature)
    assert w.complete(request) is not None


def test_the_namespace_and_the_exact_bytes_count() -> None:
    w = World()
    request = w.file()
    signed = render(w.stated(request))
    activation = key_of("human:lee").sign(signed, namespace="activate@convex-gate")
    other = sign(signed.replace(b"1800", b"3600"), "human:lee")
    for signature in (activation, other, b"", hashlib.sha256(signed).digest()):
        with pytest.raises(GateError) as caught:
            w.hand_in(request, signed, signature)
        assert caught.value.code == "bad_signature"


def test_who_is_behind_the_request_does_not_approve_it() -> None:
    w = World()
    request = w.file()
    refused(w, "self_approval", request, "human:ada")
    owned = w.file(CLAUDE)
    assert "human:lee" in refused(w, "self_approval", owned, "human:lee")
    refused(w, "self_approval", w.file(requester="human:kim", reason="another good reason"), "human:kim")


def test_the_owner_counts_where_a_single_person_policy_says_so_and_it_is_on_record() -> None:
    w = World(replace(NEEDS, approvals=(replace(LEADS, not_=("requester",)),)))
    request = w.file(CLAUDE)
    w.approve(request, "human:lee")
    assert '"single_person":true' in w.chain.entries[-1].body
    assert w.complete(request) is not None


def test_the_owner_counts_for_the_rule_that_takes_them_and_for_no_other() -> None:
    w = World(replace(NEEDS, approvals=(replace(LEADS, not_=("requester",)), LEADS)))
    request = w.file(CLAUDE)
    w.approve(request, "human:lee")
    assert w.complete(request) is None
    w.approve(request, "human:kim")
    assert w.complete(request) is not None


def test_rules_that_exclude_the_owner_since_make_no_grant() -> None:
    w = World(replace(NEEDS, approvals=(replace(LEADS, not_=("requester",)),)))
    request = w.file(CLAUDE)
    signed = render(w.stated(request))
    w.record(filing.approve(w.book, request.id, signed, sign(signed, "human:lee"), needs=w.needs, against=w.against))
    w.needs = NEEDS
    assert w.complete(request) is None


def test_the_person_behind_the_system_user_never_counts() -> None:
    w = World(replace(NEEDS, approvals=(replace(LEADS, not_=("requester",)),)))
    refused(w, "self_approval", w.file(), "human:ada")


def test_who_is_not_asked_does_not_count() -> None:
    w = World()
    message = refused(w, "not_a_signer", w.file(), "human:eve")
    assert "human:eve" in message
    named = World(replace(NEEDS, approvals=(Approvals(1, ("human:k*",), ("owner",), touch=True),)))
    refused(named, "not_a_signer", named.file())


def test_a_claim_to_a_group_by_its_name_is_no_group() -> None:
    w = World(replace(NEEDS, approvals=(Approvals(1, ("group:human:eve",), ("owner",), touch=True),)))
    refused(w, "not_a_signer", w.file(), "human:eve")


def test_rules_that_got_stricter_since_the_request_count() -> None:
    w = World()
    request = w.file()
    w.needs = replace(NEEDS, ttl_max_seconds=600)
    refused(w, "change_control", request)
    w.approve(request, ask=ask_of(ttl_seconds=600))
    assert w.complete(request) is not None


def test_several_approvers_give_what_all_of_them_permit() -> None:
    w = World(replace(NEEDS, approvals=(replace(LEADS, count=2),)))
    request = w.file()
    w.approve(request, "human:lee", ask=ask_of(tables=("messages", "users"), ttl_seconds=900))
    w.approve(request, "human:kim", ask=ask_of(tables=("messages",), max_uses=3))
    grant = w.complete(request)
    assert grant is not None
    assert grant.ask == w.again(grant) == ask_of(tables=("messages",), ttl_seconds=900, max_uses=3)


def test_approvals_without_anything_in_common_make_nothing() -> None:
    w = World(replace(NEEDS, approvals=(replace(LEADS, count=2),)))
    request = w.file()
    w.approve(request, "human:lee", ask=ask_of(tables=("messages",)))
    refused(w, "change_control", request, "human:kim", ask=ask_of(tables=("users",)))


def test_an_approval_under_the_bundle_before_is_given_anew() -> None:
    w = World(replace(NEEDS, approvals=(replace(LEADS, count=2),)))
    request = w.file()
    w.approve(request, "human:lee")
    w.bundle = bundle_with(note="activated since")
    w.approve(request, "human:kim")
    assert w.complete(request) is None
    w.approve(request, "human:lee")
    assert w.complete(request) is not None


def test_a_crash_between_approval_and_grant_loses_nothing() -> None:
    w = World()
    request = w.file()
    w.approve(request)
    w.crash()
    assert [one.id for one in w.book.pending()] == [request.id]
    assert w.complete(request) is not None


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kind": "revoke"}, "bad_signature"),
        ({"subject": "req-another1"}, "bad_signature"),
        ({"ledger": "led-another1"}, "bad_signature"),
        ({"head": "0" * 64}, "bad_signature"),
        ({"bundle": "sha256:" + "0" * 64}, "bundle_changed"),
        ({"sign_by_ms": 1}, "bad_signature"),
    ],
)
def test_a_denial_of_something_else(changes: dict[str, Any], code: str) -> None:
    w = World()
    request = w.file()
    signed = render(w.objection("deny", request.id, **changes))
    with pytest.raises(GateError) as caught:
        filing.deny(w.book, request.id, signed, sign(signed, "human:lee"), w.against)
    assert caught.value.code == code


def test_a_denial_by_a_stranger_and_by_any_signer() -> None:
    w = World()
    request = w.file()
    signed = render(w.objection("deny", request.id, reason="not \N{SNOWMAN}\nnow"))
    with pytest.raises(GateError) as caught:
        filing.deny(w.book, request.id, signed, sign(signed, "stranger"), w.against)
    assert caught.value.code == "not_a_signer"
    w.record(filing.deny(w.book, request.id, signed, sign(signed, "human:eve"), w.against))
    assert w.book.request(request.id).state == "denied"


def test_the_people_of_these_tests_are_who_they_say() -> None:
    assert {w.principal for w in bundle_with().signers.entries} == set(PEOPLE)
    assert Needs().approvals == ()
