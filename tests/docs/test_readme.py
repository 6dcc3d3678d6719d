"""The README's commands, run in their order by a shell, as somebody who follows it would."""

import asyncio
import functools
import json
import os
import re
import sys
from pathlib import Path

from convex_cli import workspace
from gate_cli import gate_in

from gate.demo.standin import StandIn

ROOT = Path(__file__).parents[2]
KEY = "dev:happy-otter-123|key-of-the-readme"
PROD_KEY = "prod:proud-lynx-456|key-of-production"
ID = re.compile(r"\b(dec|req|grt)-[0-9a-z]{8}\b")
# What these print names what the commands behind them are about.
NAMING = re.compile(r"gate (?:--as \S+ )?(?:convex|request|approve|accept)\b")


def section(heading: str) -> str:
    """What the README says under `heading`."""
    return (ROOT / "README.md").read_text(encoding="utf-8").partition(f"## {heading}\n")[2].partition("\n## ")[0]


def commands(text: str) -> list[tuple[str, int]]:
    """Commands of the console blocks in `text`, each with the status that the comment behind it begins with, else 0."""
    lines = re.findall(r"^\$ (.*)$", text, re.MULTILINE)
    parts = [line.partition(" #") for line in lines]
    return [(line.strip(), int((re.match(r" (\d+):", comment) or ["", "0"])[1])) for line, _, comment in parts]


def shown(heading: str) -> list[str]:
    """Commands under `heading` of the README, without their comments."""
    return [command for command, _ in commands(section(heading))]


class Reader:
    """Somebody who types what a page shows, with this machine's `names` and the ids that were printed before."""

    def __init__(self, folder: Path, environment: dict[str, str], names: dict[str, str]) -> None:
        self.folder, self.environment, self.names = folder, environment, names

    async def type(self, command: str, expected: int = 0) -> str:
        there = functools.reduce(lambda line, name: line.replace(name, self.names[name]), self.names, command)
        code, said = await shell(there, self.folder, self.environment)
        assert code == expected, f"{there}\n{said}"
        if NAMING.match(command):
            self.names |= {f"{found[1]}-7k3f9q2m": found[0] for found in ID.finditer(said)}
        return said

    async def type_all(self, text: str) -> None:
        for command, expected in commands(text):
            assert await self.type(command, expected) or ">" in command, command


async def shell(command: str, folder: Path, environment: dict[str, str]) -> tuple[int, str]:
    process = await asyncio.create_subprocess_shell(
        command,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_a_project_is_set_up_and_used_as_the_pages_say(tmp_path: Path, node_modules: Path) -> None:
    folder = tmp_path / "chat"
    folder.mkdir()
    workspace(folder, node_modules)
    (folder / "key.txt").write_text(KEY + "\n")
    (folder / ".env.local").write_text("CONVEX_DEPLOYMENT=dev:happy-otter-123\n")
    (tmp_path / ".ssh").mkdir()
    for name in ("id_ed25519", "id_ed25519_sk"):
        code, said = await shell(f"ssh-keygen -q -t ed25519 -N '' -f .ssh/{name}", tmp_path, dict(os.environ))
        assert code == 0, said
    async with (
        StandIn(KEY, "happy-otter-123") as dev,
        StandIn(PROD_KEY, "proud-lynx-456") as prod,
        gate_in(folder, tmp_path / "state") as gate,
    ):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**gate.environment(), "HOME": str(tmp_path), "PATH": path}
        ledger = tmp_path / "state" / "chat" / "ledger.db"
        reader = Reader(folder, environment, {"~/.local/state/gate/acme-chat/ledger.db": str(ledger)})
        await use(reader, dev.url)
        assert dev.keys() == {KEY}
        await list_production(reader, prod.url)
        reached = await reach(reader, prod)
        await operate(reader)
        # The deployments saw the real keys, and production the calls of the day as well.
        assert (dev.keys(), prod.keys()) == ({KEY}, {PROD_KEY})
        assert len(prod.requests) > reached


async def use(reader: Reader, dev: str) -> None:
    """Run what the README says of a project's beginning."""
    ran = commands(section("Use it"))
    assert len(ran) == 6
    for command, expected in ran:
        await reader.type(command, expected)
        if command.startswith("gate init"):
            yaml = reader.folder / "gate.yaml"
            yaml.write_text(yaml.read_text().replace("https://happy-otter-123.convex.cloud", dev))


async def list_production(reader: Reader, url: str) -> None:
    """Do what the README asks for before production is reached: its entry and key, and a second person.

    That person's key is an ordinary one, with no hand to touch it.
    """
    yaml, policy = reader.folder / "gate.yaml", reader.folder / "policies" / "production.yaml"
    entries = {
        "deployments": f'prod: {{class: prod, name: proud-lynx-456, url: "{url}", custody: prod}}',
        "principals": "human:lee: {groups: [leads]}",
        "custody": "prod: {file: keys/prod}",
    }
    text = yaml.read_text()
    for key, entry in entries.items():
        text = text.replace(f"\n{key}:\n", f"\n{key}:\n  {entry}\n")
    yaml.write_text(text)
    policy.write_text(policy.read_text().replace("not: [requester, owner]", "not: [requester, owner], touch: false"))
    public = (reader.folder.parent / ".ssh" / "id_ed25519_sk.pub").read_text()
    with (reader.folder / "gate.signers").open("a") as signers:
        signers.write("human:lee " + " ".join(public.split()[:2]) + "\n")
    (reader.folder / "key.txt").write_text(PROD_KEY + "\n")
    await reader.type("gate activate --key ~/.ssh/id_ed25519")
    await reader.type("gate key set prod < key.txt")
    (reader.folder / "key.txt").write_text(KEY + "\n")


async def reach(reader: Reader, prod: StandIn) -> int:
    """Run what the README says of production; returns how many requests reached it."""
    text = section("Reach production")
    assert [expected for _, expected in commands(text)] == [77, 0, 0, 0, 0, 0]
    await reader.type_all(text)
    assert prod.requests
    return len(prod.requests)


async def operate(reader: Reader) -> None:
    """Run what operations.md shows, in the project that the README set up, with this machine's names."""
    head = json.loads(await reader.type("gate --json audit verify"))["head"]
    reader.names |= {"HASH": head, "python3 docs": f"{sys.executable} {ROOT}/docs"}
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    # The project is there already, and its keeper is wanted to the end.
    kept = re.sub(r"^\$ gate (?:init|keeper stop)\b.*$", "", text, flags=re.MULTILINE)
    assert len(commands(kept)) > 35
    await reader.type_all(kept)


def test_the_two_commands_of_a_fresh_machine_are_the_ones_that_ci_runs() -> None:
    assert shown("See it work") == ["pip install . && gate demo"]
    assert shown("Work on it") == ["pip install -e '.[dev]' && pytest"]
    ran = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for part in ("pip install --quiet -e '.[dev]'", "pytest --cov", "run gate demo"):
        assert part in ran
