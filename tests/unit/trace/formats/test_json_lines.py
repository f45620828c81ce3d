import io

import numpy as np
import pytest
from tests.unit.trace.making import random_events, tasks

from schedtuna.errors import TraceError
from schedtuna.trace.attributes import ATTRIBUTE_DTYPE, UNKNOWN_SLICE, attribute_table
from schedtuna.trace.formats import json_lines
from schedtuna.trace.formats.sink import Collector
from schedtuna.trace.groups import AUTOGROUP, group_rows


def read(text):
    collector = Collector()
    json_lines.parse(io.BytesIO(text), collector)
    return collector.trace()


def test_a_trace_comes_back_as_it_was_written():
    collector = Collector({"clock": "monotonic"})
    collector.write_events(random_events(np.random.default_rng(2), 300))
    collector.write_tasks(tasks({"tid": 7, "comm": b'\xff\x00\x1b"\n', "cgroup_id": 4}, {"tid": 8}))
    collector.write_cgroups({4: "/a\n"})
    collector.write_samples(5, {"load": 1.5, "comm": "x"}, kind="process")
    collector.note_lost(3, cpu=1)
    before = collector.trace()
    file = io.BytesIO()
    json_lines.write(before, file)
    after = read(file.getvalue())
    assert np.array_equal(before.events, after.events)
    assert np.array_equal(before.task_rows, after.task_rows)
    assert after.samples("process").equals(before.samples("process"))
    assert (after.losses, after.clock, after.cgroups) == (before.losses, "monotonic", {4: "/a\n"})


def test_attributes_come_back_or_why_they_are_unknown():
    collector = Collector({"attributes": {"nr_lost": 2}})
    rows = np.zeros(2, ATTRIBUTE_DTYPE)
    rows["tid"], rows["nice"], rows["cpu_set"], rows["slice_ns"] = 7, (-20, 19), 1, (0, UNKNOWN_SLICE)
    collector.write_cpu_sets({1: "0-3,8"})
    collector.write_attributes(rows)
    for before in (collector.trace(), Collector({"attributes": {"unknown": "so"}}).trace()):
        file = io.BytesIO()
        json_lines.write(before, file)
        after = read(file.getvalue())
        assert after.why_no_attributes == before.why_no_attributes
        assert after.attribute_doubts == before.attribute_doubts
        assert np.array_equal(after.attribute_rows, before.attribute_rows)
        assert after.cpu_sets == before.cpu_sets
    assert collector.trace().attributes.equals(attribute_table(rows, {1: "0-3,8"}))


def test_groups_come_back_or_why_they_are_unknown():
    collector = Collector({"attributes": {}, "groups": {"nr_lost": 0}})
    collector.write_groups(group_rows([[5, 1, 0, 1024], [5, AUTOGROUP | 7, 1, 2048]], "test"))
    for before in (collector.trace(), Collector({"groups": {"unknown": "so"}, "attributes": {}}).trace()):
        file = io.BytesIO()
        json_lines.write(before, file)
        after = read(file.getvalue())
        assert after.why_no_groups == before.why_no_groups
        assert np.array_equal(after.group_rows, before.group_rows)
    assert after.why_no_groups == "so"
    assert read(b'{"kind": "event", "timestamp_ns": 9, "type": "SWITCH"}\n').why_no_groups is not None


def test_fields_may_be_left_out():
    trace = read(b'{"kind": "event", "timestamp_ns": 9, "type": "SWITCH", "cpu": 2, "other_tid": 7}\n')
    event = trace.events[0]
    assert (event["type"], event["target_cpu"], event["tid"]) == (1, 2, 0)
    assert read(b'{"timestamp_ns": 1, "load": 2}').samples()["load"].to_list() == [2]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"no",
        b"[]",
        b"[" * 5_000,
        b'{"kind": "event"}',
        b'{"kind": "event", "type": "PARTY", "timestamp_ns": 1}',
        b'{"kind": "event", "type": 1, "timestamp_ns": -1}',
        b'{"kind": "event", "type": 1, "timestamp_ns": 1.5}',
        b'{"kind": "event", "type": 1, "timestamp_ns": true}',
        b'{"kind": "event", "type": 1, "colour": 1}',
        b'{"kind": "event", "type": 1, "prev_state": 99}',
        b'{"kind": "task", "tid": 99999999999}',
        b'{"kind": "attributes", "nice": 200}',
        b'{"kind": "attributes", "cpus": "0-3"}',
        b'{"kind": "cpu_set", "number": 1, "cpus": "3-0"}',
        b'{"kind": "cpu_set", "cpus": "3"}',
        b'{"kind": "loss"}',
        b'{"kind": "../x", "timestamp_ns": 1}',
        b'{"kind": "system", "timestamp_ns": 1e400}',
        b'{"kind": "system", "timestamp_ns": 1, "x": {}}',
        b'{"kind": "system", "timestamp_ns": 99999999999999999999}',
        b'{"kind": 3, "timestamp_ns": 1}',
    ],
)
def test_other_lines_are_refused(line):
    with pytest.raises(TraceError):
        read(line)


def test_older_names_and_notes_of_samples_are_read():
    trace = read(b'{"kind": "task", "tid": 3, "run_delay_ns": 77}\n')
    assert trace.task_rows["schedstat_run_delay_ns"] == 77
    collector = Collector()
    collector.update_manifest(
        {"clock": "none", "sample_times": "made up", "sample_notes": ["times are made up"]}
    )
    collector.write_samples(5, {"load": 1.5})
    file = io.BytesIO()
    json_lines.write(collector.trace(), file)
    after = read(file.getvalue())
    assert (after.sample_times, after.sample_notes) == ("made up", ["times are made up"])
