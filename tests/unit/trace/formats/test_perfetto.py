"""What we write, read by Perfetto's own definitions."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.trace.making import events, random_events, switch, tasks

from schedtuna.trace.formats import perfetto
from schedtuna.trace.formats.protobuf import varint, varints
from schedtuna.trace.formats.sink import Collector
from schedtuna.trace.schema import EventType

proto = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")


def chained(events):
    """Whoever came is who leaves next: as on CPUs of which everything was recorded."""
    on_cpu: dict[int, int] = {}
    for event in events:
        if event["type"] == EventType.SWITCH:
            event["tid"] = on_cpu.get(int(event["cpu"]), event["tid"])
            on_cpu[int(event["cpu"])] = int(event["other_tid"])
    return events


@pytest.fixture(scope="module")
def written():
    collector = Collector(
        {"clock": "monotonic", "nr_cpus": 4}
        | {"clock_offsets": {"at_ns": 50, "boottime_ns": 1_000, "realtime_ns": 10**18}}
    )
    collector.write_events(chained(random_events(np.random.default_rng(4), 3_000)))
    collector.write_tasks(
        tasks(
            *(
                {"tid": tid, "tgid": tid // 4 * 4 or tid, "ppid": 1, "comm": b"t%d\n" % tid}
                for tid in range(20)
            )
        )
    )
    collector.write_samples(2 * 10**9, {"load": 1.5, "role": "text"})
    collector.write_samples(3 * 10**9, {"load": 2.5, "role": "text"})
    trace = collector.trace()
    file = io.BytesIO()
    perfetto.write(trace, file)
    decoded = proto.Trace()
    decoded.ParseFromString(file.getvalue())
    return trace, decoded


def bundles(decoded):
    return [packet.ftrace_events for packet in decoded.packet if packet.HasField("ftrace_events")]


def test_every_switch_is_there_with_its_name(written):
    trace, decoded = written
    found: list[tuple[int, int, int, str]] = []
    for bundle in bundles(decoded):
        compact = bundle.compact_sched
        times = np.cumsum(np.array(compact.switch_timestamp, np.int64)).tolist()
        names = [compact.intern_table[k] for k in compact.switch_next_comm_index]
        found += zip(times, compact.switch_next_pid, [bundle.cpu] * len(times), names, strict=True)
    switches = trace.events[trace.events["type"] == EventType.SWITCH]
    name = {0: "swapper", **{tid: f"t{tid}\\n" for tid in range(1, 20)}}
    name[0] = "t0\\n"
    expected = [
        (int(e["timestamp_ns"]) + 1_000, int(e["other_tid"]), int(e["cpu"]), name[int(e["other_tid"])])
        for e in switches
    ]
    assert sorted(found) == sorted(expected)


def slices(trace):
    file = io.BytesIO()
    perfetto.write(trace, file)
    decoded = proto.Trace()
    decoded.ParseFromString(file.getvalue())
    found = []
    for bundle in bundles(decoded):
        compact = bundle.compact_sched
        times = np.cumsum(np.array(compact.switch_timestamp, np.int64)).tolist()
        names = [compact.intern_table[k] for k in compact.switch_next_comm_index]
        found += zip([bundle.cpu] * len(times), times, names, strict=True)
    return sorted(found), [bundle.cpu for bundle in bundles(decoded) if bundle.lost_events]


def test_nobody_is_on_a_cpu_while_it_is_unknown_who_was():
    collector = Collector({"nr_cpus": 2})
    collector.write_tasks(tasks(*({"tid": tid, "comm": b"t%d" % tid} for tid in (7, 8, 9))))
    rows = [switch(1, 0, 7), switch(5, 8, 9), switch(9, 9, 0)]  # 7 came, and 8 left
    rows += [switch(2, 0, 7, cpu=1), switch(6, 7, 8, cpu=1), switch(8, 8, 9, cpu=1)]
    collector.write_events(events(*sorted(rows, key=lambda row: row["timestamp_ns"])))
    collector.note_lost(None, cpu=1, first_ns=6, last_ns=8)
    found, lossy = slices(collector.trace())
    assert found == [
        (0, 1, "(unknown)"),
        (0, 5, "t9"),
        (0, 9, "swapper"),
        (1, 2, "t7"),
        (1, 6, "(unknown)"),
        (1, 8, "t9"),
    ]
    assert lossy == [1]


def test_whoever_was_not_recorded_is_unknown_not_idle():
    collector = Collector({"nr_cpus": 1, "filter": {"comm": "t7"}})
    collector.write_tasks(tasks({"tid": 7, "comm": b"t7"}))
    collector.write_events(events(switch(1, 9, 7), switch(5, 7, 9), switch(8, 9, 7), switch(9, 7, 0)))
    assert [name for *_, name in slices(collector.trace())[0]] == ["t7", "(unknown)", "t7", "(unknown)"]


def test_every_waking_is_there(written):
    trace, decoded = written
    found: list[tuple[int, ...]] = []
    for bundle in bundles(decoded):
        compact = bundle.compact_sched
        times = np.cumsum(np.array(compact.waking_timestamp, np.int64)).tolist()
        found += zip(times, compact.waking_pid, compact.waking_target_cpu, compact.waking_prio, strict=True)
    wakings = trace.events[trace.events["type"] == EventType.WAKING]
    expected = [
        (int(e["timestamp_ns"]) + 1_000, int(e["tid"]), int(e["target_cpu"]), int(e["prio"])) for e in wakings
    ]
    assert sorted(found) == sorted(expected)


def test_forks_exits_and_first_wakeups_are_events(written):
    trace, decoded = written
    events = [event for bundle in bundles(decoded) for event in bundle.event]
    assert sum(event.HasField("sched_process_fork") for event in events) == (trace.events["type"] == 6).sum()
    assert sum(event.HasField("sched_process_exit") for event in events) == (trace.events["type"] == 8).sum()
    assert sum(event.HasField("sched_wakeup_new") for event in events) == (trace.events["type"] == 3).sum()


def test_threads_belong_to_their_processes(written):
    _, decoded = written
    (tree,) = [packet.process_tree for packet in decoded.packet if packet.HasField("process_tree")]
    assert {thread.tid: thread.tgid for thread in tree.threads}[7] == 4
    assert 4 in {process.pid for process in tree.processes}
    assert all(process.cmdline[0].startswith("t") for process in tree.processes)


def test_samples_are_counters(written):
    _, decoded = written
    tracks = {
        p.track_descriptor.uuid: p.track_descriptor.name
        for p in decoded.packet
        if p.HasField("track_descriptor")
    }
    values = [
        (tracks[packet.track_event.track_uuid], packet.timestamp, packet.track_event.double_counter_value)
        for packet in decoded.packet
        if packet.HasField("track_event")
    ]
    assert values == [("load", 2 * 10**9 + 1_000, 1.5), ("load", 3 * 10**9 + 1_000, 2.5)]


def test_clocks_go_together(written):
    _, decoded = written
    (snapshot,) = [packet.clock_snapshot for packet in decoded.packet if packet.HasField("clock_snapshot")]
    assert {clock.clock_id: clock.timestamp for clock in snapshot.clocks} == {6: 1_050, 3: 50, 1: 10**18 + 50}


def test_no_field_is_unknown_to_perfetto(written):
    from google.protobuf.unknown_fields import UnknownFieldSet

    _, decoded = written
    assert all(len(UnknownFieldSet(packet)) == 0 for packet in decoded.packet)


@given(st.lists(st.integers(-(1 << 63), (1 << 63) - 1)))
def test_many_numbers_are_encoded_as_one_by_one(values):
    assert varints(np.array(values, np.int64)) == b"".join(varint(value) for value in values)
