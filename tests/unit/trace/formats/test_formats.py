"""Is a file known by what it holds, however late that comes and whatever ends its lines?"""

import pytest
from tests.unit.trace.formats.texts import FTRACE, PERF_SCRIPT, PIDSTAT, SIMPLEPERF, TRACE_CMD, VMSTAT_T

from schedtuna.errors import TraceError
from schedtuna.trace.formats import READERS, detect, load

IDLE = b"".join(
    b"          <idle>-0       [000] d..2.   99.%06d: cpu_idle: state=%d cpu_id=0\n" % (n, n % 2)
    for n in range(2000)
)
TEXTS = {
    "ftrace": FTRACE,
    "trace-cmd": TRACE_CMD,
    "perf-script": PERF_SCRIPT,
    "simpleperf": SIMPLEPERF,
    "vmstat": VMSTAT_T,
    "pidstat": PIDSTAT,
}
FORMATS = {name: name if name in READERS else "ftrace" for name in TEXTS}


def loaded(tmp_path, data):
    path = tmp_path / "file"
    path.write_bytes(data)
    name = detect(path)
    return name, load(path, name)


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("end", [b"\r\n", b"\r\r\n", b"\r"])
def test_terminals_line_ends_change_nothing(tmp_path, name, end):
    expected = loaded(tmp_path, TEXTS[name])
    found = loaded(tmp_path, TEXTS[name].replace(b"\n", end))
    assert found[0] == expected[0] == FORMATS[name]
    assert (found[1].events == expected[1].events).all()
    for kind, frame in expected[1].sample_frames.items():
        assert found[1].samples(kind).equals(frame)


@pytest.mark.parametrize("name", TEXTS)
def test_a_byte_order_mark_changes_nothing(tmp_path, name):
    assert loaded(tmp_path, b"\xef\xbb\xbf" + TEXTS[name])[0] == FORMATS[name]


def test_what_a_terminal_colours_is_read(tmp_path):
    plain = loaded(tmp_path, PIDSTAT)[1].samples("process")
    coloured = PIDSTAT.replace(b"  0.95", b"\x1b[34;22m  0.95\x1b[0m").replace(
        b"python", b"\x1b[34;1mpython\x1b[0m"
    )
    assert coloured != PIDSTAT
    assert loaded(tmp_path, coloured)[1].samples("process").equals(plain)


@pytest.mark.parametrize("name", ["ftrace", "trace-cmd", "perf-script"])
@pytest.mark.parametrize("times", [1, 20])
def test_a_first_event_may_come_late(tmp_path, name, times):
    """After 140 kB and 2.8 MB of other events, and without the header of ftrace."""
    events = b"".join(line for line in TEXTS[name].splitlines(keepends=True) if not line.startswith(b"#"))
    found, trace = loaded(tmp_path, IDLE * times + events)
    assert found == FORMATS[name]
    assert (trace.events == loaded(tmp_path, events)[1].events).all()


@pytest.mark.parametrize(
    ("data", "what", "command"),
    [
        (b"\x1f\x8b\x08\x00" + bytes(20), "compressed by gzip", "gunzip"),
        (b"\xfd7zXZ\x00" + bytes(20), "compressed by xz", "unxz"),
        (b"\x28\xb5\x2f\xfd" + bytes(20), "compressed by zstd", "unzstd"),
        ("vmstat".encode("utf-16"), "UTF-16", "iconv"),
        (b"\x96\xd5\x75\x21" + bytes(20), "binary file of sar", "sar -u"),
    ],
)  # fmt: skip
def test_what_is_no_text_is_named(tmp_path, data, what, command):
    with pytest.raises(TraceError, match=what) as caught:
        loaded(tmp_path, data)
    assert command in caught.value.hint


