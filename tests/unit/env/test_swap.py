"""Which scheduler next: L against the default's, and every change is paid for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schedtuna.env.swap import SwapEnv
from schedtuna.errors import UsageError
from schedtuna.features.loss import LOSS_TERMS, complete_weights, loss, window_figures
from schedtuna.features.observed import OBSERVED
from schedtuna.features.told import TOLD, told_samples
from schedtuna.sim.simulation import Simulation
from schedtuna.sim.traced import simulate
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.intervals import intervals

MS = 1_000_000
SCHEDULERS = ("fair", "las", "fifo")
SHORT: dict[str, Any] = {
    "workload": ("poisson:load=0.8", "bursts:load=0.5"),
    "schedulers": SCHEDULERS,
    "steps": 6,
    "steps_per_load": 3,
    "step_s": 0.05,
    "discard_s": 0.02,
    "nr_arrivals": 2,
    "costs": {"swap_ns": 5 * MS},
}


def made(**others):
    return SwapEnv(**SHORT | others)


def test_who_stays_with_the_default_is_worth_nothing_more_nor_less():
    env = made()
    env.reset(seed=1)
    for nth in range(6):
        observation, reward, terminated, truncated, info = env.step(0)
        assert reward == 0 and info["loss"] == pytest.approx(3) and info["figures"] == info["default"]
        assert (terminated, truncated) == (False, nth == 5)
        assert observation[len(OBSERVED) :].tolist() == [1, 0, 0]
    with pytest.raises(UsageError, match="has ended"):
        env.step(0)


def test_every_change_is_paid_for_by_the_time_that_it_takes():
    free, paid = made(reward={"turnaround": 1}), made(reward={"turnaround": 1, "switching": 1})
    for env in (free, paid):
        env.reset(seed=2)
    for action in (1, 1, 2, 0):
        (*_, told), (*_, charged) = free.step(action), paid.step(action)
        assert told["figures"] == charged["figures"] and told["swapped"] == charged["swapped"]
    rewards = []
    for env in (free, paid):
        env.reset(seed=2)
        rewards.append([env.step(1)[1] for _ in range(2)])
    (changed, stayed), (changed_paid, stayed_paid) = rewards
    assert changed - changed_paid == pytest.approx(5 / 50) and stayed == stayed_paid


def test_a_scheduler_goes_on_to_the_next_load():
    env = made(steps=4, steps_per_load=1)
    env.reset(seed=3)
    swaps = [env.step(action)[-1]["swapped"] for action in (1, 1, 2, 2)]
    assert swaps == [True, False, True, False]


def finished_load():
    """Tasks of one burst each, all done in the end: jobs are tasks."""
    return {
        "tasks": {
            f"task{i}": {"loop": 1, "delay": 700 * i, "phases": {"all": {"loop": 1, "run": 900 + 300 * i}}}
            for i in range(12)
        }
    }


@pytest.mark.parametrize("scheduler", ["fair", "fifo", "las"])
def test_where_all_tasks_exit_the_terms_are_those_of_the_trace(scheduler):
    trace = simulate(finished_load(), scheduler, cpus=2)
    figures = Analysis(trace).overall()
    events = np.concatenate(list(trace.segments()))
    found = intervals(events, start_ns=0, end_ns=10**9).sorted()
    terms = window_figures(found, 0, 10**9, nr_cpus=2, weights=dict.fromkeys(range(1, 13), 1024))
    assert terms["turnaround"] == pytest.approx(figures["turnaround_mean_ns"], rel=1e-6)
    assert terms["first_run"] == pytest.approx(figures["first_run_delay_mean_ns"], rel=1e-6)
    assert terms["fairness"] == pytest.approx(figures["fairness_cv"], rel=1e-6)


def test_a_window_without_exits_or_wakeups_has_a_value():
    """Of three hogs on a CPU, each is there all the time; who never runs waits for its first run."""
    for scheduler, waiting in (("rr:slice_us=4000", 0), ("fifo", 2)):
        simulation = Simulation(
            {"tasks": {"hog": {"instance": 3, "run": 10_000}}}, scheduler, cpus=1, traced=True
        )
        simulation.run(400 * MS)
        found = intervals(simulation.take_events(), start_ns=0, end_ns=400 * MS).sorted()
        terms = window_figures(found, 100 * MS, 400 * MS, nr_cpus=1, weights={})
        assert terms["turnaround"] == pytest.approx(300 * MS)
        assert terms["first_run"] == pytest.approx(waiting * 300 * MS / 3)
    assert terms["fairness"] > 1
    weights = complete_weights({"turnaround": 2, "fairness": 1})
    even = dict.fromkeys((term.name for term in LOSS_TERMS), 0.0)
    assert loss(even, even, weights) == 3
    assert loss(terms, even, weights) == 30  # no term counts for more than ten times the default's


def test_samples_that_events_tell_are_what_the_simulation_counts():
    simulation = Simulation("fork-join:load=0.7", "fair", cpus=4, traced=True)
    times = [100 * MS, 250 * MS, 300 * MS]
    exact, counts = [], []
    events = []
    for time_ns in times:
        simulation.run(time_ns)
        events.append(simulation.take_events())
        state = simulation.state()
        exact.append(sum(task.state.name in {"QUEUED", "RUNNING"} for task in state.tasks))
        counts.append(simulation.totals.nr_switches)
    found = intervals(np.concatenate(events), start_ns=0, end_ns=times[-1])
    samples = told_samples(found, np.concatenate(events), times, begin_ns=0, nr_cpus=4)
    assert [time_ns for time_ns, _ in samples] == times
    column = {name: np.array([metrics[name] or 0.0 for _, metrics in samples]) for name in TOLD}
    assert column["run_queue_length"].tolist() == exact
    seconds = np.diff([0, *times]) / 1e9
    switches = np.cumsum(column["switches_per_s"] * seconds)
    assert switches == pytest.approx(counts)
    parts = column["voluntary_switches_per_s"] + column["involuntary_switches_per_s"]
    assert ((parts > 0) & (parts <= column["switches_per_s"])).all()
    busy = 4 * times[-1] - simulation.totals.idle_ns
    shares = column["cpu_percent"] / 100
    told = float((shares * seconds).sum()) * 4e9
    assert told == pytest.approx(busy, rel=1e-3)
    assert all(set(metrics) == set(TOLD) for _, metrics in samples)


def test_what_makes_no_sense_is_refused():
    for others, match in (
        ({"schedulers": ("fair",)}, "nothing to choose"),
        ({"schedulers": ("fair", "none")}, "no scheduler"),
        ({"discard_s": 0.05}, "can't be discarded"),
        ({"reward": {"speed": 1}}, "no term 'speed'"),
        ({"reward": {"switching": 1}}, "L needs a weight"),
        ({"reward": {"turnaround": -1}}, "a number from 0 on"),
        ({"workload": ()}, "at least one load"),
        ({"workload": "nowhere.json"}, "no workload file"),
    ):
        with pytest.raises(UsageError, match=match):
            made(**others).reset(seed=1)
    env = made()
    env.reset(seed=1)
    for action in (3, 0.9):
        with pytest.raises(UsageError, match=f"action {action}: expected 0 to 2"):
            env.step(action)
