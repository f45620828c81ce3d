"""What is a scheduler tried against? Kernels, layouts of CPUs and adversaries, each with each."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from schedtuna.errors import ConfigFileError, UsageError, nearest
from schedtuna.files.versions import StoredFormat
from schedtuna.lab.deterministic.snapshot import MOST_CPUS
from schedtuna.lab.guest.adversaries import ADVERSARIES
from schedtuna.lab.shape import GuestShape

STORED = StoredFormat(ConfigFileError, key="format_version")
TOPOLOGIES = ("1x1x1", "2x1x1", "1x2x2", "2x2x1:numa")  # one CPU; two caches; SMT; two nodes
QUICK_TOPOLOGIES = ("2x1x1",)
SECONDS, QUICK_SECONDS = 10.0, 3.0
SHIFT = 3  # an instruction takes 8 ns: a slow machine, whose seconds are soon emulated


class VetCase(BaseModel):
    """One guest, and one adversary in it.

    Attributes:
        kernel: Its full version.
        topology: How its CPUs are laid out.
        adversary: Of `lab.guest.adversaries`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kernel: str
    topology: str
    adversary: str

    @property
    def nr_cpus(self) -> int:
        """Of the guest."""
        return GuestShape.parse(self.topology).nr_cpus

    @property
    def name(self) -> str:
        """What its file is called."""
        return f"{self.kernel}_{self.topology.replace(':', '-')}_{self.adversary}"

    @property
    def label(self) -> str:
        """What people call it."""
        return f"{self.adversary} on {self.topology}, {self.kernel}"

    @property
    def impossible(self) -> str:
        """Why it can't be tried; empty: it can."""
        fewest = ADVERSARIES[self.adversary][1]
        return f"it needs {fewest} CPUs" if self.nr_cpus < fewest else ""


class VetPlan(BaseModel):
    """What is tried; one that goes on has the same.

    Attributes:
        format_version: Of this format.
        scheduler: What is tried, as `compare` reads it.
        program: What loads it, and a hash over that.
        cases: All of them.
        seconds: Of each case, on the guest's clock.
        seed: Of each case.
        is_quick: Whether little is tried on purpose.
        qemu: Version of what runs the guests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = STORED.newest
    scheduler: str
    program: str
    cases: tuple[VetCase, ...]
    seconds: float
    seed: int
    is_quick: bool
    qemu: str


def planned_cases(
    kernels: Sequence[str], topologies: Sequence[str], adversaries: Sequence[str]
) -> tuple[VetCase, ...]:
    """Return each with each: the cases of one guest after another.

    Args:
        kernels: Full versions.
        topologies: As `lab.shape` reads them.
        adversaries: Names; empty: all.

    Raises:
        UsageError: There is no such adversary, or no deterministic guest of so many CPUs.
    """
    for name in adversaries:
        if name not in ADVERSARIES:
            raise UsageError(f"no adversary {name!r}: {nearest(name, ADVERSARIES)}")
    shapes = [GuestShape.parse(text) for text in topologies]
    for shape in shapes:
        if shape.nr_cpus > MOST_CPUS:
            raise UsageError(
                f"topology {shape} has {shape.nr_cpus} CPUs: what can be replayed has at most {MOST_CPUS}"
            )
    return tuple(
        VetCase(kernel=kernel, topology=str(shape), adversary=adversary)
        for kernel in dict.fromkeys(kernels)
        for shape in dict.fromkeys(shapes)
        for adversary in dict.fromkeys(adversaries or ADVERSARIES)
    )
