"""A project whose production can be reached under grants: reviewers with keys, rules for writes too. Asserts little."""

import asyncio
import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, WSMsgType
from system_kit import Project, forge, in_force, keep, last

from gate import world
from gate.cli.review import draft, split
from gate.config.values import duration
from gate.demo.stage import PROD, PROD_KEY, Came, stage
from gate.execution.ssh import sign
from gate.grant.statement import NAMESPACE

# The shipped rules with writes, for keys of plain files: a test has no security key to touch.
POLICY = """\
policy: 1
name: production
rules:
  - id: prod-reach
    allow:
      principals: ["agent:*"]
      classes: [prod]
      effects: ["deployment:data:*", "deployment:logs:view", "deployment:env:*", "deployment:backups:*",
        "deployment:functions:*", "deployment:deploy", "local:run"]
    because: Agents may ask.
  - id: prod-under-grant
    require: {classes: [prod]}
    needs:
      grant: true
      ticket: "OPS-[0-9]+"
      reason_min: 12
      ack_risk: true
      ttl_max: 60m
      approvals: {count: 1, from: ["group:leads"], not: [requester, owner], touch: false}
    because: Somebody else signs for production.
"""
# Two approvals: no bound of the rules is met by one person.
POLICY_OF_TWO = POLICY.replace("count: 1", "count: 2")
_PEOPLE = "  human:lee: {groups: [leads]}\n  human:kim: {groups: [leads]}\n  agent:other: {owner: human:kim}\n"
# Agents with an owner each: what one of them asks for counts against nobody else's bounds.
_FRESH = 60
_AGENTS = "".join(f"  agent:a{n}: {{owner: human:o{n}}}\n  human:o{n}: {{}}\n" for n in range(_FRESH))
# A text, and the one that stands in its place.
Edit = tuple[str, str]
VIEW, WRITE = "deployment:data:view", "deployment:data:write"
PROD_ENV = f"CONVEX_DEPLOYMENT=prod:{PROD}\n"


