import math
import statistics
from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from schedtuna.backend.base import Side, Trial, Validity
from schedtuna.errors import StudyError
from schedtuna.experiment.triallog import TrialLog
from schedtuna.experiment.variability import (
    describe,
    describe_trials,
    made_on_each,
    run_on_each,
    run_variability,
)
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import SEED_LIMIT, RunSpec, Workload

WORKLOAD = Workload(argv=("true",))
FAIR = SchedulerConfig(name="fair")


class Counting:
    """A backend whose n-th run takes n seconds; the runs listed in `failing` fail."""

    name = "counting"
    identity: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()

    def __init__(self, failing: Collection[int] = ()) -> None:
        self.failing = failing
        self.seeds: list[int] = []

    def run(self, workload: Workload, scheduler: SchedulerConfig, *, seed: int, nth: int = 0) -> Trial:
        self.seeds.append(seed)
        number = len(self.seeds)
        if number in self.failing:
            return Trial(
                scheduler="fair",
                seed=seed,
                validity=Validity.FAILED,
                reason="exit code 7",
                output_tail="boom",
            )
        return Trial(scheduler="fair", seed=seed, metrics={"wall_time_s": float(number)})


def study(folder: Path, backend, runs, **options):
    with TrialLog(folder, {"workload": "w"}) as log:
        spec = RunSpec(workload=WORKLOAD, seed=5)
        return run_variability(spec, Side(backend, FAIR), runs=runs, log=log, **options)


def test_statistics_agree_with_the_standard_library():
    values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0, 2.0, 6.0]
    spread = describe("m", values, nr_cpus=4)
    assert spread.mean == pytest.approx(statistics.mean(values))
    assert spread.per_core_mean == pytest.approx(statistics.mean(values) / 4)
    assert spread.sd == pytest.approx(statistics.stdev(values))
    assert spread.cv == pytest.approx(statistics.stdev(values) / statistics.mean(values))
    quartiles = statistics.quantiles(values, n=4, method="inclusive")
    assert [spread.q1, spread.median, spread.q3] == pytest.approx(quartiles)
    assert (spread.minimum, spread.maximum) == (1.0, 9.0)


def test_one_run_has_no_deviation_and_a_mean_of_zero_no_cv():
    assert math.isnan(describe("m", [2.0], nr_cpus=1).sd)
    same = describe("m", [0.18] * 12, nr_cpus=1)
    assert (same.mean, same.sd, same.cv) == (0.18, 0.0, 0.0)
    assert math.isnan(describe("m", [-1.0, 1.0], nr_cpus=1).cv)
    assert describe("m", [2.0], nr_cpus=1).as_row()["sd"] is None


def test_failed_runs_are_left_out_of_the_spread(tmp_path):
    trials = study(tmp_path, Counting(failing={2}), 4)
    (spread,) = describe_trials(trials, nr_cpus=1)
    assert spread.runs == 3
    assert spread.mean == pytest.approx((1 + 3 + 4) / 3)


def test_every_run_has_its_own_seed_and_a_repeat_has_the_same_ones(tmp_path):
    first, second = Counting(), Counting()
    study(tmp_path / "a", first, 8)
    study(tmp_path / "b", second, 8)
    assert first.seeds == second.seeds
    assert len(set(first.seeds)) == 8


def test_every_tool_can_read_the_seeds(tmp_path):
    """Sysbench 1.0.20 reads a signed integer of 32 bits, and refuses what is larger."""
    sides = Counting()
    study(tmp_path / "a", sides, 64)
    assert all(0 <= seed < SEED_LIMIT for seed in sides.seeds)
    assert max(sides.seeds) > SEED_LIMIT // 2


def test_a_continued_study_runs_only_what_is_missing(tmp_path):
    study(tmp_path, Counting(), 3)
    backend = Counting()
    trials = study(tmp_path, backend, 5)
    assert len(backend.seeds) == 2
    assert [trial.metrics["wall_time_s"] for trial in trials] == [1, 2, 3, 1, 2]


def test_it_stops_early_where_nothing_works(tmp_path):
    backend = Counting(failing=range(100))
    with pytest.raises(StudyError, match="none of the first 3 runs succeeded: exit code 7") as caught:
        study(tmp_path, backend, 50)
    assert "boom" in str(caught.value)
    assert len(backend.seeds) == 3


def test_a_single_run_that_fails_is_called_one(tmp_path):
    with pytest.raises(StudyError, match="the only run failed: exit code 7"):
        study(tmp_path, Counting(failing=range(100)), 1)


def test_a_time_limit_starts_no_new_runs(tmp_path):
    assert len(study(tmp_path, Counting(), 50, time_limit_s=0.0)) == 1


def each(folder: Path, backends: dict[str, Counting], runs: int, **options):
    with TrialLog(folder, {"workload": "w"}) as log:
        spec = RunSpec(workload=WORKLOAD, seed=5)
        sides = {name: Side(backend, FAIR) for name, backend in backends.items()}
        return run_on_each(spec, sides, runs=runs, log=log, **options), log


def test_several_machines_make_each_round_with_one_seed_in_orders_that_are_drawn(tmp_path):
    backends = {name: Counting() for name in "abc"}
    trials, log = each(tmp_path, backends, 12)
    assert [len(own) for own in trials.values()] == [12] * 3
    assert len({tuple(backend.seeds) for backend in backends.values()}) == 1
    orders = [tuple(record.machine for record in log.records()[at : at + 3]) for at in range(0, 36, 3)]
    assert {frozenset(order) for order in orders} == {frozenset("abc")}
    assert len(set(orders)) > 2
    for name, own in trials.items():
        assert [trial.metrics["wall_time_s"] for trial in own] == list(range(1, 13)), name


def test_what_was_interrupted_on_several_machines_goes_on_where_it_ended(tmp_path):
    class EndedError(Exception):
        pass

    def end(record):
        if record.index == 6:
            raise EndedError

    with pytest.raises(EndedError):
        each(tmp_path, {"a": Counting(), "b": Counting()}, 10, on_event=end)
    with TrialLog(tmp_path, {"workload": "w"}) as log:
        made = made_on_each(RunSpec(workload=WORKLOAD, seed=5), ["a", "b"], log)
        assert sorted(map(len, made.values())) == [3, 4]
    again = {"a": Counting(), "b": Counting()}
    trials, log = each(tmp_path, again, 10)
    assert [len(own) for own in trials.values()] == [10, 10]
    assert sum(len(backend.seeds) for backend in again.values()) == 13
    assert len(log.records()) == 20


def test_a_machine_on_which_nothing_works_ends_the_study(tmp_path):
    with pytest.raises(StudyError, match="none of the first 3 runs succeeded"):
        each(tmp_path, {"a": Counting(), "b": Counting(failing=range(100))}, 9)


def test_a_time_limit_ends_with_a_whole_round(tmp_path):
    trials, _ = each(tmp_path, {"a": Counting(), "b": Counting()}, 9, time_limit_s=0.0)
    assert [len(own) for own in trials.values()] == [1, 1]
