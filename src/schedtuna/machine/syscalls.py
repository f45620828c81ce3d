"""What only a system call can tell: whether a slice sticks to a task, whether cycles are counted."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import threading
from dataclasses import dataclass

# (sched_setattr, sched_getattr, perf_event_open); arm64, riscv64 and loongarch64 share the generic table.
_NUMBERS = {
    "x86_64": (314, 315, 298),
    "i686": (351, 352, 336),
    "armv7l": (380, 381, 364),
    "ppc64le": (355, 356, 319),
    "s390x": (345, 346, 331),
}
_GENERIC = (274, 275, 241)

# struct sched_attr, first version (include/uapi/linux/sched/types.h):
# size, policy, flags, nice, priority, runtime, deadline, period
_SCHED_ATTR = struct.Struct("=IIQiIQQQ")
_POLICIES_WITH_SLICE = (os.SCHED_OTHER, os.SCHED_BATCH)
_PROBED_SLICE_NS = 5_000_000  # inside the kernel's bounds of 0.1 to 100 ms, and unlikely to be a default

# struct perf_event_attr, first version: type, size, config, sample_period, sample_type, read_format,
# flag bits, wakeup_events, bp_type, config1
_PERF_ATTR = struct.Struct("=IIQQQQQIIQ")
_PERF_DISABLED_USER_ONLY = 1 << 0 | 1 << 5 | 1 << 6  # disabled, exclude_kernel, exclude_hv
_PERF_FLAG_FD_CLOEXEC = 8


@dataclass(frozen=True)
class SliceAnswer:
    """What the kernel said to an EEVDF slice.

    Attributes:
        errno: Of sched_setattr or sched_getattr; 0 for success.
        default_ns: The slice that an untouched task reads back; 0 before Linux 6.12.
        sticks: Whether the slice that was set was read back.
    """

    errno: int
    default_ns: int
    sticks: bool


def _numbers() -> tuple[int, int, int]:
    return _NUMBERS.get(os.uname().machine, _GENERIC)


def _syscall(number: int, *arguments: object) -> int:
    """Call the kernel; the result, or minus the errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(ctypes.c_long(number), *arguments))
    return -ctypes.get_errno() if result < 0 else result


def read_back_slice() -> SliceAnswer:
    """Set an EEVDF slice on a thread that ends at once, and read it back.

    Kernels before 6.12 accept the call and ignore sched_runtime, so only the value read back
    tells (kernel/sched/syscalls.c, `get_params`).
    """
    answers: list[SliceAnswer] = []
    thread = threading.Thread(target=lambda: answers.append(_read_back_slice_here()))
    thread.start()
    thread.join()
    return answers[0]


def _read_back_slice_here() -> SliceAnswer:
    setattr_number, getattr_number, _ = _numbers()
    buffer = ctypes.create_string_buffer(_SCHED_ATTR.size)

    def get() -> int:
        return _syscall(
            getattr_number, ctypes.c_int(0), buffer, ctypes.c_uint(_SCHED_ATTR.size), ctypes.c_uint(0)
        )

    status = get()
    if status < 0:
        return SliceAnswer(-status, 0, sticks=False)
    _, policy, flags, nice, _, default_ns, _, _ = _SCHED_ATTR.unpack(buffer.raw)
    if policy not in _POLICIES_WITH_SLICE:
        policy, nice = os.SCHED_OTHER, 0
    wanted = _SCHED_ATTR.pack(_SCHED_ATTR.size, policy, flags, nice, 0, _PROBED_SLICE_NS, 0, 0)
    status = _syscall(setattr_number, ctypes.c_int(0), wanted, ctypes.c_uint(0))
    if status < 0:
        return SliceAnswer(-status, default_ns, sticks=False)
    status = get()
    runtime_ns = _SCHED_ATTR.unpack(buffer.raw)[5]
    return SliceAnswer(max(-status, 0), default_ns, sticks=runtime_ns == _PROBED_SLICE_NS)


def perf_event_open(attributes: bytes, *, pid: int, cpu: int) -> int:
    """Open a perf event (perf_event_open(2)); the file descriptor, or minus the errno.

    Args:
        attributes: A struct perf_event_attr.
        pid: Thread to count, 0 for this one, -1 for all of a CPU.
        cpu: CPU to count on, -1 for any.
    """
    return _syscall(
        _numbers()[2],
        attributes,
        ctypes.c_int(pid),
        ctypes.c_int(cpu),
        ctypes.c_int(-1),
        ctypes.c_ulong(_PERF_FLAG_FD_CLOEXEC),
    )


def open_cycle_counter() -> int:
    """Open a counter of this thread's user-space CPU cycles, and close it.

    Returns:
        0, or the errno: ENOENT or EOPNOTSUPP where there is no hardware for it, EACCES or EPERM
        where it may not be used.
    """
    attributes = _PERF_ATTR.pack(0, _PERF_ATTR.size, 0, 0, 0, 0, _PERF_DISABLED_USER_ONLY, 0, 0, 0)
    result = perf_event_open(attributes, pid=0, cpu=-1)
    if result < 0:
        return -result
    os.close(result)
    return 0


def describe_errno(code: int) -> str:
    """The errno's name and meaning, for people."""
    return f"{errno.errorcode.get(code, code)}: {os.strerror(code)}"
