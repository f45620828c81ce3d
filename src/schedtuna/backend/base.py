"""The contract of every backend: run this workload under this scheduler, return a Trial."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from schedtuna.errors import MetricError, NothingMeasuredError, UnclearNumberError
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterValue
from schedtuna.workload.spec import Workload


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
            `knobs.inforce.Finding`. Empty where nothing was set, or in an old log.
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


def is_runs_fault(error: MetricError, *, measured: bool, changed: bool) -> bool:
    """Whether a metric that can't be read fails the run, or is a mistake in what was asked.

    Args:
        error: Why it can't be read.
        measured: Whether any run ever gave all its metrics.
        changed: Whether the run was under settings other than the default's.
    """
    if isinstance(error, NothingMeasuredError):
        return True
    return not isinstance(error, UnclearNumberError) and (measured or changed)


class Backend(Protocol):
    """Where a workload runs.

    A backend raises only where no further trial could work (a privilege vanished, the machine is
    gone, somebody else turns its knobs); whatever goes wrong inside one run is a Trial that is not `ok`.
    """

    name: str

    def run(self, workload: Workload, scheduler: SchedulerConfig, *, seed: int) -> Trial:
        """Run the workload once under the scheduler."""
        ...
