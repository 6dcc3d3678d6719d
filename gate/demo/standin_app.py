"""What the stand-in deployment holds: tables, variables, functions and jobs, in memory. Speaks no protocol."""

import base64
import io
import json
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Json = Any
Document = dict[str, Json]
_VERSION = "1.48.0"


class AppError(Exception):
    """A function of the stand-in failed; the text is what Convex would answer."""


@dataclass(frozen=True, slots=True)
class Function:
    """One function of the app: `kind` is Convex's functionType, `run` gets the app and the arguments."""

    kind: str
    run: Callable[["App", Mapping[str, Json]], Json]
    public: bool = True


@dataclass(slots=True)
class App:
    """A small chat application. `changed` is called after every write, so that subscriptions can be answered again."""

    url: str = ""
    tables: dict[str, list[Document]] = field(default_factory=lambda: {"messages": [], "users": []})
    env: dict[str, str] = field(default_factory=dict)
    logs: list[Document] = field(default_factory=list)
    pushes: int = 0
    changed: Callable[[], None] = lambda: None
    _imports: dict[str, Document] = field(default_factory=dict)
    _parts: dict[str, list[bytes]] = field(default_factory=dict)
    _exports: int = 0
    _clock: int = 0

    def call(self, path: str, kind: str | None, arguments: Mapping[str, Json]) -> Json:
        """Result of the function at `path`; `kind` is insisted on where it is given.

        Raises AppError when there is no such function, it is of another kind, or it fails.
        """
        name = canonical(path)
        found = FUNCTIONS.get(name) or _SYSTEM.get(name)
        if found is None:
            raise AppError(f"Could not find function for '{path}'. Did you forget to run `npx convex dev`?")
        if kind is not None and found.kind != kind:
            raise AppError(f"Trying to execute {path} as {kind}, but it is defined as {found.kind}.")
        result = found.run(self, arguments)
        if found.kind != "Query":
            self._log(name, found.kind)
            self.changed()
        return result

    def insert(self, table: str, document: Mapping[str, Json]) -> str:
        """Id of `document`, stored in `table`."""
        rows = self.tables.setdefault(table, [])
        identity = f"{table}-{len(rows) + 1}"
        rows.append({"_id": identity, "_creationTime": float(self.tick()), **document})
        return identity

    def tick(self) -> int:
        """A clock that only counts: output of two runs is the same."""
        self._clock += 1
        return self._clock

    def set_variables(self, changes: list[Document]) -> None:
        """Apply `changes` of name and value; a value of None removes."""
        for change in changes:
            if change["value"] is None:
                self.env.pop(change["name"], None)
            else:
                self.env[change["name"]] = change["value"]
        self.changed()

    def start_upload(self) -> str:
        """Token of a new upload."""
        token = f"upload-{len(self._parts) + 1}"
        self._parts[token] = []
        return token

    def upload_part(self, token: str, data: bytes) -> str:
        """Token of one part of the upload `token`."""
        self._parts[token].append(data)
        return f"part-{len(self._parts[token])}"

    def finish_upload(self, token: str, settings: Document) -> str:
        """Id of the import that waits for its confirmation."""
        identity = f"import-{len(self._imports) + 1}"
        waiting = {"state": "waiting_for_confirmation", "message_to_confirm": "", "require_manual_confirmation": False}
        self._imports[identity] = {"state": waiting, "settings": settings, "data": b"".join(self._parts.pop(token))}
        return identity

    def perform_import(self, identity: str) -> None:
        """Write the rows of a confirmed import into their table."""
        job = self._imports[identity]
        rows = _rows(job["data"], job["settings"]["format"])
        table = job["settings"].get("tableName") or "imported"
        if job["settings"]["mode"] != "append":
            self.tables[table] = []
        for row in rows:
            self.insert(table, row)
        job["state"] = {"state": "completed", "num_rows_written": integer(len(rows))}
        self.changed()

    def request_export(self) -> None:
        """Make a snapshot; it is complete at once."""
        self._exports = self.tick()
        self.changed()

    def snapshot(self) -> bytes:
        """The tables as a zip archive."""
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
            for table, rows in sorted(self.tables.items()):
                text = "".join(json.dumps(row) + "\n" for row in rows)
                archive.writestr(zipfile.ZipInfo(f"{table}/documents.jsonl"), text)
        return out.getvalue()

    def latest_export(self) -> Json:
        """State of the last snapshot export, None when there was none."""
        if not self._exports:
            return None
        stamp = integer(self._exports)
        return {"state": "completed", "start_ts": stamp, "complete_ts": stamp, "zip_object_key": "snapshot"}

    def imports(self) -> list[Document]:
        """States of all imports."""
        return [{"_id": identity, "state": job["state"]} for identity, job in self._imports.items()]

    def import_state(self, identity: str) -> Document:
        """State of one import."""
        return {"_id": identity, "state": self._imports[identity]["state"]}

    def shapes(self) -> Document:
        """What the documents of each table look like, as Convex infers it: here only that they are objects."""
        return {name: {"type": "Object" if rows else "Never", "fields": []} for name, rows in self.tables.items()}

    def push(self) -> Document:
        """Answer to start_push: nothing of the code is kept, the functions stay what they are."""
        definition = {
            "path": "",
            "definitionType": {"type": "app"},
            "childComponents": [],
            "httpMounts": {},
            "exports": {"type": "branch", "branch": []},
            "envVars": [],
        }
        config = {"serverVersion": _VERSION, "importPhaseRngSeed": None, "importPhaseUnixTimestamp": None}
        return {
            "environmentVariables": self.env,
            "externalDepsId": None,
            "componentDefinitionPackages": {},
            "appAuth": [],
            "analysis": {"": {"definition": definition, "schema": None, "functions": {}, "udfConfig": config}},
            "app": {
                "definitionPath": "",
                "componentPath": "",
                "args": {},
                "childComponents": {},
                "httpRoutes": {"httpModuleRoutes": None, "mounts": []},
                "exports": {},
            },
            "schemaChange": SCHEMA_CHANGE,
        }

    def _log(self, name: str, kind: str) -> None:
        self.logs.append(
            {
                "kind": "Completion",
                "identifier": name,
                "udfType": kind,
                "logLines": [f"[LOG] '{name} ran'"],
                "timestamp": time.time(),
                "executionTime": 0.001,
                "success": {"status": "success"},
                "error": None,
            }
        )


