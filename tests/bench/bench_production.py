"""Production of the stage under a grant: rules for it, keys in place, a request signed. Measures nothing."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench_office import POLICY, VIEW

from gate.demo.stage import PROD_KEY, Came, Stage
from gate.keeper import places


def open_production(made: Stage) -> None:
    """Put rules in force under which the stage's one person may approve what their own agent asks for."""
    (made.work / "policies" / "production.yaml").write_text(POLICY, encoding="utf-8")
    said(made.gate("activate", "--key", str(made.person)))
    said(made.gate("key", "set", "prod", stdin=PROD_KEY))


def grant(made: Stage, ttl: str) -> str:
    """Id of a new grant to read production for `ttl` from first use."""
    asked = ("--ticket", "OPS-411", "--reason", "the benchmark reads production", "--ttl", ttl, "--ack-risk")
    request = said(made.gate("request", "--deployment", "prod", "--effect", VIEW, *asked))
    return said(made.gate("approve", request, "--key", str(made.person)))


def shown(made: Stage, grant_id: str) -> dict[str, Any]:
    """The grant as it stands."""
    members: dict[str, Any] = json.loads(said(made.gate("--json", "show", grant_id)))
    return members


def said(came: Came) -> str:
    """What a call printed. Raises RuntimeError unless it ended well."""
    if came.code:
        raise RuntimeError(came.err)
    return came.out.strip()


@contextmanager
def connected(root: Path) -> Iterator[socket.socket]:
    """A connection to the keeper of the state folder `root`."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        with places.Address(places.socket_in(str(root))) as address:
            connection.connect(address)
        yield connection
