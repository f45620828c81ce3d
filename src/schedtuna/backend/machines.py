"""Several machines that run workloads, as one backend; who makes blocks gives each whole to one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schedtuna.backend.base import Trial
from schedtuna.backend.remote import RemoteBackend
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import Workload


class MachinesBackend:
    """Several machines.

    Args:
        machines: Each by its name in the log; they are alike.
        identity: What they have in common.

    Attributes:
        machines: As given.
        lost: What to know of those that were lost meanwhile.
    """

    name = "machines"

    def __init__(self, machines: Mapping[str, RemoteBackend], identity: Mapping[str, str]) -> None:
        self.machines = dict(machines)
        self.identity = dict(identity)
        self.lost: list[str] = []

    @property
    def warnings(self) -> Sequence[str]:
        """What to know before the first run, and what came up meanwhile."""
        each = (text for backend in self.machines.values() for text in backend.warnings)
        return [*dict.fromkeys(each), *self.lost]

    def run(self, workload: Workload, scheduler: SchedulerConfig, *, seed: int, nth: int = 0) -> Trial:
        """Run the workload once on the first machine: single runs are held against each other."""
        first = next(iter(self.machines.values()))
        return first.run(workload, scheduler, seed=seed, nth=nth)
