"""Who woke a task up: wakings of a made-up trace, told apart by hand."""

from __future__ import annotations

import numpy as np
import pytest

from schedtuna.features.cycles import Cycles
from schedtuna.learn.known_of_tasks import KnownOfTasks
from schedtuna.learn.wakers import WAKER_FEATURES, WakersOfTasks, tells_wakers
from schedtuna.trace.schema import EVENT_DTYPE, PF_KTHREAD, TASK_DTYPE, EventType, Waker
from schedtuna.trace.states import TaskState
from schedtuna.trace.trace import MemorySource, Trace

pytest.importorskip("polars")

# Processes: 10 with the threads 10 and 11, 20 alone; 5 is a thread of the kernel. 99 is nobody that is known.
THREADS = {10: 10, 11: 10, 20: 20, 5: 5}
INTERRUPT, SIBLING, KTHREAD = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
STRANGER = (0, 0, 0)


def known():
    rows = np.zeros(len(THREADS), TASK_DTYPE)
    rows["tid"], rows["tgid"] = np.array(list(THREADS.items())).T
    rows["flags"][rows["tid"] == 5] = PF_KTHREAD
    rows["reason"] = 1
    return KnownOfTasks(Trace({"window_ns": [0, 1000]}, MemorySource(task_rows=rows)))


def wakings(*rows):
    """Events: (time, who, waker, its context)."""
    events = np.zeros(len(rows), EVENT_DTYPE)
    for name, column in zip(("timestamp_ns", "tid", "other_tid", "aux"), np.array(rows).T, strict=True):
        events[name] = column
    events["type"] = EventType.WAKING
    return events


def cycles(*rows, birth=False):
    """Bursts: (task's tid, when it woke up)."""
    tid, wake = np.array(rows).T
    nr = len(rows)
    zero = np.zeros(nr, np.int64)
    return Cycles(
        task=tid.astype(np.int32),
        tid=tid.astype(np.uint32),
        wake_ns=wake,
        end_ns=wake + 1,
        burst_ns=zero + 1,
        sleep_ns=zero,
        slept=np.full(nr, TaskState.SLEEPING, np.uint8),
        wakeup_latency_ns=zero,
        preempt_delay_ns=zero,
        nr_preempted=zero,
        nr_migrations=zero,
        is_birth=np.full(nr, birth),
        exits=np.zeros(nr, np.bool_),
        is_known=np.ones(nr, np.bool_),
    )


def told(wakers, given):
    columns = wakers.features(given)
    rows = zip(*(columns[name].tolist() for name in WAKER_FEATURES), strict=True)
    return [None if min(row) < 0 else row for row in rows]


@pytest.mark.parametrize(
    ("waker", "context", "expected"),
    [
        (11, Waker.TASK, SIBLING),
        (20, Waker.TASK, STRANGER),
        (5, Waker.TASK, KTHREAD),
        (11, Waker.INTERRUPT, INTERRUPT),
        (0, Waker.TASK, INTERRUPT),
        (99, Waker.TASK, None),
        (11, Waker.UNKNOWN, None),
    ],
)
def test_wakers_are_told_apart(waker, context, expected):
    wakers = WakersOfTasks(known())
    wakers.watch(wakings((100, 10, waker, context)))
    assert told(wakers, cycles((10, 101))) == [expected]


def test_the_last_waking_by_then_began_the_burst():
    wakers = WakersOfTasks(known())
    wakers.watch(wakings((100, 10, 11, 1), (200, 10, 20, 1), (210, 10, 5, 1), (300, 10, 11, 2)))
    assert told(wakers, cycles((10, 101), (10, 211), (10, 301))) == [SIBLING, KTHREAD, INTERRUPT]


def test_parts_of_a_trace_give_what_the_whole_does():
    events = wakings((100, 10, 11, 1), (150, 20, 11, 1), (200, 10, 20, 1), (300, 10, 5, 1))
    wakers = WakersOfTasks(known())
    wakers.watch(events[:2])
    first = told(wakers, cycles((10, 101)))
    wakers.watch(events[2:])
    assert first + told(wakers, cycles((10, 201), (10, 301), (20, 150))) == [
        SIBLING,
        STRANGER,
        KTHREAD,
        STRANGER,
    ]


def test_a_waking_of_the_burst_before_is_not_taken_for_that_of_this_one():
    wakers = WakersOfTasks(known())
    wakers.watch(wakings((100, 10, 11, 1)))
    assert told(wakers, cycles((10, 101), (10, 500))) == [SIBLING, None]
    assert told(wakers, cycles((10, 900))) == [None]


def test_who_was_just_born_was_woken_by_nobody():
    assert told(WakersOfTasks(known()), cycles((10, 5), birth=True)) == [STRANGER]


def test_what_is_too_much_is_forgotten_and_counted():
    wakers = WakersOfTasks(known(), most=10)
    wakers.watch(wakings(*((100 + k, 10 if k == 0 else 20, 11, 1) for k in range(30))))
    assert told(wakers, cycles((10, 100), (20, 129))) == [None, STRANGER]
    assert wakers.nr_forgotten == 25


def test_which_traces_tell():
    def of(**manifest):
        return tells_wakers(Trace(manifest, MemorySource()))

    assert of(waking=True) and of(simulation={})
    assert not of(waking=False) and not of()
    assert not of(waking=True, imported_from={"format": "perf-data"})
