import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from schedtuna.backend.base import Side, Trial, Validity
from schedtuna.errors import EvidenceError, MetricError, StudyError, UsageError
from schedtuna.evidence.requirements import judge_requirement
from schedtuna.evidence.result import Estimate
from schedtuna.experiment.compare import CompareProgress, Comparison, Ended, compare
from schedtuna.experiment.comparison import tell_effect, tell_rule
from schedtuna.experiment.triallog import LOG_NAME, TrialLog, read_trials
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import Direction, MetricSpec, Requirement, RunSpec, Workload

WORKLOAD = Workload(argv=("true",))
DEFAULT = SchedulerConfig(name="default")
CANDIDATE = SchedulerConfig(name="fair", values={"nice": 5})
TIME = MetricSpec(name="wall_time_s", direction=Direction.MIN)
RPS = MetricSpec(name="rps", direction=Direction.MAX)


class Simulated:
    """Runs whose wall time is lognormal, and `factor` times as long under the candidate."""

    name = "simulated"
    identity: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()

    def __init__(self, factor=1.0, *, cv=0.05, seed=1, interrupt_at=None, fails=lambda number, values: False):
        self.factor = factor
        self.cv = cv
        self.rng = np.random.default_rng(seed)
        self.interrupt_at = interrupt_at
        self.fails = fails
        self.runs: list[tuple[bool, int]] = []

    def run(self, workload: Workload, scheduler: SchedulerConfig, *, seed: int, nth: int = 0) -> Trial:
        if self.interrupt_at == len(self.runs):
            raise KeyboardInterrupt
        number = len(self.runs)
        self.runs.append((bool(scheduler.values), seed))
        noise = math.exp(self.cv * float(self.rng.standard_normal()))
        if self.fails(number, scheduler.values):
            return Trial(
                scheduler=scheduler.name,
                values=scheduler.values,
                seed=seed,
                validity=Validity.FAILED,
                reason="the command exited with code 7",
                output_tail="boom",
                duration_s=1.0,
            )
        wall_time_s = 2.0 * noise * (self.factor if scheduler.values else 1.0)
        return Trial(
            scheduler=scheduler.name,
            values=scheduler.values,
            seed=seed,
            metrics={"wall_time_s": wall_time_s, "rps": 100 / wall_time_s, "zero": 0.0},
            duration_s=wall_time_s,
        )


def study(folder: Path, backend: Simulated, **options) -> Comparison:
    with TrialLog(folder, {"workload": "w"}) as log:
        spec = RunSpec(
            workload=WORKLOAD,
            metrics=tuple(options.pop("metrics", [TIME])),
            requirements=tuple(options.pop("requirements", ())),
            seed=options.pop("seed", 7),
        )
        a, b = options.pop("a", DEFAULT), options.pop("b", CANDIDATE)
        return compare(spec, Side(backend, a), Side(backend, b), log=log, **options)


@pytest.mark.parametrize(("metric", "direction"), [(TIME, "min"), (RPS, "max")])
def test_a_large_gain_is_found_early(tmp_path, metric, direction):
    backend = Simulated(0.8)
    found = study(tmp_path, backend, metrics=[metric])
    assert found.verdict == "improved"
    assert found.ended is Ended.DECIDED
    assert found.nr_runs == len(backend.runs) < 81
    truth = 0.8 if direction == "min" else 1 / 0.8
    low, high = found.result.effect.ci95
    assert low <= truth <= high
    assert found.summary()["direction"] == direction
    assert found.candidate == "fair:nice=5"
    assert re.match(
        r"improved: (wall_time_s -|rps \+)\d+\.\d% \(95% interval [-+].*%\), \d+ pairs, "
        r"with fair:nice=5 against default\.$",
        found.headline(),
    )


def test_a_loss_is_worse(tmp_path):
    assert study(tmp_path, Simulated(1.25)).verdict == "worse"


def test_without_noise_equal_schedulers_have_no_evidence(tmp_path):
    found = study(tmp_path, Simulated(1.0, cv=0.003))
    assert found.verdict == "no_evidence"
    assert "a gain of 3% or more is excluded" in found.sentence()
    assert found.headline().startswith("No evidence of a gain: wall_time_s ")  # not twice


def test_too_much_noise_says_how_many_runs_it_would_take(tmp_path):
    found = study(tmp_path, Simulated(1.0, cv=0.4), budget=30)
    assert found.verdict == "too_noisy"
    assert found.ended is Ended.BUDGET
    assert found.nr_runs == 30
    assert found.result.runs_needed is not None and found.result.runs_needed > 30
    assert f"about {found.result.runs_needed} runs" in found.sentence()


