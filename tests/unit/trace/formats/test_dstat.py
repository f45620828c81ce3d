"""When was a row, and of which run is it?"""

import io
from datetime import UTC, datetime

import pytest

from schedtuna.errors import TraceError
from schedtuna.trace.formats.dstat import interval_of, parse_dstat
from schedtuna.trace.formats.sink import Collector

# What dool 1.3.8 wrote.
DOOL = """\
"dool 1.3.8 CSV output"
"Author:","Scott Baker",,,,"URL:","https://github.com/scottchiefbaker/dool/"
"Host:","vm",,,,"User:","root"
"Cmdline:","dool -c -d -y -t -T --output do1.csv 2 3",,,,"Date:","29 Nov 2026 14:31:16 UTC"
"total cpu usage",,,,,"dsk/total",,"system",,"system","epoch"
"usr","sys","idl","wai","stl","read","writ","int","csw","time","epoch"
42.435,6.557,50.254,0.600,0.153,30858346.224,48820603.574,1074.621,6489.722,Nov-29 14:31:16,1795962676.873
96.259,2.743,0,0.249,0.748,0,108429312,988.500,1615,Nov-29 14:31:18,1795962678.873
94,4.750,0,0,1.250,0,393216,4071,8767.500,Nov-29 14:31:20,1795962680.873
"""


# What pcp-dstat 6.0.3 wrote: a first row of what needs no second look, and disks in KiB.
PCP = """\
"pcp-dstat 6.0.3 CSV Output"
"Author:","PCP team <pcp@groups.io> and Dag Wieers <dag@wieers.com>",,,,"URL:","https://pcp.io/ and http://dag.wieers.com/home-made/dstat/"
"Host:","vm",,,,"User:","root"
"Cmdline:","pcp-dstat -c -d -y -t --output p1.csv 1 4",,,,"Date:","29 Nov 2026 20:57:23 UTC"
"total usage",,,,,"dsk/total",,"system",,"system"
"total usage:usr","total usage:sys","total usage:idl","total usage:wai","total usage:stl","dsk/total:read","dsk/total:writ","int","csw","time"
,,,,29-11 20:57:23
95.980,4.499,0,0,0,11.998,235.951,1208,2951,29-11 20:57:24
96.349,3.477,0,0,0,0,0,1146,2218,29-11 20:57:25
"""  # noqa: E501 - the tool's lines are as long as they are


def csv(command, column, *cells, date="31 Dec 2023 23:59:50 UTC", host="h"):
    """A run of which each row has one of the cells; the first is since boot."""
    lines = [
        '"Dstat 0.8.0 CSV output"',
        f'"Host:","{host}",,,,"User:","root"',
        f'"Cmdline:","{command}",,,,"Date:","{date}"',
        '"total cpu usage",,,,,' + (f'"{column[0]}"' if column else '"procs"'),
        '"usr","sys","idl","wai","stl",' + (f'"{column[1]}"' if column else '"run"'),
        *(f"{n},5,{94 - n},1,0,{cell}" for n, cell in enumerate(cells)),
    ]
    return "\n".join([*lines, ""])


def read(data):
    collector = Collector()
    parse_dstat(io.BytesIO(data.encode()), collector)
    return collector.trace()


