import io
import time

import numpy as np
import pytest
from tests.unit.trace.formats.texts import FTRACE, PERF_SCRIPT, TRACE_CMD

from schedtuna.errors import TraceError
from schedtuna.trace.formats import sched_text
from schedtuna.trace.formats.sched_line import parse_line, state_of
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


SWITCH = b" x-7 [%03d] d..2. %d.000000: sched_switch: prev_comm=x prev_pid=7 prev_prio=1 prev_state=%b ==> "
SWITCH += b"next_comm=y next_pid=8 next_prio=1\n"


def switch(cpu, seconds, state=b"S"):
    return SWITCH % (cpu, seconds, state)


def places(trace):
    losses = sorted(trace.losses, key=lambda loss: (loss.cpu, loss.first_ns))
    return [
        (loss.nr_lost, loss.cpu, loss.first_ns // 10**9, loss.last_ns and loss.last_ns // 10**9)
        for loss in losses
    ]


def test_a_loss_is_between_the_events_of_its_cpu():
    text = (
        switch(0, 1) + switch(1, 2) + b"CPU:0 [LOST 7 EVENTS]\n" + switch(1, 3) + switch(0, 4) + switch(0, 5)
    )
    assert places(read(text)) == [(7, 0, 1, 4)]


@pytest.mark.parametrize("chunk_bytes", [170, 400, 1 << 22])
def test_losses_keep_their_places_over_chunks(monkeypatch, chunk_bytes):
    monkeypatch.setattr(sched_text, "CHUNK_BYTES", chunk_bytes)
    text = b"CPU:1 [EVENTS DROPPED]\n" + switch(0, 1) + switch(0, 2) + switch(1, 3) + switch(0, 4)
    text += b"CPU:1 [2 EVENTS DROPPED]\nCPU:1 [3 EVENTS DROPPED]\n" + switch(0, 5) + switch(0, 6)
    text += b"CPU:0 [LOST EVENTS]\n" + switch(1, 7)
    assert places(read(text)) == [(None, 0, 6, None), (None, 1, 0, 3), (5, 1, 3, 7)]


def test_what_can_not_be_read_keeps_its_cpu_and_time():
    text = switch(0, 1) + switch(1, 2, b"?") + switch(0, 3) + switch(1, 4) + switch(0, 5, b"0x1001")
    trace = read(text)
    assert places(trace) == [(1, 0, 5, None), (1, 1, 2, 4)]
    assert all(loss.is_unread for loss in trace.losses)
    assert "prev_state=?" in trace.manifest["unread_example"]


@pytest.mark.parametrize(
    ("line", "begin"),
    [
        (b"##### CPU 1 buffer started ####", "apart"),
        (b"# entries-in-buffer/entries-written: 205/205   #P:2", "together"),
        (b"# entries-in-buffer/entries-written: 205/90000   #P:2", "apart"),
        (b"overrun: 12", "apart"),
        (b"overrun: 0", None),
    ],
)
def test_text_says_how_the_cpus_buffers_begin(line, begin):
    assert read(line + b"\n" + switch(0, 1)).manifest.get("cpus_begin") == begin


@pytest.mark.parametrize(
    "line",
    [
        b"     app-7 [000] d..2. 1.500000: tracing_mark_write: lost 3 events",
        b"# overrun: 12",
        b"dropped events: 0",
        b"    ffffffff8110 host_cost+0x1 ([kernel.kallsyms])",
        b" x-7 [000] d..2. 1.500000: sched_stat_runtime: comm=sched_switch: pid=7 runtime=1 [ns]",
        b" [LOST 7 EVENTS]-7 [000] 1.500000: sched_stat_wait: comm=[LOST 7 EVENTS] pid=7 delay=3 [ns]",
    ],
)
def test_what_is_not_a_mark_of_lost_events_is_none(line):
    assert not read(switch(0, 1) + line + b"\n" + switch(0, 2)).losses


@pytest.mark.parametrize(
    ("text", "state"),
    [
        (b"R", PrevState.RUNNABLE), (b"R+", PrevState.PREEMPTED), (b"S+", PrevState.PREEMPTED),
        (b"0", PrevState.RUNNABLE), (b"0x0", PrevState.RUNNABLE), (b"256", PrevState.PREEMPTED),
        (b"0x1000", PrevState.PREEMPTED), (b"1", PrevState.SLEEPING), (b"2", PrevState.BLOCKED),
        (b"4", PrevState.STOPPED), (b"8", PrevState.STOPPED), (b"16", PrevState.DEAD),
        (b"0x20", PrevState.DEAD), (b"64", PrevState.IDLE), (b"0x80", PrevState.IDLE),
        (b"1026", PrevState.IDLE), (b"130", PrevState.BLOCKED),
        (b"D|W", PrevState.BLOCKED), (b"D|0x400", PrevState.BLOCKED), (b"t", PrevState.STOPPED),
        (b"P", PrevState.IDLE), (b"X", PrevState.DEAD), (b"0x101", None), (b"2049", None), (b"?", None),
        (b"Sleeping", None), (b"-1", None), (b"", None), (b"0x", None), (b"S|?", None),
    ],
)  # fmt: skip
def test_states_are_read_as_letters_and_as_numbers(text, state):
    trace = read(switch(0, 1) + switch(0, 2, text))
    assert state_of(text) == state
    assert [PrevState(one) for one in trace.events["prev_state"][1:]] == ([] if state is None else [state])
    assert trace.is_incomplete == (state is None)


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


@pytest.mark.parametrize(
    "text",
    [
        b"sched_switch: " + b"prev_comm=a prev_pid=1 prev_prio=1 prev_state=S ==> next_comm=b " * 6_000,
        b"sched_process_fork: " + b"comm=a pid=1 child_comm=b " * 15_000,
        b"sched_switch: " + b"a:1 [1] S ==> b " * 25_000,
    ],
    ids=["switch", "fork", "plugin"],
)
def test_a_line_of_repeated_fields_takes_no_forever_and_counts_as_unread(text):
    began = time.process_time()
    trace = read(PERF_SCRIPT + b"perf 1/1 [000]  1853.6: sched:" + text + b"\n")
    assert time.process_time() - began < 20
    assert [loss.is_unread for loss in trace.losses] == [True]
    assert np.array_equal(trace.events, read(PERF_SCRIPT).events)
