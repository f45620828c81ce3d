"""How is a simulated machine laid out: last-level caches, cores, threads?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from schedtuna.errors import UsageError
from schedtuna.sim.native import Topology

DEFAULT_CPUS = 8
MOST_CPUS = 1024
_TEXT = re.compile(r"([0-9]{1,4})x([0-9]{1,4})x([0-9]{1,4})")


@dataclass(frozen=True)
class MachineShape:
    """CPUs, which are numbered thread by thread, core by core, cache by cache.

    Attributes:
        nr_llcs: Last-level caches.
        cores_per_llc: Cores that share one.
        threads_per_core: 1, or 2 (SMT: a sibling is told to schedulers, and takes no speed away).
    """

    nr_llcs: int
    cores_per_llc: int
    threads_per_core: int = 1

    def __post_init__(self) -> None:
        if not (self.nr_llcs > 0 < self.cores_per_llc and self.threads_per_core in {1, 2}):
            raise UsageError(
                f"topology {self}: expected at least one cache and core, and 1 or 2 threads of a core"
            )
        if self.nr_cpus > MOST_CPUS:
            raise UsageError(
                f"topology {self}: that is {self.nr_cpus:,} CPUs, expected at most {MOST_CPUS:,}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read LLCSxCORESxTHREADS: ``2x4x1`` is two caches of four cores of one thread.

        Raises:
            UsageError: It is not of that form, or no machine.
        """
        numbers = _TEXT.fullmatch(text)
        if numbers is None:
            raise UsageError(
                f"topology {text!r}: expected LLCSxCORESxTHREADS", hint="2x4x1 is 8 CPUs, 2 caches"
            )
        return cls(*map(int, numbers.groups()))

    @classmethod
    def of(cls, cpus: int | None, topology: Self | str | None) -> Self:
        """Return what a number of CPUs, or a topology, or both mean.

        Raises:
            UsageError: They contradict each other, or are no machine.
        """
        if topology is None:
            nr_cpus = DEFAULT_CPUS if cpus is None else cpus
            if not 1 <= nr_cpus <= MOST_CPUS:
                raise UsageError(f"{nr_cpus:,} CPUs: a simulated machine has 1 to {MOST_CPUS:,}")
            return cls(1, nr_cpus)
        shape = cls.parse(topology) if isinstance(topology, str) else topology
        if cpus is not None and cpus != shape.nr_cpus:
            raise UsageError(f"topology {shape} is {shape.nr_cpus} CPUs, and {cpus} are asked for")
        return shape

    @property
    def nr_cpus(self) -> int:
        """How many CPUs that is."""
        return self.nr_llcs * self.cores_per_llc * self.threads_per_core

    def __str__(self) -> str:
        return f"{self.nr_llcs}x{self.cores_per_llc}x{self.threads_per_core}"

    def native(self) -> Topology:
        """Return it as the native module takes it."""
        cpus_per_llc = self.cores_per_llc * self.threads_per_core if self.nr_llcs > 1 else 0
        return Topology(self.nr_cpus, cpus_per_llc, self.threads_per_core)
