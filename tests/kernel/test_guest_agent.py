"""The agent on the lab's kernel, where programs may be attached to the functions that set attributes."""

import shutil

from tests.kernel.guest_python import run_script, shared_package
from tests.kernel.lab_guest import lab_or_skip

from schedtuna.lab.boot import boot
from schedtuna.lab.vm import GuestSpec
from schedtuna.resources import resource_path

# Only who sees each call can tell these: a value that was set and taken back before the agent acts, the value
# that the agent itself has set, and one that was set and taken back between two acts.
SCRIPT = """
import json, os, subprocess, sys
from pathlib import Path
from schedtuna.agent.contract import ChangeTarget, Intent, Need
from schedtuna.agent.log import AgentLog
from schedtuna.agent.loop import Agent, LoopOptions
from schedtuna.agent.sensing import Senses
from schedtuna.knobs.journal import Journal

CALLS = {
    "nice": "os.setpriority(os.PRIO_PROCESS, {tid}, {value})",
    "policy": "os.sched_setscheduler({tid}, {value}, os.sched_param(0))",
}

class Wants:
    name, needs = "wants", frozenset({Need.TASKS})
    def decide(self, sensed, standing):
        return [
            Intent(target(row), setting, None, value, "the test wants it")
            for row in sensed.tasks if int(row["tid"]) in names
            for setting, value in (("nice", 10), ("policy", "batch"))
        ]

def target(row):
    tid, start_ns = int(row["tid"]), int(row["start_time_ns"])
    return ChangeTarget("thread", tid=tid, tgid=tid, start_time_ns=start_ns, comm="sleep")

def others_set(name, setting, *values):
    tid = next(tid for tid, one in names.items() if one == name)
    calls = "; ".join(CALLS[setting].format(tid=tid, value=value) for value in values)
    child = subprocess.Popen([sys.executable, "-S", "-c", "import os; " + calls])
    assert child.wait() == 0
    setters.setdefault(name, []).append(child.pid)

def nice_values():
    return {name: os.getpriority(os.PRIO_PROCESS, tid) for tid, name in names.items()}

def sleeper():  # no child of this process, which leaves its own alone
    return int(subprocess.check_output(["sh", "-c", "sleep 1000 > /dev/null 2>&1 & echo $!"]))

names, setters = {sleeper(): name for name in ("before", "same", "between", "nobody")}, {}
senses, log = Senses(), AgentLog(Path("/root/agent-log"))
agent = Agent(policy=Wants(), senses=senses, journal=Journal(), log=log, options=LoopOptions())
others_set("before", "nice", 3, 0)
agent.step()
found = {"first": nice_values()}
agent.step()
found["unheard"] = agent.counts.yielded
others_set("same", "nice", 10)
others_set("between", "policy", 0, 3)
agent.step()
found["second"] = nice_values()
agent.step()
found["stays"] = agent.counts.yielded
agent.finish("the test is over")
found["at the end"] = nice_values()
found["policies"] = {name: os.sched_getscheduler(tid) for tid, name in names.items()}
log.close()
senses.close()
for tid in names:
    os.kill(tid, 9)
keys = {f"thread:{tid}:": name for tid, name in names.items()}
found["taken"] = sorted(
    [next(name for start, name in keys.items() if key.startswith(start)), key.rpartition(":")[2], what]
    for key, what in agent.ownership.taken.items() if any(key.startswith(start) for start in keys)
)
print(json.dumps([senses.unknown.get("actors", ""), setters, found]))
"""


def test_who_sets_an_attribute_is_seen_and_yielded_to(tmp_path):
    lab = lab_or_skip()
    share = shared_package(lab, tmp_path / "share", numpy=True)
    for name in ("agent_sense.bpf.o", "sched_aggregate.bpf.o", "libelf.so.1"):
        shutil.copy(resource_path(f"native/{name}"), share / "lib/schedtuna/native")
    (share / "lib/agent.py").write_text(SCRIPT)
    booted, _ = boot(lab, GuestSpec(cpus=2, memory_mib=1024, share=share))
    with booted:
        unfollowed, setters, found = run_script(booted, "agent.py")
    assert unfollowed == ""
    assert found["first"] == {"before": 0, "same": 10, "between": 10, "nobody": 10}
    assert found["unheard"] == 0  # its own changes are no news
    assert found["second"] == found["first"]
    assert found["stays"] == 2
    who = {name: f"python3 (process {pids[-1]})" for name, pids in setters.items()}
    assert found["taken"] == [
        ["before", "nice", f"{who['before']} set nice to 0"],
        ["between", "policy", f"{who['between']} set policy to batch"],
        ["same", "nice", f"{who['same']} set nice to 10"],
    ]
    # What the agent has yielded is somebody else's to put back.
    assert found["at the end"] == {"before": 0, "same": 10, "between": 0, "nobody": 0}
    assert found["policies"] == {"before": 0, "same": 0, "between": 3, "nobody": 0}
