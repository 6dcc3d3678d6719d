"""Where `gate` starts: doors on the hot path are dispatched before click is imported. Does nothing else.

The deferred imports below are that dispatch: the doors have milliseconds (docs/performance.md).
"""

import gc
import os
import sys

from gate.errors import EXITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_VALUED = ("--as", "--grant", "--status-fd")


def main() -> int:
    """Run the command line of this process; returns its exit status."""
    if os.name == "nt":
        sys.stderr.write("gate: unsupported_platform: run gate inside WSL\n")
        return EXITS["unsupported_platform"]
    arguments = sys.argv[1:]
    own, place = _own(arguments)
    if place < len(arguments) and arguments[place] == "convex":
        # A door makes little garbage in its life; looking for it costs more.
        gc.disable()
        from gate.cli import convex  # noqa: PLC0415 - see the module's docstring

        status_fd = own.get("--status-fd")
        options = convex.Options(
            "--json" in own, own.get("--as"), own.get("--grant"), None if status_fd is None else int(status_fd)
        )
        _leave(convex.main(arguments[place + 1 :], options))
    if arguments[place : place + 1] == ["hook"] and arguments[place + 1 :] != ["--help"]:
        gc.disable()
        from gate.hook import door  # noqa: PLC0415 - see the module's docstring

        _leave(door.main(arguments[place + 1 :]))
    if arguments[place:] == ["mcp"]:
        from gate.cli import mcp  # noqa: PLC0415 - see the module's docstring

        return mcp.main(own.get("--as"), own.get("--grant"))
    from gate.cli import app  # noqa: PLC0415 - see the module's docstring

    return app.main(arguments)


def _leave(status: int) -> "NoReturn":
    """End here: everything is said and on record, and taking the interpreter down in order costs every call 3 ms."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _is_descriptor(value: str) -> bool:
    return value.isascii() and value.isdecimal()


def _own(arguments: list[str]) -> tuple[dict[str, str], int]:
    """Options of gate's own before the verb, and the verb's index; whatever else stands there click explains."""
    own: dict[str, str] = {}
    index = 0
    while index < len(arguments):
        word, value = arguments[index], arguments[index + 1 : index + 2]
        if word == "--json":
            own[word] = ""
        elif word in _VALUED and value and (word != "--status-fd" or _is_descriptor(value[0])):
            own[word] = value[0]
            index += 1
        else:
            break
        index += 1
    return own, index


if __name__ == "__main__":
    sys.exit(main())
