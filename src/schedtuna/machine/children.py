"""Processes that must not outlive this one."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_libc = ctypes.CDLL(None)


def die_with_parent() -> None:
    """Ask the kernel, in a child that was just forked, to kill it when its parent ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
