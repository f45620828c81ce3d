"""Whatever vmstat, pidstat and dstat print: a value is under its own name, in its own unit, or refused."""

import io
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.trace.formats.test_vmstat import LANGUAGES

from schedtuna.errors import TraceError
from schedtuna.trace.formats.dstat import parse_dstat
from schedtuna.trace.formats.pidstat import parse_pidstat
from schedtuna.trace.formats.sink import Collector
from schedtuna.trace.formats.vmstat import VMSTAT, is_vmstat, parse_vmstat

HEADERS = {**LANGUAGES, "C": "r b swpd free buff cache si so bi bo in cs us sy id wa st"}
GUESTS = {"pl": "go", "sv": "gä"}
START = datetime(2024, 2, 28, 23, 59, 50, tzinfo=UTC)
SHARES = ("us", "sy", "id", "wa", "st", "gu")


def read(parse, text):
    collector = Collector()
    parse(io.BytesIO(text.encode()), collector)
    return collector.trace()


@st.composite
def shares(draw, count):
    """Whole shares of 100%, each rounded by itself."""
    cuts = sorted(draw(st.lists(st.floats(0, 100), min_size=count - 1, max_size=count - 1)))
    return [round(high - low) for low, high in zip([0.0, *cuts], [*cuts, 100.0], strict=True)]


@st.composite
def vmstat_texts(draw):
    """A text of vmstat, and the rows that are in it: each a mapping of vmstat's own words."""
    language = draw(st.sampled_from(sorted(HEADERS)))
    words = ["r", "b", "swpd", "free", "buff", "cache", "si", "so", "bi", "bo", "in", "cs", *SHARES[:5]]
    header = HEADERS[language].split()
    if draw(st.booleans()):  # -w of procps 4
        words, header = [*words, "gu"], [*header, GUESTS.get(language, "gu")]
    extra = draw(st.none() | st.integers(0, len(words))) if language == "C" else None
    if extra is not None:
        words.insert(extra, "zz")
        header.insert(extra, "zz")
    timed = draw(st.booleans())
    lines, rows = [], []
    runs = draw(st.lists(st.integers(1, 24), min_size=1, max_size=2))
    for seconds, nr_rows in enumerate(runs):
        for number in range(nr_rows):
            if number % 21 == 0:
                lines += ["procs ---memory---", " ".join([*header, *(["UTC"] if timed else [])])]
            row = {word: draw(st.integers(0, 10**6)) for word in words if word not in SHARES}
            row |= dict(
                zip(SHARES[: 6 if "gu" in words else 5], draw(shares(6 if "gu" in words else 5)), strict=True)
            )
            for word in ("swpd", "free", "buff", "cache"):
                row[word] *= 4
            row["free"] += 1 << 17
            row["in"] = 10**6 * seconds + 5000 * len(rows)  # no row looks like one since boot
            time = START + timedelta(seconds=7 * len(rows))
            if number:
                rows.append((time, row))
            stamp = [f"{time:%Y-%m-%d %H:%M:%S}"] if timed else []
            lines.append(" ".join([*(str(row[word]) for word in words), *stamp]))
    return "\n".join([*lines, ""]), rows, timed, runs


@settings(max_examples=300, deadline=None)
@given(vmstat_texts())
def test_vmstat_never_shifts_a_column(made):
    text, rows, timed, runs = made
    assert is_vmstat(text.encode())
    if not rows:
        try:
            read(parse_vmstat, text)
        except TraceError:
            return
        raise AssertionError("a row since boot was read")
    if 21 in runs[:-1]:
        return  # where a run ends as a header is due, one row more may be read: see its own test
    trace = read(parse_vmstat, text)
    found = trace.samples().rows(named=True)
    assert len(found) == len(rows)
    for index, (row, (time, expected)) in enumerate(zip(found, rows, strict=True), start=1):
        for word, value in expected.items():
            name, factor = VMSTAT.get(word, (f"vmstat_{word}", 1))
            assert row[name] == value * factor, word
        assert row["timestamp_ns"] == (int(time.timestamp()) if timed else index) * 10**9
    assert trace.sample_times == ("column" if timed else "made up")


