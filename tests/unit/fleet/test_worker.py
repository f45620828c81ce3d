"""A worker answers with trials, and with errors where nothing but the runs before could decide."""

from __future__ import annotations

import pytest

from schedtuna.backend.base import PlannedRun, Validity
from schedtuna.backend.places.simulated import Simulated
from schedtuna.backend.simulated import workload_of
from schedtuna.errors import MetricError
from schedtuna.fleet.worker import FleetWorker
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.workload.metrics import parse_metric
from schedtuna.workload.spec import RunSpec

pytest.importorskip("nanobind_backend")
DEFAULT = SchedulerConfig(name="default")
WORKLOAD = workload_of("interactive:load=0.5")
PLACE = Simulated.of(cpus=2)


def hired(*metrics: str, load: str = "interactive:load=0.5"):
    worker = FleetWorker()
    spec = RunSpec(workload=workload_of(load), metrics=tuple(parse_metric(name) for name in metrics))
    return worker, worker.greet(PLACE, spec, [DEFAULT], [])


def comparable(trial):
    return trial.model_dump(exclude={"started_at", "duration_s"})


def test_its_trials_are_those_that_this_process_makes():
    worker, greeting = hired()
    assert greeting.problem is None and greeting.facts.identity
    runs = [PlannedRun(WORKLOAD, DEFAULT, seed) for seed in (5, 6)]
    with PLACE.open(RunSpec(workload=WORKLOAD)) as backend:
        here = [backend.run(WORKLOAD, DEFAULT, seed=seed) for seed in (5, 6)]
    assert [comparable(answer.trial) for answer in worker.run(runs)] == list(map(comparable, here))


def test_a_load_that_it_lacks_is_told():
    _, greeting = hired(load="/nowhere/load.json")
    assert greeting.facts is None
    assert greeting.problem.kind == "UsageError" and "/nowhere/load.json" in greeting.problem.message


def test_a_metric_that_is_lacking_is_both_an_error_and_a_failed_run():
    worker, _ = hired("no_such_metric:min")
    for _ in range(2):  # whatever the worker has made before
        (answer,) = worker.run([PlannedRun(WORKLOAD, DEFAULT, 5)])
        assert answer.trial is None and answer.problem.kind == MetricError.__name__
        assert answer.if_measured.validity is Validity.FAILED
