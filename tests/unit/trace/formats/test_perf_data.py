import ctypes
import struct
from itertools import chain

import numpy as np
import pytest
from tests.unit.trace.formats import perf_files as pf
from tests.unit.trace.formats.perf_files import ROUND, Attr, PerfFile, sample, switch_raw, wakeup_raw

from schedtuna.errors import IncompleteTraceError, TraceError, UnavailableError
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.formats import perf_data, tools, zstd
from schedtuna.trace.formats.event_formats import UnreadableError, read_format
from schedtuna.trace.formats.sink import Collector
from schedtuna.trace.schema import EventType, PrevState

RECORDS = [
    pf.comm(7, b"seven", tgid=5, time=50),
    sample(100, wakeup_raw(8, 1), id_=3),
    sample(120, switch_raw(7, 8, 0x100), id_=1),
    sample(140, pf.fork_raw(8, 9), id_=5, tid=8),
    sample(110, switch_raw(0, 7), id_=2, cpu=1, tid=0, tgid=0),
    ROUND,
    sample(150, switch_raw(8, 0), id_=1, tid=8),
]


def load(tmp_path, file):
    path = tmp_path / "perf.data"
    path.write_bytes(file if isinstance(file, bytes) else file.build())
    collector = Collector()
    perf_data.parse(path, collector)
    return collector.trace()


def test_events_are_read_in_time_order(tmp_path):
    trace = load(tmp_path, PerfFile(RECORDS))
    events = trace.events
    assert events["timestamp_ns"].tolist() == [100, 110, 120, 140, 150]
    assert [EventType(kind).name for kind in events["type"]] == [
        "WAKEUP",
        "SWITCH",
        "SWITCH",
        "FORK",
        "SWITCH",
    ]
    wakeup, first, preempted, fork, slept = events
    assert (wakeup["tid"], wakeup["other_tid"], wakeup["target_cpu"], wakeup["prio"]) == (8, 7, 1, 120)
    assert (first["tid"], first["other_tid"], first["cpu"], first["other_prio"]) == (0, 7, 1, 98)
    assert (preempted["prev_state"], preempted["aux"]) == (PrevState.PREEMPTED, 0x100)
    assert (fork["tid"], fork["other_tid"]) == (9, 8)
    assert slept["prev_state"] == PrevState.SLEEPING
    assert trace.manifest["nr_unread"] == 0
    assert Analysis(trace).overall()["nr_switches"] == 2


def test_the_last_name_of_a_task_counts(tmp_path):
    trace = load(
        tmp_path, PerfFile([*RECORDS, pf.comm(7, b"late", tgid=5, time=160), pf.comm(3, b"idle one")])
    )
    tasks = {row["tid"]: (row["comm"], row["tgid"]) for row in trace.tasks.iter_rows(named=True)}
    assert tasks == {7: ("late", 5), 8: ("one", 7), 9: ("child", 0), 0: ("two", 0), 3: ("idle one", 0)}


def test_rounds_are_put_in_order_over_their_ends(tmp_path, monkeypatch):
    """CPU 1 is read after CPU 0: what CPU 0 has later than that comes in the next round."""
    times = [[10, 30], [5, 20, 25], [40, 60], [35, 50], [70], [65, 80]]
    records = []
    for nr, of_cpu in enumerate(times):
        records += [sample(time, switch_raw(1, 2), id_=1, cpu=nr % 2) for time in of_cpu]
        records += [ROUND] * (nr % 2)
    written = []
    sink = Collector()
    monkeypatch.setattr(sink, "write_events", lambda events: written.append(events["timestamp_ns"].tolist()))
    monkeypatch.setattr(perf_data, "CHUNK_BYTES", 64)
    path = tmp_path / "perf.data"
    path.write_bytes(PerfFile(records).build())
    perf_data.parse(path, sink)
    assert len(written) > 1
    assert list(chain(*written)) == sorted(chain(*times))


