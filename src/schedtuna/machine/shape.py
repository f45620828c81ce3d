"""How are CPUs laid out that are made to order, simulated or virtual: LLCSxCORESxTHREADS?"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, Self

from schedtuna.errors import UsageError

_TEXT = re.compile(r"([0-9]{1,4})x([0-9]{1,4})x([0-9]{1,4})")


@dataclass(frozen=True)
class CpuShape:
    """CPUs, which are numbered thread by thread, core by core, cache by cache.

    Subclasses say what kind of machine has them.

    Attributes:
        nr_llcs: Last-level caches.
        cores_per_llc: Cores that share one.
        threads_per_core: 1, or 2 (SMT).
    """

    KIND: ClassVar[str] = "a machine"
    FORM: ClassVar[str] = "LLCSxCORESxTHREADS"
    DEFAULT_CPUS: ClassVar[int] = 1
    MOST_CPUS: ClassVar[int] = 1024

    nr_llcs: int
    cores_per_llc: int
    threads_per_core: int = 1

    def __post_init__(self) -> None:
        if not (self.nr_llcs > 0 < self.cores_per_llc and self.threads_per_core in {1, 2}):
            raise UsageError(
                f"topology {self}: expected at least one cache and core, and 1 or 2 threads of a core"
            )
        if self.nr_cpus > self.MOST_CPUS:
            raise UsageError(
                f"topology {self}: that is {self.nr_cpus:,} CPUs, expected at most {self.MOST_CPUS:,}"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read LLCSxCORESxTHREADS: ``2x4x1`` is two caches of four cores of one thread.

        Raises:
            UsageError: It is not of that form, or no machine.
        """
        numbers = _TEXT.fullmatch(text)
        if numbers is None:
            raise UsageError(f"topology {text!r}: expected {cls.FORM}", hint="2x4x1 is 8 CPUs, 2 caches")
        return cls(*map(int, numbers.groups()))

    @classmethod
    def of(cls, cpus: int | None, topology: Self | str | None) -> Self:
        """Return what a number of CPUs, or a topology, or both mean.

        Raises:
            UsageError: They contradict each other, or are no machine.
        """
        if topology is None:
            nr_cpus = cls.DEFAULT_CPUS if cpus is None else cpus
            if not 1 <= nr_cpus <= cls.MOST_CPUS:
                raise UsageError(f"{nr_cpus:,} CPUs: {cls.KIND} has 1 to {cls.MOST_CPUS:,}")
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
