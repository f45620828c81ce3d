"""The fair class in Python decides as the native one, on loads that tell if a rule were another."""

from __future__ import annotations

import pytest
from tests.unit.sim.twin_loads import differs, twin_load
from tests.unit.sim.twin_mutants import MUTANTS, NATIVE_MUTANTS

from schedtuna.sim.eevdf import NICE_0_LOAD, Entity, Queue

IN_CI, IN_ALL = 500, 10_000


def where_they_differ(numbers: range) -> list[int]:
    return [number for number in numbers if differs(twin_load(number))]


@pytest.mark.parametrize("first", range(0, IN_CI, 50))
def test_both_decide_alike(first):
    assert where_they_differ(range(first, first + 50)) == []


@pytest.mark.long
@pytest.mark.parametrize("first", range(IN_CI, IN_ALL, 500))
def test_both_decide_alike_on_many_more(first):
    assert where_they_differ(range(first, first + 500)) == []


@pytest.mark.parametrize("name", MUTANTS)
def test_a_load_tells_a_wrong_rule(name):
    mutant = MUTANTS[name]
    assert differs(twin_load(mutant.caught), mutant.scheduler)


@pytest.mark.parametrize("native", NATIVE_MUTANTS)
def test_a_load_tells_a_rule_that_the_native_class_leaves_out(native):
    assert differs(twin_load(NATIVE_MUTANTS[native]), native=native)


def test_a_new_weight_keeps_what_is_left_of_the_protection():
    """Only groups on several CPUs change their weights while they run, which no load of the twin's has."""
    queue = Queue(nr_queued=2)
    runs, waits = (Entity(task_id=n, on_rq=True, vruntime=at) for n, at in enumerate((-5000, -3000)))
    for entity in (runs, waits):
        entity.queue = queue
        entity.set_weight(NICE_0_LOAD)
    queue.curr = runs
    queue.enqueue(waits)
    # Its lag of 1,000 is taken for the end of its protection, 6,000 from where it is.
    queue.reweight(runs, 2 * NICE_0_LOAD, is_task=False)
    assert runs.vlag - runs.vruntime == 6000 // 2
