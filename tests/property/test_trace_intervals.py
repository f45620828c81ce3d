"""The vectorised intervals equal the plain per-event state machine, on any events."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.trace_oracle import canonical, reference_intervals

from schedtuna.trace.intervals import IntervalBuilder, Intervals, intervals
from schedtuna.trace.schema import EVENT_DTYPE, EventArray, EventType, PrevState
from schedtuna.trace.states import SLEEPS, TaskState

EVENT = st.tuples(
    st.integers(0, 3),  # time since the event before
    st.sampled_from(EventType),
    st.integers(0, 4),  # tid
    st.integers(0, 4),  # other_tid
    st.integers(0, 2),  # cpu
    st.sampled_from(PrevState),
)


def make_events(rows: list[tuple[int, EventType, int, int, int, PrevState]]) -> EventArray:
    events = np.zeros(len(rows), EVENT_DTYPE)
    for event, (_, kind, tid, other, cpu, prev_state) in zip(events, rows, strict=True):
        event["type"], event["tid"], event["cpu"] = kind, tid, cpu
        event["target_cpu"] = event["orig_cpu"] = cpu
        event["other_tid"] = other
        event["prev_state"] = prev_state if kind == EventType.SWITCH else 0
    events["timestamp_ns"] = 100 + np.cumsum([row[0] for row in rows], dtype=np.uint64)
    return events


def wakeups_of_one_kind(events: EventArray, kind: EventType) -> EventArray:
    events["type"][np.isin(events["type"], [EventType.WAKEUP, EventType.WAKING])] = kind
    return events


@settings(max_examples=300, deadline=None)
@given(rows=st.lists(EVENT, max_size=60), wakeup=st.sampled_from([EventType.WAKEUP, EventType.WAKING]))
def test_any_events_give_the_intervals_of_the_plain_state_machine(rows, wakeup) -> None:
    events = wakeups_of_one_kind(make_events(rows), wakeup)
    end = int(events["timestamp_ns"][-1]) + 5 if len(events) else 5
    expected = reference_intervals(events, 90, end)
    assert canonical(intervals(events, start_ns=90, end_ns=end)) == expected


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(EVENT, min_size=1, max_size=60), cuts=st.lists(st.integers(0, 60), max_size=5))
def test_a_trace_in_parts_gives_the_same_intervals(rows, cuts) -> None:
    events = wakeups_of_one_kind(make_events(rows), EventType.WAKEUP)
    end = int(events["timestamp_ns"][-1])
    builder = IntervalBuilder(90, wakeup=EventType.WAKEUP)
    pieces = [builder.feed(part) for part in np.split(events, sorted(cuts))]
    found = Intervals.concatenate([*pieces, builder.finish(end)])
    whole = intervals(events, start_ns=90, end_ns=end)
    assert canonical(found) == canonical(whole)
    assert found.sorted().burst_ns.tolist() == whole.sorted().burst_ns.tolist()


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(EVENT, min_size=1, max_size=60))
def test_a_task_is_in_exactly_one_state_at_a_time(rows) -> None:
    events = make_events(rows)
    found = intervals(events).sorted()
    same = found.task[1:] == found.task[:-1]
    assert (found.start_ns[1:][same] == found.end_ns[:-1][same]).all()
    assert (found.duration_ns >= 0).all()


@settings(max_examples=200, deadline=None)
@given(rows=st.lists(EVENT, min_size=1, max_size=60))
def test_a_burst_is_the_cpu_time_between_two_sleeps(rows) -> None:
    found = intervals(wakeups_of_one_kind(make_events(rows), EventType.WAKEUP)).sorted()
    ran: dict[int, int | None] = {}  # None: the trace does not see all of it
    for k in range(len(found)):
        task, state = int(found.task[k]), TaskState(int(found.state[k]))
        burst = ran.get(task, 0)
        if state in {*SLEEPS, TaskState.DEAD}:
            assert found.burst_ns[k] == (burst or 0)
            ran[task] = 0
            continue
        assert found.burst_ns[k] == 0
        if state == TaskState.UNKNOWN:
            ran[task] = 0
        elif state == TaskState.RUNNING:
            whole = burst is not None and not found.began_before[k]
            ran[task] = burst + int(found.duration_ns[k]) if whole else None
