"""The README's commands, run in their order by a shell, as somebody who follows it would."""

import asyncio
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


def test_the_two_commands_of_a_fresh_machine_are_the_ones_that_ci_runs() -> None:
    assert shown("See it work") == ["pip install . && gate demo"]
    assert shown("Work on it") == ["pip install -e '.[dev]' && pytest"]
    ran = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for part in ("pip install --quiet -e '.[dev]'", "pytest --cov", "run gate demo"):
        assert part in ran
