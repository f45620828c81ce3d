"""What the commands of `schedtuna lab` let one say of a guest: its kernel, CPUs, memory, programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from schedtuna.lab.vm import GuestSpec

MEMORY_MIB = 1024
KernelOption = Annotated[
    str | None,
    typer.Option("--kernel", metavar="VERSION", help="An installed kernel.", show_default=False),
]
CpusOption = Annotated[
    int | None,
    typer.Option("--cpus", min=1, max=64, help="Virtual CPUs. Default: 2.", show_default=False),
]
TopologyOption = Annotated[
    str | None,
    typer.Option(
        "--topology",
        metavar="LLCSxCORESxTHREADS",
        help="How the CPUs are laid out: last-level caches, cores of each, threads of a core; `numa`: two "
        "memory nodes of two cores each; `4x2x1:numa`: caches and memory on two of them.",
        show_default=False,
    ),
]
MemoryOption = Annotated[int, typer.Option("--memory", min=512, metavar="MIB", help="Memory of the guest.")]
ShareOption = Annotated[
    Path | None,
    typer.Option(
        "--share",
        metavar="DIR",
        help="Copy this folder into the guest, start in it, and copy what changed back.",
        show_default=False,
    ),
]
ProgramsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--with",
        metavar="PROGRAM",
        help="Copy this program, and the libraries that it needs, into the guest. Repeatable.",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class MachineOptions:
    """A guest's kernel, CPUs and memory."""

    kernel: KernelOption = None
    cpus: CpusOption = None
    topology: TopologyOption = None
    memory: MemoryOption = MEMORY_MIB

    def machine(self, **more: Any) -> GuestSpec:
        """Return the guest, with more of what `GuestSpec` has.

        Raises:
            UsageError: There can't be such CPUs.
        """
        from schedtuna.lab.vm import GuestSpec

        return GuestSpec.of(self.cpus, self.topology, kernel=self.kernel, memory_mib=self.memory, **more)

    def said(self) -> dict[str, object]:
        """What was said of it, by option: a guest that is up has its own."""
        own = {"kernel": self.kernel, "cpus": self.cpus, "topology": self.topology}
        return {**own, "memory": self.memory != MEMORY_MIB}


@dataclass(frozen=True)
class GuestOptions(MachineOptions):
    """A guest that one talks to."""

    share: ShareOption = None
    programs: ProgramsOption = None

    def spec(self, *lines: str) -> GuestSpec:
        """Return the guest, with a terminal and these lines beside.

        Raises:
            UsageError: A program is nowhere, or there can't be such CPUs.
        """
        programs = found(self.programs)
        return self.machine(programs=programs, share=self.share, terminal=True, lines=lines)


def found(programs: Sequence[Path] | None) -> tuple[Path, ...]:
    """Return programs by their paths, or by their names in SCHEDTUNA_SCX_PATH and PATH.

    Raises:
        UsageError: One is nowhere.
    """
    import shutil

    from schedtuna.errors import UsageError
    from schedtuna.scheduler.probe import installed

    paths = []
    for program in programs or ():
        path = str(program) if "/" in str(program) else installed().get(program.name)
        path = path or shutil.which(program.name)
        if path is None:
            raise UsageError(f"no such program: {program}", hint="give its path")
        paths.append(Path(path))
    return tuple(paths)
