"""The bundle: exactly its files, one digest per set of bytes, and nobody signs who is not listed."""

import hashlib

import pytest
from hypothesis import given, settings, strategies as st
from ssh_kit import key_of

from gate.config.bundle import bundle_paths, digest, load_bundle, project_of
from gate.errors import ConfigInvalid

GATE_YAML = b"""\
gate: 1
project: acme-chat
signers: gate.signers
roots: [human:ada]
policies: [policies/b.yaml, policies/a.yaml]
deployments: {}
principals:
  human:ada: {groups: [leads]}
  human:lee: {}
custody: {}
"""


def _files() -> dict[str, bytes]:
    return {
        "gate.yaml": GATE_YAML,
        "gate.signers": f"human:ada {key_of().public}\n".encode(),
        "policies/a.yaml": b"policy: 1\n",
        "policies/b.yaml": "# ä\n".encode(),
    }


def _findings(changes: dict[str, bytes | None]) -> list[str]:
    files = {path: data for path, data in (_files() | changes).items() if data is not None}
    with pytest.raises(ConfigInvalid) as caught:
        load_bundle(files)
    return caught.value.findings


def test_a_bundle_is_its_files_and_what_they_say() -> None:
    bundle = load_bundle(_files())
    assert bundle.files == _files()
    assert bundle.document.project == "acme-chat"
    assert bundle.signers.who(key_of().wire) == "human:ada"
    assert bundle_paths(GATE_YAML) == ("gate.signers", "policies/b.yaml", "policies/a.yaml")


def test_the_digest_can_be_computed_from_its_description() -> None:
    serialised = b"gate-bundle1\n"
    for path in sorted(_files(), key=str.encode):
        for part in (path.encode(), _files()[path]):
            serialised += len(part).to_bytes(8, "big") + part
    assert load_bundle(_files()).digest == "sha256:" + hashlib.sha256(serialised).hexdigest()


_SETS = st.dictionaries(st.text(st.sampled_from("ab/"), max_size=3), st.binary(max_size=3), max_size=3)


@settings(deadline=None)
@given(_SETS, _SETS)
def test_two_sets_of_files_have_two_digests(one: dict[str, bytes], other: dict[str, bytes]) -> None:
    assert (digest(one) == digest(other)) == (one == other)
    assert digest(one) == digest(dict(reversed(one.items())))


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"gate.yaml": None}, "gate.yaml:1:1: is missing"),
        ({"gate.signers": None}, "gate.yaml:3:10: gate.signers is missing"),
        ({"policies/a.yaml": None}, "gate.yaml:5:29: policies/a.yaml is missing"),
        ({"policies/c.yaml": b""}, "policies/c.yaml:1:1: is not part of the bundle"),
        ({"policies/a.yaml": b"\xff"}, "policies/a.yaml:1:1: is not UTF-8"),
        ({"gate.signers": b"# nobody\n"}, "gate.yaml:4:1: none of the roots has a line in gate.signers"),
    ],
)
def test_exactly_its_files(changes: dict[str, bytes | None], finding: str) -> None:
    assert _findings(changes) == [finding]


def test_signers_are_listed_persons_and_one_of_them_is_a_root() -> None:
    stranger = f"human:eve {key_of().public}\n".encode()
    assert _findings({"gate.signers": stranger}) == [
        "gate.signers:1:1: human:eve is not listed in gate.yaml; did you mean `human:lee`?",
        "gate.yaml:4:1: none of the roots has a line in gate.signers",
    ]
    assert "gate.signers:1:" in _findings({"gate.signers": b"human:ada ssh-rsa nothing\n"})[0]


def test_an_edited_draft_cannot_hide_its_project() -> None:
    assert project_of(b"project: acme-chat\nroots: nonsense\n") == "acme-chat"
    for text in (b"gate: 1\n", b"project: ../x\n", b"project: 7\n", b"[project]\n", b"project: a\nproject: b\n"):
        with pytest.raises(ConfigInvalid):
            project_of(text)
