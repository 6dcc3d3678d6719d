"""The stand-in for Convex's control plane: answered from the lease, for its credential only."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from convex_cli import convex, workspace
from leases import KEY, TOKEN, VIEW, lease, scope

from gate.demo.standin import StandIn
from gate.proxy.lease import Lease, Upstream
from gate.proxy.pins import pins_local
from gate.proxy.server import Proxy

URL_FOR_KEY = "/api/deployment/url_for_key"
TEAM_FOR_KEY = "/api/deployment/team_and_project_for_key"
LOCAL = "/api/deployment/local-acme-chat/team_and_project"


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    listening = await Proxy.start(None)
    yield listening
    await listening.stop()


@pytest.fixture
async def http(proxy: Proxy) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(proxy.url) as session:
        yield session


@pytest.fixture
def ours(proxy: Proxy) -> Lease:
    opened = lease("http://127.0.0.1:9", scope("data", VIEW), team="acme", slug="chat", reference="dev/ada")
    proxy.open(opened)
    return opened


async def test_it_answers_from_the_lease(proxy: Proxy, http: aiohttp.ClientSession, ours: Lease) -> None:
    body = {"deployKey": ours.credential}
    bearer = {"Authorization": f"Bearer {ours.credential}"}
    assert await (await http.post(URL_FOR_KEY, json=body)).json() == proxy.url
    team = await (await http.post(TEAM_FOR_KEY, json=body, headers=bearer)).json()
    assert (team["team"], team["project"], team["reference"]) == ("acme", "chat", "dev/ada")
    assert (await http.head("/api/authorize", headers=bearer)).status == 200
    assert (await (await http.get("/v1/version")).json())["message"] is None


@pytest.mark.parametrize("path", [URL_FOR_KEY, TEAM_FOR_KEY])
@pytest.mark.parametrize(
    ("body", "header"),
    [
        ({"deployKey": TOKEN}, None),
        ({"deployKey": KEY}, None),
        ({"deployKey": 1}, None),
        ({}, None),
        ({"deployKey": f"dev:happy-otter-123|{TOKEN}"}, f"Bearer dev:happy-otter-123|{TOKEN}x"),
        ({"deployKey": f"dev:happy-otter-123|{TOKEN}"}, f"Convex dev:happy-otter-123|{TOKEN}"),
        ({"deployKey": f"dev:happy-otter-123|{TOKEN}", "fill": "x" * 70_000}, None),
    ],
)
async def test_other_credentials_learn_nothing(
    http: aiohttp.ClientSession, ours: Lease, path: str, body: object, header: str | None
) -> None:
    answer = await http.post(path, json=body, headers={} if header is None else {"Authorization": header})
    assert answer.status in {403, 413}
    assert ours.credential not in await answer.text()


async def test_a_lease_that_ended_is_worth_nothing(proxy: Proxy, http: aiohttp.ClientSession, ours: Lease) -> None:
    await proxy.close(ours.id, "expired")
    answer = await http.post(URL_FOR_KEY, json={"deployKey": ours.credential})
    assert (answer.status, "expired" in await answer.text()) == (403, True)
    assert (await http.head("/api/authorize", headers={"Authorization": f"Bearer {ours.credential}"})).status == 403
    assert (await http.head("/api/authorize")).status == 403


@pytest.mark.parametrize(
    "path", ["/api/teams", "/v1/agent_skills", "/api/deployment/prod-x/team_and_project", "/api/authorize", "/v1/token"]
)
async def test_nothing_else_is_there(http: aiohttp.ClientSession, ours: Lease, path: str) -> None:
    answer = await http.get(path, headers={"Authorization": f"Bearer {ours.credential}"})
    assert answer.status == 403


def local_lease(url: str) -> Lease:
    upstream = Upstream(url, "local-acme-chat", "local", "", team="acme", slug="chat")
    return Lease("lease-local", "unused", scope("data", VIEW), upstream)


async def test_local_deployments_are_known_while_their_lease_lives(
    proxy: Proxy, http: aiohttp.ClientSession, ours: Lease
) -> None:
    assert (await http.get(LOCAL)).status == 403
    proxy.open(local_lease(""))
    assert (await (await http.get(LOCAL)).json())["team"] == "acme"
    await proxy.close("lease-local", "done")
    assert (await http.get(LOCAL)).status == 403
    assert ours.ended is None


async def test_the_real_cli_on_a_local_deployment(proxy: Proxy, tmp_path: Path, node_modules: Path) -> None:
    project = workspace(tmp_path, node_modules)
    state = project / ".convex" / "local" / "default"
    state.mkdir(parents=True)
    async with StandIn("local-key", "local-acme-chat") as backend:
        port = backend.url.rpartition(":")[2]
        (state / "config.json").write_text(
            f'{{"ports": {{"cloud": {port}, "site": 1}}, "backendVersion": "precompiled-2026-01-01-abc",'
            '"adminKey": "local-key", "deploymentName": "local-acme-chat"}'
        )
        proxy.open(local_lease(backend.url))
        ran = await convex(project, pins_local("local-acme-chat", proxy.url), "run", "tasks:work")
        assert ran.code == 0, ran
        assert "worked" in ran.out
