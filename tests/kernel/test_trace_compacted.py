"""Segments are compacted while a trace is recorded, by a process that runs when a CPU is idle.

So this is no unit test: those run two at a time.
"""

import time

import numpy as np
from tests.unit.trace.making import random_events

from schedtuna.trace import parts
from schedtuna.trace import writer as writer_module
from schedtuna.trace.store import open_trace
from schedtuna.trace.writer import TraceWriter


def in_one_order(array):
    return np.sort(array, order=["timestamp_ns", "cpu", "type", "tid", "other_tid", "aux", "prio"])


def test_segments_pile_up_only_to_the_limit(tmp_path, monkeypatch):
    some = random_events(np.random.default_rng(5), 3_000)
    monkeypatch.setattr(writer_module, "SEGMENT_EVENTS", 100)
    monkeypatch.setattr(writer_module, "BACKLOG_SEGMENTS", 3)
    with TraceWriter(tmp_path / "t", {}) as writer:
        for batch in np.split(some, 30):
            writer.write_events(batch)
        deadline = time.monotonic() + 60
        while not any(path.suffix == ".parquet" for path in parts.segments(tmp_path / "t")):
            assert time.monotonic() < deadline, "nothing was compacted while recording"
            time.sleep(0.05)
        assert len(open_trace(tmp_path / "t").events) == len(some)
    trace = open_trace(tmp_path / "t")
    assert np.array_equal(in_one_order(trace.events), in_one_order(some))
    assert all(path.suffix == ".parquet" for path in parts.segments(tmp_path / "t"))
