"""The agent's policy `swap` on the lab's kernel: schedulers come, go with the agent, and into quarantine."""

import json
import shutil

import pytest
from tests.kernel.guest_python import run_script, shared_package
from tests.kernel.lab_guest import lab_or_skip, light_schedulers

from schedtuna.lab.boot import boot
from schedtuna.lab.vm import GuestSpec
from schedtuna.resources import resource_path

TABLE = """
decider = "rules"
windows = 1
step_s = 1.2
discard_s = 0.3
[[arm]]
scheduler = "{name}"
[[regime]]
when = ["cpu_percent >= 0"]
arm = "{name}"
"""
RUN = ("agent", "run", "--policy", "swap:/share/lib/swap.toml", "--interval", "0.3s")
# All in one process, whose children are what a user types: an emulated guest takes long to import.
SCRIPT = """
import json, os, sys, time
from pathlib import Path
from schedtuna.agent.decisions.log import read_decision_rows
from schedtuna.agent.log import AgentLog
from schedtuna.agent.loop import Agent
from schedtuna.agent.policies.registry import make_policy
from schedtuna.agent.sensing import Senses
from schedtuna.cli.main import main
from schedtuna.knobs.journal import Journal
import schedtuna.agent.running, schedtuna.cli.agent, schedtuna.cli.undo

def begun(*argv):
    if child := os.fork():
        return child
    output = os.open("/tmp/output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    try:
        main([*argv])
    except SystemExit as end:
        sys.stdout.flush()
        os._exit(end.code or 0)
    os._exit(99)

def ended(child):
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [code, Path("/tmp/output").read_text(), state(), len(Journal().open_records())]

def state():
    return Path("/sys/kernel/sched_ext/state").read_text().strip()

def await_state(wanted):
    deadline = time.monotonic() + 100
    while state() != wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    return state()

run, found = json.loads(sys.argv[1]), {}
agent = begun(*run)
found["swapped"] = await_state("enabled")
os.kill(agent, 15)
found["ended"] = ended(agent)
found["rows"] = list(read_decision_rows())
agent = begun(*run)
await_state("enabled")
os.kill(agent, 9)
found["after kill"] = await_state("disabled")
found["killed"] = ended(agent)
found["undone"] = ended(begun("undo"))

policy = make_policy(run[3])
senses, log = Senses(policy.needs), AgentLog(Path("/root/log"))
agent = Agent(policy, senses, Journal(), log)
while not agent.actor.standing:
    time.sleep(0.3)
    agent.step()
(held,) = agent.actor._held.values()
os.kill(held.records[0].subject.pid, 9)
await_state("disabled")
agent.step()
found["ejected"] = [[event.arm, str(event.result), event.reason] for event in agent.sensed.swaps]
found["set aside"] = policy.why_not
agent.finish("the test is over")
senses.close()
found["again"] = ended(begun(*run, "--for", "2s"))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def guest(tmp_path_factory):
    lab = lab_or_skip()
    others = light_schedulers(lab)
    if not others:
        pytest.skip("no scheduler: `schedtuna lab setup --schedulers`, SCHEDTUNA_SCX_PATH")
    name, program = next(iter(others.items()))
    share = shared_package(lab, tmp_path_factory.mktemp("swap") / "share", numpy=True)
    for file in ("schedtuna-watch", "agent_sense.bpf.o", "sched_aggregate.bpf.o", "libelf.so.1"):
        shutil.copy(resource_path(f"native/{file}"), share / "lib/schedtuna/native")
    (share / "lib/swap.toml").write_text(TABLE.format(name=name))
    (share / "lib/swap.py").write_text(SCRIPT)
    booted, _ = boot(lab, GuestSpec(cpus=2, memory_mib=1024, share=share, programs=(program,)))
    with booted:
        yield booted, name


@pytest.mark.long
def test_a_scheduler_is_swapped_in_put_back_also_after_a_kill_and_quarantined(guest):
    booted, name = guest
    found = run_script(booted, "swap.py", json.dumps(RUN))
    assert found["swapped"] == "enabled"
    code, said, *now = found["ended"]
    assert (code, now) == (0, ["disabled", 0]), said
    assert f"scheduler of this machine: default -> {name}, because rules chose it" in said
    assert f"put back scheduler of this machine: {name} -> default" in said
    first, outcome, second = found["rows"][:3]
    assert (first["action"], second["action"]) == ("default", name)
    assert second["propensities"] == [0, 1]
    assert outcome["unknown"].startswith("the default was not seen")
    assert outcome["terms"]["turnaround"] > 0
    assert found["after kill"] == "disabled"
    code, said, state, nr_open = found["killed"]
    assert (code, state, nr_open) == (-9, "disabled", 1), said
    code, said, *now = found["undone"]
    assert (code, now) == (0, ["disabled", 0]), said
    enabled, (arm, result, reason) = found["ejected"]
    assert enabled == [name, "enabled", ""]
    assert (arm, result) == (name, "ejected")
    assert "SIGKILL" in reason
    assert f"{name} was ejected" in found["set aside"][name]
    code, said, *now = found["again"]
    assert (code, now) == (3, ["disabled", 0]), said
    assert "nothing to choose beside the default" in said
    assert "in quarantine" in said
