"""scx_tuna from user space: its parameters, what was decided under them, its counters, why it left.

The structures are those of include/scx_tuna.h. This works on whichever scx_tuna is loaded, whoever loaded it,
and needs nothing beyond the standard library and `schedtuna.kernel`, so that it runs in guests, too.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping
from ctypes import c_uint8, c_uint32, c_uint64
from typing import Any, Self

from schedtuna.errors import (
    NotLoadedError,
    OutOfBoundsError,
    UnknownParameterError,
    UsageError,
)
from schedtuna.kernel.btf import Btf, StructLayout
from schedtuna.kernel.maps import LoadedMaps

OBJECT = "scx_tuna"  # native/scx_tuna.bpf.o
ONE = 1024  # TUNA_ONE: a whole CPU
POLICIES = ("default", "performance", "powersave", "latency")  # enum tuna_policy
SWITCHES = (
    "slice_lag_scaling",
    "rr_sched",
    "no_builtin_idle",
    "local_pcpu",
    "direct_dispatch",
    "sticky_cpu",
    "stay_with_kthread",
    "native_priority",
    "local_kthreads",
    "no_wake_sync",
    "aggressive_gpu_tasks",
    "timer_kick",
)
DEFAULTS: Mapping[str, bool | int | float | str] = {
    **dict.fromkeys(SWITCHES, False),
    "slice_us": 20000,
    "cpu_util_threshold": 0.85,
    "scheduling_policy": "default",
}
PLACING = (  # what acts where a woken task may choose a CPU
    *("no_builtin_idle", "direct_dispatch", "sticky_cpu", "stay_with_kthread", "no_wake_sync"),
    "cpu_util_threshold",
)
SLICE_US = (1000, 100000)
THRESHOLD = (0.1, 1.0)
# enum tuna_class, enum tuna_exit
CLASS_GPU = 1
EXITS = {
    1: "a task waited too long in one of its queues",
    2: "a task waited too long in a CPU's local queue",
    3: "a task waited too long for a CPU that real-time tasks hold",
    4: "its watch stood still",
    5: "its parameters were out of bounds",
}
DEVICE_PROGRAM, DEVICE_FUNCTION = "tuna_device_open", "chrdev_open"
# Drivers of GPUs as /proc/devices names them -> the least minor number that counts.
GPU_DRIVERS = {
    **dict.fromkeys(("drm", "accel", "kfd", "nvidia", "nvidia-frontend", "nvidia-uvm", "nvidiactl"), 0),
    **dict.fromkeys(("mali", "kgsl", "pvr"), 0),
}
_ASKED, _ACCEPTED = 0, 1  # places in the map of maps


class Params(ctypes.Structure):
    """struct tuna_params: one assignment of the parameters."""

    _fields_ = (
        ("version", c_uint64),
        ("slice_us", c_uint32),
        ("cpu_util_threshold", c_uint32),
        ("scheduling_policy", c_uint32),
        *((name, c_uint8) for name in SWITCHES),
    )


class InForce(ctypes.Structure):
    """struct tuna_in_force: what a CPU has decided under the parameters that it follows."""

    _fields_ = tuple(
        (name, c_uint64) for name in ("version", "since_ns", "nr_decisions", "nr_refused", "refused")
    )


class Stats(ctypes.Structure):
    """struct tuna_stats: a CPU's counters."""

    _fields_ = tuple(
        (name, c_uint64)
        for name in (
            *("nr_select_cpu", "nr_enqueue", "nr_dispatch", "nr_direct", "nr_overtakings", "nr_queued"),
            *("nr_queued_pinned", "nr_queued_gpu", "nr_overdue", "nr_stolen", "nr_kept", "nr_migrations"),
            *("nr_same_cpu_wakeups", "nr_sync", "nr_sticky", "nr_with_kthread"),
            *("nr_kthread_head", "nr_own_idle", "nr_packed", "nr_above_threshold", "nr_idle_kicks"),
            *("nr_timer_kicks", "nr_timer_preempts", "nr_preempt_kicks", "nr_credits", "credit_ns"),
            *(
                "nr_gpu_runs",
                "nr_gpu_fast_runs",
                "nr_reenqueued",
                "nr_throttled",
                "nr_over_quota",
                "nr_gpu_opens",
                "nr_no_storage",
            ),
        )
    )


STRUCTURES = {"tuna_params": Params, "tuna_in_force": InForce, "tuna_stats": Stats}
_MAPS = ("tuna_params", "tuna_in_force", "tuna_stats", "tuna_classes", "tuna_fast_cpus", "tuna_gpus")


def _names(structure: type[ctypes.Structure]) -> list[str]:
    return [field[0] for field in structure._fields_]


