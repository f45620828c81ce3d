"""What can be observed: BPF, tracefs, perf's counters, pressure."""

from __future__ import annotations

import errno

from schedtuna.capabilities import Capability
from schedtuna.kernel.perf_events import describe_errno
from schedtuna.machine import facts
from schedtuna.machine.checks.finding import Check, Finding, missing, ok, warning
from schedtuna.machine.checks.privileges import AS_ROOT, has_capability
from schedtuna.machine.probe import Probe

_BTF = "sys/kernel/btf/vmlinux"
_ENERGY = (
    "sys/bus/event_source/devices/power/events/energy-pkg",
    "sys/class/powercap/intel-rapl:0/energy_uj",
)


def check_btf(probe: Probe) -> Finding:
    """Whether the kernel describes its own types."""
    if probe.exists(_BTF):
        return ok(f"/{_BTF}")
    return missing(
        f"no /{_BTF}",
        "neither the recorder nor sched_ext schedulers can be loaded",
        "run a kernel with CONFIG_DEBUG_INFO_BTF=y",
    )


def check_tp_btf(probe: Probe) -> Finding:
    """Whether BPF programs may be attached to the scheduler's tracepoints."""
    cost = "`record` and sched.* metrics don't work; the procfs sampler does"
    config = facts.kernel_options(facts.read_kernel_config(probe) or "")
    if config and "CONFIG_BPF_EVENTS" not in config:
        return missing("kernel without CONFIG_BPF_EVENTS", cost, "run a kernel with CONFIG_BPF_EVENTS=y")
    if not probe.exists(_BTF):
        return missing("needs BTF", cost, "run a kernel with CONFIG_DEBUG_INFO_BTF=y")
    if facts.read_lockdown(probe) == "confidentiality":
        return missing("lockdown is `confidentiality`", cost, "boot without lockdown=confidentiality")
    needed = (Capability.BPF, Capability.PERFMON)
    lacking = [f"CAP_{one.name}" for one in needed if not has_capability(probe, one)]
    if lacking:
        return missing(f"needs {' and '.join(lacking)}", cost, AS_ROOT)
    return ok("BTF and capabilities are there")


def check_tracefs(probe: Probe) -> Finding:
    """Whether ftrace's files can be read."""
    if any(
        probe.names(f"{base}/events/sched") for base in ("sys/kernel/tracing", "sys/kernel/debug/tracing")
    ):
        return ok("readable")
    cost = "`perf sched` and trace-cmd can't record; our recorder does not need it"
    if facts.mounted(probe, "tracefs"):
        return missing("mounted, but not for this user", cost, "run as root")
    return missing("not mounted", cost, "mount -t tracefs tracefs /sys/kernel/tracing")


def check_perf_paranoid(probe: Probe) -> Finding:
    """What perf_event_open allows this user."""
    level = probe.read_int("proc/sys/kernel/perf_event_paranoid")
    if level is None:
        return missing(
            "kernel without perf events", "no hardware counters", "run one with CONFIG_PERF_EVENTS=y"
        )
    if has_capability(probe, Capability.PERFMON):
        return ok(f"{level}, without effect: CAP_PERFMON is held", level=level)
    lower = "sysctl kernel.perf_event_paranoid=1"
    if level >= 3:
        return missing(f"{level}: no counters for users", "no hardware counters", lower, level=level)
    if level == 2:
        return warning("2: user space only", "counters leave out the kernel's part", lower, level=level)
    return ok(str(level), level=level)


def check_hardware_counters(probe: Probe) -> Finding:
    """Whether cycles can be counted."""
    cost = "no ipc, cycles, instructions or cache_misses as metrics"
    devices = probe.names("sys/bus/event_source/devices")
    if probe.calls is None:
        return warning("not asked: not the running kernel", cost, devices=devices)
    code = probe.calls.open_cycle_counter()
    if code == 0:
        return ok("cycles can be counted", devices=devices)
    if code in (errno.EACCES, errno.EPERM):
        return missing(
            f"not allowed: {describe_errno(code)}",
            cost,
            "sysctl kernel.perf_event_paranoid=1",
            devices=devices,
        )
    if code in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        return missing(
            "the processor shows none", cost, "run on bare metal, or give the VM a PMU", devices=devices
        )
    return missing(describe_errno(code), cost, devices=devices)


def check_energy(probe: Probe) -> Finding:
    """Whether the processor tells its energy."""
    found = next((path for path in _ENERGY if probe.exists(path)), None)
    if found:
        return ok(f"/{found.rpartition('/')[0]}")
    return missing("no RAPL counters", "no energy_j as a metric", "run on bare metal with RAPL (x86)")


def check_psi(probe: Probe) -> Finding:
    """Whether the kernel tells pressure."""
    if probe.read("proc/pressure/cpu"):
        return ok("/proc/pressure")
    config = facts.kernel_options(facts.read_kernel_config(probe) or "")
    built = config.get("CONFIG_PSI") == "y"
    return missing(
        "built, not switched on" if built else "no /proc/pressure",
        "pressure is not recorded, nor seen by the agent",
        "boot with psi=1" if built else "run a kernel with CONFIG_PSI=y, and boot it with psi=1",
    )


CHECKS = (
    Check("btf", "BTF", check_btf),
    Check("tp_btf", "BPF tracepoints", check_tp_btf),
    Check("tracefs", "tracefs", check_tracefs),
    Check("perf_event_paranoid", "perf_event_paranoid", check_perf_paranoid),
    Check("hardware_counters", "hardware counters", check_hardware_counters),
    Check("energy", "energy counters", check_energy),
    Check("psi", "pressure (PSI)", check_psi),
)