def times(data):
    found = read(data).samples()["timestamp_ns"]
    return [datetime.fromtimestamp(time / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S") for time in found]


CLOCK, EPOCH = ("system", "time"), ("epoch", "epoch")


def test_dool_is_read():
    trace = read(DOOL)
    first, second = trace.samples().rows(named=True)
    assert (first["timestamp_ns"], second["timestamp_ns"]) == (1795962678873000000, 1795962680873000000)
    assert (first["user_percent"], first["io_written_bytes_per_s"], first["switches_per_s"]) == (
        96.259, 108429312, 1615
    )  # fmt: skip
    assert trace.sample_times == "column"
    assert not [name for name in first if "time" in name and name != "timestamp_ns"]


def test_pcp_dstat_is_read():
    trace = read(PCP)
    first, second = trace.samples().rows(named=True)
    assert (first["user_percent"], first["system_percent"], first["idle_percent"]) == (95.98, 4.499, 0)
    assert (first["io_read_bytes_per_s"], first["io_written_bytes_per_s"]) == (11.998 * 1024, 235.951 * 1024)
    assert (second["interrupts_per_s"], second["switches_per_s"]) == (1146, 2218)
    assert times(PCP) == ["2026-11-29 20:57:24", "2026-11-29 20:57:25"]
    assert "taken for KiB" in str(trace.sample_notes)


def test_of_pcp_dstat_the_first_row_that_is_left_out_is_not_called_an_average():
    """Without a column that needs no second look, its first row is a sample that can't be told."""
    rows = [line.rsplit(",", 1)[0] for line in PCP.splitlines() if not line.startswith(",")]
    trace = read("\n".join(rows[:4] + [row.replace(',"time"', "") for row in rows[4:]] + [""]))
    assert trace.samples()["user_percent"].to_list() == [96.349]
    assert "which may be a sample" in str(trace.sample_notes)


def test_dools_column_of_times_is_read():
    clock_alone = DOOL.replace(',"epoch"', "").replace(",1795962676.873", "")
    clock_alone = clock_alone.replace(",1795962678.873", "").replace(",1795962680.873", "")
    assert times(clock_alone) == ["2026-11-29 14:31:18", "2026-11-29 14:31:20"]


def test_the_column_of_times_is_read_and_a_new_year_is_seen():
    data = csv("dstat -ct 5", CLOCK, "31-12 23:59:50", "31-12 23:59:55", "01-01 00:00:00", "29-02 00:00:00")
    assert times(data) == ["2023-12-31 23:59:55", "2024-01-01 00:00:00", "2024-02-29 00:00:00"]
    assert read(data).clock == "realtime"


def test_a_zone_is_told():
    data = csv("dstat -ct 5", CLOCK, "31-12 23:59:50", "31-12 23:59:55", date="31 Dec 2023 23:59:50 CET")
    assert "zone CET" in str(read(data).sample_notes)


@pytest.mark.parametrize("time", ["noon", "31-12-23 23:59:55", "Dez-31 23:59:55", ""])
def test_a_time_that_is_not_understood_is_refused(time):
    with pytest.raises(TraceError, match="expected a day and a time"):
        read(csv("dstat -ct 5", CLOCK, "31-12 23:59:50", time))


def test_without_a_date_in_the_head_there_is_no_year():
    with pytest.raises(TraceError, match="without a year"):
        read(csv("dstat -ct 5", CLOCK, "31-12 23:59:50", "31-12 23:59:55", date="?"))


def test_the_interval_is_that_of_the_command_and_told_to_be_no_measurement():
    trace = read(csv("dstat -c --output x.csv 5 3", None, 0, 0, 0))
    assert times(csv("dstat -c --output x.csv 5 3", None, 0, 0, 0)) == [
        "2023-12-31 23:59:55", "2024-01-01 00:00:00"
    ]  # fmt: skip
    assert (trace.clock, trace.sample_times) == ("none", "interval")
    assert "not measured" in trace.sample_notes[0]


def test_without_anything_times_are_made_up_and_that_is_told():
    data = csv("dstat -c", None, 0, 0, 0).replace('"Cmdline:","dstat -c",,,,"Date:"', '"Other:","",,,,"Of:"')
    trace = read(data)
    assert trace.samples()["timestamp_ns"].to_list() == [2 * 10**9, 3 * 10**9]
    assert (trace.clock, trace.sample_times) == ("none", "made up")
    both = read(data + csv("dstat -cT 1", EPOCH, 1709632800, 1709632801))
    assert both.sample_times == "made up"  # what is least known counts for all


@pytest.mark.parametrize(
    ("command", "seconds"),
    [
        ("dstat", 1), ("dstat -cT", 1), ("dstat 7", 7), ("dstat -cT --output x.csv 5 3", 5),
        ("/usr/bin/dool -c -C 0,1 10", 10), ("dstat -cC 0 5", 5), ("dstat -C 0", 1), ("dool 5 -c", 5),
        ("dstat -D sda -N eth0 2", 2), ("dool --diskset a:sda,sdb 3", 3), ("dstat -o x.csv 4", 4),
        ("dstat -c x", 0), ("dstat 0.5", 0), ("dstat 1 2 3", 0), ("", 1),
    ],
)  # fmt: skip
def test_the_interval_is_found_among_the_options(command, seconds):
    assert interval_of(command) == seconds


def test_of_every_run_the_row_since_boot_is_left_out():
    data = csv("dstat -cT 1", EPOCH, 1709632800, 1709632801, 1709632802)
    data += csv("dstat -cT 1", EPOCH, 1709636400, 1709636401)
    trace = read(data)
    assert times(data) == ["2024-03-05 10:00:01", "2024-03-05 10:00:02", "2024-03-05 11:00:01"]
    assert "each of 2 runs" in str(trace.sample_notes)


def test_the_header_again_is_neither_a_row_nor_a_run():
    data = csv("dstat -cT 1", EPOCH, 1709632800, 1709632801)
    header = data.splitlines()[3:5]
    again = "\n".join([*data.splitlines(), *header, "9,5,85,1,0,1709632802", ""])
    assert times(again) == ["2024-03-05 10:00:01", "2024-03-05 10:00:02"]


@pytest.mark.parametrize(
    ("before", "after", "match"),
    [
        ("1,5,93,1,0,1709632801", "1,5,93,1,0", "line 7: expected 6 cells, got 5"),
        ("1,5,93,1,0,1709632801", "1,5,93,1,0,1709632801,7", "line 7: expected 6 cells, got 7"),
        ("1,5,93,1,0,", "1,5,39,1,0,", "line 7: shares of CPU time add up to 46%"),
        ("1,5,93,1,0,", "-1,5,93,1,0,", "line 7: expected a number for total cpu usage:usr"),
        ("1,5,93,1,0,", "1,5,nan,1,0,", "line 7: expected a number for total cpu usage:idl"),
        ("1709632801", "77", "line 7: expected seconds since 1970"),
        ('"stl","epoch"', '"stl"', "6 groups and 5 columns"),
    ],
)
def test_what_does_not_fit_is_refused(before, after, match):
    data = csv("dstat -cT 1", EPOCH, 1709632800, 1709632801)
    assert before in data
    with pytest.raises(TraceError, match=match):
        read(data.replace(before, after))


def test_two_columns_of_one_name_stay_two():
    data = csv("dstat", ("a b", "x"), 1, 2).replace('"a b"', '"a b","a-b"').replace('"x"', '"x","x"')
    data = data.replace(",0,1\n", ",0,1,3\n").replace(",0,2\n", ",0,2,4\n")
    (row,) = read(data).samples().rows(named=True)
    assert (row["dstat_a_b_x"], row["dstat_a_b_x_2"]) == (2, 4)
