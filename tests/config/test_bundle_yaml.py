"""YAML of a bundle: what two readers could read differently is refused, with its position, however large or deep."""

import time
from typing import Any

import pytest
import yaml
from hypothesis import given, settings, strategies as st

from gate.config.yaml import DEEPEST, LARGEST, LARGEST_NUMBER, MOST_FINDINGS, load
from gate.errors import ConfigInvalid


def _findings(text: str | bytes) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        load(text if isinstance(text, bytes) else text.encode(), "f.yaml")
    return caught.value.findings


def test_plain_data_and_where_it_stands() -> None:
    loaded = load(b"a: 1\nb:\n  - x\n  - {c: true, d: null}\n", "f.yaml")
    assert loaded.data == {"a": 1, "b": ("x", {"c": True, "d": None})}
    assert loaded.at(("b", 1, "c")) == (4, 9)
    assert loaded.at(("b", 1, "c"), key=True) == (4, 6)
    assert loaded.finding(("b", 1, "none", 7), "gone") == "f.yaml:4:5: gone"
    assert loaded.finding(("none",), "gone", key=True) == "f.yaml:1:1: gone"


@pytest.mark.parametrize(
    "text",
    [
        *("yes", "No", "on", "OFF", "y", "n", "True", "FALSE", "~", "Null", "="),
        *("017", "0o17", "0x1F", "0b11", "1_000", "22:30", "1:30:00", "+1", "08", "-0"),
        *("1.5", ".5", "1e3", "1.", "1.5e+3", ".inf", "-.INF", ".nan", "20:30.15"),
        *("2024-01-01", "2024-01-01T10:00:00Z", "2024-1-1 10:00:00"),
        *("9" * 17, str(LARGEST_NUMBER + 1), ""),
    ],
)
def test_what_readers_of_yaml_disagree_about_is_refused(text: str) -> None:
    (finding,) = _findings(f"a: {text}\n")
    assert finding.startswith("f.yaml:1:")
    if text:
        assert load(f"a: '{text}'\n".encode(), "f").data == {"a": text}


@settings(deadline=None)
@given(st.text(st.sampled_from("0123456789abefnoxytrulsNTF.:-+_~ eE="), min_size=1, max_size=8))
def test_plain_text_is_never_something_else_to_another_reader(text: str) -> None:
    """What comes out as text (or a number, or a boolean) here is the same to YAML 1.1's usual reader."""
    data = f"a: {text}\n".encode()
    try:
        ours = load(data, "f").data
    except ConfigInvalid:
        return
    assert ours == _other(data)
    assert type(ours["a"]) is type(_other(data)["a"])


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("a: 1\nb: 2\na: 3\n", "f.yaml:3:1: this key stands twice, first in line 1"),
        ("a: &x 1\n", "f.yaml:1:4: anchors are not taken: write the value out"),
        ("a: !!str 1\n", "f.yaml:1:4: tags are not taken"),
        ("a: ! x\n", "f.yaml:1:4: tags are not taken"),
        ("a: {<<: {b: 1}}\n", "f.yaml:1:5: merges are not taken: write the members out"),
        ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document is not taken"),
        ("%YAML 1.1\n---\na: 1\n", "f.yaml:1:1: directives are not taken"),
        ("", "f.yaml:1:1: is empty"),
        ("# nothing\n", "f.yaml:1:1: is empty"),
        ("1: a\n", "f.yaml:1:1: a key has to be text in one line; quote it"),
        ("'': a\n", "f.yaml:1:1: a key has to be text in one line; quote it"),
        ('"a\\nb": a\n', "f.yaml:1:1: a key has to be text in one line; quote it"),
        ("? [a, {b: c}]\n: d\n", "f.yaml:1:3: a key has to be text in one line; quote it"),
        ('a: "\\0"\n', "f.yaml:1:4: holds the invisible character U+0000"),
        ("a: \u202eb\n", "f.yaml:1:4: holds the invisible character U+202E"),
        ("a:\n  - b\n - c\n", "f.yaml:3:2: is no YAML: did not find expected key"),
        ("b: 1\na: \x1b\n", "f.yaml:2:1: holds a character that YAML does not take"),
    ],
)
def test_each_refusal_has_its_position(text: str, finding: str) -> None:
    assert _findings(text) == [finding]


def test_all_findings_come_at_once_and_are_bounded() -> None:
    assert _findings("a: &x yes\nb: *x\n? &y k\n: 017\n") == [
        "f.yaml:1:4: anchors are not taken: write the value out",
        "f.yaml:1:4: only `true`, `false` and `null` are words of YAML here; quote it if it is text",
        "f.yaml:2:4: aliases are not taken: write the value out",
        "f.yaml:3:3: anchors are not taken: write the value out",
        "f.yaml:4:3: only plain whole numbers are taken; quote it if it is text",
    ]
    assert len(_findings("- ~\n" * 5000)) == MOST_FINDINGS


@pytest.mark.parametrize("opening", ["[", "- ", "{a: ", "? "])
def test_depth_is_bounded_before_anything_is_built(opening: str) -> None:
    started = time.monotonic()
    assert _findings(opening * 200_000)
    assert time.monotonic() - started < 20


def test_depth_at_its_limit_is_taken() -> None:
    load(("[" * DEEPEST + "]" * DEEPEST).encode(), "f")
    (finding,) = _findings("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))
    assert finding == f"f.yaml:1:{DEEPEST + 1}: nested deeper than {DEEPEST}"


def test_bytes_that_are_no_text_of_ours() -> None:
    started = time.monotonic()
    assert _findings(b"a: b\n" * 2_000_000) == [f"f.yaml:1:1: larger than {LARGEST} bytes"]
    assert time.monotonic() - started < 2
    assert _findings(b"a: b\nc: \0\n") == ["f.yaml:2:1: holds a NUL byte (UTF-16 is not read)"]
    assert _findings("a: b\n".encode("utf-16-le")) == ["f.yaml:1:1: holds a NUL byte (UTF-16 is not read)"]
    assert _findings("a: b\n".encode("utf-16"))
    assert _findings(b"a: b\nc: \xff\n") == ["f.yaml:2:1: is not UTF-8"]


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(st.sampled_from("ab:-[]{}#&*!|>'\"%? \n0"), max_size=60).map(str.encode))
def test_any_bytes_load_or_are_refused(data: bytes) -> None:
    try:
        loaded = load(data, "f")
    except ConfigInvalid as error:
        assert error.findings  # noqa: PT017 - both ways out are right
    else:
        assert loaded.data == _tuples(_other(data))


def _tuples(value: object) -> object:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _other(data: bytes) -> Any:
    """What the usual reader sees; the C parser, since the two parsers differ in which broken texts they take."""
    return yaml.load(data, Loader=yaml.CSafeLoader)
