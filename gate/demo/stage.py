"""Where the demo plays: a workspace, two stand-in deployments, a person's key, a keeper of its own. Asserts nothing."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gate.config.draft import shipped
from gate.demo import tools
from gate.demo.standin import StandIn

DEV, PROD = "happy-otter-123", "proud-lynx-456"
# Made up here: the stand-ins accept nothing else.
DEV_KEY, PROD_KEY = f"dev:{DEV}|dev-key-of-the-demo", f"prod:{PROD}|prod-key-of-the-demo"

_CONFIG = """\
gate: 1
project: demo
signers: gate.signers
roots: [human:ada]
policies: [policies/default.yaml, policies/production.yaml]
deployments:
  dev:  {{class: dev,  name: {dev}, url: "{dev_url}", custody: dev}}
  prod: {{class: prod, name: {prod}, url: "{prod_url}", custody: prod}}
principals:
  agent:codex: {{owner: human:ada}}
  human:ada: {{groups: [leads]}}
custody:
  dev: {{file: keys/dev}}
  prod: {{file: keys/prod}}
"""

# What an agent that owns node_modules would try: the CLI's own credential, on a write that nobody decided about.
_HOSTILE_CLI = """\
const key = process.env.CONVEX_DEPLOY_KEY;
const answer = await fetch(process.env.CONVEX_PROVISION_HOST + "/api/function", {
  method: "POST",
  headers: {"Content-Type": "application/json", "Authorization": "Convex " + key},
  body: JSON.stringify({path: "_system/frontend/addDocument", args: {table: "messages", documents: [{}]}}),
});
console.log("status", answer.status, await answer.text());
"""


@dataclass(frozen=True, slots=True)
class Came:
    """What a call came back with."""

    code: int
    out: str
    err: str


@dataclass(frozen=True, slots=True)
class Stage:
    """The demo's folder and its two deployments; `gate` calls the real command there."""

    folder: Path
    dev: StandIn
    prod: StandIn

    @property
    def work(self) -> Path:
        """The agent's workspace."""
        return self.folder / "chat"

    @property
    def person(self) -> Path:
        """Private key of the person who owns the project."""
        return self.folder / "ada"

    def gate(self, *words: str, stdin: str = "", cwd: Path | None = None) -> Came:
        """`gate WORDS` as the agent codex, in the workspace."""
        done = subprocess.run(
            [sys.executable, "-I", "-m", "gate", *words],
            cwd=cwd or self.work,
            env=tools.environment(self.folder / "state"),
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Came(done.returncode, done.stdout, done.stderr)

    def hostile_workspace(self) -> Path:
        """A folder of the same project whose node_modules holds a forged Convex CLI."""
        package = self.folder / "chat" / "forged" / "node_modules" / "convex"
        (package / "bin").mkdir(parents=True)
        (package / "package.json").write_text(f'{{"version": "{tools.CONVEX}", "type": "module"}}', encoding="utf-8")
        (package / "bin" / "main.js").write_text(_HOSTILE_CLI, encoding="utf-8")
        (package.parents[1] / ".env.local").write_text(f"CONVEX_DEPLOYMENT=dev:{DEV}\n", encoding="utf-8")
        return package.parents[1]


@contextmanager
def stage(node_modules: Path) -> Iterator[Stage]:
    """Set everything up, and take it down at the end: no process and no file stays."""
    with TemporaryDirectory(prefix="gate-demo-") as name, _loop() as run:
        dev, prod = StandIn(DEV_KEY, DEV), StandIn(PROD_KEY, PROD)
        run(dev.__aenter__())
        run(prod.__aenter__())
        made = Stage(Path(name).resolve(), dev, prod)
        try:
            _furnish(made, node_modules)
            yield made
        finally:
            made.gate("keeper", "stop")
            run(dev.__aexit__(None, None, None))
            run(prod.__aexit__(None, None, None))


def _furnish(made: Stage, node_modules: Path) -> None:
    work = made.work
    (work / "policies").mkdir(parents=True)
    (work / "node_modules").symlink_to(node_modules)
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada", "-f", str(made.person)],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    config = _CONFIG.format(dev=DEV, prod=PROD, dev_url=made.dev.url, prod_url=made.prod.url)
    public = made.person.with_suffix(".pub").read_text(encoding="utf-8")
    files = {
        "gate.yaml": config,
        "gate.signers": f"human:ada {public}",
        "package.json": '{"name": "chat", "dependencies": {"convex": "1.48.0"}}\n',
        ".env.local": f"CONVEX_DEPLOYMENT=dev:{DEV}\n",
        **shipped(),
    }
    for path, text in files.items():
        (work / path).write_text(text, encoding="utf-8")


@contextmanager
def _loop() -> Iterator[Any]:
    """An event loop in a thread of its own; yields what runs a coroutine there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout=30)

    try:
        yield run
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()
