"""Does this kernel keep an EEVDF slice per task? Asked of the kernel, not of its version."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from schedtuna.kernel.syscalls import sched_getattr, sched_setattr

_WITH_SLICE = (os.SCHED_OTHER, os.SCHED_BATCH)
_MOST_CPUS_SCALED = 8
_TRIED_NS = 5_000_000  # inside the kernel's bounds of 0.1 to 100 ms


def slice_scale(nr_cpus: int) -> int:
    """The factor by which the kernel scales its base slice: 1 + log2 of the CPUs, up to 8 of them.

    See `get_update_sysctl_factor` in kernel/sched/fair.c; the scaling is the default one, logarithmic.
    """
    return min(nr_cpus, _MOST_CPUS_SCALED).bit_length()


def read_back_slice() -> tuple[int, bool]:
    """Set a slice on a thread that ends at once, and read it back.

    Kernels before 6.12 accept the call and ignore `sched_runtime`, so only what is read back tells
    (`get_params` in kernel/sched/syscalls.c).

    Returns:
        The slice in nanoseconds of a thread that has none of its own (0 where the kernel tells none,
        as before 6.12), and whether the slice that was set was kept.

    Raises:
        OSError: The kernel, or a seccomp filter, refused the call.
    """
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(_read_back_here).result()


def _read_back_here() -> tuple[int, bool]:
    found = sched_getattr(0)
    if found.policy not in _WITH_SLICE:
        found = replace(found, policy=os.SCHED_OTHER, nice=0, priority=0)
    plain = replace(found, runtime_ns=0, deadline_ns=0, period_ns=0)
    sched_setattr(0, plain)  # a slice that was inherited is not the default
    default_ns = sched_getattr(0).runtime_ns
    tried_ns = _TRIED_NS if default_ns != _TRIED_NS else 2 * _TRIED_NS
    sched_setattr(0, replace(plain, runtime_ns=tried_ns))
    return default_ns, sched_getattr(0).runtime_ns == tried_ns
