"""What may a process do that its user may not? Its effective capabilities, by /proc/PID/status."""

from __future__ import annotations

import os
from enum import IntEnum


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
    _, found, rest = f"\n{status}".partition(f"\n{name}:")
    return rest.partition("\n")[0].strip() if found else ""


def read_kernel_file(path: str) -> str:
    """Return the text of a file of procfs or sysfs, faster than pathlib does, for what is read often.

    Raises:
        OSError: It can't be read.
    """
    chunks = []
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while chunk := os.read(descriptor, 1 << 16):  # the kernel gives a page at a time
            chunks.append(chunk)
    finally:
        os.close(descriptor)
    return b"".join(chunks).decode(errors="replace")


def effective_capabilities(status: str | None = None) -> int:
    """Return the set of effective capabilities, a bit for each; 0 where it can't be told.

    Args:
        status: The text of a `status` file; None reads this process's own.
    """
    try:
        if status is None:
            status = read_kernel_file("/proc/self/status")
        return int(status_field(status, "CapEff"), 16)
    except (OSError, ValueError):
        return 0