@settings(max_examples=200, deadline=None)
@given(vmstat_texts(), st.data())
def test_a_vmstat_row_that_lost_or_gained_a_number_is_refused(made, data):
    text, *_ = made
    lines = text.splitlines()
    at = data.draw(st.sampled_from([n for n, line in enumerate(lines) if line[0].isdecimal()]))
    words = lines[at].split()
    where = data.draw(st.integers(0, 15))
    lines[at] = " ".join(
        words[:where] + words[where + 1 :]
        if data.draw(st.booleans())
        else [*words[:where], "7", *words[where:]]
    )
    try:
        read(parse_vmstat, "\n".join([*lines, ""]))
    except TraceError:
        return
    raise AssertionError(f"read with line {at + 1} damaged")


FORMS = {
    "%Y-%m-%d": False,
    "%d.%m.%Y": False,
    "%Y年%m月%d日": False,
    "%d-%m-%y": False,
    "%m/%d/%y": True,
    "%d/%m/%Y": True,
}


@settings(max_examples=300, deadline=None)
@given(
    st.integers(978_307_200, 3_124_224_000),
    st.sampled_from(sorted(FORMS)),
    st.lists(st.integers(1, 11 * 3600), min_size=1, max_size=40),
    st.booleans(),
)
def test_pidstat_is_never_on_another_day_without_a_word(start, form, steps, twelve_hours):
    start = datetime.fromtimestamp(start, UTC)
    clock = "%I:%M:%S %p" if twelve_hours else "%H:%M:%S"
    header = f"{start:{clock}} UID PID %usr Command"
    times, lines = [], [f"Linux 6.1.0 (h) \t{start:{form}} \t_x86_64_\t(4 CPU)", "", header]
    now = start
    for step in steps:
        now += timedelta(seconds=step)
        times.append(now)
        lines.append(f"{now:{clock}} 0 101 1.00 a b")
    trace = read(parse_pidstat, "\n".join([*lines, ""]))
    found = trace.samples("process")["timestamp_ns"].to_list()
    expected = [int(time.timestamp()) * 10**9 for time in times]
    if found != expected:
        assert FORMS[form] and max(start.day, start.month) <= 12
        assert "does not say itself" in str(trace.sample_notes)


@settings(max_examples=200, deadline=None)
@given(
    st.permutations(["usr", "sys", "idl", "wai", "stl"]),
    shares(5),
    st.sampled_from(["epoch", "time", "interval", "nothing"]),
    st.lists(st.integers(1, 30), min_size=1, max_size=3),
    st.integers(1, 600),
)
def test_dstat_rows_are_where_their_times_are(order, values, times, runs, interval):
    start, rows, lines = START, [], []
    of = dict(zip(["usr", "sys", "idl", "wai", "stl"], values, strict=True))
    group, column = {"epoch": ("epoch",) * 2, "time": ("system", "time")}.get(times, ("procs", "run"))
    for nr_rows in runs:
        command = f"dstat -c {interval}" if times != "nothing" else "dstat -c x"
        lines += [
            '"Dstat 0.8.0 CSV output"',
            f'"Cmdline:","{command}",,,,"Date:","{start:%d %b %Y %H:%M:%S} UTC"',
            f'"total cpu usage",,,,,"{group}"',
            ",".join(f'"{word}"' for word in [*order, column]),
        ]
        for number in range(nr_rows):
            time = start + timedelta(seconds=interval * number)
            cell = {"epoch": f"{time.timestamp():.1f}", "time": f"{time:%d-%m %H:%M:%S}"}.get(times, "1")
            lines.append(",".join([*(str(of[word]) for word in order), cell]))
            if number:
                rows.append(int(time.timestamp()) * 10**9)
        start += timedelta(seconds=interval * (nr_rows + 5))
    text = "\n".join([*lines, ""])
    if not rows:
        return
    trace = read(parse_dstat, text)
    found = trace.samples()
    assert found.height == len(rows)
    assert set(found["user_percent"]) == {of["usr"]}
    assert set(found["idle_percent"]) == {of["idl"]}
    if times == "nothing":
        assert trace.sample_times == "made up"
    else:
        assert found["timestamp_ns"].to_list() == rows
        assert trace.sample_times == ("interval" if times == "interval" else "column")