@pytest.mark.parametrize(
    ("sample_type", "read_format", "between"),
    [
        (pf.CALL_CHAIN, 0, struct.pack("<QQQ", 2, 11, 12)),
        (pf.READ, 0, struct.pack("<Q", 1)),
        (pf.READ, 1 | 2 | 4 | 16, struct.pack("<QQQQQ", 1, 2, 3, 4, 5)),
        (pf.READ, 1 | 4 | 8, struct.pack("<QQQQQQ", 2, 9, 1, 2, 3, 4)),
        (pf.READ | pf.CALL_CHAIN, 8 | 16, struct.pack("<QQQQQ", 1, 1, 2, 1, 9)),
    ],
)
def test_what_else_was_sampled_is_skipped(tmp_path, sample_type, read_format, between):
    attr = Attr(372, (1,), sample_type=pf.USUAL | sample_type, read_format=read_format)
    records = [sample(5, switch_raw(1, 2), id_=1, between=between)]
    assert load(tmp_path, PerfFile(records, [attr])).events["other_tid"].tolist() == [2]


def test_one_event_needs_no_ids(tmp_path):
    attr = Attr(372, (), sample_type=pf.TID | pf.TIME | pf.CPU | pf.RAW, flags=0)
    raw = switch_raw(1, 2) + bytes(4)
    body = struct.pack("<IIQIII", 1, 1, 5, 3, 0, len(raw)) + raw
    event = load(tmp_path, PerfFile([pf.record(9, body)], [attr])).events[0]
    assert (event["cpu"], event["tid"], event["other_tid"]) == (3, 1, 2)


def test_a_task_that_is_gone_is_nobody(tmp_path):
    trace = load(tmp_path, PerfFile([sample(5, wakeup_raw(8), id_=3, tid=-1, tgid=-1)]))
    assert trace.events["other_tid"].tolist() == [0]


@pytest.mark.parametrize(
    ("flags", "clockid", "clock"),
    [
        (0, 0, "local"),
        (pf.USE_CLOCKID, 1, "monotonic"),
        (pf.USE_CLOCKID, 7, "boottime"),
        (pf.USE_CLOCKID, 0, "realtime"),
    ],
)
def test_the_clock_is_told(tmp_path, flags, clockid, clock):
    attr = Attr(372, (1,), flags=pf.SAMPLE_ID_ALL | flags, clockid=clockid)
    parts = {7: struct.pack("<II", 8, 4), 29: struct.pack("<IIQQ", 1, clockid, 5_000, 2_000)}
    manifest = load(tmp_path, PerfFile([sample(5, switch_raw(1, 2), id_=1)], [attr], features=parts)).manifest
    assert (manifest["clock"], manifest["nr_cpus"]) == (clock, 4)
    if clock == "monotonic":
        assert manifest["clock_offsets"] == {"at_ns": 2_000, "realtime_ns": 3_000}
    else:
        assert "clock_offsets" not in manifest


def test_losses_are_placed_and_counted_once(tmp_path):
    """LOST says where, of all events; LOST_SAMPLES how many of each event, those of LOST among them."""
    records = [*RECORDS, pf.lost(4, 170, cpu=1), pf.lost_samples(6, id_=2), pf.lost_samples(9, id_=6)]
    losses = load(tmp_path, PerfFile(records)).losses
    assert [(loss.nr_lost, loss.cpu, loss.first_ns, loss.last_ns) for loss in losses] == [
        (4, 1, 110, 170),
        (2, -1, 0, None),
    ]


def test_states_are_those_that_the_format_prints():
    """Before Linux 4.14, `+` was bit 11."""
    old = pf.SWITCH_FORMAT.partition("print fmt:")[0] + (
        'print fmt: "", REC->prev_state & (2048-1) ? __print_flags(REC->prev_state & (2048-1), "|", '
        '{ 1, "S"} , { 2, "D" }, { 4, "T" }, { 8, "t" }, { 16, "Z" }, { 32, "X" }, { 64, "x" }, '
        '{ 128, "K" }, { 256, "W" }, { 512, "P" }, { 1024, "N" }) : "R", REC->prev_state & 2048 ? "+" : ""'
    )
    (layout,) = read_format(old).values()
    assert layout.preempted_mask == 2048
    assert layout.state_of_bit[10] == PrevState.IDLE  # 512, P
    (layout,) = read_format(pf.SWITCH_FORMAT).values()
    assert layout.preempted_mask == 0x100
    assert list(layout.state_of_bit[:9]) == [
        PrevState.RUNNABLE, PrevState.SLEEPING, PrevState.BLOCKED, PrevState.STOPPED, PrevState.STOPPED,
        PrevState.DEAD, PrevState.DEAD, PrevState.IDLE, PrevState.IDLE,
    ]  # fmt: skip


