"""One story, told by many tools and versions: each telling gives its figures, or says what is missing."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedtuna.errors import IncompleteTraceError
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.formats import sched_text, simpleperf
from schedtuna.trace.formats.sink import Collector

# (microseconds, CPU, current tid, event, tid, its state or target CPU, who comes). `app` (101) runs for 2 ms
# on CPU 0, wakes `worker` (202), which runs for 3 ms on CPU 1; later it runs for 1 ms, is preempted by `kthr`
# (30) for 500 us, and runs for another 1 ms.
STORY = [
    (0, 0, 0, "wakeup", 101, 0, None),
    (50, 0, 0, "switch", 0, "R", 101),
    (1050, 0, 101, "wakeup", 202, 1, None),
    (1080, 1, 0, "switch", 0, "R", 202),
    (2050, 0, 101, "switch", 101, "S", 0),
    (4080, 1, 202, "switch", 202, "S", 0),
    (5000, 0, 0, "wakeup", 101, 0, None),
    (5100, 0, 0, "switch", 0, "R", 101),
    (6100, 0, 101, "switch", 101, "R+", 30),
    (6600, 0, 30, "switch", 30, "I", 101),
    (7600, 0, 101, "switch", 101, "S", 0),
]
CPU_TIME_NS = {"app": 4_000_000, "worker": 3_000_000, "kthr": 500_000}
LATENCIES_NS = [30_000, 50_000, 100_000]
COMMS = {101: "app", 202: "worker", 30: "kthr"}

STATES = {
    "R": ("R", "0", "0x0"),
    "S": ("S", "1", "0x1", "S|0x400"),
    "R+": ("R+", "256", "0x100", "0x1000", "2048", "S+", "D|K+"),
    "I": ("I", "128", "0x80", "1026", "D", "2", "P", "64", "D|W"),
}
EXTRA = (b"state=W", b"success=1", b"reason=0", b"group_dead=false", b"vendor_flag=0x1f", b"prev_wchan=123")
FLAGS = (b"", b"d..2. ", b"dN.2 ", b"..... ", b"d..2.. ", b"d..3 ", b"D.Zff. ", b"d.h2.. ")
MARKS = (
    b"CPU:1 [LOST 7 EVENTS]",
    b"CPU:0 [LOST EVENTS]",
    b"CPU:1 [40 EVENTS DROPPED]",
    b"CPU:0 [EVENTS DROPPED]",
    b"[LOST 3 EVENTS]",
    b"   app   101/101   [000] 100.003000: PERF_RECORD_LOST lost 5",
    b"   app   101/101   [001] 100.003000: PERF_RECORD_LOST_SAMPLES lost 5",
    b"Processed 11 events and lost 2 chunks!",
    b"warning: 12 events dropped",
)
NO_STATES = (b"?", b"0x1001", b"2049", b"u", b"Sleeping", b"", b"-1")


@dataclass(frozen=True)
class Telling:
    """How a tool, of a version, prints events."""

    tool: str  # ftrace, perf, raw (trace-cmd report -R), plugin (trace-cmd's own fields), or of `ODD`
    flags: bytes
    spaces: bytes
    states: dict[str, str]
    extra: tuple[bytes, ...]
    shuffled: int  # a seed; 0: the usual order
    tail: bytes


@st.composite
def tellings(draw) -> Telling:
    tool = draw(st.sampled_from(["ftrace", "perf", "raw", "plugin", *ODD]))
    plain = tool == "plugin"
    return Telling(
        tool,
        b"" if tool == "perf" else draw(st.sampled_from(FLAGS[1:] if tool == "latency" else FLAGS)),
        draw(st.sampled_from([b" ", b"  ", b"          "])),
        {
            state: state if tool == "fields" else draw(st.sampled_from(spellings))
            for state, spellings in STATES.items()
        },
        () if plain else tuple(draw(st.lists(st.sampled_from(EXTRA), max_size=3, unique=True))),
        0 if plain else draw(st.integers(0, 3)),
        draw(st.sampled_from([b"", b" ", b"\r"])),
    )


def comm(tid: int, cpu: int) -> bytes:
    return COMMS.get(tid, f"swapper/{cpu}").encode()


COMM_FIELDS = (b"comm", b"prev_comm", b"next_comm")


def both(value: bytes) -> bytes:
    number = {b"R": 0, b"S": 1, b"R+": 256, b"I": 128}.get(value)
    return b"0x%x (%d)" % ((int(value), int(value)) if number is None else (number, number))


def fields_of(row, how: Telling) -> bytes:
    _, cpu, _, event, tid, what, who = row
    if how.tool == "plugin":
        name = comm(tid, cpu)
        if event == "wakeup":
            return b"%b:%d [120] CPU:%03d" % (name, tid, what)
        return b"%b:%d [120] %b ==> %b:%d [120]" % (
            name, tid, how.states[what].encode(), comm(who, cpu), who,
        )  # fmt: skip
    if event == "wakeup":
        pairs = [(b"comm", comm(tid, cpu)), (b"pid", b"%d" % tid), (b"prio", b"120")]
        pairs.append((b"target_cpu", b"%03d" % what))
        arrow = None
    else:
        pairs = [(b"prev_comm", comm(tid, cpu)), (b"prev_pid", b"%d" % tid), (b"prev_prio", b"120")]
        pairs.append((b"prev_state", how.states[what].encode()))
        arrow = len(pairs)
        pairs += [(b"next_comm", comm(who, cpu)), (b"next_pid", b"%d" % who), (b"next_prio", b"120")]
    if how.tool == "fields":  # the option of ftrace: numbers of all kinds in both bases, and no arrow
        arrow = None
        pairs = [(name, both(value) if name not in COMM_FIELDS else value) for name, value in pairs]
    words = [b"%b=%b" % pair for pair in pairs]
    extra = [word for word in how.extra if not (event == "switch" and word.startswith(b"prev_"))]
    if how.shuffled == 1:
        words = [*extra, *reversed(words)]
    elif how.shuffled == 2:
        words = [*words[:2], *extra, *words[2:]]
    elif how.shuffled == 3:
        words = [*words[1:], *extra, words[0]]
    else:
        if arrow is not None and how.tool != "raw":
            words.insert(arrow, b"==>")
        words += extra
    return b" ".join(words)


# What options print: trace-cmd report -l and --ts-diff, ftrace's record-tgid and verbose latency format, perf
# script with other fields.
ODD = (
    "latency", "ts-diff", "tgid", "verbose", "perf -F +period,misc", "perf -F -comm", "perf -F +ip",
    "perf -F +ip,sym", "fields",
)  # fmt: skip
ADDRESS = b" ffffffff813a89c4"


def head_of(row, how: Telling, name: bytes, at: bytes) -> bytes:
    time, cpu, current, *_ = row
    task = b"%16b-%-7d" % (name, current)
    if how.tool == "latency":
        return b"%b %5d%b%b:" % (task, cpu, how.flags, at)
    if how.tool == "verbose":
        us = 100 * 10**6 + time
        return b"%16b %7d %3d 1 00000002 00000003 [%08x] %d.%03dms (+0.006ms):" % (
            name, current, cpu, us, time // 1000, time % 1000,
        )  # fmt: skip
    if how.tool == "perf -F +period,misc":
        return b"%16b %d [%03d] K     %b:          1" % (name, current, cpu, at)
    if how.tool == "perf -F -comm":
        return b"%5d/%-5d [%03d] %b:" % (current, current, cpu, at)
    if how.tool.startswith("perf -F +ip"):
        return b"%16b %d [%03d] %b:" % (name, current, cpu, at)
    tgid = b"(%7d) " % current if how.tool == "tgid" else b""
    difference = b" (+%d)" % (time % 977) if how.tool == "ts-diff" else b""
    return b"%b %b[%03d] %b%b:%b" % (task, tgid, cpu, how.flags, at, difference)


def tell(row, how: Telling) -> bytes:
    time, cpu, current, event, *_ = row
    name = comm(current, cpu) if current else b"<idle>"
    at = b"%d.%06d" % (100 + time // 10**6, time % 10**6)
    if how.tool in ODD:
        prefix = b"sched:" if how.tool.startswith("perf") else b""
        address = {"perf -F +ip": ADDRESS, "perf -F +ip,sym": ADDRESS + b" try_to_wake_up"}.get(how.tool, b"")
        head = b"%b %bsched_%b:" % (head_of(row, how, name, at), prefix, event.encode())
        return head + how.spaces + fields_of(row, how) + address + how.tail
    if how.tool == "perf":
        head = b"%16b %d/%d [%03d] %b: sched:sched_%b:" % (name, current, current, cpu, at, event.encode())
    else:
        head = b"%16b-%-7d [%03d] %b%b: sched_%b:" % (name, current, cpu, how.flags, at, event.encode())
    return head + how.spaces + fields_of(row, how) + how.tail


def read(lines: list[bytes]):
    collector = Collector({"imported_from": {"format": "ftrace"}})
    sched_text.parse(io.BytesIO(b"\n".join(lines) + b"\n"), collector)
    return collector.trace()


def check_story(analysis: Analysis) -> None:
    rows = analysis.by("comm")
    assert dict(zip(rows.names, rows.columns["cpu_time_ns"].tolist(), strict=True)) == CPU_TIME_NS
    values = analysis.measured.values
    assert sorted(values["wakeup_latency"].value_ns.tolist()) == LATENCIES_NS
    assert values["preempt_delay"].value_ns.tolist() == [500_000]


@settings(max_examples=250, deadline=None)
@given(how=tellings())
def test_every_telling_gives_the_same_figures(how) -> None:
    trace = read([tell(row, how) for row in STORY])
    assert not trace.is_incomplete
    check_story(Analysis(trace))


@settings(max_examples=200, deadline=None)
@given(how=tellings(), data=st.data())
def test_simpleperf_tells_an_event_in_several_lines(how, data) -> None:
    """report_sample.py of now (PID/TID) and of Python 2, with call chains, other events and common fields."""
    raw = replace(how, tool="raw", tail=b"")
    pid, gap = data.draw(st.sampled_from([(b"%d/", b" "), (b"", b"\t\t")]))
    end = data.draw(st.sampled_from([b"", b"\r"]))
    lines = [b"# ========", b"# cmdline : simpleperf record -a", b"# ========"]
    for row in STORY:
        time, cpu, current, event, *_ = row
        who = comm(current, cpu) + b"\t" + (pid % current if pid else b"") + b"%d" % current
        head = b"%b [%03d] %d.%06d:%b1 %%b:" % (who, cpu, 100 + time // 10**6, time % 10**6, gap)
        if data.draw(st.booleans()):
            lines += [
                head % b"cpu-cycles:u",
                b"\t      1f main (/bin/app)",
                b"",
            ]
        lines.append(head % (b"sched:sched_" + event.encode()))
        lines += [b"\tffffffc010203040 __schedule ([kernel.kallsyms])"] * data.draw(st.integers(0, 3))
        lines += [b"\ttracing data:", b"\t\tcommon_pid : %d" % current, b"\t\tcommon_flags : 1"]
        lines += [b"\t\t" + word.replace(b"=", b" : ", 1) for word in fields_of(row, raw).split(b" ")]
        lines.append(b"")
    collector = Collector()
    simpleperf.parse_simpleperf(io.BytesIO(b"".join(line + end + b"\n" for line in lines)), collector)
    trace = collector.trace()
    assert not trace.is_incomplete
    check_story(Analysis(trace))


@settings(max_examples=50, deadline=None)
@given(hows=st.lists(tellings(), min_size=len(STORY), max_size=len(STORY)))
def test_lines_of_all_kinds_may_be_mixed(hows) -> None:
    check_story(Analysis(read([tell(row, how) for row, how in zip(STORY, hows, strict=True)])))


@settings(max_examples=100, deadline=None)
@given(how=tellings(), mark=st.sampled_from(MARKS), place=st.integers(0, len(STORY)))
def test_a_mark_of_lost_events_is_never_passed_over(how, mark, place) -> None:
    lines = [tell(row, how) for row in STORY]
    lines.insert(place, mark)
    trace = read(lines)
    assert trace.is_incomplete
    with pytest.raises(IncompleteTraceError, match="lost while this was recorded"):
        Analysis(trace)
    Analysis(trace, allow_lost=True)


def damaged(line: bytes, how: int, state: bytes) -> bytes:
    """A line that is still of its event, but can't be read."""
    if how == 0 and b"prev_state=" in line:
        head, _, rest = line.partition(b"prev_state=")
        return head + b"prev_state=" + state + rest[rest.find(b" ") :] if b" " in rest else head
    if how == 1:
        return line.replace(b"pid=", b"pid=x")
    if how == 2:
        return line.replace(b"pid=", b"nr=")
    return line[: line.rindex(b": ") + 1] + b" (cut"


