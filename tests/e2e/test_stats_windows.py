"""`schedtuna stats --windows`, as a user types it."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from tests.commands import run_schedtuna

from schedtuna.record.procfs import SYSTEM_METRICS

# What is promised of a window, by our names.
PROMISED = [
    "voluntary_switches_per_s",
    "involuntary_switches_per_s",
    "cpu_percent",
    "iowait_percent",
    "irq_percent",
    "softirq_percent",
    "run_queue_length",
    "nr_active_threads",
    "nr_blocked_threads",
    "nr_io_blocked_threads",
    "memory_used_bytes",
    "memory_available_bytes",
    "swap_used_bytes",
    "cache_bytes",
    "buffers_bytes",
    "swap_in_bytes_per_s",
    "swap_out_bytes_per_s",
    "io_read_bytes_per_s",
    "io_written_bytes_per_s",
]
VMSTAT = """procs -----------memory---------- ---swap-- -----io---- -system-- ------cpu-----
 r  b   swpd   free   buff  cache   si   so    bi    bo   in   cs us sy id wa st
 1  0      0 100000   2000  30000    0    0     0     0  100  200  5  5 90  0  0
 2  1      0 100000   2000  30000    0    0    10     0  100  400 10 10 80  0  0
 4  0      0 100000   2000  30000    0    0    30     0  100  600 20 20 60  0  0
"""


def nr_switches():
    lines = Path("/proc/stat").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("ctxt")))


def test_windows_of_now_have_what_the_kernel_counted_and_pandas_reads_them():
    before = nr_switches()
    done = run_schedtuna("stats", "--windows", "1500ms", "--for", "3s", "--csv")
    after = nr_switches()
    assert done.returncode == 0, done.stderr
    frame = pd.read_csv(io.StringIO(done.stdout))
    assert set(frame["feature"]) == set(SYSTEM_METRICS)
    table = frame.pivot(
        index="window", columns="feature", values=["average", "change", "percent_change", "total"]
    )
    assert list(table.index) == [0, 1]
    assert 0 < table["total"]["switches_per_s"].sum() <= after - before
    assert table["average"][PROMISED].notna().all(axis=None)


def test_windows_of_a_trace_are_of_what_it_sampled(tmp_path):
    done = run_schedtuna("record", "--procfs", "--interval", "200ms", "--for", "3s", "-o", "t", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_schedtuna("stats", "t", "--windows", "1500ms", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first = json.loads(done.stdout.splitlines()[0])
    assert (first["start_s"], first["end_s"]) == (0, 1.5)
    assert first["features"].keys() == SYSTEM_METRICS.keys()
    assert first["features"]["nr_active_threads"]["average"] > 0  # the recorder, for one
    text = run_schedtuna("stats", "t", "--windows", "1500ms", cwd=tmp_path).stdout
    assert text.startswith("window 0: 0 to 1.5 s, ") and "change %" in text


@pytest.mark.parametrize(
    ("seconds", "told"), [("0.3", "samples are 0."), ("1.2", "a single sample, which fills no window")]
)
def test_windows_that_a_single_sample_can_not_fill_are_refused(tmp_path, seconds, told):
    done = run_schedtuna("record", "--interval", "9s", "-o", "t", "--", "sleep", seconds, cwd=tmp_path)
    if done.returncode == 3:
        pytest.skip(done.stderr)
    done = run_schedtuna("stats", "t", "--windows", "100ms", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr


def test_what_another_tool_did_not_print_is_unknown_not_0(tmp_path):
    (tmp_path / "vmstat.txt").write_text(VMSTAT)
    done = run_schedtuna("import", "vmstat.txt", "-o", "t", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_schedtuna("stats", "t", "--windows", "2s", "--csv", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    frame = pd.read_csv(io.StringIO(done.stdout)).set_index("feature")
    assert frame.loc["irq_percent", ["average", "change", "percent_change", "total"]].isna().all()
    assert frame.loc["voluntary_switches_per_s", ["average", "total"]].isna().all()
    assert frame.loc["run_queue_length", "average"] == 3.0
    assert frame.loc["switches_per_s", "total"] == 1000.0
    assert frame.loc["swap_used_bytes", "average"] == 0.0
    done = run_schedtuna("stats", "t", "--windows", "2s", "--discard", "1s", "--json", cwd=tmp_path)
    [window] = map(json.loads, done.stdout.splitlines())
    assert (window["start_s"], window["end_s"], window["nr_samples"]) == (1, 2, 1)
    assert window["features"]["switches_per_s"] == {
        "average": 600.0,
        "change": 200.0,
        "percent_change": 50.0,
        "total": 600.0,
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "name a trace, or say --windows"),
        (("--windows", "1s", "--discard", "1s"), "leaves nothing"),
        (("--windows", "100ms", "--interval", "1s"), "samples are 1 s apart"),
        (("--windows", "1ms", "--for", "1s"), "samples are 0.01 s apart"),
        (("--windows", "1s", "--interval", "1ms"), "expected 0.01 s or more"),
        (("--windows", "5s", "--for", "2s"), "ends before the first window"),
        (("--windows", "5s", "--from", "2"), "do not go with --windows"),
        (("--windows", "5s", "--by", "task"), "do not go with --windows"),
        (("--windows", "5s", "--csv", "--json"), "mutually exclusive"),
        (("t", "--csv"), "--csv, --discard, --interval and --for go with --windows"),
        (("--windows", "5s", "--rows", "4"), "do not go with --windows"),
        (("t", "--windows", "5s", "--for", "5s"), "leave DIR out"),
    ],
)
def test_options_that_can_not_be_are_refused(arguments, told, tmp_path):
    done = run_schedtuna("stats", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert told in done.stderr
