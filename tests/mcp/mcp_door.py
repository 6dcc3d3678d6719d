"""An MCP server of the gate's with a backend for tests: `python mcp_door.py`. Its tools do what their arguments say."""

import os
import random
import sys
from collections.abc import Callable, Mapping

from gate import world
from gate.errors import GateError
from gate.mcp import answers, catalogue
from gate.mcp.backend import Backend, Call
from gate.mcp.stdio import serve

DENIAL = {
    "code": "grant_required",
    "message": "deployment:data:view on prod needs a grant",
    "rules": [{"id": "prod-under-grant", "verb": "require", "at": "p.yaml:8:5", "because": "Somebody else signs."}],
    "needs": None,
    "remedy": None,
}


class Acting(Backend):
    """What a call does is its first argument's text: `echo`, `later`, `never`, `deny`, `fail`, `progress`, ...

    `log` tells what the loop asked for, in order.
    """

    def __init__(self) -> None:
        self.log: list[tuple[str, object]] = []
        self.calls: list[Call] = []
        self._later: list[Call] = []
        self._alarm, self._bell = os.pipe()
        self._random = random.Random(7)
        self.timer: int | None = None
        self._pair: dict[int, int] = {}
        self._paired: list[Call] = []
        self._out = self._in = -1
        self._left = 0
        self.does: dict[str, Callable[[Call], None]] = {
            "later": self._keep,
            "never": lambda _call: None,
            "deny": lambda call: call.finish(answers.denial(DENIAL)),
            "raise": _raise,
            "surrogate": lambda call: call.finish(answers.data(catalogue.TOOLS["tables"], {"tables": "\ud800"})),
            "progress": _progress,
            "marked": lambda call: call.finish({"content": [], "_meta": {"gate/marked": True}}),
            "big": lambda call: call.finish(answers.data(catalogue.TOOLS["tables"], {"tables": {"x": "y" * 200_000}})),
            "print": _print,
            "pair": self._begin_pair,
            "write": self._begin_writing,
        }

    def start(self, call: Call) -> None:
        self.log.append(("start", call.id))
        self.calls.append(call)
        self.does.get(call.arguments.get("deploymentSelector", ""), _echo)(call)

    def cancel(self, call: Call) -> None:
        assert call.over
        self.log.append(("cancel", call.id))

    def close(self) -> None:
        self.log.append(("close", None))
        os.close(self._alarm)
        os.close(self._bell)

    def descriptors(self) -> Mapping[int, Callable[[], None]]:
        return {self._alarm: self._ring, **dict.fromkeys(self._pair, self._end_pair)}

    def writers(self) -> Mapping[int, Callable[[], None]]:
        return {self._out: self._write} if self._left else {}

    def due(self) -> int | None:
        return self.timer

    def tick(self) -> None:
        if self.timer is not None and world.boot_ms() >= self.timer:
            self.timer = None
            self.log.append(("tick", None))

    def _keep(self, call: Call) -> None:
        self._later.append(call)
        os.write(self._bell, b"x")

    def _begin_pair(self, call: Call) -> None:
        """Two descriptors that can be read in the same turn; whoever is called first closes both."""
        for read_end, write_end in (os.pipe(), os.pipe()):
            os.write(write_end, b"x")
            self._pair[read_end] = write_end
        self._paired.append(call)

    def _end_pair(self) -> None:
        self.log.append(("pair", None))
        for descriptor in (*self._pair, *self._pair.values()):
            os.close(descriptor)
        self._pair.clear()
        _echo(self._paired.pop())

    def _begin_writing(self, call: Call) -> None:
        self._in, self._out = os.pipe()
        os.set_blocking(self._out, False)
        self._left = 300_000
        self._paired.append(call)

    def _write(self) -> None:
        self._left -= os.write(self._out, b"x" * self._left)
        if not self._left:
            os.close(self._out)
            _echo(self._paired.pop())

    def read_all(self) -> int:
        """Read what is written, up to its end; returns how much it was."""
        size = 0
        while data := os.read(self._in, 1 << 16):
            size += len(data)
        os.close(self._in)
        return size

    def _ring(self) -> None:
        os.read(self._alarm, 512)
        self._random.shuffle(self._later)
        while self._later:
            _echo(self._later.pop())


def _echo(call: Call) -> None:
    heard = {"tool": call.tool, "arguments": call.arguments, "era": call.era.version, "claimed": dict(call.claimed)}
    call.finish(answers.data(catalogue.TOOLS[call.tool], heard))


def _raise(_call: Call) -> None:
    raise GateError("upstream_unreachable", "nobody answers", remedy="Try again.")


def _progress(call: Call) -> None:
    call.progress(0.5, total=1, message="half of it")
    call.progress(0.75, message="\ud800")
    call.finish(answers.data(catalogue.TOOLS["tables"], {"tables": {}}))
    call.progress(1)


def _print(call: Call) -> None:
    """What code around the protocol might do by mistake."""
    os.write(1, b"not a message\n")
    heard = os.read(0, 100)
    call.finish(answers.data(catalogue.TOOLS["tables"], {"tables": {"stdin": heard.decode()}}))


if __name__ == "__main__":
    backend = Acting()
    status = serve(backend)
    print([what for what, _ in backend.log][-1], file=sys.stderr)
    sys.exit(status)
