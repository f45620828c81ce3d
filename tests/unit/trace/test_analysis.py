import numpy as np
import pytest
from tests.unit.trace.making import events, exit_, fork, migrate, random_events, switch, tasks, wakeup

from schedtuna.errors import IncompleteTraceError, TraceError, UsageError
from schedtuna.trace import metrics
from schedtuna.trace.analysis import GROUPINGS, Analysis
from schedtuna.trace.difference import differences, group_differences
from schedtuna.trace.schema import PrevState, TaskReason
from schedtuna.trace.trace import MemorySource, Trace

MS = 1_000_000


def trace_of(rows, task_rows=(), manifest=None, **source):
    array = rows if isinstance(rows, np.ndarray) else events(*rows)
    return Trace(manifest or {}, MemorySource(array, tasks(*task_rows), **source))


@pytest.fixture
def two_of_one_tid():
    """Tid 7 is `old`, dies, and is given to `new`, which runs three times as long."""
    return trace_of(
        [
            switch(2 * MS, 0, 7),
            switch(4 * MS, 7, 0, PrevState.DEAD),
            fork(10 * MS, 7),
            switch(12 * MS, 0, 7),
            migrate(14 * MS, 7, 0, 1),
            exit_(17 * MS, 7),
            switch(18 * MS, 7, 0, PrevState.DEAD),
        ],
        [
            {"tid": 7, "start_time_ns": 0, "comm": b"old", "cgroup_id": 1},
            {"tid": 7, "start_time_ns": 10 * MS - 5, "timestamp_ns": 17 * MS, "comm": b"new", "cgroup_id": 2}
            | {"reason": TaskReason.EXIT},
        ],
        cgroup_paths={1: "/a", 2: "/b"},
    )


def column(rows, name):
    return dict(zip(rows.names, rows.columns[name].tolist(), strict=True))


def test_a_tid_that_was_used_twice_has_two_names(two_of_one_tid):
    analysis = Analysis(two_of_one_tid)
    assert column(analysis.by("comm"), "cpu_time_ns") == {"new": 6 * MS, "old": 2 * MS}
    assert column(analysis.by("cgroup"), "cpu_time_ns") == {"/b": 6 * MS, "/a": 2 * MS}
    assert column(analysis.by("task"), "nr_migrations") == {"new:7": 1, "old:7": 0}
    assert analysis.overall()["turnaround_count"] == 1


def test_in_a_filtered_trace_nobody_knows_what_cpus_do_besides():
    """Task 9 is there only because 7 came before and after it."""
    rows = [
        switch(2 * MS, 0, 7),
        switch(4 * MS, 7, 9, PrevState.PREEMPTED),
        switch(10 * MS, 9, 7, PrevState.PREEMPTED),
        switch(12 * MS, 7, 9, PrevState.SLEEPING),
    ]
    known = [{"tid": 7, "start_time_ns": 0, "comm": b"mine"}]
    filtered = Analysis(trace_of(rows, known, {"filter": {"comm": "mine"}}))
    assert column(filtered.by("comm"), "cpu_time_ns") == {"mine": 4 * MS}
    assert column(filtered.by("comm"), "run_delay_ns") == {"mine": 6 * MS}
    cpus = filtered.by("cpu").columns
    assert cpus["unknown_percent"].tolist() == [60.0]
    assert cpus["cpu_time_ns"].tolist() == [4 * MS]
    assert np.isnan(cpus["busy_percent"]).all()
    assert filtered.overall()["fairness_cv"] is None
    assert filtered.trace.events["other_tid"].tolist() == [7, 9, 7, 9]
    everything = Analysis(trace_of(rows, known))
    assert column(everything.by("comm"), "cpu_time_ns")["tid 9"] == 6 * MS


def test_cpus_are_busy_while_tasks_run(two_of_one_tid):
    rows = Analysis(two_of_one_tid).by("cpu")
    assert rows.columns["busy_percent"].tolist() == [50.0]  # 8 of the 16 ms between first and last event


def test_the_manifest_says_how_many_cpus_there_are(two_of_one_tid):
    two_of_one_tid.manifest["nr_cpus"] = 3
    assert Analysis(two_of_one_tid).by("cpu").names == ["0", "1", "2"]


def test_a_window_counts_only_what_is_in_it(two_of_one_tid):
    analysis = Analysis(two_of_one_tid, window_s=(0.001, 0.011))
    assert analysis.overall()["cpu_time_ns"] == 1 * MS + 1 * MS
    assert analysis.seconds == pytest.approx(0.010)


@pytest.mark.parametrize("window", [(0.016, 1.0), (5.0, 6.0), (0.003, 0.002), (-1.0, 1.0)])
def test_a_window_outside_the_trace_is_refused(two_of_one_tid, window):
    with pytest.raises(UsageError, match="not within the trace"):
        Analysis(two_of_one_tid, window_s=window)


def test_losses_are_refused_only_where_they_are(two_of_one_tid):
    source = MemorySource(
        two_of_one_tid.events, loss_rows=[{"nr_lost": 9, "cpu": 0, "first_ns": 0, "last_ns": 3 * MS}]
    )
    trace = Trace({}, source)
    with pytest.raises(IncompleteTraceError, match="9 events"):
        Analysis(trace)
    assert Analysis(trace, allow_lost=True).nr_events == 7
    assert Analysis(trace, window_s=(0.009, 0.016)).overall()["cpu_time_ns"] == 6 * MS


def test_a_trace_without_events_is_refused():
    with pytest.raises(TraceError, match="no scheduler events"):
        Analysis(trace_of([]))


def test_tasks_without_a_name_are_shown_by_tid():
    analysis = Analysis(trace_of([switch(1, 0, 7), switch(5, 7, 0)]))
    assert analysis.by("comm").names == ["tid 7"]


@pytest.mark.parametrize("grouping", GROUPINGS)
def test_any_trace_can_be_grouped(grouping):
    some = random_events(np.random.default_rng(6), 2_000)
    analysis = Analysis(trace_of(some, [{"tid": tid, "comm": b"x%d" % (tid % 3)} for tid in range(10)]))
    rows = analysis.by(grouping)
    assert rows.columns["cpu_time_ns"].sum() == analysis.overall()["cpu_time_ns"]
    assert len(rows.dicts()) == len(rows.names)


def test_an_unknown_grouping_is_refused(two_of_one_tid):
    with pytest.raises(UsageError, match="can't group"):
        Analysis(two_of_one_tid).by("colour")


def test_two_traces_are_compared_per_second(two_of_one_tid):
    twice_as_long = trace_of([switch(0, 0, 7), switch(8 * MS, 7, 0), wakeup(32 * MS, 8)])
    before, after = Analysis(two_of_one_tid), Analysis(twice_as_long)
    found = {row.figure: row for row in differences(before, after)}
    assert found["cpu_time_ns_per_s"].ratio == pytest.approx(0.5)
    assert found["slice_max_ns"].before == 6 * MS
    rows = group_differences(before, after, "comm", "cpu_time_ns")
    assert [row.figure for row in rows] == ["tid 7", "new", "old", "tid 8"]
    assert rows[0].before is None
    assert rows[0].ratio is None


def test_a_trace_that_is_too_long_has_all_but_fairness(monkeypatch):
    trace = trace_of(random_events(np.random.default_rng(5), 3_000))
    whole = Analysis(trace).overall()
    monkeypatch.setattr(metrics, "MAX_SPANS", 10)
    analysis = Analysis(trace)
    assert analysis.fairness is None
    assert analysis.overall() == pytest.approx(whole | {"fairness_cv": None}, nan_ok=True)
