"""Attacks on grants by a client that writes its own frames, and what a change of the bundle has to take away."""

import asyncio
import json
import os
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from production_kit import CONNECT, POLICY, PROD_ENV, SHOWS, VIEW, WRITE, Held, Production, production
from system_kit import forge, last, until

from gate import __version__
from gate.keeper import protocol

READ, SEND = ["run", "messages:list"], ["run", "messages:send", '{"body":"1"}']
CODEX_ONLY = """\
  - id: enough
    deny: {principals: ["agent:a0"], effects: ["deployment:*"]}
    because: It was enough.
"""
BOTH = (VIEW, WRITE)


@dataclass(slots=True)
class Client:
    """One connection with many conversations, as the door of MCP has it, and frames that it does not make."""

    made: Production
    folder: Path
    connection: Any = field(init=False)

    def __post_init__(self) -> None:
        self.connection = self.made.project.connect()
        protocol.send(self.connection, {"gate": __version__, "op": "mux"})

    def run(self, number: int, argv: list[str], upstream: str | None = None) -> None:
        """Begin conversation `number`: a run of `argv`."""
        invocation = {
            "door": "mcp",
            "argv": argv,
            "cwd": str(self.folder),
            "variables": {},
            "files": {".env.local": (self.folder / ".env.local").read_text()},
            "problems": {},
            "gate_yaml": (self.made.project.made.work / "gate.yaml").read_text(),
            "principal": self.made.agent,
            "grant": None,
            "local_config": None,
            "cli_version": "1.48.0",
            "tty": False,
        }
        message = {"call": number, "op": "run", "invocation": invocation, "upstream": upstream}
        protocol.send(self.connection, message)

    def done(self, number: int) -> None:
        """End it."""
        protocol.send(self.connection, {"call": number, "done": {"status": 0}})

    def next(self) -> dict[str, Any]:
        return dict(protocol.receive(self.connection))

    def warm(self) -> Held:
        """What the upstream `u` of this connection shows as its credential: it stays the same."""
        self.run(0, READ, "u")
        pins: Any = self.next()["start"]
        self.done(0)
        assert "recorded" in self.next()
        return Held(None, 0, [], pins["pins"])  # type: ignore[arg-type]


@pytest.fixture
def client(granting: Production) -> Iterator[Client]:
    """A client on production, under a grant of reading and writing."""
    granting.grant(*BOTH)
    made = Client(granting, forge(granting.project.made.work / "raw", SHOWS, PROD_ENV))
    with closing(made.connection):
        yield made


def test_of_two_runs_with_one_credential_the_first_has_it_and_no_lease_outlives_its_run(client: Client) -> None:
    asyncio.run(_two_runs_with_one_credential(client))
    outcomes = {one["decision"]: one["seq"] for one in client.made.events("outcome")}
    writes = client.made.events("grant.write")
    assert len(writes) == 1
    assert writes[0]["seq"] < outcomes[writes[0]["decision"]]


async def _two_runs_with_one_credential(client: Client) -> None:
    held = client.warm()
    # What stands between them at the desk is the time in which the credential would be the first one's still.
    client.run(1, SEND, "u")
    for number in range(100, 200):
        client.run(number, READ)
    client.run(2, READ, "u")
    seen: dict[int, Any] = {}
    async with ClientSession() as session:
        while 2 not in seen or 1 not in seen:
            frame = await asyncio.to_thread(client.next)
            seen.setdefault(int(frame["call"]), frame)
            if frame["call"] == 1:
                socket = await session.ws_connect(f"http://{held.host}/api/1.48.0/sync")
                await socket.send_json(CONNECT)
                shown = {"type": "Authenticate", "baseVersion": 0, "tokenType": "Admin", "value": held.key}
                await socket.send_json(shown)
                await socket.send_json(_mutation(1))
        assert seen[2]["error"]["code"] == "limit"
        assert (await socket.receive_json(timeout=5))["success"] is True
        client.done(1)
        await asyncio.sleep(0.5)
        with suppress(ConnectionError):
            await socket.send_json(_mutation(2))
        assert "true" not in str((await socket.receive(timeout=5)).data).lower()


def _mutation(number: int) -> dict[str, Any]:
    return {"type": "Mutation", "requestId": number, "udfPath": "messages:send", "args": [{"body": "x"}]}


def test_a_door_that_does_not_read_keeps_nothing_that_a_new_bundle_takes(granting: Production) -> None:
    made = granting.fresh()
    client = Client(made, forge(made.project.made.work / "raw", SHOWS))
    with closing(client.connection):
        held = client.warm()
        client.run(1, ["run", "messages:list", json.dumps({"x": "a" * 2_500_000})], "u")
        assert until(lambda: held.call("messages:list")[0] == 200)
        policy = made.project.made.work / "policies" / "production.yaml"
        policy.write_text(policy.read_text() + CODEX_ONLY)
        assert made.gate("activate", "--key", str(made.keys["ada"])).code == 0
        assert until(lambda: held.call("messages:list")[0] != 200, 1)


def test_who_is_mapped_to_the_requesting_user_by_a_later_bundle_does_not_approve(granting: Production) -> None:
    request, grant = granting.request("deployment:logs:view"), granting.grant(VIEW)
    mapped = f"human:lee: {{groups: [leads], uids: [{os.getuid()}]}}"
    granting.activate(config=("human:lee: {groups: [leads]}", mapped))
    assert last(granting.approve(request)) == "self_approval"
    assert until(lambda: granting.state(grant)["why"] == "bundle_changed")
    assert granting.approve(request, "kim").code == 0


@pytest.mark.parametrize(("name", "number"), [("max_uses", 2**53), ("max_uses", 2**62)])
def test_a_number_that_no_event_holds_is_refused(granting: Production, name: str, number: int) -> None:
    fields = {"ticket": "OPS-1", "reason": "the data looks stale", "ttl_seconds": 60, "ack_risk": True, name: number}
    asked = granting.ask("request", deployment="prod", effects=[VIEW], **fields)
    assert asked["error"]["code"] == "change_control"


@pytest.mark.parametrize(
    ("effect", "said"),
    [
        ("deployment:backups:download", "TAKES A COPY OF ALL DATA"),
        ("deployment:env:view", "SHOWS ENVIRONMENT VARIABLES"),
        ("deployment:functions:runInternalMutations", "RUNS INTERNAL FUNCTIONS"),
    ],
)
def test_what_gives_everything_away_is_said_first(granting: Production, effect: str, said: str) -> None:
    shown = granting.gate("show", granting.request(VIEW, effect)).out
    assert shown.splitlines()[1].startswith(f"  !! {said}")


def test_needs_without_a_grant_are_not_said_to_be_none(node_modules: Path) -> None:
    with production(node_modules, POLICY.replace("      grant: true\n", "")) as made:
        came = made.gate("convex", "data", "messages", "--prod")
        assert last(came) == "grant_required"
        asked = made.ask(
            "request", deployment="prod", effects=[VIEW], ticket="OPS-1", reason="the data looks stale", ttl_seconds=60
        )
        assert "grant: true" in asked["error"]["remedy"]["text"], asked
