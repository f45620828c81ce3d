"""The scheduling system calls that Python's `os` does not have.

Everything raises plain OSError with the kernel's errno; callers know what it means for them.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from dataclasses import dataclass
from enum import IntEnum

# (sched_setattr, sched_getattr), from the kernel's syscall tables.
_SYSCALL_NUMBERS = {
    "x86_64": (314, 315),
    "aarch64": (274, 275),
    "riscv64": (274, 275),
    "loongarch64": (274, 275),
    "ppc64le": (355, 356),
    "s390x": (345, 346),
    "i686": (351, 352),
    "armv7l": (380, 381),
}
# struct sched_attr, version 0 (include/uapi/linux/sched/types.h): without the utilisation clamps,
# which a call of this size leaves alone.
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")

SLICE_MIN_NS = 100_000  # __setparam_fair() in kernel/sched/syscalls.c clamps to these
SLICE_MAX_NS = 100_000_000


class SchedPolicy(IntEnum):
    """The kernel's scheduling policies (include/uapi/linux/sched.h)."""

    OTHER = 0
    FIFO = 1
    RR = 2
    BATCH = 3
    IDLE = 5
    DEADLINE = 6
    EXT = 7


@dataclass(frozen=True)
class SchedAttributes:
    """What sched_getattr(2) tells of a thread.

    Attributes:
        policy: A `SchedPolicy`, or a number that is not known here.
        flags: SCHED_FLAG_*.
        nice: Of OTHER and BATCH threads.
        priority: Of FIFO and RR threads.
        runtime_ns: The slice of fair threads (Linux 6.12+; 0 before), the budget of DEADLINE ones.
        deadline_ns: Of DEADLINE threads.
        period_ns: Of DEADLINE threads.
    """

    policy: int
    flags: int = 0
    nice: int = 0
    priority: int = 0
    runtime_ns: int = 0
    deadline_ns: int = 0
    period_ns: int = 0


_libc = ctypes.CDLL(None, use_errno=True)


def _syscall(index: int, *args: object) -> None:
    try:
        number = _SYSCALL_NUMBERS[platform.machine()][index]
    except KeyError:
        raise OSError(
            38, f"the system call numbers of {platform.machine()} are not known here"
        ) from None  # ENOSYS
    if _libc.syscall(ctypes.c_long(number), *args) < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))


def sched_getattr(tid: int) -> SchedAttributes:
    """Read a thread's scheduling attributes; 0 is the calling thread.

    Raises:
        OSError: ESRCH where the thread is gone.
    """
    buffer = ctypes.create_string_buffer(_SCHED_ATTR.size)
    _syscall(1, ctypes.c_int(tid), buffer, ctypes.c_uint(_SCHED_ATTR.size), ctypes.c_uint(0))
    _, policy, flags, nice, priority, runtime, deadline, period = _SCHED_ATTR.unpack(buffer.raw)
    return SchedAttributes(policy, flags, nice, priority, runtime, deadline, period)


def sched_setattr(tid: int, attributes: SchedAttributes) -> None:
    """Set a thread's scheduling attributes; 0 is the calling thread.

    For OTHER and BATCH a `runtime_ns` of 0 gives back the default slice.

    Raises:
        OSError: ESRCH (gone), EPERM (not allowed), EINVAL, EBUSY (DEADLINE admission).
        ValueError: An attribute is not a whole number of its size.
    """
    a = attributes
    try:
        data = _SCHED_ATTR.pack(
            _SCHED_ATTR.size, a.policy, a.flags, a.nice, a.priority, a.runtime_ns, a.deadline_ns, a.period_ns
        )
    except struct.error as error:
        raise ValueError(f"{attributes}: {error}") from None
    _syscall(0, ctypes.c_int(tid), ctypes.c_char_p(data), ctypes.c_uint(0))
