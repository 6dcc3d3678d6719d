"""A call on production that uses its access as hard as it can and notes when it had any. Asserts little.

A forged CLI polls through its lease, watches over the sync socket, and starts a process that leaves its group; each
writes down, in milliseconds of the wall clock, when something came through and when it was refused.
"""

import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from production_kit import PROD_ENV, Production
from system_kit import Project, forge, until

from gate.demo.stage import PROD_KEY

# Roles, all of which ignore TERM: `child`; `group`, in its process group; `escaped`, with a session and no parent.
_POLLS = """\
import { appendFileSync, existsSync } from "node:fs";
import { spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { WebSocket } from "ws";
const role = process.argv[2].startsWith("role=") ? process.argv[2].slice(5) : "child";
const { CONVEX_DEPLOY_KEY: key, CONVEX_PROVISION_HOST: host } = process.env;
const note = (file, word) => appendFileSync(`${file}.log`, `${Date.now()} ${word}\\n`);
appendFileSync("pids.log", `${role} ${process.pid}\\n`);
process.on("SIGTERM", () => {});
if (role === "child") {
  const again = (other) => [process.execPath, process.argv[1], `role=${other}`];
  spawn("sh", ["-c", '"$@"', "sh", ...again("group")], { stdio: "ignore" }).unref();
  spawn("sh", ["-c", '"$@" &', "sh", ...again("escaped")], { detached: true, stdio: "ignore" }).unref();
  appendFileSync("lease.json", JSON.stringify({ key, host }));
}
const watch = () => {
  const socket = new WebSocket(host.replace("http", "ws") + "/api/1.48.0/sync");
  socket.on("open", () => {
    const query = { type: "Add", queryId: 0, udfPath: "messages:list", args: [{}] };
    const messages = [
      { type: "Connect", sessionId: crypto.randomUUID(), connectionCount: 0, lastCloseReason: null },
      { type: "Authenticate", tokenType: "Admin", value: key, baseVersion: 0 },
      { type: "ModifyQuerySet", baseVersion: 0, newVersion: 1, modifications: [query] },
    ];
    for (const message of messages) socket.send(JSON.stringify(message));
  });
  socket.on("message", (data) => note(`${role}-socket`, String(data).includes("QueryUpdated") ? "passed" : "refused"));
  socket.on("error", () => {});
  socket.on("close", () => setTimeout(watch, 50));
};
watch();
const call = async (path, args) => {
  const answer = await fetch(host + "/api/function", {
    method: "POST",
    headers: { Authorization: `Convex ${key}`, "Content-Type": "application/json" },
    body: JSON.stringify({ path, args: [args], format: "json" }),
  });
  return (await answer.json()).status === "success" ? "passed" : "refused";
};
for (;;) {
  note(role, await call("messages:list", {}).catch(() => "failed"));
  if (role === "child" && existsSync("more")) await call("messages:list", { more: Date.now() }).catch(() => {});
  await sleep(1);
}
"""
_ROLES = ("child", "group", "escaped")


@dataclass(frozen=True, slots=True)
class Polling:
    """A call that polls: its `door`, and what its processes wrote into `folder`."""

    door: subprocess.Popen[str]
    folder: Path

    def times(self, role: str, word: str) -> list[int]:
        """When `role` noted `word` (passed | refused | failed), in milliseconds since the epoch."""
        try:
            lines = (self.folder / f"{role}.log").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [int(line.split()[0]) for line in lines if line.endswith(word)]

    def pid(self, role: str) -> int:
        return dict(self._pids())[role]

    def _pids(self) -> list[tuple[str, int]]:
        lines = (self.folder / "pids.log").read_text().splitlines()
        return [(line.split()[0], int(line.split()[1])) for line in lines]

    def works(self) -> bool:
        """Whether every process and every socket has had access."""
        return all(self.times(role + way, "passed") for role in _ROLES for way in ("", "-socket"))

    def last_passed(self) -> int:
        """When anything came through last, for any of them."""
        return max(max(self.times(role + way, "passed")) for role in _ROLES for way in ("", "-socket"))

    def lease(self) -> dict[str, str]:
        """What the child holds: `key`, and the `host` where it is good."""
        return dict(json.loads((self.folder / "lease.json").read_text()))

    def more(self) -> None:
        """Let the child make calls that are charged anew."""
        (self.folder / "more").touch()

    def ended(self, seconds: float = 20) -> tuple[int, str]:
        """The door's exit status and what it said."""
        _, err = self.door.communicate(timeout=seconds)
        return self.door.returncode, err

    def clean(self) -> None:
        for _, pid in self._pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def polling(production: Production, name: str, *words: str) -> Iterator[Polling]:
    """A call that polls production, and has had access in every way; `words`: gate's own options."""
    folder = forge(production.project.made.work / name, _POLLS, PROD_ENV)
    words = (*words, "convex", "run", "messages:list")
    with production.project.door(*words, cwd=folder, GATE_PRINCIPAL=production.agent) as door, _changes(production):
        poll = Polling(door, folder)
        try:
            assert until(poll.works, seconds=15), door.communicate(timeout=5) if door.poll() is not None else name
            yield poll
        finally:
            if (folder / "pids.log").exists():
                poll.clean()


@contextmanager
def _changes(production: Production) -> Iterator[None]:
    """Production changes all the time, so that who watches it always has something to receive."""
    done = threading.Event()

    def change() -> None:
        headers = {"Authorization": f"Convex {PROD_KEY}", "Content-Type": "application/json"}
        body = json.dumps({"path": "messages:purge", "args": [{}]}).encode()
        while not done.wait(0.02):
            request = urllib.request.Request(production.prod.url + "/api/function", body, headers)  # noqa: S310
            with suppress(urllib.error.URLError), urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                answer.read()

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def on_disk(project: Project, *types: str) -> list[Any]:
    """Bodies of the events of `types` as the file has them, whoever holds it; the keeper is not asked."""
    with closing(sqlite3.connect(f"{project.ledger.as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
        marks = ", ".join("?" * len(types))
        rows = connection.execute(f"SELECT body FROM events WHERE type IN ({marks}) ORDER BY seq", types)  # noqa: S608
        return [json.loads(body) for (body,) in rows]


def story(project: Project, grant: str) -> list[Any]:
    """How a grant ended: its events from the end on, oldest first."""
    kinds = ("grant.ended", "grant.closing", "grant.closed", "grant.cut_failed")
    return [body for body in on_disk(project, *kinds) if body["grant"] == grant]


def milliseconds(iso: str) -> int:
    """`2026-02-19T10:04:05.123Z` since the epoch."""
    whole, _, rest = iso.partition(".")
    return int(time.mktime(time.strptime(whole + " UTC", "%Y-%m-%dT%H:%M:%S %Z")) - time.timezone) * 1000 + int(
        rest[:3]
    )
