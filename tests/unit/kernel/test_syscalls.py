"""The system calls, against what Python's own wrappers and /proc say."""

import os
from dataclasses import replace

import pytest

from schedtuna.kernel.syscalls import SchedPolicy, sched_getattr, sched_setattr


@pytest.fixture
def child():
    """A process that waits until its pipe is closed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    yield pid
    os.close(reader)
    os.close(writer)
    os.waitpid(pid, 0)


def test_attributes_agree_with_the_older_calls(child):
    os.setpriority(os.PRIO_PROCESS, child, os.getpriority(os.PRIO_PROCESS, 0) + 1)
    os.sched_setscheduler(child, os.SCHED_BATCH, os.sched_param(0))
    found = sched_getattr(child)
    assert (found.policy, found.nice) == (SchedPolicy.BATCH, os.getpriority(os.PRIO_PROCESS, child))


def test_what_is_set_is_read_back(child):
    wanted = replace(sched_getattr(child), policy=SchedPolicy.BATCH)
    sched_setattr(child, wanted)
    assert sched_getattr(child) == wanted
    assert os.sched_getscheduler(child) == os.SCHED_BATCH


def test_errors_are_the_kernels(child):
    with pytest.raises(ProcessLookupError):
        sched_getattr(2**22 + 1)
    with pytest.raises(OSError, match="Invalid argument"):
        sched_setattr(child, replace(sched_getattr(child), policy=99))
