"""A call in flight and who makes it: what the loop and the calls' maker promise each other. Makes no call.

Standard library only: this is the hot path of `gate mcp`.
"""

from gate.mcp import answers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Protocol

    from gate.errors import GateError
    from gate.mcp.eras import Era

    Callbacks = Mapping[int, Callable[[], None]]

    class Answering(Protocol):
        """The side of the loop that a call speaks to."""

        def finish(self, call: "Call", result: Mapping[str, Any]) -> None:
            """Answer `call`."""

        def progress(self, call: "Call", told: Mapping[str, Any]) -> None:
            """Tell of its progress."""


class Call:
    """One `tools/call` in flight; every field but `over` is fixed.

    `arguments` fit the tool's input schema. `claimed` is what the client says of itself: for the record, never for a
    decision. `ends` is when it is given up, in milliseconds of world.boot_ms. `over` is true once the call was
    answered, cancelled or given up: what comes then goes nowhere.
    """

    __slots__ = ("_loop", "arguments", "claimed", "ends", "era", "id", "over", "progress_token", "tool")

    def __init__(
        self,
        loop: "Answering",
        request: "int | str",
        *,
        tool: str,
        arguments: "dict[str, Any]",
        era: "Era",
        progress_token: "int | str | None",
        claimed: "Mapping[str, Any]",
        ends: int,
    ) -> None:
        self._loop = loop
        self.id = request
        self.tool = tool
        self.arguments = arguments
        self.era = era
        self.progress_token = progress_token
        self.claimed = claimed
        self.ends = ends
        self.over = False

    def finish(self, result: "Mapping[str, Any]") -> None:
        """Answer with `result`, as gate.mcp.answers builds it. Without effect once the call is over."""
        self._loop.finish(self, result)

    def fail(self, error: "GateError") -> None:
        """Answer with a refusal or failure. Without effect once the call is over."""
        self._loop.finish(self, answers.failure(error))

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Tell the client how far it is, if it asked to hear of it. `done` has to grow from one time to the next."""
        told = {"progress": done, "total": total, "message": message}
        self._loop.progress(self, {name: value for name, value in told.items() if value is not None})


class Backend:
    """Who makes the calls. Every method is called from the one thread of the loop and must not block."""

    def start(self, call: Call) -> None:
        """Begin `call`; `call.finish` or `call.fail` ends it, now or later. A GateError that is raised fails it."""
        raise NotImplementedError

    def cancel(self, call: Call) -> None:
        """Stop working on `call`: the client does not want it any more, or its time is over."""
        raise NotImplementedError

    def close(self) -> None:
        """End everything that was started. Called once, last, whatever happened."""
        raise NotImplementedError

    def descriptors(self) -> "Callbacks":
        """Descriptors to watch: each callback is called when its descriptor can be read, or its other end is gone."""
        return {}

    def writers(self) -> "Callbacks":
        """Descriptors for which something is left to write: each callback is called when they take it, or are gone."""
        return {}

    def due(self) -> int | None:
        """When `tick` is wanted at the latest: milliseconds of world.boot_ms; None for never."""
        return None

    def tick(self) -> None:
        """Do what `due` was about. Called after every turn of the loop, so also at other times."""
