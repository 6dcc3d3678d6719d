"""The route table: what is not spelled exactly as in it does not exist."""

import pytest
from hypothesis import given, strategies as st
from leases import DEPLOY, VIEW, scope

from gate.proxy import control_plane
from gate.proxy.lease import Scope
from gate.proxy.refusal import Refused
from gate.proxy.routes import ROUTES, SYNC, find

EVERYTHING = frozenset(effect for route in ROUTES.values() for need in route.needs for effect in need)
PLACES = sorted(place for place in ROUTES if not place.endswith("/N"))


def all_scopes() -> list[Scope]:
    return [Scope(EVERYTHING, command) for command in sorted({c for r in ROUTES.values() for c in r.commands})]


def passes(method: str, path: str, of: Scope) -> bool:
    try:
        find(method, path, of)
    except Refused:
        return False
    return True


@pytest.mark.parametrize("place", PLACES)
def test_each_route_wants_its_command_and_effects(place: str) -> None:
    method, _, path = place.partition(" ")
    route = ROUTES[place]
    for of in all_scopes():
        assert passes(method, path, of) == (of.command in route.commands)
        bare = Scope(frozenset(), of.command)
        assert passes(method, path, bare) == (of.command in route.commands and frozenset() in route.needs)


@given(
    st.sampled_from(PLACES),
    st.sampled_from(["%2e", "%00", "/", "//", "/..", "/.", ";", "\\", "#", "?adminKey=x", "?x=1", "%", " ", "N"]),
    st.integers(min_value=0, max_value=60),
)
def test_other_spellings_are_unknown(place: str, extra: str, where: int) -> None:
    method, _, path = place.partition(" ")
    where = min(where, len(path))
    changed = path[:where] + extra + path[where:]
    for of in all_scopes():
        assert not passes(method, changed, of)


@pytest.mark.parametrize(
    "path",
    [
        "/api/export/zip/N",
        "/api/export/zip/",
        "/api/export/zip/1x",
        "/api/export/zip/123456789012345678901",
        "/api/export/zip/\u0661",
        "/api/../api/function",
        "/api/%66unction",
        "http://example.com/api/function",
        "/version",
        "/http/anything",
        "/api/storage/x",
        "/api/mutation",
        "/api/push_config",
        "/api/v1/update_environment_variables",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "get"])
def test_unknown_routes(method: str, path: str) -> None:
    assert not any(passes(method, path, of) for of in all_scopes())


@pytest.mark.parametrize(
    ("method", "path", "command"),
    [
        ("GET", "/api/export/zip/17000", "export"),
        ("POST", "/api/export/request/zip?includeStorage=false", "export"),
        ("GET", "/api/stream_function_logs?cursor=0", "logs"),
        ("POST", "/api/import/upload_part?uploadToken=a%2Fb&partNumber=1", "import"),
    ],
)
def test_routes_with_parameters(method: str, path: str, command: str) -> None:
    assert passes(method, path, Scope(EVERYTHING, command))
    assert not passes(method, path + "&adminKey=x" if "?" in path else path + "?adminKey=x", Scope(EVERYTHING, command))
    assert not passes(method, path + "&" if "?" in path else path + "?admin%4Bey=", Scope(EVERYTHING, "data"))


def test_the_reason_names_the_missing_effect() -> None:
    with pytest.raises(Refused, match="needs deployment:deploy"):
        find("POST", "/api/deploy2/start_push", scope("deploy", VIEW))
    with pytest.raises(Refused, match="not part of data"):
        find("POST", "/api/deploy2/start_push", scope("data", DEPLOY))


def test_the_control_plane_shares_no_path_with_the_deployment() -> None:
    assert not any(control_plane.serves(place) for place in ROUTES)
    assert not control_plane.serves("GET /api/v1/get_canonical_urls")


@pytest.mark.parametrize(
    ("path", "is_sync"),
    [("/api/1.48.0/sync", True), ("/api/1.48.0-alpha.1/sync", True), ("/api/sync", False), ("/api/1/sync?x=1", False)],
)
def test_only_versioned_sync_paths(path: str, is_sync: bool) -> None:
    assert (SYNC.fullmatch(path) is not None) is is_sync
