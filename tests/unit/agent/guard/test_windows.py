"""Slots, pairs and cycles: what is dropped, what is void, how often the changes rest."""

import numpy as np
import pytest

from schedtuna.agent.guard.windows import CYCLE_SLOTS, Windows, pairs_to_tell
from schedtuna.errors import UsageError
from schedtuna.evidence.on_off import OnOffCycle, OnOffPair


def run(windows, nr_intervals, cost):
    """Feed intervals whose cost is a function of (the arm, the interval of the slot)."""
    arms, finished = [], []
    for number in range(nr_intervals):
        arms.append(windows.on)
        done = windows.observe({"cost": cost(windows.on, number % 5)})
        if done:
            finished.append(done)
    return arms, finished


def test_the_first_interval_of_a_slot_is_dropped():
    windows = Windows(np.random.default_rng(1))
    _, finished = run(windows, 10, lambda on, place: 99.0 if place == 0 else float(on))
    assert finished[0].units == {"cost": OnOffPair(on=1.0, off=0.0)}


def test_half_of_the_time_is_off_in_a_random_order():
    arms, finished = run(Windows(np.random.default_rng(2)), 10 * 400, lambda on, place: 0.0)
    assert len(finished) == 400
    assert np.mean(arms) == 0.5
    first = [arms[10 * pair] for pair in range(400)]
    assert 160 < sum(first) < 240
    assert all(arms[10 * pair] != arms[10 * pair + 5] for pair in range(400))


def test_after_proof_five_percent_of_the_time_is_off():
    windows = Windows(np.random.default_rng(3))
    windows.restart(proven=True)
    arms, finished = run(windows, 5 * CYCLE_SLOTS * 50, lambda on, place: float(on))
    assert np.mean(arms) == 0.95
    units = [done.units["cost"] for done in finished]
    assert all(isinstance(unit, OnOffCycle) and unit.values[unit.off_at] == 0 for unit in units)
    assert len({unit.off_at for unit in units}) > 12


def test_a_spoilt_interval_voids_the_pair_unless_it_is_dropped_anyway():
    windows = Windows(np.random.default_rng(4))
    done = [windows.observe({"cost": 0.0}, "late" if n == 5 else "") for n in range(10)]
    assert done[-1].void == ""
    done = [windows.observe({"cost": 0.0}, "late" if n == 6 else "") for n in range(10)]
    assert done[-1].void == "late"
    assert not done[-1].units


def test_a_metric_that_is_missing_in_most_of_a_slot_has_no_unit():
    windows = Windows(np.random.default_rng(5))
    for number in range(10):
        costs = {"there": 1.0} | ({"seldom": 1.0} if number % 5 == 1 else {})
        done = windows.observe(costs)
    assert set(done.units) == {"there"}


def test_a_slot_of_one_interval_is_refused():
    with pytest.raises(UsageError, match="the first is dropped"):
        Windows(np.random.default_rng(6), 1)


def test_small_effects_take_more_pairs():
    assert pairs_to_tell(1.5, 1.2) < pairs_to_tell(1.1, 1.2) < pairs_to_tell(1.01, 1.2)
    assert pairs_to_tell(1.0, 1.2) == float("inf")
