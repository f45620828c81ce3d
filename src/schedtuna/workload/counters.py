"""Counts perf events in a command and all that it starts; joules, for the whole machine.

OVERHEAD: counters are saved and restored at every context switch of the command's tasks, which a
command that does little else feels; so only those are opened that a metric asks for. As root they
count user and kernel space, otherwise (perf_event_paranoid 2) user space only.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schedtuna.errors import UnavailableError
from schedtuna.kernel.perf_events import describe_errno, perf_event_open

# struct perf_event_attr, first version: type, size, config, sample_period, sample_type, read_format,
# flag bits, wakeup_events, bp_type, config1
_ATTRIBUTES = struct.Struct("=IIQQQQQIIQ")
_DISABLED, _INHERIT, _EXCLUDE_KERNEL, _EXCLUDE_HV, _ENABLE_ON_EXEC = 1 << 0, 1 << 1, 1 << 5, 1 << 6, 1 << 12
_TIMES = 1 | 2  # read_format: time enabled, time running
_READING = struct.Struct("=QQQ")
_HARDWARE, _SOFTWARE = 0, 1
_POWER_PMU = Path("/sys/bus/event_source/devices/power")


@dataclass(frozen=True)
class Event:
    """One perf event: its PMU's type and its number there (include/uapi/linux/perf_event.h)."""

    type: int
    config: int


EVENTS: dict[str, Event] = {
    "cycles": Event(_HARDWARE, 0),
    "instructions": Event(_HARDWARE, 1),
    "cache_misses": Event(_HARDWARE, 3),
    "nr_page_faults": Event(_SOFTWARE, 2),
    "nr_migrations": Event(_SOFTWARE, 4),
}
ENERGY = "energy_j"
# Counter -> the events that it is made of.
COUNTERS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in EVENTS},
    "ipc": ("cycles", "instructions"),
    ENERGY: (),
}


class Counters:
    """Open counters of one process, which start when it becomes its command.

    Args:
        pid: The process, before its exec.
        names: Keys of COUNTERS.

    Raises:
        UnavailableError: This machine or user can't count one of them.
    """

    def __init__(self, pid: int, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self._fds: dict[str, int] = {}
        self._energy: EnergyCounter | None = None
        try:
            for name in dict.fromkeys(event for counter in names for event in COUNTERS[counter]):
                self._fds[name] = _open(name, pid)
            if ENERGY in names:
                self._energy = EnergyCounter()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        """Note where the machine's energy counters stand; the others start by themselves."""
        if self._energy is not None:
            self._energy.start()

    def read(self) -> dict[str, float]:
        """Return the counters by name; one whose events never ran is left out."""
        events = {name: value for name, fd in self._fds.items() if (value := _read(fd)) is not None}
        values = {name: events[name] for name in self._names if name in events}
        if "ipc" in self._names and events.get("cycles"):
            values["ipc"] = events.get("instructions", 0.0) / events["cycles"]
        if self._energy is not None:
            values[ENERGY] = self._energy.joules()
        return values

    def close(self) -> None:
        """Close the counters."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
        if self._energy is not None:
            self._energy.close()
            self._energy = None


def _open(name: str, pid: int) -> int:
    event = EVENTS[name]
    flags = _DISABLED | _INHERIT | _ENABLE_ON_EXEC | _EXCLUDE_HV
    result = -errno.EACCES
    # The kernel's own events happen in the kernel: without it they would count 0.
    for exclude in (0, _EXCLUDE_KERNEL) if event.type == _HARDWARE else (0,):
        attributes = _pack(event, flags | exclude)
        result = perf_event_open(attributes, pid=pid, cpu=-1)
        if result not in (-errno.EACCES, -errno.EPERM):
            break
    if result < 0:
        raise _unavailable(name, -result)
    return result


def _pack(event: Event, flags: int) -> bytes:
    return _ATTRIBUTES.pack(event.type, _ATTRIBUTES.size, event.config, 0, 0, _TIMES, flags, 0, 0, 0)


def _read(fd: int) -> float | None:
    """Read a counter, scaled up where the hardware had to take turns."""
    value, enabled, running = _READING.unpack(os.read(fd, _READING.size))
    return value * enabled / running if running else None


def _unavailable(name: str, code: int) -> UnavailableError:
    if code in (errno.EACCES, errno.EPERM):
        return UnavailableError(
            f"no permission to count {name}",
            hint="run as root, or set /proc/sys/kernel/perf_event_paranoid to 1 or less",
        )
    if code in (errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV):
        return UnavailableError(
            f"this machine has no counter for {name}",
            hint="virtual machines often have none; `schedtuna doctor` shows what there is",
        )
    return UnavailableError(f"can't count {name}: {describe_errno(code)}")


class EnergyCounter:
    """Joules that the CPU packages used, from the power PMU (RAPL), other programs included.

    Raises:
        UnavailableError: The machine has no such counters, or this user may not read them.
    """

    def __init__(self, pmu: Path = _POWER_PMU) -> None:
        event, cpus, self._joules_per_count = read_power_pmu(pmu)
        self._fds: list[int] = []
        self._before = 0
        for cpu in cpus:
            result = perf_event_open(_pack(event, 0), pid=-1, cpu=cpu)
            if result < 0:
                self.close()
                raise _unavailable(ENERGY, -result)
            self._fds.append(result)

    def _count(self) -> int:
        return sum(int(_READING.unpack(os.read(fd, _READING.size))[0]) for fd in self._fds)

    def start(self) -> None:
        """Count from now."""
        self._before = self._count()

    def joules(self) -> float:
        """Joules since the start."""
        return (self._count() - self._before) * self._joules_per_count

    def close(self) -> None:
        """Close the counters."""
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()


def read_power_pmu(pmu: Path) -> tuple[Event, list[int], float]:
    """Return the event of package energy, one CPU per package, and joules per count.

    Raises:
        UnavailableError: There is no such PMU or event.
    """
    try:
        kind = int((pmu / "type").read_text())
        config = (pmu / "events/energy-pkg").read_text().strip()  # "event=0x02"
        scale = float((pmu / "events/energy-pkg.scale").read_text())
        cpus = [int(cpu) for cpu in (pmu / "cpumask").read_text().split(",")]
        number = int(config.removeprefix("event="), 16)
    except (OSError, ValueError):
        raise _unavailable(ENERGY, errno.ENOENT) from None
    return Event(kind, number), cpus, scale
