"""Which running programs change scheduling on their own, and would interfere with a measurement."""

from __future__ import annotations

from dataclasses import dataclass

from schedtuna.machine.probe import Probe

_COMM_LENGTH = 15  # the kernel cuts names there (TASK_COMM_LEN)


@dataclass(frozen=True)
class Daemon:
    """A program that changes scheduling on its own.

    Attributes:
        name: Its executable's name.
        does: What it changes.
        stop: The command that silences it for a measurement.
        interferes: False where it is only worth knowing.
    """

    name: str
    does: str
    stop: str
    interferes: bool = True


DAEMONS = (
    Daemon("ananicy-cpp", "sets nice, policy and cgroups by name", "systemctl stop ananicy-cpp"),
    Daemon("ananicy", "sets nice, policy and cgroups by name", "systemctl stop ananicy"),
    Daemon(
        "system76-scheduler",
        "sets nice and autogroups by what is in front",
        "systemctl stop com.system76.Scheduler",
    ),
    Daemon(
        "gamemoded", "sets governor, nice and affinity while a game runs", "systemctl --user stop gamemoded"
    ),
    Daemon("tuned", "sets governor, sysctls and affinity by profile", "systemctl stop tuned"),
    Daemon("scx_loader", "loads and swaps sched_ext schedulers", "systemctl stop scx_loader"),
    Daemon("uresourced", "sets CPU weights of the active user's cgroups", "systemctl stop uresourced"),
    Daemon("auto-cpufreq", "sets governor and turbo by load", "systemctl stop auto-cpufreq"),
    Daemon(
        "power-profiles-daemon",
        "sets governor and turbo",
        "powerprofilesctl set performance",
        interferes=False,
    ),
    Daemon("irqbalance", "moves interrupts between CPUs", "systemctl stop irqbalance", interferes=False),
)


@dataclass(frozen=True)
class RunningDaemon:
    """One of `DAEMONS` that runs."""

    daemon: Daemon
    tgid: int


def running_daemons(probe: Probe) -> tuple[RunningDaemon, ...]:
    """Find them by the names in /proc/*/comm, in the order of their process ids."""
    by_comm = {daemon.name[:_COMM_LENGTH]: daemon for daemon in DAEMONS}
    found = []
    for tgid in sorted(int(name) for name in probe.names("proc", "[0-9]*") if name.isdecimal()):
        daemon = by_comm.get(probe.read(f"proc/{tgid}/comm") or "")
        if daemon:
            found.append(RunningDaemon(daemon, tgid))
    return tuple(found)
