"""Which CPUs there are, and what they share: cores, caches, sockets, memory nodes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from schedtuna.errors import UsageError
from schedtuna.machine.cpu_lists import parse_cpu_list

_ONLINE = Path("/sys/devices/system/cpu/online")


class Cpu(BaseModel):
    """One online CPU.

    Attributes:
        cpu: Its number in the kernel.
        core: Index of its core: 0 for the core of the lowest CPU, and so on over the machine.
        socket: The kernel's physical_package_id.
        numa_node: Its memory node.
        llc: Index of its last-level cache, counted like `core`.
        siblings: The online CPUs of its core, itself included.
        capacity: The kernel's cpu_capacity (the largest CPU has 1024); None where it has none.
        core_type: `core` or `atom` on hybrid x86; empty elsewhere.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpu: int
    core: int
    socket: int
    numa_node: int
    llc: int
    siblings: tuple[int, ...]
    capacity: int | None = None
    core_type: str = ""


class Topology(BaseModel):
    """The online CPUs in order of their numbers.

    Attributes:
        cpus: One entry per online CPU.
        offline: CPUs that are present but offline.
        caches_known: False where the machine tells nothing of its caches; each socket then counts
            as one last-level cache.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: tuple[Cpu, ...]
    offline: tuple[int, ...] = ()
    caches_known: bool = True

    @property
    def online(self) -> tuple[int, ...]:
        """The numbers of the online CPUs."""
        return tuple(cpu.cpu for cpu in self.cpus)

    @property
    def cores(self) -> tuple[tuple[int, ...], ...]:
        """The CPUs of each core."""
        return self._groups(lambda cpu: cpu.core)

    @property
    def llcs(self) -> tuple[tuple[int, ...], ...]:
        """The CPUs of each last-level cache."""
        return self._groups(lambda cpu: cpu.llc)

    @property
    def numa_nodes(self) -> tuple[tuple[int, ...], ...]:
        """The CPUs of each memory node that has any."""
        return self._groups(lambda cpu: cpu.numa_node)

    @property
    def sockets(self) -> tuple[tuple[int, ...], ...]:
        """The CPUs of each socket."""
        return self._groups(lambda cpu: cpu.socket)

    @property
    def smt(self) -> bool:
        """Whether any core runs several CPUs at once."""
        return len(self.cores) < len(self.cpus)

    @property
    def asymmetric(self) -> bool:
        """Whether some CPUs are of a faster kind than others (big.LITTLE, hybrid)."""
        return len({(cpu.capacity, cpu.core_type) for cpu in self.cpus}) > 1

    def one_per_core(self) -> tuple[int, ...]:
        """The lowest CPU of each core."""
        return tuple(core[0] for core in self.cores)

    def summary(self) -> str:
        """One line for people: ``8 CPUs on 4 cores, 2 last-level caches, 1 socket, 1 node``."""

        def counted(number: int, noun: str) -> str:
            return f"{number} {noun}{'' if number == 1 else 's'}"

        parts = [
            f"{counted(len(self.cpus), 'CPU')} on {counted(len(self.cores), 'core')}",
            counted(len(self.llcs), "last-level cache"),
            counted(len(self.sockets), "socket"),
            counted(len(self.numa_nodes), "memory node"),
        ]
        return ", ".join(parts)

    def _groups(self, key: Callable[[Cpu], int]) -> tuple[tuple[int, ...], ...]:
        members: dict[int, list[int]] = {}
        for cpu in self.cpus:
            members.setdefault(key(cpu), []).append(cpu.cpu)
        return tuple(tuple(group) for _, group in sorted(members.items()))


def read_topology(sysfs: Path = Path("/sys")) -> Topology:
    """Read the topology; what the machine does not tell is filled with the plainest guess.

    Without cache information a socket is one last-level cache; without core information every CPU
    is its own core; without nodes there is one.
    """
    cpu_dir = sysfs / "devices/system/cpu"
    present = _present(cpu_dir)
    online = tuple(cpu for cpu in present if _text(cpu_dir / f"cpu{cpu}/online") != "0")
    listed = _cpus(cpu_dir / "online")
    if listed:
        online = listed
    online = online or tuple(range(os.cpu_count() or 1))

    nodes = {
        cpu: int(folder.name[4:])
        for folder in _glob(sysfs / "devices/system/node", "node[0-9]*")
        for cpu in _cpus(folder / "cpulist")
    }
    types = {cpu: kind for kind in ("core", "atom") for cpu in _cpus(sysfs / f"devices/cpu_{kind}" / "cpus")}
    sockets = {cpu: max(0, _int(cpu_dir / f"cpu{cpu}/topology/physical_package_id") or 0) for cpu in online}
    known = frozenset(online)
    siblings = {cpu: _siblings(cpu_dir / f"cpu{cpu}/topology", cpu, known) for cpu in online}
    caches = {cpu: _last_level_cache(cpu_dir / f"cpu{cpu}/cache", cpu, known) for cpu in online}
    sharing = {
        cpu: caches[cpu] or tuple(c for c in online if sockets[c] == sockets[cpu] and not caches[c])
        for cpu in online
    }
    cores, llcs = _indices(siblings), _indices(sharing)
    return Topology(
        cpus=tuple(
            Cpu(
                cpu=cpu,
                core=cores[cpu],
                socket=sockets[cpu],
                numa_node=nodes.get(cpu, 0),
                llc=llcs[cpu],
                siblings=siblings[cpu],
                capacity=_int(cpu_dir / f"cpu{cpu}/cpu_capacity"),
                core_type=types.get(cpu, ""),
            )
            for cpu in online
        ),
        offline=tuple(cpu for cpu in present if cpu not in known),
        caches_known=all(caches.values()),
    )


def topology_now() -> Topology:
    """Return this machine's topology; it is read anew only where other CPUs are online than the last time."""
    return _topology_with(_text(_ONLINE))


