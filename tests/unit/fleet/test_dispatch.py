"""Whoever is quick or dies: outcomes come in the order asked for, each of its own run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.fleet.dispatch import MOST_DEATHS, Dispatch, LostRun, Pace


def outcome_of(run: int) -> str:
    return f"outcome of {run}"


def returned(dispatch, batch):
    dispatch.returned(batch.number, [outcome_of(run) for run in batch.runs])


def test_runs_are_handed_out_in_order_and_taken_in_order_whoever_is_first():
    dispatch = Dispatch(may_repeat=True)
    dispatch.foresee(range(6))
    first = dispatch.want(0)
    dispatch.fill(6)
    slow, quick = dispatch.hand_out("slow", 2), dispatch.hand_out("quick", 4)
    assert (slow.runs, quick.runs) == ((0, 1), (2, 3, 4, 5))
    returned(dispatch, quick)
    assert dispatch.take(first) is None
    returned(dispatch, slow)
    assert [dispatch.take(first), *(dispatch.take(dispatch.want(run)) for run in range(1, 6))] == [
        outcome_of(run) for run in range(6)
    ]
    assert dispatch.nr_held == 0


def test_no_more_is_held_than_there_is_room_for():
    dispatch = Dispatch(may_repeat=True)
    dispatch.foresee(range(1_000_000))
    dispatch.fill(10)
    assert dispatch.nr_held == 10
    returned(dispatch, dispatch.hand_out("a", 10))
    dispatch.fill(10)
    assert dispatch.nr_held == 10
    assert dispatch.hand_out("a", 1) is None


def test_a_run_out_of_turn_goes_first_and_the_plan_stays():
    dispatch = Dispatch(may_repeat=True)
    dispatch.foresee(range(3))
    dispatch.fill(3)
    other = dispatch.want(99)
    assert dispatch.hand_out("a", 2).runs == (99, 0)
    dispatch.returned(1, [outcome_of(99), outcome_of(0)])
    assert dispatch.take(other) == outcome_of(99)
    assert dispatch.take(dispatch.want(0)) == outcome_of(0)


def test_what_a_dead_worker_had_is_made_anew_before_all_else():
    dispatch = Dispatch(may_repeat=True)
    dispatch.foresee(range(5))
    dispatch.fill(5)
    dispatch.hand_out("mortal", 2)
    assert dispatch.lost("mortal") == 2
    assert [dispatch.hand_out("other", 3).runs for _ in range(3)] == [(0,), (1,), (2, 3, 4)]


def test_only_the_batch_that_a_worker_was_at_may_have_killed_it():
    dispatch = Dispatch(may_repeat=True)
    dispatch.foresee(range(4))
    dispatch.fill(4)
    dispatch.hand_out("mortal", 1)
    dispatch.hand_out("mortal", 3)
    dispatch.lost("mortal")
    assert [dispatch.hand_out("other", 3).runs for _ in range(2)] == [(0,), (1, 2, 3)]


def test_a_run_that_workers_die_of_is_given_up_and_others_are_not():
    dispatch = Dispatch(may_repeat=True)
    dispatch.foresee(range(2))
    deadly = dispatch.want(0)
    dispatch.fill(2)
    for worker in range(MOST_DEATHS):
        assert dispatch.take(deadly) is None
        assert dispatch.hand_out(worker, 1).runs == (0,)
        dispatch.lost(worker)
    assert dispatch.take(deadly) == LostRun(MOST_DEATHS)
    assert dispatch.hand_out("other", 1).runs == (1,)


def test_what_may_not_be_repeated_is_lost_with_the_first_worker():
    dispatch = Dispatch(may_repeat=False)
    ticket = dispatch.want("run")
    dispatch.hand_out("mortal", 1)
    dispatch.lost("mortal")
    assert dispatch.take(ticket) == LostRun(1)
    assert dispatch.hand_out("other", 1) is None


def test_what_is_not_planned_any_more_is_forgotten_wherever_it_is():
    dispatch = Dispatch(may_repeat=True)
    dispatch.foresee(range(3))
    dispatch.fill(3)
    back, out = dispatch.hand_out("a", 1), dispatch.hand_out("b", 1)
    returned(dispatch, back)
    dispatch.foresee([7])
    assert dispatch.nr_held == 1  # what b has
    returned(dispatch, out)
    assert dispatch.nr_held == 0
    seven = dispatch.want(7)
    assert dispatch.hand_out("a", 9).runs == (7,)
    dispatch.lost("a")
    dispatch.foresee([])
    returned(dispatch, dispatch.hand_out("b", 1))
    assert dispatch.take(seven) == outcome_of(7)  # it was asked for


@given(st.data())
def test_any_order_of_events_gives_each_run_its_outcome(data):
    nr_runs = data.draw(st.integers(0, 20))
    dispatch = Dispatch(may_repeat=True)
    dispatch.foresee(range(nr_runs))
    out = {worker: [] for worker in range(3)}
    taken = []
    for run in range(nr_runs):
        ticket = dispatch.want(run)
        while (found := dispatch.take(ticket)) is None:
            dispatch.fill(data.draw(st.integers(1, 6)))
            worker = data.draw(st.sampled_from(sorted(out)))
            action = data.draw(st.sampled_from(["hand out", "return", "die"]))
            if action == "hand out" and (batch := dispatch.hand_out(worker, data.draw(st.integers(1, 3)))):
                out[worker].append(batch)
            elif action == "return" and out[worker]:
                returned(dispatch, out[worker].pop(0))
            elif action == "die":
                dispatch.lost(worker)
                out[worker] = []
        if isinstance(found, LostRun):
            assert found.nr_deaths == MOST_DEATHS
        else:
            taken.append((run, found))
    assert taken == [(run, outcome_of(run)) for run, _ in taken]
    assert dispatch.nr_held == 0


@pytest.mark.parametrize(("run_s", "nr_runs"), [(0.001, 32), (0.05, 5), (0.2, 1), (60.0, 1), (0.0, 32)])
def test_short_runs_go_together_and_long_ones_alone(run_s, nr_runs):
    pace = Pace()
    assert pace.nr_runs == 1
    pace.learn(run_s)
    assert pace.nr_runs == nr_runs
