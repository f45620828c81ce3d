"""The kernel: its scheduler's features, its settings, and what it hides."""

from __future__ import annotations

from schedtuna.kernel.kfuncs import REMEDY, uncallable_kfuncs
from schedtuna.kernel.perf_events import describe_errno
from schedtuna.machine import facts
from schedtuna.machine.cgroups import in_root_task_group, read_cgroups
from schedtuna.machine.checks.finding import Check, Finding, missing, ok, warning
from schedtuna.machine.checks.realtime import check_rt_throttling
from schedtuna.machine.probe import Probe

# Clocks that take a system call, or microseconds, to read (drivers/clocksource).
_SLOW_CLOCKS = ("hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit")
_NEWER_KERNEL = "run Linux 6.12 or newer"


def check_release(probe: Probe) -> Finding:
    """Which kernel runs."""
    release = probe.read("proc/sys/kernel/osrelease")
    if not release:
        return missing("no /proc/sys/kernel/osrelease", "nothing can be known here", "mount procfs on /proc")
    return ok(f"{release} {facts.read_architecture(probe)}", release=release)


def check_slice(probe: Probe) -> Finding:
    """Whether a task may have a slice of its own."""
    cost = "`tune` can't vary slice_us of `fair`; nice, policy, affinity and cgroups remain"
    if probe.calls is None:
        return warning("not asked: not the running kernel", cost)
    try:
        default_ns, kept = probe.calls.read_back_slice()
    except OSError as error:
        return missing(
            f"sched_setattr refused: {describe_errno(error.errno or 0)}",
            cost,
            "allow sched_setattr in the container's seccomp filter",
        )
    if not kept:
        return missing("the kernel accepts a slice and ignores it", cost, _NEWER_KERNEL)
    default = f", default {default_ns / 1e6:g} ms" if default_ns else ""
    return ok(f"can be set per task{default}", default_slice_ns=default_ns)


def check_sched_ext(probe: Probe) -> Finding:
    """Whether schedulers can be loaded, and whether one is."""
    state = probe.read("sys/kernel/sched_ext/state")
    if state is None:
        config = facts.kernel_options(facts.read_kernel_config(probe) or "")
        known = bool(config) and "CONFIG_SCHED_CLASS_EXT" not in config
        return missing(
            "the kernel was built without it" if known else "no /sys/kernel/sched_ext",
            "no scx_* scheduler can run here; `fair` can, and guests of the VM lab",
            "run Linux 6.12 or newer with CONFIG_SCHED_CLASS_EXT=y, or use the VM lab",
        )
    ops = probe.read("sys/kernel/sched_ext/root/ops") or ""
    if state != "disabled":
        return warning(
            f"{state}: {ops or 'a scheduler'} is loaded",
            "what is measured as the default is not the kernel's own scheduler",
            "stop its program or service",
            state=state,
            ops=ops,
        )
    if wrong := uncallable_kfuncs(probe.path("sys/kernel/btf/vmlinux")):
        return warning(
            f"the kernel's BTF is wrong about {len(wrong)} of its functions",
            "scx_* schedulers that call one can't be loaded, and most do",
            REMEDY,
            state=state,
        )
    return ok("available, none loaded", state=state)


def check_config(probe: Probe) -> Finding:
    """Whether the kernel's configuration can be read."""
    config = facts.read_kernel_config(probe)
    if config is None:
        release = probe.read("proc/sys/kernel/osrelease") or "RELEASE"
        return missing(
            f"no /proc/config.gz, no /boot/config-{release}",
            "some scx_* schedulers refuse to start; manifests can't tell kernels apart",
            "modprobe configs, or install the kernel's config file",
        )
    hz = facts.kernel_options(config).get("CONFIG_HZ")
    return ok(f"readable{f', {hz} Hz tick' if hz else ''}", config_hz=hz)


def check_lockdown(probe: Probe) -> Finding:
    """Whether the kernel keeps root from its memory and its debug files."""
    mode = facts.read_lockdown(probe)
    if mode == "none":
        return ok("none", lockdown=mode)
    if mode is None:
        return warning(
            "unknown: securityfs is not mounted",
            "debugfs knobs or kernel reads from BPF may be refused",
            "mount -t securityfs securityfs /sys/kernel/security",
            lockdown=mode,
        )
    cost = "debugfs scheduler knobs are refused, to root too"
    if mode == "confidentiality":
        cost += "; BPF may not read kernel memory: nothing can be recorded"
    return warning(mode, cost, "boot without lockdown= and secure boot", lockdown=mode)


def check_debugfs(probe: Probe) -> Finding:
    """Whether the scheduler's debugfs files can be read and set."""
    folder = "sys/kernel/debug/sched"
    cost = "features, base_slice_ns and the like can't be varied, nor compared between results"
    if not facts.mounted(probe, "debugfs"):
        return missing(
            "debugfs is not mounted", cost, "mount -t debugfs debugfs /sys/kernel/debug (unless locked down)"
        )
    if not probe.names(folder):
        return missing(f"/{folder} is not there, or not for this user", cost, "run as root")
    if not probe.writable(f"{folder}/features"):
        return warning(
            "readable, not writable",
            "debugfs scheduler knobs can't be set",
            "run as root, on a kernel that is not locked down",
        )
    return ok("readable and writable")


def check_autogroup(probe: Probe) -> Finding:
    """Whether nice works between sessions."""
    value = probe.read("proc/sys/kernel/sched_autogroup_enabled")
    if value != "1":
        return ok("off" if value == "0" else "not in this kernel", enabled=False)
    folder = read_cgroups(probe).cpu_folder
    if folder is not None and not in_root_task_group(probe.path(folder)):
        return ok("on, without effect: this process has a CPU cgroup of its own", enabled=True)
    return warning(
        "on",
        "nice counts only within one session (setsid); it does nothing between sessions",
        "sysctl kernel.sched_autogroup_enabled=0, or boot with noautogroup",
        enabled=True,
    )


def check_clock(probe: Probe) -> Finding:
    """Whether reading the time is cheap."""
    base = "sys/devices/system/clocksource/clocksource0"
    clock = probe.read(f"{base}/current_clocksource")
    if not clock:
        return warning("unknown", "reading the time may be slow, which loads that do it often feel")
    if clock in _SLOW_CLOCKS:
        return warning(
            f"{clock}: slow",
            "loads that read the time often, and tracing, slow down",
            f"available: {probe.read(f'{base}/available_clocksource')}; `dmesg | grep -i tsc` says why",
            clock_source=clock,
        )
    return ok(clock, clock_source=clock)


CHECKS = (
    Check("kernel", "release", check_release),
    Check("eevdf_slice", "EEVDF slice", check_slice),
    Check("sched_ext", "sched_ext", check_sched_ext),
    Check("kernel_config", "configuration", check_config),
    Check("lockdown", "lockdown", check_lockdown),
    Check("debugfs", "scheduler debugfs", check_debugfs),
    Check("autogroup", "autogroup", check_autogroup),
    Check("rt_throttling", "real-time throttling", check_rt_throttling),
    Check("clock", "clock source", check_clock),
)
