"""What became of a run? One classification for every place, so that a trial means the same in each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from schedtuna.backend.base import Trial, Validity
from schedtuna.backend.inforce import undone
from schedtuna.errors import MetricError, NothingMeasuredError, SchedtunaError, UnclearNumberError
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.trace.aggregates.metrics import SCHED_PREFIX
from schedtuna.workload.command import RawRun
from schedtuna.workload.covariates import invalid_reason
from schedtuna.workload.metrics import Measured, measure
from schedtuna.workload.spec import MetricSpec, Workload


class RunError(SchedtunaError):
    """A run came to nothing by what it ran, or under: a failed trial, and no reason to end.

    Args:
        reason: Why, for people.
        log: What a scheduler's program printed.
        ran: What is known of a run whose machine died once its command had ended.
        is_timeout: Whether its time was up.
    """

    def __init__(
        self, reason: str, log: str = "", *, ran: Ran | None = None, is_timeout: bool = False
    ) -> None:
        super().__init__(reason)
        self.is_timeout = is_timeout
        self.log = log
        self.ran = ran


@dataclass(frozen=True)
class Ran:
    """A run that came to its end, before anything is read from it.

    Attributes:
        raw: What the command did.
        ejected: Why the scheduler was not in charge all the time; empty if it was.
        log: What the scheduler's program printed, where it was ejected.
        covariates: What the machine did meanwhile.
    """

    raw: RawRun
    ejected: str = ""
    log: str = ""
    covariates: Mapping[str, float] = field(default_factory=dict)


class TrialReader:
    """What is read from every run of a backend, and whether any run ever gave it.

    Args:
        metrics: What is read, besides what is always read.
        required: Names of more metrics that every run must have, such as those of requirements.
        limits: Covariates above which a run counts as failed: see `workload.covariates`.
    """

    def __init__(
        self,
        metrics: Sequence[MetricSpec] = (),
        required: Sequence[str] = (),
        limits: Mapping[str, float] | None = None,
    ) -> None:
        self.metrics = tuple(metrics)
        self.required = tuple(required)
        self.limits = dict(limits or {})
        self.has_measured = False  # whether any run ever gave all its metrics

    @property
    def reads_sched(self) -> bool:
        """Whether a metric comes from the scheduler itself."""
        names = {spec.name for spec in self.metrics if spec.source.kind == "auto"} | set(self.required)
        return any(name.startswith(SCHED_PREFIX) for name in names)

    def trial_of(
        self, make: Callable[[], Ran], workload: Workload, scheduler: SchedulerConfig, *, seed: int
    ) -> Trial:
        """Make a run and say what became of it.

        Args:
            make: Makes the run; raises `RunError` where that came to nothing.
            workload: What runs.
            scheduler: Under what.
            seed: The workload's.

        Raises:
            MetricError: What was asked can't be read, though the run is not to blame for that.
        """
        started_at, clock = time.time(), time.monotonic()
        ran, found, tail = None, Measured(), ""
        try:
            ran = make()
            validity, reason = judge(ran.raw, ran.ejected)
            if validity is Validity.OK:
                found = measure(workload, self.metrics, ran.raw, required=self.required)
                self.has_measured = True
                reason = undone(ran.raw.in_force, scheduler.values, workload)
                reason = reason or invalid_reason(ran.covariates, self.limits)
                validity = Validity.FAILED if reason else Validity.OK
            if validity is not Validity.OK:
                tail = ran.log or ran.raw.tail()
        except MetricError as error:
            if not is_runs_fault(error, measured=self.has_measured, changed=bool(scheduler.values)):
                raise
            validity, reason = Validity.FAILED, str(error.__cause__ or error)  # without the output
            tail = ran.raw.tail() if ran else ""
        except RunError as error:
            validity = Validity.TIMEOUT if error.is_timeout else Validity.FAILED
            reason, ran = str(error), error.ran
            tail = error.log or (ran.raw.tail() if ran else "")
        return Trial(
            scheduler=scheduler.name,
            values=scheduler.values,
            seed=seed,
            validity=validity,
            reason=reason,
            metrics=found.metrics,
            parts=found.parts,
            units=found.units,
            covariates=dict(ran.covariates) if ran else {},
            started_at=started_at,
            duration_s=time.monotonic() - clock,
            exit_code=ran.raw.exit_code if ran else None,
            nr_leftovers=ran.raw.nr_leftovers if ran else 0,
            output_tail=tail,
            in_force=ran.raw.in_force if ran else {},
            clients=ran.raw.clients if ran else (),
        )


def judge(raw: RawRun, ejected: str) -> tuple[Validity, str]:
    """Say whether a run counts: one whose scheduler was ejected never does, however it ended."""
    if ejected:
        return Validity.EJECTED, f"the scheduler was ejected: {ejected}"
    if raw.timed_out:
        return Validity.TIMEOUT, raw.failure
    return (Validity.FAILED if raw.failure else Validity.OK), raw.failure


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
