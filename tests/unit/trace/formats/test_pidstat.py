"""On which day was it, and what is told where the text leaves that open?"""

import io
from datetime import UTC, datetime

import pytest

from schedtuna.errors import TraceError
from schedtuna.trace.formats.pidstat import parse_pidstat
from schedtuna.trace.formats.sink import Collector

HEADER = "10:00:01      UID       PID    %usr %system  %guest   %wait    %CPU   CPU  Command"
ROW = "10:00:02        0       101   12.00    3.00    0.00    1.00   15.00     0  app"


def text(date, *rows, header=HEADER):
    return f"Linux 6.1.0 (03/04/2020) \t{date} \t_x86_64_\t(4 CPU)\n\n{header}\n" + "\n".join([*rows, ""])


def read(data):
    collector = Collector()
    parse_pidstat(io.BytesIO(data.encode()), collector)
    return collector.trace()


def times(data):
    found = read(data).samples("process")["timestamp_ns"]
    return [datetime.fromtimestamp(time / 1e9, UTC).replace(tzinfo=None).isoformat() for time in found]


# What `date +%x` gives in locales of glibc.
@pytest.mark.parametrize(
    ("date", "day"),
    [
        ("2024-03-25", "2024-03-25"),  # S_TIME_FORMAT=ISO, sv_SE
        ("03/25/24", "2024-03-25"),  # C
        ("03/25/2024", "2024-03-25"),  # en_US
        ("25/03/24", "2024-03-25"),  # en_GB
        ("25/03/2024", "2024-03-25"),  # fr_FR
        ("25.03.2024", "2024-03-25"),  # de_DE
        ("05.03.2024", "2024-03-05"),
        ("25. 3. 2024", "2024-03-25"),  # cs_CZ
        ("05-03-2024", "2024-03-05"),  # da_DK
        ("25.03.24", "2024-03-25"),  # ru_RU once
        ("2024年03月25日", "2024-03-25"),  # ja_JP, zh_CN
        ("2024년 03월 25일", "2024-03-25"),  # ko_KR
        ("2024.03.25.", "2024-03-25"),  # hu_HU
        ("2024/03/25", "2024-03-25"),
        ("03/03/2024", "2024-03-03"),
        ("29/02/24", "2024-02-29"),
    ],
)
def test_a_day_that_can_be_read_one_way_is_read(date, day):
    data = text(date, ROW)
    assert times(data) == [f"{day}T10:00:02"]
    assert "which it does not say" not in str(read(data).sample_notes)


@pytest.mark.parametrize(
    ("row", "day", "order"),
    [(ROW, "2024-03-05", "month"), (ROW.replace(".", ","), "2024-05-03", "day")],
)
def test_where_day_and_month_can_not_be_told_apart_the_rule_is_told(row, day, order):
    """C and en_US have the month first and decimal points; with commas it is another locale."""
    trace = read(text("03/05/2024", row))
    assert times(text("03/05/2024", row)) == [f"{day}T10:00:02"]
    assert f"03/05/2024 is read with the {order} first" in str(trace.sample_notes)


@pytest.mark.parametrize(
    "date", ["", "Monday", "45/03/24", "25/25/24", "30/02/24", "0/0/24", "lundi 25 mars 2024", "٢٥/٠٣/٢٠٢٤"]
)
def test_a_day_that_is_not_understood_is_refused(date):
    with pytest.raises(TraceError, match="does not name the day") as caught:
        read(text(date, ROW))
    assert "S_TIME_FORMAT=ISO" in caught.value.hint


def test_without_a_first_line_there_is_no_day():
    with pytest.raises(TraceError, match="it is missing"):
        read(f"{HEADER}\n{ROW}\n")


def test_seconds_since_1970_need_no_day_but_must_be_such():
    old = ROW.replace("10:00:02", "1795229770")
    header = "# Time " + HEADER.split(None, 1)[1]
    assert times(text("", old, header=header)) == ["2026-11-21T02:56:10"]
    with pytest.raises(TraceError, match="expected a time, got '77'"):
        read(text("2024-03-25", old.replace("1795229770", "77"), header=header))


def at(*clocks):
    return [ROW.replace("10:00:02", clock) for clock in clocks]


def test_days_go_on_past_every_midnight():
    clocks = ["23:00:00", "23:59:59", "00:00:01", "11:30:00", "23:30:00", "00:10:00"]
    found = times(text("2024-02-28", *at(*clocks)))
    days = ["02-28", "02-28", "02-29", "02-29", "02-29", "03-01"]
    assert found == [f"2024-{day}T{clock}" for day, clock in zip(days, clocks, strict=True)]


