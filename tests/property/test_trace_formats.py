"""Any bytes give a Trace or a TraceError; text of any names gives what the plain parser gives."""

import io
import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.trace.formats.perf_files import PerfFile
from tests.unit.trace.formats.test_perf_data import RECORDS
from tests.unit.trace.formats.test_sar import FILE, MPSTAT_T, SADF
from tests.unit.trace.formats.test_sched_stats import ONE_CPU
from tests.unit.trace.formats.test_timehist import TEXT
from tests.unit.trace.formats.texts import (
    DSTAT,
    FTRACE,
    PERF_SCRIPT,
    PIDSTAT,
    PIDSTAT_H,
    SIMPLEPERF,
    TRACE_CMD,
    VMSTAT_T,
)

from schedtuna.errors import TraceError
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.formats import (
    dstat,
    json_lines,
    perf_data,
    pidstat,
    sar,
    sched_stats,
    sched_text,
    simpleperf,
    timehist,
    vmstat,
)
from schedtuna.trace.formats.sched_line import parse_line
from schedtuna.trace.formats.sink import Collector

JSONL = b"\n".join(
    json.dumps(row).encode()
    for row in (
        {"kind": "event", "type": "SWITCH", "timestamp_ns": 5, "tid": 3, "other_tid": 4, "cpu": 1},
        {"kind": "task", "tid": 3, "comm": "x"},
        {"kind": "system", "timestamp_ns": 9, "load": 1.5},
        {"kind": "loss", "nr_lost": 3},
        {"kind": "cgroup", "id": 1, "path": "/a"},
    )
)
READERS = {
    "sched_text": (sched_text.parse, [PERF_SCRIPT, FTRACE, TRACE_CMD]),
    "vmstat": (vmstat.parse_vmstat, [VMSTAT_T]),
    "pidstat": (pidstat.parse_pidstat, [PIDSTAT, PIDSTAT_H]),
    "dstat": (dstat.parse_dstat, [DSTAT]),
    "sar": (sar.parse_sar, [FILE.encode(), MPSTAT_T.encode()]),
    "sadf": (sar.parse_sadf, [SADF.encode()]),
    "sched_stats": (sched_stats.parse_sched_stats, [ONE_CPU.encode()]),
    "simpleperf": (simpleperf.parse_simpleperf, [SIMPLEPERF]),
    "timehist": (timehist.parse_timehist, [TEXT.encode()]),
    "jsonl": (json_lines.parse, [JSONL]),
}
PIECES = st.sampled_from(
    [
        *(
            b"\n",
            b" ",
            b"=",
            b"[000]",
            b": ",
            b"sched_switch: ",
            b"==>",
            b"-1",
            b"99999999999999999999",
            b"1e999",
        ),
        *(
            b"nan",
            b"\x00",
            b"\xff\xfe",
            b'"',
            b",",
            b"{",
            b"}",
            b"prev_pid=",
            b"Average:",
            b"2026-13-45",
            b"epoch",
        ),
    ]
)


@st.composite
def damaged(draw, texts):
    """A text in which some places are cut, doubled, or replaced."""
    data = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 40)))
        data = data[:at] + draw(PIECES | st.binary(max_size=12) | st.just(data[at:end] * 2)) + data[end:]
    return data


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_bytes_give_a_trace_or_a_trace_error(name, data):
    parse, texts = READERS[name]
    text = data.draw(damaged(texts) | st.binary(max_size=300))
    collector = Collector()
    try:
        parse(io.BytesIO(text), collector)
        trace = collector.trace()
        _ = trace.tasks, trace.sample_frames
        if trace.has_events:
            Analysis(trace, allow_lost=True).overall()
    except TraceError as error:
        message = str(error)
    else:
        message = ""
    assert message.isprintable() or not message


PERF_DATA = PerfFile(RECORDS, features={7: bytes([8, 0, 0, 0, 4, 0, 0, 0]), 29: bytes(24)}).build()


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_perf_data_gives_a_trace_or_a_trace_error(data, tmp_path):
    """Numbers that say how long, how many and where are replaced, most of all in the header."""
    changed = bytearray(PERF_DATA)
    for _ in range(data.draw(st.integers(0, 5))):
        at = data.draw(st.integers(0, 250) | st.integers(0, len(changed) - 8))
        value = data.draw(
            st.sampled_from([0, 1, 7, 255, 1 << 16, 1 << 31, (1 << 63) - 1, (1 << 64) - 1])
            | st.integers(0, 600)
        )
        size = data.draw(st.sampled_from([1, 2, 4, 8]))
        changed[at : at + size] = value.to_bytes(8, "little")[:size]
    path = tmp_path / "perf.data"
    path.write_bytes(changed[: data.draw(st.just(len(changed)) | st.integers(0, len(changed)))])
    collector = Collector()
    try:
        perf_data.parse(path, collector)
        trace = collector.trace()
        assert trace.tasks.height
        if trace.has_events:
            Analysis(trace, allow_lost=True).overall()
    except TraceError as error:
        message = str(error)
    else:
        message = ""
    assert message.isprintable() or not message


NAME = (
    st.text(min_size=1, max_size=15)
    .map(str.encode)
    .map(lambda name: name[:15])
    .filter(lambda n: b"\n" not in n)
)


@settings(max_examples=150, deadline=None)
@given(comms=st.lists(NAME, min_size=1, max_size=5), data=st.data())
def test_any_names_are_read_as_line_by_line(comms, data):
    name = st.sampled_from(comms)
    lines = []
    for k in range(data.draw(st.integers(1, 6))):
        prev, following = data.draw(name), data.draw(name)
        lines.append(
            b"%16b %5d [%03d] %5d.%06d: sched:sched_switch: prev_comm=%b prev_pid=%d prev_prio=120 "
            b"prev_state=R+ ==> next_comm=%b next_pid=%d next_prio=99\n"
            % (prev, 10 + k, k, data.draw(st.integers(0, 10**9)), k, prev, 10 + k, following, 20 + k)
        )
    expected = [parse_line(line[:-1]) for line in lines]
    collector = Collector()
    try:
        sched_text.parse(io.BytesIO(b"".join(lines)), collector)
    except TraceError:
        assert expected == [None] * len(lines)
        return
    events = np.concatenate([line.event for line in expected if line is not None])
    assert np.array_equal(collector.trace().events, events[np.argsort(events["timestamp_ns"], kind="stable")])
