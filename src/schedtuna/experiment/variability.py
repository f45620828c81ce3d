"""How much does a command vary from run to run? Repeats it under one scheduler and describes the spread."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from time import monotonic

import numpy as np

from schedtuna.backend.base import PlannedRun, Side, Trial, Validity, foresee
from schedtuna.experiment.sameness import Reference
from schedtuna.experiment.triallog import TrialLog, TrialRecord
from schedtuna.experiment.viability import FIRST_CHANCES, require_viable
from schedtuna.workload.spec import RunSpec, derived_seed

PHASE = "variability"


@dataclass(frozen=True)
class Spread:
    """How one metric varied.

    Attributes:
        metric: Its name.
        runs: How many runs have it.
        mean: Arithmetic mean.
        per_core_mean: Mean over the number of online CPUs: for what adds up over CPUs, such as
            throughput and CPU time.
        sd: Standard deviation with n - 1; nan for a single run.
        cv: Coefficient of variation: sd over the mean's size; nan where the mean is 0.
        minimum: Smallest.
        q1: First quartile (linear interpolation, like the others).
        median: Second quartile.
        q3: Third quartile.
        maximum: Largest.
    """

    metric: str
    runs: int
    mean: float
    per_core_mean: float
    sd: float
    cv: float
    minimum: float
    q1: float
    median: float
    q3: float
    maximum: float

    def as_row(self) -> dict[str, str | int | float | None]:
        """Return the columns by name; what does not exist is None."""
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in asdict(self).items()
        }


def describe(metric: str, values: Sequence[float], *, nr_cpus: int) -> Spread:
    """Describe one metric's values, in any order; at least one."""
    array = np.asarray(values, dtype=float)
    varies = array.min() < array.max()  # else numpy's mean may be a digit beside it
    mean = float(array.mean() if varies else array[0])
    sd = math.nan if len(array) < 2 else float(array.std(ddof=1)) if varies else 0.0
    q0, q1, q2, q3, q4 = (float(q) for q in np.quantile(array, [0, 0.25, 0.5, 0.75, 1]))
    return Spread(
        metric=metric,
        runs=len(array),
        mean=mean,
        per_core_mean=mean / nr_cpus,
        sd=sd,
        cv=sd / abs(mean) if mean else math.nan,
        minimum=q0,
        q1=q1,
        median=q2,
        q3=q3,
        maximum=q4,
    )


def describe_trials(trials: Iterable[Trial], *, nr_cpus: int) -> list[Spread]:
    """Describe every metric, then every covariate, of the trials that are ok."""
    metrics: dict[str, array[float]] = {}
    covariates: dict[str, array[float]] = {}
    for trial in trials:
        if trial.validity is Validity.OK:
            for columns, row in ((metrics, trial.metrics), (covariates, trial.covariates)):
                for name, value in row.items():
                    columns.setdefault(name, array("d")).append(value)
    return [
        describe(name, values, nr_cpus=nr_cpus)
        for columns in (metrics, covariates)
        for name, values in columns.items()
    ]


def run_variability(
    spec: RunSpec,
    side: Side,
    *,
    runs: int,
    log: TrialLog,
    time_limit_s: float | None = None,
    on_event: Callable[[TrialRecord], None] = lambda _record: None,
) -> Sequence[Trial]:
    """Run a command again and again; each run has its own workload seed.

    Args:
        spec: What runs, and the seed of the workload's seeds.
        side: Where, and under what.
        runs: How often.
        log: Where runs are kept; those that it has are not repeated.
        time_limit_s: Start no run after this many seconds.
        on_event: Told about every run.

    Returns:
        The trials, each read from the log when it is looked at: there may be more than memory should hold.

    Raises:
        StudyError: The first runs all failed, or a metric is printed in two units.
    """
    return run_on_each(spec, {"": side}, runs=runs, log=log, time_limit_s=time_limit_s, on_event=on_event)[""]


def run_on_each(
    spec: RunSpec,
    sides: Mapping[str, Side],
    *,
    runs: int,
    log: TrialLog,
    time_limit_s: float | None = None,
    on_event: Callable[[TrialRecord], None] = lambda _record: None,
) -> dict[str, Sequence[Trial]]:
    """Run a command again and again on several machines, in rounds: one run on each, in a drawn order.

    The runs of a round have one seed, and none is made beside another one. So what comes and goes with the
    hour meets all machines, and they can be told apart.

    Args:
        spec: What runs, and the seed of the workload's seeds and of the orders.
        sides: Where, and under what, by the machine's name in the log.
        runs: How often on each.
        log: Where runs are kept; those that it has are not repeated.
        time_limit_s: Start no round after this many seconds, but the first.
        on_event: Told about every run.

    Returns:
        Each machine's trials; see `run_variability`.

    Raises:
        StudyError: On one of them the first runs all failed, or a metric is printed in two units.
    """
    deadline = math.inf if time_limit_s is None else monotonic() + time_limit_s
    names = list(sides)
    for name, side in sides.items():
        foresee(side.backend, _coming(spec, sides, name, runs, log))
    references = {name: Reference() for name in names}
    first: dict[str, list[Trial]] = {name: [] for name in names}
    done = 0
    for index, number, name in rounds(spec.seed, names, runs):
        if number and index % len(names) == 0 and (PHASE, index) not in log and monotonic() >= deadline:
            break
        record = log.find(PHASE, index)
        if record is None:
            trial = sides[name].run(spec.workload, seed=derived_seed(spec.seed, number))
            record = TrialRecord(phase=PHASE, index=index, machine=name, trial=references[name].judged(trial))
            log.append(record)
        references[name].learn(record.trial)
        done += 1
        on_event(record)
        if number < FIRST_CHANCES:
            first[name].append(record.trial)
            require_viable(first[name], runs)
    return _trials_of_each(spec.seed, names, log, done)


def made_on_each(spec: RunSpec, names: Sequence[str], log: TrialLog) -> dict[str, Sequence[Trial]]:
    """Return what of `run_on_each` was made before it was interrupted: each machine's trials."""
    return _trials_of_each(spec.seed, names, log, len(log.records(PHASE)))


def rounds(seed: int, names: Sequence[str], runs: int) -> Iterator[tuple[int, int, str]]:
    """Yield each run's index in the log, the round that it is of, and its machine."""
    for number in range(runs):
        order = names
        if len(names) > 1:
            rng = np.random.default_rng(derived_seed(seed, number, len(names)))
            order = [names[place] for place in rng.permutation(len(names))]
        for place, name in enumerate(order):
            yield number * len(names) + place, number, name


def _coming(
    spec: RunSpec, sides: Mapping[str, Side], wanted: str, runs: int, log: TrialLog
) -> Iterator[PlannedRun]:
    """Yield what a machine has yet to run, in order."""
    for index, number, name in rounds(spec.seed, list(sides), runs):
        if name == wanted and (PHASE, index) not in log:
            yield sides[name].planned(spec.workload, seed=derived_seed(spec.seed, number))


def _trials_of_each(seed: int, names: Sequence[str], log: TrialLog, count: int) -> dict[str, Sequence[Trial]]:
    """Each machine's trials among the first so many."""
    indexes: dict[str, list[int]] = {name: [] for name in names}
    for index, _, name in rounds(seed, names, -(-count // len(names))):
        if index < count:
            indexes[name].append(index)
    return {name: log.trials(PHASE, own) for name, own in indexes.items()}
