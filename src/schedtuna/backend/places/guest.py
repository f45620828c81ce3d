"""A guest of the lab as a place: a kernel of one's choice, which can run sched_ext schedulers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from schedtuna.backend.base import KERNELS_OWN, Backend
from schedtuna.backend.deterministic import DeterministicBackend
from schedtuna.backend.places.base import Place
from schedtuna.backend.vm import VmBackend, host_command, scheduler_program
from schedtuna.errors import UnavailableError, UsageError
from schedtuna.files import distrusted, privileged
from schedtuna.knobs.base import Scope
from schedtuna.lab.build.examples import find_examples
from schedtuna.lab.shape import GuestShape
from schedtuna.lab.store import read_lab
from schedtuna.lab.vm import GuestSpec
from schedtuna.scheduler.entry import entries
from schedtuna.scheduler.fair import NAME as FAIR
from schedtuna.scheduler.lookup import registered
from schedtuna.scheduler.objects import OURS, is_object
from schedtuna.scheduler.parse import parse_scheduler
from schedtuna.scheduler.probe import configured, installed, probe
from schedtuna.scheduler.registry import is_own, names
from schedtuna.scheduler.settable import POLICY, for_search
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.scheduler.tuna import ineffective
from schedtuna.workload.command import check
from schedtuna.workload.spec import RunSpec, Workload
from schedtuna.workload.suite import in_guest

CPUS = 2


class Guest(Place):
    """A virtual machine of the lab.

    Attributes:
        kernel: Version; None for the lab's default.
        cpus: Virtual CPUs.
        topology: How they are laid out, as `lab.shape` reads it; None: cores of one cache.
        memory_mib: Memory in MiB; None for what is usual.
        programs: Programs of this machine that it has, besides those that a run names.
        deterministic: Whether its clock counts instructions, so that equal seeds give equal bits.
    """

    kind: Literal["vm"] = "vm"
    kernel: str | None = None
    cpus: int = Field(default=CPUS, ge=1, le=64)
    topology: str | None = None
    memory_mib: int | None = None
    programs: tuple[Path, ...] = ()
    deterministic: bool = False

    @classmethod
    def of(
        cls,
        scope: Scope | None = None,
        cpus: int | None = None,
        topology: str | None = None,
        **options: Any,
    ) -> Self:
        """Return the guest that options name; a command alone runs in one.

        Raises:
            UsageError: What is tuned is not the command, or there can't be such CPUs.
        """
        if scope not in (None, Scope.TREE):
            raise UsageError(f"--backend vm runs the command alone, not scope {scope}")
        shape = GuestShape.of(cpus, topology)
        return super().of(cpus=shape.nr_cpus, topology=topology and str(shape), **options)

    def exact(self) -> Self:
        """Return the guest with its kernel's full version."""
        return self.model_copy(update={"kernel": read_lab().kernel(self.kernel).version})

    @property
    def label(self) -> str:
        """Its kernel, as it was named."""
        return self.kernel or "the lab's kernel"

    @property
    def caveat(self) -> str:
        """Its times are its own."""
        return "in a guest of the lab, whose times are not those of a real machine"

    @property
    def is_exact(self) -> bool:
        """Whether its clock counts instructions."""
        return self.deterministic

    def nr_cpus(self) -> int:
        """Return its virtual CPUs."""
        return self.cpus

    def named(self, host: str) -> str:
        """Its kernel is told elsewhere."""
        return f"a guest on {host}"

    def options(self) -> tuple[str, ...]:
        """Return the command-line options that name it."""
        kernel = () if self.kernel is None else ("--kernel", self.kernel)
        cpus = () if self.cpus == CPUS or self.topology else ("--cpus", str(self.cpus))
        topology = () if self.topology is None else ("--topology", self.topology)
        return (*super().options(), *kernel, *cpus, *topology)

    def identity(self, workload: Workload) -> dict[str, str]:
        """The program that runs: the guest's own, or this machine's."""
        workload = in_guest(workload)
        found = os.path.realpath(check(workload))
        own = not workload.shell and host_command(workload) is None
        return {"program": f"the guest's {workload.argv[0]}" if own else found, "target": "tree"}

    def scheduler(self, text: str, *, stated: bool = False) -> SchedulerConfig:
        """Return the scheduler that a text means, with the parameters that the installed program has.

        Args:
            text: See `scheduler.parse`.
            stated: Whether values that are the default's stay in it, too.
        """
        found = parse_scheduler(text, _named, stated=stated)
        if POLICY in found.values:
            raise UnavailableError(
                f"the policy file of {found.name} is not taken into a guest", hint="run it on this machine"
            )
        return found

    def tunable(
        self, text: str, include: Sequence[str] = (), *, defined: SchedulerConfig | None = None
    ) -> SchedulerConfig:
        """Return a scheduler with what can be tuned of it in a guest."""
        if include:
            raise UsageError("--include names knobs of this machine: it needs --backend host")
        found = for_search(self.scheduler(text))
        if is_object(found.binary_path) and found.name not in names():
            found = found.with_parameters({})  # nobody has said within which bounds they make sense
        idle = self._ineffective(found)
        found = found.with_parameters({n: s for n, s in found.parameters.items() if n not in idle})
        if defined is not None:
            mine = {"parameters": defined.parameters, "constraints": defined.constraints}
            return found.model_copy(update=mine)
        if not found.parameters:
            there = ", ".join(sorted(installed()))
            raise UnavailableError(
                f"nothing of {found.name} can be tuned in a guest: it runs there as it is",
                hint=f"tune a sched_ext scheduler (--scheduler; installed: {there or 'none'}; an object: a "
                f"file that defines it, from `schedtuna schedulers probe OBJECT -o FILE`), "
                f"or {FAIR} on this machine (--backend host)",
            )
        return found

    def _ineffective(self, scheduler: SchedulerConfig) -> dict[str, str]:
        """Which parameters do nothing in such a guest, whose CPUs are equally fast: name -> why."""
        if scheduler.name not in OURS or not is_object(scheduler.binary_path):
            return {}
        return ineffective({}, nr_cpus=self.cpus, is_asymmetric=False)

    def left_out(self, text: str) -> list[str]:
        """Say what a search leaves out of scx_tuna there, because it would do nothing: a line each."""
        idle = self._ineffective(self.scheduler(text)).items()
        return [f"{name} is left out: {reason}" for name, reason in idle]

    def open(
        self,
        spec: RunSpec,
        schedulers: Sequence[SchedulerConfig] = (),  # noqa: ARG002 - a guest is nobody else's
        turned: Iterable[str] = (),  # noqa: ARG002
    ) -> AbstractContextManager[Backend]:
        """Return a backend whose guests boot with the first run, and are gone with the last."""
        kind = DeterministicBackend if self.deterministic else VmBackend
        memory_mib = self.memory_mib or (512 if self.deterministic else GuestSpec.memory_mib)
        machine = GuestSpec(self.kernel, self.cpus, memory_mib, self.programs, topology=self.topology)
        return kind(machine, metrics=spec.metrics, required=spec.required, limits=spec.limits)


def _named(name: str) -> SchedulerConfig:
    if name in KERNELS_OWN:
        return SchedulerConfig(name=name, description="the guest kernel's own scheduler")
    path = None if is_own(name) else installed().get(name)
    # Here it is only asked; one that others can change is run in the guest, without having been asked.
    if path is not None and not (privileged() and distrusted(path.resolve())):
        return configured(probe(path), entries().get(name))
    scheduler = registered(name)
    if path is None and any(name in find_examples(kernel) for kernel in read_lab().kernels.values()):
        return scheduler  # built for the kernel that the run will name; it has no --help on others
    return scheduler.model_copy(update={"binary_path": scheduler_program(scheduler)})
