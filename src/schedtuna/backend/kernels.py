"""Runs workloads on several kernels of the lab, so that kernels can be compared as schedulers are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from schedtuna.backend.base import Trial
from schedtuna.backend.vm import GuestChoice, VmBackend
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import Workload


class KernelsBackend:
    """A guest per kernel; each scheduler says on which it runs (`SchedulerConfig.kernel`).

    A context manager: leaving it powers the guests off.

    Args:
        backends: By kernel's version.

    Attributes:
        identity: What the runs' numbers depend on, besides command, scheduler and kernel.
        warnings: What to know before the first run.
    """

    name = "vm"

    def __init__(self, backends: Mapping[str, VmBackend]) -> None:
        self._backends = dict(backends)
        self._guests = ExitStack()
        self.identity = "; ".join(backend.identity for backend in self._backends.values())
        self.warnings = [f"runs are made in guests ({self.identity}): their times are not this machine's"]

    def __enter__(self) -> Self:
        for backend in self._backends.values():
            self._guests.enter_context(backend)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guests.close()

    def run(self, workload: Workload, scheduler: SchedulerConfig, *, seed: int) -> Trial:
        """Run the workload once under the scheduler, on its kernel: see `VmBackend.run`."""
        return self._backends[str(scheduler.kernel)].run(workload, scheduler, seed=seed)


def guests(choice: GuestChoice, make: Callable[[GuestChoice], VmBackend]) -> VmBackend | KernelsBackend:
    """Return the backend for a choice: one guest, or one per kernel."""
    if not choice.kernels:
        return make(choice)
    return KernelsBackend({kernel: make(GuestChoice(kernel, choice.cpus)) for kernel in choice.kernels})
