"""One story, told by the tools that print samples, in their options, versions and languages: the same values."""

# ruff: noqa: E501  # the tools' lines are as long as they are

from __future__ import annotations

import io
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.trace.formats.dstat import parse_dstat
from schedtuna.trace.formats.pidstat import parse_pidstat
from schedtuna.trace.formats.sar import parse_sadf, parse_sar
from schedtuna.trace.formats.sink import Collector
from schedtuna.trace.formats.vmstat import parse_vmstat

BEGIN = datetime(2024, 3, 25, 23, 59, 57, tzinfo=UTC)
# Per moment: shares of the CPUs' time (user, system, iowait, steal, idle), switches and forks per second, and
# of the two tasks user and system.
STORY = [
    ((10.25, 5.5, 1.0, 0.25, 83.0), 400, 3, {101: (12.0, 3.0), 202: (2.0, 1.0)}),
    ((20.0, 6.0, 4.0, 0.0, 70.0), 800, 7, {101: (0.0, 0.5), 202: (98.5, 1.5)}),
    ((0.0, 0.0, 0.0, 0.0, 100.0), 12, 0, {101: (0.0, 0.0), 202: (1.0, 0.0)}),
    ((97.5, 2.5, 0.0, 0.0, 0.0), 90000, 120, {101: (50.0, 0.0), 202: (47.5, 2.5)}),
]
COMMS = {101: "app", 202: "my worker"}
SHARES = ("user_percent", "system_percent", "iowait_percent", "steal_percent", "idle_percent")


@dataclass(frozen=True)
class Place:
    """How a locale of glibc writes (%x, %X), and what sysstat says in its language."""

    date: str
    clock: str
    average: str
    point: str


PLACES = [
    Place("%m/%d/%y", "%H:%M:%S", "Average:", "."),  # C
    Place("%Y-%m-%d", "%H:%M:%S", "Average:", "."),  # S_TIME_FORMAT=ISO
    Place("%m/%d/%Y", "%I:%M:%S %p", "Average:", "."),  # en_US
    Place("%d/%m/%y", "%H:%M:%S", "Average:", "."),  # en_GB
    Place("%d.%m.%Y", "%H:%M:%S", "Durchschn.:", ","),
    Place("%d/%m/%Y", "%H:%M:%S", "Moyenne\u202f:", ","),
    Place("%d.%m.%Y", "%H:%M:%S", "Среднее:", ","),
    Place("%d/%m/%Y", "%H:%M:%S", "Trung bình:", ","),
    Place("%Y年%m月%d日", "%H时%M分%S秒", "平均时间:", "."),
    Place("%Y年%m月%d日", "%H時%M分%S秒", "平均時間\uff1a", "."),
    Place("%Y年%m月%d日", "%H時%M分%S秒", "平均値:", "."),
    Place("%Y년 %m월 %d일", "%H시 %M분 %S초", "평균값:", "."),
    Place("%d/%m/%y", "%H.%M.%S", "Rata-rata:", ","),
]
ENDS = [b"\n", b"\r\n", b"\r\r\n"]


def spell(number: float, place: Place, digits: int = 2) -> str:
    return f"{number:.{digits}f}".replace(".", place.point)


def moment(index: int) -> datetime:
    return BEGIN + timedelta(seconds=index + 1)


def times_of(rows) -> list[int]:
    return [row["timestamp_ns"] for row in rows]


TIMES = [int(moment(index).timestamp()) * 10**9 for index in range(len(STORY))]


def read(parse, lines: list[str], end: bytes, colour: bool = False):
    if colour:
        lines = [line.replace("  101", "\x1b[32;22m  101\x1b[0m") for line in lines]
    collector = Collector()
    parse(io.BytesIO(b"".join(line.encode() + end for line in lines)), collector)
    return collector.trace()


def check_system(rows, shares=SHARES, at: list[int] | None = TIMES) -> None:
    assert at is None or times_of(rows) == at
    for row, (expected, switches, *_) in zip(rows, STORY, strict=True):
        values = dict(zip(SHARES, expected, strict=True))
        assert {name: row[name] for name in shares} == {name: values[name] for name in shares}
        assert row["switches_per_s"] == switches


