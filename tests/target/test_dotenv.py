"""The port of JS dotenv against the real one, and what it refuses to read."""

import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given, settings, strategies as st
from node_peer import Ask, peer

from gate.errors import GateError
from gate.target.dotenv import parse

_SCRIPT = 'const { parse } = require("dotenv"); const answer = (bytes) => parse(Buffer.from(bytes, "latin1"));'
_PIECES = [
    "CONVEX_DEPLOYMENT", "A", "a.b-c", "__proto__", "constructor", "export", "export ", "=", " = ", ": ", ":", "'", '"',
    "`", "\\'", '\\"', "\\n", "\\r", "\\", "#", " # x", "\n", "\n\n", "\r", "\r\n", " ", "\t", "dev:happy-otter-123",
    "prod:x", "${A}", "$A", "\ufeff", "\u00a0", "\u2028", "\u2029", "\x85", "\x1c", "\u180e", "é", "😀", "\v", "\f",
    "|", "x",
]  # fmt: skip
_line = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["", "export ", "  ", "\ufeff", "# "]),
    st.sampled_from(["A", "B", "CONVEX_DEPLOYMENT"]),
    st.sampled_from(["=", " = ", ": ", ":", "=\n", " =\t"]),
    st.lists(st.sampled_from(_PIECES), max_size=6).map("".join),
    st.sampled_from(["\n", "\r\n", "\r", "", " #c\n"]),
)
_files = st.one_of(
    st.lists(st.sampled_from(_PIECES), max_size=25).map("".join),
    st.lists(_line, max_size=5).map("".join),
)


@pytest.fixture(scope="module")
def js_dotenv(node_modules: Path) -> Iterator[Ask]:
    """Asked with the bytes of a file as latin-1 text: what dotenv parses out of them."""
    with peer(_SCRIPT, cwd=node_modules.parent) as ask:
        yield ask


@given(_files)
@settings(max_examples=2000, deadline=None)
@example("CONVEX_DEPLOYMENT: prod:x")
@example("CONVEX_DEPLOYMENT=x#dev")
@example("A=`b\n'c`'\n")
@example("A='x'\nB=\"'y'\\n\"\n'z'")
@example("A=\"'\n'\"\n")
def test_reads_what_javascript_reads(js_dotenv: Ask, text: str) -> None:
    data = text.encode()
    assert parse(data, ".env.local") == js_dotenv(data.decode("latin-1"))


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40))
@settings(max_examples=300, deadline=None)
def test_reads_any_text_as_javascript_does(js_dotenv: Ask, text: str) -> None:
    data = f"A={text}\nB='{text}'\n{text}=1".encode()
    assert parse(data, ".env") == js_dotenv(data.decode("latin-1"))


@pytest.mark.parametrize(
    "data", [b"A=\xff", b"A=b\0c", "A=b".encode("utf-16"), b"\xed\xa0\x80", b"A=" + b" " * 300 + b"b", b"#" * 1_048_577]
)
def test_refuses_what_it_cannot_read_exactly(data: bytes) -> None:
    with pytest.raises(GateError) as refusal:
        parse(data, "a file")
    assert refusal.value.code == "bad_env_file"
    assert "a file" in refusal.value.message


@pytest.mark.parametrize(
    "block",
    ["'x\n", "A='x\n", 'A="\\"', "\n", "\n" * 120 + "#", "A=" + " " * 120 + "'", "a", "export ", "A=`b\n", "'\n", "A:"],
)
def test_hostile_file_takes_no_time(block: str) -> None:
    """A megabyte of what makes the grammar go back and forth is read, or refused, in seconds."""
    data = ("A='" + block * (1024 * 1024 // len(block)))[: 1024 * 1024].encode()
    start = time.process_time()
    with suppress(GateError):
        parse(data, ".env")
    assert time.process_time() - start < 5
