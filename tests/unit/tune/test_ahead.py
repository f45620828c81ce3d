"""A backend that makes runs before they are asked for changes nothing but when they are made."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from schedtuna.backend.places.simulated import METRIC, Simulated
from schedtuna.experiment.campaign import open_here
from schedtuna.experiment.triallog import read_trials
from schedtuna.tune.options import make_plan
from schedtuna.tune.running import open_study

pytest.importorskip("nanobind_backend")
AHEAD = 5
BUDGET = 36


class EagerBackend:
    """Makes the next few of the planned runs first, the last one of them before all others."""

    def __init__(self, backend):
        self._backend = backend
        self.name, self.identity, self.warnings = backend.name, backend.identity, backend.warnings
        self._planned, self._made = iter(()), []
        self.nr_ahead = []  # of each list of what is coming: runs made before they were asked for

    def foresee(self, runs):
        self._planned, self._made = iter(runs), []
        self.nr_ahead.append(0)

    def run(self, workload, scheduler, *, seed, nth=0):
        while len(self._made) < AHEAD and (run := next(self._planned, None)):
            self._made.append([run, None])
        for row in reversed(self._made):
            row[1] = row[1] or self._backend.run(
                row[0].workload, row[0].scheduler, seed=row[0].seed, nth=row[0].nth
            )
        if self._made and (self._made[0][0].scheduler, self._made[0][0].seed) == (scheduler, seed):
            self.nr_ahead[-1] += len(self._made) > 1
            return self._made.pop(0)[1]
        return self._backend.run(workload, scheduler, seed=seed, nth=nth)


def studied(folder, sampler, opened):
    place = Simulated.of(cpus=1)
    workload, _ = place.named_workload("interactive:load=0.2")
    plan, _ = make_plan(workload, place, "fair", metrics=[METRIC], options={}, sampler=sampler, seed=7)
    plan = plan.model_copy(update={"budget": BUDGET, "baseline_runs": 3})
    with open_study(plan, results=folder, open_place=opened) as study:
        result = study.run()
    _, records = read_trials(result.folder)
    return result, [record.model_dump(exclude={"trial": {"started_at", "duration_s"}}) for record in records]


@pytest.mark.parametrize("sampler", ["random", "quasi-random", "halving"])
def test_a_study_is_the_same_study(tmp_path, sampler):
    eager = []

    @contextmanager
    def opened(*place):
        with open_here(*place) as backend:
            eager.append(EagerBackend(backend))
            yield eager[0]

    result, trials = studied(tmp_path / "plain", sampler, open_here)
    again, trials_again = studied(tmp_path / "ahead", sampler, opened)
    assert trials == trials_again
    assert result.candidate == again.candidate
    assert result.comparison.verdict is again.comparison.verdict
    baseline, search, confirmation = eager[0].nr_ahead
    assert baseline > 0 and confirmation > 0
    assert (search > 0) is ("random" in sampler)  # what others try depends on what they were told
