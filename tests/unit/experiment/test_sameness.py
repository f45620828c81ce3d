"""Runs that measured other parts, or in another unit, are not compared."""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from schedtuna.backend.base import Side, Trial, Validity
from schedtuna.errors import StudyError
from schedtuna.experiment.compare import compare
from schedtuna.experiment.sameness import Reference
from schedtuna.experiment.triallog import TrialLog
from schedtuna.experiment.variability import run_variability
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.spec import Direction, MetricSpec, RunSpec, Workload

DEFAULT = SchedulerConfig(name="default")
CANDIDATE = SchedulerConfig(name="fair", values={"nice": 5})
RATE = MetricSpec(name="bogo_ops_per_s", direction=Direction.MAX)
BOTH = ("cpu", "hdd")


class Parted:
    """Runs whose parts and unit follow from the side and the number of the run; fewer parts look faster."""

    name = "parted"
    identity: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()

    def __init__(self, parts=lambda candidate, number: BOTH, unit=lambda candidate, number: "") -> None:
        self.parts = parts
        self.unit = unit
        self.rng = np.random.default_rng(1)
        self.number = 0

    def run(self, workload, scheduler, *, seed, nth=0):
        candidate = bool(scheduler.values)
        parts = self.parts(candidate, self.number)
        unit = self.unit(candidate, self.number)
        self.number += 1
        rate = math.exp(0.01 * float(self.rng.standard_normal())) * (1000 if parts != BOTH else 350)
        return Trial(
            scheduler=scheduler.name,
            values=scheduler.values,
            seed=seed,
            metrics={"bogo_ops_per_s": rate},
            parts=parts,
            units={"bogo_ops_per_s": unit} if unit else {},
            duration_s=1.0,
        )


def study(folder, backend, seed=7):
    with TrialLog(folder, {"workload": "w"}) as log:
        spec = RunSpec(workload=Workload(argv=("x",)), metrics=(RATE,), seed=seed)
        return compare(spec, Side(backend, DEFAULT), Side(backend, CANDIDATE), log=log)


def trial(**changes) -> Trial:
    return Trial(**{"scheduler": "default", "parts": BOTH, "metrics": {"x": 1.0}, **changes})


@pytest.mark.parametrize("seed", range(6))  # whichever side runs first
def test_a_candidate_without_a_part_of_the_defaults_gets_no_verdict(tmp_path, seed):
    backend = Parted(lambda candidate, _: ("cpu",) if candidate else BOTH)
    with pytest.raises(StudyError, match="measured other parts than the default's first run: without hdd"):
        study(tmp_path, backend, seed)


@pytest.mark.parametrize("seed", range(3))
def test_a_candidate_that_now_and_then_lacks_a_part_is_never_improved(tmp_path, seed):
    found = study(tmp_path, Parted(lambda candidate, n: ("cpu",) if candidate and n % 2 else BOTH), seed)
    assert found.verdict != "improved"
    failed = [record for record in found.records if record.trial.validity == "failed"]
    assert failed and all("without hdd" in record.trial.reason for record in failed)


def test_a_part_too_many_fails_as_well(tmp_path):
    with pytest.raises(StudyError, match="with io"):
        study(tmp_path, Parted(lambda candidate, _: (*BOTH, "io") if candidate else BOTH))


def test_parts_survive_a_resume(tmp_path):
    whole = study(tmp_path / "whole", Parted(lambda c, n: ("cpu",) if c and n % 2 else BOTH))
    folder = tmp_path / "torn"
    study(folder, Parted(lambda c, n: ("cpu",) if c and n % 2 else BOTH))
    log = folder / "trials.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:8]))
    backend = Parted(lambda c, n: ("cpu",) if c and n % 2 else BOTH)
    backend.number = 7  # runs so far
    resumed = study(folder, backend)
    assert [r.trial.validity for r in resumed.records] == [r.trial.validity for r in whole.records]


def test_runs_of_older_logs_that_do_not_tell_their_parts_are_let_be():
    reference = Reference()
    reference.learn(trial(parts=None))
    reference.learn(trial())
    old = trial(parts=None)
    assert reference.judged(old) is old
    assert reference.judged(trial(parts=("cpu",))).validity is Validity.FAILED
    assert Trial.model_validate_json('{"scheduler": "default"}').parts is None


def test_numbers_of_processes_in_the_names_of_parts_do_not_tell_runs_apart():
    reference = Reference()
    reference.learn(trial(parts=("io-4711", "io-4712")))
    assert reference.judged(trial(parts=("io-104", "io-99"))).validity is Validity.FAILED
    assert reference.judged(trial(parts=("io-4801", "io-4802"))).validity is Validity.OK
    assert "without io-#" in reference.judged(trial(parts=("io-4801",))).reason


def test_one_unit_in_two_spellings_is_compared():
    reference = Reference()
    reference.learn(trial(units={"x": "sec"}))
    assert reference.judged(trial(units={"x": "seconds"})).validity is Validity.OK
    with pytest.raises(StudyError, match="in sec in one run and in ms in another"):
        reference.judged(trial(units={"x": "ms"}))


def test_the_first_run_that_worked_counts():
    reference = Reference()
    reference.learn(trial(parts=("cpu",), validity=Validity.FAILED))
    reference.learn(trial())
    reference.learn(trial(parts=("cpu",)))
    assert reference.judged(trial()).validity is Validity.OK


@pytest.mark.parametrize("seed", range(3))
def test_another_unit_ends_without_a_verdict(tmp_path, seed):
    backend = Parted(unit=lambda candidate, _: "us" if candidate else "ms")
    with pytest.raises(StudyError, match=r"no verdict: bogo_ops_per_s is printed in (ms|us) in one run"):
        study(tmp_path, backend, seed)


def test_variability_holds_runs_against_the_first(tmp_path):
    with TrialLog(tmp_path, {}) as log:
        backend = Parted(lambda _, number: ("cpu",) if number == 3 else BOTH)
        trials = run_variability(
            RunSpec(workload=Workload(argv=("x",)), seed=1), Side(backend, DEFAULT), runs=5, log=log
        )
        assert [t.validity for t in trials] == ["ok", "ok", "ok", "failed", "ok"]
        assert log.records()[3].trial.validity is Validity.FAILED
