"""What ftrace recorded on this kernel, as a trace.dat of trace-cmd and as text: both say the same."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from schedtuna.trace.formats import load

TRACEFS = Path("/sys/kernel/tracing")
EVENTS = (
    "switch",
    "waking",
    "wakeup",
    "wakeup_new",
    "migrate_task",
    "process_fork",
    "process_exec",
    "process_exit",
)
LOAD = ["sh", "-c", "for i in 1 2 3; do (echo a; sleep 0.01) | cat >/dev/null; done"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, tracefs):
    """A folder with text, and a trace.dat that trace-cmd makes of the same raw buffers."""
    if shutil.which("trace-cmd") is None:
        pytest.skip("trace-cmd is not installed")
    folder = tmp_path_factory.mktemp("ftrace")
    instance = TRACEFS / f"instances/schedtuna-test-{os.getpid()}"
    try:
        instance.mkdir()
    except OSError as error:
        pytest.skip(f"ftrace can't be used here: {error}")
    try:
        (instance / "buffer_size_kb").write_text("4096")
        for event in EVENTS:
            (instance / f"events/sched/sched_{event}/enable").write_text("1")
        subprocess.run(LOAD, check=True)
        (instance / "tracing_on").write_text("0")
        (folder / "text").write_bytes((instance / "trace").read_bytes())
        buffers = sorted(
            instance.glob("per_cpu/cpu*/trace_pipe_raw"), key=lambda path: int(path.parent.name[3:])
        )
        for path in buffers:
            (folder / path.parent.name).write_bytes(_all_of(path))
    except OSError as error:
        pytest.skip(f"ftrace can't be used here: {error}")
    finally:
        (instance / "events/enable").write_text("0")
        instance.rmdir()
    raw = [folder / path.parent.name for path in buffers]
    for command in (["-c", "-o", "head"], ["-i", "head", "-o", "trace.dat", *raw]):
        done = subprocess.run(
            ["trace-cmd", "restore", *command], cwd=folder, capture_output=True, text=True, check=False
        )
    if not (folder / "trace.dat").exists():
        pytest.skip(f"trace-cmd can't make a trace.dat here: {done.stderr[-200:]}")
    return folder


def _all_of(path):
    """Return what is in a buffer now, without waiting for more."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    pages = []
    try:
        while page := os.read(fd, os.sysconf("SC_PAGE_SIZE")):
            pages.append(page)
    except BlockingIOError:
        pass
    finally:
        os.close(fd)
    return b"".join(pages)


def test_a_trace_dat_has_the_events_that_the_text_has(recorded):
    binary, text = load(recorded / "trace.dat"), load(recorded / "text")
    assert (binary.manifest["nr_unread"], text.manifest["nr_unread"]) == (0, 0)
    assert len(text.events) > 50
    events, printed = binary.events.copy(), text.events
    assert len(events) == len(printed)
    rounded = (events["timestamp_ns"] + 500) // 1000 * 1000  # text has microseconds
    assert np.array_equal(np.sort(rounded), np.sort(printed["timestamp_ns"]))
    for name in set(events.dtype.names or ()) - {"timestamp_ns", "aux"}:
        for cpu in np.unique(events["cpu"]):  # CPUs interleave in another order within a microsecond
            here, there = events["cpu"] == cpu, printed["cpu"] == cpu
            assert np.array_equal(events[name][here], printed[name][there]), name
