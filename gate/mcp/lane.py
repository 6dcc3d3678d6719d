"""One deployment as its calls reach it: one after the other over a server of Convex's, or beside each other directly.

A lane keeps the server and its backoff. Asks the keeper nothing and decides nothing.

Standard library only: this is the hot path of `gate mcp`.
"""

from collections import deque

from gate import world
from gate.errors import GateError
from gate.execution import convex
from gate.execution.environment import child_environment_under_grant
from gate.keeper import places
from gate.mcp.upstream import Answer, Upstream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from gate.mcp.backend import Call
    from gate.mcp.upstream import Heard

IDLE_MS = 600_000
# A door that is killed ends nobody, and Convex's server does not end with its stdin once it has made a call.
_WITH_STDIN = ("--import", "data:text/javascript,process.stdin.on('end',()=>process.exit())")
_FIRST_PAUSE_MS = 500
_MOST_DOUBLINGS = 6
# A server that ends for one of these may end so again.
_FAILURES = ("upstream_unreachable", "unknown_version", "limit")


class Lane:
    """The calls to one deployment, by the `selector` that callers use for it.

    `known`: the keeper has let a call to it through. `direct`: it is known to need no server of Convex's, so that its
    calls wait for nobody.
    """

    def __init__(self, selector: str) -> None:
        self.selector = selector
        self.known = False
        self.direct = False
        self.upstream: Upstream | None = None
        self._pins: Mapping[str, str] = {}
        self._waiting: deque[Callable[[], None]] = deque()
        self._taken = False
        self._generation = 0
        self._failures = 0
        self._not_before = 0

    @property
    def name(self) -> str | None:
        """Name under which the keeper keeps this server's credential; a new server gets another. None: none is kept."""
        return None if self.direct else f"{self._generation}:{self.selector}"

    @property
    def empty(self) -> bool:
        """Whether nothing is lost when this lane is forgotten: nobody waits, and it may be no deployment's."""
        return not (self.known or self._taken or self._waiting)

    def enter(self, go: "Callable[[], None]") -> None:
        """Call `go` when it is this call's turn, which may be now; `leave` ends the turn."""
        if self.direct:
            go()
        elif self._taken:
            self._waiting.append(go)
        else:
            self._taken = True
            go()

    def withdraw(self, go: "Callable[[], None]") -> bool:
        """Take back a `go` that still waits; False when its turn has come."""
        try:
            self._waiting.remove(go)
        except ValueError:
            return False
        return True

    def leave(self) -> None:
        """End a turn that `enter` gave; the next in line has its own."""
        self._taken = False
        while self._waiting and not self._taken:
            self.enter(self._waiting.popleft())

    def call(self, start: "Mapping[str, Any]", folder: str, call: "Call", heard: "Heard") -> None:
        """Make `call` of a server that has what `start` says, and looks for the project in `folder`.

        Raises GateError when none can be started now.
        """
        pins = start["pins"]
        if self.upstream is None or self.upstream.ended or self._pins != pins:
            self._start(pins, str(start["project"]), folder)
        assert self.upstream is not None  # noqa: S101 - it was just started
        self.upstream.call(call.tool, call.arguments, lambda what: self._heard(what, heard))

    def end(self, why: GateError) -> None:
        """End the server; a call in flight is told `why`."""
        upstream = self._drop()
        if upstream is not None:
            upstream.end(why)

    def tick(self) -> None:
        """End a server that nobody has used for ten minutes, or that does not get ready."""
        if self.upstream is None:
            return
        self.upstream.tick()
        due = self.due()
        if due is not None and due <= world.boot_ms():
            self.end(GateError("upstream_unreachable", "the server was idle", remedy="Call again."))

    def due(self) -> int | None:
        """When `tick` has something to do, in milliseconds of world.boot_ms."""
        if self.upstream is None:
            return None
        if self.upstream.ended:
            return 0
        idle = self.upstream.idle_since
        return self.upstream.starts_by if idle is None else idle + IDLE_MS

    def _drop(self) -> Upstream | None:
        """Forget the server; what may have stayed behind of it holds a credential that no call is given again."""
        upstream, self.upstream = self.upstream, None
        self._generation += upstream is not None
        return upstream

    def _start(self, pins: "Mapping[str, str]", project: str, folder: str) -> None:
        if self.upstream is not None:
            # Still of the generation that was asked for: it ended just now, or the keeper serves at another address.
            self.upstream.end(GateError("upstream_unreachable", "the server was replaced", remedy="Call again."))
        self._insist_on_pause()
        state = f"{places.state_root()}/{project}"
        home = f"{state}/home"
        places.ensure_private(state)
        places.ensure_private(home)
        node, *script = convex.command(convex.package_in(folder), world.variable("PATH") or world.PATH)
        # The same server may serve a call under a grant next: it never sees more of the caller's environment.
        environment = child_environment_under_grant(world.environment(), pins, home)
        self.upstream = Upstream([node, *_WITH_STDIN, *script, "mcp", "start"], environment, folder)
        self._pins = dict(pins)

    def _insist_on_pause(self) -> None:
        left = self._not_before - world.boot_ms()
        if left > 0:
            raise GateError(
                "upstream_unreachable",
                f"Convex's MCP server failed {self._failures} times in a row; it is not started again now",
                remedy=f"Call again in {left // 1000 + 1} s.",
            )

    def _heard(self, what: "Answer | GateError", heard: "Heard") -> None:
        if isinstance(what, Answer):
            self._failures = 0
        elif what.code in _FAILURES:
            self._drop()
            # The first time it is started again at once.
            pause = _FIRST_PAUSE_MS << min(self._failures, _MOST_DOUBLINGS) if self._failures else 0
            self._failures += 1
            self._not_before = world.boot_ms() + pause
        heard(what)
