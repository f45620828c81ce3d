import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.trace.making import events, random_events, switch, tasks

from schedtuna.errors import IncompleteTraceError, SchedtunaError, TraceError, UsageError
from schedtuna.trace import parts
from schedtuna.trace import writer as writer_module
from schedtuna.trace.folder import remove_trace
from schedtuna.trace.parts import sample_frame
from schedtuna.trace.schema import EVENT_DTYPE, TASK_DTYPE
from schedtuna.trace.store import add_samples, open_trace
from schedtuna.trace.trace import MemorySource, Trace
from schedtuna.trace.writer import TraceWriter


def in_one_order(array):
    return np.sort(array, order=["timestamp_ns", "cpu", "type", "tid", "other_tid", "aux", "prio"])


def write(folder, *batches, **options):
    with TraceWriter(folder, {}, **options) as writer:
        for batch in batches:
            writer.write_events(batch)
    return open_trace(folder)


@pytest.fixture
def some():
    return random_events(np.random.default_rng(5), 3_000)


def test_what_was_written_is_read(tmp_path, some):
    with TraceWriter(tmp_path / "t", {"command": ["ls"]}, clock="boottime") as writer:
        writer.write_events(some[:1000])
        writer.write_events(some[1000:])
        writer.write_tasks(tasks({"tid": 7, "comm": b"a\x1b", "cgroup_id": 3}))
        writer.write_cgroups({3: "/slice"})
        writer.write_samples(5, {"load": 1.5, "state": "x"})
        writer.write_samples(6, {"load": 2, "other": None})
        writer.write_samples(6, {"pid": 1}, kind="process")
    trace = open_trace(tmp_path / "t")
    assert (trace.state, trace.clock, trace.manifest["command"]) == ("complete", "boottime", ["ls"])
    assert np.array_equal(in_one_order(trace.events), in_one_order(some))
    assert np.all(np.diff(trace.events["timestamp_ns"].astype(np.int64)) >= 0)
    assert trace.tasks["comm"].to_list() == [r"a\x1b"]
    assert trace.tasks["cgroup"].to_list() == ["/slice"]
    assert trace.samples()["load"].to_list() == [1.5, 2.0]
    assert trace.samples("process")["pid"].to_list() == [1]
    assert {path.suffix for path in (tmp_path / "t").iterdir()} == {".parquet", ".json", ".jsonl"}


SAMPLE = st.fixed_dictionaries(
    {
        "pid": st.integers(0, 2**62),
        "comm": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=4),
        "rate": st.none() | st.floats(0, 1e300),
        "bytes": st.none() | st.integers(0, 2**62),
    }
)


@settings(
    max_examples=200,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(samples=st.lists(st.lists(SAMPLE, min_size=1, max_size=4), min_size=1, max_size=3))
def test_samples_of_a_moment_are_the_same_as_a_table_and_one_by_one(tmp_path, samples):
    tables, rows = [], []
    for time_ns, moment in enumerate(samples):
        columns = {name: [sample[name] for sample in moment] for name in moment[0]}
        tables.append({"timestamp_ns": time_ns, "columns": columns})
        rows += [{"timestamp_ns": time_ns, **sample} for sample in moment]
    one_by_one = sample_frame(rows, "x")
    assert sample_frame(tables, "x").equals(one_by_one)
    assert sample_frame([*tables[:1], *rows[len(samples[0]) :]], "x").equals(one_by_one)
    folder = tmp_path / "t"
    with TraceWriter(folder, {}, force=folder.exists()) as writer:
        for time_ns, moment in enumerate(samples):
            columns = {name: [sample[name] for sample in moment] for name in moment[0]}
            writer.write_sample_table(time_ns, columns, kind="process")
        assert open_trace(folder).samples("process").equals(one_by_one)
    assert open_trace(folder).samples("process").equals(one_by_one)


def test_events_of_different_cpus_may_arrive_out_of_order(tmp_path, some):
    shuffled = np.random.default_rng(0).permutation(some)
    trace = write(tmp_path / "t", *np.split(shuffled, 10))
    assert np.array_equal(in_one_order(trace.events), in_one_order(some))
    assert np.all(np.diff(trace.events["timestamp_ns"].astype(np.int64)) >= 0)


def test_a_trace_is_readable_while_it_is_written(tmp_path, some, monkeypatch):
    monkeypatch.setattr(writer_module, "SEGMENT_EVENTS", 1_000)
    with TraceWriter(tmp_path / "t", {}) as writer:
        writer.write_events(some[:2_500])
        writer.write_samples(1, {"load": 3.0})
        trace = open_trace(tmp_path / "t")
        assert trace.state == "recording"
        assert len(trace.events) == 2_500
        assert trace.samples()["load"].to_list() == [3.0]
    assert open_trace(tmp_path / "t").state == "complete"


def test_a_killed_writer_leaves_all_that_it_was_given(tmp_path, some):
    np.save(tmp_path / "some.npy", some)
    program = textwrap.dedent("""
        import sys, time, numpy as np
        from pathlib import Path
        from schedtuna.trace.writer import TraceWriter
        writer = TraceWriter(Path(sys.argv[1]), {})
        writer.write_events(np.load(sys.argv[2]))
        writer.note_lost(3, cpu=1, first_ns=5)
        print("written", flush=True)
        time.sleep(60)
    """)
    process = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "t", tmp_path / "some.npy"], stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"written\n"
        assert open_trace(tmp_path / "t").state == "recording"
        process.send_signal(signal.SIGKILL)
    trace = open_trace(tmp_path / "t")
    assert trace.state == "cut"
    assert np.array_equal(trace.events, parts.in_time_order(some))
    assert trace.nr_lost == 3