def test_a_first_row_past_midnight_is_of_the_next_day():
    header = HEADER.replace("10:00:01", "23:59:59")
    assert times(text("2024-02-29", *at("00:00:00"), header=header)) == ["2024-03-01T00:00:00"]


def test_twelve_hour_clocks_wrap_too():
    header = HEADER.replace("10:00:01", "11:59:58 PM")
    found = times(text("2024-12-31", *at("11:59:59 PM", "12:00:01 AM", "12:00:00 PM"), header=header))
    assert found == ["2024-12-31T23:59:59", "2025-01-01T00:00:01", "2025-01-01T12:00:00"]


def test_a_clock_that_goes_back_is_told():
    trace = read(text("2024-10-27", *at("02:59:59", "02:00:00")))
    assert "the clock went back" in str(trace.sample_notes)


def test_a_second_run_has_a_day_of_its_own():
    first, second = text("2024-03-25", *at("23:00:00")), text("2024-03-20", *at("10:00:02"))
    assert times(first + second) == ["2024-03-25T23:00:00", "2024-03-20T10:00:02"]


def test_averages_since_boot_are_not_samples():
    """pidstat without an interval: its header has the same time as its rows."""
    data = text("2024-03-25", *at("10:00:01"))
    with pytest.raises(TraceError, match="but averages since boot"):
        read(data)
    assert times(data + text("2024-03-25", ROW)) == ["2024-03-25T10:00:02"]
    assert "1 rows of averages since boot" in str(read(data + text("2024-03-25", ROW)).sample_notes)


def test_one_report_without_a_time_in_its_header_may_be_an_average():
    trace = read(text("2024-03-25", ROW, header="# Time " + HEADER.split(None, 1)[1]))
    assert "one report alone" in str(trace.sample_notes)


@pytest.mark.parametrize("value", ["-3.00", "1.0G", "nan", "inf", "1_0", "3.00k", "%", "3%%"])
def test_what_is_not_a_number_is_refused(value):
    with pytest.raises(TraceError, match="expected a number for %system"):
        read(text("2024-03-25", ROW.replace(" 3.00", f" {value}")))


def test_an_unknown_column_keeps_its_name():
    trace = read(
        text("2024-03-25", ROW.replace(" 3.00", " 3.00 9.5"), header=HEADER.replace("%guest", "%new %guest"))
    )
    (row,) = trace.samples("process").rows(named=True)
    assert (row["pidstat_new"], row["guest_percent"], row["cpu_percent"]) == (9.5, 0, 15)


@pytest.mark.parametrize(("ids", "told"), [("PID ", True), ("TGID   TID", False)])
def test_whose_switches_are_counted_is_told(ids, told):
    """cswch/s is of the first thread alone, unless -t gives each thread a row."""
    header = f"10:00:01      UID       {ids}   cswch/s nvcswch/s  Command"
    row = f"10:00:02        0       {'101' if told else '101  101'}   12.00    3.00  app"
    notes = str(read(text("2024-03-25", row, header=header)).sample_notes)
    assert ("main thread alone" in notes) is told
    assert "quota" not in notes


def test_that_a_wait_may_be_a_quotas_is_told():
    assert "quota" in str(read(text("2024-03-25", ROW)).sample_notes)


# What pidstat 12.6.1 printed, the names of host and tasks replaced.
LOCALES = {
    "de_DE": ("29.11.2026", "20:54:07   ", "20:54:08   ", "Durchschn.:", ","),
    "fr_FR": ("29/11/2026", "20:54:09   ", "20:54:10   ", "Moyenne\u202f: ", ","),
    "zh_CN": ("2026年11月29日", "20时54分11秒", "20时54分12秒", "平均时间:", "."),
    "zh_TW": ("2026年11月29日", "20時54分11秒", "20時54分12秒", "平均時間\uff1a", "."),
    "ja_JP": ("2026年11月29日", "20時54分13秒", "20時54分14秒", "平均値:  ", "."),
    "ko_KR": ("2026년 11월 29일", "20시 54분 19초", "20시 54분 20초", "평균값:  ", "."),
    "en_US": ("11/29/2026", "08:54:15 PM", "08:54:16 PM", "Average:   ", "."),
    "ru_RU": ("29.11.2026", "20:54:17   ", "20:54:18   ", "Среднее:   ", ","),
    "pt_BR": ("29/11/2026", "20:54:23   ", "20:54:24   ", "Média:     ", ","),
    "vi_VN": ("29/11/2026", "20:54:23   ", "20:54:24   ", "Trung bình:", ","),
    "id_ID": ("29/11/26", "20.54.23   ", "20.54.24   ", "Rata-rata: ", ","),
}


