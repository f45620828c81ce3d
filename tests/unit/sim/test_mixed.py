"""Does the model run the requests that the suite's program really draws?"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from schedtuna.errors import UsageError
from schedtuna.resources import resource_path
from schedtuna.sim.flat import FOREVER
from schedtuna.sim.loads import read_load
from schedtuna.sim.mixed import is_mixed, load_of_mix, mixed_load
from schedtuna.sim.native import Op
from schedtuna.sim.origin import Origin
from schedtuna.sim.traced import simulate
from schedtuna.trace.analysis import Analysis
from schedtuna.workload.programs import mix
from schedtuna.workload.suite import own_names

UNIT_NS = 20_000
# Run in the program's own interpreter: what it draws, by its own name for it.
DRAWN = """
import json, random, runpy, sys
mix = runpy.run_path(sys.argv[1])
options = mix["parse_options"](sys.argv[2:])
rng = random.Random(options.seed)
print(json.dumps([mix["draw_requests"](rng, options) for _ in range(options.tasks)]))
"""


def steps_of(load):
    """Each task's name and its steps, as (op, amount, object)."""
    ends = np.cumsum(load.tasks["nr_steps"])
    parts = np.split(load.steps, ends[:-1])
    return [
        (name, [(Op(int(s["op"])), int(s["amount"]), int(s["object"])) for s in part])
        for name, part in zip(load.names, parts, strict=True)
    ]


@pytest.mark.parametrize("seed", [0, 1, 987_654])
@pytest.mark.parametrize("helper", [False, True])
def test_amounts_are_those_that_the_program_draws(seed, helper):
    words = ["--seed", str(seed), "--tasks", "3", "--rate", "70", "--hogs", "2", *["--helper"] * helper]
    program = str(resource_path("workload/programs/mix.py"))
    argv = [sys.executable, "-I", "-c", DRAWN, program, *words]
    drawn = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    tasks = steps_of(load_of_mix(mix.parse_options(words), UNIT_NS))
    assert [name for name, _ in tasks] == ["interactive"] * 3 + ["helper"] * 3 * helper + ["hog"] * 2
    for number, requests in enumerate(drawn):
        assert len(requests) > 50
        steps = tasks[number][1]
        arrivals = [amount for op, amount, _ in steps if op is Op.SLEEP_UNTIL]
        assert arrivals == [mix.START_NS + arrival for arrival, _ in requests]
        work = [amount for op, amount, _ in steps if op is Op.RUN]
        if helper:
            others = [amount for op, amount, _ in tasks[3 + number][1] if op is Op.RUN]
            work = [mine + other for mine, other in zip(work, others, strict=True)]
        assert work == pytest.approx([loops * UNIT_NS / 1000 for _, loops in requests], abs=1)
    assert tasks[-1] == ("hog", [(Op.RUN, FOREVER, (1 << 32) - 1)])


def test_seeds_differ_and_the_manifest_does_not():
    (one, facts), (same, _), (other, others) = (mixed_load("short-bursts", 2, seed) for seed in (1, 1, 2))
    assert one.sha256() == same.sha256() != other.sha256()
    assert facts == others
    assert facts["sha256"] != mixed_load("short-bursts", 4, 1)[1]["sha256"]
    assert facts["sha256"] != mixed_load("short-bursts:unit_us=21", 2, 1)[1]["sha256"]


@pytest.mark.parametrize("name", own_names())
def test_every_request_is_answered_by_tasks_that_never_wait_for_long(name):
    trace = simulate(name, "fair", cpus=4, seed=3)
    told = {row["name"]: row for row in Analysis(trace).by("comm").dicts()}
    load, _ = mixed_load(name, 4, 3)
    asked = sum(
        amount for task, steps in steps_of(load) if task != "hog" for op, amount, _ in steps if op is Op.RUN
    )
    used = sum(row["cpu_time_ns"] for name, row in told.items() if name != "hog")
    assert used == pytest.approx(asked, rel=0.25)  # and switches, wakeups and caches that are cold
    assert trace.manifest["duration_s"] == pytest.approx(2.05)


def test_hogs_apart_have_groups_of_their_own():
    words = ["--apart", "--hogs", "2", "--tasks", "8", "--rate", "3000"]
    load = load_of_mix(mix.parse_options(words), UNIT_NS)
    trace = simulate(load, "fair", cpus=1)
    used = {row["name"]: row["cpu_time_ns"] for row in Analysis(trace).by("cgroup").dicts()}
    assert [used[f"/session{number}"] / sum(used.values()) for number in ("", "-1", "-2")] == pytest.approx(
        [1 / 3] * 3, abs=0.03
    )


