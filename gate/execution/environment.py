"""The environment of the child: what is left of the caller's, plus the pins and a HOME of the gate's.

Standard library only: the doors on the hot path import it.
"""

from collections.abc import Mapping

_DROPPED_PREFIXES = ("CONVEX_", "DOTENV_")
# Code that Node would load, and proxies that would see the lease's token.
_DROPPED = frozenset({"NODE_OPTIONS", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"})
_KEPT_UNDER_A_GRANT = frozenset({"PATH", "TERM", "LANG", "TZ", "NO_COLOR", "CI"})
_KEPT_PREFIX_UNDER_A_GRANT = "LC_"


def child_environment(caller: Mapping[str, str], pins: Mapping[str, str], home: str) -> dict[str, str]:
    """What a run without a grant sees: every selecting variable comes from `pins`, HOME is the gate's own folder.

    HOME is `home` because a login in the caller's would be a second way to a deployment.
    """
    kept = {name: value for name, value in caller.items() if not _is_dropped(name)}
    return {**kept, **pins, "HOME": home}


def child_environment_under_grant(caller: Mapping[str, str], pins: Mapping[str, str], home: str) -> dict[str, str]:
    """What a run under a grant sees: how to show things, where programs are, `pins` and `home` (ADR-0029).

    What is not listed is not passed, so that no variable that somebody forgot can load code into a process which
    reaches production, or carry a credential there.
    """
    kept = {name: value for name, value in caller.items() if _is_kept_under_grant(name)}
    return {**kept, **pins, "HOME": home}


def _is_dropped(name: str) -> bool:
    return name.startswith(_DROPPED_PREFIXES) or name.upper() in _DROPPED


def _is_kept_under_grant(name: str) -> bool:
    return name in _KEPT_UNDER_A_GRANT or name.startswith(_KEPT_PREFIX_UNDER_A_GRANT)
