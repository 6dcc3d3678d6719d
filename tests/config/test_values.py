"""Single values: one spelling per origin, paths that stay below their folder, durations as written."""

import ipaddress
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings, strategies as st

from gate.config.values import duration, origin, relative_path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://happy-otter-123.convex.cloud", "https://happy-otter-123.convex.cloud"),
        ("HTTPS://Happy.Example/", "https://happy.example"),
        ("https://a.b:443", "https://a.b"),
        ("https://a.b:8443/", "https://a.b:8443"),
        ("http://127.0.0.1:3210", "http://127.0.0.1:3210"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://localhost:80", "http://localhost"),
        ("http://[0:0::1]:3210/", "http://[::1]:3210"),
        ("https://10.0.0.1", "https://10.0.0.1"),
    ],
)
def test_an_origin_has_one_spelling(text: str, expected: str) -> None:
    assert origin(text) == expected
    assert origin(expected) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "convex.cloud", "ftp://a.b", "https://", "https:///", "http://a.b", "http://10.0.0.1", "http://[::2]"),
        *("https://u@a.b", "https://u:p@a.b", "https://a.b/x", "https://a.b?x", "https://a.b#x", "https://a.b//"),
        *("https://a.b:0", "https://a.b:65536", "https://a.b:99999", "https://a.b:", "https://a.b:080", "https://a b"),
        *(
            "https://a.b\n",
            " https://a.b",
            "https://a\t.b",
            "https://ä.b",
            "https://-a.b",
            "https://a..b",
            "https://a.b.",
        ),
        *("http://127.1", "http://0x7f000001", "http://2130706433", "http://127.0.0.1.", "http://0177.0.0.1"),
        *("http://localhost.evil.example", "http://[::ffff:127.0.0.1]", "http://[::1%25lo]", "http://127.0.0.1@a.b"),
        *("https://a.0x1", "https://1.2.3", "https://256.1.1.1", "https://[1::2::3]"),
    ],
)
def test_no_origin(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - several texts, none of them shows the value
        origin(text)


@settings(deadline=None)
@given(st.from_regex(r"https?://[a-z0-9\[\]:.@/%-]{1,20}", fullmatch=True))
def test_an_origin_names_the_host_that_clients_reach(text: str) -> None:
    try:
        one = origin(text)
    except ValueError:
        return
    assert one == f"{urlsplit(one).scheme}://{urlsplit(one).netloc}"
    host = urlsplit(text).hostname or ""
    if one.startswith("http://"):
        assert host == "localhost" or ipaddress.ip_address(host).is_loopback


def test_durations() -> None:
    assert [duration(text) for text in ("10s", "60m", "8h")] == [10, 3600, 28800]
    for text in ("", "0s", "07s", "10", "s", "1d", "1.5h", "-1s", "1h\n", "9" * 10 + "s", "\u0661s"):
        with pytest.raises(ValueError, match="duration"):
            duration(text)


def test_paths_stay_below() -> None:
    assert relative_path("policies/a b.yaml") == "policies/a b.yaml"
    for text in ("", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\\b", "a\nb", "a\0"):
        with pytest.raises(ValueError, match="relative"):
            relative_path(text)
