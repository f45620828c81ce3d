"""A study: search a scheduler's parameters on noisy runs, then confirm the winner on fresh ones.

The search only nominates. Its runs never enter the claim, which `experiment.compare` makes from
interleaved runs of the default and the one nominated assignment. Every run is in the trial log
before the next one starts, so a study that was interrupted anywhere continues where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from statistics import median
from time import monotonic
from typing import Any

from schedtuna.backend.base import Backend, Side, Validity
from schedtuna.errors import StudyError, UsageError
from schedtuna.experiment.compare import compare
from schedtuna.experiment.inforce import require_some_in_force
from schedtuna.experiment.triallog import TrialLog, TrialRecord
from schedtuna.experiment.viability import require_drawn
from schedtuna.history.objective import Objective
from schedtuna.history.outcome import (
    BASELINE,
    CONFIRMATION,
    PLAYOFF,
    SEARCH,
    SearchOutcome,
    StudyResult,
    cost_of,
)
from schedtuna.history.plan import BAKE_OFF, StudyPlan
from schedtuna.space import ParameterValue
from schedtuna.tune.bakeoff import PLAYOFF_RUNS, contestants, playoff_cost, share
from schedtuna.tune.search import OnEvent, SearchProgress, Trials, search, spread
from schedtuna.tune.timing import TimeLimit

_FIXED_BY_CONFIRMATION = ("budget", "episodes", "time_limit_s", "baseline_runs", "delta")


class Study:
    """Runs a plan, or continues it where its log ends.

    Args:
        plan: What to do.
        backend: Where trials run.
        log: Where they are kept; its folder is the study's.
        on_event: Told about every run.
        clock: What a time limit is measured by, in seconds.
        fixed: Parameters that can't be set any more, since the study was planned.
    """

    def __init__(
        self,
        plan: StudyPlan,
        backend: Backend,
        log: TrialLog,
        *,
        on_event: OnEvent = lambda _event: None,
        clock: Callable[[], float] = monotonic,
        fixed: Collection[str] = (),
    ) -> None:
        self.plan = plan
        self.log = log
        self.on_event = on_event
        self._trials = Trials(plan, backend, log, frozenset(fixed))
        self._clock = clock
        self._done = 0
        self._best: float | None = None

    def run(self) -> StudyResult:
        """Search, nominate, confirm.

        Raises:
            StudyError: The folder can't be used, the default never succeeds, or no candidate does.
            UsageError: The budget or the time can't carry a search and a confirmation.
            KeyboardInterrupt: Interrupted before the confirmation; the log has every finished run.
        """
        self._settle_plan()
        begun = self._clock() - sum(record.trial.duration_s for record in self.log.records())
        baseline, objective = self._baseline()
        run_s = median(record.trial.duration_s for record in baseline)
        nr_search, nr_confirmation = self.plan.split(run_s)
        limit = self._time_limit(begun, len(baseline) + nr_search, nr_confirmation)
        self._trials.give_up_after(run_s)
        searches = self._search(objective, baseline, nr_search, limit)
        if not any(outcome.candidate for outcome in searches):
            require_some_in_force([record.trial for outcome in searches for record in outcome.records])
            raise StudyError(
                "every setting other than the default failed or timed out, so there is nothing to confirm",
                hint="see experiment.log for the reasons; a longer --timeout may help",
            )
        winner = min(searches, key=lambda outcome: playoff_cost(outcome.playoff))
        if limit is not None:
            nr_confirmation = self._settle_confirmation(limit, baseline, winner, nr_confirmation)
        comparison = compare(
            self.plan,
            self._side({}),
            self._side(winner.candidate),
            budget=nr_confirmation,
            delta=self.plan.delta,
            log=self.log,
            phase=CONFIRMATION,
            time_limit_s=None if limit is None else max(1.0, limit.limit_s - limit.elapsed_s()),
            on_event=self.on_event,
        )
        return StudyResult(self.plan, self.log.folder, objective, baseline, searches, winner, comparison)

    def _side(self, candidate: Mapping[str, ParameterValue]) -> Side:
        place, scheduler = self.plan.place, self.plan.scheduler.with_values(dict(candidate))
        return Side(self._trials.backend, scheduler, is_exact=place.is_exact, is_model=place.is_model)

    def _settle_plan(self) -> None:
        """Write the plan down. A budget may change on resuming, until the confirmation has begun."""
        folder = self.log.folder
        if not self.log.records(CONFIRMATION):
            self._require_room()
            self.plan.write(folder)
            return
        before = StudyPlan.read(folder)
        self.plan = self.plan.model_copy(update={"confirmation_runs": before.confirmation_runs})
        for name in _FIXED_BY_CONFIRMATION:
            was, is_now = getattr(before, name), getattr(self.plan, name)
            if was != is_now:
                raise StudyError(
                    f"{folder} has begun to confirm its winner: {name} was {was}, is {is_now}; "
                    "another would choose another winner, or look at the same runs once more",
                    hint=f"`schedtuna tune --resume {folder}` alone continues it; "
                    f"for a larger study start anew, with --warm-start {folder}",
                )

    def _time_limit(self, begun: float, nr_search: int, nr_confirmation: int) -> TimeLimit | None:
        if self.plan.time_limit_s is None:
            return None
        share = nr_search / (nr_search + nr_confirmation)
        return TimeLimit(self.plan.time_limit_s, lambda: self._clock() - begun, share)

    def _settle_confirmation(
        self, limit: TimeLimit, baseline: Sequence[TrialRecord], winner: SearchOutcome, planned: int
    ) -> int:
        """Fix the length of the confirmation by the time left; a resume must not look at another one."""
        if not self.log.records(CONFIRMATION):
            tried = self.plan.scheduler.with_values(winner.candidate).values
            runs = [record for record in winner.records if record.trial.values == tried]
            room = min(planned, limit.confirmation_runs(baseline, runs))
            self.plan = self.plan.model_copy(update={"confirmation_runs": room})
            self.plan.write(self.log.folder)
        return self.plan.confirmation_runs or planned

    def _require_room(self) -> None:
        """Refuse a budget below what has run: the search could not be shortened honestly."""
        if self.plan.time_limit_s is not None:
            return
        room = self.plan.baseline_runs + self.plan.split(0.0)[0]
        done = len(self.log.records())
        if done > room:
            raise UsageError(
                f"{self.log.folder} has {done} runs already, and this budget has room for {room} before the "
                "confirmation",
                hint="give a larger --budget",
            )

    def _baseline(self) -> tuple[list[TrialRecord], Objective]:
        """Run the default first: it sets the scale, and shows whether the command works at all."""
        records = []
        self._trials.foresee(BASELINE, ((index, {}) for index in range(self.plan.baseline_runs)))
        for index in range(self.plan.baseline_runs):
            record = self._trials.run(BASELINE, index, {})
            records.append(record)
            self._done += 1
            self.on_event(SearchProgress("", self._done, self.plan.baseline_runs, record, 0.0, None, None))
        good = [record.trial.metrics for record in records if record.trial.validity is Validity.OK]
        if not good:
            last = records[-1].trial
            raise StudyError(
                f"the default failed in each of {len(records)} runs: {last.reason}\n"
                f"{last.output_tail}".rstrip(),
                hint="make the command succeed by hand first",
            )
        if self.plan.place.is_exact:
            require_drawn([record.trial for record in records])
        return records, Objective.from_baseline(self.plan.metrics, good, self.plan.requirements)

    def _search(
        self, objective: Objective, baseline: Sequence[TrialRecord], runs: int, limit: TimeLimit | None
    ) -> list[SearchOutcome]:
        """Let the sampler search; in a bake-off every installed one, with equal budgets."""
        total = len(baseline) + runs
        noise_cv = spread([cost_of(record, objective) for record in baseline])

        def one(sampler: str, phase: str, nr_runs: int, options: dict[str, Any]) -> SearchOutcome:
            def on_run(record: TrialRecord, cost: float | None, expected: int) -> None:
                of = total if limit is None else len(baseline) + expected
                self._show(sampler, of, record, cost, noise_cv)

            return search(
                sampler,
                self._trials,
                objective,
                baseline,
                phase=phase,
                runs=nr_runs,
                options=options,
                on_run=on_run,
                limit=limit,
                ended=bool(self.log.records(CONFIRMATION)),
            )

        if self.plan.sampler != BAKE_OFF:
            return [one(self.plan.sampler, SEARCH, runs, self.plan.sampler_options)]
        names = contestants(self.plan.sampler_options)
        each = share(runs, len(baseline), names)
        outcomes = [one(name, f"{SEARCH}-{name}", each, {}) for name in names]
        return self._playoff(outcomes, objective, total, noise_cv)

    def _playoff(
        self, outcomes: list[SearchOutcome], objective: Objective, total: int, noise_cv: float | None
    ) -> list[SearchOutcome]:
        """Run every finalist afresh, in turn, so that drift hits all alike; the best is confirmed.

        A sampler none of whose settings worked is not a finalist.
        """
        costs: list[list[float | None]] = [[] if outcome.candidate else [None] for outcome in outcomes]
        self._trials.foresee(
            PLAYOFF,
            (
                (turn * len(outcomes) + place, outcome.candidate)
                for turn in range(PLAYOFF_RUNS)
                for place, outcome in enumerate(outcomes)
                if outcome.candidate
            ),
        )
        for turn in range(PLAYOFF_RUNS):
            for place, outcome in enumerate(outcomes):
                if not outcome.candidate:
                    continue
                record = self._trials.run(PLAYOFF, turn * len(outcomes) + place, outcome.candidate)
                costs[place].append(cost_of(record, objective))
                self._show("", total, record, costs[place][-1], noise_cv)
        return [replace(outcome, playoff=row) for outcome, row in zip(outcomes, costs, strict=True)]

    def _show(
        self, sampler: str, total: int, record: TrialRecord, cost: float | None, noise_cv: float | None
    ) -> None:
        self._done += 1
        self._best = min((c for c in (self._best, cost) if c is not None), default=None)
        self.on_event(SearchProgress(sampler, self._done, total, record, cost, self._best, noise_cv))