@pytest.mark.parametrize("locale", LOCALES)
def test_every_locale_is_read(locale):
    date, began, time, average, point = LOCALES[locale]
    columns = "  UID       PID    %usr %system  %guest   %wait    %CPU   CPU  Command"
    values = "    0         1   12.00    3.00    0.00    1.00   15.00     {}  my prog".replace(".", point)
    data = (
        f"Linux 6.18.44 (vm) \t{date} \t_x86_64_\t(2 CPU)\n\n{began} {columns}\n{time} {values.format(1)}\n\n"
    )
    data += f"{average} {columns}\n{average} {values.format('-')}\n"
    (found,) = read(data).samples("process").rows(named=True)
    assert datetime.fromtimestamp(found["timestamp_ns"] / 1e9, UTC).strftime("%F %H:%M") == "2026-11-29 20:54"
    assert (found["user_percent"], found["cpu_percent"], found["comm"]) == (12, 15, "my prog")


def test_a_clock_that_is_not_known_is_refused_with_what_helps():
    with pytest.raises(TraceError, match="expected a time, got '20h54m12'") as caught:
        read(text("2026-11-29", ROW.replace("10:00:02", "20h54m12")))
    assert "LC_ALL=C" in caught.value.hint
    assert "S_TIME_FORMAT=ISO" in caught.value.hint


def test_users_may_stand_for_their_numbers():
    header, row = HEADER.replace(" UID", "USER"), ROW.replace("    0  ", "alice  ", 1)
    (found,) = read(text("2024-03-25", row, header=header)).samples("process").rows(named=True)
    assert (found["user"], found["pid"], found["cpu_percent"]) == ("alice", 101, 15)


def test_old_versions_have_no_users():
    header, row = HEADER.replace("UID", "   ").replace(" %wait  ", ""), ROW.replace(" 0  ", "    ", 1)
    data = text("2024-03-25", row.replace(" 1.00", ""), header=header)
    (found,) = read(data).samples("process").rows(named=True)
    assert "uid" not in found
    assert (found["pid"], found["cpu_percent"], found["comm"]) == (101, 15, "app")


def test_units_of_human_are_read_and_told_to_be_rounded():
    """pidstat --human -h -r -s."""
    header = "# Time        UID       PID  minflt/s  majflt/s     VSZ     RSS   %MEM StkSize  StkRef  Command"
    row = "20:58:30        0     14953      0.00      0.00    2.5M    1,7G   0.3%  132.0k    512B  pidstat"
    trace = read(text("2024-03-25", row, header=header))
    (found,) = trace.samples("process").rows(named=True)
    assert found["virtual_memory_bytes"] == 2.5 * 1024**2
    assert found["memory_bytes"] == 1.7 * 1024**3
    assert (found["memory_percent"], found["stack_reserved_bytes"]) == (0.3, 132 * 1024)
    assert found["stack_used_bytes"] == 512
    assert "rounded" in str(trace.sample_notes)


def test_threads_have_their_own_names():
    header = "20:58:27      UID      TGID       TID    %usr %system  %guest   %wait    %CPU   CPU  Command"
    rows = [
        "20:58:28        0         7         -    1.00    0.00    0.00    0.00    1.00     1  app",
        "20:58:28        0         -         7    1.00    0.00    0.00    0.00    1.00     1  |__app",
        "20:58:28        0         -         8    0.00    0.00    0.00    0.00    0.00     1  |__worker",
    ]
    found = read(text("2024-03-25", *rows, header=header)).samples("process").rows(named=True)
    assert [(row["pid"], row["tid"], row["comm"]) for row in found] == [
        (7, None, "app"), (None, 7, "app"), (None, 8, "worker"),
    ]  # fmt: skip


def test_command_lines_may_have_lines_of_their_own():
    """pidstat -wl, of `python -c` with a script of several lines."""
    header = "10:00:01      UID       PID   cswch/s nvcswch/s  Command"
    rows = (
        "10:00:02        0       101     12.00      3.00  python -c",
        "import time",
        "print: 10",
        "",
        "10:00:02        0       102      1.00      0.00  app",
    )
    trace = read(text("2026-11-29", *rows, header=header))
    found = trace.samples("process").rows(named=True)
    assert [row["comm"] for row in found] == ["python -c", "app"]
    assert (found[0]["voluntary_switches_per_s"], found[0]["involuntary_switches_per_s"]) == (12, 3)
    assert any("without a time" in note for note in trace.manifest["sample_notes"])
    with pytest.raises(TraceError, match="expected a time, got 'import'"):
        read(text("2026-11-29", *rows[1:], header=header))
