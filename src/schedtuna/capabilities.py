"""What may a process do that its user may not? Its effective capabilities, by /proc/PID/status."""

from __future__ import annotations

from enum import IntEnum
from pathlib import Path


class Capability(IntEnum):
    """Bits of a set of capabilities (include/uapi/linux/capability.h)."""

    DAC_OVERRIDE = 1
    SYS_ADMIN = 21
    SYS_NICE = 23
    SYS_RESOURCE = 24
    PERFMON = 38
    BPF = 39

    def within(self, effective: int) -> bool:
        """Whether it is in a set."""
        return bool(effective >> self & 1)


def status_field(status: str, name: str) -> str:
    """Return a field of a `status` file; empty where there is none.

    Lines end at newlines alone: the task's name is in the file, too, and may hold anything else that
    Python takes for the end of a line.
    """
    for line in status.split("\n"):
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    return ""


def effective_capabilities(status: str | None = None) -> int:
    """Return the set of effective capabilities, a bit for each; 0 where it can't be told.

    Args:
        status: The text of a `status` file; None reads this process's own.
    """
    try:
        if status is None:
            status = Path("/proc/self/status").read_bytes().decode(errors="replace")
        return int(status_field(status, "CapEff"), 16)
    except (OSError, ValueError):
        return 0
