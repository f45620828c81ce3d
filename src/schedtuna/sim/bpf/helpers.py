"""How many arguments does each of BPF's helpers take? bpf-helpers(7) has what they do.

What is not here gets all five registers.
"""

from __future__ import annotations

from typing import Final

PREFIX: Final = "bpf_"
ENUM_PREFIX: Final = "BPF_FUNC_"  # in the kernel's enum bpf_func_id
ARGUMENTS: Final = {
    "map_lookup_elem": 2, "map_update_elem": 4, "map_delete_elem": 2, "map_push_elem": 3, "map_pop_elem": 2,
    "map_peek_elem": 2, "map_lookup_percpu_elem": 3, "for_each_map_elem": 4,
    "ktime_get_ns": 0, "ktime_get_boot_ns": 0, "ktime_get_coarse_ns": 0, "ktime_get_tai_ns": 0,
    "jiffies64": 0,
    "get_prandom_u32": 0, "get_smp_processor_id": 0, "get_numa_node_id": 0,
    "get_current_pid_tgid": 0, "get_current_uid_gid": 0, "get_current_comm": 2, "get_current_task": 0,
    "get_current_task_btf": 0, "get_current_cgroup_id": 0,
    "spin_lock": 1, "spin_unlock": 1, "probe_read_kernel": 3, "probe_read_kernel_str": 3,
    "probe_read_user": 3, "probe_read_user_str": 3, "copy_from_user": 3,
    "ringbuf_output": 4, "ringbuf_reserve": 3, "ringbuf_submit": 2, "ringbuf_discard": 2, "ringbuf_query": 2,
    "user_ringbuf_drain": 4, "per_cpu_ptr": 2, "this_cpu_ptr": 1,
    "task_storage_get": 4, "task_storage_delete": 2, "cgrp_storage_get": 4, "cgrp_storage_delete": 2,
    "timer_init": 3, "timer_set_callback": 2, "timer_start": 3, "timer_cancel": 1,
    "loop": 4, "strncmp": 3, "kptr_xchg": 2, "trace_vprintk": 4, "snprintf": 5, "trace_printk": 5,
    "perf_event_read_value": 4, "dynptr_read": 5, "dynptr_write": 5, "dynptr_data": 3, "dynptr_from_mem": 4,
}  # fmt: skip
