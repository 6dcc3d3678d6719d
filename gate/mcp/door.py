"""The calls of `gate mcp`: Convex's tools as runs of their own, the gate's tools as questions to the keeper.

Holds the one connection to the keeper, made at the first call and anew after a loss, and the lanes. Decides nothing:
whatever may be, the keeper says. Standard library only: this is the hot path of `gate mcp`.
"""

from gate.errors import GateError
from gate.keeper import client
from gate.mcp import answers, catalogue
from gate.mcp.aside import Aside
from gate.mcp.backend import Backend
from gate.mcp.lane import Lane
from gate.mcp.link import Link
from gate.mcp.questions import QUESTIONS
from gate.mcp.run import Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from gate.mcp.backend import Call, Callbacks
    from gate.mcp.run import Read, See


class Door(Backend):
    """Makes the calls. `see` gives the invocation of this folder as it is now, `read` a file that the keeper wants.

    Raises GateError from `start` only; everything later is the answer to a call.
    """

    def __init__(self, see: "See", read: "Read") -> None:
        self._see = see
        self._read = read
        self._aside = Aside()
        self._link: Link | None = None
        self._connecting = False
        self._waiting: dict[Call, Callable[[Link], None]] = {}
        self._runs: dict[Call, Run] = {}
        self._lanes: dict[str, Lane] = {}

    def start(self, call: "Call") -> None:
        """Begin `call`, as soon as there is a connection to the keeper."""
        begin = self._ask if call.tool in QUESTIONS else self._run
        if self._link is not None:
            begin(call, self._link)
            return
        self._waiting[call] = lambda link: begin(call, link)
        if not self._connecting:
            self._connecting = True
            # A keeper may have to be started first, and nobody else should wait for that.
            self._aside.run(self._connect)

    def cancel(self, call: "Call") -> None:
        """End the work on `call`, or do not begin it."""
        self._waiting.pop(call, None)
        run = self._runs.get(call)
        if run is not None:
            run.cancel()

    def close(self) -> None:
        """Leave the keeper, which ends every lease, then end every server."""
        if self._link is not None:
            self._link.close()
        for lane in self._lanes.values():
            lane.end(GateError("cut", "the client left", remedy="Connect again."))

    def descriptors(self) -> "Callbacks":
        """What to watch for reading."""
        found = {self._aside.descriptor: self._aside.take}
        if self._link is not None:
            found.update(self._link.descriptors())
        for lane in self._lanes.values():
            if lane.upstream is not None:
                found.update(lane.upstream.descriptors())
        return found

    def writers(self) -> "Callbacks":
        """What to watch for writing."""
        found = {} if self._link is None else dict(self._link.writers())
        for lane in self._lanes.values():
            if lane.upstream is not None:
                found.update(lane.upstream.writers())
        return found

    def due(self) -> int | None:
        """When a server has to be looked at."""
        return min((due for lane in self._lanes.values() if (due := lane.due()) is not None), default=None)

    def tick(self) -> None:
        """Look at the servers, and forget what is over."""
        for lane in list(self._lanes.values()):
            lane.tick()
        for call in [call for call, run in self._runs.items() if run.over]:
            lane = self._runs.pop(call).lane
            if lane.empty:
                self._lanes.pop(lane.selector, None)

    def _connect(self) -> "Callable[[], None]":
        """In a thread of its own: connect, and say what to do then."""
        try:
            connection = client.connect()
        except GateError as error:
            why = error
            return lambda: self._not_connected(why)
        return lambda: self._connected(Link(connection, self._lost))

    def _connected(self, link: Link) -> None:
        self._connecting = False
        self._link = link
        waiting, self._waiting = self._waiting, {}
        for call, begin in waiting.items():
            try:
                begin(link)
            except GateError as error:
                call.fail(error)

    def _not_connected(self, why: GateError) -> None:
        self._connecting = False
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            call.fail(why)

    def _lost(self) -> None:
        """No lease is worth anything any more, and a keeper that comes next knows none of the credentials."""
        self._link = None
        for lane in self._lanes.values():
            lane.end(GateError("keeper_unavailable", "the keeper went away", remedy="Call again."))

    def _run(self, call: "Call", link: Link) -> None:
        selector = call.arguments["deploymentSelector"]
        lane = self._lanes.setdefault(selector, Lane(selector))
        run = self._runs[call] = Run(call, lane, self._aside, self._see, self._read)
        run.begin(link)

    def _ask(self, call: "Call", link: Link) -> None:
        question = QUESTIONS[call.tool]
        invocation = self._see({})

        def hear(frame: "dict[str, Any] | GateError") -> None:
            if isinstance(frame, GateError):
                call.fail(frame)
                return
            conversation.over()
            call.finish(answers.data(catalogue.TOOLS[call.tool], question.shown(frame, invocation)))

        conversation = link.ask(question.op, hear, **question.members(call.arguments, invocation))
