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
from schedtuna.trace.intervals import intervals
from schedtuna.trace.schema import EventType
from schedtuna.trace.states import TaskState

TIMEHIST = re.compile(
    r"\s*(?P<time>[\d.]+) \[\d+\].*\[(?P<tid>\d+)(/\d+)?\]\s+[\d.]+\s+(?P<delay>[\d.]+)\s+(?P<run>[\d.]+)\s*$"
)


def perf(*arguments):
    return subprocess.run(
        ["perf", *map(str, arguments)], capture_output=True, text=True, errors="replace", check=False
    )


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    if shutil.which("perf") is None:
        pytest.skip("perf is not installed")
    path = tmp_path_factory.mktemp("perf") / "perf.data"
    # Two loops keep the CPUs busy: some virtual machines' kernels hide switches away from idle.
    busy = "(i=0; while [ $i -lt 60000 ]; do i=$((i + 1)); done) &"
    load_ = [
        "sh",
        "-c",
        f"{busy} {busy} for i in 1 2 3 4 5; do (echo a; sleep 0.02) | cat >/dev/null; done; wait",
    ]
    done = perf("sched", "record", "-m", "16M", "-o", path, "--", *load_)
    if done.returncode or not path.exists():
        pytest.skip(f"perf can't record here: {done.stderr.strip()[-200:]}")
    return path


@pytest.fixture(scope="module")
def trace(recorded):
    return load(recorded)


LOAD = ["sh", "-c", "for i in 1 2 3; do (echo a; sleep 0.01) | cat >/dev/null; done"]
LEAST_SWITCHES = 3 * 3  # each time, `sleep` sleeps, `cat` waits for it, and the shell for both
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
    assert np.count_nonzero(events["type"] == EventType.SWITCH) + mine.nr_lost >= LEAST_SWITCHES
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
    printed = perf("script", "-i", path).stdout.count("sched:sched_switch:")
    assert len(load(path).events) == printed >= LEAST_SWITCHES


def test_every_event_is_imported(recorded, trace):
    text = perf("script", "--force", "-F", "event,trace", "-i", recorded).stdout
    printed = Counter(re.findall(r"sched:(sched_\w+):", text))
    counted = {kind: int((trace.events["type"] == kind).sum()) for kind in EventType}
    assert counted[EventType.SWITCH] == printed["sched_switch"] > 10
    assert counted[EventType.WAKING] == printed["sched_waking"]
    assert counted[EventType.FORK] == printed["sched_process_fork"] > 0
    assert counted[EventType.MIGRATE] == printed["sched_migrate_task"]
    assert trace.manifest["nr_unread"] == 0


def test_perf_timehist_measures_the_same(recorded, trace):
    """Each time on a CPU, and the wait since sched_waking before it, to the microsecond that perf prints."""
    found = intervals(trace.events)
    whole = found.select(~found.began_before & ~found.ends_after)
    of_state = {state: whole.select(whole.state == state) for state in TaskState}
    ran = {
        (tid, end_ns // 1000): (start_ns, end_ns - start_ns)
        for tid, start_ns, end_ns in moments(of_state[TaskState.RUNNING])
    }
    waited = {
        (tid, end_ns): end_ns - start_ns
        for state in (TaskState.RUNNABLE_WOKEN, TaskState.RUNNABLE_NEW)
        for tid, start_ns, end_ns in moments(of_state[state])
    }
    printed = [
        (int(match["tid"]), *(int(match[name].replace(".", "")) for name in ("time", "delay", "run")))
        for match in map(TIMEHIST.match, perf("sched", "timehist", "-i", recorded).stdout.splitlines())
        if match
    ]
    # Where a switch is missing, perf takes all the time since the last one for the task's; we do not.
    known = [line for line in printed if line[:2] in ran]
    assert len(known) > len(printed) / 2
    assert [line[3] for line in known] == [ran[line[:2]][1] // 1000 for line in known]
    since_waking = [(line, waited.get((line[0], ran[line[:2]][0]))) for line in known]
    woken = [(line[2], wait // 1000) for line, wait in since_waking if wait is not None]
    assert len(woken) > 10
    assert [theirs for theirs, _ in woken] == [ours for _, ours in woken]


def moments(some):
    return zip(some.tid.tolist(), some.start_ns.tolist(), some.end_ns.tolist(), strict=True)


def test_no_cpu_is_busier_than_it_can_be(trace):
    rows = Analysis(trace, allow_lost=True).by("cpu")
    busy = rows.columns["busy_percent"]  # nan where too much of a CPU's time is unknown
    assert np.all(busy[~np.isnan(busy)] <= 100.001)


def test_the_text_of_timehist_gives_the_figures_of_its_perf_data(trace, recorded, tmp_path):
    """Times on the CPUs to 2 us per run; as many waits, with the first ones of new tasks."""
    if trace.is_incomplete:
        pytest.skip("perf lost events")
    path = tmp_path / "timehist"
    path.write_text(perf("sched", "timehist", "--state", "-n", "-i", recorded).stdout)
    text = load(path)
    ran_ns = [_ran_ns(intervals(one.events)) for one in (text, trace)]
    nr_runs = np.count_nonzero(trace.events["type"] == EventType.SWITCH)
    ends_ns = 0.002 * ran_ns[1]  # of what ran when recording began or ended
    assert abs(ran_ns[0] - ran_ns[1]) <= 2_000 * nr_runs + ends_ns
    found, expected = Analysis(text), Analysis(trace)
    waits, waits_here = (one.measured.values["wakeup_latency"].value_ns for one in (expected, found))
    nr_new = len(expected.measured.values["first_run_delay"].value_ns)
    assert np.count_nonzero(waits > 3_000) - 5 <= np.count_nonzero(waits_here > 1_000)
    assert np.count_nonzero(waits_here > 3_000) <= np.count_nonzero(waits > 1_000) + nr_new + 5


def _ran_ns(found):
    is_run = (found.state == TaskState.RUNNING) & (found.tid > 0)
    return int((found.end_ns - found.start_ns)[is_run].sum())
