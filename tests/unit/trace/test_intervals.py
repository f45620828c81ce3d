import pytest
from tests.unit.trace.making import events, exit_, fork, migrate, switch, wakeup

from schedtuna.errors import TraceError
from schedtuna.trace.intervals import IntervalBuilder, intervals
from schedtuna.trace.schema import EventType, PrevState
from schedtuna.trace.states import TaskState


def of_tid(found, tid):
    """Return (state, start, end) of a tid's intervals."""
    mine = found.sorted()
    mine = mine.select(mine.tid == tid)
    return [
        (TaskState(state).name, int(start), int(end))
        for state, start, end in zip(mine.state, mine.start_ns, mine.end_ns, strict=True)
    ]


def test_a_woken_task_waits_runs_and_sleeps():
    found = intervals(events(wakeup(10, 7), switch(13, 0, 7), switch(20, 7, 0)), start_ns=0, end_ns=30)
    assert of_tid(found, 7) == [
        ("UNKNOWN", 0, 10),
        ("RUNNABLE_WOKEN", 10, 13),
        ("RUNNING", 13, 20),
        ("SLEEPING", 20, 30),
    ]
    assert found.sorted().began_before.tolist() == [True, False, False, False]
    assert found.sorted().ends_after.tolist() == [False, False, False, True]


def test_a_preempted_task_waits_for_its_next_turn():
    found = intervals(events(switch(5, 7, 8, PrevState.PREEMPTED), switch(9, 8, 7)), start_ns=0, end_ns=12)
    assert of_tid(found, 7) == [("RUNNING", 0, 5), ("RUNNABLE_PREEMPTED", 5, 9), ("RUNNING", 9, 12)]
    assert of_tid(found, 8) == [("UNKNOWN", 0, 5), ("RUNNING", 5, 9), ("SLEEPING", 9, 12)]


def test_a_new_task_is_followed_from_fork_to_death():
    found = intervals(
        events(
            fork(5, 7),
            wakeup(6, 7, kind=EventType.WAKEUP_NEW),
            switch(9, 0, 7),
            exit_(15, 7),
            switch(16, 7, 0, PrevState.DEAD),
        ),
        start_ns=0,
        end_ns=30,
    )
    assert of_tid(found, 7) == [
        ("NEW", 5, 6),
        ("RUNNABLE_NEW", 6, 9),
        ("RUNNING", 9, 16),
        ("DEAD", 16, 16),
    ]


def test_a_tid_that_is_given_away_again_is_another_task():
    found = intervals(
        events(
            switch(5, 7, 0, PrevState.DEAD),
            fork(8, 7),
            wakeup(8, 7, kind=EventType.WAKEUP_NEW),
            switch(9, 0, 7),
        ),
        start_ns=0,
        end_ns=10,
    ).sorted()
    tasks = found.task[found.tid == 7]
    assert len(set(tasks.tolist())) == 2
    assert of_tid(found, 7)[0] == ("RUNNING", 0, 5)


def test_a_tid_whose_death_is_missing_is_another_task_after_its_fork():
    found = intervals(events(switch(2, 0, 7), switch(5, 7, 0), fork(8, 7)), start_ns=0, end_ns=10)
    assert of_tid(found, 7)[-2:] == [("UNKNOWN", 5, 8), ("NEW", 8, 10)]
    assert len(set(found.task[found.tid == 7].tolist())) == 2


@pytest.mark.parametrize(
    ("prev_state", "state"),
    [
        (PrevState.SLEEPING, "SLEEPING"),
        (PrevState.BLOCKED, "BLOCKED"),
        (PrevState.IO, "IO"),
        (PrevState.STOPPED, "STOPPED"),
        (PrevState.IDLE, "IDLE"),
        (PrevState.THROTTLED, "THROTTLED"),
        (PrevState.RUNNABLE, "RUNNABLE_PREEMPTED"),
    ],
)
def test_why_a_task_left_decides_what_it_does_next(prev_state, state):
    found = intervals(events(switch(1, 0, 7), switch(5, 7, 0, prev_state)), start_ns=0, end_ns=9)
    assert of_tid(found, 7)[-1] == (state, 5, 9)


