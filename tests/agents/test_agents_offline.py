"""Opt-in: the real Codex and Claude Code from npm, installed into a project, their model a script on loopback."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import npm_kit
import on_stage  # noqa: F401 - finds the kits of tests/system
import pytest
from offline_kit import AGENTS, PACKAGES, Desk, first_object, taught
from production_kit import SECRET, VIEW, Production, production
from scripted_model import Use, scripted

pytestmark = [pytest.mark.optin, pytest.mark.timeout(600)]
_NAMED = "principals:\n"
# What the agent has to say for itself; the refusal leaves it open.
_FIELDS = {"ticket": "OPS-1", "reason": "the data looks stale", "ack_risk": True}
_READ = {"tableName": "messages", "order": "asc"}


@pytest.fixture(scope="module")
def programs() -> Path:
    return npm_kit.installed("agents", *PACKAGES)


@pytest.fixture(scope="module", params=sorted(AGENTS))
def desk(
    request: pytest.FixtureRequest, programs: Path, node_modules: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desk]:
    """An agent in a project of its own, set up by `gate install`."""
    agent = AGENTS[request.param]
    with production(node_modules) as made:
        if agent.name != "codex":
            made.activate(config=(_NAMED, f"{_NAMED}  agent:{agent.name}: {{owner: human:ada}}\n"))
        own = replace(made, agent=f"agent:{agent.name}")
        came = own.gate("install", agent.name)
        assert came.code == 0, came.err
        if "No such command" in own.gate("hook", agent.name).err:
            # The installed line denies everything where nothing answers it.
            (own.project.made.work / agent.hook).unlink()
        yield Desk(agent, own, programs, tmp_path_factory.mktemp("home"))


@pytest.fixture
def on_prod(desk: Desk) -> Production:
    """The project, without what reached production before."""
    return desk.production.since_now()


def test_development_is_free(desk: Desk, on_prod: Production) -> None:
    """What is on the deployment comes to the model, on record under the agent's own name."""
    send = desk.step("run", "dev", functionName="messages:send", args='{"body": "from the agent"}')
    with scripted(desk.step("status"), send, desk.step("data", "dev", **_READ)) as model:
        said = desk.play(model)
    assert "from the agent" in said[2]
    decided = [one["object"] for one in on_prod.events("decision") if one["object"]["door"] == "mcp"]
    assert {one["principal"]["id"] for one in decided} == {f"agent:{desk.agent.name}"}
    assert on_prod.called() == []


def test_a_refusal_teaches_and_a_grant_opens(desk: Desk, on_prod: Production) -> None:
    """The model asks with the arguments that the refusal names; lee signs; the same call works, with no key in it."""

    def ask(said: Sequence[str]) -> Use:
        return desk.agent.use("gate_request_access", **{**taught(said[1]), **_FIELDS})

    with scripted(desk.step("status"), desk.step("data", "prod", **_READ), ask) as model:
        said = desk.play(model)
    assert "grant_required" in said[1]
    assert "prod-under-grant" in said[1]
    assert on_prod.called() == []
    request = str(first_object(said[2])["id"])
    came = on_prod.approve(request)
    assert came.code == 0, came.err
    with scripted(desk.step("status"), desk.step("data", "prod", **_READ)) as model:
        said = desk.play(model)
    assert "grant_required" not in said[1]
    assert on_prod.called()
    assert not any(SECRET in one for one in said)
    grant = on_prod.state(request)
    assert on_prod.gate("revoke", grant["grant"], "--reason", "done").code == 0


def test_a_grant_that_ends_ends_within_the_turn(desk: Desk, on_prod: Production) -> None:
    """Between two calls of one session it is revoked: the second is refused, and reaches nothing."""
    grant = on_prod.grant(VIEW)
    reached: list[int] = []

    def after_the_end(said: Sequence[str]) -> Use:
        assert on_prod.gate("revoke", grant, "--reason", "enough").code == 0
        reached.append(len(on_prod.reached()))
        return desk.step("data", "prod", **_READ)(said)

    with scripted(desk.step("status"), desk.step("data", "prod", **_READ), after_the_end) as model:
        said = desk.play(model)
    assert "grant_required" not in said[1]
    assert "grant_required" in said[2]
    assert reached == [len(on_prod.reached())]
    assert reached[0] > 0
