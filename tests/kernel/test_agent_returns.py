"""A real thread that stepped back and becomes interactive returns between two intervals."""

import os
import signal
import subprocess
import sys
import time

import pytest

from schedtuna.agent.contract import ChangeTarget, Intent, Need
from schedtuna.agent.log import AgentLog
from schedtuna.agent.loop import Agent
from schedtuna.agent.policies.returning import Returning, keys_of, threads_of
from schedtuna.agent.sensing import Senses
from schedtuna.knobs.journal import Journal

pytestmark = pytest.mark.usefixtures("root", "bpf")
# Computes until it is told to answer, and then runs shortly.
CHANGES = """
import signal, time
told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append(True))
print(flush=True)
while not told:
    sum(range(10000))
while True:
    time.sleep(0.002)
"""


@pytest.fixture
def pid():
    """Of a process that is not a child of this one: those are never changed."""
    command = ["sh", "-c", '"$0" -c "$1" & echo $!; wait', sys.executable, CHANGES]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as shell:
        found = int(shell.stdout.readline())
        shell.stdout.readline()
        yield found
        os.kill(found, signal.SIGKILL)


class StepsBack:
    name = "steps-back"
    needs = frozenset({Need.TASKS})

    def __init__(self, pid):
        self.pid, self.returning = pid, Returning(5)

    def decide(self, sensed, standing):
        if standing:
            return [one.intent for one in standing.values()]
        (task,) = sensed.tasks[sensed.tasks["tid"] == self.pid]
        target = ChangeTarget("thread", self.pid, self.pid, int(task["start_time_ns"]))
        return [Intent(target, "nice", 0, 10, "it computes")]

    def reconsider(self, glance, standing):
        threads = threads_of(one.intent for one in standing.values())
        return keys_of(self.returning.found(glance.tasks, threads), standing)


def test_who_runs_shortly_returns_without_another_interval(tmp_path, pid):
    senses, log = Senses(frozenset({Need.TASKS})), AgentLog(tmp_path)
    agent = Agent(StepsBack(pid), senses, Journal(tmp_path), log)
    try:
        agent.step()
        assert os.getpriority(os.PRIO_PROCESS, pid) == 10
        for _ in range(20):
            agent.glance()
            time.sleep(0.01)
        assert os.getpriority(os.PRIO_PROCESS, pid) == 10  # it still computes
        os.kill(pid, signal.SIGUSR1)
        end_s = time.monotonic() + 60
        while agent.glances and time.monotonic() < end_s:
            agent.glance()
            time.sleep(0.02)
        assert os.getpriority(os.PRIO_PROCESS, pid) == 0
        assert agent.counts.intervals == 1
    finally:
        agent.finish("over")
        senses.close()
        log.close()
