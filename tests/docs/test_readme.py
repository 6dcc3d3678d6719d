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


def shown(heading: str) -> list[str]:
    """Commands of the console block under `heading`, without their comments."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition(f"## {heading}\n")[2]
    block = section.partition("```console\n")[2].partition("```")[0]
    return [line.partition("#")[0].strip() for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE)]


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


async def test_a_project_is_set_up_and_used_as_the_readme_says(tmp_path: Path, node_modules: Path) -> None:
    folder = tmp_path / "chat"
    folder.mkdir()
    workspace(folder, node_modules)
    (folder / "key.txt").write_text(KEY + "\n")
    (folder / ".env.local").write_text("CONVEX_DEPLOYMENT=dev:happy-otter-123\n")
    (tmp_path / ".ssh").mkdir()
    code, said = await shell("ssh-keygen -q -t ed25519 -N '' -f .ssh/id_ed25519", tmp_path, dict(os.environ))
    assert code == 0, said
    async with StandIn(KEY, "happy-otter-123") as dev, gate_in(folder, tmp_path / "state") as gate:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**gate.environment(), "HOME": str(tmp_path), "PATH": path}
        ends = {}
        for command in shown("Use it"):
            ends[command], said = await shell(command, folder, environment)
            if command.startswith("gate init"):
                yaml = folder / "gate.yaml"
                yaml.write_text(yaml.read_text().replace("https://happy-otter-123.convex.cloud", dev.url))
            expected = 77 if "--prod" in command else 0
            assert ends[command] == expected, f"{command}\n{said}"
        assert len(ends) == 6
        assert dev.keys() == {KEY}
        await operate(folder, environment, tmp_path / "state" / "chat" / "ledger.db")


async def operate(folder: Path, environment: dict[str, str], ledger: Path) -> None:
    """Run what operations.md shows, in the project that the README set up, with this machine's names."""
    tail = (await shell("gate audit tail -n 2", folder, environment))[1]
    head = (await shell("gate --json audit verify", folder, environment))[1]
    names = {
        "~/.local/state/gate/acme-chat/ledger.db": str(ledger),
        "dec-7k3f9q2m": tail.split()[3],
        "HASH": json.loads(head)["head"],
        "python3 docs": f"{sys.executable} {ROOT}/docs",
    }
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    commands = [line.partition("  #")[0] for line in re.findall(r"^\$ (.*)$", text, re.MULTILINE)]
    # The project is there already, and its keeper is wanted to the end.
    ran = [command for command in commands if not command.startswith(("gate init", "gate keeper stop"))]
    assert len(ran) > 10
    for command in ran:
        there = functools.reduce(lambda line, name: line.replace(name, names[name]), names, command)
        code, said = await shell(there, folder, environment)
        assert code == 0, f"{there}\n{said}"
        assert said or ">" in there, there


def test_the_two_commands_of_a_fresh_machine_are_the_ones_that_ci_runs() -> None:
    assert shown("See it work") == ["pip install . && gate demo"]
    assert shown("Work on it") == ["pip install -e '.[dev]' && pytest"]
    ran = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for part in ("pip install --quiet -e '.[dev]'", "pytest --cov", "run gate demo"):
        assert part in ran
