"""Datasets of recordings: a task that burns what it is told to is found with just these bursts."""

import json
import subprocess
import sys

import numpy as np
import pytest

from schedtuna.learn.dataset_form import read_dataset

pytestmark = pytest.mark.usefixtures("bpf")

BURST_NS, NR_BURSTS = 4_000_000, 60
BURN = f"""
import threading, time
def burn():
    for _ in range({NR_BURSTS}):
        end_ns = time.thread_time_ns() + {BURST_NS}
        while time.thread_time_ns() < end_ns: pass
        time.sleep(0.01)
threads = [threading.Thread(target=burn) for _ in range(1)]
[t.start() for t in threads]; [t.join() for t in threads]
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
        "-o",
        folder,
        "--",
        sys.executable,
        "-c",
        BURN,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
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
    found = np.bincount(task[is_burst]).argmax()
    rows = data.where((task == found) & is_burst)
    assert len(rows) >= 0.8 * NR_BURSTS
    last = rows.rows["burst_ns"].to_numpy()
    assert np.median(last) == pytest.approx(1.1 * BURST_NS, rel=0.1)
    assert np.median(rows.rows["sleep_ns"].to_numpy()) >= 10_000_000
    assert set(rows.rows["is_kthread"].to_list()) == {0}


def test_choices_are_those_of_the_kernel(recording, tmp_path):
    data = built(recording, tmp_path / "d", "next")
    sets = data.column("group").astype(np.int64) << 32 | data.column("candidate_set")
    _, number, size = np.unique(sets, return_inverse=True, return_counts=True)
    assert size.min() >= 2
    assert (np.bincount(number, data.labels()) == 1).all()
    assert (data.rows["nr_candidates"].to_numpy() == size[number]).all()
