"""What bounds real-time tasks depends on the kernel; each answer was seen with a fifo and a normal hog."""

import os
from pathlib import Path

import pytest

from schedtuna.machine.checks.realtime import check_rt_throttling
from schedtuna.machine.probe import Probe

SCHED = "sys/kernel/debug/sched"
OLD = {f"{SCHED}/features": "PLACE_LAG"}  # before 6.12
V1 = {
    "proc/self/mounts": "c /sys/fs/cgroup/cpu cgroup rw,cpu 0 0",
    "proc/self/cgroup": "1:cpu:/a",
    "sys/fs/cgroup/cpu/a/cpu.rt_period_us": "1000000",
}
EXT = {"sys/kernel/sched_ext/state": "disabled"}
LOADED = {"sys/kernel/sched_ext/state": "enabled"}
BTF = {"sys/kernel/btf/vmlinux": b"...\0fair_server\0..."}


def sysctl(runtime_us, period_us=1_000_000):
    base = "proc/sys/kernel/sched_rt"
    return {f"{base}_runtime_us": str(runtime_us), f"{base}_period_us": str(period_us)}


def server(name, *runtimes_ns, period_ns=1_000_000_000, first=0):
    return {
        f"{SCHED}/{name}/cpu{cpu}/{key}": str(value)
        for cpu, runtime_ns in enumerate(runtimes_ns, start=first)
        for key, value in (("runtime", runtime_ns), ("period", period_ns))
    }


FAIR, EXT_SERVER = server("fair_server", *[50_000_000] * 2), server("ext_server", *[50_000_000] * 2)


@pytest.mark.parametrize(
    ("files", "status", "seen"),
    [
        # Up to 6.11 the sysctl throttles.
        (OLD | sysctl(950000), "ok", "real-time tasks get at most 95%"),
        (OLD | sysctl(-1), "warning", "off"),
        (OLD | sysctl(1000000), "warning", "off"),
        (sysctl(950000), "ok", "at most 95%"),
        ({}, "warning", "unknown"),
        # From 6.12 on it does not, whatever it says: 1000000 is the default of 7.3.
        *(
            (FAIR | sysctl(us), "ok", "normal tasks keep 5% of each CPU (fair server)")
            for us in (-1, 10**6, 1)
        ),
        (FAIR | sysctl(1000000) | EXT | EXT_SERVER, "ok", "(fair server), those of sched_ext 5%"),
        (FAIR | sysctl(950000) | EXT, "ok", "(fair server), those of sched_ext 0%"),
        (FAIR | sysctl(950000) | LOADED, "warning", "those of sched_ext 0%"),
        (FAIR | LOADED | server("ext_server", 50_000_000, 0), "warning", "those of sched_ext 0%"),
        (FAIR | LOADED | EXT_SERVER, "ok", "those of sched_ext 5%"),
        (server("fair_server", 200_000_000, 1_000_000), "ok", "keep 0.1% of each CPU"),
        (server("fair_server", 50_000_000, period_ns=100_000_000), "ok", "keep 50% of each CPU"),
        (server("fair_server", 0, 50_000_000, 0, 0) | sysctl(950000), "warning", "off on CPU 0,2-3"),
        # The files of CPUs that are not there are there.
        (server("fair_server", 50_000_000, 0) | {"sys/devices/system/cpu/online": "0"}, "ok", "keep 5%"),
        (server("fair_server", "", 50_000_000) | sysctl(950000), "warning", "can't be read"),
        # Debugfs is not for everybody, nor mounted everywhere.
        (BTF | sysctl(950000), "warning", "only debugfs tells"),
        ({"sys/kernel/btf/vmlinux": b"\0fair\0"} | sysctl(950000), "ok", "at most 95%"),
        # CONFIG_RT_GROUP_SCHED
        (V1 | FAIR | {"sys/fs/cgroup/cpu/a/cpu.rt_runtime_us": "0"}, "missing", "no real-time budget"),
        (V1 | BTF | {"sys/fs/cgroup/cpu/a/cpu.rt_runtime_us": "300000"}, "ok", "at most 30%"),
        (V1 | FAIR | {"sys/fs/cgroup/cpu/a/cpu.rt_runtime_us": "-1"}, "ok", "normal tasks keep 5%"),
        (
            V1 | FAIR | sysctl(-1) | {"sys/fs/cgroup/cpu/a/cpu.rt_runtime_us": "300000"},
            "ok",
            "normal tasks keep 5%",
        ),
    ],
)
def test_what_bounds_real_time_tasks(machine, files, status, seen):
    finding = check_rt_throttling(machine(files))
    assert finding.status == status
    assert seen in finding.seen
    assert bool(finding.cost) == (status != "ok")


def test_what_is_said_of_this_kernel_is_what_its_own_types_say():
    """No kernel with a fair server is judged by the sysctl."""
    btf = Path("/sys/kernel/btf/vmlinux")
    if not btf.exists() or not os.access(btf, os.R_OK) or b"\0fair_server\0" not in btf.read_bytes():
        pytest.skip("this kernel has no fair server, or no BTF")
    assert "runtime_us" not in check_rt_throttling(Probe.live()).facts