def _compress(data):
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compress.restype = ctypes.c_size_t
    room = ctypes.create_string_buffer(len(data) + 1000)
    size = library.ZSTD_compress(room, ctypes.c_size_t(len(room)), data, ctypes.c_size_t(len(data)), 3)
    return room.raw[:size]


@pytest.mark.skipif(not zstd.is_available(), reason="no libzstd")
@pytest.mark.parametrize("type_", [81, 83])
def test_compressed_records_are_one_stream(tmp_path, type_):
    inner = b"".join(RECORDS)
    packed = _compress(inner[:150]) + _compress(inner[150:])  # frames end anywhere
    pieces = [packed[:40], packed[40:]]
    if type_ == 81:  # no number of bytes: must be of whole words
        pieces = [packed[:40], packed[40 : len(packed) // 8 * 8], packed[len(packed) // 8 * 8 :]]
        records = [struct.pack("<IHH", 81, 0, 8 + len(piece)) + piece for piece in pieces]
    else:
        records = [pf.record(83, struct.pack("<Q", len(piece)) + piece) for piece in pieces]
    trace = load(tmp_path, PerfFile(records, features={27: bytes(16)}))
    assert np.array_equal(trace.events, load(tmp_path, PerfFile(RECORDS)).events)


@pytest.mark.skipif(not zstd.is_available(), reason="no libzstd")
def test_compression_within_compression_is_refused(tmp_path):
    inner = _compress(pf.record(81, _compress(b"".join(RECORDS))))
    with pytest.raises(TraceError, match="compressed again"):
        load(tmp_path, PerfFile([struct.pack("<IHH", 81, 0, 8 + len(inner)) + inner]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file[: len(file) // 2], "cut"),
        (lambda file: b"PERFILE2" + bytes(200), "did not finish"),
        (lambda file: b"hello" * 100, "not a perf.data"),
        (lambda file: file[:50], "cut"),
    ],
)
def test_damaged_files_are_refused(tmp_path, change, message):
    with pytest.raises(TraceError, match=message):
        load(tmp_path, change(PerfFile(RECORDS).build()))


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (PerfFile([struct.pack("<IHH", 9, 0, 4) + bytes(8)]), "shorter than its header"),
        (PerfFile([*RECORDS, struct.pack("<IHH", 9, 0, 400)]), "not whole"),
        (PerfFile(RECORDS, [Attr(9, (1,), type=1)]), "no scheduler events"),
        (PerfFile([ROUND]), "no scheduler events"),
        (
            PerfFile(RECORDS, [Attr(372, (1,), sample_type=pf.TID | pf.IDENTIFIER)]),
            "no time, cpu, raw records",
        ),
    ],
)
def test_what_has_no_whole_scheduler_events_is_refused(tmp_path, file, message):
    with pytest.raises(TraceError, match=message):
        load(tmp_path, file)


@pytest.mark.parametrize(
    "file",
    [
        PerfFile(RECORDS, header_size=16),
        PerfFile(RECORDS, formats={372: pf.SWITCH_FORMAT.replace("size:8;", "size:2;")}),
        PerfFile(RECORDS, formats={372: pf.SWITCH_FORMAT.replace("next_pid", "nextpid")}),
        PerfFile(RECORDS, features={18: b""}),
        PerfFile(RECORDS, [Attr(372, (1,)), Attr(374, (3,), sample_type=pf.USUAL & ~pf.IDENTIFIER)]),
    ],
)
def test_what_only_perf_can_read_is_left_to_it(tmp_path, file, monkeypatch):
    with pytest.raises(UnreadableError):
        load(tmp_path, file)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match="only perf can read that") as caught:
        tools.parse_perf_data(tmp_path / "perf.data", Collector())
    assert "perf script" in caught.value.hint


