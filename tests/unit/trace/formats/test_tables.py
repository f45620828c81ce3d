import csv
import io

import polars as pl
import pytest
from tests.unit.trace.making import events, switch, tasks, wakeup

from schedtuna.errors import TraceError
from schedtuna.trace.formats import tables
from schedtuna.trace.formats.sink import Collector


@pytest.fixture
def trace():
    collector = Collector()
    collector.write_events(events(wakeup(1, 7), switch(3, 0, 7), switch(9, 7, 0)))
    collector.write_tasks(tasks({"tid": 7, "comm": b'=a,"b\n'}))
    collector.write_samples(1, {"load": 2.0})
    return collector.trace()


def test_events_have_names_and_words(trace):
    frame = tables.table(trace, "events")
    assert frame["type"].to_list() == ["WAKEUP", "SWITCH", "SWITCH"]
    assert frame["prev_state"].to_list() == [None, "SLEEPING", "SLEEPING"]
    assert frame["comm"].to_list() == ['=a,"b\\n', None, '=a,"b\\n']


def test_intervals_are_a_table(trace):
    frame = tables.table(trace, "intervals")
    assert frame["state"].to_list() == ["UNKNOWN", "RUNNABLE_WOKEN", "RUNNING", "SLEEPING"]


def test_csv_keeps_hostile_names_in_their_cell(trace, tmp_path):
    tables.write_csv(tables.table(trace, "events"), tmp_path / "x.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "x.csv").read_text())))
    assert rows[0]["comm"] == "'=a,\"b\\n"  # no formula for a spreadsheet
    assert [int(row["timestamp_ns"]) for row in rows] == [1, 3, 9]


def test_arrow_gives_back_the_table(trace, tmp_path):
    frame = tables.table(trace, "events")
    tables.write_arrow(frame, tmp_path / "x.arrow")
    assert pl.read_ipc(tmp_path / "x.arrow").equals(frame)


def test_other_tables_go_by_their_names(trace):
    assert tables.table(trace, "tasks")["tid"].to_list() == [7]
    assert tables.table(trace, "system")["load"].to_list() == [2.0]
    with pytest.raises(TraceError, match="no samples of kind 'planets'"):
        tables.table(trace, "planets")


def test_a_trace_without_events_has_no_table_of_them():
    collector = Collector()
    collector.write_samples(1, {"load": 2.0})
    for name in ("events", "intervals"):
        with pytest.raises(TraceError, match="no scheduler events") as caught:
            tables.table(collector.trace(), name)
        assert "system" in caught.value.hint
