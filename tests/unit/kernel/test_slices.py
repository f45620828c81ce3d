import platform
import time
from pathlib import Path

import pytest

from schedtuna.kernel.slices import read_back_slice
from schedtuna.kernel.syscalls import sched_getattr


def test_the_answer_is_that_of_the_kernels_history():
    major, minor = (int(part) for part in platform.release().split(".")[:2])
    default_ns, kept = read_back_slice()
    if (major, minor) >= (6, 12):
        assert kept
        assert 0 < default_ns <= 100_000_000
    else:
        pytest.skip("slices may have been backported")


def test_nothing_is_left_behind():
    before = sched_getattr(0)
    tasks = set(Path("/proc/self/task").iterdir())
    read_back_slice()
    assert sched_getattr(0) == before
    deadline = time.monotonic() + 60
    while not set(Path("/proc/self/task").iterdir()) <= tasks:  # a joined thread may still be ending
        assert time.monotonic() < deadline
        time.sleep(0.01)
