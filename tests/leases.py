"""Leases as tests open them: a made-up key, a made-up token, the scope of one command."""

from collections.abc import Mapping
from typing import Any

from gate.proxy.lease import Lease, Scope, Upstream
from gate.proxy.pins import credential, pins

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


def lease(url: str, of: Scope, *, name: str | None = "happy-otter-123", token: str = TOKEN, **more: Any) -> Lease:
    upstream = Upstream(url, name, "dev", KEY, **more)
    return Lease(f"lease-{token}", credential(upstream, token), of, upstream)


def variables(opened: Lease, proxy_url: str) -> Mapping[str, str]:
    return pins(opened.credential, proxy_url, opened.upstream)


def bearer(opened: Lease) -> dict[str, str]:
    return {"Authorization": f"Convex {opened.credential}"}