# What procps-ng 4.0.2 and sysstat 12.6.1 printed.
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"disk- ------------reads------------ ------------writes----------- -----IO------\n", "vmstat -d"),
        (b"     24740044 K total memory\n       971504 K used memory\n", "vmstat -d, -D, -m or -s"),
        (b"Linux 6.18.44 (vm) \t11/29/26 \t_x86_64_\t(2 CPU)\n\navg-cpu:  %user   %nice %system\n", "iostat"),
        (b"Linux 6.18.44 (vm) \t11/29/26\n\nDevice             tps    kB_read/s    kB_wrtn/s\n", "iostat"),
        (b"Linux 6.18.44 (vm) \t11/29/26\n\n     r/s     rkB/s   rrqm/s  %rrqm r_await Device\n", "iostat"),
        (b'{"sysstat": {\n\t"hosts": [\n', "JSON of sysstat"),
    ],
)
def test_what_is_known_and_not_read_is_named(tmp_path, data, what):
    with pytest.raises(TraceError, match=what) as caught:
        loaded(tmp_path, data)
    assert "LC_ALL=C" in caught.value.hint or "text is read" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "sample:\n  event_type: sched:sched_switch\n  time: 10000123456\n  thread_id: 101\n",
        "context_switch:\n  switch_on: true\n  time: 10000123456\n  thread_id: 101\n",
        "Total Runtime: 152.123 ms\nRuntime      Percentage  Pid  Name\n100.000 ms  65.74%  101  app\n",
    ],
)
def test_text_of_simpleperf_without_cpus_names_what_has_them(tmp_path, text):
    with pytest.raises(TraceError, match="which has no CPUs") as caught:
        loaded(tmp_path, text.encode())
    assert "report_sample.py --show_tracing_data" in caught.value.hint


def test_simpleperf_without_tracing_data_names_the_option(tmp_path):
    bare = b"".join(line for line in SIMPLEPERF.splitlines(True) if not line.startswith(b"\t"))
    with pytest.raises(TraceError, match="events without fields") as caught:
        loaded(tmp_path, bare)
    assert "--show_tracing_data" in caught.value.hint


def test_an_event_of_simpleperf_that_was_cut_counts_as_lost(tmp_path):
    cut = SIMPLEPERF + b"app\t101/101 [001] 100.000300: 1 sched:sched_switch:\n\tffffffc009c8f9f4 __sch"
    _, trace = loaded(tmp_path, cut)
    assert (len(trace.events), trace.manifest["nr_unread"], trace.is_incomplete) == (2, 1, True)


@pytest.mark.parametrize("name", ["ftrace", "perf-script", "simpleperf"])
def test_wherever_a_text_is_cut_its_last_event_is_of_a_task_that_it_names_whole(tmp_path, name):
    def tasks(data):
        path = tmp_path / "file"
        path.write_bytes(data)
        return load(path, FORMATS[name]).events[["timestamp_ns", "tid", "other_tid"]].tolist()

    text = TEXTS[name]
    whole = tasks(text)
    begin = text.rindex(b"next_pid")
    for cut in range(begin, min(len(text), begin + 30)):
        found = tasks(text[:cut])
        assert found == whole[: len(found)], text[:cut][-40:]


def test_a_text_with_a_tail_of_zeros_is_known(tmp_path):
    """What a crash leaves."""
    name, trace = loaded(tmp_path, FTRACE + bytes(4096))
    assert (name, len(trace.events)) == ("ftrace", 9)


def test_events_without_a_name_are_named(tmp_path):
    nameless = PERF_SCRIPT.replace(b"sched:sched_switch: ", b"").replace(b"sched:sched_", b"x:")
    with pytest.raises(TraceError, match="events without a name") as caught:
        loaded(tmp_path, nameless)
    assert "event,trace" in caught.value.hint


@pytest.mark.parametrize("data", [b"", b"hello\n", b"\0" * 3_000_000, b"a" * 3_000_000])
def test_anything_else_is_refused(tmp_path, data):
    with pytest.raises(TraceError, match="not in a format"):
        loaded(tmp_path, data)


# As Linux 6.18 prints with the options raw, hex and bin: events have numbers for names.
@pytest.mark.parametrize(
    "line", [b"1757 0 39204733883424 type: 372\n", b"000006dd 00000000 000023a81b362555 type: 372\n"]
)
def test_events_without_names_name_the_options_of_ftrace(tmp_path, line):
    with pytest.raises(TraceError, match="no scheduler events") as caught:
        loaded(tmp_path, b"# tracer: nop\n#\n" + line)
    assert "raw, hex, bin" in caught.value.hint
