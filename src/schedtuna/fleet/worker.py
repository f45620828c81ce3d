"""What runs on each worker: the place, opened there, and one run after the other.

An error is an answer like others: whoever asked decides what it means. Whether a metric that is lacking fails
a run or ends the study depends on the runs before it, which this worker has not made: both answers go back.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from schedtuna.backend.base import Backend, PlannedRun, Trial
from schedtuna.backend.places.base import Place
from schedtuna.backend.simulated import SimulatedBackend
from schedtuna.errors import MetricError, SchedtunaError
from schedtuna.fleet.sameness import Facts, facts_here
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.wire import Problem
from schedtuna.workload.spec import RunSpec


@dataclass(frozen=True)
class WorkerAnswer:
    """What came of a run.

    Attributes:
        trial: What happened; None: it ended in an error.
        problem: The error.
        if_measured: The failed trial that stands for the error, if a run before this one gave its metrics.
        warnings: What the backend has to say, as far as it was not said before.
    """

    trial: Trial | None = None
    problem: Problem | None = None
    if_measured: Trial | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Greeting:
    """What a worker says once its place is open.

    Attributes:
        node: The machine that it is on.
        facts: What its runs' numbers depend on; None: the place can't be opened there.
        problem: Why not.
    """

    node: str
    facts: Facts | None = None
    problem: Problem | None = None


class FleetWorker:
    """Makes runs at one place."""

    def __init__(self) -> None:
        self._opened = ExitStack()
        self._backend: Backend | None = None
        self._nr_told = 0

    def greet(
        self, place: Place, spec: RunSpec, schedulers: Sequence[SchedulerConfig], turned: Iterable[str]
    ) -> Greeting:
        """Open the place, and say what its runs depend on."""
        os.environ.setdefault("POLARS_MAX_THREADS", "1")  # there is a worker for every CPU
        node = platform.node()
        try:
            self._backend = self._opened.enter_context(place.open(spec, schedulers, turned))
            self._nr_told = len(self._backend.warnings)
            return Greeting(node, facts_here(place, spec, self._backend))
        except SchedtunaError as error:
            return Greeting(node, problem=_problem(error))

    def run(self, runs: Sequence[PlannedRun]) -> list[WorkerAnswer]:
        """Make runs."""
        return [self._answer(run) for run in runs]

    def _answer(self, run: PlannedRun) -> WorkerAnswer:
        assert self._backend is not None  # whoever could not open the place is asked for nothing
        backend = self._backend
        simulated = backend if isinstance(backend, SimulatedBackend) else None
        if simulated:
            simulated.reading.has_measured = False
        try:
            trial, problem, if_measured = _made(backend, run), None, None
        except SchedtunaError as error:
            trial, problem, if_measured = None, _problem(error), None
            if simulated and isinstance(error, MetricError):
                simulated.reading.has_measured = True
                if_measured = _or_none(backend, run)
        told = tuple(backend.warnings[self._nr_told :])
        self._nr_told += len(told)
        return WorkerAnswer(trial, problem, if_measured, told)


def _made(backend: Backend, run: PlannedRun) -> Trial:
    return backend.run(run.workload, run.scheduler, seed=run.seed, nth=run.nth)


def _or_none(backend: Backend, run: PlannedRun) -> Trial | None:
    try:
        return _made(backend, run)
    except SchedtunaError:
        return None


def _problem(error: SchedtunaError) -> Problem:
    return Problem(kind=type(error).__name__, message=str(error), hint=error.hint or "")
