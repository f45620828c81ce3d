"""Do real-time tasks leave time to others?

Until Linux 6.11 `sched_rt_runtime_us` throttles them. Since 6.12 (kernel/sched/rt.c, "Remove default
bandwidth control") it only bounds what deadline tasks are admitted to, and a deadline server per CPU runs
normal tasks that starve: 50 ms of each second, unless debugfs says otherwise. Tasks of sched_ext have had
such a server since 7.0. With CONFIG_RT_GROUP_SCHED groups are throttled besides, by budgets of their own that
have to fit into the sysctl.
"""

from __future__ import annotations

from schedtuna.machine import facts
from schedtuna.machine.cgroups import read_cgroups
from schedtuna.machine.checks.finding import Finding, missing, ok, warning
from schedtuna.machine.cpu_lists import format_cpu_list
from schedtuna.machine.probe import Probe

_DEBUGFS = "sys/kernel/debug/sched"
_SYSCTL = "proc/sys/kernel/sched_rt"
_HANGS = "a fifo or rr task that never sleeps hangs its CPU"
_ROOT = "run as root, on a kernel that is not locked down"


def check_rt_throttling(probe: Probe) -> Finding:
    """Whether real-time tasks leave time to others."""
    layout = read_cgroups(probe)
    if "cpu" in layout.v1_mounts:
        budget_us = probe.read_int(f"{layout.cpu_folder}/cpu.rt_runtime_us")
        period_us = probe.read_int(f"{layout.cpu_folder}/cpu.rt_period_us")
        if budget_us == 0:
            return missing(
                "this process's cgroup has no real-time budget",
                "fifo and rr are refused here (CONFIG_RT_GROUP_SCHED)",
                "run in the root cgroup, or write cpu.rt_runtime_us",
            )
        enabled = (probe.read_int(f"{_SYSCTL}_runtime_us") or 0) >= 0  # -1 ends the throttling of all groups
        if enabled and budget_us and period_us and 0 < budget_us < period_us:
            return ok(f"this cgroup's real-time tasks get at most {_percent(budget_us / period_us)}")
    if probe.names(f"{_DEBUGFS}/fair_server"):
        return _of_servers(probe)
    if not probe.names(_DEBUGFS) and _has_fair_server(probe):
        return warning(
            "a fair server bounds them, whose runtime only debugfs tells",
            f"where it was set to 0, {_HANGS}",
            f"to see it, {_ROOT}, with debugfs mounted",
        )
    return _of_sysctl(probe)


def _of_servers(probe: Probe) -> Finding:
    """What the deadline servers of Linux 6.12 keep for others."""
    fair, ext = _shares(probe, "fair_server"), _shares(probe, "ext_server")
    known = [share for share in fair.values() if share is not None]
    if len(known) < len(fair):
        return warning("the fair server's runtime can't be read", f"where it is 0, {_HANGS}", _ROOT)
    least = min(known, default=0.0)
    if least == 0:
        off = format_cpu_list(cpu for cpu, share in fair.items() if not share)
        return warning(
            f"off on CPU {off}: its fair server has no runtime",
            _HANGS,
            f"echo 50000000 > /{_DEBUGFS}/fair_server/cpuN/runtime",
            fair_server=least,
        )
    kept = f"normal tasks keep {_percent(least)} of each CPU (fair server)"
    state = probe.read("sys/kernel/sched_ext/state")
    if state is None:
        return ok(kept, fair_server=least)
    least_ext = min((share or 0.0 for share in ext.values()), default=0.0)
    kept += f", those of sched_ext {_percent(least_ext)}"
    if least_ext == 0 and state != "disabled":
        return warning(
            kept,
            "a fifo or rr task that never sleeps starves tasks of sched_ext until their scheduler is ejected",
            f"echo 50000000 > /{_DEBUGFS}/ext_server/cpuN/runtime" if ext else "run Linux 7.0 or newer",
            fair_server=least,
            ext_server=least_ext,
        )
    return ok(kept, fair_server=least, ext_server=least_ext)


def _of_sysctl(probe: Probe) -> Finding:
    """What the throttling of Linux 6.11 and older keeps for others."""
    runtime_us = probe.read_int(f"{_SYSCTL}_runtime_us")
    period_us = probe.read_int(f"{_SYSCTL}_period_us")
    if runtime_us is None or not period_us:
        return warning("unknown", "a fifo or rr task may starve the machine")
    if runtime_us < 0 or runtime_us >= period_us:
        return warning("off", _HANGS, "sysctl kernel.sched_rt_runtime_us=950000", runtime_us=runtime_us)
    return ok(f"real-time tasks get at most {_percent(runtime_us / period_us)}", runtime_us=runtime_us)


def _shares(probe: Probe, server: str) -> dict[int, float | None]:
    """Online CPU -> the share of it that a deadline server may use; None where it can't be read."""
    online = facts.read_cpus(probe, "sys/devices/system/cpu/online")
    shares: dict[int, float | None] = {}
    for name in probe.names(f"{_DEBUGFS}/{server}", "cpu*"):
        cpu = int(name.removeprefix("cpu"))
        runtime_ns = probe.read_int(f"{_DEBUGFS}/{server}/{name}/runtime")
        period_ns = probe.read_int(f"{_DEBUGFS}/{server}/{name}/period")
        if cpu in online or not online:
            shares[cpu] = None if runtime_ns is None or not period_ns else runtime_ns / period_ns
    return shares


def _has_fair_server(probe: Probe) -> bool:
    """Whether the kernel's types name one: the member `fair_server` of `struct rq`."""
    return b"\0fair_server\0" in (probe.read_bytes("sys/kernel/btf/vmlinux") or b"")


def _percent(share: float) -> str:
    return f"{share * 100:.3g}%"
