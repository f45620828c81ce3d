"""What the kernel did is what a replay is made of."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from schedtuna.record.recorder import Recorder, RecordOptions
from schedtuna.resources import resource_path
from schedtuna.sim.flat import FOREVER
from schedtuna.sim.mixed import load_of_mix
from schedtuna.sim.native import Op, cost_table
from schedtuna.sim.recorded import RecordedLoad
from schedtuna.sim.traced import simulate
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.schema import EventType
from schedtuna.trace.store import open_trace
from schedtuna.workload.programs import mix

LOAD = {
    "tasks": {
        "hog": {"instance": 2, "run": 10_000, "cpus": [0]},
        "timer": {"run": 400, "timer": {"ref": "unique", "period": 5000}},
        "parent": {"run": 300, "fork": "child", "sleep": 20_000},
        "child": {"instance": 0, "loop": 1, "phases": {"all": {"loop": 1, "run": 500, "sleep": 500}}},
    },
    "global": {"duration": 1},
}
FREE = {name: 0 for name, *_ in cost_table()}


@pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root")
def test_each_task_has_the_cpu_time_that_the_kernel_gave_it(tmp_path):
    file = tmp_path / "load.json"
    file.write_text(json.dumps(LOAD))
    with Recorder(tmp_path / "trace", RecordOptions(processes=False)):
        subprocess.run([resource_path("native/schedtuna-player"), file], check=True, capture_output=True)
    load = RecordedLoad(open_trace(tmp_path / "trace"))

    told = Analysis(load.trace).by("task")
    numbers = dict(zip(told.names, told.columns["cpu_time_ns"].tolist(), strict=True))
    tids = load.lives.states.tid[load.lives.first].tolist()
    mine = {f"{name}:{tid}": time for name, tid, time in zip(load.names, tids, load.cpu_time_ns, strict=True)}
    assert mine.keys() == numbers.keys()
    assert mine == numbers

    flat = load.flat(load.nr_cpus, FREE)
    task = np.repeat(np.arange(len(flat.tasks)), flat.tasks["nr_steps"])
    runs = (flat.steps["op"] == Op.RUN.value) & (flat.steps["amount"] != FOREVER)
    ran = np.bincount(task[runs], flat.steps["amount"][runs], len(flat.tasks)).astype(int)
    cut = np.bincount(task[flat.steps["amount"] == FOREVER], minlength=len(flat.tasks)) > 0
    assert (ran[~cut] == load.cpu_time_ns[~cut]).all()

    forked = [flat.names[child] for child in flat.steps["object"][flat.steps["op"] == Op.FORK.value]]
    assert forked.count("child") > 10
    # The player binds a task that it has begun.
    bound = flat.steps["op"] == Op.SET_AFFINITY.value
    sets = [flat.cpu_sets[number] for number in flat.steps["object"][bound] if number < len(flat.cpu_sets)]
    names = [flat.names[number] for number in task[bound]]
    assert sets.count([0]) >= 2
    assert names.count("hog") >= 2
    again = Analysis(simulate(load)).by("comm")
    assert dict(zip(again.names, again.columns["nr_tasks"].tolist(), strict=True))["child"] > 10


def in_an_autogroup():
    """Whether tasks here share CPU time by session."""
    enabled = Path("/proc/sys/kernel/sched_autogroup_enabled")
    own = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    return enabled.exists() and enabled.read_text().strip() == "1" and own.get("cpu", own.get("")) == "/"


@pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root")
def test_a_session_of_one_has_as_much_as_one_of_eight_also_in_the_replay(tmp_path):
    if not in_an_autogroup():
        pytest.skip("there are no autogroups here")
    players = []
    with Recorder(tmp_path / "trace", RecordOptions(processes=False)):
        for name, nr in (("one", 1), ("eight", 8)):
            tasks = {name: {"instance": nr, "run": 10_000, "cpus": [0], "loop": -1}}
            (tmp_path / name).write_text(json.dumps({"tasks": tasks, "global": {"duration": 2}}))
            argv = [resource_path("native/schedtuna-player"), tmp_path / name]
            players.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, start_new_session=True))
        assert [player.wait() for player in players] == [0, 0]
    trace = open_trace(tmp_path / "trace")
    load = RecordedLoad(trace)
    in_groups = {
        name: set(trace.attributes.filter(pl.col("tid").is_in(rows["tid"].to_list()))["group_id"])
        for (name,), rows in trace.tasks.filter(pl.col("comm").is_in(["one", "eight"])).group_by("comm")
    }
    assert in_groups["one"].isdisjoint(in_groups["eight"])
    for of in (trace, simulate(load)):
        used = {row["name"]: row["cpu_time_ns"] for row in Analysis(of).by("comm").dicts()}
        assert used["one"] / (used["one"] + used["eight"]) == pytest.approx(0.5, abs=0.1)


@pytest.mark.skipif(os.geteuid() != 0, reason="recording needs root")
def test_the_suites_own_program_wakes_up_when_the_model_says(tmp_path):
    words = ["--seed", "7", "--tasks", "1", "--hogs", "0", "--rate", "60", "--units", "2", "--seconds", "2"]
    argv = [sys.executable, "-I", str(resource_path("workload/programs/mix.py")), *words]
    with (
        Recorder(tmp_path / "trace", RecordOptions(processes=False)),
        subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as program,
    ):
        nr_requests = json.loads(program.stdout.read().splitlines()[-1])["nr_requests"]
    load = load_of_mix(mix.parse_options(words), 20_000)
    arrivals = load.steps["amount"][load.steps["op"] == Op.SLEEP_UNTIL.value]
    assert len(arrivals) == nr_requests > 80
    trace = open_trace(tmp_path / "trace")
    [tid] = trace.tasks.filter(pl.col("ppid") == program.pid)["tid"].to_list()
    events = trace.events
    wakeups = events["timestamp_ns"][(events["tid"] == tid) & (events["type"] == EventType.WAKEUP)]
    # Of requests that come while one before is answered none wakes it up; a timer is late, never early.
    off_ns = np.subtract.outer(wakeups.astype(np.int64), arrivals)
    begin_ns = off_ns[0, 0]  # the first wakeup is that of the first request
    late_ns = off_ns - begin_ns
    late_ns = np.where(late_ns < -1_000_000, 1 << 60, late_ns).min(axis=1)
    assert 0.6 * nr_requests < len(wakeups) <= nr_requests + 3
    assert np.mean(late_ns < 2_000_000) > 0.8
    [row] = Analysis(simulate(load, cpus=2)).by("comm").dicts()
    assert 0.9 * nr_requests < row["nr_wakeups"] <= nr_requests
