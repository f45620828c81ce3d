"""Which table says what of which moment: sar, mpstat and sadf, held against what sadf says as JSON."""

# ruff: noqa: E501  # the tools' lines are as long as they are

import io

import pytest

from schedtuna.errors import TraceError
from schedtuna.trace.formats.sar import parse_sadf, parse_sar
from schedtuna.trace.formats.sink import Collector

# What sysstat 12.6.1 printed of one file: sar -u -w -q -P ALL -f FILE, sadf -d and sadf -j.
FILE = """\
Linux 6.18.44 (vm) \t2026-11-29 \t_x86_64_\t(2 CPU)

20:58:00        CPU     %user     %nice   %system   %iowait    %steal     %idle
20:58:01        all     97.00      0.00      3.00      0.00      0.00      0.00
20:58:01          0     96.00      0.00      4.00      0.00      0.00      0.00
20:58:01          1     98.00      0.00      2.00      0.00      0.00      0.00
20:58:02        all     93.00      0.00      7.00      0.00      0.00      0.00
20:58:02          0     86.00      0.00     14.00      0.00      0.00      0.00
20:58:02          1    100.00      0.00      0.00      0.00      0.00      0.00
Average:        all     95.00      0.00      5.00      0.00      0.00      0.00
Average:          0     91.00      0.00      9.00      0.00      0.00      0.00
Average:          1     99.00      0.00      1.00      0.00      0.00      0.00

20:58:00       proc/s   cswch/s
20:58:01         4.00   2745.00
20:58:02         4.00   1658.00
Average:         4.00   2201.50

20:58:00      runq-sz  plist-sz   ldavg-1   ldavg-5  ldavg-15   blocked
20:58:01            4       117      6.22      6.98      7.52         0
20:58:02            3       117      5.96      6.91      7.50         0
Average:            4       117      6.09      6.95      7.51         0
"""
SADF = """\
# hostname;interval;timestamp;CPU;%user;%nice;%system;%iowait;%steal;%idle
vm;1;2026-11-29 20:58:01 UTC;-1;97.00;0.00;3.00;0.00;0.00;0.00
vm;1;2026-11-29 20:58:01 UTC;0;96.00;0.00;4.00;0.00;0.00;0.00
vm;1;2026-11-29 20:58:01 UTC;1;98.00;0.00;2.00;0.00;0.00;0.00
vm;1;2026-11-29 20:58:02 UTC;-1;93.00;0.00;7.00;0.00;0.00;0.00
vm;1;2026-11-29 20:58:02 UTC;0;86.00;0.00;14.00;0.00;0.00;0.00
vm;1;2026-11-29 20:58:02 UTC;1;100.00;0.00;0.00;0.00;0.00;0.00
# hostname;interval;timestamp;proc/s;cswch/s
vm;1;2026-11-29 20:58:01 UTC;4.00;2745.00
vm;1;2026-11-29 20:58:02 UTC;4.00;1658.00
# hostname;interval;timestamp;runq-sz;plist-sz;ldavg-1;ldavg-5;ldavg-15;blocked
vm;1;2026-11-29 20:58:01 UTC;4;117;6.22;6.98;7.52;0
vm;1;2026-11-29 20:58:02 UTC;3;117;5.96;6.91;7.50;0
"""
JSON = [
    {
        "timestamp": "2026-11-29 20:58:01", "cpu-load": {"all": (97, 3), "0": (96, 4), "1": (98, 2)},
        "process-and-context-switch": {"proc": 4.00, "cswch": 2745.00},
        "queue": {"runq-sz": 4, "plist-sz": 117, "ldavg-1": 6.22},
    },
    {
        "timestamp": "2026-11-29 20:58:02", "cpu-load": {"all": (93, 7), "0": (86, 14), "1": (100, 0)},
        "process-and-context-switch": {"proc": 4.00, "cswch": 1658.00},
        "queue": {"runq-sz": 3, "plist-sz": 117, "ldavg-1": 5.96},
    },
]  # fmt: skip
FIRST_NS = 1795985881 * 10**9
MPSTAT_T = """\
Linux 6.18.44 (vm) \t11/29/26 \t_x86_64_\t(2 CPU)

21:14:15     CPU CORE SOCK NODE    %usr   %nice    %sys %iowait    %irq   %soft  %steal  %guest  %gnice   %idle
21:14:16     all                  49.66    5.00   10.34    2.00    0.50    1.50    1.00    5.00    1.00   24.00
21:14:16       0    0    0    0   91.18    0.00    8.82    0.00    0.00    0.00    0.00    0.00    0.00    0.00
21:14:16       1    1    0    0    0.00    0.00    0.00    0.00    0.00    0.00    0.00    0.00    0.00    0.00

21:14:15    NODE    %usr   %nice    %sys %iowait    %irq   %soft  %steal  %guest  %gnice   %idle
21:14:16       0   89.66    0.00   10.34    0.00    0.00    0.00    0.00    0.00    0.00    0.00

21:14:15     CPU    intr/s
21:14:16     all   1266.00
21:14:16       0    684.00
"""


