"""`gate mcp` beside what an agent could configure in its place: Convex's own server, relays, another proxy; and hooks.

Every process speaks the same protocol over pipes, and they take turns. Asserts nothing but that answers are good.
"""

import base64
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench_doors import EMPTY, gate
from bench_leave import in_turns, raw
from bench_measure import Row, milliseconds, paired
from bench_production import grant, said

from gate.demo import tools
from gate.demo.stage import DEV, DEV_KEY, Stage
from gate.execution.environment import child_environment
from gate.proxy.lease import Upstream
from gate.proxy.pins import pins

IN_FLIGHT = 64
_ROWS = 100
_RELAYED, _FASTER, _HOOK, _APPENDS, _FIRST_MS = 5.0, 8.0, 3.0, 3.0, 300.0
# What no gate can be cheaper than, in Python: each line is read, parsed and passed on as it was.
_RELAY = """\
import json, subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

def pump(source, sink):
    for line in source:
        json.loads(line)
        sink.write(line)
        sink.flush()
    sink.close()

threading.Thread(target=pump, args=(child.stdout, sys.stdout.buffer), daemon=True).start()
pump(sys.stdin.buffer, child.stdin)
"""
# A server that costs nothing, so that what a relay adds is not lost in the noise of one that does.
_ECHO = """\
import json, sys
for line in sys.stdin.buffer:
    asked = json.loads(line)
    if "id" in asked:
        told = {"jsonrpc": "2.0", "id": asked["id"], "result": {"content": [], "isError": False}}
        sys.stdout.buffer.write(json.dumps(told).encode() + b"\\n")
        sys.stdout.buffer.flush()
"""
_FASTMCP = """\
import os, sys
from fastmcp.client.transports import StdioTransport
from fastmcp.server import create_proxy
create_proxy(StdioTransport(sys.argv[1], sys.argv[2:], env=dict(os.environ))).run(show_banner=False)
"""
_OWN = """\
  own:  {{class: dev, url: "{url}", custody: own}}
principals:
"""
_SMALL, _LARGE = "users", "messages"
# What answers with nothing, and stands here for what passing a line on costs.
_BARE = ("echo", "relayed")


