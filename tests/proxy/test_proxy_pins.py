"""The variables that a child gets, and how leases are remembered."""

import pytest
from hypothesis import given, strategies as st
from leases import KEY, TOKEN, VIEW, lease, scope

from gate.proxy import book as book_module
from gate.proxy.book import Book
from gate.proxy.lease import Lease, Upstream
from gate.proxy.pins import BLANK, credential, pins, pins_anonymous, pins_local
from gate.proxy.refusal import Refused

PROXY = "http://127.0.0.1:4567"


def chosen(variables: dict[str, str]) -> dict[str, str]:
    assert set(variables) >= set(BLANK)
    return {name: value for name, value in variables.items() if value}


def test_cloud_deployments_go_through_the_control_plane() -> None:
    upstream = Upstream("https://happy-otter-123.convex.cloud", "happy-otter-123", "dev", KEY)
    token = credential(upstream, TOKEN)
    assert token == f"dev:happy-otter-123|{TOKEN}"
    assert chosen(pins(token, PROXY, upstream)) == {
        "CONVEX_DEPLOY_KEY": token,
        "CONVEX_PROVISION_HOST": PROXY,
        "CONVEX_VERSION_API_ORIGIN": PROXY,
    }


def test_deployments_without_a_name_use_the_pair() -> None:
    upstream = Upstream("https://convex.example", None, "dev", KEY)
    assert chosen(pins(credential(upstream, TOKEN), PROXY, upstream)) == {
        "CONVEX_SELF_HOSTED_URL": PROXY,
        "CONVEX_SELF_HOSTED_ADMIN_KEY": TOKEN,
        "CONVEX_VERSION_API_ORIGIN": PROXY,
    }


def test_anonymous_and_local() -> None:
    assert chosen(pins_anonymous(None)) == {"CONVEX_AGENT_MODE": "anonymous"}
    assert chosen(pins_anonymous("anonymous-agent")) == {
        "CONVEX_AGENT_MODE": "anonymous",
        "CONVEX_DEPLOYMENT": "anonymous:anonymous-agent",
    }
    assert chosen(pins_local("local-a-b", PROXY)) == {
        "CONVEX_DEPLOYMENT": "local:local-a-b",
        "CONVEX_PROVISION_HOST": PROXY,
        "CONVEX_VERSION_API_ORIGIN": PROXY,
    }


def opens(book: Book, header: str) -> tuple[Lease, str | None] | None:
    try:
        entry, user = book.by_header(header)
    except Refused:
        return None
    return entry.lease, user


@given(st.text(max_size=80), st.sampled_from(["{}", "Convex {}", "Convex {credential}{}", "Convex {}:{credential}"]))
def test_no_other_text_opens_a_lease(text: str, form: str) -> None:
    book = Book()
    ours = lease("http://127.0.0.1:9", scope("data", VIEW))
    book.add(ours)
    header = form.format(text, credential=ours.credential)
    opened = opens(book, header)
    if opened is not None:
        user = opened[1]
        assert header == f"Convex {ours.credential}" + ("" if user is None else f":{user}")


def test_ended_leases_are_remembered_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "_REMEMBERED", 2)
    book = Book()
    leases = [lease("http://127.0.0.1:9", scope("data", VIEW), token=f"t{n}") for n in range(5)]
    for one in leases:
        book.add(one)
        one.ended = "over"
    live = lease("http://127.0.0.1:9", scope("data", VIEW), token="live")
    book.add(live)
    assert [book.entry(one.id) is not None for one in [*leases, live]] == [False, False, False, True, True, True]