def test_a_trace_of_one_can_be_simulated_again():
    trace = simulate("interactive-mix:unit_us=30", "fair", cpus=2, seed=5, duration_s=0.5)
    origin = Origin.of(trace)
    assert f"{origin.repeated().totals.hash:016x}" == trace.manifest["simulation"]["totals"]["hash"]


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("short-bursts:unit=3", "sets nothing"),
        ("short-bursts:unit_us=nan", "takes 0.1 to 10,000 us"),
        ("short-bursts:unit_us=x", "sets nothing"),
        ("short-bursts:unit_us=0", "takes 0.1 to 10,000 us"),
    ],
)
def test_bad_settings_are_refused(source, told):
    with pytest.raises(UsageError, match=told):
        mixed_load(source, 2, 1)


def test_what_can_not_be_drawn_is_refused():
    with pytest.raises(UsageError, match="here they would never change"):
        read_load("short-bursts", nr_cpus=2)
    assert not is_mixed("cpu-bound")


def ops(steps):
    return [op for op, _, _ in steps]


def test_helpers_work_one_after_the_other_or_together():
    words = ["--seed", "5", "--tasks", "2", "--rate", "20", "--hogs", "0", "--helpers", "2"]
    for together in (False, True):
        options = mix.parse_options([*words, *["--together"] * together])
        rows = steps_of(load_of_mix(options, UNIT_NS))
        assert [name for name, _ in rows] == ["interactive"] * 2 + ["helper"] * 4
        asks, reads = (Op.WRITE, Op.WRITE, Op.READ, Op.READ), (Op.WRITE, Op.READ, Op.WRITE, Op.READ)
        assert ops(rows[0][1])[:5] == [Op.SLEEP_UNTIL, *(asks if together else reads)]
        asked = {number for _, steps in rows[:2] for op, _, number in steps if op is Op.WRITE}
        heard = {number for _, steps in rows[2:] for op, _, number in steps if op is Op.READ}
        assert len(asked) == 4 and asked == heard
        work = sum(amount for _, steps in rows for op, amount, _ in steps if op is Op.RUN)
        drawn = sum(nr_loops // 2 * 2 for mine in mix.draw_all(options) for _, nr_loops in mine)
        assert work == pytest.approx(drawn * UNIT_NS / mix.LOOPS_PER_UNIT)


def test_tasks_that_change_parts_spin_until_halfway():
    options = mix.parse_options(["--tasks", "3", "--hogs", "2", "--swap", "--seconds", "4"])
    rows = steps_of(load_of_mix(options, UNIT_NS))
    assert [name for name, _ in rows] == ["interactive", "hog"] * 2 + ["interactive"]
    half_ns = mix.START_NS + 2 * 10**9
    for first, second in (rows[:2], rows[2:4]):
        assert first[1][-1][:2] == (Op.RUN, FOREVER)
        assert second[1][0][:2] == (Op.SPIN, half_ns)
        arrivals = [
            [amount for op, amount, _ in steps if op is Op.SLEEP_UNTIL] for _, steps in (first, second)
        ]
        assert max(arrivals[0]) < half_ns <= min(arrivals[1])


def test_even_requests_are_alike_and_jobs_pause():
    options = mix.parse_options(["--tasks", "1", "--rate", "100", "--units", "5", "--even", "--hogs", "0"])
    (requests,) = mix.draw_all(options)
    gaps = np.diff([arrival for arrival, _ in requests])
    assert set(gaps.tolist()) <= {9_999_999, 10_000_000, 10_000_001}
    assert {nr_loops for _, nr_loops in requests} == {5000}
    options = mix.parse_options(["--tasks", "0", "--hogs", "0", "--jobs", "2"])
    rows = steps_of(load_of_mix(options, UNIT_NS))
    assert [name for name, _ in rows] == ["job", "job"]
    assert rows[0][1] != rows[1][1]
    amounts = [amount for op, amount, _ in rows[0][1] if op is Op.RUN]
    assert min(amounts) >= mix.LEAST_JOB_UNITS * UNIT_NS
    assert np.mean(amounts) == pytest.approx(mix.JOB_UNITS * UNIT_NS, rel=0.2)


def test_users_share_a_group_each_with_a_hog():
    options = mix.parse_options(["--tasks", "2", "--hogs", "2", "--users"])
    load = load_of_mix(options, UNIT_NS)
    assert load.tasks["group"].tolist() == [1, 2, 1, 2]
    assert [name for name, _, _ in load.groups] == ["/user-1", "/user-2"]
