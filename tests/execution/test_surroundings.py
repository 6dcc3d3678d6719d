"""The child's surroundings: where Convex is, what it sees of the environment, what is left in `.env.local`."""

from pathlib import Path

import pytest

from gate.errors import GateError
from gate.execution import convex
from gate.execution.env_local import EnvLocal
from gate.execution.environment import child_environment


def _package(folder: Path, version: str = '{"version": "1.48.0"}') -> Path:
    package = folder / "node_modules" / "convex"
    (package / "bin").mkdir(parents=True)
    (package / "bin" / "main.js").touch()
    (package / "package.json").write_text(version)
    return package


def test_the_nearest_package_upwards_is_found(tmp_path: Path) -> None:
    outer = _package(tmp_path)
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    assert convex.package_in(str(inside)) == str(outer)
    nearer = _package(tmp_path / "a")
    assert convex.package_in(str(inside)) == str(nearer)
    assert convex.package_in("/proc") is None


@pytest.mark.parametrize(
    ("text", "version"), [('{"version": "1.48.0"}', "1.48.0"), ("{", None), ("[]", None), ('{"version": 1}', None)]
)
def test_a_version_is_what_the_package_says(tmp_path: Path, text: str, version: str | None) -> None:
    assert convex.version_of(str(_package(tmp_path, text))) == version


def test_missing_convex_and_missing_node_are_refusals_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(GateError, match="no Convex package") as missing:
        convex.command(None, "/bin")
    assert missing.value.argv == ["npm", "install", "convex@1.48.0"]
    with pytest.raises(GateError, match="`node`"):
        convex.command("/x", f":{tmp_path}")


def test_node_is_taken_from_the_path_in_its_order(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "node").touch(mode=0o755)
    assert convex.command("/c", f"{tmp_path}/one:{tmp_path}/two") == [f"{tmp_path}/one/node", "/c/bin/main.js"]


def test_nothing_that_selects_or_loads_code_passes_but_the_pins() -> None:
    caller = {
        "PATH": "/bin",
        "HOME": "/home/ada",
        "CONVEX_DEPLOY_KEY": "prod:x|y",
        "DOTENV_KEY": "k",
        "NODE_OPTIONS": "--require evil",
        "https_proxy": "http://evil",
        "HTTP_PROXY": "http://evil",
        "GIT_DIR": "x",
    }
    child = child_environment(caller, {"CONVEX_DEPLOYMENT": "anonymous:a", "NODE_OPTIONS": ""}, "/state/home")
    assert child == {
        "PATH": "/bin",
        "HOME": "/state/home",
        "GIT_DIR": "x",
        "CONVEX_DEPLOYMENT": "anonymous:a",
        "NODE_OPTIONS": "",
    }


PROXY, REAL = "http://127.0.0.1:4100", "https://convex.example"


@pytest.mark.parametrize(
    ("before", "after", "mended"),
    [
        (None, f"CONVEX_URL={PROXY}\n", f"CONVEX_URL={REAL}\n"),
        (f"CONVEX_URL={REAL}\n", f"CONVEX_URL={PROXY}\n", f"CONVEX_URL={REAL}\n"),
        (f'A=b\nCONVEX_URL="{REAL}" # ours\n', f"A=b\nCONVEX_URL={PROXY}\n", f'A=b\nCONVEX_URL="{REAL}" # ours\n'),
        ("VITE_CONVEX_URL=old # c\n", f"VITE_CONVEX_URL={PROXY}\n", f"VITE_CONVEX_URL={REAL}\n"),
        (f"NOTE={PROXY}/x\n", f"NOTE={PROXY}/x\n\nCONVEX_URL={PROXY}\n", f"NOTE={PROXY}/x\n\nCONVEX_URL={REAL}\n"),
        ("A=b\n", "A=b\nC=d\n", "A=b\nC=d\n"),
    ],
)
def test_env_local_ends_as_the_cli_alone_would_have_left_it(
    tmp_path: Path, before: str | None, after: str, mended: str
) -> None:
    file = tmp_path / ".env.local"
    if before is not None:
        file.write_text(before)
    watcher = EnvLocal(str(tmp_path), PROXY, REAL)
    watcher.mend()
    file.write_text(after)
    watcher.mend()
    assert file.read_text() == mended


def test_a_file_that_goes_away_is_left_alone(tmp_path: Path) -> None:
    watcher = EnvLocal(str(tmp_path), PROXY, REAL)
    watcher.mend()
    assert not (tmp_path / ".env.local").exists()