def test_a_torn_last_record_is_left_out(tmp_path, some):
    writer = TraceWriter(tmp_path / "t", {})
    writer.write_events(some)
    spool = parts.segments(tmp_path / "t")[0]
    with spool.open("ab") as file:
        file.write(b"half a record")
    assert len(open_trace(tmp_path / "t").events) == len(some)
    writer.close()


def test_a_crash_between_compacting_and_removing_doubles_nothing(tmp_path, some):
    with TraceWriter(tmp_path / "t", {}) as writer:
        writer.write_events(some)
        writer.write_tasks(tasks({"tid": 7}))
    (tmp_path / "t" / "events-000000.spool").write_bytes(some.tobytes())
    (tmp_path / "t" / "tasks.spool").write_bytes(tasks({"tid": 7}, {"tid": 8}).tobytes())
    trace = open_trace(tmp_path / "t")
    assert len(trace.events) == len(some)
    assert trace.tasks["tid"].to_list() == [7]


def test_losses_are_counted_and_refused(tmp_path):
    with TraceWriter(tmp_path / "t", {}) as writer:
        writer.note_lost(3, cpu=1, first_ns=5, last_ns=9)
        writer.note_lost(4)
    trace = open_trace(tmp_path / "t")
    assert trace.nr_lost == 7
    assert trace.manifest["nr_lost"] == 7
    with pytest.raises(IncompleteTraceError, match="7 events were lost"):
        trace.require_complete()


def test_a_trace_is_replaced_only_on_demand(tmp_path, some):
    write(tmp_path / "t", some)
    with pytest.raises(UsageError, match="already has a trace"):
        TraceWriter(tmp_path / "t", {})
    assert len(write(tmp_path / "t", some[:10], force=True).events) == 10


def test_a_file_is_no_folder_for_a_trace(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for force in (False, True):
        for folder in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "t"):
            with pytest.raises(UsageError, match="a file is in its place"):
                TraceWriter(folder, {}, force=force)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_force_removes_nothing_but_a_trace(tmp_path, some):
    mine = tmp_path / "t" / "thesis.txt"
    mine.parent.mkdir()
    mine.write_text("years of work")
    with pytest.raises(UsageError, match="not empty and not a trace"):
        TraceWriter(mine.parent, {}, force=True)
    write(tmp_path / "u", some)
    (tmp_path / "u" / "notes.txt").write_text("mine")
    write(tmp_path / "u", some, force=True)
    remove_trace(tmp_path / "u")
    assert [path.name for path in (tmp_path / "u").iterdir()] == ["notes.txt"]


def test_two_writers_can_not_share_a_folder(tmp_path):
    with TraceWriter(tmp_path / "t", {}), pytest.raises(UsageError, match="being recorded"):
        TraceWriter(tmp_path / "t", {}, force=True)


