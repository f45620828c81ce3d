"""What real tools do not record, or lose: told as unknown, wherever it is."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from schedtuna.errors import IncompleteTraceError
from schedtuna.trace.analysis import Analysis
from schedtuna.trace.formats import load

TRACEFS = Path("/sys/kernel/tracing")
FIELDS = "comm,pid,tid,cpu,time,event,trace"
LOAD = "for i in 1 2 3 4 5 6; do sleep 0.01; done; "
BUSY = "perf bench sched pipe -l 20000 >/dev/null"


def run(*command, **options):
    return subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        **options,
    )


def perf_record(path, *options, load):
    if shutil.which("perf") is None:
        pytest.skip("perf is not installed")
    done = run("perf", "record", *options, "-o", path, "--", "sh", "-c", load)
    if done.returncode or not path.exists():
        pytest.skip(f"perf can't record here: {done.stderr.strip()[-200:]}")
    text = path.with_suffix(".txt")
    text.write_text(run("perf", "script", "--ns", "--show-lost-events", "-F", FIELDS, "-i", path).stdout)
    return path, text


def test_of_one_command_perf_records_only_that_it_leaves(tmp_path):
    for path in perf_record(tmp_path / "perf.data", "-e", "sched:sched_switch", load=LOAD):
        analysis = Analysis(load(path))
        assert analysis.reading.is_of_single_tasks
        assert analysis.overall()["cpu_time_ns"] is None
        assert set(analysis.by("task").dicts()[0]) >= {"cpu_time_ns", "unknown_ns"}
        assert all(row["cpu_time_ns"] is None for row in analysis.by("task").dicts())
        assert analysis.unknown_share > 0.9


def test_what_perf_loses_is_refused_where_it_was_lost(tmp_path):
    traces = [
        load(path)
        for path in perf_record(tmp_path / "perf.data", "-a", "-m", "1", "-e", "sched:*", load=BUSY)
    ]
    if not traces[0].nr_lost:
        pytest.skip("perf lost nothing")
    assert traces[0].nr_lost == traces[1].nr_lost
    for trace in traces:
        assert {loss.cpu for loss in trace.losses} <= {-1, *range(os.cpu_count() or 1)}
        with pytest.raises(IncompleteTraceError, match="events were lost"):
            Analysis(trace)
        assert Analysis(trace, allow_lost=True).unknown_share > 0


class Ftrace:
    """An instance of ftrace that is gone afterwards."""

    def __init__(self, folder):
        self.folder = folder
        self.path = TRACEFS / f"instances/schedtuna-unknown-{os.getpid()}"
        try:
            self.path.mkdir()
        except OSError as error:
            pytest.skip(f"ftrace can't be used here: {error}")

    def write(self, name, value):
        try:
            (self.path / name).write_text(value)
        except OSError as error:
            pytest.skip(f"ftrace can't be used here: {name}: {error}")

    def start(self, *events):
        for event in events:
            self.write(f"events/sched/sched_{event}/enable", "1")

    def text(self):
        self.write("tracing_on", "0")
        path = self.folder / "text"
        path.write_bytes((self.path / "trace").read_bytes())
        return path

    def append_raw(self):
        """Take what is in the buffers now."""
        for buffer in self.path.glob("per_cpu/cpu*/trace_pipe_raw"):
            fd = os.open(buffer, os.O_RDONLY | os.O_NONBLOCK)
            with (self.folder / buffer.parent.name).open("ab") as file:
                try:
                    while page := os.read(fd, os.sysconf("SC_PAGE_SIZE")):
                        file.write(page)
                except BlockingIOError:
                    pass
                finally:
                    os.close(fd)

    def close(self):
        (self.path / "events/enable").write_text("0")
        self.path.rmdir()


@pytest.fixture
def ftrace(tmp_path, tracefs):
    instance = Ftrace(tmp_path)
    yield instance
    instance.close()


def test_tasks_that_ftrace_was_told_to_follow_are_recorded_whole(ftrace):
    ftrace.write("options/event-fork", "1")
    ftrace.start("switch", "wakeup", "wakeup_new", "process_fork", "process_exit")
    strangers = [subprocess.Popen(["sh", "-c", "while :; do sleep 0.001; done"]) for _ in range(4)]
    try:
        done = run("sh", "-c", f"echo $$ > {ftrace.path}/set_event_pid; echo $$; {LOAD * 3}")
    finally:
        for stranger in strangers:
            stranger.kill()
            stranger.wait()
    shell = int(done.stdout)
    analysis = Analysis(load(ftrace.text()))
    if not analysis.reading.is_of_single_tasks:
        pytest.skip("nobody else ran meanwhile: it looks like a recording of everybody")
    rows = analysis.by("task")
    figures = dict(zip(rows.columns["tid"].tolist(), rows.dicts(), strict=True))
    assert figures[shell]["cpu_time_ns"] > 0
    assert figures[shell]["wakeup_latency_count"] > 0
    assert any(row["cpu_time_ns"] is None for row in figures.values())
    assert 0 < analysis.unknown_share < 1


def test_buffers_that_were_overwritten_begin_apart(ftrace):
    ftrace.write("buffer_size_kb", "8")
    ftrace.start("switch", "wakeup", "wakeup_new")
    run("sh", "-c", BUSY)
    trace = load(ftrace.text())
    assert trace.manifest["cpus_begin"] == "apart"
    assert not trace.is_incomplete
    analysis = Analysis(trace)
    first = {
        cpu: int(trace.events["timestamp_ns"][trace.events["cpu"] == cpu][0])
        for cpu in np.unique(trace.events["cpu"])
    }
    for cpu, time in first.items():
        assert analysis.unknown_shares[cpu] >= (time - analysis.start_ns) / (
            analysis.end_ns - analysis.start_ns
        )


def test_what_ftrace_drops_is_told_by_trace_cmd(ftrace, tmp_path):
    if shutil.which("trace-cmd") is None:
        pytest.skip("trace-cmd is not installed")
    ftrace.write("buffer_size_kb", "8")
    ftrace.start("switch", "wakeup", "wakeup_new")
    for _ in range(3):
        run("sh", "-c", BUSY)
        ftrace.append_raw()
    ftrace.write("tracing_on", "0")
    raw = sorted(tmp_path.glob("cpu*"), key=lambda path: int(path.name[3:]))
    run("trace-cmd", "restore", "-c", "-o", "head", cwd=tmp_path)
    run("trace-cmd", "restore", "-i", "head", "-o", "trace.dat", *raw, cwd=tmp_path)
    if not (tmp_path / "trace.dat").exists():
        pytest.skip("trace-cmd can't make a trace.dat here")
    report = tmp_path / "report.txt"
    report.write_text(run("trace-cmd", "report", "-R", "-N", "-t", "-i", "trace.dat", cwd=tmp_path).stdout)
    if "EVENTS DROPPED" not in report.read_text():
        pytest.skip("nothing was dropped")
    binary, raw_text = load(tmp_path / "trace.dat"), load(report)
    assert raw_text.manifest["nr_unread"] == 0
    assert np.array_equal(binary.events["prev_state"], raw_text.events["prev_state"])
    for trace in (binary, raw_text):
        assert all(loss.cpu >= 0 and loss.last_ns is not None for loss in trace.losses)
        with pytest.raises(IncompleteTraceError, match="events were lost"):
            Analysis(trace)