def test_samples_that_make_no_sense_are_counted(tmp_path):
    records = [
        *RECORDS,
        sample(200, switch_raw(1 << 22, 2), id_=1),
        sample(200, switch_raw(1, 2), id_=99),
        sample(200, switch_raw(1, 2)[:20], id_=1),
        sample(200, switch_raw(1, 2), id_=1, cpu=1 << 20),
    ]
    trace = load(tmp_path, PerfFile(records))
    assert trace.manifest["nr_unread"] == 4
    assert len(trace.events) == 5
    unread = [(loss.nr_lost, loss.cpu) for loss in trace.losses if loss.is_unread]
    assert sorted(unread) == [(1, -1), (3, 0)]
    with pytest.raises(IncompleteTraceError, match="4 events of the file can't be read"):
        trace.require_complete()


def strange(nr_rounds=30):
    """Recorded of all, but never of 68, whatever it does: 9 and the idle task run as usual."""
    rows = []
    for k in range(nr_rounds):
        at = 1_000_000 * k
        rows += [
            sample(at + 100, switch_raw(0, 9), id_=1, tid=0),
            sample(at + 200, switch_raw(9, 0), id_=1, tid=9),
            sample(at + 300, switch_raw(0, 68), id_=1, tid=0),
            sample(at + 500, switch_raw(9, 0), id_=1, tid=9),
        ]
    return rows


@pytest.mark.parametrize(
    ("words", "tids", "whom"),
    [
        (["record", "-e", "sched:*", "-a"], [-1], "everybody"),
        (["sched", "record"], [-1], "everybody"),
        (["record", "-C", "0", "sleep", "1"], [-1], "everybody"),
        (["record", "-a", "-G", "web"], [-1], None),
        (["record", "-aGweb"], [-1], None),
        (["record", "-a", "--cgroup=web"], [-1], None),
        (["record", "-a", "--filter", "prev_pid == 5"], [-1], None),
        (["record", "-u", "me"], [-1], None),
        (None, [-1], None),
        (["record", "-p", "9"], [9], "switches of some tasks"),
        (None, [9, 10], "switches of some tasks"),
    ],
)
def test_a_file_says_whom_perf_looked_at(tmp_path, words, tids, whom):
    features = {11: pf.command("perf", *words)} if words else {}
    trace = load(tmp_path, PerfFile([pf.thread_map(*tids), *RECORDS], features=features))
    assert trace.manifest.get("records") == whom


def test_a_recording_of_everybody_is_one_though_a_tasks_switches_are_missing(tmp_path):
    features = {11: pf.command("perf", "record", "-a")}
    analysis = Analysis(load(tmp_path, PerfFile([pf.thread_map(-1), *strange()], features=features)))
    assert not analysis.reading.is_partial
    assert analysis.overall()["cpu_time_ns"] > 0
    assert analysis.unknown_share > 0


def test_what_perf_recorded_of_a_command_is_of_single_tasks_however_well_it_fits(tmp_path):
    fits = [sample(100, switch_raw(7, 0), id_=1), sample(200, switch_raw(0, 7), id_=1)]
    assert not Analysis(load(tmp_path, PerfFile(fits))).reading.is_of_single_tasks
    trace = load(tmp_path, PerfFile([pf.thread_map(7), *fits]))
    analysis = Analysis(trace)
    assert analysis.reading.is_of_single_tasks
    assert analysis.nr_events == 2
    assert analysis.overall()["cpu_time_ns"] is None


def test_a_flag_with_zeros_before_it_is_read():
    (usual,) = read_format(pf.SWITCH_FORMAT).values()
    (layout,) = read_format(pf.SWITCH_FORMAT.replace("0x00000001", "000001")).values()
    assert bytes(layout) == bytes(usual)


@pytest.mark.parametrize("time_ns", [1 << 63, (1 << 64) - 2])
def test_a_time_that_no_clock_tells_is_refused(time_ns, tmp_path):
    with pytest.raises(TraceError, match=f"its time is {time_ns} ns"):
        Analysis(
            load(tmp_path, PerfFile([*RECORDS, sample(time_ns, switch_raw(1, 2), id_=1)])), allow_lost=True
        ).by("task")
