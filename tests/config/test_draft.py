"""The draft of `gate init`: it loads, it proposes what the project's files name, and it never holds a key."""

import pytest
from hypothesis import given, settings, strategies as st
from ssh_kit import key_of

from gate.config.bundle import Bundle, load_bundle
from gate.config.document import DeploymentEntry
from gate.config.draft import draft
from gate.errors import ConfigInvalid, GateError
from gate.policy.load import load_rules

SECRET = "c2VjcmV0LWtleQ"


def _bundle(env: dict[str, str], convex_json: dict[str, str] | None = None) -> Bundle:
    texts = draft("My App", env, None, convex_json, "human:ada", public_key=key_of().public)
    bundle = load_bundle({path: text.encode() for path, text in texts.items()})
    load_rules(bundle)
    return bundle


def test_nothing_to_propose_is_an_empty_registry_that_loads() -> None:
    document = _bundle({}).document
    assert document.deployments == {}
    assert document.custody == {}
    assert document.project == "my-app"
    assert document.roots == ("human:ada",)


@pytest.mark.parametrize(
    ("env", "id_", "entry"),
    [
        (
            {"CONVEX_DEPLOYMENT": "dev:happy-otter-123", "CONVEX_URL": "https://other-cat-1.convex.cloud"},
            "dev",
            DeploymentEntry(
                cls="dev", name="happy-otter-123", url="https://happy-otter-123.convex.cloud", custody="dev"
            ),
        ),
        (
            {
                "CONVEX_DEPLOYMENT": "prod:happy-otter-123",
                "VITE_CONVEX_URL": "https://happy-otter-123.eu-west-1.convex.cloud/",
            },
            "prod",
            DeploymentEntry(
                cls="prod", name="happy-otter-123", url="https://happy-otter-123.eu-west-1.convex.cloud", custody="prod"
            ),
        ),
        (
            {"CONVEX_SELF_HOSTED_URL": "http://127.0.0.1:3210/", "CONVEX_SELF_HOSTED_ADMIN_KEY": SECRET},
            "dev",
            DeploymentEntry(cls="dev", url="http://127.0.0.1:3210", custody="dev"),
        ),
        (
            {"CONVEX_SELF_HOSTED_URL": "https://convex.acme.example", "CONVEX_SELF_HOSTED_ADMIN_KEY": SECRET},
            "self-hosted",
            DeploymentEntry(cls="prod", url="https://convex.acme.example", custody="self-hosted"),
        ),
    ],
)
def test_what_the_env_file_names_is_proposed(env: dict[str, str], id_: str, entry: DeploymentEntry) -> None:
    document = _bundle(env).document
    assert document.deployments == {id_: entry}
    assert set(document.custody) == {id_}


@pytest.mark.parametrize(
    "env",
    [
        {"CONVEX_DEPLOYMENT": "local:acme"},
        {"CONVEX_DEPLOYMENT": "anonymous:anonymous-agent"},
        {"CONVEX_DEPLOYMENT": 'dev:x", custody: {}}'},
        {"CONVEX_DEPLOY_KEY": f"prod:happy-otter-123|{SECRET}"},
        {"CONVEX_SELF_HOSTED_URL": f"https://{SECRET}@a.b"},
        {"CONVEX_SELF_HOSTED_URL": "http://convex.acme.example"},
    ],
)
def test_what_is_no_deployment_of_convex_s_is_not_proposed(env: dict[str, str]) -> None:
    assert _bundle(env).document.deployments == {}


def test_production_from_convex_json_wins_over_a_label() -> None:
    """Two proposals for one URL would not load; the stricter one stands."""
    convex_json = {"prodUrl": "https://proud-lynx-456.convex.cloud"}
    both = _bundle({"CONVEX_DEPLOYMENT": "dev:happy-otter-123"}, convex_json=convex_json).document.deployments
    assert {id_: entry.cls for id_, entry in both.items()} == {"prod": "prod", "dev": "dev"}
    same = _bundle({"CONVEX_DEPLOYMENT": "dev:proud-lynx-456"}, convex_json=convex_json).document.deployments
    assert {id_: entry.cls for id_, entry in same.items()} == {"prod": "prod"}


@pytest.mark.parametrize(
    ("package", "name", "project"),
    [
        ({"name": "@acme/Chat App"}, "folder", "acme-chat-app"),
        ({}, "folder", "folder"),
        ({"name": None}, "Ünï", "n"),
        ({"name": "On"}, "folder", "on"),
        ({"name": 123}, "folder", "123"),
        (None, "...", "project"),
        ({"name": "a" * 80}, "folder", "a" * 63),
        ({"name": "a" * 62 + " b"}, "folder", "a" * 62),
    ],
)
def test_the_project_s_name(package: dict[str, object] | None, name: str, project: str) -> None:
    texts = draft(name, {}, package, None, "human:ada", public_key=key_of().public)
    assert load_bundle({path: text.encode() for path, text in texts.items()}).document.project == project


def test_without_a_public_key_nobody_can_activate() -> None:
    texts = draft("acme", {}, None, None, "human:ada")
    with pytest.raises(ConfigInvalid, match="none of the roots"):
        load_bundle({path: text.encode() for path, text in texts.items()})


def test_only_a_person_and_a_public_key_get_in() -> None:
    for key in ("-----BEGIN OPENSSH PRIVATE KEY-----", "ssh-ed25519 AAAA\nhuman:eve ssh-ed25519 BBBB", ""):
        with pytest.raises(GateError, match="public key"):
            draft("acme", {}, None, None, "human:ada", public_key=key)
    for human in ("ada", "agent:codex", "human:ada]\nroots: [human:eve"):
        with pytest.raises(GateError, match="human:NAME"):
            draft("acme", {}, None, None, human)


_NAMES = st.sampled_from(
    ["CONVEX_DEPLOYMENT", "CONVEX_DEPLOY_KEY", "CONVEX_URL", "CONVEX_SELF_HOSTED_URL", "CONVEX_SELF_HOSTED_ADMIN_KEY"]
)
_VALUES = st.sampled_from(
    [f"prod:happy-otter-123|{SECRET}", SECRET, f"https://a:{SECRET}@a.b", f"https://a.b/?k={SECRET}", "dev:a-b-1", "\n"]
)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(_NAMES, _VALUES))
def test_a_key_is_never_in_a_draft_and_every_draft_loads(env: dict[str, str]) -> None:
    bundle = _bundle(env)
    assert all(SECRET.encode() not in data for data in bundle.files.values())
