"""Threads that are moved at random move, may run where they might before, and an undo puts them back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.kernel.test_knobs_killed import killed_at

from schedtuna.knobs.journal import Journal
from schedtuna.knobs.undo import undo
from schedtuna.learn.dataset_form import read_dataset
from schedtuna.machine.tasks import Task, start_ticks
from schedtuna.record.random_migrations import KIND, Mover, ThreadOnCpu
from schedtuna.trace.schema import EventType
from schedtuna.trace.store import open_trace

pytestmark = [
    pytest.mark.usefixtures("root"),
    pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one CPU"),
]
BUSY = "while True: pass"
LOAD = """
import multiprocessing, time
def burn():
    end_s = time.monotonic() + 3
    while time.monotonic() < end_s: pass
all = [multiprocessing.Process(target=burn) for _ in range(3)]
[one.start() for one in all]; [one.join() for one in all]
"""


@pytest.fixture
def busy():
    with subprocess.Popen([sys.executable, "-c", BUSY]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def cpu_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[36])


def test_killed_at_any_step_an_undo_puts_the_thread_back(busy, tmp_path):
    allowed = tuple(sorted(os.sched_getaffinity(busy)))
    thread = ThreadOnCpu(Task(busy, busy, start_ticks(busy) or 0), cpu_of(busy), allowed)
    step, nr_pinned = 1, 0
    while killed_at(step, tmp_path, lambda journal: Mover(journal)(thread, allowed[0], True)):
        nr_pinned += os.sched_getaffinity(busy) != set(allowed)
        undo(Journal(tmp_path))
        assert os.sched_getaffinity(busy) == set(allowed), f"after step {step}"
        assert Journal(tmp_path).open_records() == []
        step += 1
    assert step > 4 and nr_pinned >= 1


def test_draws_that_moved_moved_and_the_others_did_not(bpf, tmp_path):
    folder, state = tmp_path / "trace", tmp_path / "state"
    command = [sys.executable, "-m", "schedtuna", "record", "--random-migrations", "30", "-o", folder, "--"]
    environment = {**os.environ, "SCHEDTUNA_STATE_DIR": str(state)}
    done = subprocess.run(
        [*command, sys.executable, "-c", LOAD], capture_output=True, text=True, check=False, env=environment
    )
    if done.returncode == 3:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert "draws moved a thread" in done.stderr
    assert Journal(state).open_records() == []
    trace = open_trace(folder)
    events = trace.events[trace.events["type"] == EventType.MIGRATE]
    nr_by_kind, nr_arrived = {0: 0, 1: 0}, {0: 0, 1: 0}
    for row in trace.samples(KIND).iter_rows(named=True):
        soon = (events["timestamp_ns"] >= row["timestamp_ns"]) & (
            events["timestamp_ns"] < row["timestamp_ns"] + 10**6
        )
        arrived = soon & (events["tid"] == row["tid"]) & (events["target_cpu"] == row["destination"])
        nr_by_kind[row["moves"]] += 1
        nr_arrived[row["moves"]] += bool(arrived.any())
    assert nr_by_kind[1] == trace.manifest["random_migrations"]["nr_moves"] > 5
    # Balancing may have taken one of the others at the same time, or the thread may have slept.
    assert nr_arrived[1] >= 0.7 * nr_by_kind[1]
    assert nr_arrived[0] <= 0.2 * nr_by_kind[0]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "schedtuna",
            "dataset",
            "build",
            folder,
            "-o",
            tmp_path / "d",
            "--task",
            "migrate",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    data = read_dataset(tmp_path / "d")
    assert data.rows["was_migrated"].sum() > 3
    assert "caused by the move" in done.stdout + done.stderr
