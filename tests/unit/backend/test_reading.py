from dataclasses import replace

import pytest

from schedtuna.backend.base import Validity
from schedtuna.backend.reading import Ran, RunError, TrialReader
from schedtuna.errors import MetricError
from schedtuna.knobs.inforce import Force, SettingFinding
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.space import ParameterSpec, ParameterType
from schedtuna.workload.command import RawRun
from schedtuna.workload.spec import Direction, MetricSource, MetricSpec, Workload

FAIR = SchedulerConfig(name="fair")
FLAG = ParameterSpec(name="eager", type=ParameterType.BOOLEAN, default=False)
EAGER = SchedulerConfig(name="fair", parameters={"eager": FLAG}, values={"eager": True})
LOAD = Workload(argv=("load",))
SCORE = MetricSpec(
    name="score", direction=Direction.MAX, source=MetricSource(kind="regex", argument="score ([0-9.]+)")
)
RAW = RawRun(0, None, False, 0.0, {"wall_time_s": 1.0}, stdout="score 4")


def trial(reading: TrialReader, ran: Ran | Exception, scheduler: SchedulerConfig = FAIR):
    def make() -> Ran:
        if isinstance(ran, Exception):
            raise ran
        return ran

    return reading.trial_of(make, LOAD, scheduler, seed=3)


def test_a_good_run_has_its_metrics_and_says_what_it_was():
    found = trial(TrialReader([SCORE]), Ran(RAW, covariates={"steal_fraction": 0.2}), EAGER)
    assert (found.scheduler, found.values, found.seed) == ("fair", {"eager": True}, 3)
    assert (found.validity, found.metrics["score"]) == (Validity.OK, 4.0)
    assert found.covariates == {"steal_fraction": 0.2}
    assert (found.output_tail, found.reason) == ("", "")


def test_a_run_beyond_a_limit_fails_wherever_it_was_made():
    found = trial(TrialReader(limits={"steal_fraction": 0.1}), Ran(RAW, covariates={"steal_fraction": 0.2}))
    assert found.validity is Validity.FAILED
    assert "steal_fraction: 20%" in found.reason


def test_a_run_whose_settings_were_undone_fails_and_keeps_what_it_measured():
    raw = replace(RAW, in_force={"eager": str(SettingFinding(Force.UNDONE))})
    found = trial(TrialReader([SCORE]), Ran(raw), EAGER)
    assert found.validity is Validity.FAILED
    assert "eager=True was not in force" in found.reason
    assert found.metrics["score"] == 4.0


def test_an_ejected_run_has_its_schedulers_last_words_and_no_metrics():
    found = trial(TrialReader([SCORE]), Ran(RAW, "sched_ext is disabled", log="runnable task stall"))
    assert found.validity is Validity.EJECTED
    assert found.output_tail == "runnable task stall"
    assert found.metrics == {}


def test_a_run_that_came_to_nothing_is_a_failed_trial_without_an_exit_code():
    found = trial(TrialReader(), RunError("scx_x did not start", "its log"))
    assert (found.validity, found.reason, found.output_tail) == (
        Validity.FAILED,
        "scx_x did not start",
        "its log",
    )
    assert found.exit_code is None


def test_a_missing_metric_is_a_mistake_until_a_run_had_it_or_settings_may_have_cost_it():
    silent = Ran(replace(RAW, stdout="nothing"))
    reading = TrialReader([SCORE])
    with pytest.raises(MetricError):
        trial(reading, silent)
    assert trial(reading, silent, EAGER).validity is Validity.FAILED
    trial(reading, Ran(RAW))
    found = trial(reading, silent)
    assert found.validity is Validity.FAILED
    assert found.output_tail == "nothing"


def test_sched_metrics_are_told_from_those_of_the_command():
    assert TrialReader(required=["sched.switches"]).reads_sched
    assert not TrialReader([SCORE]).reads_sched