def test_waking_a_task_that_runs_or_was_preempted_changes_nothing():
    found = intervals(
        events(
            wakeup(1, 7),
            switch(3, 0, 7),
            wakeup(4, 7),
            switch(6, 7, 8, PrevState.PREEMPTED),
            wakeup(7, 7),
            switch(9, 8, 7),
        ),
        start_ns=0,
        end_ns=9,
    )
    assert of_tid(found, 7) == [
        ("UNKNOWN", 0, 1),
        ("RUNNABLE_WOKEN", 1, 3),
        ("RUNNING", 3, 6),
        ("RUNNABLE_PREEMPTED", 6, 9),
        ("RUNNING", 9, 9),
    ]


def test_a_task_that_is_woken_twice_ran_in_between():
    found = intervals(events(wakeup(1, 7), wakeup(8, 7), switch(9, 0, 7)), start_ns=0, end_ns=9)
    assert of_tid(found, 7) == [
        ("UNKNOWN", 0, 1),
        ("UNKNOWN", 1, 8),
        ("RUNNABLE_WOKEN", 8, 9),
        ("RUNNING", 9, 9),
    ]


def test_waiting_goes_on_while_a_task_is_moved():
    found = intervals(events(wakeup(1, 7), migrate(2, 7, 0, 1), switch(5, 0, 7, cpu=1)), end_ns=5)
    assert ("RUNNABLE_WOKEN", 1, 5) in of_tid(found, 7)


def test_time_before_a_missing_event_is_unknown_and_what_follows_is_right():
    found = intervals(
        events(switch(2, 0, 7), switch(4, 7, 0), switch(9, 0, 7), switch(11, 7, 0)), start_ns=2, end_ns=11
    )
    assert of_tid(found, 7)[-3:] == [("UNKNOWN", 4, 9), ("RUNNING", 9, 11), ("SLEEPING", 11, 11)]


def test_a_task_that_leaves_unseen_does_not_run_on_for_ever():
    found = intervals(events(switch(2, 0, 7), switch(90, 8, 9), switch(95, 9, 0)), start_ns=0, end_ns=100)
    assert of_tid(found, 7)[1:] == [("UNKNOWN", 2, 90), ("UNKNOWN", 90, 100)]
    assert of_tid(found, 8) == [("UNKNOWN", 0, 90), ("SLEEPING", 90, 100)]


def test_waits_begin_at_waking_where_there_are_no_wakeups():
    rows = [wakeup(1, 7, kind=EventType.WAKING), switch(3, 0, 7)]
    assert ("RUNNABLE_WOKEN", 1, 3) in of_tid(intervals(events(*rows), end_ns=3), 7)
    rows.insert(1, wakeup(2, 7))
    assert ("RUNNABLE_WOKEN", 2, 3) in of_tid(intervals(events(*rows), end_ns=3), 7)


def test_the_idle_task_is_not_a_task():
    found = intervals(events(switch(1, 0, 7), switch(2, 7, 0), wakeup(3, 0)))
    assert set(found.tid.tolist()) == {7}


def test_no_events_give_no_intervals():
    assert len(intervals(events())) == 0
    builder = IntervalBuilder()
    assert len(builder.feed(events())) == len(builder.finish(5)) == 0


@pytest.mark.parametrize("event", [switch(1, 0, 1 << 22), switch(1, 0xFFFFFFFF, 0), wakeup(1, 1 << 31)])
def test_a_tid_that_no_kernel_gives_is_refused(event):
    with pytest.raises(TraceError, match="no kernel gives one above 4194303"):
        intervals(events(event))
    assert len(intervals(events(switch(1, 0, (1 << 22) - 1)))) == 2


@pytest.mark.parametrize("time_ns", [1 << 62, 1 << 63, (1 << 64) - 1])
def test_a_time_that_no_clock_has_come_to_is_refused(time_ns):
    with pytest.raises(TraceError, match=f"a time of {time_ns} ns"):
        intervals(events(switch(1, 0, 7), switch(time_ns, 7, 0)))
    with pytest.raises(TraceError, match=f"a time of {time_ns} ns"):
        intervals(events(switch(1, 0, 7)), end_ns=time_ns)
    assert len(intervals(events(switch(1, 0, 7)), end_ns=(1 << 62) - 1)) == 2


def test_a_long_run_of_wakeups_is_resolved():
    rows = [switch(1, 0, 7), switch(2, 7, 0)]
    rows += [wakeup(3 + k, 7) if k % 2 else migrate(3 + k, 7, 0, 1) for k in range(5_000)]
    found = of_tid(intervals(events(*rows), end_ns=10_000), 7)
    assert found[-2:] == [("UNKNOWN", 5000, 5002), ("RUNNABLE_WOKEN", 5002, 10_000)]
    assert ("SLEEPING", 2, 4) in found
