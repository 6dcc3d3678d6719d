"""deploy/convex/README.md, "A grant, by hand": its commands, typed into a shell against a stand-in of production."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from convex_cli import Ran, workspace
from gate_cli import gate_in, person

from gate.config.draft import shipped
from gate.demo.standin import StandIn

FOLDER = Path(__file__).parents[2] / "deploy" / "convex"
KEY = "prod:proud-lynx-456|key-of-the-runbook"
CONFIG = """\
gate: 1
project: chat
signers: gate.signers
roots: [human:ada]
policies: [policies/default.yaml, policies/production.yaml]
deployments:
  prod: {{class: prod, name: proud-lynx-456, url: "{url}", custody: prod}}
principals:
  agent:codex: {{owner: human:ada}}
  human:ada: {{groups: [leads]}}
  human:lee: {{groups: [leads]}}
custody:
  prod: {{file: keys/prod}}
"""
MCP = {
    "OA_CONVEX_MCP_PROD_ACCESS_ENABLED": "1",
    "OA_CHANGE_TICKET": "OPS-1234",
    "OA_MCP_PROD_ACCESS_REASON": "look at a stuck row",
    "OA_MCP_PROD_ACKNOWLEDGE_RISK": "YES",
    "OA_MCP_PROD_ACCESS_TTL_MINUTES": "30",
    "OA_CONVEX_DEPLOYMENT": "prod",
}


def commands() -> list[str]:
    """The lines behind a prompt in that part of the page, continued ones as one."""
    part = (FOLDER / "README.md").read_text(encoding="utf-8").partition("\n## A grant, by hand\n")[2]
    joined = part.partition("\n## ")[0].replace("\\\n", "")
    return [re.sub(r" +", " ", line) for line in re.findall(r"^ *\$ (.*)$", joined, re.MULTILINE)]


@dataclass(slots=True)
class Reader:
    """Somebody who follows the page in `folder`, with the ids of their own requests; `left`: what they did not type."""

    folder: Path
    environment: dict[str, str]
    left: set[str] = field(default_factory=lambda: set(commands()))

    async def type(self, start: str, **ids: str) -> Ran:
        """Type the one command of the page that begins with `start`, and no other words in between."""
        [line] = {line for line in commands() if re.fullmatch(start, line)}
        self.left.discard(line)
        for prefix, own in ids.items():
            line = re.sub(rf"\b{prefix}-[0-9a-z]{{8}}\b", own, line)
        return await self.shell(line)

    async def shell(self, line: str, **more: str) -> Ran:
        process = await asyncio.create_subprocess_shell(
            line,
            cwd=self.folder,
            env=self.environment | more,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        return Ran(process.returncode or 0, out.decode(), err.decode())

    async def asks(self) -> str:
        """Id of a new request, by the page's second way."""
        return done(await self.type("gate request --deployment .*"))


def done(ran: Ran) -> str:
    """What a command that worked printed."""
    assert ran.code == 0, ran
    return ran.out.strip()


@pytest.fixture
async def prod() -> AsyncIterator[StandIn]:
    async with StandIn(KEY, "proud-lynx-456") as standin:
        standin.app.insert("messages", {"body": "stuck"})
        yield standin


@pytest.fixture
async def reader(tmp_path: Path, node_modules: Path, prod: StandIn) -> AsyncIterator[Reader]:
    """In a project in force, whose reviewer lee signs without a touch: there is no token in a test."""
    folder = tmp_path / "chat"
    (folder / "policies").mkdir(parents=True)
    workspace(folder, node_modules)
    policies = shipped()
    named = "policies/production.yaml"
    policies[named] = policies[named].replace("not: [requester, owner]}", "not: [requester, owner], touch: false}")
    ada, lee = await person(tmp_path), await person(folder, "id_gate")
    signers = "".join(
        f"human:{name} {key.with_suffix('.pub').read_text()}" for name, key in (("ada", ada), ("lee", lee))
    )
    files = {"gate.yaml": CONFIG.format(url=prod.url), "gate.signers": signers, **policies}
    for path, text in files.items():
        (folder / path).write_text(text)
    async with gate_in(folder, tmp_path / "state") as gate:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        made = Reader(folder, {**gate.environment(), "PATH": path})
        done(await made.shell("gate activate --key ../ada"))
        done(await made.shell(f"printf '{KEY}' | gate key set prod"))
        yield made


async def test_the_commands_of_a_grants_life_do_what_the_page_says(reader: Reader, prod: StandIn) -> None:
    calls = "gate convex data messages --prod"
    refused = await reader.type(calls)
    assert (refused.code, refused.err.splitlines()[-1].split(":")[1].strip()) == (77, "grant_required")
    [decision] = set(re.findall(r"dec-[0-9a-z]{8}", refused.err))
    asked = done(await reader.type("gate request --for .*", dec=decision))
    assert asked in done(await reader.type("gate requests"))
    assert "look at a stuck row" in done(await reader.type("gate show req-[^ ]*", req=asked))
    granted = done(await reader.type("gate approve req-[^ ]* --key id_gate", req=asked))
    assert done(await reader.type("gate wait .*", req=asked)) == granted

    ran = await reader.type(calls)
    assert "stuck" in done(ran)
    assert f" prod under {granted} until " in ran.err
    assert "stuck" in done(await reader.type("gate --grant .*", grt=granted))
    assert prod.keys() == {KEY}
    assert granted in done(await reader.type("gate grants"))
    assert asked in done(await reader.type("gate show grt-.*", grt=granted))
    script = str(FOLDER / "mcp-production-access-gate.sh")
    assert f"grant {granted} covers it" in done(await reader.shell(script, **MCP))
    assert (await reader.shell(script, **MCP, OA_CONVEX_EFFECTS="deployment:data:write")).code == 1
    assert (await reader.shell(script, **MCP, GATE_PRINCIPAL="agent:other")).code == 1
    done(await reader.type("gate drop .*", grt=granted))
    assert (await reader.shell(script, **MCP)).code == 1
    assert (await reader.type(calls)).code == 77

    narrow = await reader.asks()
    done(await reader.type("gate approve req-[^ ]* .* --ttl 15m .*", req=narrow))
    await by_chat(reader)
    done(await reader.type("gate deny .*", req=await reader.asks()))
    done(await reader.shell(f"gate cancel {await reader.asks()}"))
    assert reader.left == set()


async def by_chat(reader: Reader) -> None:
    """A request and its approval as two texts, and the end by a signature."""
    done(await reader.type("gate show .* --portable > .*", req=await reader.asks()))
    done(await reader.type("gate approve - .*"))
    granted = done(await reader.type("gate accept - .*"))
    done(await reader.type("gate revoke .*", grt=granted))
    assert granted not in done(await reader.shell("gate grants"))
