"""The only reader of clocks, entropy and the environment. Decides nothing.

Standard library only: the doors on the hot path import it.
"""

import os
import time

# Where programs are found for the keeper and what it starts: no PATH of a caller's reaches it.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Crockford's base32 without look-alikes: ids are read aloud and typed.
_ID_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_ID_LENGTH = 8


def now_ms() -> int:
    """Wall clock: milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000


def boot_ms() -> int:
    """Milliseconds that passed since boot, sleep included where the system can tell (CLOCK_BOOTTIME)."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1_000_000


def boot_id() -> str:
    """Name of this boot of the machine; the same until it restarts, `unknown` where the system has none."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as opened:
            return opened.read().strip()
    except OSError:
        return "unknown"


def iso(ms: int) -> str:
    """`ms` since the epoch as `2026-02-19T10:04:05.123Z`: fixed width, so that text order is time order."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


def new_id(prefix: str) -> str:
    """`PREFIX-xxxxxxxx`: 40 random bits in lower-case base32."""
    bits = int.from_bytes(os.urandom(5))
    return prefix + "-" + "".join(_ID_ALPHABET[bits >> 5 * n & 31] for n in range(_ID_LENGTH))


def secret(size: int = 32) -> str:
    """`size` random bytes as lower-case hexadecimal."""
    return os.urandom(size).hex()


def environment() -> dict[str, str]:
    """Copy of this process's environment."""
    return dict(os.environ)


def variable(name: str) -> str | None:
    """One variable of the environment; None when it is unset or empty."""
    return os.environ.get(name) or None
