"""The table of groups: does it say what was written, and say so where nothing is known?"""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedtuna.errors import TraceError
from schedtuna.trace import parts
from schedtuna.trace.groups import AUTOGROUP, group_rows, group_table
from schedtuna.trace.schema import STORED
from schedtuna.trace.store import open_trace
from schedtuna.trace.writer import TraceWriter

PATHS = {1: "/", 2: "/a\x1b"}
IDS = [1, 2, 3, AUTOGROUP | 9]
ROWS = st.lists(
    st.tuples(
        st.integers(0, 9), st.sampled_from(IDS), st.sampled_from([0, 1]), st.sampled_from([2, 1024, 1 << 18])
    ).map(list)
)


def expected(rows):
    """By group, in time order; what changes nothing is left out."""
    found, last = [], {}
    for time, id_, parent, shares in sorted(rows, key=lambda row: (row[1], row[0])):
        if last.get(id_) != (parent, shares):
            path = {1: "/", 2: "/a\\x1b", AUTOGROUP | 9: "/autogroup-9"}.get(id_)
            found.append((id_, parent or None, time, shares, path))
        last[id_] = parent, shares
    return found


@given(ROWS)
def test_the_table_has_each_groups_changes_in_time_order(rows):
    table = group_table(group_rows(rows, "test"), PATHS)
    assert table.rows() == expected(rows)
    assert table.columns == ["id", "parent_id", "timestamp_ns", "shares", "path"]


def test_a_folder_has_them_while_it_is_written_and_afterwards(tmp_path):
    rows = [[0, 1, 0, 1024], [3, AUTOGROUP | 9, 1, 15], [9, AUTOGROUP | 9, 1, 1024]]
    folder = tmp_path / "t"
    with TraceWriter(folder, {"attributes": {}, "groups": {}}) as writer:
        writer.write_cgroups(PATHS)
        for row in rows:
            writer.write_groups(group_rows([row], "test"))
        assert open_trace(folder).groups.rows() == expected(rows)
    assert open_trace(folder).to_polars("groups").rows() == expected(rows)
    assert set(folder.iterdir()) == set(parts.own_files(folder))


@pytest.mark.parametrize(
    "rows",
    [None, [1], [[0, 1, 0]], [[0, 0, 0, 2]], [[-1, 1, 0, 2]], [[0, 1, 0, 1 << 32]], [[0, True, 0, 2]]],
)
def test_damaged_groups_are_refused(tmp_path, rows):
    with TraceWriter(tmp_path / "t", {"groups": {}}):
        pass
    (tmp_path / "t" / parts.GROUPS).write_text(json.dumps({"groups": rows}) + "\n")
    with pytest.raises(TraceError, match="group"):
        _ = open_trace(tmp_path / "t").groups


def test_a_trace_without_them_says_why(tmp_path):
    with TraceWriter(tmp_path / "t", {"attributes": {}}):
        pass
    assert open_trace(tmp_path / "t").why_no_groups == "scheduling events were not recorded"
    path = tmp_path / "t" / parts.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {STORED.key: 2}))
    trace = open_trace(tmp_path / "t")
    with pytest.raises(TraceError, match="by a version that did not record them"):
        _ = trace.groups
    path.write_text(
        json.dumps(
            json.loads(path.read_text()) | {"imported_from": {"format": "perf-script"}, "mode": "import"}
        )
    )
    assert "it was imported" in open_trace(tmp_path / "t").why_no_groups
