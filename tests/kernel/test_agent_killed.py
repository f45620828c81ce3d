"""An agent that dies at any step: what it had changed, and what has inherited it, is put back."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.kernel.knob_target import observe

from schedtuna.agent.acting import Actor, ActResult, group_folder
from schedtuna.agent.contract import ChangeTarget, Intent
from schedtuna.agent.watcher import start_watcher
from schedtuna.errors import KnobError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.registry import knob_named
from schedtuna.knobs.undo import UndoResult, undo

pytestmark = pytest.mark.usefixtures("root", "machine_settings")

# Forks a child whenever it is told to, and tells its number.
FORKER = """
import os, sys, time
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
    print(pid, flush=True)
"""
SETTINGS: dict[str, int | str] = {"nice": 7, "policy": "batch", "slice_us": 3000}
GROUP_SETTINGS = {"cpu_weight": 50, "cpu_quota": 40}
GROUP_FILES = ("cpu.weight", "cpu.max", "cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us")


def autogroup_of(pid):
    path = Path(f"/proc/{pid}/autogroup")
    return path.read_text() if path.exists() else ""


class Family:
    """A process, and the children that it was told to fork."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, "-c", FORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.children = []

    def fork(self):
        self.process.stdin.write("fork\n")
        self.process.stdin.flush()
        self.children.append(int(self.process.stdout.readline()))

    def close(self):
        for pid in self.children:
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.communicate()

    def seen(self):
        return [(observe(tid), autogroup_of(tid)) for tid in (self.process.pid, *self.children)]


@pytest.fixture
def family():
    made = Family()
    made.fork()  # so that it has started
    yield made
    made.close()


@pytest.fixture
def group():
    """A control group of the test's own; None where there is no hierarchy for the CPU."""
    try:
        folder = group_folder(f"/agent-killed-{os.getpid()}")
        folder.mkdir()
    except (KnobError, OSError):
        yield None
        return
    yield folder
    folder.rmdir()


def files_of(group):
    """What another program reads of the group's files."""
    if group is None:
        return ""
    names = [path for name in GROUP_FILES if (path := group / name).exists()]
    return subprocess.run(["head", "-n", "5", *names], capture_output=True, text=True, check=True).stdout


def of_group(group):
    if group is None:
        return []
    target, place = ChangeTarget("cgroup", cgroup=f"/{group.name}"), Target(Scope.CGROUP, cgroup=group)
    return [
        Intent(target, name, None, value, "the test wants it")
        for name, value in GROUP_SETTINGS.items()
        if knob_named(name).probe(place).ok
    ]


def intents(pid, sysctl, group=None):
    target = ChangeTarget("thread", tid=pid, tgid=pid)
    thread = [
        Intent(target, name, None, value, "the test wants it")
        for name, value in SETTINGS.items()
        if knob_named(name).probe(Target(Scope.PID, pid=pid)).ok
    ]
    if knob_named("autogroup_nice").probe(Target(Scope.PID, pid=pid)).ok:
        session = ChangeTarget("session", tid=pid, tgid=pid)
        thread.append(Intent(session, "autogroup_nice", 0, 7, "the test wants it"))
    machine = [Intent(ChangeTarget("machine"), "rr_timeslice_ms", None, 42, "the test wants it")]
    return thread + (machine if sysctl else []) + of_group(group)


def act(journal, family, sysctl, group=None):
    """What an agent does: changes, forks of what it changed, and all of it back."""
    actor = Actor(journal)
    made = actor.make(intents(family.process.pid, sysctl, group))
    assert all(one.result is ActResult.MADE for one in made), made
    journal.step("between")
    actor.put_back([act.intent.key for act in made[:1]])
    actor.make([act.intent for act in made[:1]])
    actor.put_back(list(actor.standing))


def killed_at(step, folder, family, sysctl, group=None):
    """Act in a child that kills itself at a step; the child's number, and whether it got that far."""
    child = os.fork()
    if child == 0:
        steps = iter(range(1, step + 1))

        def count(_name):
            if next(steps) == step:
                os.kill(os.getpid(), signal.SIGKILL)

        try:
            act(Journal(folder, on_step=count), family, sysctl, group)
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return child, True
    assert os.WEXITSTATUS(status) == 0, "the act itself failed"
    return child, False


def sysctls():
    return subprocess.run(
        ["cat", "/proc/sys/kernel/sched_rr_timeslice_ms"], capture_output=True, text=True, check=True
    ).stdout


def writable_sysctl():
    return knob_named("rr_timeslice_ms").probe(Target(Scope.MACHINE)).ok


def test_a_kill_at_any_step_leaves_nothing(family, group, tmp_path):
    sysctl = writable_sysctl()
    before, settings, files = family.seen()[0], sysctls(), files_of(group)
    step, reached = 1, True
    while reached:
        child, reached = killed_at(step, tmp_path / "state", family, sysctl, group)
        family.fork()  # what inherits between the kill and the undo
        outcomes = undo(Journal(tmp_path / "state"), owner=child)
        assert not [one for one in outcomes if one.failed]
        assert all(seen == before for seen in family.seen()), f"after step {step}"
        assert (sysctls(), files_of(group)) == (settings, files)
        assert Journal(tmp_path / "state").open_records() == []
        step += 1
    assert step > 20


def test_what_somebody_has_set_since_is_left_to_them(family, tmp_path):
    child = os.fork()
    if child == 0:
        Actor(Journal(tmp_path / "state")).make(intents(family.process.pid, False))
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    os.setpriority(os.PRIO_PROCESS, family.process.pid, 3)
    undo(Journal(tmp_path / "state"), owner=child)
    assert os.getpriority(os.PRIO_PROCESS, family.process.pid) == 3


