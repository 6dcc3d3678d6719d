"""Which deployment a call reaches: Convex's precedence met with the registry, and every refusal."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings, strategies as st
from target_kit import DEV, PREVIEW, PROD, REGISTRY, STAGING, choose, entry, seen

from gate.errors import GateError
from gate.invocation import Invocation
from gate.target.select import origin_of

_PAIR = {"CONVEX_SELF_HOSTED_URL": "http://127.0.0.1:3210", "CONVEX_SELF_HOSTED_ADMIN_KEY": "own|s3cret"}
_CONFIGURED = {".env.local": f"CONVEX_DEPLOYMENT=dev:{DEV} # team: acme\n"}


def _reached(
    argv: str, variables: Mapping[str, str] | None = None, files: Mapping[str, str | bytes] | None = None
) -> tuple[str, str]:
    target = choose(seen(argv.split(), variables, files))
    assert target is not None
    return target.deployment, target.chosen_by


def _refusal(
    argv: str, variables: Mapping[str, str] | None = None, files: Mapping[str, str | bytes] | None = None
) -> GateError:
    with pytest.raises(GateError) as refusal:
        choose(seen(argv.split(), variables, files))
    assert "s3cret" not in refusal.value.message + refusal.value.remedy
    assert refusal.value.remedy
    return refusal.value


def _outcome(call: Invocation) -> str:
    """The chosen deployment, or the code of the refusal."""
    try:
        target = choose(call)
    except GateError as refusal:
        return refusal.code
    return "none" if target is None else target.deployment


@pytest.mark.parametrize(
    ("argv", "deployment", "chosen_by"),
    [
        ("data", "dev", "CONVEX_DEPLOYMENT in .env.local"),
        ("dev", "dev", "CONVEX_DEPLOYMENT in .env.local"),
        ("init", "dev", "CONVEX_DEPLOYMENT in .env.local"),
        ("deploy", "prod", "deploy, and CONVEX_DEPLOYMENT in .env.local"),
        ("data --prod", "prod", "--prod"),
        ("data --deployment prod", "prod", "--deployment"),
        ("data --deployment dev", "dev", "--deployment"),
        ("data --deployment staging", "staging", "--deployment"),
        ("data --deployment dev/ada", "dev", "--deployment"),
        ("data --deployment chat:staging", "staging", "--deployment"),
        ("data --deployment chat:prod", "prod", "--deployment"),
        ("data --deployment acme:chat:prod", "prod", "--deployment"),
        (f"data --deployment {STAGING}", "staging", "--deployment"),
        (f"data --deployment-name {PROD}", "prod", "--deployment-name"),
        (f"data --deployment-name {PROD} --prod --deployment dev", "dev", "--deployment"),
        (f"data --deployment-name {DEV} --prod", "dev", "--deployment-name"),
        (f"data --deployment-name {DEV} --preview-name my-branch", "preview", "--preview-name"),
        ("data --preview-name my-branch --prod", "preview", "--preview-name"),
        ("deploy --preview-name my-branch", "preview", "--preview-name"),
        ("run f --component --prod", "dev", "CONVEX_DEPLOYMENT in .env.local"),
        ("data --url https://other.example", "dev", "CONVEX_DEPLOYMENT in .env.local"),
    ],
)
def test_flags_in_a_configured_project(argv: str, deployment: str, chosen_by: str) -> None:
    assert _reached(argv, files=_CONFIGURED) == (deployment, chosen_by)


def test_target_says_what_the_registry_says() -> None:
    target = choose(seen(["data", "--prod"], files=_CONFIGURED))
    assert target is not None
    assert (target.cls, target.name, target.url, target.custody) == (
        "prod",
        PROD,
        f"https://{PROD}.convex.cloud",
        "keys",
    )


@pytest.mark.parametrize("argv", ["--version", "help", "docs", "update", "run f --help", "env"])
def test_commands_that_touch_nothing_have_no_target(argv: str) -> None:
    """Not even a broken env file is looked at."""
    assert choose(seen(argv.split(), {"DOTENV_KEY": "x"}, {".env.local": b"\xff"})) is None


@pytest.mark.parametrize("place", ["the environment", ".env.local", ".env", "the --env-file"])
@pytest.mark.parametrize(
    ("values", "deployment"),
    [
        ({"CONVEX_DEPLOYMENT": f"prod:{DEV}"}, "dev"),
        ({"CONVEX_DEPLOYMENT": PROD}, "prod"),
        ({"CONVEX_DEPLOYMENT": f"team:any:{STAGING}"}, "staging"),
        ({"CONVEX_DEPLOY_KEY": f"dev:{PROD}|s3cret"}, "prod"),
        ({"CONVEX_DEPLOY_KEY": f"{DEV}|s3cret|x"}, "dev"),
        ({"CONVEX_DEPLOY_KEY": f"preview:{PREVIEW}|s3cret"}, "preview"),
        ({"CONVEX_DEPLOYMENT_TOKEN": f"prod:{DEV}|s3cret"}, "dev"),
        ({"CONVEX_DEPLOY_KEY": "", "CONVEX_DEPLOYMENT_TOKEN": f"prod:{DEV}|s3cret"}, "dev"),
        ({"CONVEX_DEPLOY_KEY": f"x:{DEV}|1", "CONVEX_DEPLOYMENT_TOKEN": f"x:{PROD}|1", **_PAIR}, "dev"),
        ({"CONVEX_DEPLOY_KEY": "<ignore_deploy_key>", "CONVEX_DEPLOYMENT_TOKEN": f"x:{PROD}|1", **_PAIR}, "own-dev"),
        (_PAIR, "own-dev"),
        ({**_PAIR, "CONVEX_SELF_HOSTED_URL": "HTTPS://Convex.Example.com:8443/"}, "own-prod"),
    ],
)
def test_variables_select_from_every_place(place: str, values: Mapping[str, str], deployment: str) -> None:
    text = "".join(f"{name}={value}\n" for name, value in values.items())
    if place == "the environment":
        reached = _reached("data", values)
    elif place == "the --env-file":
        reached = _reached("data --env-file f", {"CONVEX_DEPLOYMENT": "ignored"}, {"f": text, ".env.local": b"\xff"})
    else:
        reached = _reached("data", files={place: text})
    assert reached[0] == deployment
    assert reached[1].endswith(f" in {place}")


def test_environment_hides_files_even_when_empty() -> None:
    """Nothing that is set is overridden: an empty CONVEX_DEPLOYMENT unselects what .env.local says."""
    assert _reached("data", {"CONVEX_DEPLOYMENT": ""}, _CONFIGURED) == ("anonymous", "nothing is selected")
    files = {**_CONFIGURED, ".env": f"CONVEX_DEPLOYMENT={PROD}"}
    assert _reached("data", files=files) == ("dev", "CONVEX_DEPLOYMENT in .env.local")


def test_with_nothing_configured() -> None:
    assert _reached("data") == ("anonymous", "nothing is selected")
    assert _reached("deploy") == ("prod", "deploy")
    assert _reached("data --prod") == ("prod", "--prod")
    assert _reached(f"data --deployment-name {DEV}")[0] == "dev"
    assert _reached("data", {"CONVEX_URL": f"https://{PROD}.convex.cloud"})[0] == "anonymous"


@pytest.mark.parametrize(
    ("config", "name"),
    [
        (b'{"deploymentName": "anonymous-agent"}', "anonymous-agent"),
        (b'{"deploymentName": "local-acme-chat"}', None),
        (b'{"deploymentName": "anonymous-../../x"}', None),
        (b'{"deploymentName": 1}', None),
        (b"[]", None),
        (b"{", None),
        (b"\xff", None),
        (b"[" * 100_000, None),
        (None, None),
    ],
)
def test_anonymous_state_gives_the_name(config: bytes | None, name: str | None) -> None:
    target = choose(seen(["data"], local_config=config))
    assert target is not None
    assert (target.deployment, target.cls, target.name, target.custody) == ("anonymous", "anonymous", name, None)


@pytest.mark.parametrize("flag", ["", " --prod", " --deployment prod", " --preview-name my-branch"])
def test_anonymous_deployment_swallows_flags(flag: str) -> None:
    """The CLI looks at none of them once an anonymous deployment is selected."""
    target = choose(seen(f"data{flag}".split(), {"CONVEX_DEPLOYMENT": "anonymous:anonymous-agent"}))
    assert target is not None
    assert (target.deployment, target.name) == ("anonymous", "anonymous-agent")


def test_local_deployments() -> None:
    variables = {"CONVEX_DEPLOYMENT": "local:local-acme-chat"}
    assert _reached("data", variables)[0] == "local"
    assert _reached("data --prod", variables)[0] == "prod"
    assert _reached("deploy", variables)[0] == "prod"
    assert _reached("data", {"CONVEX_DEPLOYMENT": "local-acme-chat"})[0] == "local"
    state = b'{"deploymentName": "local-acme-chat"}'
    for selector in ("local", "chat:local", "acme:chat:local"):
        target = choose(seen(["data", "--deployment", selector], files=_CONFIGURED, local_config=state))
        assert target is not None
        assert (target.cls, target.name) == ("local", "local-acme-chat")


@pytest.mark.parametrize(
    ("argv", "variables", "files", "code"),
    [
        ("data --url u --admin-key s3cret", {}, {}, "key_in_argv"),
        ("data --admin-key s3cret", {}, {}, "key_in_argv"),
        ("run f --admin-key s3cret --help", {}, {}, "key_in_argv"),
        ("data", {"CONVEX_SELF_HOSTED_URL": "http://127.0.0.1:3210"}, {}, "ambiguous_target"),
        ("data", {"CONVEX_SELF_HOSTED_ADMIN_KEY": "s3cret"}, {}, "ambiguous_target"),
        ("data", {"CONVEX_SELF_HOSTED_ADMIN_KEY": "s3cret"}, _CONFIGURED, "ambiguous_target"),
        ("data", _PAIR, _CONFIGURED, "ambiguous_target"),
        ("data --prod", _PAIR, {}, "ambiguous_target"),
        (f"data --deployment {DEV}", _PAIR, {}, "ambiguous_target"),
        ("data --preview-name x", _PAIR, {}, "ambiguous_target"),
        (f"data --deployment-name {DEV}", _PAIR, {}, "ambiguous_target"),
        ("data --prod", {"CONVEX_DEPLOY_KEY": f"dev:{DEV}|s3cret"}, {}, "ambiguous_target"),
        (f"data --deployment {DEV}", {"CONVEX_DEPLOY_KEY": f"dev:{DEV}|s3cret"}, {}, "ambiguous_target"),
        ("data", {"CONVEX_DEPLOY_KEY": "preview:acme:chat|s3cret"}, {}, "ambiguous_target"),
        ("data", {"CONVEX_DEPLOY_KEY": "project:acme:chat|s3cret"}, {}, "ambiguous_target"),
        ("data", {"CONVEX_DEPLOY_KEY": "s3cret"}, {}, "unknown_deployment"),
        ("data", {"CONVEX_DEPLOY_KEY": "<missing_deploy_key:s3cret>"}, {}, "unknown_deployment"),
        ("data", {"CONVEX_DEPLOY_KEY": "prod:grey-mole-1|s3cret"}, {}, "unknown_deployment"),
        ("data", {"CONVEX_DEPLOYMENT": "dev:grey-mole-1"}, {}, "unknown_deployment"),
        ("data", {"CONVEX_DEPLOYMENT": f"dev:{DEV} "}, {}, "unknown_deployment"),
        ("data", {"CONVEX_DEPLOYMENT": "anonymous:anonymous-../x"}, {}, "unknown_deployment"),
        ("data", {"CONVEX_DEPLOYMENT": "local:../x"}, {}, "unknown_deployment"),
        ("data --deployment-name grey-mole-1", {}, _CONFIGURED, "unknown_deployment"),
        ("data --deployment grey-mole-1", {}, _CONFIGURED, "unknown_deployment"),
        ("data --deployment nothing", {}, _CONFIGURED, "unknown_deployment"),
        ("data --deployment=", {}, _CONFIGURED, "unknown_deployment"),
        ("data --deployment a:b:c:d", {}, _CONFIGURED, "unknown_deployment"),
        ("data --deployment other:prod", {}, _CONFIGURED, "unknown_deployment"),
        ("data --deployment other:chat:prod", {}, _CONFIGURED, "unknown_deployment"),
        ("data --deployment local", {}, _CONFIGURED, "unknown_deployment"),
        ("data --preview-name nothing", {}, _CONFIGURED, "unknown_deployment"),
        ("deploy", {"CONVEX_DEPLOYMENT": "anonymous:anonymous-agent"}, {}, "unknown_deployment"),
        ("data", {"CONVEX_ALLOW_ANONYMOUS": "false"}, {}, "unknown_deployment"),
        ("data", {"CONVEX_ALLOW_ANONYMOUS": "false", "CONVEX_DEPLOYMENT": "anonymous-x"}, {}, "unknown_deployment"),
        ("data", {}, {".env": "CONVEX_ALLOW_ANONYMOUS=false"}, "unknown_deployment"),
        ("data", {"VERCEL": "1"}, {}, "unknown_deployment"),
        ("data", {**_PAIR, "CONVEX_SELF_HOSTED_URL": "https://other.example"}, {}, "unknown_deployment"),
        ("data", {**_PAIR, "CONVEX_SELF_HOSTED_URL": "http://127.0.0.1:3210/x"}, {}, "unknown_deployment"),
        ("data", {**_PAIR, "CONVEX_SELF_HOSTED_URL": "https://u:s3cret@convex.example.com"}, {}, "unknown_deployment"),
        ("data", {**_PAIR, "CONVEX_SELF_HOSTED_URL": "no url"}, {}, "unknown_deployment"),
        ("data", {**_PAIR, "CONVEX_SELF_HOSTED_URL": "http://convex.example.com:8443"}, {}, "insecure_url"),
        ("data", {**_PAIR, "CONVEX_SELF_HOSTED_URL": "http:convex.example.com"}, {}, "insecure_url"),
        ("data", {**_PAIR, "CONVEX_SELF_HOSTED_URL": "http://127.1:3210"}, {}, "insecure_url"),
        ("data", {**_PAIR, "CONVEX_SELF_HOSTED_URL": "http://127.0.0.1@evil.example"}, {}, "insecure_url"),
        ("dev", {"CONVEX_DEPLOYMENT": "local:local-acme-chat"}, {}, "unknown_command"),
        ("init", {"CONVEX_DEPLOYMENT": "local:local-acme-chat"}, {}, "unknown_command"),
        ("data", {"DOTENV_KEY": "dotenv://:key_s3cret@x/vault"}, {}, "bad_env_file"),
        ("data", {}, {".env.local": "DOTENV_KEY=s3cret", ".env.local.vault": "x"}, "bad_env_file"),
        ("data", {}, {".env": "DOTENV_KEY=s3cret"}, "bad_env_file"),
        ("data", {}, {".env.local": b"A=\xff"}, "bad_env_file"),
        ("data --env-file f", {}, {}, "bad_env_file"),
        ("data --env-file f", {}, {"f": "A=1"}, "bad_env_file"),
        ("data --env-file f --prod", {}, {"f": "A=1"}, "bad_env_file"),
        (f"data --env-file f --deployment {DEV}", {}, {}, "bad_env_file"),
        ("data --env-file f", {}, {"f": f"CONVEX_DEPLOYMENT={DEV}\nexport NODE_OPTIONS=-r x"}, "bad_env_file"),
        ("data --env-file f", {}, {"f": "CONVEX_DEPLOYMENT=anonymous-x\nCONVEX_ALLOW_ANONYMOUS=false"}, "bad_env_file"),
    ],
)  # fmt: skip
def test_refusals(argv: str, variables: Mapping[str, str], files: Mapping[str, str | bytes], code: str) -> None:
    assert _refusal(argv, variables, files).code == code


@pytest.mark.parametrize(("argv", "file"), [("data", ".env.local"), ("data", ".env"), ("data --env-file f", "f")])
def test_file_that_the_door_could_not_take_is_refused(argv: str, file: str) -> None:
    with pytest.raises(GateError, match="not a regular file") as refusal:
        choose(
            seen(
                argv.split(), files={".env.local": ""} if file == ".env" else {}, problems={file: "not a regular file"}
            )
        )
    assert refusal.value.code == "bad_env_file"


def test_files_that_are_not_read_do_not_matter() -> None:
    call = seen(
        ["data", "--env-file", "f"], {"DOTENV_KEY": "x"}, {"f": f"CONVEX_DEPLOYMENT={DEV}"}, {".env": "too large"}
    )
    target = choose(call)
    assert target is not None
    assert target.deployment == "dev"


def test_several_that_fit_are_ambiguous() -> None:
    registry = {**REGISTRY, "eu": entry("prod", "warm-seal-9", team="acme", slug="eu")}
    for argv in ("data --prod", "deploy", "data --deployment prod"):
        with pytest.raises(GateError, match="prod, eu") as refusal:
            choose(seen(argv.split(), files=_CONFIGURED), registry)
        assert refusal.value.code == "ambiguous_target"
    target = choose(seen(["data", "--deployment", "eu:prod"], files=_CONFIGURED), registry)
    assert target is not None
    assert target.deployment == "eu"


def test_no_production_is_unknown() -> None:
    """Self-hosted production has no name: neither --prod nor deploy means it."""
    registry = {id_: REGISTRY[id_] for id_ in ("dev", "own-prod")}
    for argv in ("data --prod", "deploy"):
        with pytest.raises(GateError) as refusal:
            choose(seen(argv.split(), files=_CONFIGURED), registry)
        assert refusal.value.code == "unknown_deployment"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://A.convex.cloud/", "https://a.convex.cloud"),
        ("https://a.convex.cloud:443", "https://a.convex.cloud"),
        ("http://localhost:3210", "http://localhost:3210"),
        ("http://[::1]:80", "http://[::1]"),
        ("http://a.convex.cloud", ""),
        ("https://u@a.convex.cloud", ""),
        ("https://a.convex.cloud/x", ""),
        ("ftp://a", ""),
        ("", ""),
    ],
)
def test_origins(url: str, origin: str) -> None:
    assert origin_of(url) == origin


# The precedence as a table of its own: the first row whose condition holds says what comes out.
_KEYS = {
    None: None,
    "": None,
    "<ignore_deploy_key>": None,
    f"prod:{STAGING}|k": "staging",
    "preview:a:b|k": "ambiguous_target",
}
_NAMES = {
    None: None,
    "": None,
    f"dev:{DEV}": "dev",
    f"prod:{PROD}": "prod",
    "local:local-a": "local",
    "anonymous:anonymous-a": "anonymous",
}
_SELECTORS = {None: None, "prod": "prod", "staging": "staging", "x:y:prod": "unknown_deployment", DEV: "dev"}
_FULL = {"x:y:prod", DEV}


@dataclass(frozen=True, slots=True)
class _World:
    """What a call says and what stands around it; `places`: where each variable stands (environment or a file)."""

    key: str | None
    pair: int
    name: str | None
    selector: str | None
    named: str | None
    prod: bool
    places: tuple[int, int, int, int]

    @property
    def argv(self) -> list[str]:
        flags = [*(["--deployment", self.selector] if self.selector else [])]
        flags += ["--deployment-name", self.named] if self.named else []
        return [*flags, *(["--prod"] if self.prod else [])]


_worlds = st.builds(
    _World,
    st.sampled_from(list(_KEYS)),
    st.integers(0, 2),
    st.sampled_from(list(_NAMES)),
    st.sampled_from(list(_SELECTORS)),
    st.sampled_from([None, STAGING]),
    st.booleans(),
    st.tuples(*[st.integers(0, 2)] * 4),
)


def _oracle(world: _World, command: str) -> str:
    deploy, configured = command == "deploy", _NAMES[world.name]
    rows = [
        (bool(world.key) and world.key != "<ignore_deploy_key>" and (world.prod or world.selector), "ambiguous_target"),
        (_KEYS[world.key], _KEYS[world.key]),
        (world.pair == 1, "ambiguous_target"),
        (world.pair == 2 and (world.name or world.selector or world.named or world.prod), "ambiguous_target"),
        (world.pair == 2, "own-dev"),
        (world.selector in _FULL, _SELECTORS[world.selector]),
        (world.named and not world.selector, "staging"),
        (configured == "anonymous" and deploy, "unknown_deployment"),
        (configured == "anonymous", "anonymous"),
        (world.selector, _SELECTORS[world.selector]),
        (world.prod or deploy, "prod"),
        (configured, configured),
    ]
    return next((str(result) for holds, result in rows if holds), "anonymous")


@given(_worlds, st.sampled_from(["data", "deploy"]))
@settings(max_examples=600, deadline=None)
def test_precedence_is_the_tables(world: _World, command: str) -> None:
    """Wherever the variables stand, in the environment or either file."""
    if command == "deploy":
        world = replace(world, selector=None, named=None, prod=False)
    values = {"CONVEX_DEPLOY_KEY": world.key, "CONVEX_DEPLOYMENT": world.name}
    values |= dict(itertools.islice(_PAIR.items(), world.pair))
    spread: list[dict[str, str]] = [{}, {}, {}]
    for (variable, value), place in zip(values.items(), world.places, strict=False):
        if value is not None:
            spread[place][variable] = value
    texts = ["".join(f"{variable}='{value}'\n" for variable, value in variables.items()) for variables in spread]
    call = seen([command, *world.argv], spread[0], {".env.local": texts[1], ".env": texts[2]})
    assert _outcome(call) == _oracle(world, command)


@given(st.binary(max_size=200), st.binary(max_size=80))
@settings(max_examples=300, deadline=None)
def test_hostile_files_give_a_target_or_a_refusal(env_local: bytes, config: bytes) -> None:
    """Whatever the files hold: a registered or built-in deployment, or a refusal that says why."""
    files = {".env.local": b"CONVEX_DEPLOYMENT=" + env_local}
    outcome = _outcome(seen(["data"], files=files, local_config=config))
    assert outcome in {*REGISTRY, "anonymous", "local", "bad_env_file", "unknown_deployment"}
