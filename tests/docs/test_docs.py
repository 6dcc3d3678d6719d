"""The pages hold: links resolve, commands exist, examples load, tables are those of the code."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gate import CONVEX_VERSIONS, __version__
from gate.cli.app import gate
from gate.config.bundle import load_bundle
from gate.errors import EXITS, ConfigInvalid
from gate.identity.caller import who
from gate.invocation import Invocation
from gate.keeper.service import Service
from gate.policy.load import load_rules
from gate.walk import Ground, walk

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_MACHINE = re.compile(r"(?<![\w.~-])/(?:work|tmp|root|home|Users|mnt)/")
_NAMED_PAGE = re.compile(r"\bdocs/[\w/.-]*\.(?:md|py)\b")
_PUNCTUATION = set("|&;<>()")


def pages() -> list[tuple[str, str]]:
    """Name and text of every page."""
    return [(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")) for path in PAGES]


def fences(text: str, language: str) -> list[str]:
    """Content of the fenced blocks in `language`."""
    return [body for tag, body in _FENCE.findall(text) if tag == language]


def prose(text: str) -> str:
    """`text` without its fenced blocks."""
    return _FENCE.sub("", text)


def anchors(text: str) -> set[str]:
    """Names of the headings, as links spell them."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(block: str) -> Iterator[list[str]]:
    """Words of every `gate` call in the `$ ` lines of a console block."""
    for line in re.findall(r"^\$ (.*)$", block.replace("\\\n", " "), re.MULTILINE):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        yield from _calls(list(lexer))


def _calls(words: list[str]) -> Iterator[list[str]]:
    call: list[str] = []
    for word in [*words, ";"]:
        if set(word) <= _PUNCTUATION:
            if call[:1] == ["gate"]:
                yield call[1:]
            call = []
        elif call or not re.match(r"[A-Z_]+=", word):
            call.append(word)


def insist_exists(words: list[str]) -> None:
    """Read `words` as click would, values unread. Raises click.UsageError for a verb or option that is not there."""
    command: click.Command = gate
    context = click.Context(gate, info_name="gate", **gate.context_settings)
    while True:
        options, words, _ = command.make_parser(context).parse_args(list(words))
        if not isinstance(command, click.Group):
            return
        if not words:
            assert options, f"{context.command_path} wants a verb"
            return
        found = command.get_command(context, words[0])
        if found is None:
            raise click.UsageError(f"no verb {words[0]}")
        context = click.Context(found, parent=context, info_name=words[0], **found.context_settings)
        command, words = found, words[1:]


def contract() -> str:
    """Text of docs/contract.md."""
    return (DOCS / "contract.md").read_text(encoding="utf-8")


def examples(policies: int = 2) -> dict[str, bytes]:
    """Files of the bundle that docs/contract.md shows, with a signer for its root."""
    document, *rest = fences(contract(), "yaml")
    assert len(rest) == policies
    key = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    texts = {"gate.yaml": document, "gate.signers": f"human:ada {key.decode()}\n"}
    texts |= {f"policies/{re.findall(r'^name: (.*)$', text, re.MULTILINE)[0]}.yaml": text for text in rest}
    return {path: text.encode() for path, text in texts.items()}


@pytest.mark.parametrize(("name", "text"), pages())
def test_links_resolve(name: str, text: str) -> None:
    """To files that are there, and to headings that they have."""
    for link in _LINK.findall(prose(text)):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


@pytest.mark.parametrize(("name", "text"), pages())
def test_no_page_knows_a_machine(name: str, text: str) -> None:
    """A path of somebody's own machine helps nobody else."""
    assert not _MACHINE.findall(text), name
    assert str(ROOT) not in text


@pytest.mark.parametrize(("name", "text"), pages())
def test_every_shown_command_exists(name: str, text: str) -> None:
    """Verbs and options of the console blocks are those of the command line."""
    for block in fences(text, "console"):
        for words in commands(block):
            try:
                insist_exists(words)
            except click.UsageError as error:
                pytest.fail(f"{name}: gate {' '.join(words)}: {error.message}")


@pytest.mark.parametrize(("name", "text"), pages())
def test_every_named_verb_exists(name: str, text: str) -> None:
    """Also in running text."""
    named = set(re.findall(r"`gate ((?!-)[a-z]+)", prose(text)))
    assert named <= set(gate.list_commands(click.Context(gate))), name


