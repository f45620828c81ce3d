import numpy as np
import pytest

from schedtuna.record.layout import REASON_WAKEUP, REASON_WAKING
from schedtuna.record.stream import (
    LONGEST_PAUSE_S,
    SHORTEST_PAUSE_S,
    default_ring_bytes,
    events_of_rows,
    next_pause,
    ring_capacity,
    rows_ring_bytes,
)
from schedtuna.trace.schema import TASK_DTYPE, EventType, TaskReason


@pytest.mark.parametrize(
    ("ring_bytes", "nr_cpus", "events"),
    [(64 << 20, 2, 1 << 20), (1 << 20, 2, 1 << 14), (3 << 20, 1, 1 << 16), (1, 64, 64)],
)
def test_rings_share_the_memory_and_hold_a_power_of_two(ring_bytes, nr_cpus, events):
    assert ring_capacity(ring_bytes, nr_cpus) == events


@pytest.mark.parametrize(
    ("nr_cpus", "waking", "available_gb", "megabytes"),
    [(2, False, 8, 32), (2, True, 8, 64), (1024, False, 4096, 512), (2, True, 1, 16), (64, False, 16, 256)],
)
def test_rings_take_as_much_as_is_asked_of_them_and_no_more_than_there_is(
    nr_cpus, waking, available_gb, megabytes
):
    chosen = default_ring_bytes(nr_cpus, waking=waking, available_bytes=available_gb << 30)
    assert chosen == megabytes << 20
    assert default_ring_bytes(1) <= 16 << 20  # of this machine


def test_a_larger_ring_has_more_room_for_forks_too():
    sizes = [rows_ring_bytes(ring_bytes) for ring_bytes in (128, 64 << 20, 200 << 20)]
    assert sizes == [4 << 20, 8 << 20, 16 << 20]


def test_rows_become_events():
    reasons = [
        TaskReason.FORK,
        TaskReason.RENAME,
        TaskReason.EXEC,
        TaskReason.EXIT,
        REASON_WAKEUP,
        REASON_WAKING,
    ]
    rows = np.zeros(len(reasons), TASK_DTYPE)
    rows["reason"] = reasons
    rows["timestamp_ns"] = np.arange(len(reasons))
    rows["tid"], rows["tgid"], rows["reserved"], rows["cpu"], rows["prio"] = 5, 4, 3, 2, 120
    events = events_of_rows(rows)
    assert events["type"].tolist() == [
        EventType.FORK,
        EventType.EXEC,
        EventType.EXIT,
        EventType.WAKEUP,
        EventType.WAKING,
    ]
    assert events["timestamp_ns"].tolist() == [0, 2, 3, 4, 5]
    assert events["aux"].tolist() == [4, 4, 4, 0, 0]  # tgid
    for name, value in (("tid", 5), ("other_tid", 3), ("cpu", 2), ("target_cpu", 2), ("orig_cpu", 2)):
        assert (events[name] == value).all()


def test_pauses_get_longer_while_little_happens_and_shorter_at_once():
    pause_s = SHORTEST_PAUSE_S
    for _ in range(5):
        longer_s = next_pause(pause_s, 0.0)
        assert pause_s < longer_s <= 2 * pause_s or pause_s == longer_s == LONGEST_PAUSE_S
        pause_s = longer_s
    assert pause_s == LONGEST_PAUSE_S
    assert next_pause(pause_s, 0.5) == pytest.approx(SHORTEST_PAUSE_S)
    assert next_pause(0.02, 0.1) == pytest.approx(0.02)  # comfortable
