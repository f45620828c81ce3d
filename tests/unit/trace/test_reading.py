"""What of a trace is known: CPUs that begin late, recordings of single tasks, traces of older versions."""

import numpy as np
import pytest
from tests.unit.trace.making import events, migrate, switch, tasks, wakeup

from schedtuna.errors import IncompleteTraceError
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.doubts import unknown, warnings
from schedtuna.trace.gaps import Why
from schedtuna.trace.schema import PrevState
from schedtuna.trace.trace import MemorySource, Trace

US, MS, S = 1_000, 1_000_000, 1_000_000_000


def imported(rows, **manifest):
    rows = sorted(rows, key=lambda row: row["timestamp_ns"])
    facts = {"imported_from": {"format": "ftrace"}, **manifest}
    return Trace(facts, MemorySource(events(*rows), tasks()))


def late(offset=4 * S):
    """CPU 1's buffer begins late: 7 was woken long before, and ran and slept unseen."""
    return [
        wakeup(0, 7, cpu=0) | {"target_cpu": 1},
        switch(500 * US, 9, 0),
        switch(offset, 0, 7, cpu=1),
        switch(offset + 120 * US, 7, 0, cpu=1),
        wakeup(offset + 500 * MS, 7) | {"target_cpu": 1},
        switch(offset + 500 * MS + 30 * US, 0, 7, cpu=1),
        switch(offset + 500 * MS + 130 * US, 7, 0, cpu=1),
    ]


def latencies(trace):
    return Analysis(trace).measured.values["wakeup_latency"].value_ns.tolist()


@pytest.mark.parametrize("begin", ["apart", "not told", None])
def test_no_wait_is_made_up_before_a_cpus_first_event(begin):
    analysis = Analysis(imported(late(), cpus_begin=begin))
    assert analysis.measured.values["wakeup_latency"].value_ns.tolist() == [30 * US]
    shares = analysis.unknown_shares
    assert shares[0] == 0
    assert shares[1] == pytest.approx(4 / 4.5, abs=0.01)
    assert set(analysis.gaps.why.tolist()) == {Why.NOT_BEGUN}
    assert np.isnan(analysis.by("cpu").columns["busy_percent"][1])
    assert "before the first event of a CPU" in " ".join(warnings(analysis))


def test_cpus_that_began_together_are_known_from_the_start():
    assert latencies(imported(late(), cpus_begin="together")) == [4 * S, 30 * US]
    own = Trace({}, imported(late())._source)
    assert latencies(own) == [4 * S, 30 * US]


def test_a_first_wait_is_believed_if_it_is_short():
    """Tools start CPUs one after the other, in milliseconds; only an overwritten buffer begins anywhere."""
    rows = late(offset=30 * US)
    assert latencies(imported(rows)) == [30 * US, 30 * US]
    assert latencies(imported(rows, cpus_begin="apart")) == [30 * US]


def test_who_ran_before_a_cpus_first_event_is_unknown():
    rows = [switch(0, 0, 5), switch(3 * S, 7, 0, cpu=1), switch(4 * S, 5, 0)]
    analysis = Analysis(imported(rows, cpus_begin="apart"))
    figures = dict(zip(analysis.by("task").columns["tid"].tolist(), analysis.by("task").dicts(), strict=True))
    assert (figures[7]["cpu_time_ns"], figures[7]["unknown_ns"]) == (0, 3 * S)
    assert figures[5]["cpu_time_ns"] == 4 * S


def leaving_only():
    """As perf without -a: only the switches by which 7 leaves."""
    return [
        switch(0, 7, 55),
        switch(10 * MS, 7, 55),
        switch(20 * MS, 7, 56, cpu=1),
        switch(120 * MS, 7, 0),
    ]


def by_tid(analysis):
    rows = analysis.by("task")
    return dict(zip(rows.columns["tid"].tolist(), rows.dicts(), strict=True))


