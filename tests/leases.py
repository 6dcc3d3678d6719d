"""Leases as tests open them: a made-up key, a made-up token, the scope of one command, and a made-up leave."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gate.errors import GateError
from gate.proxy.lease import Lease, Leave, Passing, Scope, Upstream
from gate.proxy.pins import credential, pins
from gate.proxy.refusal import Refused
from gate.proxy.server import Proxy

KEY = "happy-otter-123|0a1b2cREALKEY"
TOKEN = "t0k3n" * 8
VIEW, WRITE, DEPLOY = "deployment:data:view", "deployment:data:write", "deployment:deploy"
ENV_VIEW, ENV_WRITE = "deployment:env:view", "deployment:env:write"
AS_USER, TEST_QUERY = "deployment:functions:actAsUser", "deployment:functions:runTestQuery"
BACKUP = ("deployment:backups:create", "deployment:backups:download")
IMPORT = ("deployment:backups:import", WRITE)


def scope(command: str, *effects: str, **limits: Any) -> Scope:
    sets: Any = {name: frozenset(value) if isinstance(value, list) else value for name, value in limits.items()}
    return Scope(frozenset(effects), command, **sets)


@dataclass(slots=True)
class Noting:
    """A leave that keeps what it was asked for, and how much had `arrived` at the deployment by then.

    `why`: over, with that reason. `left`: how many charges it lets pass; None: any. `fails`: what it cannot record.
    Clear `free` to keep it from answering; `asked` is set as soon as somebody waits.
    """

    why: str | None = None
    left: int | None = None
    fails: GateError | None = None
    arrived: Callable[[], int] = lambda: 0
    passed: list[tuple[Passing, int]] = field(default_factory=list)
    free: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.free.set()

    def over(self) -> str | None:
        return self.why

    async def use(self, passing: Passing) -> None:
        self.asked.set()
        await asyncio.sleep(0)
        await self.free.wait()
        if self.fails is not None:
            raise self.fails
        if self.left is not None and passing.charges:
            if self.left == 0:
                raise Refused("every use of the grant is charged")
            self.left -= 1
        self.passed.append((passing, self.arrived()))


class GrantingProxy(Proxy):
    """A proxy whose leases are all under a leave that lets everything pass."""

    def open(self, lease: Lease) -> None:
        lease.leave = lease.leave or Noting()
        super().open(lease)


def lease(
    url: str,
    of: Scope,
    *,
    name: str | None = "happy-otter-123",
    token: str = TOKEN,
    leave: Leave | None = None,
    **more: Any,
) -> Lease:
    upstream = Upstream(url, name, "dev", KEY, **more)
    return Lease(f"lease-{token}", credential(upstream, token), of, upstream, leave=leave)


def variables(opened: Lease, proxy_url: str) -> Mapping[str, str]:
    return pins(opened.credential, proxy_url, opened.upstream)


def bearer(opened: Lease) -> dict[str, str]:
    return {"Authorization": f"Convex {opened.credential}"}
