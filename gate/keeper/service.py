"""The keeper's operations: which one does what for which project (docs/protocol.md). Knows no socket."""

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gate import __version__, world
from gate.audit.chain import Entry
from gate.audit.export import line_of
from gate.config.bundle import bundle_paths, project_of
from gate.errors import GateError
from gate.keeper import bundles, ends, grants, hooks, members, places, reach, report, requests, runs
from gate.keeper.mux import mux
from gate.keeper.project import NO_PROJECT, Project, open_project
from gate.keeper.server import Handler, Message, Session
from gate.keeper.watch import watch

Operation = Callable[[Project, Session, Message], Awaitable[None]]
_PAGE = 500
# A frame carries 8 MiB, and its JSON is longer than the lines in it.
_PAGE_BYTES = 2 * 1024 * 1024
_OPEN = 32


@dataclass(slots=True)
class Service:
    """Every project of the state folder `root`, opened when a door first names it; `stop` ends the keeper."""

    root: Path
    stop: Callable[[], None]
    _projects: dict[str, Project] = field(default_factory=dict)
    _watching: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    # Grants that were cut under a ledger that was lost since: kept until they are known to have ended on record.
    _barred: dict[str, frozenset[str]] = field(default_factory=dict)
    _opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    _since: int = field(default_factory=world.now_ms)

    def handlers(self) -> Mapping[str, Handler]:
        """What the server dispatches by."""
        table: dict[str, Operation] = {
            "run": runs.run,
            "explain": runs.explain,
            "whoami": report.whoami,
            "doctor": report.doctor,
            "init": bundles.init,
            "activate.prepare": bundles.prepare,
            "activate.commit": bundles.commit,
            "key.set": bundles.set_key,
            "deployments": reach.deployments,
            "hook": hooks.hook,
            "request": requests.file,
            "requests": requests.list_,
            "show": requests.show,
            "portable": requests.portable,
            "frame": requests.frame,
            "wait": requests.wait,
            "cancel": requests.cancel,
            "accept": requests.accept,
            "deny": requests.deny,
            "grants": grants.list_,
            "drop": grants.drop,
            "revoke": grants.revoke,
            "audit.tail": _tail,
            "audit.show": _show,
            "audit.export": _export,
        }
        handlers = {
            **{name: self._for_project(operation) for name, operation in table.items()},
            "bundle.paths": _paths,
            "status": self._status,
            "stop": self._stop,
        }
        return {**handlers, "mux": functools.partial(mux, handlers)}

    async def close(self) -> None:
        """End every run, close every ledger."""
        for project in self._projects.values():
            await self._close(project)

    def _for_project(self, operation: Operation) -> Handler:
        async def handler(session: Session, message: Message) -> None:
            project = await self._project(session, message)
            answering = operation(project, session, message)
            del message
            try:
                await answering
            finally:
                project.users -= 1

        return handler

    async def _project(self, session: Session, message: Message) -> Project:
        """The project that a door names, counted as in use until its handler has ended."""
        name = NO_PROJECT if (data := gate_yaml_of(message)) is None else project_of(data)
        if (
            self.root == Path(places.INSTALLED_STATE)
            and not session.peer.privileged
            and not (self.root / name).is_dir()
        ):
            # Others work in a project that the administrator has not made as in none.
            name = NO_PROJECT
        async with self._opening:
            project = self._projects.pop(name, None)
            if project is None or project.ledger.latched is not None:
                project = await self._reopen(name, project)
            self._projects[name] = project
            project.users += 1
            await self._shed()
        return project

    async def _shed(self) -> None:
        """Close the projects that nobody has used for longest, so that their files are not held for ever."""
        idle = [name for name, project in self._projects.items() if project.users == 0]
        for name in idle[: max(0, len(self._projects) - _OPEN)]:
            await self._close(self._projects.pop(name))

    async def _reopen(self, name: str, stale: Project | None) -> Project:
        """Open the project, anew when its ledger had latched: it is verified from the start again."""
        if stale is not None:
            self._barred[name] = self._barred.get(name, frozenset()) | stale.desk.book.barred
            await self._close(stale)
        project = await open_project(self.root, name)
        try:
            await ends.resume(project, self._barred.get(name, frozenset()))
            await requests.resume(project)
        except GateError:
            await project.close()
            raise
        self._barred.pop(name, None)
        self._watching[name] = asyncio.create_task(watch(project))
        return project

    async def _close(self, project: Project) -> None:
        watching = self._watching.pop(project.name, None)
        if watching is not None:
            watching.cancel()
            await asyncio.wait({watching})
        await project.close()

    async def _status(self, session: Session, message: Message) -> None:
        del message
        live = {name: len(project.runs) for name, project in self._projects.items()}
        await session.send(
            {
                "result": {
                    "version": __version__,
                    "pid": os.getpid(),
                    "uid": os.geteuid(),
                    "since": world.iso(self._since),
                    "state": str(self.root),
                    "projects": live,
                }
            }
        )

    async def _stop(self, session: Session, message: Message) -> None:
        del message
        if not session.peer.privileged:
            raise GateError("denied_by_rule", "only the keeper's own user may stop it", remedy="Ask the administrator.")
        await session.send({"result": {"stopping": True, "pid": os.getpid()}})
        self.stop()


def gate_yaml_of(message: Mapping[str, Any]) -> bytes | None:
    """Bytes of gate.yaml that a door sent, inside an invocation or on their own; None: it stands in no project."""
    holder = members.table(message, "invocation") if "invocation" in message else message
    sent = holder.get("gate_yaml")
    return None if sent is None else members.octets(sent)


async def _paths(session: Session, message: Message) -> None:
    data = gate_yaml_of(message)
    await session.send({"result": {"paths": [] if data is None else list(bundle_paths(data))}})


async def _tail(project: Project, session: Session, message: Message) -> None:
    report.insist_on_reader(project, session)
    entries = await asyncio.to_thread(project.ledger.tail, min(members.number(message, "count", 20), _PAGE))
    await session.send({"result": {"events": _fitting(entries[::-1])[::-1]}})


async def _show(project: Project, session: Session, message: Message) -> None:
    report.insist_on_reader(project, session)
    entries = await asyncio.to_thread(lambda: project.ledger.read(subject=members.text(message, "id"), limit=_PAGE))
    if not entries:
        raise GateError("usage", "no event of that id is on record", remedy="See `gate audit tail`.")
    await session.send({"result": {"events": _fitting(entries)}})


async def _export(project: Project, session: Session, message: Message) -> None:
    """Page by page, so that a ledger of any size passes through frames of a limited one."""
    report.insist_on_reader(project, session)
    after = members.number(message, "after", 0)
    entries = await asyncio.to_thread(lambda: project.ledger.read(after=after, limit=_PAGE))
    await session.send({"result": {"events": _fitting(entries), "head": project.ledger.head}})


def _fitting(entries: list[Entry]) -> list[str]:
    """Lines of the first `entries` that one frame carries, one at least: no event is larger than a frame."""
    lines: list[str] = []
    size = 0
    for line in map(line_of, entries):
        size += len(line) + line.count("\\") + line.count('"')
        if lines and size > _PAGE_BYTES:
            break
        lines.append(line)
    return lines