def is_tuna(btf: Btf) -> bool:
    """Whether an object is scx_tuna, of whichever version, by its structures."""
    return "tuna_params" in btf.structs


def parse(name: str, text: str) -> bool | int | float | str:
    """Read a parameter's value, as it is typed.

    Raises:
        UsageError: It is none of this parameter's type, or there is none of this name.
    """
    default = DEFAULTS.get(name)
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False, "1": True, "0": False}[text.lower()]
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
    except (KeyError, ValueError):
        raise UsageError(f"{name}={text}: expected a value like {default}") from None
    if default is None:
        raise UnknownParameterError(name, DEFAULTS)
    return text


def check_layout(btf: Btf) -> None:
    """Check that an object has the structures as they are here.

    Raises:
        UnavailableError: It does not: it is of another version of this package.
    """
    for name, structure in STRUCTURES.items():
        btf.require(name, StructLayout.of(structure))


def pack(values: Mapping[str, Any], version: int) -> Params:
    """Put values into the kernel's form; those that are not named have their defaults.

    Raises:
        UsageError: One is unknown, out of bounds or of another type.
    """
    for name in values:
        if name not in DEFAULTS:
            raise UnknownParameterError(name, DEFAULTS)
    chosen = {**DEFAULTS, **values}
    slice_us, threshold, policy = (
        chosen.pop(name) for name in ("slice_us", "cpu_util_threshold", "scheduling_policy")
    )
    if not isinstance(slice_us, int) or not SLICE_US[0] <= slice_us <= SLICE_US[1]:
        raise OutOfBoundsError("slice_us", slice_us, f"{SLICE_US[0]} to {SLICE_US[1]} us")
    if not THRESHOLD[0] <= threshold <= THRESHOLD[1]:
        raise OutOfBoundsError("cpu_util_threshold", threshold, f"{THRESHOLD[0]} to {THRESHOLD[1]}")
    if policy not in POLICIES:
        raise UsageError(f"scheduling_policy={policy}: expected one of {', '.join(POLICIES)}")
    for name, value in chosen.items():
        if value not in (False, True):
            raise UsageError(f"{name}={value}: expected true or false")
    return Params(
        version=version,
        slice_us=slice_us,
        cpu_util_threshold=int(threshold * ONE),
        scheduling_policy=POLICIES.index(policy),
        **{name: int(value) for name, value in chosen.items()},
    )


def unpack(params: Params) -> dict[str, bool | int | float | str]:
    """Return values in the units of the command line, by name."""
    policy = params.scheduling_policy
    return {
        **{name: bool(getattr(params, name)) for name in SWITCHES},
        "slice_us": params.slice_us,
        "cpu_util_threshold": round(params.cpu_util_threshold / ONE, 3),
        "scheduling_policy": POLICIES[policy] if policy < len(POLICIES) else str(policy),
    }


def changed(now: Params, values: Mapping[str, Any]) -> Params:
    """Return the next version of some parameters; what is not named stays to the last bit, unrounded.

    Raises:
        UsageError: A value is unknown, out of bounds or of another type.
    """
    params = pack({**unpack(now), **values}, now.version + 1)
    for name in DEFAULTS:
        if name not in values:
            setattr(params, name, getattr(now, name))
    return params


def speed_of(cpu: int, read: Callable[[str], str | None]) -> int:
    """Return a CPU's speed, in whichever measure the kernel has one; 0: in none.

    Args:
        cpu: Its number.
        read: Gives the text of a file of its machine; None or nothing where there is none.
    """
    for name in ("cpu_capacity", "acpi_cppc/highest_perf", "cpufreq/cpuinfo_max_freq"):
        text = (read(f"/sys/devices/system/cpu/cpu{cpu}/{name}") or "").strip()
        if text.isdecimal():
            return int(text)
    return 0


def fast_cpus(speeds: Mapping[int, int]) -> dict[int, bool]:
    """Say which CPUs are fast: those in the upper half of the speeds; empty where all are equal."""
    least, most = min(speeds.values()), max(speeds.values())
    return {cpu: 2 * speed > least + most for cpu, speed in speeds.items()} if least < most else {}


def gpu_devices(text: str) -> dict[int, int]:
    """Return the major numbers of GPUs' devices, each with the least minor one that counts.

    Args:
        text: Of /proc/devices.
    """
    found: dict[int, int] = {}
    for line in text.partition("Block devices:")[0].split("\n"):
        number, _, name = line.strip().partition(" ")
        if number.isdecimal() and name in GPU_DRIVERS:
            found[int(number)] = GPU_DRIVERS[name]
    return found