def read(text, parse=parse_sar):
    collector = Collector()
    parse(io.BytesIO(text.encode()), collector)
    return collector.trace()


def in_turn(text):
    """The same tables as sar prints them with an interval: each for each moment."""
    banner, *tables = text.split("\n\n")
    parts = [banner, ""]
    for time in ("20:58:01", "20:58:02"):
        for table in tables:
            header, *rows = table.splitlines()
            above = "20:58:00" if time == "20:58:01" else "20:58:01"
            parts += [header.replace("20:58:00", above), *(row for row in rows if row.startswith(time)), ""]
    return "\n".join(parts) + "\n" + "\n\n".join(tables).replace("20:58:0", "Average:  ")


@pytest.mark.parametrize(
    ("text", "parse"),
    [(FILE, parse_sar), (in_turn(FILE), parse_sar), (SADF, parse_sadf)],
    ids=["file", "interval", "sadf"],
)
def test_each_moment_has_what_sadf_says_as_json(text, parse):
    trace = read(text, parse)
    for index, (found, expected) in enumerate(zip(trace.samples().rows(named=True), JSON, strict=True)):
        assert found["timestamp_ns"] == FIRST_NS + index * 10**9
        assert (found["user_percent"], found["system_percent"]) == expected["cpu-load"]["all"]
        assert found["cpu_percent"] == 100
        switches = expected["process-and-context-switch"]
        assert (found["forks_per_s"], found["switches_per_s"]) == (switches["proc"], switches["cswch"])
        queue = expected["queue"]
        assert (found["run_queue_length"], found["nr_tasks"]) == (queue["runq-sz"], queue["plist-sz"])
        assert found["load_1min"] == queue["ldavg-1"]
    cpus = [
        (row["cpu"], row["user_percent"], row["system_percent"])
        for row in trace.samples("cpu").rows(named=True)
    ]
    assert cpus == [(int(cpu), *one["cpu-load"][cpu]) for one in JSON for cpu in ("0", "1")]


def test_mpstat_says_what_each_cpu_did():
    trace = read(MPSTAT_T)
    (found,) = trace.samples().rows(named=True)
    assert found["user_percent"] == pytest.approx(
        49.66 + 5 + 5 + 1
    )  # nice and guests are in it, as everywhere
    assert (found["system_percent"], found["idle_percent"], found["steal_percent"]) == (10.34, 24, 1)
    assert found["cpu_percent"] == pytest.approx(100 - 24 - 2 - 1)
    assert found["interrupts_per_s"] == 1266
    first, second = trace.samples("cpu").rows(named=True)
    assert (first["cpu"], first["user_percent"], first["interrupts_per_s"]) == (0, 91.18, 684)
    assert (second["cpu"], second["cpu_percent"]) == (1, None)  # offline
    assert "left out: tables of NODE" in trace.sample_notes


def test_a_table_whose_names_are_last_is_left_out_too():
    """sar -p -d."""
    text = (
        FILE
        + "\n20:58:00          tps     rkB/s     %util DEV\n20:58:01         1.00      2.00      3.00 nvme0n1\n"
    )
    trace = read(text)
    assert len(trace.samples()) == 2
    assert "left out: tables of DEV" in trace.sample_notes


def test_averages_since_boot_are_no_samples():
    """mpstat without an interval: its header has the same time as its rows."""
    text = "\n".join(line for line in FILE.splitlines()[:4]).replace("20:58:01", "20:58:00") + "\n"
    with pytest.raises(TraceError, match="no rows of sar or mpstat"):
        read(text)
    assert "averages since boot" in str(read(text + FILE).sample_notes)


def test_a_restart_is_told():
    restart = "20:58:01     LINUX RESTART\t(2 CPU)\n\n20:58:00        CPU"
    assert "LINUX RESTART" in str(read(FILE.replace("20:58:00        CPU", restart)).sample_notes)
    line = "vm;-1;2026-11-29 20:58:01 UTC;LINUX-RESTART\t(2 CPU)\n"
    assert "LINUX-RESTART" in str(read(SADF + line, parse_sadf).sample_notes)


def test_every_table_of_a_file_goes_past_midnight():
    text = (
        FILE.replace("20:58:00", "23:59:58").replace("20:58:01", "23:59:59").replace("20:58:02", "00:00:00")
    )
    found = read(text).samples()["timestamp_ns"].to_list()
    assert found[1] - found[0] == 10**9


def test_rounded_numbers_are_told():
    """sar -h."""
    text = FILE.replace("97.00      0.00      3.00", "97.0%      0.0%      3.0%")
    trace = read(text)
    assert trace.samples()["user_percent"].to_list() == [97, 93]
    assert "rounded" in str(trace.sample_notes)


