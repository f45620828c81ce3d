"""The agent's policy `migrate` on the lab's kernel: answers to scx_tuna are drawn, outcomes logged."""

import importlib
import shutil
from collections import Counter
from pathlib import Path

import pytest
from tests.kernel.guest_python import LEFT_OUT, run_script, shared_package
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.backend.places.guest import Guest
from schedtuna.lab.boot import boot
from schedtuna.lab.layers import guest_program
from schedtuna.lab.vm import GuestSpec
from schedtuna.model.runtime import native
from schedtuna.resources import resource_path
from schedtuna.scheduler.objects import own_objects
from schedtuna.scheduler.scx import ScxProcess

SCRIPT = """
import json, os, time
from pathlib import Path
import numpy as np
from schedtuna.agent.acting import Actor
from schedtuna.agent.contract import SENSED_DTYPE, RunningScheduler, Sensed
from schedtuna.agent.decisions.log import open_decisions, read_decision_rows
from schedtuna.agent.policies.registry import make_policy
from schedtuna.knobs.journal import Journal
from schedtuna.scheduler.tuna_advice import AdviceChannel

def sleeper():
    if (child := os.fork()) == 0:
        while True:
            time.sleep(0.02)
            until = time.thread_time() + 0.001
            while time.thread_time() < until:
                pass
    return child

folder = Path("/root/state")
policy, log = make_policy("migrate"), open_decisions(folder, most_bytes=1 << 20)
actor = Actor(Journal(folder), policy.service)
tuna = RunningScheduler("scx_tuna", is_ext=True)
sensed = Sensed(0, 0, 10**9, np.zeros(0, SENSED_DTYPE), {}, {}, {}, tuna)
children = [sleeper() for _ in range(3)]
(act,) = actor.make(policy.decide(sensed, actor.standing))
for _ in range(20):
    time.sleep(1)
    log.write(policy.take_rows())
undone = actor.put_back(list(actor.standing))
log.write(policy.take_rows())
log.close()
for one in children:
    os.kill(one, 9)
with AdviceChannel() as channel:
    stats = channel.stats()
found = {"made": [act.result, act.reason], "ended": policy.service.ended, "stats": stats}
found["children"] = children
found["rows"] = list(read_decision_rows(folder))
found["open"] = len(Journal(folder).open_records()) + len(actor.standing)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    lab = lab_or_skip()
    if not own_objects():
        pytest.skip("built without clang 17 or newer")
    share = shared_package(lab, tmp_path_factory.mktemp("migrate") / "share", numpy=True)
    for name in ("libelf.so.1", "scx_tuna.bpf.o"):
        shutil.copy(resource_path(f"native/{name}"), share / "lib/schedtuna/native")
    shutil.copy(native.__file__, share / "lib/schedtuna/model")
    backend = Path(str(importlib.import_module("nanobind_backend").__file__)).parent
    shutil.copytree(backend, share / "lib/nanobind_backend", ignore=LEFT_OUT)
    (share / "lib/migrate.py").write_text(SCRIPT)
    program = own_objects()["scx_tuna"]
    booted, _ = boot(lab, GuestSpec(cpus=2, memory_mib=1024, share=share, programs=(program,)))
    scheduler = Guest(cpus=2).scheduler("scx_tuna")
    with booted, ScxProcess(booted, scheduler, guest_program(program), cpu_s=booted.cpu_s) as running:
        told = run_script(booted, "migrate.py")
        assert running.ejected() == ""
    return told


def test_draws_of_real_requests_are_logged_with_what_came_of_them(found):
    assert found["made"] == ["made", ""] and found["ended"] == ""
    decisions = [row for row in found["rows"] if row["kind"] == "decision"]
    outcomes = [row for row in found["rows"] if row["kind"] == "outcome"]
    assert len(decisions) > 50 and len(outcomes) > 30
    assert all(sum(row["propensities"]) == pytest.approx(1, abs=1e-4) for row in decisions)
    known = [row for row in outcomes if row["loss"] is not None]
    assert len(known) > 0.5 * len(outcomes), Counter(row["unknown"] for row in outcomes)
    assert min(row["loss"] for row in known) >= 0
    subjects = {int(row["subject"].split(":")[1]) for row in decisions}
    assert set(found["children"]) & subjects


def test_answers_act_and_nothing_is_left(found):
    assert found["stats"]["nr_taken"] > 20
    assert found["stats"]["nr_placed"] > 5
    assert found["open"] == 0
