import os
import subprocess
import threading

import pytest

from schedtuna.priority import READER_NICE, as_usual, raise_priority, soon

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs CAP_SYS_NICE")


def in_a_thread(nice, step):
    """What a step returns in a thread of that nice, which ends with it."""
    found = []

    def run():
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
        found.append(step())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def own_nice():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.parametrize("nice", [0, 5, -18])
def test_a_thread_is_hurried_only_for_as_long_as_asked(nice):
    def step():
        with soon():
            hurried = own_nice()
        return hurried, own_nice()

    assert in_a_thread(nice, step) == (min(nice, READER_NICE), nice)


@pytest.mark.parametrize("nice", [0, 5, -18])
def test_what_a_hurried_thread_starts_is_not_hurried(nice):
    def step():
        assert raise_priority()
        with soon(), as_usual():
            child = subprocess.run(["nice"], stdout=subprocess.PIPE, check=True)
        return int(child.stdout), own_nice()

    assert in_a_thread(nice, step) == (nice, min(nice, READER_NICE))
