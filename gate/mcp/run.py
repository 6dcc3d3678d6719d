"""One call of a Convex tool from the question to its answer: decided, made, recorded, answered. Decides nothing.

Each call is a conversation of its own with the keeper (docs/protocol.md, run); nothing that an earlier call was allowed
carries over to it.

Standard library only: this is the hot path of `gate mcp`.
"""

from gate.errors import GateError
from gate.mcp import answers, catalogue, direct, results

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from gate.mcp.aside import Aside
    from gate.mcp.backend import Call
    from gate.mcp.lane import Lane
    from gate.mcp.link import Conversation, Link
    from gate.mcp.upstream import Answer

    Result = Mapping[str, Any]
    # The invocation of this folder as it is now, with what is to be added to it.
    See = Callable[[Mapping[str, Any]], dict[str, Any]]
    Read = Callable[[str], str | None]


class Run:
    """One call on `lane`. `see` makes invocations, `read` gives a file that the keeper wants."""

    def __init__(self, call: "Call", lane: "Lane", aside: "Aside", see: "See", read: "Read") -> None:
        self.call = call
        self.lane = lane
        self._aside = aside
        self._see = see
        self._read = read
        self._folder = ""
        self._link: Link | None = None
        self._conversation: Conversation | None = None
        # What the call came to, once that is known; the client hears it when it is on record.
        self._result: Result | None = None
        self._working = False
        self.over = False

    def begin(self, link: "Link") -> None:
        """Ask as soon as the lane is free."""
        self._link = link
        self.lane.enter(self._ask)

    def cancel(self) -> None:
        """The client does not wait any longer: end the work, or do not begin it."""
        if self.lane.withdraw(self._ask):
            self.over = True
        elif self._working:
            # What is under way cannot be taken back, and nobody will learn what came of it.
            self._stop(None, _cancelled())

    def _ask(self) -> None:
        assert self._link is not None  # noqa: S101 - begin was called
        call = self.call
        try:
            told = {"tool": call.tool, "arguments": _without_selector(call.arguments), "selector": self.lane.selector}
            invocation = self._see(told)
            self._folder = invocation["cwd"]
            self._conversation = self._link.ask("run", self._hear, invocation=invocation, upstream=self.lane.name)
        except GateError as error:
            self._end(answers.failure(error))

    def _hear(self, frame: "dict[str, Any] | GateError") -> None:
        if isinstance(frame, GateError):
            self._lost(frame)
        elif "want" in frame:
            self._say(file=self._read(str(frame["want"])))
        elif "start" in frame:
            self._start(frame["start"])
        elif "decision" in frame:
            self._end(answers.denial(frame["decision"]))
        elif "cut" in frame:
            self._cut(str(frame["cut"]["message"]))
        else:
            self._end(self._result)

    def _start(self, start: "dict[str, Any]") -> None:
        self.lane.known = True
        if self.call.over:
            self._say(failed="cancelled")
            return
        self._working = True
        try:
            self._work(start)
        except GateError as error:
            self._working = False
            self._result = answers.failure(error)
            self._say(failed=error.code)

    def _work(self, start: "dict[str, Any]") -> None:
        turned = self.lane.direct and not direct.serves(start["pins"])
        self.lane.direct = direct.serves(start["pins"])
        if turned:
            raise GateError("bundle_changed", "the deployment is reached in another way now", remedy="Call again.")
        if self.lane.direct:
            self._aside.run(lambda: self._directly(start["pins"]))
        else:
            self.lane.call(start, self._folder, self.call, self._answered)

    def _directly(self, pins: "dict[str, str]") -> "Callable[[], None]":
        """In a thread of its own: make the call, and say what to do with what it came to."""
        call = self.call
        try:
            value = direct.call(pins, call.tool, call.arguments)
        except direct.Failed as error:
            failure = results.failed(str(error))
            return lambda: self._done(1, failure)
        except GateError as error:
            failure = answers.failure(error)
            return lambda: self._done(1, failure)
        result = results.result(catalogue.TOOLS[call.tool], call.arguments, value)
        return lambda: self._done(0, result)

    def _answered(self, what: "Answer | GateError") -> None:
        if isinstance(what, GateError):
            self._done(1, answers.failure(what))
        elif what.failed:
            self._done(1, results.failed(_said(what.text)))
        else:
            self._done(*self._taken(what.text))

    def _taken(self, text: str) -> "tuple[int, Result]":
        """Status and result of a tool's text, which Convex's server writes as JSON."""
        try:
            value = results.parse(text)
        except ValueError:
            return 1, answers.failure(_garbage())
        return 0, results.result(catalogue.TOOLS[self.call.tool], self.call.arguments, value)

    def _done(self, status: int, result: "Result") -> None:
        """The work is over: have it on record before the client hears of it."""
        if not self._working:
            return
        self._working = False
        self._result = result
        self._say(done={"status": status})

    def _stop(self, status: int | None, why: GateError) -> None:
        """Break the work off: what works on it is ended, and the keeper hears that nobody knows what came of it."""
        self._working = False
        self._result = answers.failure(why)
        self.lane.end(why)
        self._say(done={"status": status})

    def _cut(self, why: str) -> None:
        error = GateError("cut", why, remedy="Ask for a new grant, if it is still needed.")
        # The client hears at once; the record follows.
        self.call.finish(answers.failure(error))
        self._stop(None, error)

    def _lost(self, why: GateError) -> None:
        """The keeper refused, or went away: no access is left either way."""
        if self._working:
            self._working = False
            self.lane.end(why)
        self._end(answers.failure(why) if self._result is None or why.code != "keeper_unavailable" else self._result)

    def _say(self, **members: object) -> None:
        if self._conversation is not None:
            self._conversation.say(**members)

    def _end(self, result: "Result | None") -> None:
        """The conversation is over: answer, and let the next call have its turn."""
        if self.over:
            return
        self.over = True
        if self._conversation is not None:
            self._conversation.over()
        if result is not None:
            self.call.finish(result)
        self.lane.leave()


def _without_selector(arguments: "Mapping[str, Any]") -> "dict[str, Any]":
    return {name: value for name, value in arguments.items() if name != "deploymentSelector"}


def _said(text: str) -> str:
    """What Convex's server says of a failure: it wraps the sentence into an object."""
    try:
        value = results.parse(text)
    except ValueError:
        return text
    return str(value["error"]) if isinstance(value, dict) and "error" in value else text


def _cancelled() -> GateError:
    return GateError("internal", "the call was cancelled", remedy="Call again.")


def _garbage() -> GateError:
    return GateError(
        "upstream_unreachable",
        "Convex's MCP server gave no proper answer",
        remedy="Whether the call took effect is not known: look at what it should have changed before you call again.",
    )
