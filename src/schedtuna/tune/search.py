"""One sampler's search: ask, run, tell, until its runs are used up; then nominate."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median, stdev
from time import time
from typing import Any, TypeAlias

import numpy as np

from schedtuna.backend.base import Backend, PlannedRun, Trial, Validity, foresee
from schedtuna.errors import SpaceError, StudyError, UnavailableError
from schedtuna.experiment.compare import CompareProgress
from schedtuna.experiment.sameness import Reference
from schedtuna.experiment.triallog import TrialLog, TrialRecord
from schedtuna.history.objective import Objective
from schedtuna.history.outcome import SearchOutcome, cost_of
from schedtuna.history.plan import PastRun, StudyPlan
from schedtuna.samplers.observation import Observation
from schedtuna.samplers.registry import make_sampler
from schedtuna.space import ParameterSpace, ParameterValue
from schedtuna.tune.timing import TimeLimit
from schedtuna.workload.spec import derived_seed

Values = dict[str, ParameterValue]
WARM_START_EPOCHS = 20  # of samplers that train a network
HOPELESS_TIMES = 8.0
HOPELESS_LEAST_S = 5.0


@dataclass(frozen=True)
class SearchProgress:
    """Where a search stands after a run.

    Attributes:
        sampler: Who asked for it; empty: it is a run of the default, or of a playoff.
        done: Runs before the confirmation so far.
        total: Runs before the confirmation in all.
        record: The run that ended.
        cost: What it cost; None where it failed.
        best_cost: The lowest cost of a single run so far, which is not a claim.
        noise_cv: Coefficient of variation of the default's runs.
    """

    sampler: str
    done: int
    total: int
    record: TrialRecord
    cost: float | None
    best_cost: float | None
    noise_cv: float | None


StudyEvent: TypeAlias = SearchProgress | CompareProgress  # a run before the confirmation, or one of it
OnEvent: TypeAlias = Callable[[StudyEvent], None]


class Trials:
    """Runs trials of a plan, or finds them in the log.

    Args:
        plan: What runs.
        backend: Where.
        log: Where trials are kept.
        fixed: Parameters that can't be set any more: nothing is tried of them, nor confirmed.
    """

    def __init__(
        self, plan: StudyPlan, backend: Backend, log: TrialLog, fixed: frozenset[str] = frozenset()
    ) -> None:
        self.plan = plan
        self.backend = backend
        self.log = log
        self.fixed = fixed
        self._workload = plan.workload
        self._reference = Reference()

    def give_up_after(self, run_s: float) -> None:
        """End hopeless runs early from now on: those many times longer than the default's.

        A setting that is ten times slower needs no more precise a figure; the search learns from it
        as from a failure. The confirmation keeps the workload's own timeout.
        """
        limit_s = max(HOPELESS_TIMES * run_s, HOPELESS_LEAST_S)
        timeout_s = min(limit_s, self.plan.workload.timeout_s)
        self._workload = self.plan.workload.model_copy(update={"timeout_s": timeout_s})

    def foresee(self, phase: str, coming: Iterable[tuple[int, Values]]) -> None:
        """Tell the backend which trials of a phase will be run, by index; those in the log are left out."""
        foresee(
            self.backend,
            (
                PlannedRun(self._workload, self.plan.scheduler.with_values(values), self._seed(phase, index))
                for index, values in coming
                if (phase, index) not in self.log
            ),
        )

    def run(self, phase: str, index: int, values: Values) -> TrialRecord:
        """Run one trial, or return the one that an earlier session ran."""
        record = self.log.find(phase, index)
        if record is None:
            trial = self._reference.judged(self._measure(values, self._seed(phase, index)))
            record = TrialRecord(phase=phase, index=index, trial=trial)
            self.log.append(record)
        if not values:
            self._reference.learn(record.trial)
        return record

    def _seed(self, phase: str, index: int) -> int:
        return derived_seed(self.plan.seed, index, *phase.encode())

    def _measure(self, values: Values, seed: int) -> Trial:
        scheduler = self.plan.scheduler.with_values(values)
        try:
            return self.backend.run(self._workload, scheduler, seed=seed)
        except UnavailableError as error:
            if not values:
                raise
            # Each knob can be turned by itself, or it would not be searched; these can't together.
            return Trial(
                scheduler=scheduler.name,
                values=scheduler.values,
                seed=seed,
                validity=Validity.FAILED,
                reason=str(error),
                started_at=time(),
                exit_code=None,
            )


def spread(costs: Sequence[float | None]) -> float | None:
    """Return the standard deviation of log costs, which is about the coefficient of variation."""
    worked = [cost for cost in costs if cost is not None]
    return stdev(worked) if len(worked) > 1 else None


def search(
    sampler_name: str,
    trials: Trials,
    objective: Objective,
    baseline: Sequence[TrialRecord],
    *,
    phase: str,
    runs: int,
    options: dict[str, Any],
    on_run: Callable[[TrialRecord, float | None, int], None],
    limit: TimeLimit | None = None,
    ended: bool = False,
) -> SearchOutcome:
    """Let one sampler search, or continue its search where the log ends.

    Args:
        sampler_name: Who asks.
        trials: Runs what it asks for.
        objective: The scale of the costs.
        baseline: The default's runs, which it is told first.
        phase: Name of its runs in the log.
        runs: How many it gets.
        options: Of the sampler.
        on_run: Told about every run, its cost, and how many runs there will be.
        limit: Ends the search by the clock, too.
        ended: Whether an earlier session has ended the search: then it stays as it is.

    Raises:
        UsageError: Unknown sampler or option.
        StudyError: The sampler asked for what is not in the space, or recommended it.
        MissingExtraError: The sampler's packages are not installed.
    """
    plan = trials.plan
    space = plan.scheduler.space
    rng = np.random.default_rng([plan.seed, 2, *sampler_name.encode()])
    sampler = make_sampler(sampler_name, space, budget=len(baseline) + runs, rng=rng, **options)

    def told(runs: Sequence[PastRun]) -> list[Observation]:
        return [Observation(space.validate_assignment(run.values), run.cost) for run in runs]

    if plan.warm_start:
        sampler.pretrain(told(plan.warm_start), epochs=WARM_START_EPOCHS)
    if plan.screen and plan.screen.runs:
        sampler.trust(told(plan.screen.runs))
    history: list[Observation] = []

    def tell(record: TrialRecord) -> float | None:
        cost = cost_of(record, objective)
        values = space.validate_assignment(record.trial.values)
        history.append(Observation(values, cost, record.trial.duration_s))
        sampler.tell(history[-1])
        return cost

    def valid(values: object, did: str) -> dict[str, ParameterValue]:
        found = _valid(space, values, f"sampler {sampler_name} {did}")
        return space.repair(found | {name: space[name].default for name in trials.fixed})

    for record in baseline:
        tell(record)
    checkpoint = f"checkpoint_{'' if plan.sampler == sampler_name else f'{sampler_name}_'}episode"
    training: list[dict[str, float]] = []
    runs_expected = runs
    asked: dict[int, Values] = {}

    def asked_for(index: int) -> Values:
        if index not in asked:
            asked[index] = valid(sampler.ask(), "asked for")
        return asked[index]

    def coming() -> Iterator[tuple[int, Values]]:
        """Ask ahead, as long as that changes nothing."""
        for index in range(runs):
            if (phase, index) in trials.log:
                continue
            if index not in asked and len(baseline) + index >= len(history) + sampler.nr_settled:
                return
            yield index, asked_for(index)

    if limit is None:
        trials.foresee(phase, coming())
    for index in range(runs):
        earlier = trials.log.find(phase, index)
        if limit is not None and earlier is None:
            if ended or limit.search_is_over(index):
                break
            runs_expected = min(runs, limit.expected_runs(index, len(baseline)))
            sampler.budget = len(baseline) + runs_expected
        values = space.validate_assignment(earlier.trial.values) if earlier else asked_for(index)
        record = trials.run(phase, index, values)
        asked.pop(index, None)
        on_run(record, tell(record), runs_expected)
        training.append(sampler.training_metrics())
        if (index + 1) % plan.save_frequency == 0:
            sampler.save(trials.log.folder / f"{checkpoint}_{index + 1}.pt")
    nr_runs = len(training)
    if nr_runs % plan.save_frequency:
        sampler.save(trials.log.folder / f"{checkpoint}_{nr_runs}.pt")
    possible = [one for one in history if not trials.fixed & space.changed(one.values).keys()]
    candidate, recommends_default = nominate(space, valid(sampler.recommend(), "recommended"), possible)
    sampler.close()
    complete = space.validate_assignment(candidate)
    tried = (observation.values for observation in history[len(baseline) :])
    found_after = next((nr for nr, values in enumerate(tried, start=1) if values == complete), nr_runs)
    return SearchOutcome(
        sampler=sampler_name,
        records=trials.log.records_at(phase, range(nr_runs)),
        training=training,
        candidate=candidate,
        found_after=found_after,
        recommends_default=recommends_default,
    )


def _valid(space: ParameterSpace, values: object, whose: str) -> dict[str, ParameterValue]:
    """Return the complete assignment that a sampler gave, which may be somebody else's.

    Raises:
        StudyError: It is none, or not in the space.
    """
    try:
        if not isinstance(values, Mapping):
            raise SpaceError("expected values by the names of parameters")  # noqa: TRY301
        return space.validate_assignment(values)
    except SpaceError as error:
        raise StudyError(
            f"{whose} {values}: {error}",
            hint="schedtuna.samplers.conformance.check_sampler tells what is expected of one",
        ) from error


def nominate(
    space: ParameterSpace, recommended: dict[str, ParameterValue], history: Sequence[Observation]
) -> tuple[Values, bool]:
    """Return what to confirm, and whether the sampler would rather keep the default.

    "There is nothing to gain" is a claim too, and needs fresh runs: where the sampler prefers the
    default, the best of the other settings is confirmed all the same. Nothing where all of them failed.
    """
    if chosen := space.changed(recommended):
        return chosen, False
    return space.changed(best_alternative(history, space.default())), True


def best_alternative(
    history: Sequence[Observation], default: dict[str, ParameterValue]
) -> dict[str, ParameterValue]:
    """Return the assignment other than the default with the lowest median cost; the default if all failed."""
    costs: dict[str, list[float]] = {}
    assignments: dict[str, dict[str, ParameterValue]] = {}
    for observation in history:
        if observation.cost is not None and observation.values != default:
            key = json.dumps(observation.values, sort_keys=True)
            costs.setdefault(key, []).append(observation.cost)
            assignments[key] = observation.values
    return assignments[min(costs, key=lambda key: median(costs[key]))] if costs else default
