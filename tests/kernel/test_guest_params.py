"""The agent's policy `params` on the lab's kernel: parameters of scx_tuna are set, and put back."""

import json
import shutil

import pytest
from tests.kernel.guest_python import run_in, run_script, shared_package
from tests.kernel.lab_guest import lab_or_skip, light_schedulers

from schedtuna.backend.places.guest import Guest
from schedtuna.lab.boot import boot
from schedtuna.lab.layers import guest_program
from schedtuna.lab.vm import GuestSpec
from schedtuna.resources import resource_path
from schedtuna.scheduler.objects import own_objects
from schedtuna.scheduler.scx import ScxProcess

TABLE = """
scheduler = "scx_tuna"
intervals = 1
[[regime]]
name = "always"
when = ["cpu_percent >= 0"]
set = { slice_us = 5000, timer_kick = true, cpu_util_threshold = 0.333 }
"""
BEFORE = {"slice_us": 20000, "timer_kick": False, "cpu_util_threshold": 0.5}
SET = {"slice_us": 5000, "timer_kick": True, "cpu_util_threshold": 0.332}
SLICES = {"harm": 100_000, "good": 5000}
ONE_SLICE = """
scheduler = "scx_tuna"
intervals = 1
[[regime]]
name = "always"
when = ["cpu_percent >= 0"]
set = { slice_us = %d }
"""
RUN = ("agent", "run", "--policy", "params:/share/lib/regimes.toml", "--interval", "0.3s")
# All in one process, whose children are what a user types: an emulated guest takes long to import.
SCRIPT = """
import json, os, sys, time
from dataclasses import replace
from pathlib import Path
import numpy as np
from schedtuna.agent.contract import Need
from schedtuna.agent.guard.guard import ExperimentGuard
from schedtuna.agent.log import AgentLog
from schedtuna.agent.loop import Agent, LoopOptions
from schedtuna.agent.policies.registry import make_policy
from schedtuna.agent.sensing import Senses
from schedtuna.agent.guard.slo import parse_objective
from schedtuna.cli.main import main
from schedtuna.knobs import journal
from schedtuna.knobs.scheduler_parameter import SchedulerParameter
import schedtuna.agent.running, schedtuna.cli.agent, schedtuna.cli.undo

def typed(*argv, killed_at=""):
    if (child := os.fork()) == 0:
        output = os.open("/tmp/output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        init = journal.Journal.__init__
        def dies(self, directory=None, **options):
            init(self, directory, on_step=lambda name: name == killed_at and os.kill(os.getpid(), 9))
        if killed_at:
            journal.Journal.__init__ = dies
        try:
            main([*argv])
        except SystemExit as end:
            sys.stdout.flush()
            os._exit(end.code or 0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [code, Path("/tmp/output").read_text(), look()]

def look():
    values = SchedulerParameter().read().values
    names = ("slice_us", "timer_kick", "cpu_util_threshold")
    return [{name: values[name] for name in names}, len(journal.Journal().open_records())]

def sets(name, value):
    SchedulerParameter().plan("scx_tuna", name, value).make(lambda _step: None)

run = json.loads(sys.argv[1])
found = {"before": look(), "run": typed(*run, "--no-guard", "--for", "2s")}
found["killed"] = typed(*run, "--no-guard", killed_at="scheduler_parameter: after the change")
found["undone"] = typed("undo")
policy = make_policy("params:/share/lib/regimes.toml")
senses, log = Senses(policy.needs), AgentLog(Path("/root/log"))
agent = Agent(policy, senses, journal.Journal(), log, options=LoopOptions())
agent.step()
found["made"] = look()
sets("slice_us", 8000)
agent.step()
found["yielded"] = list(agent.ownership.taken.values())
agent.finish("the test is over")
found["after"] = look()
sets("slice_us", 20000)

class Objectives:
    limit = parse_objective("wakeup_latency_p99_us<=35000")
    def fill(self, sensed):
        return replace(sensed, slos=(self.limit.from_own(sensed),))

def guarded(name):
    policy = make_policy(f"params:/share/lib/{name}.toml")
    senses = Senses(policy.needs | {Need.KERNEL})
    guard = ExperimentGuard(np.random.default_rng(1), needs=policy.needs)
    agent = Agent(policy, senses, journal.Journal(), log, options=LoopOptions(), guard=guard)
    agent.objectives = Objectives()
    for _ in range(9):
        time.sleep(1)
        agent.step()
    agent.finish("the test is over")
    return [agent.stopped, agent.counts.made, look()]

# Who sleeps waits for the slices of who computes.
load = []
for computes in ([True] * 4 + [False] * 2) * ("guarded" in sys.argv):
    if (pid := os.fork()) == 0:
        while True:
            if not computes:
                time.sleep(0.02)
    load.append(pid)
if load:
    found["harm"], found["good"] = guarded("harm"), guarded("good")
for pid in load:
    os.kill(pid, 9)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    lab = lab_or_skip()
    if not own_objects():
        pytest.skip("built without clang 17 or newer")
    share = shared_package(lab, tmp_path_factory.mktemp("params") / "share", numpy=True)
    for name in ("schedtuna-watch", "libelf.so.1", "sched_aggregate.bpf.o"):
        shutil.copy(resource_path(f"native/{name}"), share / "lib/schedtuna/native")
    (share / "lib/regimes.toml").write_text(TABLE)
    (share / "lib/params.py").write_text(SCRIPT)
    for name, slice_us in SLICES.items():
        (share / f"lib/{name}.toml").write_text(ONE_SLICE % slice_us)
    others = dict(list(light_schedulers(lab).items())[:1])
    programs = (own_objects()["scx_tuna"], *others.values())
    booted, _ = boot(lab, GuestSpec(cpus=2, memory_mib=1024, share=share, programs=programs))
    with booted:
        yield booted, others


def test_parameters_are_set_while_it_runs_and_put_back_also_after_a_kill(guest):
    booted, _ = guest
    chosen = Guest(cpus=2).scheduler("scx_tuna:cpu_util_threshold=0.5")
    program = guest_program(own_objects()["scx_tuna"])
    with ScxProcess(booted, chosen, program, cpu_s=booted.cpu_s) as running:
        found = run_script(booted, "params.py", json.dumps(RUN))
        assert running.ejected() == ""
    unchanged = [BEFORE, 0]
    assert found["before"] == unchanged
    code, said, now = found["run"]
    assert (code, now) == (0, unchanged), said
    assert "slice_us of scx_tuna: 20000 -> 5000, because regime always: cpu_percent >= 0" in said
    assert "made 3 changes, put 3 back, yielded 0; refused 0, failed 0" in said
    code, said, now = found["killed"]
    # All three are written down before the first is set.
    assert (code, now) == (-9, [{**BEFORE, "slice_us": 5000}, 3]), said
    code, said, now = found["undone"]
    assert (code, now) == (0, unchanged), said
    assert "slice_us of scx_tuna: 5000 -> 20000" in said
    assert found["made"] == [SET, 3]
    assert found["yielded"] == ["somebody, unseen, set slice_us to 8000"]
    assert found["after"] == [{**BEFORE, "slice_us": 8000}, 0]


@pytest.mark.long
def test_the_guard_rolls_back_what_does_harm_and_keeps_what_does_none(guest):
    booted, _ = guest
    chosen = Guest(cpus=2).scheduler("scx_tuna:cpu_util_threshold=0.5")
    program = guest_program(own_objects()["scx_tuna"])
    with ScxProcess(booted, chosen, program, cpu_s=booted.cpu_s) as running:
        found = run_script(booted, "params.py", json.dumps(RUN), "guarded")
        assert running.ejected() == ""
    unchanged = [BEFORE, 0]
    why, nr_made, now = found["harm"]
    assert "above twice its limit of 35000, 3 intervals in a row" in why
    assert (nr_made, now) == (1, unchanged)
    why, nr_made, now = found["good"]
    assert (why, now) == ("", unchanged)
    assert nr_made == 1


def test_a_scheduler_without_such_parameters_is_named(guest):
    booted, others = guest
    if not others:
        pytest.skip("no scheduler of others: `schedtuna lab setup --schedulers`, SCHEDTUNA_SCX_PATH")
    ((name, path),) = others.items()
    with ScxProcess(booted, Guest(cpus=2).scheduler(name), guest_program(path), cpu_s=booted.cpu_s):
        ((code, said),) = run_in(booted, RUN)
    assert (code, name.removeprefix("scx_") in said, "while it runs" in said) == (3, True, True), said
