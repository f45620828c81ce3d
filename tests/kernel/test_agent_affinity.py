"""The agent's policy `affinity` on threads of the test's own: set, put back, never what somebody has set."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.commands import run_schedtuna

from schedtuna.agent.log import read_log
from schedtuna.knobs.affinity import ALL_BUT_ONE_CORE, Affinity
from schedtuna.knobs.base import Scope, Target

ALL = os.sched_getaffinity(0)
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(len(ALL) < 2, reason="needs two CPUs"),
]
RULES = """
[[rule]]
name = "test"
intervals = 1
match = { comm = "%s" }
set = { affinity = "all_but_one_core" }
reason = "the test wants it"
"""
COMM = f"hog-{os.getpid()}"[:15]
# Forks a child when it is told to, which then ends with it.
HOG = f"""
import ctypes, os, signal, threading
ctypes.CDLL(None).prctl(15, b'{COMM}', 0, 0, 0)
def fork(*_):
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
        signal.pause()
signal.signal(signal.SIGUSR1, fork)
while True: pass
"""


@pytest.fixture
def hogs():
    started = [subprocess.Popen([sys.executable, "-c", HOG]) for _ in range(2)]
    yield started
    for one in started:
        one.kill()
        one.wait()


@pytest.fixture
def started(tmp_path, hogs):
    """Starts an agent; whatever became of it is over afterwards."""
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES % COMM)
    environment = {**os.environ, "SCHEDTUNA_STATE_DIR": str(tmp_path / "state")}
    argv = [sys.executable, "-m", "schedtuna", "agent", "run", "--no-guard", "--interval", "0.2"]
    argv += ["--policy", f"affinity:{rules}", *(f"--only=pid={hog.pid}" for hog in hogs)]
    running = []

    def start():
        agent = subprocess.Popen(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        running.append(agent)
        return agent

    yield start
    for agent in running:
        agent.kill()
        agent.communicate()
    run_schedtuna("undo", env=environment)


def some():
    return set(Affinity().to_state(ALL_BUT_ONE_CORE, Target(Scope.TREE, pid=os.getpid())))


def comes(condition, what, seconds=60):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.05)


def child_of(pid):
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(found[0]) if found else None


def logged(folder):
    return [row["kind"] for row in read_log(folder / "state")]


def test_a_thread_leaves_a_core_and_gets_it_back_with_what_it_forked(started, hogs, tmp_path):
    agent = started()
    first, second = hogs
    comes(lambda: os.sched_getaffinity(first.pid) == some(), "it was never set")
    comes(lambda: os.sched_getaffinity(second.pid) == some(), "the other was never set")
    first.send_signal(signal.SIGUSR1)
    comes(lambda: child_of(first.pid), "no child")
    child = child_of(first.pid)
    assert os.sched_getaffinity(child) == some()
    os.sched_setaffinity(second.pid, {max(ALL)})
    comes(lambda: "yield" in logged(tmp_path), "it was not seen that somebody has set another")
    agent.send_signal(signal.SIGINT)
    _, said = agent.communicate(timeout=60)
    assert os.sched_getaffinity(first.pid) == os.sched_getaffinity(child) == ALL, said
    assert os.sched_getaffinity(second.pid) == {max(ALL)}, said
    assert "yielded" in said


def test_what_somebody_has_set_before_is_never_touched(started, hogs):
    first, second = hogs
    os.sched_setaffinity(second.pid, {max(ALL)})
    agent = started()
    comes(lambda: os.sched_getaffinity(first.pid) == some(), "it was never set")
    time.sleep(1)
    assert os.sched_getaffinity(second.pid) == {max(ALL)}
    agent.send_signal(signal.SIGINT)
    agent.communicate(timeout=60)
    assert os.sched_getaffinity(first.pid) == ALL
    assert os.sched_getaffinity(second.pid) == {max(ALL)}


def test_it_goes_where_the_agent_is_killed(started, hogs):
    agent = started()
    comes(lambda: all(os.sched_getaffinity(hog.pid) == some() for hog in hogs), "it was never set")
    agent.kill()
    comes(lambda: all(os.sched_getaffinity(hog.pid) == ALL for hog in hogs), "not put back")