@dataclass(frozen=True, slots=True)
class Production:
    """A `project` with reviewers: `keys` by person.

    It calls as `agent`; `since`: how much had reached production before.
    """

    project: Project
    keys: dict[str, Path]
    agent: str = "agent:codex"
    since: int = 0
    _numbers: Iterator[int] = field(default_factory=count)

    def fresh(self) -> "Production":
        """The same stage for another agent, with an owner of its own; what reached production so far is left out."""
        return replace(self.since_now(), agent=f"agent:a{next(self._numbers)}")

    def since_now(self) -> "Production":
        """The same, without what reached production so far."""
        return replace(self, since=len(self.prod.requests))

    @property
    def owner(self) -> str:
        """Who answers for the agent."""
        return "human:ada" if self.agent == "agent:codex" else self.agent.replace("agent:a", "human:o")

    @property
    def prod(self) -> Any:
        """The stand-in of production."""
        return self.project.made.prod

    def reached(self) -> list[Any]:
        """What reached production and could do or show anything: everything but the gate's own probes."""
        own = {"/instance_name", "/api/check_admin_key"}
        arrived = self.prod.requests[self.since :]
        return [one for one in arrived if one.path not in own and not _looks_up(one.body)]

    def called(self) -> list[str]:
        """Functions that were called on production, in order; where none was, the path."""
        return [
            one.body["path"] if isinstance(one.body, dict) and "path" in one.body else one.path
            for one in self.reached()
        ]

    def gate(self, *words: str, **more: Any) -> Came:
        return self.project.gate(*words, **{"GATE_PRINCIPAL": self.agent, **more})

    def refused(self, *words: str, **more: Any) -> str:
        """The code with which `gate WORDS` is refused."""
        came = self.gate(*words, **more)
        assert came.code != 0, came.out
        return last(came)

    def ask(self, op: str, **members: Any) -> Any:
        """Answer to one raw operation in this project."""
        yaml = (self.project.made.work / "gate.yaml").read_text()
        return self.project.ask(op, {"gate_yaml": yaml, "principal": self.agent, **members})

    def done(self, op: str, **members: Any) -> Any:
        """What a raw operation comes to that is not refused."""
        answer = self.ask(op, **members)
        assert "result" in answer, answer
        return answer["result"]

    def json(self, *words: str, **more: Any) -> Any:
        """The object that `gate --json WORDS` prints."""
        came = self.gate("--json", *words, **more)
        assert came.code == 0, came.err
        return json.loads(came.out)

    def request(self, *effects: str, ttl: str = "30m", uses: int | None = None) -> str:
        """Id of a new request for `effects` (reading, where none is named) on production."""
        fields = {"ticket": "OPS-1", "reason": "the data looks stale", "ttl_seconds": duration(ttl), "ack_risk": True}
        asked = {"deployment": "prod", "effects": list(effects or (VIEW,)), "max_uses": uses}
        return str(self.done("request", **asked, **fields)["id"])

    @staticmethod
    def fields(ttl: str = "30m", ticket: str = "OPS-1", reason: str = "the data looks stale") -> list[str]:
        return ["--ticket", ticket, "--reason", reason, "--ttl", ttl, "--ack-risk"]

    def approve(self, request: str, by: str = "lee", *more: str) -> Came:
        return self.gate("approve", request, "--key", str(self.keys[by]), *more)

    def grant(self, *effects: str, ttl: str = "30m", uses: int | None = None) -> str:
        """Id of a new grant of `effects`, approved by lee."""
        statement, signature = split(self.envelope(self.request(*effects, ttl=ttl, uses=uses)).encode())
        return str(self.done("accept", statement=statement, signature=signature)["grant"]["id"])

    def state(self, named: str) -> Any:
        """The grant, or the request, as it stands."""
        found = self.done("show", id=named)
        return found.get("grant") or found["request"]

    def portable(self, request: str) -> Any:
        """The request as a reviewer gets it."""
        return self.done("portable", id=request)["portable"]

    def export(self, portable: Any, by: str = "lee", *more: str) -> Came:
        """`gate approve - --export` of `portable`."""
        text = json.dumps(portable)
        return self.gate("approve", "-", "--export", "--key", str(self.keys[by]), *more, stdin=text)

    def statement(self, request: str) -> str:
        """The text of an approval, before it is signed."""
        now_ms = world.now_ms()
        return draft(self.portable(request), None, (), now_ms=now_ms, nonce=world.secret(16)).text.decode()

    def envelope(self, request: str, by: str = "lee") -> str:
        """An approval that is signed and not handed in."""
        return self.signed(self.statement(request), by)

    def accept(self, envelope: str) -> Came:
        return self.gate("accept", "-", stdin=envelope)

    def signed(self, text: str, by: str = "lee", namespace: str = NAMESPACE) -> str:
        """`text` as an approval that somebody signed, whatever it says."""
        return text + sign(text.encode(), self.keys[by], namespace)

    def activate(self, **changes: Edit) -> None:
        """Put the bundle in force again, each file of `changes` with the one text in place of the other."""
        came = self.edit(**changes).gate("activate", "--key", str(self.keys["ada"]))
        assert came.code == 0, came.err

    def edit(self, **changes: Edit) -> "Production":
        """Change files of the workspace, and nothing else."""
        for name, (before, after) in changes.items():
            file = self.project.made.work / FILES[name]
            text = file.read_text()
            assert before in text
            file.write_text(text.replace(before, after, 1))
        return self

    def events(self, kind: str, **members: Any) -> list[Any]:
        """Bodies of the events of that type with these members."""
        found = [one for one in self.project.events() if one["type"] == kind]
        return [one for one in found if all(one.get(name) == value for name, value in members.items())]

    @contextmanager
    def live(self, name: str = "waiting") -> Iterator[tuple[subprocess.Popen[str], Any]]:
        """A call on production that runs until it is ended; its forged CLI shows its environment, and waits."""
        folder = forge(self.project.made.work / name, SHOWS, PROD_ENV)
        with self.project.door("convex", "run", "messages:list", cwd=folder) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield process, json.loads(line)

    @contextmanager
    def held(self, *words: str, **more: str) -> Iterator["Held"]:
        """A call, of messages:list where no `words` are named, whose forged CLI only waits: its lease is there."""
        folder = forge(self.project.made.work / "held", SHOWS, PROD_ENV)
        called = words or ("run", "messages:list")
        with self.project.door("convex", *called, cwd=folder, **{"GATE_PRINCIPAL": self.agent, **more}) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, process.communicate()[1]
            yield Held(process, **json.loads(line))

    def run_forged(self, script: str, *words: str, name: str = "forged", **more: Any) -> Came:
        """`gate convex WORDS` on production where the CLI is `script`."""
        folder = forge(self.project.made.work / name, script, PROD_ENV)
        return self.gate("convex", *words, cwd=folder, **more)

    def quick(self, *words: str, options: tuple[str, ...] = ()) -> Came:
        """`gate convex WORDS` on production where the CLI only says that it ran."""
        folder = forge(self.project.made.work / "quick", "console.log('ran');", PROD_ENV)
        return self.gate(*options, "convex", *words, cwd=folder)


