"""Every refusal the gate can give: its code, exit status and remedy. Holds no wording for a particular case.

Standard library only and no dataclasses: the doors on the hot path import it.
"""

from collections.abc import Sequence

# docs/contract.md, exit codes of doors and changes. A code that is not listed here cannot be raised.
EXITS: dict[str, int] = {
    "ok": 0,
    "usage": 64,
    "internal": 70,
    "keeper_unavailable": 74,
    "ledger_unavailable": 74,
    "ledger_tampered": 74,
    "clock_backwards": 74,
    "request_pending": 75,
    "cut": 76,
    "config_invalid": 78,
    "unsupported_platform": 78,
    **dict.fromkeys(
        (
            "unknown_command",
            "unknown_option",
            "unknown_version",
            "unknown_deployment",
            "ambiguous_target",
            "bad_env_file",
            "key_in_argv",
            "insecure_url",
            "denied_by_rule",
            "no_rule",
            "grant_required",
            "plan_required",
            "grant_ended",
            "change_control",
            "self_approval",
            "not_a_signer",
            "bad_signature",
            "bundle_changed",
            "untrusted_keeper",
            "custody_failed",
            "upstream_unreachable",
            "limit",
        ),
        77,
    ),
}


class GateError(Exception):
    """A refusal: `code` names its kind, `message` what happened, `remedy` what would help.

    `argv` is the exact command that helps, where there is one. Neither text ever holds a secret.
    Raises KeyError at once when the code is not in EXITS.
    """

    def __init__(self, code: str, message: str, *, remedy: str, argv: Sequence[str] | None = None) -> None:
        super().__init__(message)
        self.exit = EXITS[code]
        self.code = code
        self.message = message
        self.remedy = remedy
        self.argv = None if argv is None else list(argv)


class ConfigInvalid(GateError):
    """A file of the bundle cannot be taken; `findings` are `FILE:LINE:COL: text`, all of them, in order."""

    def __init__(self, findings: Sequence[str]) -> None:
        more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
        super().__init__("config_invalid", findings[0] + more, remedy="Mend the file at the position shown.")
        self.findings = list(findings)


class LedgerError(GateError):
    """The ledger could not be read or written, or its history does not hold: nothing runs."""


class KeeperUnavailable(GateError):
    """No keeper answers and none could be started."""