def test_every_example_in_the_help_exists() -> None:
    """The last line of a verb's help can be typed."""
    shown = re.findall(r"^  Example: (.*)$", (DOCS / "reference.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert shown
    for words in commands("".join(f"$ {line}\n" for line in shown)):
        insist_exists(words)


@pytest.mark.parametrize("line", ["$ gate frobnicate", "$ gate audit", "$ x=1 | gate audit tail --nope", "$ gate key"])
def test_a_command_that_is_not_there_is_found(line: str) -> None:
    """The check above is none if it takes anything."""
    (words,) = commands(line)
    with pytest.raises((click.UsageError, AssertionError)):
        insist_exists(words)


def test_the_bundle_of_the_contract_loads() -> None:
    """What the page shows can be copied: gate.yaml, both policies, and every example in them comes out."""
    bundle = load_bundle(examples())
    assert bundle.document.project == "acme-chat"
    load_rules(bundle)


@pytest.mark.parametrize("number", range(2))
def test_the_policies_of_the_language_page_load(number: int) -> None:
    """Each in the same bundle, its examples included."""
    shown = fences((DOCS / "policy.md").read_text(encoding="utf-8"), "yaml")
    assert len(shown) == 2
    files = examples()
    files["policies/production.yaml"] = shown[number].encode()
    load_rules(load_bundle(files))


def test_the_policies_of_the_contract_are_those_that_are_shipped() -> None:
    """No third version of them."""
    shown = examples()
    for path in ("policies/default.yaml", "policies/production.yaml"):
        assert _without_examples(shown[path].decode()) == _without_examples((ROOT / path).read_text(encoding="utf-8"))


def _without_examples(text: str) -> str:
    return re.sub(r"^    examples:\n(?:      .*\n)+", "", text, flags=re.MULTILINE)


def test_a_broken_example_would_be_found() -> None:
    """The check above is none if everything loads."""
    files = examples()
    files["gate.yaml"] = files["gate.yaml"].replace(b"custody: dev}", b"custody: dve}")
    with pytest.raises(ConfigInvalid):
        load_bundle(files)


def test_the_decision_of_the_contract_is_what_the_walk_answers() -> None:
    """For the bundle on the same page; only the digest hangs on the key that signs."""
    bundle = load_bundle(examples())
    document = bundle.document
    ground = Ground(document, load_rules(bundle), bundle.digest, "advisory", distrusted=None, kinds={})
    shown = json.loads(fences(contract(), "json")[0])
    made = walk(
        _data_on_production(bundle.files["gate.yaml"]),
        who("agent:codex", 1000, document.principals),
        ground,
        decision_id=shown["id"],
        time=shown["time"],
    )
    assert re.fullmatch("sha256:[0-9a-f]{64}", shown["bundle"])
    assert shown | {"bundle": bundle.digest} == made.to_json()


def _data_on_production(gate_yaml: bytes) -> Invocation:
    return Invocation(
        door="cli",
        argv=("data", "messages", "--prod"),
        cwd="/",
        variables={},
        files={".env.local": b"CONVEX_DEPLOYMENT=dev:happy-otter-123\n"},
        problems={},
        gate_yaml=gate_yaml,
        principal="agent:codex",
        grant=None,
        local_config=None,
        cli_version="1.48.0",
        tty=False,
    )


def test_the_version_of_the_contract_is_the_one_that_is_known() -> None:
    """The tables are facts about it."""
    assert all(version in contract().partition("## Versions")[2][:200] for version in CONVEX_VERSIONS)


def test_the_exit_codes_of_the_contract_are_those_of_the_code() -> None:
    """Every code in the row of its status."""
    table = contract().partition("### Exit codes")[2].partition("[errors.md]")[0]
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE)
    shown = {code: int(status) for status, codes in rows for code in re.findall(r"`(\w+)`", codes)}
    assert shown == EXITS


def test_every_operation_of_the_keeper_is_described(tmp_path: Path) -> None:
    """And none that it does not have."""
    headings = re.findall(r"^### (.*)$", (DOCS / "protocol.md").read_text(encoding="utf-8"), re.MULTILINE)
    described = {name for heading in headings for name in heading.split(", ")}
    assert described == set(Service(tmp_path, lambda: None).handlers())


def test_pages_that_the_code_names_exist() -> None:
    """A remedy that sends its reader to a page that is not there is none."""
    sources = [*(ROOT / "gate").rglob("*.py"), ROOT / "pyproject.toml"]
    named = {page for path in sources for page in _NAMED_PAGE.findall(path.read_text(encoding="utf-8"))}
    assert {page for page in named if not (ROOT / page).is_file()} == set()


def test_the_changelog_knows_this_version() -> None:
    """The newest entry is what is being released."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.findall(r"^## \[?([^\]\n]+)", text, re.MULTILINE)[:2] == ["Unreleased", __version__]