def test_of_single_tasks_nothing_is_claimed_that_is_not_recorded():
    analysis = Analysis(imported(leaving_only()))
    figures = by_tid(analysis)
    assert {tid: row["cpu_time_ns"] for tid, row in figures.items()} == {7: None, 55: None, 56: None}
    assert figures[7]["unknown_ns"] == 120 * MS
    assert analysis.overall()["cpu_time_ns"] is None
    assert analysis.overall()["fairness_cv"] is None
    assert analysis.unknown_share == pytest.approx(1.0)
    assert unknown(analysis)["only_some_tasks"]
    assert "perf record -a" in warnings(analysis)[0]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_switch_per_cpu_is_enough_to_tell(order):
    rows = [switch(0, 7, 55, cpu=order[0]), switch(20 * MS, 7, 56, cpu=order[1]), wakeup(90 * MS, 9)]
    assert by_tid(Analysis(imported(rows)))[56]["cpu_time_ns"] is None


def either_side(rng, nr_runs=40):
    """As ftrace with a pid filter: the switches of 7, both ways; strangers come and go between."""
    rows, now, ran = [], 0, 0
    for _ in range(nr_runs):
        now += int(rng.integers(1, 9)) * MS
        rows.append(wakeup(now, 7))
        rows.append(switch(now + 10 * US, int(rng.choice([0, 55, 56, 57])), 7))
        now += MS
        ran += MS - 10 * US
        rows.append(switch(now, 7, int(rng.choice([0, 55, 56, 57]))))
    return rows, ran


@pytest.mark.parametrize("seed", range(5))
def test_tasks_that_were_recorded_whole_have_their_figures(seed):
    rows, ran = either_side(np.random.default_rng(seed))
    analysis = Analysis(imported(rows))
    figures = by_tid(analysis)
    assert (figures[7]["cpu_time_ns"], figures[7]["wakeup_latency_max_ns"]) == (ran, 10 * US)
    assert {figures[tid]["cpu_time_ns"] for tid in (55, 56, 57)} == {None}
    known = ran / (analysis.end_ns - analysis.start_ns)
    assert analysis.unknown_share == pytest.approx(1 - known, abs=0.001)


def test_who_fits_in_by_chance_is_not_taken_for_recorded():
    """55 always comes after 7 and goes before it; what it did elsewhere was not recorded."""
    rng = np.random.default_rng(1)
    rows, _ = either_side(rng)
    end = rows[-1]["timestamp_ns"]
    rows += [switch(end + MS, int(rows[-1]["other_tid"]), 7), switch(end + 2 * MS, 7, 99)]
    rows += [switch(end + 3 * MS, 99, 7), switch(end + 4 * MS, 7, 0)]
    assert by_tid(Analysis(imported(rows)))[99]["cpu_time_ns"] is None


def test_a_switch_that_a_kernel_missed_makes_no_recording_of_single_tasks():
    rows = [switch(k * MS, 7 + k % 2, 7 + (k + 1) % 2, PrevState.PREEMPTED) for k in range(200)]
    rows[100]["tid"] = 50
    analysis = Analysis(imported(rows))
    assert not analysis.reading.is_partial
    assert analysis.gaps.why.tolist() == [Why.UNCHAINED]
    assert (analysis.gaps.start_ns[0], analysis.gaps.end_ns[0]) == (99 * MS, 100 * MS)
    assert by_tid(analysis)[7]["cpu_time_ns"] > 90 * MS


def test_a_loss_after_the_last_event_is_at_the_end_of_the_trace():
    trace = imported([switch(0, 0, 7), switch(5 * MS, 7, 0)])
    trace._source.loss_rows.append({"nr_lost": None, "cpu": 0, "first_ns": 9 * MS, "last_ns": None})
    with pytest.raises(IncompleteTraceError, match="an unknown number of events"):
        Analysis(trace)
    assert Analysis(trace, window_s=(0, 0.004)).overall()["cpu_time_ns"] == 4 * MS


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ([1], "1 event was lost"),
        ([3, 4], "7 events were lost"),
        ([None], "an unknown number of events were lost"),
        ([3, None], "at least 4 (how many is not said) events were lost"),
    ],
)
@pytest.mark.parametrize(
    ("format_", "hint"), [("perf-data", "perf record -m"), ("ftrace", "buffer_size_kb"), (None, "--ring-mb")]
)
def test_the_hint_is_about_the_tool_that_lost_events(counts, told, format_, hint):
    rows = [{"nr_lost": count, "cpu": 0, "first_ns": 0, "last_ns": 1} for count in counts]
    manifest = {"imported_from": {"format": format_}} if format_ else {}
    with pytest.raises(IncompleteTraceError, match=told.replace("(", r"\(").replace(")", r"\)")) as caught:
        Trace(manifest, MemorySource(events(switch(0, 0, 7)), loss_rows=rows)).require_complete()
    assert hint in str(caught.value.hint)


