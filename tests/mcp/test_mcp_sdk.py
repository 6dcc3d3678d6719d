"""The protocol's official Python client against the server, in both eras. Wants the package `mcp`, 2.3 or newer."""

import asyncio
import importlib
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from gate.mcp import catalogue

_DOOR = str(Path(__file__).parent / "mcp_door.py")


def _is_installed() -> bool:
    """A folder of this name is no package of it."""
    try:
        return importlib.util.find_spec("mcp.client.stdio") is not None
    except ModuleNotFoundError:
        return False


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not _is_installed(), reason="the package `mcp` is not installed: pip install 'mcp>=2.3'"),
    # What warns there is not ours.
    pytest.mark.filterwarnings("default"),
]


def client(mode: str) -> Any:
    """A client that starts the server itself: `legacy` shakes hands, `auto` probes first."""
    stdio = importlib.import_module("mcp.client.stdio")
    parameters = stdio.StdioServerParameters(command=sys.executable, args=[_DOOR])
    return importlib.import_module("mcp.client").Client(stdio.stdio_client(parameters), mode=mode)


def call(does: str) -> dict[str, Any]:
    return {"name": "tables", "arguments": {"deploymentSelector": does}}


@pytest.mark.parametrize(("mode", "version"), [("legacy", "2025-11-25"), ("auto", "2026-07-28"), ("2026-07-28",) * 2])
async def test_the_official_client_is_served(mode: str, version: str) -> None:
    """It validates every message and every result, and output schemas too."""
    async with client(mode) as session:
        assert session.protocol_version == version
        assert session.server_info is None or session.server_info.name == "convex-gate"
        listed = await session.list_tools()
        assert [tool.name for tool in listed.tools] == list(catalogue.TOOLS)
        denied = await session.call_tool(**call("deny"))
        assert denied.is_error
        assert denied.structured_content["decision"]["code"] == "grant_required"
        wrong = await session.call_tool("data", {})
        assert wrong.is_error
        heard: list[float] = []

        async def hear(progress: float, _total: float | None, _message: str | None) -> None:
            heard.append(progress)

        done = await session.call_tool(**call("progress"), progress_callback=hear)
        assert not done.is_error
        assert done.structured_content == {"tables": {}}
        assert heard == [0.5]
        failed = await session.call_tool(**call("raise"))
        assert failed.is_error
        many = await asyncio.gather(*(session.call_tool(**call("deny")) for _ in range(50)))
        assert all(one.is_error for one in many)
