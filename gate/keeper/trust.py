"""Pinned trust: which genesis a project's ledger must have begun with. Verifies no signature.

docs/threat-model.md, Trust: an installed keeper wants the pin in /etc/gate/trust; one under the caller's uid honours
that file where it names the project and otherwise keeps a pin of its own, which the same uid can rewrite (advisory).
"""

from pathlib import Path

from gate.keeper import places

_OWN_PIN = "genesis"


def distrusted(project: str, genesis: str | None, state: Path, *, installed: bool, trust: Path) -> str | None:
    """Why this keeper may not serve production for `project`, in words; None where it may.

    `genesis` is the hash of the first activation's event, `state` the project's folder, `trust` the system's file of
    pins (lines `PROJECT sha256:HEX`).
    """
    if genesis is None:
        return "no bundle is activated"
    try:
        pinned = _system_pin(project, trust)
    except (OSError, ValueError) as error:
        return f"{trust} cannot be read ({type(error).__name__})"
    if pinned is None and installed:
        return f"{trust} names no genesis for the project {project}"
    if pinned is None:
        own = state / _OWN_PIN
        pinned = own.read_text(encoding="ascii").strip() if own.is_file() else "absent"
    return None if pinned == f"sha256:{genesis}" else "the project's genesis is not the one that is pinned"


def pin(genesis: str, state: Path) -> None:
    """Remember `genesis` in the project's own folder, when it is first activated."""
    (state / _OWN_PIN).write_text(f"sha256:{genesis}\n", encoding="ascii")


def system_file() -> Path:
    """Where an administrator pins trust."""
    return Path(places.TRUST)


def _system_pin(project: str, trust: Path) -> str | None:
    if not trust.exists():
        return None
    for line in trust.read_text(encoding="ascii").splitlines():
        words = line.split()
        if words[:1] == [project] and len(words) == 2:  # noqa: PLR2004 - a name and a digest
            return words[1]
    return None
