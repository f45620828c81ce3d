import io

import numpy as np
import pytest
from tests.unit.trace.formats.texts import FTRACE, PERF_SCRIPT, TRACE_CMD

from schedtuna.errors import TraceError
from schedtuna.trace.formats import sched_text
from schedtuna.trace.formats.sched_line import parse_line
from schedtuna.trace.formats.sink import Collector
from schedtuna.trace.schema import EventType, PrevState


def read(text):
    collector = Collector()
    sched_text.parse(io.BytesIO(text), collector)
    return collector.trace()


def line_by_line(text):
    parsed = [parse_line(line) for line in text.splitlines()]
    return np.concatenate([line.event for line in parsed if line is not None])


def in_order(array):
    return array[np.argsort(array["timestamp_ns"], kind="stable")]


@pytest.mark.parametrize("text", [PERF_SCRIPT, FTRACE, TRACE_CMD], ids=["perf", "ftrace", "trace-cmd"])
def test_the_fast_way_reads_what_the_plain_way_reads(text):
    assert np.array_equal(read(text).events, in_order(line_by_line(text)))
    assert np.array_equal(read(text * 300).events, in_order(line_by_line(text * 300)))


def test_usual_lines_of_perf_and_ftrace_are_read_the_fast_way(monkeypatch):
    monkeypatch.setattr(sched_text, "parse_line", lambda line: pytest.fail(f"read slowly: {line!r}"))
    read(PERF_SCRIPT)
    read(FTRACE)


@pytest.mark.parametrize("head", [b" x -1/-1 [000]", b" x    -1 [000]", b" :-1    -1/-1    [000]"])
def test_a_task_that_is_gone_is_nobody(head):
    """perf prints -1 for who was current, once it has been reaped."""
    line = head + b" 1.000000: sched:sched_waking: comm=y pid=2 prio=120 target_cpu=001\n"
    assert read(line).events["other_tid"].tolist() == [0]
    assert read(line.replace(b"-1", b"1")).events["other_tid"].tolist() == [1]
    assert read(b" init-1 [000] 1.0: sched_waking: comm=y pid=2 prio=1 target_cpu=1\n").events[
        "other_tid"
    ] == [1]


def test_the_last_name_of_a_task_counts():
    line = b"x 1 [003]  %d.000001: sched:sched_waking: comm=%b pid=2 prio=120 target_cpu=001\n"
    trace = read(line % (1, b"first") + line % (5, b"a=last") + line % (3, b"middle"))
    assert trace.tasks["comm"].to_list() == ["a=last"]


def test_perf_script_says_what_happened():
    trace = read(PERF_SCRIPT)
    first, last = trace.events[0], trace.events[-1]
    assert (first["timestamp_ns"], first["cpu"]) == (1853582371345, 0)
    assert (first["tid"], first["other_tid"], first["prio"], first["other_prio"]) == (18264, 18, 120, 0)
    assert (first["prev_state"], last["prev_state"]) == (PrevState.BLOCKED, PrevState.PREEMPTED)
    moved = trace.events[trace.events["type"] == EventType.MIGRATE][0]
    assert (moved["tid"], moved["orig_cpu"], moved["target_cpu"], moved["other_tid"]) == (18264, 0, 1, 18)
    names = dict(zip(trace.tasks["tid"].to_list(), trace.tasks["comm"].to_list(), strict=True))
    assert names == {18264: "perf", 18: "migration/0", 0: "swapper/0", 18266: "perf-exec", 18270: "perf-exec"}
    assert dict(zip(trace.tasks["tid"], trace.tasks["tgid"], strict=True))[18264] == 18264


def test_ftrace_says_what_happened_and_what_was_lost():
    trace = read(FTRACE)
    kinds = [EventType(kind).name for kind in trace.events["type"]]
    assert kinds == ["FORK", "WAKEUP_NEW", "WAKING", "WAKEUP", "SWITCH", "SWITCH", "EXEC", "EXIT", "WAKEUP"]
    assert trace.events["timestamp_ns"][0] == 3562049722000
    assert trace.events["other_tid"][2] == 11251
    assert trace.nr_lost == 42
    assert "my prog" in trace.tasks["comm"].to_list()


@pytest.mark.parametrize(
    "comm",
    [
        "a b",
        "a=b",
        "x ==> y",
        "prev_pid=1",
        " next_pid=9",
        "[001] 1.5: x",
        "sched_switch: ",
        "é",
        "$(rm -r)",
        "=",
        ":",
    ],
)
def test_a_name_can_not_pass_for_a_field(comm):
    name = comm.encode()
    line = (
        b" %b-7 [002] d..2. 5.000001: sched_switch: prev_comm=%b prev_pid=7 prev_prio=120 prev_state=S ==> "
    )
    line += b"next_comm=%b next_pid=8 next_prio=98\n"
    trace = read(line % (name, name, name))
    event = trace.events[0]
    assert (event["tid"], event["other_tid"], event["other_prio"], event["cpu"]) == (7, 8, 98, 2)
    assert event["timestamp_ns"] == 5_000_001_000


@pytest.mark.parametrize("seconds", [b"0", b"7", b"1234567", b"12345678", b"123456789", b"1795229770"])
@pytest.mark.parametrize(
    ("fraction", "nanoseconds"), [(b"000001", 1000), (b"000000001", 1), (b"5", 5 * 10**8)]
)
def test_times_of_any_length_are_read(seconds, fraction, nanoseconds):
    line = b"x 1 [003]  %b.%b: sched:sched_waking: comm=y pid=2 prio=120 target_cpu=001\n" % (
        seconds,
        fraction,
    )
    assert read(line).events["timestamp_ns"].tolist() == [int(seconds) * 10**9 + nanoseconds]


@pytest.mark.parametrize("cpu", [b"000", b"015", b"128", b"1023", b"4095"])
@pytest.mark.parametrize("tid", [b"1", b"99999", b"4194304"])
def test_large_machines_are_read(cpu, tid):
    line = b"x %b [%b] 1.000000: sched_wakeup: comm=y pid=%b prio=-1 target_cpu=%b\n" % (tid, cpu, tid, cpu)
    event = read(line).events[0]
    assert (event["cpu"], event["target_cpu"]) == (int(cpu), int(cpu))
    assert (event["tid"], event["other_tid"], event["prio"]) == (int(tid), int(tid), -1)


def test_a_last_line_without_an_end_is_read():
    assert len(read(PERF_SCRIPT.rstrip(b"\n")).events) == len(read(PERF_SCRIPT).events)


def test_lines_over_the_edge_of_a_chunk_are_read(monkeypatch):
    monkeypatch.setattr(sched_text, "CHUNK_BYTES", 700)
    assert np.array_equal(read(PERF_SCRIPT * 20).events, in_order(line_by_line(PERF_SCRIPT * 20)))


def test_lines_that_should_be_events_and_are_not_are_counted():
    bad = b"x 1 [003]  7.000001: sched:sched_waking: comm=y pid=many prio=120 target_cpu=001\n"
    assert read(bad + PERF_SCRIPT).manifest["nr_unread"] == 1


@pytest.mark.parametrize("text", [b"", b"\n\n", b"hello\n", b"# tracer: nop\n", PERF_SCRIPT[:60]])
def test_text_without_events_is_refused(text):
    with pytest.raises(TraceError, match="no scheduler events"):
        read(text)


def test_an_endless_line_is_refused(monkeypatch):
    monkeypatch.setattr(sched_text, "CHUNK_BYTES", 1_000)
    with pytest.raises(TraceError, match="longer than 1000 bytes"):
        read(b"x" * 5_000)
