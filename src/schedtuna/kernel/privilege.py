"""What privilege does this process have: is it enough to load BPF programs, and how is it given up?"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from schedtuna.capabilities import Capability, effective_capabilities
from schedtuna.errors import UnavailableError

_NOBODY = "nobody"
_PR_SET_NO_NEW_PRIVS = 38  # include/uapi/linux/prctl.h


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


def unprivileged_ids() -> tuple[int, int] | None:
    """Return the user and group as which what serves strangers runs; None: as it was started, as not root."""
    import pwd

    if os.geteuid() != 0:
        return None
    found = pwd.getpwnam(_NOBODY)
    return found.pw_uid, found.pw_gid


def give_up_privilege(ids: tuple[int, int] | None) -> None:
    """Become a user and group, and have nothing that is started from now on gain anything; for good.

    Args:
        ids: Of the user and the group; None: this process stays who it is.
    """
    import ctypes

    if ids is not None:
        uid, gid = ids
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
