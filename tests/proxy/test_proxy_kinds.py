"""What the gate asks a deployment itself, and how it fails."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from leases import KEY

from gate.demo.standin import StandIn
from gate.errors import GateError
from gate.proxy import kinds
from gate.proxy.kinds import look_up, probe
from gate.proxy.lease import Upstream


class Odd:
    """A deployment whose every answer is `answers[path]`: a status and a body, or a wait."""

    def __init__(self) -> None:
        self.answers: dict[str, Any] = {}
        self.headers: list[str | None] = []
        self.url = ""

    async def serve(self, request: web.BaseRequest) -> web.Response:
        self.headers.append(request.headers.get("Authorization"))
        answer = self.answers.get(request.path, (404, ""))
        if answer == "wait":
            await asyncio.sleep(30)
        status, body = answer
        text = body if isinstance(body, str) else json.dumps(body)
        return web.Response(
            status=status, text=text, headers={"Location": "http://127.0.0.1:9/"} if status == 307 else {}
        )


@pytest.fixture
async def odd() -> AsyncIterator[Odd]:
    made = Odd()
    runner = web.ServerRunner(web.Server(made.serve), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


def at(url: str, *, name: str | None = "happy-otter-123", key: str = KEY, ca: str | None = None) -> Upstream:
    return Upstream(url, name, "dev", key, ca=ca)


async def test_kinds_of_a_deployment() -> None:
    async with StandIn(KEY) as deployment:
        assert await look_up(at(deployment.url)) == {
            "messages:list": "query",
            "messages:send": "mutation",
            "messages:fail": "query",
            "messages:purge": "internal mutation",
            "reports:secrets": "internal query",
            "tasks:work": "action",
        }
        await probe(at(deployment.url))
        await probe(at(deployment.url, name=None))


async def test_a_key_that_does_not_fit() -> None:
    async with StandIn(KEY) as deployment:
        for call in (look_up, probe):
            with pytest.raises(GateError, match="does not fit") as caught:
                await call(at(deployment.url, key="guess"))
            assert caught.value.code == "custody_failed"
            assert "guess" not in caught.value.message


async def test_the_key_is_not_sent_to_another_instance(odd: Odd) -> None:
    odd.answers = {"/instance_name": (200, "proud-lynx-456"), "/api/check_admin_key": (200, {"success": True})}
    with pytest.raises(GateError, match="another name") as caught:
        await probe(at(odd.url))
    assert caught.value.code == "custody_failed"
    assert odd.headers == [None]


@pytest.mark.parametrize(
    "answer",
    [
        (307, ""),
        (500, "boom"),
        (200, "no json"),
        (200, "[" * 100_000),
        (200, []),
        (200, {"value": 1}),
    ],
    ids=["redirect", "error", "text", "deep", "list", "no list"],
)
async def test_answers_that_are_none(odd: Odd, answer: tuple[int, Any]) -> None:
    odd.answers = {"/api/query": answer}
    with pytest.raises(GateError, match="no proper answer") as caught:
        await look_up(at(odd.url))
    assert caught.value.code == "upstream_unreachable"
    assert "boom" not in caught.value.message


async def test_a_key_check_without_success(odd: Odd) -> None:
    odd.answers = {"/api/check_admin_key": (200, {"success": False})}
    with pytest.raises(GateError, match="does not take it"):
        await probe(at(odd.url, name=None))


async def test_entries_that_are_not_understood_are_left_out(odd: Odd) -> None:
    public = {"kind": "public"}
    entries = [
        1,
        {"identifier": "a/../b:c", "functionType": "Query", "visibility": public},
        {"identifier": "a:b", "functionType": "HttpAction", "visibility": public},
        {"identifier": "a:b", "functionType": "Query", "visibility": None},
        {"identifier": "c.js:d", "functionType": "Action", "visibility": public},
        {"functionType": "Query"},
    ]
    odd.answers = {"/api/query": (200, {"value": entries})}
    assert await look_up(at(odd.url)) == {"a:b": "internal query", "c:d": "action"}


async def test_nobody_there_and_nobody_in_time(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GateError, match="no proper answer"):
        await probe(at("http://127.0.0.1:9"))
    monkeypatch.setattr(kinds, "_SECONDS", 0.1)
    odd.answers = {"/instance_name": "wait"}
    with pytest.raises(GateError, match="no proper answer"):
        await probe(at(odd.url))


async def test_an_answer_without_end(odd: Odd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_LARGEST", 100)
    odd.answers = {"/instance_name": (200, "x" * 1000)}
    with pytest.raises(GateError, match="too large"):
        await probe(at(odd.url))


async def test_a_ca_file_of_its_own(odd: Odd, tmp_path: Path) -> None:
    odd.answers = {"/api/check_admin_key": (200, {"success": True})}
    good = tmp_path / "good.pem"
    good.write_text(ssl.DER_cert_to_PEM_cert(ssl.create_default_context().get_ca_certs(binary_form=True)[0]))
    await probe(at(odd.url, name=None, ca=str(good)))
    for content in ("no certificate", None):
        file = tmp_path / f"{content}.pem"
        if content is not None:
            file.write_text(content)
        with pytest.raises(GateError, match="ca file") as caught:
            await probe(at(odd.url, ca=str(file)))
        assert caught.value.code == "config_invalid"
