"""The table of attributes: does it say what was written, and say so where nothing is known?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.errors import TraceError
from schedtuna.trace import parts
from schedtuna.trace.attributes import (
    ATTRIBUTE_DTYPE,
    UNKNOWN_CPUS,
    UNKNOWN_SLICE,
    AttributeReason,
    attribute_table,
)
from schedtuna.trace.folder import read_manifest
from schedtuna.trace.groups import UNKNOWN_GROUP
from schedtuna.trace.schema import POLICIES, STORED
from schedtuna.trace.store import open_trace
from schedtuna.trace.trace import MemorySource, Trace
from schedtuna.trace.writer import TraceWriter

SETS = {1: "0-3", 2: "5,7", 3: "0-3"}  # numbers of one set are equal
KNOWN = {"attributes": {}}
VALUES = st.tuples(
    st.integers(-20, 19),
    st.sampled_from([0, 3, 5, 6]),
    st.sampled_from([0, 3_000_000, UNKNOWN_SLICE]),
    st.sampled_from([0, 15, 1024, 88761]),
    st.sampled_from([UNKNOWN_CPUS, *SETS]),
    st.sampled_from([UNKNOWN_GROUP, 1, 1 << 62]),
)
ROWS = st.lists(
    st.tuples(
        st.integers(1, 3), st.integers(0, 1), st.integers(0, 9), VALUES, st.sampled_from(AttributeReason)
    )
)


def attributes(*rows):
    array = np.zeros(len(rows), ATTRIBUTE_DTYPE)
    for place, (tid, start, time, values, reason) in zip(array, rows, strict=True):
        place["tid"], place["start_time_ns"], place["timestamp_ns"], place["reason"] = (
            tid,
            start,
            time,
            reason,
        )
        for name, value in zip(
            ("nice", "policy", "slice_ns", "weight", "cpu_set", "group_id"), values, strict=True
        ):
            place[name] = value
    return array


def told(values):
    nice, policy, slice_ns, weight, cpu_set, _ = values
    return (
        nice,
        POLICIES[policy],
        None if slice_ns == UNKNOWN_SLICE else slice_ns,
        weight or None,
        SETS.get(cpu_set),
    )


def expected(rows):
    """One row after the other, by the rule: by task, in time order, and what changes nothing is left out."""
    found, last = [], {}
    for tid, start, time, values, reason in sorted(rows, key=lambda row: row[:3]):
        group = values[-1] or None
        if last.get((tid, start)) == (told(values), group):
            continue
        last[tid, start] = told(values), group
        found.append((tid, start, time, *told(values), reason.name.lower(), group))
    return found


@given(ROWS)
def test_the_table_has_each_tasks_changes_in_time_order(rows):
    table = attribute_table(attributes(*rows), SETS)
    assert table.rows() == expected(rows)
    assert [str(dtype) for dtype in table.dtypes] == [
        "UInt32", "Int64", "UInt64", "Int8", "String", "UInt64", "UInt32", "String", "String", "UInt64",
    ]  # fmt: skip


@settings(max_examples=20)  # each writes a trace; the table itself is tested above
@given(rows=ROWS, cut=st.integers(0, 39))
def test_a_folder_has_them_while_it_is_written_and_afterwards(tmp_path_factory, rows, cut):
    folder = tmp_path_factory.mktemp("attributes") / "t"
    halves = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    with TraceWriter(folder, KNOWN) as writer:
        writer.write_cpu_sets(SETS)
        for half in halves:
            writer.write_attributes(attributes(*half))
        spool = folder / parts.ATTRIBUTES_SPOOL
        spool.write_bytes(spool.read_bytes() + bytes(cut))  # a torn last row
        assert open_trace(folder).attributes.rows() == expected(rows)
    trace = open_trace(folder)
    assert trace.to_polars("attributes").rows() == trace.attributes.rows() == expected(rows)
    assert not list(folder.glob("*.spool"))
    assert set(folder.iterdir()) == set(parts.own_files(folder))


def test_both_files_after_a_crash_are_one_table(tmp_path):
    rows = [(1, 0, 5, (0, 0, 0, 1024, 1, 5), AttributeReason.FORK)]
    with TraceWriter(tmp_path / "t", KNOWN) as writer:
        writer.write_cpu_sets(SETS)
        writer.write_attributes(attributes(*rows))
    (tmp_path / "t" / parts.ATTRIBUTES_SPOOL).write_bytes(attributes(*rows, *rows).tobytes())
    assert open_trace(tmp_path / "t").attributes.rows() == expected(rows)


@pytest.mark.parametrize(
    ("field", "value", "told"), [("cpu_set", 9, "numbered 9"), ("reason", 3, "no reason 3")]
)
def test_damaged_rows_are_refused(field, value, told):
    rows = attributes(*[(1, 0, 5, (0, 0, 0, 1024, 1, 5), AttributeReason.FORK)])
    rows[field] = value
    with pytest.raises(TraceError, match=told):
        attribute_table(rows, SETS)


@pytest.mark.parametrize("line", ['{"cpu_sets": {"x": "0"}}', '{"cpu_sets": {"1": "3-1"}}', '{"sets": {}}'])
def test_damaged_sets_are_refused(tmp_path, line):
    with TraceWriter(tmp_path / "t", KNOWN):
        pass
    (tmp_path / "t" / parts.CPU_SETS).write_text(line + "\n")
    with pytest.raises(TraceError, match="CPUs"):
        _ = open_trace(tmp_path / "t").attributes


def test_only_rows_of_attributes_are_written(tmp_path):
    with TraceWriter(tmp_path / "t", {}) as writer, pytest.raises(TraceError, match="expected"):
        writer.write_attributes(np.zeros(1, np.uint8))


@pytest.mark.parametrize(
    ("manifest", "why"),
    [
        ({"imported_from": {"format": "perf-data"}, "mode": "import"}, "imported"),
        ({"mode": "aggregate"}, "were not recorded"),
        ({"attributes": {"unknown": "\x1b[2J"}}, r"\\x1b"),
    ],
)
def test_what_nobody_told_is_unknown_and_not_empty(manifest, why):
    trace = Trace(manifest, MemorySource())
    with pytest.raises(TraceError, match=why):
        _ = trace.attributes
    assert trace.why_no_attributes
    assert Trace(KNOWN, MemorySource()).attributes.is_empty()


@pytest.mark.parametrize(("mode", "why"), [("stream", "made by a version"), ("import", "it was imported")])
def test_a_trace_of_version_1_does_not_tell(tmp_path, mode, why):
    with TraceWriter(tmp_path / "t", {"mode": mode, "imported_from": {"format": "ftrace"}}) as writer:
        writer.update_manifest({STORED.key: 1})
    assert read_manifest(tmp_path / "t")[STORED.key] == STORED.newest
    assert why in open_trace(tmp_path / "t").why_no_attributes


def test_what_was_not_seen_is_said():
    told = {"not_followed": "no such function", "nr_lost": 3}
    doubts = Trace({"attributes": told}, MemorySource()).attribute_doubts
    assert doubts[0].startswith("what others changed of a task was not seen when it came")
    assert doubts[0].endswith("no such function")
    assert doubts[1].startswith("3 changes")
    for hostile in (None, 7, [], {"not_followed": ""}):
        assert Trace({"attributes": hostile}, MemorySource()).attribute_doubts == []
