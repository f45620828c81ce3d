"""May this process load BPF programs, and if not, what is missing?"""

from __future__ import annotations

import sys
from pathlib import Path

from schedtuna.capabilities import Capability, effective_capabilities
from schedtuna.errors import UnavailableError


def missing_capabilities(status: str | None = None) -> list[str]:
    """Return which of CAP_BPF and CAP_PERFMON this process lacks; CAP_SYS_ADMIN counts as both.

    Args:
        status: The text of /proc/self/status; None reads it.
    """
    effective = effective_capabilities(status)
    if Capability.SYS_ADMIN.within(effective):
        return []
    return [f"CAP_{one.name}" for one in (Capability.BPF, Capability.PERFMON) if not one.within(effective)]


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
