"""The program that looks at /proc while a load runs: what it tells is what other readers of /proc tell."""

import json
import math
import subprocess
import sys
import time

import pytest

from schedtuna.features.table import SYSTEM_FEATURES
from schedtuna.record.procfs import SystemSampler
from schedtuna.resources import resource_path
from schedtuna.workload.programs import window

PROGRAM = resource_path("workload/programs/window.py")
BUSY = [sys.executable, "-c", "while True: pass"]
ASLEEP = [sys.executable, "-c", "import time\nwhile True: time.sleep(0.002)"]


def run(*command, length=1.0, discard=0.3):
    argv = [sys.executable, "-I", PROGRAM, "--length", str(length), "--discard", str(discard), "--", *command]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120)


def test_a_task_that_computes_is_one_job_and_one_that_sleeps_is_many():
    busy, asleep = (json.loads(run(*command).stdout) for command in (BUSY, ASLEEP))
    assert busy["nr_jobs"] <= 5
    assert asleep["nr_jobs"] > 10 * busy["nr_jobs"]
    assert asleep["turnaround"] < busy["turnaround"]
    for told in (busy, asleep):
        assert told["nr_counted_threads"] == 1
        assert 0 <= told["first_run"] <= told["turnaround"]
        assert [told[f"sample{n}.time_s"] for n in range(3)] == sorted(
            told[f"sample{n}.time_s"] for n in range(3)
        )
        names = {name.partition(".")[2] for name in told if name.startswith("sample0.")}
        assert names - {"time_s"} <= SYSTEM_FEATURES.keys()


def test_a_look_agrees_with_the_sampler_of_the_recorder():
    sampler, before = SystemSampler(), window.SystemLook()
    time.sleep(0.5)
    _, theirs = sampler.sample()
    ours = window.SystemLook().since(before)
    assert ours.keys() <= theirs.keys()
    for name in ("memory_available_bytes", "cache_bytes", "memory_used_bytes"):
        assert math.isclose(ours[name], theirs[name], rel_tol=0.2), name
    assert abs(ours["cpu_percent"] - theirs["cpu_percent"]) < 60
    assert ours["buffers_bytes"] == pytest.approx(theirs["buffers_bytes"], rel=0.1)
    assert ours["switches_per_s"] == pytest.approx(theirs["switches_per_s"], rel=0.9)


@pytest.mark.parametrize(
    ("rows", "spread"),
    [
        ([], 0.0),
        ([(5e6, 5e6, 1.0)], 0.0),
        ([(5e6, 5e6, 1.0), (5e6, 5e6, 1.0)], 0.0),
        ([(2e6, 2e6, 1.0), (5e6, 9e6, 1.0), (5e6, 9e6, 1.0)], 0.0),  # who asked for little got it all
        ([(6e6, 9e6, 2.0), (3e6, 9e6, 1.0)], 0.0),  # by weight
        ([(9e6, 9e6, 1.0), (3e6, 9e6, 1.0)], 0.5),  # 6 each: 1.5 and 0.5
        ([(9e6, 9e6, 1.0), (3e6, 9e6, 1.0), (1e3, 1e3, 1.0)], 0.5),  # the last one says nothing
    ],
)
def test_fairness_is_the_spread_of_received_over_entitled(rows, spread):
    assert window.spread(rows) == pytest.approx(spread, abs=1e-3)


def test_a_load_that_ends_early_is_told():
    done = run("true")
    assert (done.returncode, done.stdout) == (1, "")
    assert "ended early, with exit code 0" in done.stderr
