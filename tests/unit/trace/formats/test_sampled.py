import io
from datetime import UTC, datetime

import pytest
from tests.unit.trace.formats.texts import DSTAT, PIDSTAT, PIDSTAT_H, VMSTAT_T

from schedtuna.errors import TraceError
from schedtuna.trace.formats.dstat import parse_dstat
from schedtuna.trace.formats.pidstat import parse_pidstat
from schedtuna.trace.formats.sink import Collector
from schedtuna.trace.formats.vmstat import parse_vmstat


def read(parse, text):
    collector = Collector()
    parse(io.BytesIO(text), collector)
    return collector.trace()


def at(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 10**9


def test_vmstat_is_read_in_our_units_without_its_first_row():
    trace = read(parse_vmstat, VMSTAT_T)
    (row,) = trace.samples().rows(named=True)
    assert row["timestamp_ns"] == at("2026-11-21 02:55:08")
    assert (row["run_queue_length"], row["nr_io_blocked_threads"]) == (14, 1)
    assert (row["swap_used_bytes"], row["swap_out_bytes_per_s"]) == (8 * 1024, 2 * 1024)
    assert (row["user_percent"], row["cpu_percent"], row["iowait_percent"]) == (94, 99, 1)
    assert trace.clock == "realtime"


def test_vmstat_without_times_has_a_row_per_second():
    lines = [line.rsplit(b" 2026", 1)[0].removesuffix(b"UTC") for line in VMSTAT_T.splitlines()]
    trace = read(parse_vmstat, b"\n".join([*lines, lines[-1]]))
    assert trace.samples()["timestamp_ns"].to_list() == [10**9, 2 * 10**9]
    assert trace.clock == "none"


def test_pidstat_goes_on_past_midnight():
    text = PIDSTAT.replace(b"23:59:59 ", b"23:59:58 ").replace(b"00:00:01        0", b"23:59:59        0")
    rows = read(parse_pidstat, text).samples("process").rows(named=True)
    assert [row["timestamp_ns"] for row in rows] == [
        at("2026-11-21 23:59:59"),
        at("2026-11-22 00:00:01"),
    ]
    assert [row["comm"] for row in rows] == ["my prog", "python"]
    assert (rows[1]["pid"], rows[1]["user_percent"], rows[1]["runqueue_wait_percent"]) == (
        25819,
        23.81,
        75.24,
    )


def test_pidstat_in_rows_is_read_in_our_units():
    (row,) = read(parse_pidstat, PIDSTAT_H).samples("process").rows(named=True)
    assert row["timestamp_ns"] == 1795229770 * 10**9
    assert (row["memory_bytes"], row["read_bytes_per_s"]) == (21292 * 1024, 2048)
    assert (row["voluntary_switches_per_s"], row["comm"]) == (2.88, "ksoftirqd/0")


def test_twelve_hour_clocks_are_read():
    text = PIDSTAT.replace(b"23:59:59 ", b"11:59:59 PM ").replace(b"00:00:01 ", b"12:00:01 AM ")
    assert len(read(parse_pidstat, text).samples("process")) == 2


def test_dstat_is_read_in_our_units_without_its_first_row():
    (row,) = read(parse_dstat, DSTAT).samples().rows(named=True)
    assert row["timestamp_ns"] == pytest.approx(1795229771.783e9, abs=1e3)
    assert (row["user_percent"], row["cpu_percent"], row["io_written_bytes_per_s"]) == (91, 94, 36864)
    assert (row["load_1min"], row["dstat_load_avg_5m"]) == (10.75, 35.64)


@pytest.mark.parametrize("parse", [parse_vmstat, parse_pidstat, parse_dstat])
@pytest.mark.parametrize("text", [b"", b"hello world\n", b"1 2 3\n" * 5, b"\x00\xff" * 40, b"," * 70_000])
def test_other_text_is_refused(parse, text):
    with pytest.raises(TraceError):
        read(parse, text)


@pytest.mark.parametrize(
    ("parse", "text", "match"),
    [
        (parse_vmstat, VMSTAT_T.replace(b"1474", b"many"), "line 4: expected a number for cs"),
        (parse_vmstat, VMSTAT_T[:-60], "line 4: expected 17 numbers"),
        (parse_pidstat, PIDSTAT.replace(b"75.24", b"much"), "line 5: expected a number for %wait"),
        (parse_pidstat, PIDSTAT.replace(b"00:00:01", b"noonish!"), "line 4: expected a time"),
        (parse_dstat, DSTAT.replace(b"36864", b"lots"), "line 8: expected a number for dsk/total:writ"),
        (parse_dstat, DSTAT.replace(b"1795229771.783", b"today"), "seconds since 1970"),
    ],
)
def test_a_wrong_line_is_named(parse, text, match):
    with pytest.raises(TraceError, match=match):
        read(parse, text)
