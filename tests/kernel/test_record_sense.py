"""What the agent senses, against /proc and against the recorder."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from schedtuna.record.aggregate import Aggregator
from schedtuna.record.sense import DelaySums, ProcTaskSensor, TaskSensor
from schedtuna.trace.aggregates.groups import fold
from schedtuna.trace.aggregates.layout import Delay

pytestmark = pytest.mark.usefixtures("root", "bpf")
FORKS = "import os\nfor _ in range(300):\n pid = os.fork()\n if not pid: os._exit(0)\n os.waitpid(pid, 0)"


@pytest.fixture
def sensor():
    made = TaskSensor()
    yield made
    made.close()


def row_of(rows, tid):
    (row,) = rows[rows["tid"] == tid]
    return row


def test_a_threads_row_is_what_proc_says(sensor):
    stop, tids = threading.Event(), []

    def work():
        tids.append(threading.get_native_id())
        os.setpriority(os.PRIO_PROCESS, tids[0], 4)
        os.sched_setscheduler(tids[0], os.SCHED_BATCH, os.sched_param(0))
        sum(range(2_000_000))
        stop.wait()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        while not tids or Path(f"/proc/{tids[0]}/wchan").read_text() in ("", "0"):
            time.sleep(0.05)
        row, (tid,) = row_of(sensor.rows(), tids[0]), tids
        proc = row_of(ProcTaskSensor().rows(), tid)
        run_ns, delay_ns, _ = map(int, Path(f"/proc/self/task/{tid}/schedstat").read_text().split())
    finally:
        stop.set()
        thread.join()
    assert (row["tgid"], row["ppid"]) == (os.getpid(), os.getppid())
    assert (row["nice"], row["policy"], row["slice_ns"]) == (4, os.SCHED_BATCH, 0)
    assert (row["cpu_time_ns"], row["run_delay_ns"]) == (run_ns, delay_ns)
    assert row["nr_cpus_allowed"] == len(os.sched_getaffinity(0))
    assert abs(int(row["start_time_ns"]) - int(proc["start_time_ns"])) <= 20_000_000  # a clock tick
    for name in ("tid", "tgid", "ppid", "nice", "policy", "cpu_time_ns", "comm"):
        assert row[name] == proc[name], name


def test_both_see_the_same_threads_and_none_of_the_kernels(sensor):
    with subprocess.Popen(["sleep", "60"]) as process:
        seen, listed = set(sensor.rows()["tid"].tolist()), set(ProcTaskSensor().rows()["tid"].tolist())
        process.kill()
    assert process.pid in seen & listed
    assert 2 not in seen | listed  # kthreadd
    hidden = {
        int(path.name) for path in Path("/proc/1/task").iterdir()
    }  # some guests' kernels list these nowhere else
    assert len((seen ^ listed) - hidden) <= 0.2 * len(seen) + 5  # what started or ended in between


def test_cpus_allowed_are_alike_or_not(sensor):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs two CPUs")
    cpu = min(os.sched_getaffinity(0))
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    try:
        for child in children[:2]:
            os.sched_setaffinity(child.pid, {cpu})
        one, same, other = (row_of(sensor.rows(), child.pid) for child in children)
    finally:
        for child in children:
            child.kill()
            child.wait()
    assert one["cpus_hash"] == same["cpus_hash"] != other["cpus_hash"]
    assert (one["nr_cpus_allowed"], other["nr_cpus_allowed"]) == (1, len(os.sched_getaffinity(0)))


def totals(window, first):
    """What the recorder has counted in a window, by the names of `DelaySums.window` of one second."""
    together = fold(window.tasks, [])[0]

    def more(name):
        return float((window.cpus[name] - first.cpus[name]).sum())

    return {
        "switches_per_s": more("nr_switches"),
        "wakeups_per_s": float(together["nr_delays"][Delay.WAKEUP]),
        "run_delay_ms_per_s": float(together["delay_ns"][: Delay.THROTTLED].sum()) / 1e6,
        "turnarounds_per_s": more("nr_turnarounds"),
        "turnaround_mean_us": more("turnaround_ns") / more("nr_turnarounds") / 1e3,
    }


@pytest.mark.parametrize("within", [False, True])
def test_sums_are_what_the_recorder_counts(within):
    """Both count at the same switches; the one whose window is within the other's has no more than that."""
    sums = DelaySums()
    try:
        with Aggregator() as aggregator:
            time.sleep(1)  # so that both have met what runs here
            if within:
                first = aggregator.window()
                sums.window(1.0)
            else:
                sums.window(1.0)
                first = aggregator.window()
            for _ in range(3):
                subprocess.run([sys.executable, "-c", FORKS], check=True)
            if within:
                ours, theirs = sums.window(1.0), totals(aggregator.window(), first)
            else:
                theirs = totals(aggregator.window(), first)
                ours = sums.window(1.0)
    finally:
        sums.close()
    assert ours["turnarounds_per_s"] >= 900
    for name, value in theirs.items():
        if name == "turnaround_mean_us":  # of the same forks, and a few of others
            assert ours[name] == pytest.approx(value, rel=0.15)
        elif within:
            assert ours[name] <= 1.02 * value, name
        else:
            assert ours[name] >= 0.98 * value, name


def test_who_sets_an_attribute_is_seen(sensor):
    if sensor.why_unfollowed:
        pytest.skip(sensor.why_unfollowed)
    with subprocess.Popen(["sleep", "60"]) as target:
        sensor.touches()
        subprocess.run(["renice", "-n", "5", "-p", str(target.pid)], check=True, capture_output=True)
        found = [touch for touch in sensor.touches() if touch.tid == target.pid]
        target.kill()
    assert [(touch.actor_comm, touch.nice) for touch in found][-1] == ("renice", 5)


def test_what_this_process_sets_is_no_news(sensor):
    with subprocess.Popen(["sleep", "60"]) as target:
        sensor.touches()
        os.setpriority(os.PRIO_PROCESS, target.pid, 5)
        assert [touch for touch in sensor.touches() if touch.tid == target.pid] == []
        assert row_of(sensor.rows(), target.pid)["nice"] == 5
        target.kill()


def test_what_has_no_value_is_missing_and_not_zero():
    found = _window()
    assert np.isfinite(list(found.values())).all()
    assert found["switches_per_s"] > 0


def _window():
    sums = DelaySums()
    try:
        subprocess.run(["true"], check=True)
        return sums.window(1.0)
    finally:
        sums.close()
