"""What perf recorded on this kernel, imported: perf's own tools must agree."""

import re
import shutil
import subprocess
from collections import Counter

import numpy as np
import pytest

from schedtuna.trace.analysis import Analysis
from schedtuna.trace.formats import load, perf_data, tools
from schedtuna.trace.formats.sink import Collector
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


LOAD = ["sh", "-c", "for i in 1 2 3; do (echo a; sleep 0.01) | cat >/dev/null; done"]
PROCESS_EVENTS = "sched:sched_process_fork,sched:sched_process_exec,sched:sched_process_exit"


@pytest.mark.parametrize(
    "options",
    [
        ["-a", "-e", "sched:*"],
        ["-a", "-k", "CLOCK_MONOTONIC", "-e", "sched:sched_switch,sched:sched_wakeup", "-e", PROCESS_EVENTS],
        ["-e", "sched:sched_switch"],
        ["-a", "-g", "-e", "sched:sched_switch,sched:sched_waking", "-m", "16"],  # with losses, at times
        ["-a", "-z", "-e", "sched:*"],
    ],
    ids=["all", "clock", "one-event", "call-chains", "compressed"],
)
def test_perf_script_prints_the_events_that_we_read(tmp_path, options):
    """The same events in the same order, from the same file; perf prints no kernel's prev_state."""
    if shutil.which("perf") is None:
        pytest.skip("perf is not installed")
    path = tmp_path / "perf.data"
    done = perf("record", "-m", "8M", *options, "-o", path, "--", *LOAD)
    if done.returncode or not path.exists():
        pytest.skip(f"perf can't record here: {done.stderr.strip()[-200:]}")
    ours, theirs = Collector(), Collector()
    perf_data.parse(path, ours)
    tools.perf_script(path, theirs)
    mine, printed = ours.trace(), theirs.trace()
    events = mine.events.copy()
    events["aux"] = 0
    assert len(events) > 10
    assert np.array_equal(events, printed.events)
    assert mine.nr_lost == printed.nr_lost
    assert mine.clock == printed.clock
    assert set(printed.tasks["tid"]) <= set(mine.tasks["tid"])


def test_what_is_piped_is_read_through_perf(tmp_path):
    if shutil.which("perf") is None:
        pytest.skip("perf is not installed")
    path = tmp_path / "perf.data"
    with path.open("wb") as file:
        done = subprocess.run(
            ["perf", "record", "-e", "sched:sched_switch", "-o", "-", "--", *LOAD],
            stdout=file,
            stderr=subprocess.PIPE,
            check=False,
        )
    if done.returncode or path.stat().st_size < 1000:
        pytest.skip(f"perf can't record here: {done.stderr[-200:]!r}")
    assert len(load(path).events) > 10


def test_every_event_is_imported(recorded, trace):
    text = perf("script", "--force", "-F", "event,trace", "-i", recorded).stdout
    printed = Counter(re.findall(r"sched:(sched_\w+):", text))
    counted = {kind: int((trace.events["type"] == kind).sum()) for kind in EventType}
    assert counted[EventType.SWITCH] == printed["sched_switch"] > 10
    assert counted[EventType.WAKING] == printed["sched_waking"]
    assert counted[EventType.FORK] == printed["sched_process_fork"] > 0
    assert counted[EventType.MIGRATE] == printed["sched_migrate_task"]
    assert trace.manifest["nr_unread"] == 0


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
