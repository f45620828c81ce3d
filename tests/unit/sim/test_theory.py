"""Schedulers of the simulated machine, held against what queueing and scheduling theory say of them."""

import heapq
import math
from functools import cache

import numpy as np
import pytest

from schedtuna.sim import Simulation, Stop
from schedtuna.sim.native import cost_table
from schedtuna.trace.schema import EventType, PrevState

# A machine that takes nothing for itself, and ends slices on time.
IDEAL = {name: 0 for name, *_ in cost_table()} | {"tick_ns": 4_000_000, "slice_timer": 1}
MEAN_US = 1000


@cache
def jobs(nr_jobs, load, cpus=1, shape="exponential", seed=1):
    """Arrivals of a Poisson process and how long each job computes, in whole microseconds."""
    rng = np.random.default_rng(seed)
    draw = {
        "exponential": lambda: rng.exponential(MEAN_US, nr_jobs),
        "deterministic": lambda: np.full(nr_jobs, MEAN_US),
        "lognormal": lambda: rng.lognormal(math.log(MEAN_US) - 1, math.sqrt(2), nr_jobs),
        "two kinds": lambda: rng.choice([100, 9100], nr_jobs, p=[0.9, 0.1]),
    }[shape]
    size = np.maximum(draw().astype(np.int64), 1)
    arrival = np.cumsum(rng.exponential(MEAN_US / (load * cpus), nr_jobs)).astype(np.int64) + 1
    return arrival, size


def run(arrival, size, scheduler, cpus=1, nice=None):
    """Return when each job first ran and when it ended, in microseconds, and how many events there were."""
    load = {
        "tasks": {
            f"j{i}": {
                "delay": int(at),
                "loop": 1,
                "priority": 0 if nice is None else nice[i],
                "phases": {"burst": {"loop": 1, "run": int(long)}},
            }
            for i, (at, long) in enumerate(zip(arrival, size, strict=True))
        }
    }
    simulation = Simulation(load, scheduler, cpus=cpus, costs=IDEAL, traced=True)
    assert simulation.run() is Stop.ALL_EXITED
    events = simulation.take_events()
    switches = events[events["type"] == EventType.SWITCH]
    came = switches[switches["other_tid"] > 0]
    first = np.empty(len(size))
    first[came["other_tid"][::-1] - 1] = came["timestamp_ns"][::-1]  # the earliest is written last
    left = switches[switches["prev_state"] == PrevState.DEAD]
    end = np.empty(len(size))
    end[left["tid"] - 1] = left["timestamp_ns"]
    return first / 1000, end / 1000, events


def waits(arrival, size, cpus):
    """First come first served by the recursion of Lindley, or of Kiefer and Wolfowitz for several servers."""
    free = [0] * cpus
    starts = []
    for at, long in zip(arrival, size, strict=True):
        start = max(at, heapq.heappop(free))
        heapq.heappush(free, start + long)
        starts.append(start)
    return np.array(starts) - arrival


def srpt_ends(arrival, size):
    """When jobs end on one CPU that always runs the one with the least left."""
    ends, waiting, now = np.zeros(len(size)), [], 0
    for i, at in enumerate([*arrival, 1 << 60]):
        while waiting and now < at:
            left, job = heapq.heappop(waiting)
            ran = min(left, at - now)
            now += ran
            if ran < left:
                heapq.heappush(waiting, (left - ran, job))
            else:
                ends[job] = now
        now = max(now, at)
        if i < len(size):
            heapq.heappush(waiting, (size[i], i))
    return ends


@pytest.mark.parametrize("cpus", [1, 3, 8])
@pytest.mark.parametrize("shape", ["exponential", "deterministic", "lognormal"])
def test_fifo_is_the_recursion_of_lindley_job_by_job(cpus, shape):
    arrival, size = jobs(3000, 0.9, cpus, shape)
    first, end, _ = run(arrival, size, "fifo", cpus)
    assert (first - arrival).tolist() == waits(arrival, size, cpus).tolist()
    assert (end - first).tolist() == size.tolist()


@pytest.mark.parametrize(("cpus", "load"), [(1, 0.5), (1, 0.8), (4, 0.8)])
def test_fifo_waits_as_erlang_says(cpus, load):
    arrival, size = jobs(30_000, load, cpus)
    first, _, _ = run(arrival, size, "fifo", cpus)
    offered = load * cpus
    waiting = offered**cpus / math.factorial(cpus) / (1 - load)
    erlang_c = waiting / (sum(offered**k / math.factorial(k) for k in range(cpus)) + waiting)
    assert np.mean(first - arrival) == pytest.approx(erlang_c * MEAN_US / (cpus * (1 - load)), rel=0.1)


@pytest.mark.parametrize("shape", ["deterministic", "two kinds"])
def test_fifo_waits_as_pollaczek_and_khinchine_say(shape):
    arrival, size = jobs(30_000, 0.7, shape=shape)
    first, _, _ = run(arrival, size, "fifo")
    expected = 0.7 / MEAN_US * np.mean(size.astype(float) ** 2) / (2 * (1 - 0.7))
    assert np.mean(first - arrival) == pytest.approx(expected, rel=0.1)


