"""Traces of events and traces that were counted in the kernel answer the same questions."""

import numpy as np
import polars as pl
import pytest
from tests.unit.trace.making import events, switch

from schedtuna.errors import IncompleteTraceError, TraceError, UsageError
from schedtuna.trace import overview
from schedtuna.trace.aggregates.groups import GROUP_DTYPE
from schedtuna.trace.aggregates.layout import Delay
from schedtuna.trace.aggregates.stored import KIND, columns_of_groups
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.counted import Counted
from schedtuna.trace.trace import MemorySource, Trace

MS = 10**6


def counted_trace(*, losses=(), manifest=None, waits_ns=(0, 0, 0)):
    groups = np.zeros(3, GROUP_DTYPE)
    groups["delay_ns"][:, Delay.PREEMPT] = waits_ns
    groups["nr_tasks"] = 1
    groups["tid"] = [1, 2, 3]
    groups["comm"] = [b"b", b"a\x1b", b"b"]
    groups["cgroup_id"] = [7, 8, 7]
    groups["run_ns"] = [1 * MS, 9 * MS, 2 * MS]
    groups["nr_delays"][:, Delay.WAKEUP] = 2
    groups["histograms"][:, Delay.WAKEUP, 40] = 2
    groups["delay_max_ns"][:, Delay.WAKEUP] = 10**9
    source = MemorySource(
        sample_frames={KIND: pl.DataFrame(columns_of_groups(groups))},
        cgroup_paths={7: "/one"},
        loss_rows=list(losses),
    )
    return Trace({"mode": "aggregate", **(manifest or {})}, source)


def test_what_was_counted_is_folded_by_name_task_and_cgroup():
    source = overview.measured(counted_trace())
    assert isinstance(source, Counted)
    for grouping, names, times in (
        ("comm", ["a\\x1b", "b"], [9 * MS, 3 * MS]),
        ("task", ["a\\x1b:2", "b:3", "b:1"], [9 * MS, 2 * MS, MS]),
        ("cgroup", ["8", "/one"], [9 * MS, 3 * MS]),
    ):
        rows = source.by(grouping)
        assert rows.names == names
        assert rows.columns["cpu_time_ns"].tolist() == times
    overall = source.overall()
    assert (overall["nr_tasks"], overall["nr_wakeups"], overall["first_run_delay_p99_ns"]) == (3, 6, None)


ONE_CPU = {"nr_cpus": 64, "origin": {"machine": {"topology": {"cpus": [{"cpu": 0}]}}}}


@pytest.mark.parametrize(
    ("manifest", "cv"),
    [
        # On one CPU each is entitled to 4 of 12 ms and got 1, 9 and 2: ratios 1/4, 9/4 and 1/2, of mean 1.
        ({"duration_s": 0.012, **ONE_CPU}, np.std([0.25, 2.25, 0.5])),
        # On two CPUs to all 9 ms that each wanted: the ratios are 1/9, 1 and 2/9.
        ({"duration_s": 0.027, "nr_cpus": 1}, np.std([1 / 9, 1, 2 / 9]) / np.mean([1 / 9, 1, 2 / 9])),
        ({"duration_s": 0.027}, None),
        ({"nr_cpus": 2}, None),
        ({"duration_s": "x", **ONE_CPU}, None),
    ],
)
def test_how_fair_what_was_counted_was(manifest, cv):
    overall = Counted(counted_trace(manifest=manifest, waits_ns=[8 * MS, 0, 7 * MS])).overall()
    assert overall["fairness_cv"] == (None if cv is None else pytest.approx(cv))


@pytest.mark.parametrize("grouping", ["cpu", "label"])
def test_what_was_counted_is_not_known_by_cpu_or_label(grouping):
    with pytest.raises(UsageError, match=f"can't be shown by {grouping}"):
        Counted(counted_trace()).by(grouping)


def test_what_was_counted_as_a_whole_has_no_windows():
    with pytest.raises(UsageError, match="counted as a whole"):
        overview.measured(counted_trace(), window_s=(0.0, 1.0))


def test_what_was_counted_with_losses_is_refused_unless_they_are_accepted():
    trace = counted_trace(losses=[{"nr_lost": 3, "cpu": -1, "first_ns": 0, "last_ns": 9}])
    with pytest.raises(IncompleteTraceError):
        overview.measured(trace)
    told = overview.remarks(overview.measured(trace, allow_lost=True))
    assert told == ["3 first runs or exits of tasks were not counted: the figures are off."]


def test_damaged_statistics_are_refused():
    trace = counted_trace()
    trace.sample_frames[KIND] = trace.samples(KIND).drop("run_ns")
    with pytest.raises(TraceError, match="damaged"):
        overview.measured(trace)


def test_both_kinds_tell_state_losses_and_warnings():
    switches = events(switch(MS, 0, 7), switch(3 * MS, 7, 0))
    streamed = overview.measured(Trace({}, MemorySource(switches)))
    assert isinstance(streamed, Analysis)
    for source in (streamed, overview.measured(counted_trace())):
        facts = overview.facts(source)
        assert (facts["state"], facts["nr_lost"]) == ("complete", 0)
        assert isinstance(facts["warnings"], list)
        assert "1 tasks" in overview.headline(source) or "3 tasks" in overview.headline(source)
    assert "The trace has no wakeups: there are no wakeup latencies." in overview.remarks(streamed)


def test_a_trace_that_was_cut_is_told_so():
    trace = counted_trace()
    trace.state = "cut"
    assert overview.remarks(Counted(trace))[0].startswith("The trace was cut")