def test_wrong_arrays_are_refused(tmp_path):
    with TraceWriter(tmp_path / "t", {}) as writer:
        with pytest.raises(TraceError, match="EVENT_DTYPE"):
            writer.write_events(np.zeros(3, TASK_DTYPE))
        with pytest.raises(TraceError, match="TASK_DTYPE"):
            writer.write_tasks(np.zeros(3, EVENT_DTYPE))
        with pytest.raises(TraceError, match="name a kind"):
            writer.write_samples(1, {}, kind="../escape")


def test_a_full_disk_leaves_whole_records(tmp_path, some):
    """RLIMIT_FSIZE makes write() fail part-way, as a full disk does."""
    program = textwrap.dedent("""
        import resource, signal, sys, numpy as np
        from pathlib import Path
        from schedtuna.trace.writer import TraceWriter
        some = np.load(sys.argv[2])
        writer = TraceWriter(Path(sys.argv[1]), {})
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        try:
            for batch in np.split(some, 3):
                writer.write_events(batch)
        except OSError as error:
            print(type(error).__name__, writer.nr_events)
        writer.close()
    """)
    np.save(tmp_path / "some.npy", np.concatenate([some] * 2))
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "t", tmp_path / "some.npy"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["OSError", "2000"]
    trace = open_trace(tmp_path / "t")
    assert trace.state == "complete"
    assert len(trace.events) == 2000
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 100_000


def fill(writer, some):
    for _ in range(100):
        writer.write_events(some)


@contextmanager
def small_disk(path, size):
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", path], check=False)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def test_a_trace_can_be_finished_on_a_full_disk(tmp_path):
    with small_disk(tmp_path / "disk", "12m") as disk:
        some = random_events(np.random.default_rng(1), 50_000)
        writer = TraceWriter(disk / "t", {})
        with pytest.raises(OSError, match="No space left"):
            fill(writer, some)
        writer.close()
        trace = open_trace(disk / "t")
        assert trace.state == "complete"
        assert len(trace.events) == writer.nr_events > 0


def test_a_trace_that_there_is_no_room_to_begin_leaves_nothing(tmp_path):
    with small_disk(tmp_path / "disk", "1m") as disk:
        with pytest.raises(OSError, match="No space left"):
            TraceWriter(disk / "t", {})
        assert list(disk.iterdir()) == []


class TestForeignAndDamagedFolders:
    @pytest.fixture
    def folder(self, tmp_path, some):
        write(tmp_path / "t", some)
        return tmp_path / "t"

    def refused(self, folder, match):
        with pytest.raises(TraceError, match=match) as caught:
            _ = open_trace(folder).events
        return caught.value

    def test_no_folder(self, tmp_path):
        assert "schedtuna record" in self.refused(tmp_path / "nothing", "not a trace").hint

    def test_an_empty_folder(self, tmp_path):
        self.refused(tmp_path, "not a trace")

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"format": "npm"}', "\x00\xff", "[" * 100_000])
    def test_another_manifest(self, folder, text):
        (folder / "manifest.json").write_text(text, encoding="latin-1")
        self.refused(folder, "damaged|another program")

    def test_a_newer_version(self, folder):
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest |= {"schema_version": 99, "schedtuna_version": "9.9\x1b[2J"}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        error = self.refused(folder, "schema version 99")
        assert "9.9" in error.hint
        assert "\x1b" not in error.hint

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
    def test_a_truncated_segment(self, folder, share):
        path = folder / "events-000000.parquet"
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])
        self.refused(folder, "can't be read as Parquet")

    def test_a_segment_of_another_program(self, folder):
        pl.DataFrame({"city": ["Ulm"]}).write_parquet(folder / "events-000000.parquet")
        self.refused(folder, "not part of a trace")

    def test_a_segment_with_columns_of_another_type(self, folder):
        path = folder / "events-000000.parquet"
        pl.read_parquet(path).with_columns(pl.col("cpu").cast(pl.String)).write_parquet(path)
        self.refused(folder, "column cpu is String")

    def test_a_segment_with_nulls(self, folder):
        path = folder / "events-000000.parquet"
        pl.read_parquet(path).with_columns(cpu=pl.lit(None, pl.UInt16)).write_parquet(path)
        self.refused(folder, "without nulls")

    def test_a_spool_of_another_program(self, folder):
        (folder / "events-000001.spool").write_bytes(b"\xff" * 320)
        self.refused(folder, "unknown type")

    def test_damaged_tables_besides_the_events(self, folder):
        (folder / "losses.jsonl").write_text("no json\n")
        with pytest.raises(TraceError, match="line 1: not JSON"):
            _ = open_trace(folder).losses
        (folder / "losses.jsonl").write_text('{"nr_lost": "many"}\n')
        with pytest.raises(TraceError, match="a loss can't be read"):
            _ = open_trace(folder).losses
        (folder / "cgroups.jsonl").write_text('{"cgroups": {"x": "y"}}\n')
        with pytest.raises(TraceError, match="ids and paths"):
            _ = open_trace(folder).cgroups
        (folder / "samples.jsonl").write_text('{"timestamp_ns": "noon", "load": [1]}\n')
        with pytest.raises(SchedtunaError, match="not a table"):
            _ = open_trace(folder).sample_frames
        for columns in ('{"pid": [1], "load": [1, 2, 3]}', '{"pid": [1, 2.5]}', '{"pid": [1, "x"]}'):
            (folder / "samples.jsonl").write_text(f'{{"timestamp_ns": 1, "columns": {columns}}}\n')
            with pytest.raises(SchedtunaError, match="not a table"):
                _ = open_trace(folder).sample_frames
        (folder / "samples.jsonl").write_text('{"columns": {"load": [1]}}\n')
        with pytest.raises(SchedtunaError, match="not a table"):
            _ = open_trace(folder).sample_frames
        (folder / "samples.jsonl").write_text('{"timestamp_ns": 11795229771783000064}\n')
        with pytest.raises(SchedtunaError, match=r"not a table: .+\Z"):
            _ = open_trace(folder).sample_frames


