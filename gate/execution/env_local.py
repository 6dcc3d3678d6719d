"""`.env.local` after `dev` on a self-hosted deployment: the CLI notes the URL it was given, which is the proxy's.

Standard library only: the doors on the hot path import it. Convex 1.48.0, src/cli/lib/envvars.ts, changedEnvVarFile.
"""

import os

NAME = ".env.local"


class EnvLocal:
    """Keeps `.env.local` in `folder` as the CLI would have left it without the gate.

    `given` is the URL that the CLI was handed, `real` the deployment's.
    """

    def __init__(self, folder: str, given: str, real: str) -> None:
        self._path = os.path.join(folder, NAME)
        self._given = given.encode()
        self._real = real.encode()
        self._before = self._read()

    def mend(self) -> None:
        """Put the real URL where the CLI wrote the proxy's."""
        now = self._read()
        if now is None or self._given not in now or now == self._before:
            return
        mended = b"\n".join(self._line(line) for line in now.split(b"\n"))
        if mended != now:
            with open(self._path, "r+b") as opened:
                opened.write(mended)
                opened.truncate()

    def _line(self, line: bytes) -> bytes:
        name, _, value = line.partition(b"=")
        if value.strip() != self._given:
            return line
        # The CLI leaves a line alone whose value is already right, however it is written.
        for old in (self._before or b"").split(b"\n"):
            if old.startswith(name) and _bare(old) == self._real:
                return old
        return name + b"=" + self._real

    def _read(self) -> bytes | None:
        try:
            with open(self._path, "rb") as opened:
                return opened.read()
        except OSError:
            return None


def _bare(line: bytes) -> bytes:
    return line.partition(b"=")[2].partition(b" #")[0].strip().strip(b"'\"`")
