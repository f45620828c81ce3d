"""Does the kernel tell what tasks had when they ended? Against what Python set and measured itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schedtuna.kernel.syscalls import sched_getattr
from schedtuna.machine.namespaces import in_initial_pid_namespace
from schedtuna.record.ends import TaskEnds

pytestmark = pytest.mark.usefixtures("bpf")


@pytest.fixture(scope="module")
def ends():
    if not in_initial_pid_namespace():
        pytest.skip("the kernel knows processes by other numbers here")
    with TaskEnds() as opened:
        yield opened


def python(script: str) -> str:
    done = subprocess.run([sys.executable, "-S", "-c", script], check=True, capture_output=True, text=True)
    return done.stdout


def test_an_ended_task_is_told_with_what_it_had(ends):
    cpu = min(os.sched_getaffinity(0))
    here = sched_getattr(0)
    ends.watch(os.getpid())
    python(
        "import os\n"
        "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))\n"
        f"os.nice(3); os.sched_setaffinity(0, {{{cpu}}})\n"
        "open('/proc/self/comm', 'w').write('ended')\n"
    )
    [row] = [row for row in ends.take()[0] if row.comm == "ended"]
    assert (row.policy, row.nice, row.cpus) == (os.SCHED_BATCH, here.nice + 3, (cpu,))
    assert (row.slice_ns, row.nr_tasks) == (here.runtime_ns, 1)
    assert row.timer_slack_ns == int(Path("/proc/self/timerslack_ns").read_text())


def test_cpu_time_is_what_the_task_measured_itself(ends):
    ends.watch(os.getpid())
    script = (
        "import time\n"
        "open('/proc/self/comm', 'w').write('busy')\n"
        "while time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID) < {}: pass\n"
        "print(time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID))\n"
    )
    told_s = float(python(script.format(0.3)))
    [row] = [row for row in ends.take()[0] if row.comm == "busy"]
    assert told_s <= row.cpu_time_ns / 1e9 < told_s + 0.1


def test_threads_and_grandchildren_are_told_and_strangers_are_not(ends):
    stranger = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    script = (
        "import os, threading\n"
        "def name(): open(f'/proc/self/task/{threading.get_native_id()}/comm', 'w').write('thread')\n"
        "thread = threading.Thread(target=name); thread.start(); thread.join()\n"
        "os.system('/bin/true & wait')\n"
    )
    watched = subprocess.Popen(
        ["sh", "-c", 'read go; "$@"; true', "sh", sys.executable, "-S", "-c", script], stdin=subprocess.PIPE
    )
    ends.watch(watched.pid)
    stranger.communicate()
    watched.communicate(b"go\n")
    comms = {row.comm for row in ends.take()[0]}
    assert "thread" in comms and "cat" not in comms
    assert "true" in comms


def test_each_watch_begins_anew_and_between_them_nothing_is_told(ends):
    ends.watch(os.getpid())
    subprocess.run(["true"], check=True)
    ends.watch(os.getpid())
    rows, lost_ns = ends.take()
    assert (rows, lost_ns) == ([], 0)
    subprocess.run(["true"], check=True)
    assert ends.take()[0] == []


def test_like_tasks_are_counted_together_and_more_kinds_than_have_room_are_lost(ends):
    ends.watch(os.getpid())
    subprocess.run(["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do /bin/true; done"], check=True)
    rows, lost_ns = ends.take()
    assert [row.nr_tasks for row in rows if row.comm == "true"] == [9]
    assert lost_ns == 0