def test_polars_and_pandas_get_the_same_table(tmp_path):
    with TraceWriter(tmp_path / "t", {}) as writer:
        writer.write_events(events(switch(1, 0, 7), switch(4, 7, 0)))
        writer.write_tasks(tasks({"tid": 7, "comm": b"seven"}))
    trace = open_trace(tmp_path / "t")
    assert trace.to_polars()["timestamp_ns"].to_list() == [1, 4]
    assert trace.to_pandas()["other_tid"].tolist() == [7, 0]
    for table in ("events", "tasks"):
        ours, theirs = trace.to_polars(table), trace.to_pandas(table)
        assert ours.columns == theirs.columns.tolist()
        assert ours.height == len(theirs) > 0
    assert trace.to_pandas("tasks")["comm"].tolist() == ["seven"]
    with pytest.raises(TraceError, match="no samples of kind 'sytem'"):
        trace.to_polars("sytem")


def test_arrow_gets_the_same_table(tmp_path):
    pytest.importorskip("pyarrow")
    trace = write(tmp_path / "t", events(switch(1, 0, 7), switch(4, 7, 0)))
    assert trace.to_arrow()["tid"].to_pylist() == [0, 7]


class TestAddingSamples:
    @pytest.fixture
    def vmstat(self):
        return self.samples("realtime")

    def samples(self, clock):
        return Trace(
            {"clock": clock}, MemorySource(sample_frames={"system": pl.DataFrame({"timestamp_ns": [1_500]})})
        )

    def folder(self, tmp_path, some, **manifest):
        with TraceWriter(tmp_path / "t", manifest) as writer:
            writer.write_events(some)
        return tmp_path / "t"

    def test_their_times_become_the_traces(self, tmp_path, some, vmstat):
        folder = self.folder(tmp_path, some, clock_offsets={"realtime_ns": 1_000})
        assert add_samples(folder, vmstat, "vmstat") == 1
        assert open_trace(folder).samples("vmstat")["timestamp_ns"].to_list() == [500]
        with pytest.raises(UsageError, match="already"):
            add_samples(folder, vmstat, "vmstat")

    @pytest.mark.parametrize("clock", ["local", "none", "boottime", "unknown"])
    def test_clocks_that_can_not_be_aligned_are_refused(self, tmp_path, some, clock):
        folder = self.folder(tmp_path, some, clock_offsets={"realtime_ns": 1_000})
        with pytest.raises(TraceError, match="can't be aligned"):
            add_samples(folder, self.samples(clock), "vmstat")

    def test_offsets_are_needed(self, tmp_path, some, vmstat):
        with pytest.raises(TraceError, match="can't be aligned"):
            add_samples(self.folder(tmp_path, some), vmstat, "vmstat")

    def test_events_are_not_added(self, tmp_path, some):
        folder = self.folder(tmp_path, some)
        with pytest.raises(TraceError, match="only samples"):
            add_samples(folder, Trace({"clock": "monotonic"}, MemorySource(some)), "perf")