def test_srtf_is_the_least_remaining_time_job_by_job():
    arrival, size = jobs(3000, 0.9, shape="lognormal")
    _, end, _ = run(arrival, size, "srtf")
    expected = srpt_ends(arrival, size)
    # Jobs with equal time left may change places.
    assert np.sort(end).tolist() == np.sort(expected).tolist()
    assert np.mean(end) == np.mean(expected)


@pytest.mark.parametrize("shape", ["exponential", "lognormal", "two kinds"])
@pytest.mark.parametrize(
    "scheduler",
    ["fifo", "rr:slice_us=500", "sjf", "las:quantum_us=200", "gittins:quantum_us=200", "mlfq", "vtime"],
)
def test_nothing_is_done_sooner_on_average_than_by_srtf(scheduler, shape):
    arrival, size = jobs(2000, 0.85, shape=shape)
    assert np.mean(run(arrival, size, scheduler)[1]) >= np.mean(run(arrival, size, "srtf")[1])


@pytest.mark.parametrize("shape", ["exponential", "two kinds"])
def test_short_slices_share_the_processor_whatever_the_jobs_are_like(shape):
    arrival, size = jobs(20_000, 0.6, shape=shape)
    _, end, _ = run(arrival, size, "rr:slice_us=50")
    slowdown = (end - arrival) / size
    for part in (size >= 100) & (size < 1500), size >= 1500:  # the shortest ones are shorter than a round
        assert np.mean(slowdown[part]) == pytest.approx(1 / (1 - 0.6), rel=0.12)


def test_who_does_not_know_sizes_gains_nothing_where_they_have_no_memory():
    """All blind disciplines that conserve work have one mean turnaround in M/M/1 (Kleinrock II, 3.4)."""
    arrival, size = jobs(20_000, 0.7)
    means = [
        np.mean(run(arrival, size, name)[1] - arrival)
        for name in ("fifo", "rr:slice_us=500", "las:quantum_us=500", "mlfq:allotment_us=1000")
    ]
    assert means == pytest.approx([MEAN_US / (1 - 0.7)] * 4, rel=0.12)


def test_las_and_gittins_gain_where_long_bursts_grow_longer_and_gittins_where_they_end():
    heavy = jobs(8000, 0.8, shape="lognormal")
    fixed = jobs(8000, 0.8, shape="deterministic")
    mean = {
        (load, name): np.mean(run(arrival, size, name)[1] - arrival)
        for load, (arrival, size) in (("heavy", heavy), ("fixed", fixed))
        for name in ("fifo", "las:quantum_us=100", "gittins:quantum_us=100")
    }
    assert mean["heavy", "las:quantum_us=100"] < 0.6 * mean["heavy", "fifo"]
    assert mean["heavy", "gittins:quantum_us=100"] < 0.6 * mean["heavy", "fifo"]
    # All are equally long: who has begun is to end first, which LAS does last.
    assert mean["fixed", "las:quantum_us=100"] > 1.3 * mean["fixed", "fifo"]
    assert mean["fixed", "gittins:quantum_us=100"] == pytest.approx(mean["fixed", "fifo"], rel=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_a_list_schedule_is_at_most_grahams_bound_and_fine_slices_reach_mcnaughtons(seed):
    _, size = jobs(40, 1, shape="lognormal", seed=seed)
    at_once = np.zeros(len(size), np.int64)
    least = max(size.max(), size.sum() / 4)
    listed = run(at_once, size, "fifo", 4)[1].max()
    assert least <= listed <= (2 - 1 / 4) * least
    fine = run(at_once, size, "las:quantum_us=50", 4)[1].max()
    assert least <= fine <= listed + 4 * 50 + size.max()


ALL = ["fifo", "rr", "sjf", "srtf", "las", "gittins", "mlfq", "vtime", "interactive"]


@pytest.mark.parametrize("scheduler", ALL)
def test_no_cpu_of_a_single_queue_is_idle_while_a_task_waits(scheduler):
    arrival, size = jobs(1500, 0.9, 4, "lognormal")
    _, end, _ = run(arrival, size, scheduler, 4)
    # At most times as many run as there are, up to four: so the work that is done is that of a full machine.
    there = np.concatenate([np.stack([arrival, np.ones(len(size))]), np.stack([end, -np.ones(len(size))])], 1)
    order = np.argsort(there[0], kind="stable")
    times, present = there[0][order], np.cumsum(there[1][order])
    capacity = np.minimum(present, 4)
    assert np.sum(capacity[:-1] * np.diff(times)) == pytest.approx(size.sum(), rel=1e-9)


@pytest.mark.parametrize("scheduler", ["vtime:slice_us=1000", "interactive"])
def test_shares_follow_the_kernels_weights(scheduler):
    nices, weights = [-5, 0, 5, 10], [3121, 1024, 335, 110]
    load = {
        "global": {"duration": 20},
        "tasks": {f"t{nice}": {"priority": nice, "loop": -1, "run": 1_000_000} for nice in nices},
    }
    simulation = Simulation(load, scheduler, cpus=1, costs=IDEAL)
    simulation.run()
    shares = [task.cpu_time_ns / 20e9 for task in simulation.state().tasks]
    assert shares == pytest.approx([weight / sum(weights) for weight in weights], abs=0.005)