def test_a_withheld_verdict_does_not_blame_the_noise(tmp_path):
    for seed in range(60):
        found = study(tmp_path / str(seed), Simulated(0.93, cv=0.04, seed=seed), budget=18)
        if found.result.carry_over.withheld:
            break
    else:
        pytest.fail("no such study")
    assert found.verdict == "too_noisy"
    assert found.sentence().startswith("No verdict: wall_time_s -")
    assert "leave behind for the next" in found.sentence()
    assert "runs would tell" not in found.sentence()
    assert found.result.runs_needed is None


def test_blocks_share_a_seed_and_hold_each_arm_once(tmp_path):
    backend = Simulated(cv=0.4)
    study(tmp_path, backend, budget=60)
    blocks = [backend.runs[at : at + 3] for at in range(0, 60, 3)]
    assert all(len({seed for _, seed in block}) == 1 for block in blocks)
    assert len({block[0][1] for block in blocks}) == 20
    assert all(sum(candidate for candidate, _ in block) == 1 for block in blocks)
    assert len({[c for c, _ in block].index(True) for block in blocks}) == 3  # orders differ


def test_an_interrupted_comparison_continues_exactly(tmp_path):
    whole = Simulated(cv=0.4)
    expected = study(tmp_path / "whole", whole, budget=36)
    runs: list[tuple[bool, int]] = []
    for session in range(20):
        backend = Simulated(cv=0.4, interrupt_at=4)
        backend.rng = np.random.default_rng(1)
        backend.rng.standard_normal(len(runs))  # the noise goes on where it was
        try:
            found = study(tmp_path / "parts", backend, budget=36)
        except KeyboardInterrupt:
            assert session == 0  # before the first block was complete
        runs += backend.runs
        if len(runs) == 36:
            break
    assert runs == whole.runs
    assert found.summary() == expected.summary()
    assert read_trials(tmp_path / "parts")[1] == read_trials(tmp_path / "whole")[1]


def test_an_interruption_reports_the_last_look(tmp_path):
    found = study(tmp_path, Simulated(0.8, interrupt_at=10), budget=81, seed=3)
    assert found.interrupted
    assert found.nr_runs == 10
    assert found.verdict == "too_noisy"  # no look was due after three blocks
    assert "nothing is decided yet" in found.sentence()
    assert len(read_trials(tmp_path)[1]) == 10


def test_an_interruption_before_the_first_block_keeps_the_runs(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path, Simulated(interrupt_at=2))
    assert len(read_trials(tmp_path)[1]) == 2