def test_undo_of_one_owner_leaves_the_others(family, tmp_path):
    children = []
    for name in ("nice", "policy"):
        child = os.fork()
        if child == 0:
            chosen = [one for one in intents(family.process.pid, False) if one.setting == name]
            Actor(Journal(tmp_path / "state")).make(chosen)
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        children.append(child)
    undo(Journal(tmp_path / "state"), owner=children[0])
    assert os.getpriority(os.PRIO_PROCESS, family.process.pid) == 0
    assert os.sched_getscheduler(family.process.pid) == os.SCHED_BATCH
    undo(Journal(tmp_path / "state"))
    assert os.sched_getscheduler(family.process.pid) == os.SCHED_OTHER


def watched(folder, family, *, dismissed):
    """Act in a child with a watcher, and end without a word or with one; returns the watcher's number."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        watcher = start_watcher(folder)
        Actor(Journal(folder)).make(intents(family.process.pid, False))
        os.write(tell, str(watcher.pid).encode())
        if dismissed:
            watcher.dismiss()
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(tell)
    pid = int(os.read(told, 20))
    os.waitpid(child, 0)
    os.close(told)
    return pid


def wait_for_end(pid):
    deadline = time.monotonic() + 60
    while state_of(pid) != "Z":
        assert time.monotonic() < deadline
        time.sleep(0.05)


def state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def test_a_session_whose_leader_has_ended_is_put_back_by_who_is_left(tmp_path):
    family = Family()
    try:
        if not knob_named("autogroup_nice").probe(Target(Scope.PID, pid=family.process.pid)).ok:
            pytest.skip("no autogroups here")
        family.fork()
        (child,) = family.children
        before = autogroup_of(child)
        actor = Actor(Journal(tmp_path / "state"))
        actor.make([one for one in intents(family.process.pid, False) if one.target.kind == "session"])
        assert "nice 7" in autogroup_of(child)
        family.process.kill()
        family.process.wait()
        (undone,) = actor.put_back(list(actor.standing))
        assert (undone.result, undone.reason) == (UndoResult.RESTORED, "")
        assert autogroup_of(child) == before
    finally:
        family.close()


@pytest.mark.parametrize("dismissed", [False, True])
def test_the_watcher_undoes_unless_it_was_told_that_nothing_is_left(family, tmp_path, dismissed):
    before = family.seen()[0]
    pid = watched(tmp_path / "state", family, dismissed=dismissed)
    wait_for_end(pid)
    assert (family.seen()[0] == before) is not dismissed
    undo(Journal(tmp_path / "state"))
    assert family.seen()[0] == before


@pytest.mark.long
def test_five_hundred_kills(family, group, tmp_path):
    """Spread evenly over the steps that there are, while the process goes on forking."""
    sysctl = writable_sysctl()
    rng = random.Random(1)
    before, settings, files, nr_steps = family.seen()[0], sysctls(), files_of(group), 1
    while killed_at(nr_steps, tmp_path / "state", family, sysctl, group)[1]:
        undo(Journal(tmp_path / "state"))
        nr_steps += 1
    for number in range(500):
        child, _ = killed_at(1 + number % nr_steps, tmp_path / "state", family, sysctl, group)
        if rng.random() < 0.05:
            family.fork()
        undo(Journal(tmp_path / "state"), owner=child)
        assert all(seen == before for seen in family.seen())
        assert (sysctls(), files_of(group)) == (settings, files)


# An agent that changes a thread, and then asks for more memory than its control group has.
GREEDY = """
import os, sys
from pathlib import Path
Path(sys.argv[1], "cgroup.procs").write_text(str(os.getpid()))
from schedtuna.agent.acting import Actor
from schedtuna.agent.contract import ChangeTarget, Intent
from schedtuna.agent.watcher import start_watcher
from schedtuna.knobs.journal import Journal
folder, pid = Path(sys.argv[2]), int(sys.argv[3])
watcher = start_watcher(folder)
target = ChangeTarget("thread", tid=pid, tgid=pid)
(act,) = Actor(Journal(folder)).make([Intent(target, "nice", None, 7, "the test wants it")])
print(watcher.pid, os.getpriority(os.PRIO_PROCESS, pid), flush=True)
held = []
while True:
    held.append(bytearray(os.urandom(1 << 20)))
"""
ENOUGH_MIB = 160  # for the agent, and for what undoes once the agent's memory is free again


@pytest.fixture
def small():
    """A control group with little memory, of whichever version."""
    for mount, name in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        folder = Path(mount, f"agent-small-{os.getpid()}")
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / name).write_text(str(ENOUGH_MIB << 20))
        except OSError:
            folder.rmdir()
            continue
        yield folder
        deadline = time.monotonic() + 60
        while (folder / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.1)
        folder.rmdir()
        return
    pytest.skip("no control group of memory can be made here")


def test_an_agent_that_is_killed_for_memory_leaves_nothing(family, small, tmp_path):
    before = family.seen()[0]
    argv = [sys.executable, "-c", GREEDY, small, tmp_path / "state", str(family.process.pid)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as agent:
        watcher, nice = map(int, agent.stdout.readline().split())
        assert nice == 7
        assert agent.wait(120) == -signal.SIGKILL
    wait_for_end(watcher)
    assert family.seen()[0] == before
    assert Journal(tmp_path / "state").open_records() == []
