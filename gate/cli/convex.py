"""`gate convex ARG...`: ask the keeper, then run the real Convex CLI under the caller's uid. Decides nothing.

Standard library only: this is the hot path. `dataclasses` and `typing` cost a door more than all of its own modules
(docs/performance.md), so the options are a plain class, and the types that only a checker reads are in quotes.
"""

import json
import os
import signal
import socket
import sys

from gate import world
from gate.cli import refusal, sight
from gate.errors import EXITS, GateError
from gate.execution import convex
from gate.execution.child import Child
from gate.execution.env_local import EnvLocal
from gate.execution.environment import child_environment, child_environment_under_grant
from gate.keeper import client, places, protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

# `14:32:05` of `2026-02-19T14:32:05.123Z`.
_CLOCK = slice(len("2026-02-19T"), len("2026-02-19T14:32:05"))


class Options:
    """gate's own options, which stand before the verb."""

    __slots__ = ("grant", "json", "principal", "status_fd")

    def __init__(
        self,
        json: bool = False,
        principal: str | None = None,
        grant: str | None = None,
        status_fd: int | None = None,
    ) -> None:
        self.json = json
        self.principal = principal
        self.grant = grant
        self.status_fd = status_fd


def main(argv: list[str], options: Options) -> int:
    """Run `convex ARG...` through the gate; returns the exit status (docs/contract.md, exit codes)."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        insist_on(options.status_fd)
        connection = client.connect()
        with connection:
            invocation = sight.invocation(argv, options.principal, options.grant)
            answer = client.ask(connection, "run", sight.read_text, invocation=invocation)
            return _act(connection, answer, options)
    except GateError as error:
        tell(options.status_fd, refusal.verdict_of(error))
        return refusal.show_error(error, options.json)
    except OSError as error:
        return refusal.show_error(refusal.of_system(error), options.json)
    except KeyboardInterrupt:
        # Before there is a child to take it: nothing ran, or the keeper records what did as unknown.
        return 128 + signal.SIGINT


def _act(connection: socket.socket, answer: "Mapping[str, Any]", options: Options) -> int:
    decision = answer["decision"]
    tell(options.status_fd, decision)
    if decision["verdict"] != "allow":
        return refusal.show_decision(decision, options.json)
    if "answer" in answer:
        print(answer["answer"])
        return 0
    _announce(decision, answer["start"].get("grant"))
    return _run(connection, answer["start"], decision)


def _run(connection: socket.socket, start: "Mapping[str, Any]", decision: "Mapping[str, Any]") -> int:
    home = os.path.join(places.state_root(), start["project"], "home")
    try:
        places.ensure_private(os.path.dirname(home))
        places.ensure_private(home)
        command = convex.command(convex.package_in("."), world.variable("PATH") or os.defpath)
        child = Child([*command, *start["argv"]], _environment(start, home))
    except GateError as error:
        protocol.send(connection, {"failed": error.code})
        protocol.receive(connection)
        raise
    written = _env_local(start, decision)
    connection.settimeout(None)
    status = child.wait(connection.fileno(), None if written is None else written.mend)
    if status is None:
        return _cut(connection, child, written)
    if written is not None:
        written.mend()
    return _finish(connection, child, status)


def _environment(start: "Mapping[str, Any]", home: str) -> dict[str, str]:
    build = child_environment if start.get("grant") is None else child_environment_under_grant
    return build(world.environment(), start["pins"], home)


def _env_local(start: "Mapping[str, Any]", decision: "Mapping[str, Any]") -> EnvLocal | None:
    """Only the pair makes the CLI write the URL that it was given, and only while it develops."""
    given = start["pins"].get("CONVEX_SELF_HOSTED_URL")
    if not given or start["command"] not in ("dev", "init"):
        return None
    return EnvLocal(os.getcwd(), given, decision["target"]["url"])


def _finish(connection: socket.socket, child: Child, status: int) -> int:
    """The child's own status, once its outcome is on record; unknown outcomes are the keeper's to record."""
    try:
        protocol.send(connection, {"done": {"status": status}})
        answer: Any = client.checked(protocol.receive(connection))
        if "cut" in answer:
            # Its access ended first, which may be all that it ended of.
            child.end()
            return _say_cut(answer["cut"]["message"])
    except protocol.Gone:
        print("gate: the keeper went away; its next start records the outcome of this call as unknown", file=sys.stderr)
    return status


def _cut(connection: socket.socket, child: Child, written: EnvLocal | None) -> int:
    """Access has ended: end the process too, and say so."""
    try:
        why = str(protocol.receive(connection)["cut"]["message"])  # type: ignore[index]
    except (protocol.Gone, KeyError, GateError):
        why = "the keeper is gone"
    child.end()
    if written is not None:
        written.mend()
    try:
        protocol.send(connection, {"done": {"status": None}})
    except protocol.Gone:
        why = "the keeper is gone"
    return _say_cut(why)


def _say_cut(why: str) -> int:
    print(f"gate: cut: {why}", file=sys.stderr)
    return EXITS["cut"]


def _announce(decision: "Mapping[str, Any]", grant: "Mapping[str, Any] | None") -> None:
    target = decision["target"]
    where = "no deployment" if target is None else target["deployment"]
    leave = "" if grant is None else f" under {grant['id']} until {grant['ends'][_CLOCK]}Z"
    print(f"gate: {decision['id']} {where}{leave} ({decision['enforcement']})", file=sys.stderr, flush=True)


def insist_on(status_fd: int | None) -> None:
    """Raise GateError `usage` before anything runs when the descriptor of --status-fd is not open."""
    try:
        if status_fd is not None:
            os.fstat(status_fd)
    except OSError as error:
        raise GateError("usage", "the descriptor of --status-fd is not open", remedy="Open it first.") from error


def tell(status_fd: int | None, verdict: "Mapping[str, Any]") -> None:
    """Write the gate's own verdict as one line of JSON, apart from any child's status."""
    if status_fd is None:
        return
    try:
        os.set_inheritable(status_fd, False)
        os.write(status_fd, json.dumps(verdict).encode() + b"\n")
    except OSError:
        refusal.warn("the descriptor of --status-fd cannot be written")
