"""What the CLI asks Convex's control plane under a lease, answered from the lease: nothing leaves this machine.

Exactly the routes below; their paths are no deployment's. Whoever points the CLI here sets the variables in `pins.py`.
"""

import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gate.proxy.body import read_object
from gate.proxy.book import Book, Entry, same
from gate.proxy.leave import check_live
from gate.proxy.refusal import Refused

_LARGEST = 64 * 1024
_URL = "POST /api/deployment/url_for_key"
_TEAM = "POST /api/deployment/team_and_project_for_key"
_AUTHORIZE = "HEAD /api/authorize"
_VERSION = "GET /v1/version"
_LOCAL = re.compile(r"GET /api/deployment/(local-[A-Za-z0-9_-]+)/team_and_project", re.ASCII)
# No message, and nothing to compare the workspace's AI files with.
_NO_NEWS = {"message": None, "guidelinesHash": None, "agentSkillsSha": None, "disableSkillsCli": True}


def serves(place: str) -> bool:
    """Whether `place` (`METHOD /path`, undecoded) is one of the control plane's."""
    return place in {_URL, _TEAM, _AUTHORIZE, _VERSION} or _LOCAL.fullmatch(place) is not None


async def answer(place: str, request: web.BaseRequest, book: Book, proxy_url: str) -> web.Response:
    """Answer `request` for `place`. Raises Refused without the credential of a lease that goes on."""
    if place == _VERSION:
        return web.json_response(_NO_NEWS)
    if place == _AUTHORIZE:
        _live(book.by_credential(_bearer(request)))
        return web.Response()
    local = _LOCAL.fullmatch(place)
    if local is not None:
        return web.json_response(_team(_local(book, local[1])))
    entry = await _by_body(request, book)
    return web.json_response(proxy_url if place == _URL else _team(entry))


async def _by_body(request: web.BaseRequest, book: Book) -> Entry:
    """The lease of `body.deployKey`: keys of some forms come without a header; where there is one it must agree."""
    key = (await read_object(request, _LARGEST)).get("deployKey")
    if not isinstance(key, str):
        raise Refused("the request names no deploy key")
    if "Authorization" in request.headers and not same(_bearer(request), key):
        raise Refused("header and body carry different credentials")
    return _live(book.by_credential(key))


def _local(book: Book, name: str) -> Entry:
    """A lease on the local deployment `name`: its CLI has no credential to show, and learns slugs only."""
    for entry in book.all():
        if entry.lease.upstream.cls == "local" and entry.lease.upstream.name == name and entry.lease.stopped is None:
            return entry
    raise Refused("no lease is open on this local deployment")


def _live(entry: Entry) -> Entry:
    check_live(entry.lease)
    return entry


def _bearer(request: web.BaseRequest) -> str:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme != "Bearer":
        raise Refused("the request carries no credential of a lease")
    return value


def _team(entry: Entry) -> Mapping[str, Any]:
    upstream = entry.lease.upstream
    return {
        "team": upstream.team,
        "project": upstream.slug,
        "teamId": 0,
        "projectId": 0,
        "reference": upstream.reference,
        "isDefault": False,
    }