@lru_cache(maxsize=1)
def _topology_with(_online: str | None) -> Topology:
    return read_topology()


def _present(cpu_dir: Path) -> tuple[int, ...]:
    listed = _cpus(cpu_dir / "present")
    return listed or tuple(sorted(int(folder.name[3:]) for folder in _glob(cpu_dir, "cpu[0-9]*")))


def _siblings(topology: Path, cpu: int, online: frozenset[int]) -> tuple[int, ...]:
    # core_id is unique only within a socket or cluster; the list of siblings is what it says.
    listed = _cpus(topology / "core_cpus_list") or _cpus(topology / "thread_siblings_list")
    return tuple(sorted({c for c in listed if c in online} | {cpu}))


def _last_level_cache(cache: Path, cpu: int, online: frozenset[int]) -> tuple[int, ...]:
    """The online CPUs that share the highest level of data cache; empty where nothing is told."""
    level, sharing = 0, ()  # type: int, tuple[int, ...]
    for index in _glob(cache, "index[0-9]*"):
        found = _int(index / "level") or 0
        if found > level and _text(index / "type") != "Instruction":
            shared = tuple(c for c in _cpus(index / "shared_cpu_list") if c in online)
            if cpu in shared:
                level, sharing = found, shared
    return sharing


def _indices(groups: dict[int, tuple[int, ...]]) -> dict[int, int]:
    """Number the groups by their lowest member."""
    order = {first: index for index, first in enumerate(sorted({min(group) for group in groups.values()}))}
    return {cpu: order[min(group)] for cpu, group in groups.items()}


def _text(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _int(path: Path) -> int | None:
    try:
        return int(_text(path) or "")
    except ValueError:
        return None


def _cpus(path: Path) -> tuple[int, ...]:
    try:
        return parse_cpu_list(_text(path) or "")
    except UsageError:
        return ()


def _glob(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(path for path in folder.glob(pattern) if re.fullmatch(r"[a-z]+\d+", path.name))
    except OSError:
        return []
