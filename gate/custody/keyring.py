"""Where a deployment's key comes from, one backend per file beside this one. Keeps keys in memory only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from gate import world
from gate.config.document import CustodyEntry
from gate.custody import command, env_file, file
from gate.errors import GateError


@dataclass(slots=True)
class KeyRing:
    """The keys of one project. `state` is its state folder, `root` the folder that holds keeper.env.

    What a command fetched is kept until `forget`: a password manager that asks its user at every call gets bypassed.
    """

    state: Path
    root: Path
    _fetched: dict[str, str] = field(default_factory=dict, repr=False)

    async def key(self, custody: str, entry: CustodyEntry, url: str, files: Mapping[str, bytes]) -> str:
        """The key of `custody` for the deployment at `url`. Raises GateError `custody_failed`."""
        if entry.file is not None:
            return file.read(self.state / entry.file, custody)
        if entry.env_file is not None:
            return env_file.read(entry.env_file, files, url, custody)
        if entry.command is None:
            raise GateError("custody_failed", f"custody {custody} names no backend", remedy="Mend gate.yaml.")
        if custody not in self._fetched:
            self._fetched[custody] = await command.read(entry.command, entry.timeout, self._environment(), custody)
        return self._fetched[custody]

    def check(self, custody: str, entry: CustodyEntry, key: str) -> None:
        """Return when `key` can be stored. Raises GateError `custody_failed` for no key, and for what only fetches."""
        self._place(custody, entry)
        file.clean(key.encode("utf-8", "surrogatepass"), custody)

    def store(self, custody: str, entry: CustodyEntry, key: str) -> None:
        """Put `key` where `custody` keeps it. Raises GateError `custody_failed`."""
        file.write(self._place(custody, entry), key, custody)

    def _place(self, custody: str, entry: CustodyEntry) -> Path:
        if entry.file is None:
            raise GateError(
                "custody_failed",
                f"custody {custody} is not a file of the gate's",
                remedy="Set the key where gate.yaml says that this custody fetches it from.",
            )
        return self.state / entry.file

    def forget(self) -> None:
        """Drop every fetched key: the bundle changed, or Convex refused one."""
        self._fetched.clear()

    def _environment(self) -> dict[str, str]:
        path = self.root / "keeper.env"
        try:
            text = path.read_text(encoding="utf-8") if path.is_file() else ""
        except (OSError, UnicodeError) as error:
            raise GateError(
                "custody_failed", "keeper.env in the state folder cannot be read as UTF-8", remedy="Mend that file."
            ) from error
        values = dotenv_values(stream=StringIO(text), interpolate=False)
        return {"PATH": world.PATH, "LANG": "C.UTF-8"} | {name: value or "" for name, value in values.items()}
