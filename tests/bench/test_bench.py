"""The benchmarks run. What they measure is for people to read: nothing here is held to a time."""

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")
SHOWN = {
    "policy": ["decision, 50 rules", "decision, 10000 rules"],
    "ledger": ["one durable append", "16 concurrent appends"],
    "proxy": ["added latency", "MiB down", "MiB up"],
    "grants": ["20,000 open ones", "20,000 ended ones", "bytes each", "verified again"],
    "leave": ["what its record adds"],
    "calls": ["in raw fdatasync appends"],
    "doors": ["messages:list (dev)", "--version (no target)", "python -I -c pass", "cold start"],
    "end": ["another bundle", "keeper killed", "door killed"],
    "mcp": ["start to first answer", "what gate adds", "what own adds", "200 kB", "in flight", "MiB", "on production"],
    "hooks": ["passes", "is rewritten", "is refused"],
    "cut": ["grant revoked, ms", "grant expired, ms", "refused probe"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_every_budget_is_measured(name: str, node_modules: Path) -> None:
    """With few turns, on whatever machine this is; docs/performance.md lists the same rows."""
    assert node_modules.is_dir()
    command = [sys.executable, str(RUN), "--quick", "--only", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    assert [what for what in SHOWN[name] if what not in done.stdout] == []
