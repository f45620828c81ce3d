"""The guests' recorder, run here: its dump against what the kernel accounts for the same processes."""

import json
import os
import subprocess
import sys

import pytest

from schedtuna.resources import resource_path
from schedtuna.trace.aggregates.remote import metrics_of_dump

pytestmark = pytest.mark.usefixtures("bpf")
RECORDER = [sys.executable, str(resource_path("lab/guest/recorder.py"))]


def test_it_counts_a_process_and_what_descends_from_it():
    job = "read go; for i in 1 2 3; do python3 -S -c 'sum(range(10**6))' & done; wait"
    held = subprocess.Popen(["sh", "-c", job], stdin=subprocess.PIPE)
    recorder = subprocess.Popen(
        [*RECORDER, str(held.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert recorder.stdout.readline() == "ready\n"
    held.stdin.write(b"go\n")
    held.stdin.close()
    _, status, usage = os.wait4(held.pid, 0)
    held.returncode = status
    output, _ = recorder.communicate()
    metrics = metrics_of_dump(json.loads(output))
    # What sh used before it was recorded is missing: it had not done much.
    assert metrics["sched.cpu_time_total_us"] == pytest.approx(
        1e6 * (usage.ru_utime + usage.ru_stime), rel=0.1, abs=20_000
    )
    assert metrics["sched.preemptions"] <= usage.ru_nivcsw
    assert metrics["sched.switches"] >= 4


def test_it_says_why_it_can_not_count(tmp_path):
    library = tmp_path / "libbpf.so"
    library.touch()
    done = subprocess.run(
        [*RECORDER, "1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "SCHEDTUNA_LIBBPF": str(library)},
        check=True,
    )
    assert f"can't use {library} as libbpf" in done.stdout
