"""A server that says it is Convex's and does as it is told, behind sessions of `gate mcp`. Asserts little."""

import json
import subprocess
from pathlib import Path
from typing import Any

from session_kit import Session
from system_kit import forge

from gate.demo.stage import Stage

# `args` of the tool `run` says what it does; each but `ok`, `asks` and `tells` breaks the protocol or never answers.
_SERVER = """\
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
const say = (message) => process.stdout.write(JSON.stringify({ jsonrpc: "2.0", ...message }) + "\\n");
const done = (id, value, more = {}) => {
  say({ id, result: { content: [{ type: "text", text: JSON.stringify(value) }], ...more } });
};
const note = { method: "notifications/message", params: { level: "info", data: "x".repeat(100) } };
const does = {
  ok: (id) => done(id, { result: "fine", logLines: [] }),
  env: (id) => done(id, { result: process.env, logLines: [] }),
  pid: (id, asked) => done(id, { result: { pid: process.pid, asked }, logLines: [] }),
  fails: (id) => done(id, { error: "it failed" }, { isError: true }),
  hangs: () => {},
  stubborn: () => process.on("SIGTERM", () => {}),
  dies: () => process.exit(1),
  garbage: () => process.stdout.write("not a message\\n"),
  half: () => process.stdout.write('{"jsonrpc": "2.0"', () => process.exit(0)),
  batch: (id) => process.stdout.write(JSON.stringify([{ jsonrpc: "2.0", id, result: {} }]) + "\\n"),
  other: (id) => done(id + 1000, { result: "fine", logLines: [] }),
  text: (id) => done(String(id), { result: "fine", logLines: [] }),
  twice: (id) => { done(id, {}, { content: [] }); },
  blocks: (id) => done(id, 0, { content: [{ type: "text", text: "1" }, { type: "text", text: "2" }] }),
  image: (id) => done(id, 0, { content: [{ type: "image", data: "", mimeType: "image/png" }] }),
  unknown: (id) => done(id, 0, { inputRequests: {} }),
  error: (id) => say({ id, error: { code: -32603, message: "no" } }),
  prose: (id) => say({ id, result: { content: [{ type: "text", text: "fine" }] } }),
  nan: (id) => say({ id, result: { content: [{ type: "text", text: '{"result": NaN}' }] } }),
  flood: () => process.stdout.write("x".repeat(1 << 20), does.flood),
  chatter: () => { for (let n = 0; n < 5000; n++) say(note); },
  asks: (id) => {
    say({ id: 7, method: "sampling/createMessage", params: {} });
    say({ id: "8", method: "roots/list", params: {} });
    done(id, { result: "fine", logLines: [] });
  },
  tells: (id) => { for (let n = 0; n < 500; n++) say(note); done(id, { result: "fine", logLines: [] }); },
};
const answers = {
  initialize: (id) => say({ id, result: { protocolVersion: "2025-11-25", capabilities: {}, serverInfo: {} } }),
  "notifications/initialized": () => {},
  "tools/list": (id) => say({ id, result: JSON.parse(readFileSync("tools.json")) }),
  "tools/call": (id, params) => does[params.arguments.args](id, params),
};
createInterface({ input: process.stdin }).on("line", (line) => {
  const { id, method, params } = JSON.parse(line);
  answers[method](id, params);
});
"""


def genuine_tools(convex: Path) -> dict[str, Any]:
    """What the real server answers to `tools/list`."""
    told = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
    asked = (
        {"id": 1, "method": "initialize", "params": told},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/list"},
    )
    lines = "".join(json.dumps({"jsonrpc": "2.0", **message}) + "\n" for message in asked)
    command = ["node", str(convex / "bin" / "main.js"), "mcp", "start"]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True, timeout=60)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["result"]
    return found


def forged_server(made: Stage, name: str, tools: Any, script: str = _SERVER, env_local: str | None = None) -> Path:
    """A folder of the project whose Convex package is the server above and lists `tools`."""
    more = {} if env_local is None else {"env_local": env_local}
    folder = forge(made.work / name, script, **more)
    (folder / "tools.json").write_text(json.dumps(tools))
    return folder


def told(one: Session, selector: str, does: str) -> Any:
    """What comes of a call that makes the server do that."""
    return one.call("run", selector, functionName="messages:list", args=does)


def code(result: Any) -> str:
    """The gate's own code in a result that is an error; `fine` where the server said so."""
    content = result["structuredContent"]
    return str(content["error"].get("code", "convex")) if result["isError"] else str(content["result"])
