"""A stand-in for a Convex deployment and its control plane on a loopback port: the demo's, and the tests' fake.

Answers every route that the CLI 1.48 takes in the slice of commands that the gate knows, checks the admin key as the
real backend does, and records what reached it. Keeps no data beyond its life; its application is `standin_app.py`.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import brotli  # type: ignore[import-untyped]
from aiohttp import WSMsgType, web

from gate.demo.standin_app import CONFIG_HASHES, SCHEMA_CHANGE, App, AppError, Document, Json, stamp

Answer = Callable[[web.Request, Json], Awaitable[web.StreamResponse]]
_FAILED = 560
_POLL_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request, or one message on a WebSocket (`method` is then WS), as it reached the stand-in.

    `key`: the credential it carried, None without one. `body`: parsed where it is JSON, else its length in bytes.
    """

    method: str
    path: str
    key: str | None
    body: Json


class StandIn:
    """One deployment with one admin key. Use as an async context manager; `url` is good inside it.

    `requests` is everything that arrived, refused or not. `app` is the state that its functions work on.
    """

    def __init__(self, admin_key: str, name: str = "happy-otter-123") -> None:
        self.admin_key = admin_key
        self.name = name
        self.app = App(changed=self._changed)
        self.requests: list[Recorded] = []
        self.url = ""
        self._subscribers: set[Subscriber] = set()
        self._wakes: set[asyncio.Event] = set()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application(client_max_size=1 << 30)
        application.router.add_route("*", "/{tail:.*}", self._serve)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, auto_decompress=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = self.app.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for subscriber in list(self._subscribers):
            await subscriber.socket.close()
        self._changed()
        if self._runner is not None:
            await self._runner.cleanup()

    def keys(self) -> set[str]:
        """Every credential that reached the stand-in."""
        return {request.key for request in self.requests if request.key is not None}

    def paths(self) -> list[str]:
        """Method and path of what reached the stand-in, without queries and repetitions, in order."""
        return list(dict.fromkeys(f"{request.method} {request.path.split('?')[0]}" for request in self.requests))

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/sync"):
            return await self._sync(request)
        body = _parsed(await request.read(), request.headers.get("Content-Encoding"))
        key = _key(request, body)
        self.requests.append(Recorded(request.method, request.path_qs, key, body))
        place = f"{request.method} {request.path}"
        if place in self._open():
            return await self._open()[place](request, body)
        if not self._accepts(key):
            return _bad_key(self.name)
        if request.path.startswith("/api/export/zip/"):
            name = {"Content-Disposition": "attachment; filename=snapshot.zip"}
            return web.Response(body=self.app.snapshot(), content_type="application/zip", headers=name)
        answer = self._keyed().get(place)
        return (
            web.json_response({"code": "NotFound", "message": place}, status=404)
            if answer is None
            else await answer(request, body)
        )

    def _accepts(self, key: str | None) -> bool:
        return key is not None and (key == self.admin_key or key.startswith(self.admin_key + ":"))

    def _open(self) -> Mapping[str, Answer]:
        return {
            "GET /version": _text("stand-in"),
            "GET /instance_version": _text("stand-in"),
            "GET /instance_name": _text(self.name),
            "POST /echo": self._echo,
            "GET /v1/version": _constant({"message": None, "guidelinesHash": None, "agentSkillsSha": None}),
            "POST /api/deployment/url_for_key": self._url_for_key,
            "POST /api/deployment/team_and_project_for_key": self._team_for_key,
            "HEAD /api/authorize": self._authorize,
        }

    def _keyed(self) -> Mapping[str, Answer]:
        nothing = _constant({})
        return {
            "GET /api/check_admin_key": _constant({"success": True, "allowedOps": None, "isReadOnly": False}),
            "POST /api/function": self._function(None),
            "POST /api/query": self._function("Query"),
            "POST /api/mutation": self._function("Mutation"),
            "POST /api/action": self._function("Action"),
            "POST /api/run_test_function": _constant({"status": "success", "value": 1, "logLines": []}),
            "POST /api/update_environment_variables": self._set_variables,
            "GET /api/stream_function_logs": self._logs,
            "GET /api/shapes2": self._shapes,
            "POST /api/export/request/zip": self._request_export,
            "POST /api/import/start_upload": self._start_upload,
            "POST /api/import/upload_part": self._upload_part,
            "POST /api/import/finish_upload": self._finish_upload,
            "POST /api/perform_import": self._perform_import,
            "POST /api/get_config_hashes": _constant(CONFIG_HASHES),
            "POST /api/deploy2/evaluate_push": _constant({"schemaChange": SCHEMA_CHANGE}),
            "POST /api/deploy2/evaluate_schema": _constant(
                {"componentSchemaEvaluations": {}, "newComponentDefinitions": []}
            ),
            "POST /api/deploy2/start_push": self._start_push,
            "POST /api/deploy2/wait_for_schema": _constant({"type": "complete"}),
            "POST /api/deploy2/finish_push": self._finish_push,
            "POST /api/deploy2/report_push_completed": nothing,
            "GET /api/v1/get_canonical_urls": self._canonical_urls,
            "GET /api/v1/get_current_usage": _constant({"usage": []}),
            "GET /api/v1/list_usage_limits": _constant({"usageLimits": []}),
        }

    async def _echo(self, request: web.Request, _: Json) -> web.Response:
        return web.Response(body=await request.read())

    async def _url_for_key(self, _: web.Request, body: Json) -> web.Response:
        return web.json_response(self.url) if body["deployKey"] == self.admin_key else _bad_key(self.name)

    async def _team_for_key(self, _: web.Request, body: Json) -> web.Response:
        if body["deployKey"] != self.admin_key:
            return _bad_key(self.name)
        team: Document = {"team": "acme", "project": "chat", "teamId": 1, "projectId": 1}
        return web.json_response(team | {"reference": None, "isDefault": True})

    async def _authorize(self, request: web.Request, _: Json) -> web.Response:
        return web.Response(status=200 if request.headers.get("Authorization") == f"Bearer {self.admin_key}" else 401)

    def _function(self, kind: str | None) -> Answer:
        async def answer(_: web.Request, body: Json) -> web.Response:
            arguments = body["args"][0] if isinstance(body["args"], list) else body["args"]
            try:
                value = self.app.call(body["path"], kind, arguments)
            except AppError as error:
                return web.json_response(
                    {"status": "error", "errorMessage": str(error), "logLines": []}, status=_FAILED
                )
            return web.json_response({"status": "success", "value": value, "logLines": []})

        return answer

    async def _set_variables(self, _: web.Request, body: Json) -> web.Response:
        self.app.set_variables(body["changes"])
        return web.Response()

    async def _logs(self, request: web.Request, _: Json) -> web.Response:
        cursor = int(float(request.query.get("cursor", "0")))
        wake = asyncio.Event()
        self._wakes.add(wake)
        if cursor and len(self.app.logs) <= cursor:
            async with asyncio.timeout(_POLL_SECONDS):
                await wake.wait()
        self._wakes.discard(wake)
        entries = self.app.logs[max(cursor, 0) :]
        return web.json_response({"entries": entries, "newCursor": len(self.app.logs) or -1})

    async def _shapes(self, _: web.Request, __: Json) -> web.Response:
        return web.json_response(self.app.shapes())

    async def _request_export(self, _: web.Request, __: Json) -> web.Response:
        self.app.request_export()
        return web.Response()

    async def _start_upload(self, _: web.Request, __: Json) -> web.Response:
        return web.json_response({"uploadToken": self.app.start_upload()})

    async def _upload_part(self, request: web.Request, _: Json) -> web.Response:
        return web.json_response(self.app.upload_part(request.query["uploadToken"], await request.read()))

    async def _finish_upload(self, _: web.Request, body: Json) -> web.Response:
        return web.json_response({"importId": self.app.finish_upload(body["uploadToken"], body["import"])})

    async def _perform_import(self, _: web.Request, body: Json) -> web.Response:
        self.app.perform_import(body["importId"])
        return web.Response()

    async def _start_push(self, _: web.Request, __: Json) -> web.Response:
        return web.json_response(self.app.push())

    async def _finish_push(self, _: web.Request, body: Json) -> web.Response:
        self.app.pushes += 0 if body["dryRun"] else 1
        return web.json_response(
            {"authDiff": {"added": [], "removed": []}, "definitionDiffs": {}, "componentDiffs": {}}
        )

    async def _canonical_urls(self, _: web.Request, __: Json) -> web.Response:
        site = f"https://{self.name}.convex.site"
        return web.json_response({"convexCloudUrl": f"https://{self.name}.convex.cloud", "convexSiteUrl": site})

    async def _sync(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(compress=False, max_msg_size=0)
        await socket.prepare(request)
        subscriber = Subscriber(self, socket, request.path)
        self._subscribers.add(subscriber)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    await subscriber.receive(json.loads(message.data))
        finally:
            self._subscribers.discard(subscriber)
        return socket

    def _changed(self) -> None:
        for wake in self._wakes:
            wake.set()
        for subscriber in self._subscribers:
            subscriber.stale()


class Subscriber:
    """One WebSocket of the sync protocol: who it is, and the queries it watches."""

    def __init__(self, deployment: StandIn, socket: web.WebSocketResponse, path: str) -> None:
        self.socket = socket
        self._deployment = deployment
        self._path = path
        self._key: str | None = None
        self._queries: dict[int, Document] = {}
        self._version = {"querySet": 0, "ts": 0, "identity": 0}
        self._identity = 0
        self._refresh: asyncio.Task[None] | None = None

    async def receive(self, message: Document) -> None:
        """Take one message of the client and answer it."""
        self._key = message["value"] if message["type"] == "Authenticate" else self._key
        self._deployment.requests.append(Recorded("WS", self._path, self._key, message))
        if message["type"] == "Authenticate":
            self._identity = message["baseVersion"] + 1
        elif message["type"] == "ModifyQuerySet":
            await self._modify(message)
        elif message["type"] in {"Mutation", "Action"}:
            await self._run(message)

    def stale(self) -> None:
        """Answer every query again, soon."""
        if self._queries:
            self._refresh = asyncio.ensure_future(self._transition(list(self._queries)))

    async def _modify(self, message: Document) -> None:
        added: list[int] = []
        for change in message["modifications"]:
            if change["type"] == "Add":
                self._queries[change["queryId"]] = change
                added.append(change["queryId"])
            else:
                self._queries.pop(change["queryId"], None)
        await self._transition(added, query_set=message["newVersion"])

    async def _transition(self, changed: list[int], query_set: int | None = None) -> None:
        start = dict(self._version)
        self._version = {
            "querySet": start["querySet"] if query_set is None else query_set,
            "ts": start["ts"] + 1,
            "identity": self._identity,
        }
        modifications = [self._result(number) for number in changed if number in self._queries]
        message = {"startVersion": _version(start), "endVersion": _version(self._version)}
        await self._send({"type": "Transition", "modifications": modifications, **message})

    def _result(self, number: int) -> Document:
        query = self._queries[number]
        known: Document = {"queryId": number, "logLines": [], "journal": None}
        try:
            value = self._answer(query, "Query")
        except AppError as error:
            return known | {"type": "QueryFailed", "errorMessage": f"[CONVEX Q({query['udfPath']})] {error}"}
        return known | {"type": "QueryUpdated", "value": value}

    def _answer(self, message: Document, kind: str) -> Json:
        if self._key != self._deployment.admin_key:
            raise AppError("You do not have permission to perform this operation.")
        return self._deployment.app.call(message["udfPath"], kind, message["args"][0] if message["args"] else {})

    async def _run(self, message: Document) -> None:
        answer: Document = {"type": f"{message['type']}Response", "requestId": message["requestId"], "logLines": []}
        try:
            answer |= {"success": True, "result": self._answer(message, message["type"]), "ts": stamp(1)}
        except AppError as error:
            answer |= {"success": False, "result": str(error)}
        await self._send(answer)

    async def _send(self, message: Document) -> None:
        if not self.socket.closed:
            await self.socket.send_json(message)


def _version(version: Mapping[str, int]) -> Document:
    return {**version, "ts": stamp(version["ts"])}


def _key(request: web.Request, body: Any) -> str | None:
    header = request.headers.get("Authorization", "")
    if isinstance(body, dict) and isinstance(body.get("adminKey"), str):
        return str(body["adminKey"])
    return header.removeprefix("Convex ").removeprefix("Bearer ") or request.query.get("adminKey")


def _parsed(raw: bytes, encoding: str | None) -> Json:
    data = brotli.decompress(raw) if encoding == "br" else raw
    try:
        return json.loads(data) if data else None
    except ValueError:
        return len(data)


def _bad_key(name: str) -> web.Response:
    message = f"The provided deploy key was invalid for deployment '{name}'"
    return web.json_response({"code": "BadDeployKey", "message": message}, status=403)


def _text(text: str) -> Answer:
    async def answer(_: web.Request, __: Json) -> web.Response:
        return web.Response(text=text)

    return answer


def _constant(value: Json) -> Answer:
    async def answer(_: web.Request, __: Json) -> web.Response:
        return web.json_response(value)

    return answer
