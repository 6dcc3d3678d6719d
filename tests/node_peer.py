"""A Node process that answers questions one JSON line at a time: what tests compare the gate's ports with."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

_LOOP = """
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  process.stdout.write(JSON.stringify(answer(JSON.parse(line))) + "\\n");
});
"""


class Ask(Protocol):
    def __call__(self, question: Any) -> Any: ...


@contextmanager
def peer(script: str, *argv: str, cwd: Path) -> Iterator[Ask]:
    """Run `script`, which defines `answer(question)`, with `argv`; give the function that asks it."""
    with subprocess.Popen(
        ["node", "-e", script + _LOOP, "--", *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=cwd, text=True
    ) as node:
        assert node.stdin is not None
        assert node.stdout is not None
        sink, source = node.stdin, node.stdout

        def ask(question: Any) -> Any:
            sink.write(json.dumps(question) + "\n")
            sink.flush()
            return json.loads(source.readline())

        yield ask
        sink.close()
