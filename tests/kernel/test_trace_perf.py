"""What perf recorded on this kernel, imported: perf's own tools must agree."""

import re
import shutil
import subprocess
from collections import Counter

import numpy as np
import pytest

from schedtuna.trace.analysis import Analysis
from schedtuna.trace.formats import load
from schedtuna.trace.schema import EventType
from schedtuna.trace.states import TaskState

TIMEHIST = re.compile(r"\s*[\d.]+ \[\d+\]\s+(?P<task>.*?)\s+[\d.]+\s+(?P<delay>[\d.]+)\s+(?P<run>[\d.]+)\s*$")


def perf(*arguments):
    return subprocess.run(
        ["perf", *map(str, arguments)], capture_output=True, text=True, errors="replace", check=False
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    if shutil.which("perf") is None:
        pytest.skip("perf is not installed")
    path = tmp_path_factory.mktemp("perf") / "perf.data"
    load_ = ["sh", "-c", "for i in 1 2 3 4 5; do (echo a; sleep 0.02) | cat >/dev/null; done"]
    done = perf("sched", "record", "-m", "16M", "-o", path, "--", *load_)
    if done.returncode or not path.exists():
        pytest.skip(f"perf can't record here: {done.stderr.strip()[-200:]}")
    return path


@pytest.fixture(scope="module")
def trace(recorded):
    return load(recorded)


def test_every_event_is_imported(recorded, trace):
    text = perf("script", "--force", "-F", "event,trace", "-i", recorded).stdout
    printed = Counter(re.findall(r"sched:(sched_\w+):", text))
    counted = {kind: int((trace.events["type"] == kind).sum()) for kind in EventType}
    assert counted[EventType.SWITCH] == printed["sched_switch"] > 10
    assert counted[EventType.WAKING] == printed["sched_waking"]
    assert counted[EventType.FORK] == printed["sched_process_fork"] > 0
    assert counted[EventType.MIGRATE] == printed["sched_migrate_task"]
    assert trace.manifest["nr_unread_lines"] == 0


@pytest.mark.long  # the two see different losses on a machine under load
def test_perf_timehist_measures_the_same(recorded, trace):
    """Run time and delay since sched_waking, summed over all tasks; it prints microseconds."""
    run = delay = 0.0
    for line in perf("sched", "timehist", "-i", recorded).stdout.splitlines():
        match = TIMEHIST.match(line)
        if match and not match["task"].startswith("<idle>"):
            run, delay = run + float(match["run"]), delay + float(match["delay"])
    analysis = Analysis(trace, allow_lost=True)
    time = analysis.measured.time_ns.sum(axis=0) / 1e6
    waited = time[TaskState.RUNNABLE_WOKEN] + time[TaskState.RUNNABLE_NEW]
    # timehist counts a task's time on a CPU also where its switch-in is missing.
    assert time[TaskState.RUNNING] == pytest.approx(run, rel=0.05, abs=3)
    assert waited == pytest.approx(delay, rel=0.02, abs=1)


def test_no_cpu_is_busier_than_it_can_be(trace):
    rows = Analysis(trace, allow_lost=True).by("cpu")
    assert np.all(rows.columns["busy_percent"] <= 100.001)