@pytest.mark.parametrize(
    ("before", "after", "match"),
    [
        ("97.00      0.00", "17.00      0.00", "line 4: shares of CPU time add up to 20%"),
        ("      0.00      3.00", "      3.00", "line 4: expected 6 values, got"),
        ("4.00   2745.00", "4.00   2745.00   1.00", "line 15: expected 2 values, got"),
        ("20:58:02        all", "20h58m02        all", "line 7: expected a time, got '20h58m02'"),
        ("2026-11-29", "29 nov", "does not name the day"),
        ("20:58:01          0", "20:58:01        one", "line 5: expected 6 values, got"),
        (
            "20:58:00        CPU     %user     %nice   %system   %iowait    %steal     %idle\n",
            "",
            "expected the header",
        ),
    ],
)
def test_what_does_not_fit_is_refused(before, after, match):
    assert before in FILE
    with pytest.raises(TraceError, match=match) as caught:
        read(FILE.replace(before, after, 1))
    assert "LC_ALL=C" in caught.value.hint


@pytest.mark.parametrize(
    ("before", "after", "match"),
    [
        ("20:58:01 UTC", "today", "line 2: expected a time, got '2026-11-29 today'"),
        ("# hostname;interval;timestamp;CPU", "CPU", "line 1: expected sadf -d's header"),
        (";-1;97.00", ";-1;7.00", "line 2: shares of CPU time"),
        ("4.00;2745.00", "4.00", "line 9: expected 2 values"),
    ],
)
def test_what_does_not_fit_in_sadf_is_refused(before, after, match):
    assert before in SADF
    with pytest.raises(TraceError, match=match):
        read(SADF.replace(before, after, 1), parse_sadf)


# One moment as sysstat 12.6.1 prints it: sadf -d -- -u ALL -q -w -P ALL, and the same with -h.
PLAIN = """\
# hostname;interval;timestamp;CPU;%usr;%nice;%sys;%iowait;%steal;%irq;%soft;%guest;%gnice;%idle
vm;1;2026-11-30 01:08:06 UTC;-1;70.00;14.50;15.50;0.00;0.00;0.00;0.00;0.00;0.00;0.00
vm;1;2026-11-30 01:08:06 UTC;0;55.00;29.00;16.00;0.00;0.00;0.00;0.00;0.00;0.00;0.00
vm;1;2026-11-30 01:08:06 UTC;1;85.00;0.00;15.00;0.00;0.00;0.00;0.00;0.00;0.00;0.00
# hostname;interval;timestamp;proc/s;cswch/s
vm;1;2026-11-30 01:08:06 UTC;23.00;1827.00
# hostname;interval;timestamp;runq-sz;plist-sz;ldavg-1;ldavg-5;ldavg-15;blocked
vm;1;2026-11-30 01:08:06 UTC;12;146;23.31;27.83;25.38;0
"""
IN_ONE_ROW = """\
# hostname;interval;timestamp;CPU;%usr;%nice;%sys;%iowait;%steal;%irq;%soft;%guest;%gnice;%idle[...];proc/s;cswch/s;runq-sz;plist-sz;ldavg-1;ldavg-5;ldavg-15;blocked
vm;1;2026-11-30 01:08:06 UTC;-1;70.00;14.50;15.50;0.00;0.00;0.00;0.00;0.00;0.00;0.00;0;55.00;29.00;16.00;0.00;0.00;0.00;0.00;0.00;0.00;0.00;1;85.00;0.00;15.00;0.00;0.00;0.00;0.00;0.00;0.00;0.00;23.00;1827.00;12;146;23.31;27.83;25.38;0
"""


def of_sadf(text):
    collector = Collector()
    parse_sadf(io.BytesIO(text.encode()), collector)
    return collector.trace()


@pytest.mark.parametrize("first", [0, 1])
def test_sadf_h_has_each_cpu_in_turn_in_one_row(first):
    """And the machine's columns behind them, or (in another order of options) before."""
    text = IN_ONE_ROW
    if first:
        text = "".join(moved(line) + "\n" for line in text.splitlines())
    trace, plain = of_sadf(text), of_sadf(PLAIN)
    for kind in ("system", "cpu"):
        frame = plain.samples(kind)
        assert trace.samples(kind).select(frame.columns).equals(frame)


def moved(line):
    cells = line.split(";")
    return ";".join([*cells[:3], *cells[-8:], *cells[3:-8]])


@pytest.mark.parametrize(
    "text",
    [
        IN_ONE_ROW.replace(";blocked", "").replace("%idle[...]", "%idle;x[...]"),
        IN_ONE_ROW.replace("blocked", "IFACE;rxpck/s[...]"),
    ],
)
def test_rows_of_sadf_h_that_can_not_be_split_name_the_option(text):
    with pytest.raises(TraceError) as caught:
        of_sadf(text)
    assert caught.value.hint == "run sadf -d without -h"
