"""`schedtuna suite` as users type it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def schedtuna(*argv: str, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "schedtuna", *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


def test_list_shows_names_metrics_and_what_each_favours():
    done = schedtuna("suite", "list")
    assert done.returncode == 0
    assert "short-bursts         p99_us:min" in done.stdout
    assert "favours: " in done.stdout


def test_list_for_programs():
    listed = json.loads(schedtuna("suite", "list", "--json").stdout)
    names = [entry["name"] for entry in listed["workloads"]]
    assert listed["default"] in names
    assert {"short-bursts", "interactive-mix"} <= set(names)


def test_list_names_the_packages_of_missing_tools():
    listed = json.loads(schedtuna("suite", "list", "--json", env={**os.environ, "PATH": "/nowhere"}).stdout)
    assert {entry["name"]: entry["packages"] for entry in listed["workloads"]}["pipes"] == ["rt-tests"]


@pytest.mark.skipif(shutil.which("hackbench") is None, reason="hackbench (rt-tests) is not installed")
def test_run_repeats_with_seeds_and_prints_one_json_object():
    done = schedtuna("suite", "run", "pipes", "--repeat", "2", "--seed", "7", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [run["seed"] for run in result["runs"]] == [7, 8]
    assert all(run["metrics"][run["metric"]] > 0 for run in result["runs"])


@pytest.mark.skipif(shutil.which("hackbench") is None, reason="hackbench (rt-tests) is not installed")
def test_run_marks_the_metric_that_counts():
    done = schedtuna("suite", "run", "pipes", "--seed", "1")
    assert "* time_s" in done.stdout


def test_an_unknown_name_is_a_usage_error():
    done = schedtuna("suite", "run", "pipe")
    assert done.returncode == 2
    assert "did you mean pipes?" in done.stderr
    assert done.stdout == ""


def test_a_missing_tool_is_named_with_its_package():
    done = schedtuna("suite", "run", "pipes", env={**os.environ, "PATH": "/nowhere"})
    assert done.returncode == 3
    assert "sudo apt-get install rt-tests" in done.stderr


def hogs() -> set[int]:
    """Processes of the mix that carry this test's seed."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--seed" in words and b"987654" in words and any(word.endswith(b"mix.py") for word in words):
            found.add(int(path.parent.name))
    return found


def wait_until(condition) -> bool:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(condition())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_ctrl_c_and_kill_leave_nothing_running(number, code):
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "schedtuna",
            "suite",
            "run",
            "short-bursts",
            "--repeat",
            "9",
            "--seed",
            "987654",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert wait_until(lambda: len(hogs()) >= 3)
    process.send_signal(number)
    assert process.wait(30) == code
    assert wait_until(lambda: not hogs())
