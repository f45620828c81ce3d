"""What stands before an event, as the kernel and the tools print it, and what is said of what can't be read."""

# ruff: noqa: E501  # the tools' lines are as long as they are

import io

import pytest

from schedtuna.errors import TraceError
from schedtuna.trace.formats import sched_text
from schedtuna.trace.formats.sched_head import usual_head
from schedtuna.trace.formats.sink import Collector

SWITCH = b"sched_switch: prev_comm=sh prev_pid=7 prev_prio=120 prev_state=R+ ==> next_comm=x next_pid=8 next_prio=9"
# The same event, as Linux 6.18, trace-cmd 3.1.6 and perf 6.1 print it.
HEADS = {
    "ftrace": b"              sh-7       [001] d..2. 23494.649242: ",
    "record-tgid": b"              sh-7       (-------) [001] d..2. 23494.649242: ",
    "record-tgid, known": b"              sh-7       (      7) [001] d..2. 23494.649242: ",
    "without irq-info": b"              sh-7       [001]  23494.649242: ",
    "trace-cmd": b"              sh-7     [001] 23494.649242: ",
    "trace-cmd --ts-diff": b"              sh-7     [001] 23494.649242: (+6213)  ",
    "trace-cmd --ts-diff of another version": b"              sh-7     [001] 23494.649242: (+   6) ",
    "trace-cmd -t --ts-diff": b"              sh-7     [001] 23494.649242000: (+6213)  ",
    "trace-cmd -l": b"      sh-7       1d..2. 23494.649242: ",
    "trace-cmd -l --ts-diff": b"      sh-7       1d..2. 23494.649242: (+6213)  ",
    "perf": b"              sh       7/7       [001] 23494.649242:       sched:",
    "perf -F +period": b"              sh       7 [001] 23494.649242:          1       sched:",
    "perf -F +misc": b"              sh       7 [001] K     23494.649242:       sched:",
    "perf without comm": b"7/7       [001] 23494.649242:       sched:",
    "latency verbose": b"              sh         7   1 1 00000002 00000003 [57863e59a] 16.989ms (+0.116ms): ",
}
LATENCIES = [
    b"      sh-7       1d..2. 16989us!: ",
    b"      sh-7       1d..2. 16989us : ",
    b"      sh-7      12d..2. 16989us+: ",
    b"  <...>-7       1dN.2 16989us#: ",
]


def read(data, **how):
    collector = Collector()
    sched_text.parse(io.BytesIO(data), collector, **how)
    return collector.trace()


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_every_head_tells_the_same(head):
    trace = read(head + SWITCH + b"\n")
    (event,) = trace.events
    assert (event["cpu"], event["tid"], event["other_tid"], event["timestamp_ns"]) == (
        1,
        7,
        8,
        23494649242000,
    )
    assert not trace.is_incomplete


@pytest.mark.parametrize("head", LATENCIES)
def test_the_latency_format_has_microseconds_since_its_beginning(head):
    (event,) = read(head + SWITCH + b"\n").events
    assert event["timestamp_ns"] == 16_989_000
    assert event["cpu"] == (12 if b"12d" in head else 1)


def test_addresses_behind_the_fields_are_none_of_them():
    """perf script -F +ip,sym,dso."""
    (event,) = read(HEADS["perf"] + SWITCH + b" ffffffff813a89c4 __schedule+0x3f (vmlinux)\n").events
    assert (event["other_tid"], event["other_prio"]) == (8, 9)


@pytest.mark.parametrize(
    ("head", "reason", "help_"),
    [
        (b"              sh     7/7     23494.649242: sched:", "lines without a CPU", "cpu,time"),
        (b"              sh     7 [001] sched:", "lines without a time", "cpu,time"),
        (b"              sh [001] 23494.649242: sched:", "lines without a thread id", "pid,tid"),
        (b"[001] 23494.649242: sched:", "lines without a thread id", "pid,tid"),
        (b"", "lines without task, CPU and time", "context-info"),
        (b"              sh-7       [001] d..2.          798: ", "whole numbers", "ftrace-ns"),
        (b"              sh-7       [001] d..2. 49345182233814: ", "whole numbers", "-C mono"),
        (b"      sh-7     1d..2.    4: ", "whole numbers", "-C mono"),
        (b"      sh   7   1 1 00000002 00000003 [000000000000031f] 4 (+1): ", "whole numbers", "-C mono"),
    ],
)  # fmt: skip
def test_what_lacks_is_named_with_what_prints_it(head, reason, help_):
    with pytest.raises(TraceError, match=reason) as caught:
        read(head + SWITCH + b"\n")
    assert help_ in caught.value.hint


def test_events_without_fields_are_named():
    with pytest.raises(TraceError, match="events without fields"):
        read(HEADS["perf"] + b"sched_switch: \n")


def test_one_line_that_can_be_read_does_not_hide_that_the_others_can_not():
    """A name such as `jbd2/vda-8` ends like a task of ftrace."""
    line = b"        %b [000] 1.00000%d: sched:" + SWITCH + b"\n"
    with pytest.raises(TraceError, match="lines without a thread id"):
        read(line % (b"sh", 1) + line % (b"jbd2/vda-8", 2) + line % (b"sh", 3))


def test_whole_numbers_are_nanoseconds_if_the_user_says_so():
    (event,) = read(b"  sh-7  [001] d..2. 23494649242001: " + SWITCH + b"\n", in_ns=True).events
    assert (event["timestamp_ns"], event["cpu"]) == (23494649242001, 1)


def test_differences_are_not_taken_for_times():
    """perf script --deltatime."""
    line = b"  sh 7 [000] 0.00%04d: sched:" + SWITCH + b"\n"
    times = [(n * 7919) % 97 for n in range(40)]
    with pytest.raises(TraceError, match="differences between events") as caught:
        read(b"".join(line % time for time in times))
    assert "--deltatime" in caught.value.hint
    assert len(read(b"".join(line % time for time in sorted(times))).events) == 40


def test_differences_that_are_mostly_the_same_are_not_taken_for_times():
    """Of 10,744 events of `perf bench sched pipe` as perf 6.1 prints them, 56% had the time of the one before."""
    line = b"  sh 7 [000] 0.0000%02d: sched:" + SWITCH + b"\n"
    with pytest.raises(TraceError, match="differences between events"):
        read(b"".join(line % us for us in [1, 1, 1, 1, 1, 1, 2] * 40))
    in_order = b"".join(line % us for us in sorted([1, 1, 1, 1, 1, 1, 2] * 40))
    assert len(read(in_order * 5).events) == 1400  # texts that were joined


def test_a_usual_line_stays_as_it_is():
    for name in ("ftrace", "trace-cmd", "perf"):
        assert usual_head(HEADS[name] + SWITCH) == HEADS[name] + SWITCH
