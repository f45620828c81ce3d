"""The contract of every backend: run this workload under this scheduler, return a Trial."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, runtime_checkable

from pydantic import BaseModel, ConfigDict

from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterValue
from schedtuna.workload.spec import Workload

KERNELS_OWN = ("fair", "default")  # schedulers that need no program of their own


class Validity(StrEnum):
    """Whether a trial's metrics count."""

    OK = "ok"
    FAILED = "failed"
    TIMEOUT = "timeout"
    EJECTED = "ejected"


class Trial(BaseModel):
    """One run of one workload under one scheduler.

    Attributes:
        scheduler: Name of the scheduler.
        values: What differed from its defaults.
        seed: The workload's seed.
        validity: Only `ok` trials have trustworthy metrics; the others score worst, never dropped.
        reason: Why it is not ok, for people; empty otherwise.
        metrics: Every number that was read, by name (unit in the name).
        parts: Of what the run consisted (stressors, threads, tests, rows of a table); None: not known,
            as in logs of older versions.
        units: The units in which metrics were printed, where their values leave them out.
        covariates: What the machine did meanwhile (`steal_fraction`, `irq_fraction`, ...).
        started_at: Unix time in seconds.
        duration_s: Wall time of the run, set-up included.
        exit_code: Of the command; None where a signal or the timeout ended it.
        nr_leftovers: Processes that outlived the command, and were ended.
        output_tail: The last lines of output, kept where the trial is not ok.
        manifest_hash: Which manifest describes the machine it ran on.
        in_force: Of each setting, whether the tasks that did the work had it: the texts of
            `knobs.inforce.SettingFinding`. Empty where nothing was set, or in an old log.
        clients: Tasks of the command that hand their work to others, by name: see `workload.clients`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    scheduler: str
    values: dict[str, ParameterValue] = {}
    seed: int = 0
    validity: Validity = Validity.OK
    reason: str = ""
    metrics: dict[str, float] = {}
    parts: tuple[str, ...] | None = None
    units: dict[str, str] = {}
    covariates: dict[str, float] = {}
    started_at: float = 0.0
    duration_s: float = 0.0
    exit_code: int | None = 0
    nr_leftovers: int = 0
    output_tail: str = ""
    manifest_hash: str = ""
    in_force: dict[str, str] = {}
    clients: tuple[str, ...] = ()


class Backend(Protocol):
    """Where a workload runs.

    A backend raises only where no further trial could work (a privilege vanished, the machine is
    gone, somebody else turns its knobs); whatever goes wrong inside one run is a Trial that is not `ok`.

    Attributes:
        name: Of the kind of place that it is of.
    """

    name: str

    @property
    def identity(self) -> Mapping[str, str]:
        """What the runs' numbers depend on, besides command, scheduler and this machine, by name."""
        ...

    @property
    def warnings(self) -> Sequence[str]:
        """What to know before the first run."""
        ...

    def run(self, workload: Workload, scheduler: SchedulerConfig, *, seed: int, nth: int = 0) -> Trial:
        """Run the workload once under the scheduler.

        Args:
            workload: What runs.
            scheduler: Under what.
            seed: What the workload draws.
            nth: Which of the runs with this seed it is: what a simulated machine draws goes by it.
        """
        ...


@dataclass(frozen=True)
class PlannedRun:
    """A run that is to be made: what `Backend.run` takes."""

    workload: Workload
    scheduler: SchedulerConfig
    seed: int
    nth: int = 0


@runtime_checkable
class ForeseeingBackend(Protocol):
    """A backend that may make runs before they are asked for."""

    def foresee(self, runs: Iterable[PlannedRun]) -> None:
        """Take in what it will be asked for, in this order; what was foreseen before is not any more.

        Args:
            runs: Taken one by one, and no more than there is room for. It may be asked for other runs, too.
        """
        ...


def foresee(backend: Backend, runs: Iterable[PlannedRun]) -> None:
    """Tell a backend what it will be asked for, if it can make use of that."""
    if isinstance(backend, ForeseeingBackend):
        backend.foresee(runs)


@dataclass(frozen=True)
class Side:
    """A side of a comparison: a scheduler, and the backend that it is tried on.

    Attributes:
        backend: Where its runs are made.
        scheduler: What they are under.
        where: What people call that place, where the other side's is another; else empty.
        is_exact: Whether equal seeds are equal runs there, to the last bit.
        is_model: Whether what is found there has yet to be confirmed on a real machine.
    """

    backend: Backend
    scheduler: SchedulerConfig
    where: str = ""
    is_exact: bool = False
    is_model: bool = False

    def label(self) -> str:
        """The scheduler as `compare` reads it, and where it runs if that makes a difference."""
        return label(self.scheduler, self.where)

    def planned(self, workload: Workload, *, seed: int, nth: int = 0) -> PlannedRun:
        """What `run` will ask of the backend."""
        return PlannedRun(workload, self.scheduler, seed, nth)

    def run(self, workload: Workload, *, seed: int, nth: int = 0) -> Trial:
        """Run the workload once; `nth` of the runs with this seed."""
        return self.backend.run(workload, self.scheduler, seed=seed, nth=nth)


def label(scheduler: SchedulerConfig, where: str) -> str:
    """What a scheduler is called beside one at another place; `where` is empty at the same place."""
    return f"{scheduler.label()} on {where}" if where else scheduler.label()
