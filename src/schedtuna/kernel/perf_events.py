"""What only perf_event_open(2) can tell: whether this machine counts cycles, and may be asked to."""

from __future__ import annotations

import ctypes
import errno
import os
import struct

# perf_event_open, from the kernel's syscall tables; arm64, riscv64 and loongarch64 share the generic one.
_PERF_EVENT_OPEN = {"x86_64": 298, "i686": 336, "armv7l": 364, "ppc64le": 319, "s390x": 331}
_GENERIC_PERF_EVENT_OPEN = 241
_FLAG_FD_CLOEXEC = 8

# struct perf_event_attr, first version: type, size, config, sample_period, sample_type, read_format,
# flag bits, wakeup_events, bp_type, config1 (include/uapi/linux/perf_event.h)
_PERF_ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")
_DISABLED, _EXCLUDE_KERNEL, _EXCLUDE_HV = 1 << 0, 1 << 5, 1 << 6


def perf_event_open(attributes: bytes, *, pid: int = 0, cpu: int = -1) -> int:
    """Open a perf event that is closed on exec.

    Args:
        attributes: A `struct perf_event_attr`.
        pid: The thread to count, 0 for this one, -1 for all.
        cpu: The CPU to count on, -1 for any.

    Returns:
        The file descriptor, or minus the errno.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(
        libc.syscall(
            ctypes.c_long(_PERF_EVENT_OPEN.get(os.uname().machine, _GENERIC_PERF_EVENT_OPEN)),
            ctypes.c_char_p(attributes),
            ctypes.c_int(pid),
            ctypes.c_int(cpu),
            ctypes.c_int(-1),
            ctypes.c_ulong(_FLAG_FD_CLOEXEC),
        )
    )
    return -ctypes.get_errno() if result < 0 else result


def open_cycle_counter() -> int:
    """Open a counter of this thread's user-space CPU cycles, and close it.

    Returns:
        0, or the errno: ENOENT or EOPNOTSUPP where there is no hardware for it, EACCES or EPERM
        where it may not be used.
    """
    flags = _DISABLED | _EXCLUDE_KERNEL | _EXCLUDE_HV
    result = perf_event_open(_PERF_ATTRIBUTES.pack(0, _PERF_ATTRIBUTES.size, 0, 0, 0, 0, flags, 0, 0, 0))
    if result < 0:
        return -result
    os.close(result)
    return 0


def describe_errno(code: int) -> str:
    """The errno's name and meaning, for people."""
    return f"{errno.errorcode.get(code, code)}: {os.strerror(code)}"
