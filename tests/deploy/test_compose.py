"""deploy/convex: the compose file is pinned and closed, and its keeper runs as the installed one does."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from gate.keeper import unit
from gate.keeper.install import Found, plan

FOLDER = Path(__file__).parents[2] / "deploy" / "convex"
ROOT = FOLDER.parents[1]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    loaded = yaml.safe_load((FOLDER / "compose.yaml").read_text(encoding="utf-8"))
    services: dict[str, Any] = loaded["services"]
    return services


def recipe(services: dict[str, Any]) -> str:
    text: str = services["keeper"]["build"]["dockerfile_inline"]
    return text


def test_every_image_is_pinned(services: dict[str, Any]) -> None:
    """By digest, or by a tag that names one version to its last digit."""
    images = [service["image"] for service in services.values() if "image" in service]
    images += re.findall(r"^FROM (.*)$", recipe(services), re.MULTILINE)
    assert len(images) == 4
    assert all(re.search(r"@sha256:[0-9a-f]{64}$|:\d+\.\d+(\.\d+)?-[a-z-]+$", image) for image in images)


def test_nothing_listens_beyond_this_machine(services: dict[str, Any]) -> None:
    """TLS ends in front of it; the database is reached by the backend alone."""
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert services["postgres"]["networks"] == ["database"]
    assert all("no-new-privileges:true" in service["security_opt"] for service in services.values())


def test_the_backend_is_hardened(services: dict[str, Any]) -> None:
    environment = services["backend"]["environment"]
    for name in ("REDACT_LOGS_TO_CLIENT", "DISABLE_BEACON", "DISABLE_METRICS_ENDPOINT"):
        assert environment[name] == "true", name
    assert services["dashboard"]["environment"]["NEXT_PUBLIC_LOAD_MONACO_INTERNALLY"] == "true"
    assert services["dashboard"]["profiles"] == ["dashboard"]


def test_no_secret_has_a_default(services: dict[str, Any]) -> None:
    """What a file in the tree says is no secret."""
    text = json.dumps(services)
    given = (FOLDER / "env.example").read_text(encoding="utf-8")
    for name in ("INSTANCE_SECRET", "POSTGRES_PASSWORD"):
        assert f"${{{name}:?" in text
        assert re.search(rf"^{name}=$", given, re.MULTILINE)


def test_what_the_compose_file_wants_is_in_the_example(services: dict[str, Any]) -> None:
    wanted = set(re.findall(r"\$\{([A-Z_]+)", json.dumps(services)))
    assert wanted == set(re.findall(r"^([A-Z_]+)=", (FOLDER / "env.example").read_text(encoding="utf-8"), re.MULTILINE))


def test_what_the_script_reads_is_in_the_example() -> None:
    script = (FOLDER / "mcp-production-access-gate.sh").read_text(encoding="utf-8")
    read = set(re.findall(r"\$\{(OA_[A-Z_]+)", script))
    shown = re.findall(r"^# (OA_[A-Z_]+)=", (FOLDER / "env.example").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(read) == 7
    assert read == set(shown)


def test_the_keeper_runs_as_the_installed_one_does(services: dict[str, Any]) -> None:
    """Same command line, same state, a user that is no caller's."""
    text = recipe(services)
    entry = json.loads(text.partition("ENTRYPOINT ")[2])
    assert unit.entrypoint("gate")[-len(entry) :] == entry
    assert "USER gate" in text
    assert "GATE_HOME=/var/lib/gate" in text
    useradd, *_ = (
        shlex.split(line.lstrip("RUN ")) for line in text.replace("\\\n", " ").splitlines() if "useradd" in line
    )
    planned = plan("gate", "/usr/local/bin/python3.13", "/src", Found(user=False, trust=False), container=True)[0]
    assert set(planned.to_json()["argv"]) <= set(useradd)
    assert services["keeper"]["read_only"] is True
    assert services["keeper"]["cap_drop"] == ["ALL"]
    assert {"gate:/var/lib/gate", "/run/gate:/run/gate", "/etc/gate:/etc/gate:ro"} == set(services["keeper"]["volumes"])


def test_what_the_recipe_copies_is_in_the_tree(services: dict[str, Any]) -> None:
    for line in re.findall(r"^COPY (.*)$", recipe(services), re.MULTILINE):
        assert all((ROOT / name).exists() for name in line.split()[:-1]), line
