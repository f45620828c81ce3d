"""What the library adds up equals a plain sum in Python over the same intervals, on any events."""

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.test_trace_intervals import EVENT, make_events, wakeups_of_one_kind

from schedtuna.trace.fairness import TaskClass, fairness, water_fill
from schedtuna.trace.intervals import intervals, iter_intervals
from schedtuna.trace.metrics import QUANTILES, UNKNOWN_TIME, measure, summarize
from schedtuna.trace.schema import EventType
from schedtuna.trace.states import RUNNABLE, TaskState

KEPT = {
    TaskState.RUNNABLE_WOKEN: "wakeup_latency",
    TaskState.RUNNABLE_PREEMPTED: "preempt_delay",
    TaskState.RUNNING: "slice",
}
WANTS = [TaskState.RUNNING, *RUNNABLE]


def plainly(found):
    """The sums, one interval at a time."""
    time, count, values = Counter(), Counter(), defaultdict(Counter)
    born, queued_until, ran, dead = {}, {}, {}, {}
    for k in range(len(found)):
        task, state, cpu = int(found.task[k]), TaskState(int(found.state[k])), int(found.cpu[k])
        start, end = int(found.start_ns[k]), int(found.end_ns[k])
        time[task, state] += end - start
        count[task, state] += not found.began_before[k]
        if state in KEPT and not found.began_before[k] and not found.ends_after[k]:
            values[KEPT[state]][task, cpu, end - start] += 1
        if found.burst_ns[k]:
            values["burst"][task, cpu, int(found.burst_ns[k])] += 1
        if state == TaskState.RUNNING and task in queued_until:
            ran[task] = queued_until[task]
        queued_until.pop(task, None)
        if state in {TaskState.NEW, TaskState.RUNNABLE_NEW} and not found.began_before[k]:
            born.setdefault(task, start)
            queued_until[task] = end
        if state == TaskState.DEAD:
            dead[task] = start
    return time, count, values, born, ran, dead


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(EVENT, min_size=1, max_size=60), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_sums_are_those_of_a_plain_loop(rows, cuts):
    events = wakeups_of_one_kind(make_events(rows), EventType.WAKEUP)
    measured = measure(iter_intervals(np.split(events, sorted(cuts))))
    time, count, values, born, ran, dead = plainly(intervals(events))
    for task in np.flatnonzero(measured.exists).tolist():
        assert measured.time_ns[task].tolist() == [time[task, state] for state in TaskState]
        assert measured.count[task].tolist() == [count[task, state] for state in TaskState]
        for mine, plain in ((measured.born_ns, born), (measured.first_run_ns, ran), (measured.dead_ns, dead)):
            assert mine[task] == plain.get(task, UNKNOWN_TIME)
    assert sum(time.values()) == measured.time_ns.sum() == measured.cpu_time_ns.sum()
    for name in (*KEPT.values(), "burst"):
        one = measured.values[name]
        rows_ = zip(one.task.tolist(), one.cpu.tolist(), one.value_ns.tolist(), strict=True)
        assert Counter(rows_) == values[name]


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(EVENT, min_size=1, max_size=60))
def test_spans_are_runs_and_waits_without_a_gap(rows):
    found = intervals(make_events(rows)).sorted()
    expected = []
    for k in np.flatnonzero(np.isin(found.state, WANTS)).tolist():
        task, start, end = int(found.task[k]), int(found.start_ns[k]), int(found.end_ns[k])
        if expected and expected[-1][0] == task and expected[-1][2] == start:
            expected[-1][2] = end
        else:
            expected.append([task, start, end])
    spans = measure(found).spans
    assert np.stack([spans.task, spans.start_ns, spans.end_ns], axis=1).tolist() == expected


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(EVENT, min_size=1, max_size=40),
    weights=st.lists(st.sampled_from([15, 1024, 3072, 88761]), min_size=12, max_size=12),
    nr_cpus=st.integers(1, 3),
)
def test_entitlement_by_weight_is_the_sum_over_every_nanosecond(rows, weights, nr_cpus):
    found = intervals(make_events(rows))
    classes = {task: TaskClass(weights[task % 12]) for task in range(int(found.task.max(initial=0)) + 1)}
    asked = found.select(np.isin(found.state, WANTS))
    expected: Counter[int] = Counter()
    for now in range(int(found.start_ns.min(initial=0)), int(found.end_ns.max(initial=0))):
        runnable = np.unique(asked.task[(asked.start_ns <= now) & (now < asked.end_ns)]).tolist()
        rates = water_fill([1] * len(runnable), [classes[t] for t in runnable], frozenset(range(nr_cpus)))
        expected.update(dict(zip(runnable, rates, strict=True)))
    result = fairness(found, classes, nr_cpus)
    assert result.task.tolist() == np.unique(asked.task).tolist()
    assert result.entitled_ns.tolist() == pytest.approx([expected[task] for task in result.task.tolist()])


@settings(max_examples=100, deadline=None)
@given(
    values=st.lists(st.tuples(st.integers(0, 6), st.integers(0, 1 << 40)), max_size=200),
    groups=st.lists(st.integers(-1, 3), min_size=7, max_size=7),
    nr_alike=st.sampled_from([1, 5, 30]),
)
def test_figures_of_groups_are_those_of_their_values(values, groups, nr_alike):
    """Groups of all sizes: what sorts by insertion, what sorts at once, and what selects."""
    key = np.array([key for key, _ in values] * nr_alike, np.int32)
    value_ns = np.array([value for _, value in values] * nr_alike, np.int64)
    columns = summarize("x", key, value_ns, 4, group_of_key=np.array(groups))
    for group in range(4):
        mine = value_ns[np.array(groups)[key] == group]
        assert columns["x_count"][group] == len(mine)
        if len(mine):
            assert columns["x_mean_ns"][group] == pytest.approx(mine.mean())
            for label, quantile in {**QUANTILES, "max": 1.0}.items():
                assert columns[f"x_{label}_ns"][group] == np.quantile(mine, quantile, method="inverted_cdf")
