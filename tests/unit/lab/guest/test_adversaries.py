"""The adversaries that change nothing of a machine, tried on this one; the others run in guests alone."""

import json
import os
import random
import subprocess
import sys
import time

import pytest

from schedtuna.lab.guest import adversaries
from schedtuna.lab.guest.adversaries import ADVERSARIES, ADVERSARY, SECONDS, SEED, Crowd

HARMLESS = ("pinned", "affinity", "policies", "fork_storm", "migration_disabled")
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: who disturbs is a real-time task")


def attack(name):
    assert name in HARMLESS
    environment = {**os.environ, ADVERSARY: name, SECONDS: "0.3", SEED: "5"}
    done = subprocess.run(
        [sys.executable, adversaries.__file__],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", HARMLESS)
def test_under_a_scheduler_that_forgets_nobody_all_tasks_answer(name):
    if os.cpu_count() < ADVERSARIES[name][1]:
        pytest.skip("too few CPUs")
    found = attack(name)
    if "cannot" in found:
        assert name == "migration_disabled", found
        pytest.skip(found["cannot"])
    assert found["silent"] == []
    assert found["ejected_after_s"] is None
    assert found["longest_wait_s"] > 0
    assert found["nr_tasks"] > 4
    assert found["nr_steps"] > 0


def stand_still():
    time.sleep(1000)


def test_a_task_that_never_answers_is_named_and_ended(monkeypatch):
    monkeypatch.setattr(adversaries, "ANSWER_WITHIN_S", 0.5)
    crowd = Crowd(time.monotonic() + 0.1, random.Random(1))
    crowd.start("sleeper", crowd.sleep)
    stuck = crowd.start("stuck", stand_still)
    answers, silent = crowd.gather(lambda: False)
    assert ([one["kind"] for one in answers], silent) == (["sleeper"], ["stuck"])
    assert os.WIFSIGNALED(os.waitpid(stuck, 0)[1])
