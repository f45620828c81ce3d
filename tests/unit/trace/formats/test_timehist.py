"""What perf sched timehist says of each run, as events: the figures are those that it printed."""

# ruff: noqa: E501  # the tool's lines are as long as they are

import io

import numpy as np
import pytest

from schedtuna.errors import TraceError
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.formats.sink import Collector
from schedtuna.trace.formats.timehist import parse_timehist
from schedtuna.trace.schema import EventType, PrevState

# What perf 6.1 printed on Linux 6.18 (perf sched timehist --state -n), the names of tasks replaced.
TEXT = """\
           time    cpu  task name                       wait time  sch delay   run time  state
                        [tid/pid]                          (msec)     (msec)     (msec)       \n\
--------------- ------  ------------------------------  ---------  ---------  ---------  -----
   25600.583063 [0000]  shell[9454]                         0.000      0.000      0.000      R  next: worker[29260]          \n\
   25600.583089 [0000]  worker[29260]                       0.000      0.006      0.026      S  next: pool-1[1700]           \n\
   25600.583201 [0000]  pool-1[1700/1699]                   1.329      0.020      0.112      W  next: busy[9040]             \n\
   25600.583292 [0000]  busy[9040]                          1.352      0.000      0.091      R  next: shell[9454]            \n\
   25600.583413 [0000]  shell[9454]                         0.270      0.000      0.121      D  next: pool-1[1700]           \n\
   25600.583459 [0000]  pool-1[1700/1699]                   0.212      0.000      0.046      S  next: swapper                \n\
   25600.584305 [0001]  rcu_preempt[15]                     0.000      0.000      0.000      K  next: worker[29260]          \n\
   25600.584357 [0001]  worker[29260]                       1.200      0.010      0.052      X                               \n\
   25600.584398 [0001]  rcu_preempt[15]                     0.000      0.006      0.041      K                               \n\
   25600.589000 [0000]  :-1[-1/1699]                        0.000      0.000      0.118      X                               \n\
"""
PLAIN = "\n".join(
    line.split("  next: ")[0].rstrip().removesuffix("state").rstrip("RSDWKX ").rstrip()
    for line in TEXT.splitlines()
)


def drawn(text):
    """The same with a column that draws the CPUs: -V."""
    places = {"cpu  ": "01  ", "------  ": "--  ", "[0000]  ": "s   ", "[0001]  ": " s  "}
    for after, inserted in places.items():
        text = text.replace(f"{after}", f"{after}{inserted}", 1 if after[0] in "c-" else -1)
    return text


AWAKENED = "   25600.583292 [0000]  busy[9040]                                                      awakened: shell[9454]\n"
MIGRATED = "   25600.583292 [0000]  busy[9040]                                                      migrated: shell[9454] cpu 0 => 1\n"
SUMMARY = """

Runtime summary
                          comm  parent   sched-in     run-time    min-run     avg-run     max-run  stddev  migrations
                                          (count)       (msec)     (msec)      (msec)      (msec)       %
---------------------------------------------------------------------------------------------------------------------
                   shell[9454]       2          6        0.176      0.018       0.029       0.044   12.63       0

Idle stats:
    CPU  0 idle entire time window
"""


def read(text):
    collector = Collector()
    parse_timehist(io.BytesIO(text.encode()), collector)
    return collector.trace()


def cpu_times(trace):
    rows = Analysis(trace).by("comm")
    return dict(zip(rows.names, rows.columns["cpu_time_ns"].tolist(), strict=True))


CPU_TIMES = {
    "worker": 78_000,
    "pool-1": 158_000,
    "busy": 92_000,
    "shell": 121_000,
    "rcu_preempt": 41_000,
    ":-1": 118_000,
}
RIGHT = {name: pytest.approx(time_ns, abs=3_000) for name, time_ns in CPU_TIMES.items()}


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        PLAIN,
        drawn(TEXT),
        drawn(PLAIN),
        TEXT + AWAKENED,
        TEXT + MIGRATED,
        TEXT + SUMMARY,
        TEXT.replace("\n", "\r\n"),
    ],
    ids=["state, next", "plain", "drawn", "drawn plain", "-w", "-M", "-S", "CR LF"],
)
def test_times_on_the_cpu_are_the_run_times(text):
    trace = read(text)
    assert cpu_times(trace) == RIGHT
    assert not trace.is_incomplete
    assert "import the perf.data instead" in str(trace.sample_notes)
    assert ("has no states" in str(trace.sample_notes)) == (" W" not in text)
    assert "1 rows are of threads that perf had forgotten" in str(trace.sample_notes)


def test_wakeup_latencies_are_the_delays():
    values = Analysis(read(TEXT)).measured.values
    # Not those of worker, which was woken before the first row of all, and of its second CPU.
    assert sorted(values["wakeup_latency"].value_ns.tolist()) == [6_000, 20_000]


def test_who_slept_and_came_back_at_once_was_woken():
    """Its wait was less than a microsecond."""
    text = TEXT.replace("0.006      0.041", "0.000      0.041")
    assert sorted(Analysis(read(text)).measured.values["wakeup_latency"].value_ns.tolist()) == [0, 20_000]


def test_who_was_preempted_waits_from_then_on():
    values = Analysis(read(TEXT)).measured.values
    # pool-1 from .583201 to .583413, shell from .583063 to .583292; busy waits to the end
    assert sorted(values["preempt_delay"].value_ns.tolist()) == [212_000, 229_000]


def test_states_are_those_that_perfs_letters_stand_for():
    trace = read(TEXT)
    switches = trace.events[trace.events["type"] == EventType.SWITCH]
    states = {int(row["tid"]): PrevState(row["prev_state"]) for row in switches[::-1] if row["tid"]}
    assert states[15] is PrevState.IDLE
    assert states[1700] is PrevState.PREEMPTED
    assert states[9454] is PrevState.RUNNABLE


def test_a_cpu_is_idle_where_nobody_ran():
    trace = read(TEXT)
    of_cpu = trace.events[(trace.events["cpu"] == 0) & (trace.events["type"] == EventType.SWITCH)]
    assert np.array_equal(of_cpu["other_tid"][:-1], of_cpu["tid"][1:])
    assert of_cpu["other_tid"][-3] == 0


@pytest.mark.parametrize(
    ("before", "after", "match"),
    [
        ("task name", "whatever", "expected the header"),
        ("0.026", "26us", "line 5: expected times in ms"),
        ("busy[9040]  ", "busy        ", "line 7: expected a task"),
        ("busy[9040]  ", "busy[99999999]", "no such task"),
        ("[0001]", "[70000]", "no such task"),
        ("0.006      0.026", "99999999.006      0.026", "no such task, CPU or time"),
    ],
)
def test_what_does_not_fit_is_refused(before, after, match):
    assert before in TEXT
    with pytest.raises(TraceError, match=match) as caught:
        read(TEXT.replace(before, after))
    assert "perf sched timehist --state" in caught.value.hint


@pytest.mark.parametrize("text", ["", "hello\n", TEXT[:300]])
def test_a_text_without_rows_is_refused(text):
    with pytest.raises(TraceError, match="no rows of perf sched timehist"):
        read(text)
