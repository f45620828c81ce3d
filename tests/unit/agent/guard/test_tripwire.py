"""What is so bad that it is undone within three intervals, and what is nobody's fault."""

import pytest
from tests.unit.agent.sensed import IN_FORCE, interval, slo

from schedtuna.agent.contract import Need, RunningScheduler
from schedtuna.agent.guard.tripwire import IntervalClock, Tripwire

NO_NEEDS = frozenset()


def told(tripwire, intervals, standing=IN_FORCE):
    return [tripwire.check(one, standing) for one in intervals]


@pytest.mark.parametrize(
    ("value", "limit", "at_most", "trips"),
    [(101, 50, True, True), (100, 50, True, False), (24, 50, False, True), (25, 50, False, False)],
)
def test_an_objective_missed_by_a_factor_of_two_trips_at_the_third_interval(value, limit, at_most, trips):
    reading = slo(value, limit, at_most=at_most)
    said = told(Tripwire(NO_NEEDS), [interval(n, slos=[reading]) for n in range(3)])
    assert said[:2] == ["", ""]
    assert bool(said[2]) is trips
    assert not trips or "p99_ms" in said[2]


def test_one_good_interval_starts_the_count_again():
    values = [200, 200, 10, 200, 200, 10]
    assert not any(told(Tripwire(NO_NEEDS), [interval(n, slos=[slo(v)]) for n, v in enumerate(values)]))


@pytest.mark.parametrize("reading", [slo(None), slo(500, age_s=11)])
def test_a_value_that_is_not_fresh_is_no_value(reading):
    assert not any(told(Tripwire(NO_NEEDS), [interval(n, slos=[reading]) for n in range(5)]))


def test_nothing_trips_while_nothing_is_in_force():
    assert not any(told(Tripwire(NO_NEEDS), [interval(n, slos=[slo(500)]) for n in range(5)], {}))


def test_pressure_trips_unless_it_was_there_without_the_changes():
    stuck = [interval(n, machine={"psi_memory_full_percent": 80.0}) for n in range(3)]
    assert "psi_memory_full_percent" in told(Tripwire(NO_NEEDS), stuck)[2]
    tripwire = Tripwire(NO_NEEDS)
    tripwire.check(stuck[0], {})
    assert not any(told(tripwire, stuck))


def test_an_ejected_scheduler_trips_at_once():
    tripwire = Tripwire(NO_NEEDS)
    tripwire.check(interval(0, scheduler=RunningScheduler("scx_bpfland", is_ext=True)), {})
    assert not tripwire.check(interval(1, scheduler=RunningScheduler("scx_bpfland", is_ext=True)), IN_FORCE)
    assert "scx_bpfland is gone" in tripwire.check(interval(2), IN_FORCE)


@pytest.mark.parametrize("need", [Need.TASKS, Need.MACHINE, Need.KERNEL])
def test_a_silent_sensor_trips(need):
    silent = [interval(n, kernel={}, tasks=0) for n in range(3)]
    assert str(need) in told(Tripwire(frozenset({need})), silent)[2]
    assert not any(told(Tripwire(NO_NEEDS), silent))


def test_a_suspended_machine_makes_no_measure():
    clock = IntervalClock()
    assert all(clock.is_regular(interval(n)) for n in range(4))
    assert not clock.is_regular(interval(4, seconds=3600))
    assert clock.is_regular(interval(5))
