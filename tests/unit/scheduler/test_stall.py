import os
import signal
import sys
import time

import pytest

from schedtuna.scheduler.helper import Helper
from schedtuna.scheduler.host import HostMachine
from schedtuna.scheduler.stall import StallError, StallProbe


@pytest.fixture
def machine():
    host = HostMachine()
    yield host
    host.close()


def test_a_sleeper_that_is_stopped_says_how_late_it_was(machine):
    with StallProbe(machine, sorted(os.sched_getaffinity(0))) as probe:
        sleeper = next(iter(machine._processes))
        os.kill(sleeper, signal.SIGSTOP)
        time.sleep(0.2)
        os.kill(sleeper, signal.SIGCONT)
        assert probe.longest_s() > 0.15
    assert all(machine.status(pid) is not None for pid in machine._processes)


def test_a_probe_that_can_not_run_says_so(machine):
    with pytest.raises(StallError, match="does not answer"):
        StallProbe(machine, [0], "/bin/false")


def test_a_helper_that_ends_was_heard_to_its_end(machine):
    helper = Helper(machine, [sys.executable, "-S", "-c", "print('one'); print('two', end='')"])
    assert helper.await_lines(1, 60.0)
    assert not helper.await_lines(2, 60.0)
    assert helper.lines() == ["one"]
    helper.close()
