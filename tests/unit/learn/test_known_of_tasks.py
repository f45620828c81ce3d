"""What a trace tells of tasks as of a moment: groups and memory."""

from __future__ import annotations

import numpy as np
import pytest

from schedtuna.learn.known_of_tasks import UNKNOWN, KnownOfTasks
from schedtuna.trace.attributes import ATTRIBUTE_DTYPE
from schedtuna.trace.groups import GROUP_DTYPE
from schedtuna.trace.schema import TASK_DTYPE
from schedtuna.trace.trace import MemorySource, Trace

pl = pytest.importorskip("polars")

ROOT, ABOVE, OWN, LOST = 1, 2, 1 << 62 | 7, 9  # the last is within one that no row tells of


def trace(**changes):
    """Tids 10 and 11 of process 10, born at 100; 10 moves from the root to a deep group at 200."""
    tasks = np.zeros(2, TASK_DTYPE)
    tasks["tid"], tasks["tgid"], tasks["start_time_ns"] = [10, 11], 10, 100
    attributes = np.zeros(3, ATTRIBUTE_DTYPE)
    attributes["timestamp_ns"], attributes["tid"] = [100, 200, 100], [10, 10, 11]
    attributes["group_id"], attributes["weight"] = [ROOT, OWN, LOST], 1024
    attributes["cpu_set"] = 0
    groups = np.zeros(5, GROUP_DTYPE)
    groups["timestamp_ns"], groups["id"] = [50, 50, 50, 300, 50], [ROOT, ABOVE, OWN, OWN, LOST]
    groups["parent_id"], groups["shares"] = [0, ROOT, ABOVE, ABOVE, 777], [1024, 2048, 512, 100, 64]
    memory = pl.DataFrame(
        {"timestamp_ns": [60, 150, 250], "pid": [10, 10, 10], "memory_bytes": [999 << 20, 1 << 20, 3 << 20]}
    )
    source = MemorySource(
        task_rows=tasks, attribute_rows=attributes, group_rows=groups, sample_frames={"process": memory}
    )
    for name, value in changes.items():
        setattr(source, name, value)
    manifest = {"window_ns": [0, 1000], "attributes": {}, "groups": {}}
    return Trace(manifest | changes.get("manifest", {}), source)


def known(times, tid=10, **changes):
    return KnownOfTasks(trace(**changes)).features(np.full(len(times), tid), np.array(times))


def test_groups_are_those_of_the_moment():
    found = known([120, 199, 200, 299, 300])
    assert found["group_shares"].tolist() == [1024, 1024, 512, 512, 100]
    assert found["group_depth"].tolist() == [0, 0, 2, 2, 2]


def test_a_group_whose_parents_are_not_told_has_no_depth():
    found = known([150], tid=11)
    assert found["group_shares"].tolist() == [64]
    assert found["group_depth"].tolist() == [UNKNOWN]


def test_parents_that_go_round_are_no_depth():
    rows = trace().group_rows.copy()
    rows["parent_id"][rows["id"] == ABOVE] = OWN
    assert known([250], group_rows=rows)["group_depth"].tolist() == [UNKNOWN]


def test_memory_is_that_of_the_last_sample_since_the_process_began():
    """What a process of the same number had before is not its own."""
    assert known([120, 149, 150, 249, 250])["rss_kib"].tolist() == [0, 0, 1024, 1024, 3072]
    assert known([260], tid=11)["rss_kib"].tolist() == [3072], "a thread has that of its process"


def test_what_is_not_told_is_no_feature():
    assert "rss_kib" not in known([150], sample_frames={})
    silent = trace(manifest={"groups": {"unknown": "it was not asked"}})
    found = KnownOfTasks(silent)
    assert not {"group_shares", "group_depth"} & set(found.features(np.array([10]), np.array([150])))
    assert found.notes == ["in which groups tasks were is unknown: it was not asked"]
