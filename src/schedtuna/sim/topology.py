"""How is a simulated machine laid out: last-level caches, cores, threads?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from schedtuna.machine.shape import CpuShape
from schedtuna.sim.native import Topology


@dataclass(frozen=True)
class MachineShape(CpuShape):
    """CPUs of a simulated machine, where a thread takes no speed from its sibling."""

    KIND: ClassVar[str] = "a simulated machine"
    DEFAULT_CPUS: ClassVar[int] = 8

    def native(self) -> Topology:
        """Return it as the native module takes it."""
        cpus_per_llc = self.cores_per_llc * self.threads_per_core if self.nr_llcs > 1 else 0
        return Topology(self.nr_cpus, cpus_per_llc, self.threads_per_core)