def test_the_task_table_of_an_older_trace_is_read(tmp_path):
    with TraceWriter(tmp_path / "t", {}) as writer:
        writer.write_tasks(tasks({"tid": 7, "schedstat_run_delay_ns": 77}))
    path = tmp_path / "t" / "tasks.parquet"
    pl.read_parquet(path).rename({"schedstat_run_delay_ns": "run_delay_ns"}).write_parquet(path)
    assert open_trace(tmp_path / "t").task_rows["schedstat_run_delay_ns"] == 77
    pl.read_parquet(path).drop("run_delay_ns").write_parquet(path)
    with pytest.raises(TraceError, match="lacks a column"):
        open_trace(tmp_path / "t").task_rows  # noqa: B018


def test_what_is_to_be_told_of_samples_goes_with_them(tmp_path):
    told = {"clock": "realtime", "sample_notes": ["taken for UTC"]}
    samples = Trace(told, MemorySource(sample_frames={"system": pl.DataFrame({"timestamp_ns": [1_500]})}))
    with TraceWriter(tmp_path / "t", {"clock_offsets": {"realtime_ns": 1_000}}):
        pass
    add_samples(tmp_path / "t", samples, "vmstat")
    assert open_trace(tmp_path / "t").sample_notes == ["vmstat: taken for UTC"]


@pytest.mark.parametrize(
    "line",
    [
        '{"cgroups": {"\u00b2": "/a"}}',
        '{"cgroups": {"\u0663": "/a"}}',
        "[" * 10**5,
        '{"cgroups": {"1": "\\u0000"}}',
    ],
)
def test_cgroups_that_are_none_are_refused_with_their_file(tmp_path, some, line):
    write(tmp_path / "t", some)
    (tmp_path / "t" / parts.CGROUPS).write_text(line + "\n")
    with pytest.raises(TraceError, match=parts.CGROUPS):
        _ = open_trace(tmp_path / "t").cgroups


@pytest.mark.parametrize(
    "comm", [["\u00b2", "x"], [1, 2], [b"a", None], [["a"], ["b"]], [float("nan"), 1.0], [True, False]]
)
def test_names_of_another_type_are_refused_with_their_file(tmp_path, comm):
    with TraceWriter(tmp_path / "t", {}) as writer:
        writer.write_tasks(tasks({"tid": 7, "comm": b"a"}, {"tid": 8, "comm": b"b"}))
    path = tmp_path / "t" / parts.TASKS_PARQUET
    parts.write_frame(pl.read_parquet(path).with_columns(pl.Series("comm", comm)), path)
    with pytest.raises(TraceError, match=r"tasks\.parquet: column comm is .*, expected bytes"):
        _ = open_trace(tmp_path / "t").tasks


@pytest.mark.parametrize(
    ("columns", "problem"),
    [
        ({"a": [1, 2]}, "lacks a column .timestamp_ns"),
        ({"timestamp_ns": [1.5, float("nan")]}, "timestamp_ns is Float64"),
        ({"timestamp_ns": ["1", "2"]}, "timestamp_ns is String"),
        ({"timestamp_ns": [1, None]}, "timestamp_ns is Int64, expected int64 without nulls"),
        ({"timestamp_ns": [1, 2], "a": [[1], [2]]}, "column a is List"),
        ({"timestamp_ns": [1, 2], "a": [b"x", b"y"]}, "column a is Binary"),
        ({"timestamp_ns": [1, 2], "a": [{"b": 1}, {"b": 2}]}, "column a is Struct"),
    ],
)
def test_samples_that_are_none_are_refused_with_their_file_and_column(tmp_path, some, columns, problem):
    write(tmp_path / "t", some)
    parts.write_frame(pl.DataFrame(columns), tmp_path / "t" / "samples-system.parquet")
    with pytest.raises(TraceError, match=rf"samples-system\.parquet.*{problem}"):
        _ = open_trace(tmp_path / "t").sample_frames
