"""The environment of the child: the caller's, without what would select a deployment or load code, plus the pins.

Standard library only: the doors on the hot path import it.
"""

from collections.abc import Mapping

_DROPPED_PREFIXES = ("CONVEX_", "DOTENV_")
# Code that Node would load, and proxies that would see the lease's token.
_DROPPED = frozenset({"NODE_OPTIONS", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})


def child_environment(caller: Mapping[str, str], pins: Mapping[str, str], home: str) -> dict[str, str]:
    """What a run without a grant sees: every selecting variable comes from `pins`, HOME is the gate's own folder.

    HOME is `home` because a login in the caller's would be a second way to a deployment.
    """
    kept = {name: value for name, value in caller.items() if not _is_dropped(name)}
    return {**kept, **pins, "HOME": home}


def _is_dropped(name: str) -> bool:
    return name.startswith(_DROPPED_PREFIXES) or name.upper() in _DROPPED