def banner(place: Place) -> str:
    return f"Linux 6.18.44 (vm) \t{BEGIN.strftime(place.date)} \t_x86_64_\t(2 CPU)"


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_pidstat(data) -> None:
    place, end = data.draw(st.sampled_from(PLACES)), data.draw(st.sampled_from(ENDS))
    user = data.draw(st.sampled_from(["UID", "USER", ""]))  # as ever, -U, before 10.1
    has_wait, threads, in_rows = data.draw(st.booleans()), data.draw(st.booleans()), data.draw(st.booleans())
    middle = ["%usr", "%system", "%guest", *(["%wait"] if has_wait else []), "%CPU", "CPU", "%new", "VSZ"]
    middle = data.draw(st.permutations(middle))
    human = data.draw(st.booleans())
    header = [user, *(["TGID", "TID"] if threads else ["PID"]), *middle, "Command"]
    lines = [banner(place), ""]
    for index, (*_, tasks) in enumerate(STORY):
        above = "# Time" if in_rows else moment(index - 1).strftime(place.clock)
        if not in_rows or not index:
            lines.append(f"{above}  {'  '.join(header)}")
        for tid, (usr, system) in tasks.items():
            values = {
                "%usr": usr, "%system": system, "%guest": 0.0, "%wait": 1.0, "%CPU": usr + system, "%new": 9.5,
            }  # fmt: skip
            words = {name: spell(value, place) + ("%" if human else "") for name, value in values.items()}
            words |= {"CPU": "1", "VSZ": spell(1.5, place, 1) + "G" if human else str(3 << 19)}
            ids = [
                {"UID": "1000", "USER": "alice", "": ""}[user],
                *(["-", str(tid)] if threads else [str(tid)]),
            ]
            comm = ("|__" if threads else "") + COMMS[tid]
            time = moment(index).strftime(place.clock)
            lines.append(f"{time}  {'  '.join([*ids, *(words[name] for name in middle), comm])}")
        if not in_rows:
            lines.append("")
    if not in_rows:
        lines += [f"{place.average}  {'  '.join(header)}", f"{place.average}  0  101  1  1  app"]
    rows = read(parse_pidstat, lines, end, data.draw(st.booleans())).samples("process").rows(named=True)
    expected = [(at, tid, *tasks[tid]) for at, (*_, tasks) in zip(TIMES, STORY, strict=True) for tid in tasks]
    name = "tid" if threads else "pid"
    assert [
        (row["timestamp_ns"], row[name], row["user_percent"], row["system_percent"]) for row in rows
    ] == expected
    assert {row["comm"] for row in rows} == {*COMMS.values()}
    assert {(row["virtual_memory_bytes"], row["cpu"], row["pidstat_new"]) for row in rows} == {
        (3 << 29, 1, 9.5)
    }


