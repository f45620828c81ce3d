"""`sched.*` metrics of a workload on this machine: what was done is what is counted."""

import os
import sys

import pytest

from schedtuna.backend.host import HostBackend
from schedtuna.errors import UnavailableError
from schedtuna.knobs.journal import Journal
from schedtuna.scheduler.fair import fair
from schedtuna.workload.metrics import parse_metric
from schedtuna.workload.spec import Workload

SLEEPS = 200
SLEEPER = f"import time\nfor _ in range({SLEEPS}): time.sleep(0.0005)"


@pytest.fixture
def run(tmp_path):
    def run(metric, *, values=None, program=SLEEPER):
        backend = HostBackend(metrics=[parse_metric(metric)], journal=Journal(tmp_path / "state"))
        workload = Workload(argv=(sys.executable, "-I", "-S", "-c", program))
        try:
            with backend:
                return backend.run(workload, fair(include=["all"]).with_values(values or {}), seed=1)
        except UnavailableError as error:
            pytest.skip(f"can't record here: {error}")

    return run


def test_every_sleep_is_a_wakeup(run):
    trial = run("sched.wakeups:min")
    assert trial.validity == "ok", trial.reason
    assert SLEEPS <= trial.metrics["sched.wakeups"] <= SLEEPS + 20  # and some page faults


def test_children_are_counted_too(run):
    program = (
        f"import os, time\nif os.fork(): os.wait()\nelse:\n for _ in range({SLEEPS}): time.sleep(0.0005)"
    )
    assert run("sched.wakeups:min", program=program).metrics["sched.wakeups"] >= SLEEPS


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU: there is nowhere to migrate to")
def test_one_cpu_leaves_nowhere_to_migrate_to(run):
    trial = run("sched.migrations:min", values={"affinity": "cpus_1"})
    assert trial.metrics["sched.migrations"] <= 1  # onto that CPU


def test_latencies_come_with_it(run):
    metrics = run("sched.wakeup_latency_p99_us:min").metrics
    assert metrics["sched.wakeup_latency_mean_us"] > 0
    assert metrics["sched.wakeup_latency_p50_us"] <= metrics["sched.wakeup_latency_p99_us"]