def test_a_log_of_another_seed_is_refused(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        study(tmp_path, Simulated(interrupt_at=2), seed=1)
    with pytest.raises(StudyError, match="another seed"):
        study(tmp_path, Simulated(), seed=2)


def test_a_time_limit_plans_the_horizon_and_starts_no_block_after_it(tmp_path):
    found = study(tmp_path, Simulated(cv=0.4), time_limit_s=60.0)
    assert found.ended is Ended.BUDGET
    assert 12 <= found.nr_runs <= 0.9 * 60 / 2.0 + 20  # the first block's noise sets the horizon


def test_a_time_limit_of_no_use_says_what_would_do(tmp_path):
    with pytest.raises(UsageError, match="can't carry a comparison: 3 runs took") as caught:
        study(tmp_path, Simulated(), time_limit_s=10.0)
    assert "allow at least" in str(caught.value.hint)


def test_time_that_is_up_ends_between_blocks(tmp_path):
    found = study(tmp_path, Simulated(), time_limit_s=0.0, budget=30)
    assert found.ended is Ended.TIME
    assert found.nr_runs == 3
    assert found.verdict == "too_noisy"


@pytest.mark.parametrize("budget", [0, 3, 11, -5])
def test_a_budget_that_can_decide_nothing_is_refused_before_the_first_run(tmp_path, budget):
    backend = Simulated()
    with pytest.raises(UsageError, match="expected at least 12"):
        study(tmp_path, backend, budget=budget)
    assert backend.runs == []


def test_progress_counts_every_run_and_tells_of_looks(tmp_path):
    events: list[CompareProgress] = []
    found = study(tmp_path, Simulated(cv=0.4), budget=40, on_event=events.append)
    assert [event.done for event in events] == list(range(1, 40))
    assert events[-1].total == 39
    assert events[-1].result == found.result
    noise = events[-1].noise_cv
    assert noise is not None and 0.2 < noise < 0.8


@pytest.mark.parametrize("budget", [None, 12, 30])
def test_a_candidate_that_never_works_gets_no_verdict_about_speed(tmp_path, budget):
    backend = Simulated(fails=lambda _, values: bool(values))
    with pytest.raises(
        StudyError, match=r"fair:nice=5 failed in each of its 4 runs.* code 7\n.*\nboom"
    ) as told:
        study(tmp_path, backend, budget=budget, seed=3)
    assert str(told.value).startswith("no verdict: ")
    assert len(backend.runs) == 12  # four blocks, whatever the budget


def test_a_candidate_without_a_working_run_gets_no_verdict_when_time_is_up(tmp_path, monkeypatch):
    backend = Simulated(fails=lambda _, values: bool(values))
    monkeypatch.setattr("schedtuna.experiment.compare.monotonic", lambda: 30.0 * len(backend.runs))
    with pytest.raises(StudyError, match="fair:nice=5 failed in each of its 2 runs"):
        study(tmp_path, backend, time_limit_s=170, seed=3)


def test_a_candidate_that_works_now_and_then_is_worse(tmp_path):
    found = study(tmp_path, Simulated(1.3, fails=lambda number, values: bool(values) and number > 2))
    assert found.verdict == "worse"
    assert any("Failed or timed-out" in note for note in found.notes)
    assert "unbounded" not in str(found.summary()["effect"])
    assert "unbounded, as runs failed, (" in found.sentence()


def test_an_interrupted_comparison_tells_that_the_candidate_never_worked(tmp_path):
    found = study(tmp_path, Simulated(fails=lambda _, values: bool(values), interrupt_at=7))
    assert found.verdict == "too_noisy"
    assert found.interrupted
    assert found.sentence().endswith("failed in each of its 2 runs so far: the command exited with code 7.")


def test_a_default_that_mostly_fails_is_not_a_gain_of_a_hundred_percent(tmp_path):
    found = study(tmp_path, Simulated(fails=lambda index, values: not values and index > 2))
    assert found.verdict == "improved"
    assert "-100" not in found.sentence()
    assert "unbounded, as runs failed, (" in found.sentence()


def test_nothing_that_works_ends_with_the_reason_and_the_output(tmp_path):
    backend = Simulated(fails=lambda *_: True)
    with pytest.raises(StudyError, match=r"none of the first 3 runs succeeded: .* code 7\n.*\nboom"):
        study(tmp_path, backend)
    assert len(backend.runs) == 3


def test_a_default_that_never_works_is_not_a_baseline(tmp_path):
    with pytest.raises(StudyError, match="the default failed in each of its 6 runs"):
        study(tmp_path, Simulated(fails=lambda _, values: not values))


def test_a_gain_that_breaks_a_requirement_is_not_an_improvement(tmp_path):
    rule = Requirement(metric="rps", operator=">=", bound=1000)
    found = study(tmp_path, Simulated(0.8), requirements=[rule])
    assert found.result.verdict == "improved"
    assert found.verdict == "no_evidence"
    assert found.sentence().startswith("Better, but not shown to keep what is required: wall_time_s -")
    assert "; rps>=1000 is missed (median " in found.sentence()
    assert found.summary()["requirements"][0]["outcome"] == "not_met"


def test_a_gain_that_keeps_its_requirements_is_an_improvement(tmp_path):
    rule = Requirement(metric="rps", operator=">=", bound=10)
    assert study(tmp_path, Simulated(0.8), requirements=[rule]).verdict == "improved"


def test_several_metrics_are_decided_together(tmp_path):
    both = [TIME, RPS.model_copy(update={"weight": 3.0})]
    found = study(tmp_path, Simulated(0.8), metrics=both)
    assert found.verdict == "improved"
    assert found.metric == "composite"
    assert found.result.effect.ratio == pytest.approx(0.8, rel=0.1)
    assert found.each["rps"].effect.ratio == pytest.approx(1 / found.each["wall_time_s"].effect.ratio)


def test_a_zero_among_several_metrics_says_what_to_do(tmp_path):
    zero = MetricSpec(name="zero", direction=Direction.MIN)
    with pytest.raises(EvidenceError, match="above zero"):
        study(tmp_path, Simulated(), metrics=[TIME, zero])


def test_a_metric_that_no_run_has_names_those_it_has(tmp_path):
    with pytest.raises(MetricError, match="did you mean wall_time_s"):
        study(tmp_path, Simulated(), metrics=[MetricSpec(name="wal_time_s", direction=Direction.MIN)])


def test_comparing_a_thing_with_itself_says_so(tmp_path):
    found = study(tmp_path, Simulated(), b=DEFAULT, budget=18)
    assert "Both sides are the same" in found.notes[0]
    assert found.verdict != "worse"


def test_disturbed_runs_are_told(tmp_path):
    backend = Simulated()
    run = backend.run

    def stolen(workload, scheduler, *, seed, nth=0):
        return run(workload, scheduler, seed=seed).model_copy(update={"covariates": {"steal_fraction": 0.4}})

    backend.run = stolen  # type: ignore[method-assign]
    found = study(tmp_path, backend, budget=18)
    assert "runs were disturbed from outside, such as: steal_fraction: 40%" in found.notes[0]


def told(folder, *, b=CANDIDATE, **changes):
    """The notes where every trial has these fields, too."""
    backend = Simulated()
    run = backend.run
    backend.run = lambda *args, **options: run(*args, **options).model_copy(update=changes)  # type: ignore[method-assign]
    return " ".join(study(folder, backend, b=b, budget=12).notes)


def test_processes_that_outlive_the_command_are_told(tmp_path):
    notes = told(tmp_path / "some", nr_leftovers=2)
    assert "In 12 of 12 runs, processes outlived the command and were ended (24 in all)" in notes
    assert "outlived" not in told(tmp_path / "none")


@pytest.mark.parametrize(
    ("values", "other_fraction", "expected"),
    [
        ({"autogroup_nice": -5}, 0.6, True),
        ({"realtime": "fifo"}, 0.6, True),
        ({"autogroup_nice": -5}, 0.02, False),
        ({"nice": 5}, 0.6, False),
    ],
)
def test_time_taken_from_other_programs_is_told(tmp_path, values, other_fraction, expected):
    candidate = SchedulerConfig(name="fair", values=values)
    notes = told(tmp_path, b=candidate, covariates={"other_fraction": other_fraction})
    assert ("which took 60% of the CPUs' time" in notes) == expected


def test_a_bare_scheduler_name_reads_as_its_defaults(tmp_path):
    found = study(tmp_path, Simulated(0.5), a=SchedulerConfig(name="fair"))
    assert found.sentence().endswith("with fair:nice=5 against fair's defaults.")


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (0.8, 0.9, "-15.0% (95% interval -20.0% to -10.0%)"),
        (0.8, math.inf, "-15.0% (95% interval -20.0% or more)"),
        (-math.inf, 0.9, "-15.0% (95% interval -10.0% or less)"),
        (-math.inf, math.inf, "-15.0% (too few runs, or too many failed, to bound it)"),
    ],
)
def test_an_effect_is_told_in_words_where_nothing_bounds_it(low, high, told):
    assert tell_effect(Estimate(0.85, (low, high))) == told


