"""Where `gate` starts: doors on the hot path are dispatched before click is imported. Does nothing else.

The two deferred imports below are that dispatch: a budget of milliseconds for `gate convex` (docs/performance.md).
"""

import gc
import os
import sys

from gate.errors import EXITS

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
        status = convex.main(arguments[place + 1 :], options)
        sys.stdout.flush()
        sys.stderr.flush()
        # Everything is said and on record: taking the interpreter down in order would cost every call 3 ms.
        os._exit(status)
    from gate.cli import app  # noqa: PLC0415 - see the module's docstring

    return app.main(arguments)


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