@settings(max_examples=250, deadline=None)
@given(data=st.data())
def test_sar_and_mpstat(data) -> None:
    place, end = data.draw(st.sampled_from(PLACES)), data.draw(st.sampled_from(ENDS))
    is_mpstat, in_turn = data.draw(st.booleans()), data.draw(st.booleans())
    names = ["%usr", "%sys"] if is_mpstat else ["%user", "%system"]
    words = [*names, "%iowait", "%steal", "%idle"]
    order = data.draw(st.permutations(range(5)))
    again = data.draw(st.sampled_from([1, 2, 99]))  # after how many rows the header comes again

    def header(index: int, *cells: str) -> str:
        return "  ".join([moment(index).strftime(place.clock), *cells])

    def row(index: int, *cells: str) -> str:
        return header(index, *cells)

    cpu, switches = [], []
    for index, (shares, nr_switches, nr_forks, _) in enumerate(STORY):
        values = [spell(shares[one], place) for one in order]
        cpu.append((index, [row(index, cell, *values) for cell in ("all", "0", "1")]))
        switches.append((index, [row(index, str(nr_forks), spell(nr_switches, place))]))
    tables = [(cpu, ["CPU", *(words[one] for one in order)]), (switches, ["proc/s", "cswch/s"])]
    lines = [banner(place), ""]
    if in_turn:
        for index in range(len(STORY)):
            for table, cells in tables:
                lines += [header(index - 1, *cells), *table[index][1], ""]
    else:
        for table, cells in tables:
            for index, rows in table:
                lines += [header(index - 1, *cells)] if index % again == 0 else []
                lines += rows
            lines += [f"{place.average}  {'  '.join(['all', *['1'] * (len(cells) - 1)])}", ""]
    trace = read(parse_sar, lines, end)
    check_system(trace.samples().rows(named=True))
    of_cpus = trace.samples("cpu").rows(named=True)
    assert [(one["timestamp_ns"], one["cpu"]) for one in of_cpus] == [
        (at, cpu) for at in TIMES for cpu in (0, 1)
    ]
    assert [one["idle_percent"] for one in of_cpus[::2]] == [shares[4] for shares, *_ in STORY]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_sadf(data) -> None:
    end, horizontal = data.draw(st.sampled_from(ENDS)), data.draw(st.booleans())
    order = data.draw(st.permutations(range(5)))
    words = [("%user", "%system", "%iowait", "%steal", "%idle")[one] for one in order]
    epoch = data.draw(st.booleans())
    first, second = [], []
    for index, (shares, nr_switches, nr_forks, _) in enumerate(STORY):
        at = moment(index)
        time = str(int(at.timestamp())) if epoch else at.strftime("%Y-%m-%d %H:%M:%S UTC")
        first.append(";".join(["vm", "1", time, "-1", *(f"{shares[one]:.2f}" for one in order)]))
        second.append(";".join(["vm", "1", time, f"{nr_forks}.00", f"{nr_switches}.00"]))
    head = "# hostname;interval;timestamp;"
    lines = [head + ";".join(["CPU", *words]), *first, head + "proc/s;cswch/s", *second]
    if horizontal:
        joined = [f"{one};{';'.join(other.split(';')[3:])}" for one, other in zip(first, second, strict=True)]
        lines = [head + ";".join(["CPU", *words]) + "[...];proc/s;cswch/s", *joined]
    check_system(read(parse_sadf, lines, end).samples().rows(named=True))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_vmstat(data) -> None:
    end, wide, has_guests = (data.draw(one) for one in (st.sampled_from(ENDS), st.booleans(), st.booleans()))
    whole = [(tuple(round(share) for share in shares), switches) for shares, switches, *_ in STORY]
    header = "r b swpd free buff cache si so bi bo in cs us sy id wa st" + (" gu" if has_guests else "")
    zone = data.draw(st.sampled_from(["UTC", "CET", "JST"]))
    again = data.draw(st.integers(21, 22))
    lines = ["procs ---memory---", f"{header}   {zone}"]
    rows = [(moment(-1), (1, 1, 0, 0, 98), 5), *((moment(i), *one) for i, one in enumerate(whole))]
    for index, (at, (usr, system, iowait, steal, idle), switches) in enumerate(rows):
        if index and index % again == 0:
            lines += lines[:2]
        cells = [2, 0, 0, 819200, 20000, 310000, 0, 0, 4, 8, 100, switches, usr, system, idle, iowait, steal]
        cells += [0] if has_guests else []
        lines.append(("   " if wide else " ").join(map(str, cells)) + f" {at.strftime('%Y-%m-%d %H:%M:%S')}")
    found = read(parse_vmstat, lines, end).samples().rows(named=True)
    assert times_of(found) == TIMES
    assert [tuple(row[name] for name in SHARES) for row in found] == [shares for shares, _ in whole]
    assert [row["switches_per_s"] for row in found] == [switches for _, switches in whole]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_dstat_dool_and_pcp_dstat(data) -> None:
    tool, end = data.draw(st.sampled_from(["dstat", "dool", "pcp"])), data.draw(st.sampled_from(ENDS))
    clock = data.draw(st.sampled_from(["epoch", "time"]))
    usage = "total usage" if tool == "pcp" else "total cpu usage"
    words = {name: index for index, name in enumerate(["usr", "sys", "wai", "stl", "idl"])}
    order = data.draw(st.permutations(list(words)))
    groups = data.draw(st.permutations(["cpu", "dsk", "sys", "clock"]))
    disk_bytes = 1024 if tool == "pcp" else 1
    first, second = [], []
    for group in groups:
        if group == "cpu":
            first += [usage, "", "", "", ""]
            second += [f"{usage}:{word}" if tool == "pcp" else word for word in order]
        else:
            first += {
                "dsk": ["dsk/total", ""],
                "sys": ["system", ""],
                "clock": ["system" if clock == "time" else clock],
            }[group]
            second += {"dsk": ["read", "writ"], "sys": ["int", "csw"], "clock": [clock]}[group]
    quoted = [",".join(f'"{cell}"' if cell else "" for cell in line) for line in (first, second)]
    form = "%b-%d %H:%M:%S" if tool == "dool" else "%d-%m %H:%M:%S"
    title = {
        "dstat": "Dstat 0.8.0 CSV output",
        "dool": "dool 1.3.8 CSV output",
        "pcp": "pcp-dstat 6.0.3 CSV Output",
    }[tool]
    lines = [
        f'"{title}"',
        f'"Cmdline:","dstat -cdy 1",,,,"Date:","{BEGIN.strftime("%d %b %Y %H:%M:%S")} UTC"',
        *quoted,
    ]
    for index, (shares, switches, *_) in enumerate([((1, 1, 0, 0, 98), 5), *STORY]):
        at = moment(index - 1)
        cells = {
            "cpu": [f"{shares[words[word]]:g}" for word in order],
            "dsk": ["12", "4.5"],
            "sys": ["9", str(switches)],
        }
        cells["clock"] = [f"{at.timestamp():.0f}" if clock == "epoch" else at.strftime(form)]
        lines.append(",".join(cell for group in groups for cell in cells[group]))
    rows = read(parse_dstat, lines, end).samples().rows(named=True)
    check_system(rows)
    assert {(row["io_read_bytes_per_s"], row["io_written_bytes_per_s"]) for row in rows} == {
        (12 * disk_bytes, 4.5 * disk_bytes)
    }
