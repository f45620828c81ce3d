"""Datasets of recordings: a task that burns what it is told to is found with just these bursts."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from schedtuna.learn.baselines import BASELINES
from schedtuna.learn.dataset_form import read_dataset

pytestmark = pytest.mark.usefixtures("bpf")

BURST_NS, NR_BURSTS = 4_000_000, 60
MEMORY_KIB = 200 << 10
BURN = f"""
import threading, time
def burn():
    for _ in range({NR_BURSTS}):
        end_ns = time.thread_time_ns() + {BURST_NS}
        while time.thread_time_ns() < end_ns: pass
        time.sleep(0.01)
memory = b"1" * ({MEMORY_KIB} << 10)
asked, answered = threading.Semaphore(0), threading.Semaphore(0)
def answer():
    for _ in range({NR_BURSTS}):
        asked.acquire()
        answered.release()
def ask():
    for _ in range({NR_BURSTS}):
        asked.release()
        answered.acquire()
        time.sleep(0.01)
def run(*acts):
    threads = [threading.Thread(target=act) for act in acts]
    [t.start() for t in threads]; [t.join() for t in threads]
run(burn)
run(answer, ask)
"""


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded") / "trace"
    command = [
        sys.executable,
        "-m",
        "schedtuna",
        "record",
        "--picks",
        "--waking",
        "--interval",
        "0.2",
        "-o",
        folder,
        "--",
        sys.executable,
        "-c",
        BURN,
    ]
    spin = [sys.executable, "-c", "while True: pass"]
    hogs = [subprocess.Popen(spin) for _ in range(2 * os.cpu_count())]  # so that there is a choice
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    if done.returncode == 3:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    return folder


def built(recording, folder, task):
    command = [
        sys.executable,
        "-m",
        "schedtuna",
        "dataset",
        "build",
        recording,
        "-o",
        folder,
        "--task",
        task,
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["runs"][0]["kind"] == "recorded"
    return read_dataset(folder)


def test_bursts_are_what_was_burnt(recording, tmp_path):
    data = built(recording, tmp_path / "d", "burst")
    task, label = data.column("task"), data.labels()
    is_burst = (label >= BURST_NS) & (label < 1.3 * BURST_NS)
    # Others may have as many such bursts, but among more of other lengths.
    nr_such, nr_all = np.bincount(task, is_burst), np.bincount(task)
    found = np.where(nr_such >= 0.8 * NR_BURSTS, nr_such / np.maximum(nr_all, 1), 0).argmax()
    rows = data.where((task == found) & is_burst)
    assert len(rows) >= 0.8 * NR_BURSTS
    last = rows.rows["burst_ns"].to_numpy()
    assert np.median(last) == pytest.approx(1.1 * BURST_NS, rel=0.1)
    assert np.median(rows.rows["sleep_ns"].to_numpy()) >= 10_000_000
    assert set(rows.rows["is_kthread"].to_list()) == {0}
    # Its sleeps are ended by a timer, and its process is as large as it was made.
    assert rows.rows["woken_by_interrupt"].mean() > 0.9
    assert MEMORY_KIB <= rows.rows["rss_kib"].max() < 2 * MEMORY_KIB


def test_a_thread_that_waits_for_another_is_woken_by_it(recording, tmp_path):
    data = built(recording, tmp_path / "d", "burst")
    task = data.column("task")
    woken = {name: data.rows[f"woken_by_{name}"].to_numpy() for name in ("interrupt", "sibling", "kthread")}
    assert (sum(woken.values()) <= 1).all()
    is_of_process = data.rows["rss_kib"].to_numpy() >= MEMORY_KIB
    nr_woken = np.bincount(task[is_of_process], woken["sibling"][is_of_process])
    assert nr_woken.max() >= 0.5 * NR_BURSTS


def test_choices_are_those_of_the_kernel(recording, tmp_path):
    data = built(recording, tmp_path / "d", "next")
    sets = data.column("group").astype(np.int64) << 32 | data.column("candidate_set")
    _, number, size = np.unique(sets, return_inverse=True, return_counts=True)
    assert size.min() >= 2
    assert (np.bincount(number, data.labels()) == 1).all()
    assert (data.rows["nr_candidates"].to_numpy() == size[number]).all()
    # Candidates are as of before the switch: who was chosen waited, and may have run elsewhere before.
    chosen = data.where(data.labels() == 1)
    assert (chosen.rows["waited_ns"].to_numpy() > 0).mean() > 0.9
    # The kernel's own rule, by what it decided by, tells them all.
    first = BASELINES["smallest_deadline"].score(data, np.ones(len(data), bool))
    best = np.full(len(size), -np.inf)
    np.maximum.at(best, number, first)
    is_right = (first == best[number])[data.labels() == 1]
    assert is_right.mean() > 0.99
    assert (np.bincount(number, data.rows["is_eligible"].to_numpy()) > 1).sum() > 20
