"""May this process load BPF programs, and if not, what is missing?"""

from __future__ import annotations

import sys
from pathlib import Path

from schedtuna.errors import UnavailableError
from schedtuna.kernel.text import lines_of, read_lines

# include/uapi/linux/capability.h
_CAP_SYS_ADMIN = 21
_NEEDED = {"CAP_BPF": 39, "CAP_PERFMON": 38}


def missing_capabilities(status: str | None = None) -> list[str]:
    """Return which of CAP_BPF and CAP_PERFMON this process lacks; CAP_SYS_ADMIN counts as both.

    Args:
        status: The text of /proc/self/status; None reads it.
    """
    lines = read_lines("/proc/self/status") if status is None else lines_of(status)
    effective = 0
    for line in lines:
        if line.startswith("CapEff:"):
            effective = int(line.split()[1], 16)
    if effective >> _CAP_SYS_ADMIN & 1:
        return []
    return [name for name, bit in _NEEDED.items() if not effective >> bit & 1]


def require_bpf(status: str | None = None) -> None:
    """Check that BPF programs can be loaded.

    Raises:
        UnavailableError: A capability is missing.
    """
    missing = missing_capabilities(status)
    if missing:
        python = Path(sys.executable).resolve()
        raise UnavailableError(
            f"recording loads BPF programs, for which this process lacks {' and '.join(missing)}",
            hint=f"run it as root: sudo {sys.executable} -m schedtuna ...\n"
            f"or, once: sudo setcap cap_bpf,cap_perfmon+ep {python}\n"
            "  After that every script that this Python runs may look into the kernel, whoever starts it.\n"
            "  A copy of the interpreter (python3 -m venv --copies) keeps that to one environment.\n"
            "or do without: schedtuna record --procfs",
        )