@settings(max_examples=100, deadline=None)
@given(
    how=tellings().filter(lambda how: how.tool != "plugin"),
    place=st.integers(0, len(STORY) - 1),
    damage=st.integers(0, 3),
    state=st.sampled_from(NO_STATES),
)
def test_an_event_that_can_not_be_read_counts_as_lost(how, place, damage, state) -> None:
    lines = [tell(row, how) for row in STORY]
    lines[place] = damaged(lines[place], damage, state)
    trace = read(lines)
    if not trace.is_incomplete:  # it was not damaged enough: then it says what it said
        check_story(Analysis(trace))
        return
    (loss,) = trace.losses
    assert loss.is_unread
    assert (loss.nr_lost, loss.cpu) == (1, STORY[place][1])
    assert loss.first_ns == 100 * 10**9 + STORY[place][0] * 1000
    assert trace.manifest["nr_unread"] == 1
    with pytest.raises(IncompleteTraceError, match="can't be read"):
        Analysis(trace)


def test_a_window_beside_a_loss_is_as_good_as_ever() -> None:
    usual = Telling("ftrace", b"d..2. ", b" ", {state: state for state in STATES}, (), 0, b"")
    lines = [tell(row, usual) for row in STORY]
    lines.insert(4, b"CPU:0 [LOST 7 EVENTS]")
    trace = read(lines)
    values = Analysis(trace, window_s=(0.0045, 1)).measured.values
    assert values["wakeup_latency"].value_ns.tolist() == [100_000]
    assert values["preempt_delay"].value_ns.tolist() == [500_000]
    assert Analysis(trace, window_s=(0, 0.001)).overall()["wakeup_latency_count"] == 1
    for touching in ((0.0015, 1), (0, 0.002), (0.0011, 0.0012)):
        with pytest.raises(IncompleteTraceError, match="7 events"):
            Analysis(trace, window_s=touching)
