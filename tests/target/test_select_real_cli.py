"""The real CLI in front of a recording control plane: it goes for the deployment that the gate chose."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from target_kit import DEV, PROD, STAGING, choose, seen

from gate.errors import GateError

_SELF_HOSTED = "http://127.0.0.1:3210"


class _Recorder(BaseHTTPRequestHandler):
    """Knows every project and hands out no deployment; keeps what it was asked, by the port of the server."""

    asked: list[tuple[str, dict[str, object]]]

    def do_GET(self) -> None:
        self._note({})
        self._answer(200, {"team": "acme", "project": "chat", "teamId": 1, "projectId": 1, "name": "found"})

    def do_POST(self) -> None:
        self._note(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(400, {"code": "Recorded", "message": "recorded"})

    def log_message(self, *_: object) -> None:
        """Stay quiet."""

    def _note(self, body: dict[str, object]) -> None:
        self.asked.append((self.path, body))

    def _answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(data)


# name -> arguments, process environment, .env.local, other env files
_CASES: dict[str, tuple[str, dict[str, str], str, dict[str, str]]] = {
    "configured": ("data", {}, f"CONVEX_DEPLOYMENT=dev:{DEV} # team: acme", {}),
    "with a colon": ("data", {}, f"CONVEX_DEPLOYMENT: dev:{DEV}", {}),
    "environment first": ("data", {"CONVEX_DEPLOYMENT": f"dev:{DEV}"}, f"CONVEX_DEPLOYMENT=dev:{PROD}", {}),
    "second file": ("data", {}, "A=1", {".env": f"CONVEX_DEPLOYMENT='{STAGING}'"}),
    "prod": ("data --prod", {}, f"CONVEX_DEPLOYMENT=dev:{DEV}", {}),
    "swallowed": ("data --component --prod", {}, f"CONVEX_DEPLOYMENT=dev:{DEV}", {}),
    "deploy": ("deploy", {}, f"CONVEX_DEPLOYMENT=dev:{DEV}", {}),
    "name before prod": (f"data --prod --deployment-name {STAGING}", {}, f"CONVEX_DEPLOYMENT=dev:{DEV}", {}),
    "full name": (f"data --deployment {STAGING}", {}, f"CONVEX_DEPLOYMENT=dev:{DEV}", {}),
    "env file": ("data --env-file f", {}, f"CONVEX_DEPLOYMENT=dev:{PROD}", {"f": f"CONVEX_DEPLOYMENT={DEV}"}),
    "env file without": ("data --env-file f --prod", {}, f"CONVEX_DEPLOYMENT=dev:{PROD}", {"f": "A=1"}),
    "key": ("data", {}, f"CONVEX_DEPLOY_KEY=dev:{PROD}|k\nCONVEX_DEPLOYMENT=dev:{DEV}", {}),
    "key before name": (f"data --deployment-name {DEV}", {}, f"CONVEX_DEPLOYMENT_TOKEN=prod:{PROD}|k", {}),
    "pair and name": (
        "data",
        {},
        f"CONVEX_DEPLOYMENT=dev:{DEV}\nCONVEX_SELF_HOSTED_URL={_SELF_HOSTED}\nCONVEX_SELF_HOSTED_ADMIN_KEY=k",
        {},
    ),
    "anonymous swallows prod": ("data --prod", {}, "CONVEX_DEPLOYMENT=anonymous:anonymous-agent", {}),
}


def _real(folder: Path, main: Path, argv: list[str], variables: Mapping[str, str]) -> str:
    """The deployment that the real CLI asked for: a name, `prod`, or `none` when it gave up before."""
    asked: list[tuple[str, dict[str, object]]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Recorder", (_Recorder,), {"asked": asked}))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    base = {"PATH": os.environ["PATH"], "HOME": str(folder), "CONVEX_OVERRIDE_ACCESS_TOKEN": "made-up", "CI": "1"}
    host = {"CONVEX_PROVISION_HOST": f"http://127.0.0.1:{server.server_port}"}
    subprocess.run(
        ["node", main, *argv],
        cwd=folder,
        env=base | host | dict(variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )
    server.shutdown()
    server.server_close()
    return next((_name(path, body) for path, body in asked if body), "none")


def _name(path: str, body: dict[str, object]) -> str:
    if path.endswith("authorize_prod"):
        return PROD
    named = body.get("selectedDeploymentName") or str(body["deployKey"]).split("|")[0].split(":")[-1]
    return str(named)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory, convex_package: Path) -> Iterator[Mapping[str, str]]:
    """What the real CLI asked for in each case; all cases at once, each in a folder of its own."""

    def run(case: tuple[str, dict[str, str], str, dict[str, str]]) -> str:
        argv, variables, env_local, files = case
        folder = tmp_path_factory.mktemp("workspace")
        for name, text in {**files, ".env.local": env_local}.items():
            (folder / name).write_text(text)
        return _real(folder, convex_package / "bin" / "main.js", argv.split(), variables)

    with ThreadPoolExecutor(4) as pool:
        yield dict(zip(_CASES, pool.map(run, _CASES.values()), strict=True))


@pytest.mark.parametrize("case", _CASES)
def test_goes_where_the_real_cli_goes(outcomes: Mapping[str, str], case: str) -> None:
    argv, variables, env_local, files = _CASES[case]
    try:
        target = choose(seen(argv.split(), variables, {**files, ".env.local": env_local}))
    except GateError:
        ours = "none"
    else:
        # An anonymous deployment is on this machine: nobody is asked for it.
        ours = "none" if target is None or target.name is None or target.cls == "anonymous" else target.name
    assert ours == outcomes[case]