def test_what_an_older_version_could_not_read_counts_as_lost():
    manifest = {"imported_from": {"format": "ftrace"}, "nr_unread": 3}
    trace = Trace(manifest, MemorySource(events(switch(0, 0, 7), switch(9, 7, 0))))
    with pytest.raises(IncompleteTraceError, match="3 events of the file can't be read"):
        Analysis(trace)


def test_a_wait_that_moves_to_a_cpu_that_begins_later_is_unknown():
    rows = [
        wakeup(0, 7),
        switch(1, 3, 0),
        migrate(2, 7, 0, 1),
        switch(5 * S, 0, 7, cpu=1),
        switch(6 * S, 7, 0, cpu=1),
    ]
    assert latencies(imported(rows, cpus_begin="apart")) == []


def missing_of_one(nr_rounds=30):
    """As on a machine whose kernel tells no switch away from 68; all else is there."""
    rows = []
    for k in range(nr_rounds):
        at = 10 * k * MS
        rows += [
            switch(at, 0, 9),
            switch(at + MS, 9, 0),
            switch(at + 2 * MS, 0, 68),
            switch(at + 5 * MS, 9, 0),
        ]
        rows += [switch(at + 6 * MS, 0, 11), switch(at + 7 * MS, 11, 12), switch(at + 8 * MS, 12, 0)]
    return rows


def test_a_recording_of_the_machine_that_misses_ones_switches_is_not_one_of_single_tasks():
    analysis = Analysis(imported(missing_of_one()))
    assert not analysis.reading.is_partial
    figures = by_tid(analysis)
    assert figures[11]["cpu_time_ns"] == 30 * MS
    assert analysis.unknown_share == pytest.approx(0.3, abs=0.02)  # 3 of 10 ms: from 68's coming on
    assert set(analysis.gaps.why.tolist()) == {Why.UNCHAINED}


def of_cpu_0(nr_rounds=20):
    """As ftrace with a tracing_cpumask: CPU 1 is busy, and only what CPU 0 does to it shows."""
    rows = []
    for k in range(nr_rounds):
        at = 10 * k * MS
        rows += [switch(at, 0, 9), wakeup(at + MS, 7, cpu=0) | {"target_cpu": 1}, switch(at + 2 * MS, 9, 0)]
    rows.append(wakeup(3 * MS, 8, cpu=0) | {"target_cpu": 1})
    return rows


@pytest.mark.parametrize("begin", ["together", "apart", "not told", None])
def test_who_was_put_on_a_cpu_without_events_did_not_wait_to_the_end(begin):
    analysis = Analysis(imported(of_cpu_0(), cpus_begin=begin))
    figures = by_tid(analysis)
    assert (figures[7]["run_delay_ns"], figures[8]["run_delay_ns"]) == (0, 0)
    assert figures[8]["unknown_ns"] > 150 * MS
    assert figures[9]["cpu_time_ns"] == 40 * MS
    assert analysis.unknown_shares.tolist() == [0, 1]
    assert set(analysis.gaps.why.tolist()) == {Why.NOT_BEGUN}
    assert analysis.overall()["fairness_cv"] is None


def test_who_was_preempted_may_have_gone_to_a_cpu_that_nobody_saw():
    rows = [*of_cpu_0(), switch(5 * MS, 0, 6), switch(6 * MS, 6, 0, PrevState.PREEMPTED)]
    assert by_tid(Analysis(imported(rows, cpus_begin="together")))[6]["run_delay_ns"] == 0


def test_a_cpu_that_nobody_was_put_on_was_idle():
    """No false alarm: nor where somebody is put on its queue as the recording ends."""
    rows = [row for row in of_cpu_0() if row["tid"] not in {7, 8}]
    last = [wakeup(191 * MS, 7, cpu=0) | {"target_cpu": 1}]
    for some in (rows, rows + last):
        analysis = Analysis(imported(some, cpus_begin="together", nr_cpus=2))
        assert analysis.unknown_share == 0
        assert not warnings(analysis)