SCHEMA_CHANGE: Document = {"allocatedComponentIds": {}, "schemaIds": {}, "indexDiffs": {}}
CONFIG_HASHES: Document = {
    "config": {"functions": "convex/"},
    "moduleHashes": [],
    "nodeDependencies": [],
    "udfServerVersion": _VERSION,
}


def canonical(path: str) -> str:
    """`module:name` of a path as clients write it: `module.js:name`, `module`."""
    module, _, name = path.partition(":")
    return f"{module.removesuffix('.js')}:{name or 'default'}"


def integer(value: int) -> Document:
    """`value` as Convex writes 64-bit integers in JSON."""
    return {"$integer": stamp(value)}


def stamp(value: int) -> str:
    """`value` as Convex writes timestamps of its sync protocol."""
    return base64.b64encode(value.to_bytes(8, "little")).decode("ascii")


def _rows(data: bytes, form: str) -> list[Document]:
    if form == "jsonLines":
        return [json.loads(line) for line in data.splitlines() if line.strip()]
    return list(json.loads(data)) if form == "jsonArray" else []


def _send(app: App, arguments: Mapping[str, Json]) -> Json:
    return app.insert("messages", {"body": arguments.get("body", "hello"), "author": arguments.get("author", "anon")})


def _fail(_: App, __: Mapping[str, Json]) -> Json:
    raise AppError("Uncaught Error: it failed on purpose")


def _page(items: list[Json]) -> Document:
    return {"page": items, "isDone": True, "continueCursor": ""}


def _table_data(app: App, arguments: Mapping[str, Json]) -> Json:
    rows = app.tables.get(arguments["table"], [])
    return _page(rows if arguments.get("order") == "asc" else rows[::-1])


def _variables(app: App, _: Mapping[str, Json]) -> Json:
    return [{"name": name, "value": value} for name, value in sorted(app.env.items())]


def _variable(app: App, arguments: Mapping[str, Json]) -> Json:
    name = arguments["name"]
    return {"name": name, "value": app.env[name]} if name in app.env else None


def _api_spec(_: App, __: Mapping[str, Json]) -> Json:
    return [_spec(name, function) for name, function in FUNCTIONS.items()]


def _spec(name: str, function: Function) -> Document:
    module, _, export = name.partition(":")
    return {
        "identifier": f"{module}.js:{export}",
        "functionType": function.kind,
        "visibility": {"kind": "public" if function.public else "internal"},
        "args": {"type": "any"},
        "returns": {"type": "any"},
    }


def _schemas(_: App, __: Mapping[str, Json]) -> Json:
    table: Document = {
        "tableName": "messages",
        "indexes": [],
        "searchIndexes": [],
        "vectorIndexes": [],
        "documentType": None,
    }
    return {"active": json.dumps({"tables": [table], "schemaValidation": True})}


def _add_documents(app: App, arguments: Mapping[str, Json]) -> Json:
    return [app.insert(arguments["table"], document) for document in arguments["documents"]]


FUNCTIONS: dict[str, Function] = {
    "messages:list": Function("Query", lambda app, _: app.tables["messages"]),
    "messages:send": Function("Mutation", _send),
    "messages:fail": Function("Query", _fail),
    "messages:purge": Function("Mutation", lambda app, _: app.tables["messages"].clear(), public=False),
    "reports:secrets": Function("Query", lambda app, _: sorted(app.env), public=False),
    "tasks:work": Function("Action", lambda _, __: "worked"),
}
_SYSTEM: dict[str, Function] = {
    "_system/cli/tables:default": Function("Query", lambda app, _: _page([{"name": name} for name in app.tables])),
    "_system/cli/tableData:default": Function("Query", _table_data),
    "_system/cli/queryTable:default": Function("Query", lambda app, a: app.tables.get(a["tableName"], [])),
    "_system/cli/tableSize:default": Function("Query", lambda app, a: len(app.tables.get(a["tableName"], []))),
    "_system/cli/queryEnvironmentVariables:default": Function("Query", _variables),
    "_system/cli/queryEnvironmentVariables:get": Function("Query", _variable),
    "_system/cli/modules:apiSpec": Function("Query", _api_spec),
    "_system/cli/convexUrl:cloudUrl": Function("Query", lambda app, _: app.url),
    "_system/cli/exports:getLatest": Function("Query", lambda app, _: app.latest_export()),
    "_system/cli/queryImport:list": Function("Query", lambda app, _: app.imports()),
    "_system/cli/queryImport:default": Function("Query", lambda app, a: app.import_state(a["importId"])),
    "_system/frontend/getSchemas:default": Function("Query", _schemas),
    "_system/frontend/components:list": Function("Query", lambda _, __: []),
    "_system/frontend/addDocument:default": Function("Mutation", _add_documents),
}