@dataclass(frozen=True, slots=True)
class Held:
    """A call that waits: the door `process`, and what its child was given."""

    process: subprocess.Popen[str]
    pid: int
    argv: list[str]
    env: dict[str, str]

    @property
    def key(self) -> str:
        """The credential of the lease."""
        return self.env["CONVEX_DEPLOY_KEY"]

    @property
    def host(self) -> str:
        """Where it is good."""
        return self.env["CONVEX_PROVISION_HOST"].removeprefix("http://")

    def post(self, path: str, body: Any, authorization: str | None = None) -> tuple[int, str]:
        """Status and text that come back from the proxy; (0, "") when nobody listens there any more."""
        headers = {"Authorization": authorization or f"Convex {self.key}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(self.host, timeout=10)
        try:
            with closing(connection):
                connection.request("POST", path, json.dumps(body), headers)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
        except OSError:
            return 0, ""

    def call(
        self, function: str, args: Any = None, *, authorization: str | None = None, **more: Any
    ) -> tuple[int, str]:
        """Call a function as the CLI does."""
        body = {"path": function, "args": args or {}, "format": "convex_encoded_json", **more}
        return self.post("/api/function", body, authorization)

    def sync(self, *messages: dict[str, Any], **authenticate: Any) -> list[Any]:
        """What comes back on a socket that is authenticated, after each of `messages`, until it is quiet or closed."""
        first = {"type": "Authenticate", "baseVersion": 0, "tokenType": "Admin", "value": self.key, **authenticate}
        return asyncio.run(_talk(f"http://{self.host}/api/1.48.0/sync", [CONNECT, first, *messages]))

    def ended(self, seconds: float = 20) -> tuple[int, str]:
        """The door's exit status and what it said."""
        _, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, err


CONNECT = {"type": "Connect", "sessionId": "s", "connectionCount": 0, "lastCloseReason": None}
FILES = {"config": "gate.yaml", "signers": "gate.signers", "production": "policies/production.yaml"}
SECRET = PROD_KEY.rpartition("|")[2]


async def _talk(url: str, messages: list[dict[str, Any]]) -> list[Any]:
    answers: list[Any] = []
    async with ClientSession() as session, session.ws_connect(url) as socket:
        for message in messages:
            await socket.send_json(message)
        while True:
            try:
                frame = await socket.receive(timeout=0.3)
            except TimeoutError:
                return answers
            if frame.type is not WSMsgType.TEXT:
                return answers
            answers.append(json.loads(frame.data))


SHOWS = """\
console.log(JSON.stringify({pid: process.pid, argv: process.argv, env: process.env}));
setInterval(() => {}, 1000);
"""


def _looks_up(body: Any) -> bool:
    return isinstance(body, dict) and body.get("path") == "_system/cli/modules:apiSpec"


def _key(folder: Path, name: str) -> Path:
    key = folder / name
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return key


@contextmanager
def production(node_modules: Path, policy: str = POLICY) -> Iterator[Production]:
    """A stage whose production can be granted; ada owns the agent, lee and kim may approve."""
    with stage(node_modules) as made:
        keep(made)
        keys = {"ada": made.person, **{name: _key(made.folder, name) for name in ("lee", "kim", "stranger", "spare")}}
        work = made.work
        (work / "policies" / "production.yaml").write_text(policy)
        config = (work / "gate.yaml").read_text()
        (work / "gate.yaml").write_text(config.replace("custody:\n", f"{_PEOPLE}{_AGENTS}custody:\n"))
        with (work / "gate.signers").open("a") as signers:
            for name in ("lee", "kim"):
                signers.write(f"human:{name} {keys[name].with_suffix('.pub').read_text()}")
        yield Production(in_force(made), keys)