@pytest.mark.parametrize(("runs", "takes"), [(6, True), (7, False)])
def test_a_requirement_says_how_many_runs_it_takes(runs, takes):
    rule = Requirement(metric="rps", operator=">=", bound=1000)
    told = tell_rule(judge_requirement(rule, [1500.0] * runs, confidence=0.975))
    expected = f"rps>=1000 {'is not certain' if takes else 'is kept'} (median 1500 of {runs} runs"
    expected += "; it takes 7 of the candidate's, a confirmation of 21 runs or more)" if takes else ")"
    assert told == expected


def test_the_log_is_enough_to_tell_who_ran_where(tmp_path):
    study(tmp_path, Simulated(cv=0.4), budget=12)
    records = read_trials(tmp_path)[1]
    assert [record.block for record in records] == [n // 3 for n in range(12)]
    assert all((record.arm == "candidate") == bool(record.trial.values) for record in records)
    assert (tmp_path / LOG_NAME).stat().st_size > 0


def test_a_log_of_another_candidate_is_refused(tmp_path):
    study(tmp_path, Simulated(0.8, interrupt_at=7))
    with pytest.raises(StudyError, match="of other settings"):
        study(tmp_path, Simulated(0.8), b=SchedulerConfig(name="fair", values={"nice": 6}))


def test_an_early_gain_goes_on_until_its_requirement_can_be_judged(tmp_path):
    rule = Requirement(metric="wall_time_s", operator="<=", bound=100.0)
    found = study(tmp_path, Simulated(0.5, cv=0.01), requirements=[rule], budget=30)
    assert study(tmp_path / "without", Simulated(0.5, cv=0.01), budget=30).nr_runs < 21
    assert found.nr_runs == 21  # 7 runs bound a median at 97.5%
    assert found.requirements[0].outcome == "met"
    assert found.verdict == "improved"


def test_a_requirement_on_the_brink_takes_the_whole_budget(tmp_path):
    rule = Requirement(metric="wall_time_s", operator="<=", bound=1.0)  # the candidate's median
    found = study(tmp_path, Simulated(0.5), requirements=[rule], budget=45)
    assert found.nr_runs == 45
    assert found.requirements[0].runs == 15
    assert found.ended is Ended.BUDGET
