"""Opening the recorder's BPF objects: what both of them need to know of kernel and machine."""

from __future__ import annotations

import os
from pathlib import Path

from schedtuna.errors import UnavailableError
from schedtuna.kernel.kernel_btf import KernelBtf
from schedtuna.kernel.objects import BpfObject
from schedtuna.kernel.ordered import require_ordered_stores
from schedtuna.kernel.privilege import require_bpf
from schedtuna.machine.mounts import CgroupMounts
from schedtuna.machine.namespaces import in_initial_pid_namespace
from schedtuna.machine.probe import Probe
from schedtuna.record.filters import TaskFilter
from schedtuna.record.layout import check_layouts


def open_object(
    name: str,
    structs: list[str],
    task_filter: TaskFilter,
    layout: CgroupMounts,
    *,
    btf: Path | None = None,
) -> BpfObject:
    """Open a BPF object and set its filter and what it must know of the kernel.

    Raises:
        UnavailableError: This kernel, machine or user can't record.
        UsageError: The filter names what does not exist.
    """
    require_ordered_stores()
    require_bpf()
    own_numbers = in_initial_pid_namespace()
    if not own_numbers and (task_filter.tgid or task_filter.tree):
        raise UnavailableError(
            "this process is in a PID namespace of its own: the kernel knows processes by other numbers",
            hint="filter by cgroup or name, or run it in the host's (docker run --pid=host)",
        )
    bpf = BpfObject(name, btf=btf)
    try:
        check_layouts(bpf.btf, structs)
        with KernelBtf(btf) as kernel:
            arity = kernel.tracepoint_arity("sched_switch") or 0
            if name == "sched_aggregate":
                _require_accounting(kernel)
        bpf.set_constants(
            {
                "switch_has_prev_state": arity >= 4,
                "cpu_controller_is_v1": "cpu" in layout.v1_mounts,
                "recorder_tgid": os.getpid() if own_numbers else 0,
                **task_filter.constants(layout),
            }
        )
    except BaseException:
        bpf.close()
        raise
    return bpf


def _require_accounting(kernel: KernelBtf) -> None:
    needed = {
        ("sched_info", "last_queued"): "CONFIG_SCHEDSTATS or CONFIG_TASK_DELAY_ACCT",
        ("cfs_rq", "rq"): "CONFIG_FAIR_GROUP_SCHED",
    }
    for (struct, member), option in needed.items():
        if not kernel.has_member(struct, member):
            raise UnavailableError(
                f"counting in the kernel needs {option}, which this kernel lacks",
                hint="record a stream of events instead: leave --aggregate out",
            )


def nr_cpu_ids() -> int:
    """Return how many numbers of CPUs there may be: the highest possible one, and one more."""
    possible = Probe.live().read("sys/devices/system/cpu/possible") or str((os.cpu_count() or 1) - 1)
    return int(possible.replace(",", "-").split("-")[-1]) + 1