@dataclass(slots=True)
class Peer:
    """An MCP server as its client has it. `selector` is what it calls the deployment."""

    process: subprocess.Popen[bytes]
    selector: str = ""
    _half: bytes = b""
    _next: int = 0
    _heard: dict[int, Any] = field(default_factory=dict)

    def open(self) -> None:
        """Open the session, up to the list of tools."""
        told = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "bench", "version": "1"}}
        self.answer(self.ask("initialize", told))
        self._say({"method": "notifications/initialized"})
        self.answer(self.ask("tools/list", {}))

    def call(self, table: str = _SMALL) -> Any:
        """Read the first rows of a table. Raises RuntimeError for a call that failed."""
        return self.answer(self.begin(table))

    def begin(self, table: str = _SMALL) -> int:
        """The same without waiting for it."""
        arguments = {"deploymentSelector": self.selector, "tableName": table, "order": "asc"}
        return self.ask("tools/call", {"name": "data", "arguments": arguments})

    def many(self, calls: int) -> float:
        """Calls a second, with 64 in flight."""
        begun = time.perf_counter()
        waiting = [self.begin() for _ in range(min(IN_FLIGHT, calls))]
        for _ in range(calls - len(waiting)):
            self.answer(waiting.pop(0))
            waiting.append(self.begin())
        for number in waiting:
            self.answer(number)
        return calls / (time.perf_counter() - begun)

    def ask(self, method: str, params: Mapping[str, Any]) -> int:
        """Send a request; its id."""
        self._next += 1
        self._say({"id": self._next, "method": method, "params": params})
        return self._next

    def answer(self, number: int) -> Any:
        """The result of a request."""
        while number not in self._heard:
            data = os.read(_fd(self.process.stdout), 1 << 20)
            if not data:
                raise RuntimeError(self.process.args)
            *lines, self._half = (self._half + data).split(b"\n")
            self._heard.update((told["id"], told) for told in map(json.loads, lines) if "id" in told)
        found = self._heard.pop(number)
        if "result" not in found or found["result"].get("isError"):
            raise RuntimeError(found)
        return found["result"]

    @property
    def memory(self) -> float:
        """Resident MiB of the process itself, without its children."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    def _say(self, members: Mapping[str, Any]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **members}).encode() + b"\n"
        while data:
            data = data[os.write(_fd(self.process.stdin), data) :]


@dataclass(frozen=True, slots=True)
class Kind:
    """How to start a server: `command`, its `environment`, and the `selector` that its calls carry, if it wants one."""

    command: list[str]
    environment: Mapping[str, str]
    selector: str = ""
    # Of the gate's: the entry whose selector `status` tells.
    entry: str = ""

    @contextmanager
    def running(self, work: Path) -> Iterator[Peer]:
        """A server that was just started; it ends with the block."""
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        with subprocess.Popen(
            self.command, cwd=work, env=self.environment, stdin=pipe, stdout=pipe, stderr=nowhere
        ) as process:
            try:
                yield Peer(process, self.selector)
            finally:
                if process.stdin is not None:
                    process.stdin.close()
                # Convex's own does not end with its stdin once it has made a call.
                process.terminate()

    def first(self, work: Path) -> float:
        """Milliseconds from the start of the process to its list of tools."""
        begun = time.perf_counter_ns()
        with self.running(work) as peer:
            peer.open()
            return (time.perf_counter_ns() - begun) / 1e6


def kinds(made: Stage, fastmcp: str | None) -> dict[str, Kind]:
    """What is compared; `fastmcp` is a Python that has the package of that name."""
    surroundings = tools.environment(made.state)
    chosen = pins(DEV_KEY, made.dev.url, Upstream(made.dev.url, DEV, "dev", DEV_KEY))
    alone = child_environment(surroundings, chosen, str(made.state / "demo" / "home"))
    server = ["node", str(made.work / "node_modules" / "convex" / "bin" / "main.js"), "mcp", "start"]
    payload = json.dumps({"projectDir": str(made.work), "deployment": {"kind": "unspecified"}})
    selector = "unspecified:" + base64.b64encode(payload.encode()).decode()
    relay, echo = [sys.executable, "-I", "-c", _RELAY], [sys.executable, "-I", "-c", _ECHO]
    found = {
        "upstream": Kind(server, alone, selector),
        "relay": Kind([*relay, *server], alone, selector),
        "gate": Kind([*gate(), "mcp"], surroundings, entry="dev"),
        "own": Kind([*gate(), "mcp"], surroundings, entry="own"),
        "echo": Kind(echo, alone),
        "relayed": Kind([*relay, *echo], alone),
    }
    return found if fastmcp is None else {**found, "fastmcp": Kind([fastmcp, "-c", _FASTMCP, *server], alone, selector)}


def prepare(made: Stage) -> None:
    """Register the stand-in of dev as self-hosted too, and give it a table of 200 kB."""
    config = made.work / "gate.yaml"
    url = made.dev.url.replace("127.0.0.1", "localhost")
    text = config.read_text(encoding="utf-8").replace("principals:\n", _OWN.format(url=url))
    config.write_text(text + "  own: {file: keys/own}\n", encoding="utf-8")
    said(made.gate("activate", "--key", str(made.person)))
    said(made.gate("key", "set", "own", stdin=DEV_KEY))
    for number in range(_ROWS):
        made.dev.app.insert(_LARGE, {"body": f"{number} ".ljust(1950, "x")})


def measure(made: Stage, turns: int, calls: int, fastmcp: str | None) -> list[Row]:
    """Rows of every server, on a stage in force with a production under a policy for grants (bench_production).

    `calls`: how many of each are made one after the other.
    """
    prepare(made)
    found = kinds(made, fastmcp)
    starting = {name: kind for name, kind in found.items() if name not in ("own", *_BARE)}
    starts = in_turns({name: _starting(kind, made.work) for name, kind in starting.items()}, turns)
    with ExitStack() as stack:
        peers = {name: _open(stack.enter_context(kind.running(made.work)), kind) for name, kind in found.items()}
        small = in_turns({name: _calling(peer) for name, peer in peers.items()}, calls)
        own = in_turns({name: _pinging(peers[name]) for name in ("gate", "echo")}, calls)
        large = in_turns({name: _calling(peers[name], _LARGE) for name in found if name not in _BARE}, turns)
        rates = in_turns({name: _flying(peer, calls) for name, peer in peers.items()}, 3)
        memory = {name: peer.memory for name, peer in peers.items() if name not in _BARE}
        rows = [
            *_starts(starts),
            *_added(small),
            _each("one call, ms, p50 and p99", small, lambda times: f"{_p(50, times):.2f} and {_p(99, times):.2f}"),
            _each("a ping, which the door answers by itself, ms, p50", own, lambda times: f"{_p(50, times):.3f}"),
            _each("200 kB, ms, p50", large, lambda times: f"{_p(50, times):.1f}"),
            _each("64 in flight, calls a second", rates, lambda times: f"{_p(50, times):.0f}"),
            Row("memory of the process, MiB", ", ".join(f"{name} {size:.0f}" for name, size in memory.items())),
        ]
    return [*rows, _on_production(made, found["gate"], min(calls, 300))]


def _open(peer: Peer, kind: Kind) -> Peer:
    peer.open()
    peer.selector = _selector(peer, kind.entry) if kind.entry else kind.selector
    # Whatever is started at the first call is not what is measured.
    peer.call()
    return peer


def _selector(peer: Peer, entry: str) -> str:
    told = peer.answer(peer.ask("tools/call", {"name": "status", "arguments": {}}))["structuredContent"]
    return next(str(one["deploymentSelector"]) for one in told["availableDeployments"] if one["deployment"] == entry)


def _starting(kind: Kind, work: Path) -> Callable[[], float]:
    return lambda: kind.first(work)


def _calling(peer: Peer, table: str = _SMALL) -> Callable[[], float]:
    return lambda: milliseconds(lambda: peer.call(table))


def _pinging(peer: Peer) -> Callable[[], float]:
    return lambda: milliseconds(lambda: peer.answer(peer.ask("ping", {})))


def _flying(peer: Peer, calls: int) -> Callable[[], float]:
    return lambda: peer.many(calls)


def _p(percent: int, times: list[float]) -> float:
    return sorted(times)[min(len(times) - 1, len(times) * percent // 100)]


def _each(what: str, times: Mapping[str, list[float]], show: Callable[[list[float]], str]) -> Row:
    return Row(f"mcp: {what}", ", ".join(f"{name} {show(taken)}" for name, taken in times.items()))


def _starts(times: Mapping[str, list[float]]) -> list[Row]:
    first = _p(50, times["gate"])
    shown = _each("start to first answer, ms", times, lambda taken: f"{_p(50, taken):.0f}")
    return [Row(shown.what, shown.figure, f"<= {_FIRST_MS:g}", first <= _FIRST_MS)]


def _added(times: Mapping[str, list[float]]) -> list[Row]:
    """What each adds: to the server behind it, in what a bare relay adds to one that costs nothing."""
    unit, base = _over(times["relayed"], times["echo"]), "upstream"
    limits = {"relay": None, "gate": _RELAYED, "own": _RELAYED, "fastmcp": None}
    rows = []
    for name in (name for name in limits if name in times):
        added, limit = _over(times[name], times[base]), limits[name]
        figure = f"{added / unit:.1f} ({added:.3f} ms on {_p(50, times[base]):.2f} ms; a bare relay {unit:.3f} ms)"
        what = f"mcp: what {name} adds to a call of Convex's server, in what a bare relay adds"
        rows.append(Row(what, figure) if limit is None else Row(what, figure, f"<= {limit:g}", added / unit <= limit))
    if "fastmcp" in times:
        ratio = _p(50, times["fastmcp"]) / _p(50, times["gate"])
        what = "mcp: a call through fastmcp's proxy to one through gate"
        rows.append(Row(what, f"{ratio:.2f}", f">= {_FASTER:g}", ratio >= _FASTER))
    return rows


def _over(measured: list[float], unit: list[float]) -> float:
    """Median of the differences of each turn, in milliseconds."""
    return statistics.median(one - other for one, other in zip(measured, unit, strict=True))


def _on_production(made: Stage, kind: Kind, calls: int) -> Row:
    """A call under a grant over one on dev, each through a door of its own."""
    grant(made, "60m")
    pair = {entry: replace(kind, entry=entry) for entry in ("dev", "prod")}
    with ExitStack() as stack:
        peers = {name: _open(stack.enter_context(one.running(made.work)), one) for name, one in pair.items()}
        runs = {name: _calling(peer) for name, peer in peers.items()}
        times = in_turns({**runs, "raw": raw(made.folder / "raw")}, calls)
    added, unit = _over(times["prod"], times["dev"]), statistics.median(times["raw"])
    figure = f"{added / unit:.1f} ({added:.2f} ms on {_p(50, times['dev']):.2f} ms; a raw append {unit:.2f} ms)"
    what = "mcp: a call on production over one on dev, in raw fdatasync appends"
    return Row(what, figure, f"<= {_APPENDS:g}", added / unit <= _APPENDS)


def measure_hooks(made: Stage, turns: int) -> list[Row]:
    """Rows of `gate hook codex` as a whole process: what passes, what is rewritten, what is refused."""
    surroundings = tools.environment(made.state)
    texts = {
        "passes": "git status",
        "is rewritten": "npx convex run messages:list",
        "is refused": "npx convex mcp start",
    }
    wanted = {"passes": b"", "is rewritten": b"gate convex run messages:list", "is refused": b"gate mcp"}
    rows = []
    for name, text in texts.items():
        event = json.dumps({"cwd": str(made.work), "tool_name": "Bash", "tool_input": {"command": text}}).encode()
        hook = _process([*gate(), "hook", "codex"], made.work, surroundings, event, wanted[name])
        pair = paired(_process(EMPTY, made.work, surroundings, b"", b""), hook, turns)
        rows.append(pair.row(f"a hook's answer, {name}, whole process, to `python -I -c pass`", _HOOK))
    return rows


def _process(
    command: list[str], cwd: Path, environment: Mapping[str, str], stdin: bytes, wanted: bytes
) -> Callable[[], None]:
    def run() -> None:
        done = subprocess.run(command, cwd=cwd, env=environment, input=stdin, capture_output=True, check=False)
        said_ = done.stdout + done.stderr
        if wanted not in said_ or (said_ and not wanted):
            raise RuntimeError(said_.decode())

    return run


def _fd(stream: Any) -> int:
    number: int = stream.fileno()
    return number
