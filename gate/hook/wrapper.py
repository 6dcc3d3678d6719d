"""The line that an agent runs as its hook. Writes no file: the installers do."""

import shlex

# A hook that crashes, hangs or is missing must not read as leave: the agents let the tool run on every status but 2.
_LINE = "timeout 2 {gate} hook {agent} || {{ echo 'gate: hook did not answer; denied' >&2; exit 2; }}"


def line(agent: str, gate: str = "gate") -> str:
    """The shell line for `agent`, in which crash, timeout (2 seconds) and a missing `gate` come to a denial.

    `gate` is the name or path of the program; it is quoted where a shell needs that.
    """
    return _LINE.format(gate=shlex.quote(gate), agent=shlex.quote(agent))