def ineffective(
    values: Mapping[str, Any], *, nr_cpus: int, is_asymmetric: bool, tick_us: float = 0.0
) -> dict[str, str]:
    """Say which parameters do nothing: name -> why.

    Args:
        values: What is set.
        nr_cpus: Of the machine, online.
        is_asymmetric: Whether some CPUs are faster than others.
        tick_us: Time between two of its ticks; 0: not known.
    """
    found = {}
    if nr_cpus == 1:
        found = dict.fromkeys(PLACING, "there is one CPU: no task is placed when it wakes")
    if not is_asymmetric:
        found["aggressive_gpu_tasks"] = "all CPUs are equally fast, unless fast_cpus says otherwise"
    slice_us = values.get("slice_us", DEFAULTS["slice_us"])
    if slice_us < tick_us and not values.get("timer_kick"):
        found["slice_us"] = f"slices end at ticks of {tick_us:.0f} us, unless timer_kick ends them"
    return found


class RunningTuna:
    """The scx_tuna that is loaded; close it, or use it as a context manager.

    Raises:
        UnavailableError: None is, or a privilege is missing.
    """

    def __init__(self) -> None:
        try:
            self._maps = LoadedMaps(_MAPS)
        except NotLoadedError:
            raise NotLoadedError(
                "scx_tuna is not loaded here", hint="start it: schedtuna schedulers start scx_tuna"
            ) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of its maps; it stays in charge."""
        self._maps.close()

    def params(self) -> Params:
        """What was set last."""
        return self._params(_ASKED)

    def set(self, values: Mapping[str, Any]) -> int:
        """Set these values, keep the others; returns their version. When this returns, they are in force.

        Raises:
            UsageError: One is out of bounds: nothing was changed.
            OSError: The kernel's errno.
        """
        params = changed(self.params(), values)
        self.set_raw(params)
        return int(params.version)

    def set_raw(self, params: Params) -> None:
        """Set parameters unchecked; the kernel's side keeps the former ones where it refuses these."""
        if not self.is_refused():
            self._maps.exchange("tuna_params", _ACCEPTED, bytes(self._params(_ASKED)))
        self._maps.exchange("tuna_params", _ASKED, bytes(params))

    def is_refused(self) -> bool:
        """Whether the kernel's side has refused what was set last."""
        version = self.params().version
        return any(cpu.refused and cpu.version == version for cpu in self.in_force())

    def in_force(self) -> list[InForce]:
        """What each CPU has decided under the parameters that it saw last; version 0: nothing yet."""
        size = ctypes.sizeof(InForce)
        return [InForce.from_buffer_copy(data) for data in self._maps.read_cpus("tuna_in_force", size)]

    def status(self) -> dict[str, Any]:
        """What is in force, since when, and what was decided under it; for programs.

        `since_s` are the seconds since the first CPU met what was set last; None: none has decided since.
        """
        params = self.params()
        met = [cpu for cpu in self.in_force() if cpu.version == params.version]
        first_ns = min((cpu.since_ns for cpu in met), default=None)
        return {
            "params": unpack(params),
            "version": params.version,
            "since_s": None if first_ns is None else time.monotonic() - first_ns / 1e9,
            "nr_decisions": sum(cpu.nr_decisions for cpu in met),
            "nr_cpus": len(met),
            "refused": any(cpu.refused for cpu in met),
        }

    def nr_decisions(self) -> int:
        """How many decisions were made under what was set last."""
        version = self.params().version
        return sum(cpu.nr_decisions for cpu in self.in_force() if cpu.version == version)

    def stats(self) -> dict[str, int]:
        """The counters, summed over the CPUs."""
        cpus = [
            Stats.from_buffer_copy(data) for data in self._maps.read_cpus("tuna_stats", ctypes.sizeof(Stats))
        ]
        return {name: sum(getattr(cpu, name) for cpu in cpus) for name in _names(Stats)}

    def set_fast_cpus(self, cpus: Mapping[int, bool]) -> None:
        """Say which CPUs are fast; those that are not named stay what they are."""
        for cpu, fast in cpus.items():
            self._maps.write("tuna_fast_cpus", cpu.to_bytes(4, "little"), bytes([fast]))

    def set_gpu_devices(self, devices: Mapping[int, int]) -> None:
        """Say which character devices are GPUs': see `gpu_devices`; those that are not named stay."""
        for major, least in devices.items():
            self._maps.write("tuna_gpus", major.to_bytes(4, "little"), least.to_bytes(4, "little"))

    def set_class(self, tid: int, class_: int) -> None:
        """Say what kind of task it is."""
        self._maps.write("tuna_classes", tid.to_bytes(4, "little"), class_.to_bytes(4, "little"))

    def _params(self, place: int) -> Params:
        data = self._maps.read_inner("tuna_params", place, ctypes.sizeof(Params))
        return Params.from_buffer_copy(data)
