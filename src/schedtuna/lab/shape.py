"""How are a guest's CPUs laid out, and how is QEMU told?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

from schedtuna.errors import UsageError
from schedtuna.machine.shape import CpuShape

NUMA = "numa"
_NODES = 2


@dataclass(frozen=True)
class GuestShape(CpuShape):
    """CPUs of a guest. A last-level cache is a socket's: that is what its kernel goes by.

    Attributes:
        numa: Whether there are two memory nodes, with half of the caches and of the memory each.
    """

    KIND: ClassVar[str] = "a guest"
    FORM: ClassVar[str] = f"LLCSxCORESxTHREADS, the same with :{NUMA}, or {NUMA}"
    DEFAULT_CPUS: ClassVar[int] = 2
    MOST_CPUS: ClassVar[int] = 64

    numa: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.numa and self.nr_llcs % _NODES:
            raise UsageError(f"topology {self}: two memory nodes need an even number of caches")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a topology: ``numa`` is ``2x2x1:numa``, two nodes of one cache with two cores each.

        Raises:
            UsageError: It is not of that form, or no guest.
        """
        if text == NUMA:
            return cls(_NODES, 2, numa=True)
        shape, colon, word = text.rpartition(":")
        return replace(super().parse(shape), numa=True) if colon and word == NUMA else super().parse(text)

    def __str__(self) -> str:
        return super().__str__() + (f":{NUMA}" if self.numa else "")

    def options(self, memory_mib: int) -> list[str]:
        """Return QEMU's options for the CPUs, and for the memory where it is on several nodes."""
        counts = {"sockets": self.nr_llcs, "cores": self.cores_per_llc, "threads": self.threads_per_core}
        laid_out = ",".join([str(self.nr_cpus), *(f"{name}={number}" for name, number in counts.items())])
        options = ["-smp", laid_out]
        if self.numa:
            each = memory_mib // _NODES
            for node, size_mib in enumerate((each, memory_mib - each)):
                options += ["-object", f"memory-backend-ram,id=node{node},size={size_mib}M"]
                options += ["-numa", f"node,nodeid={node},memdev=node{node}"]
            for llc in range(self.nr_llcs):
                node = llc * _NODES // self.nr_llcs
                options += ["-numa", f"cpu,node-id={node},socket-id={llc}"]
        return options
