"""Sessions and control groups of the test's own: weighed, put back, somebody's, and gone."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.agent.rows import thread
from tests.unit.agent.test_loop import START_NS, Shows, Wants

from schedtuna.agent.contract import ChangeTarget, Intent
from schedtuna.agent.limits import Limits
from schedtuna.agent.log import AgentLog
from schedtuna.agent.loop import Agent, LoopOptions
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import find_hierarchy
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.registry import knob_named


class Members(Shows):
    """Shows processes as members of a session."""

    def __init__(self, leader, *pids, **values):
        self.leader = leader
        super().__init__(*pids, **values)

    def read(self):
        found = super().read()
        found.tasks["session"] = self.leader
        return found


@pytest.fixture
def session():
    """A shell that leads a session, and a child of its."""
    argv = ["sh", "-c", "sleep 600 & echo $!; wait"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as leader:
        child = int(leader.stdout.readline())
        if not knob_named("autogroup_nice").probe(Target(Scope.PID, pid=leader.pid)).ok:
            leader.kill()
            os.kill(child, 9)
            pytest.skip("no autogroups here, or no privilege")
        yield leader, child
        leader.kill()
        if Path(f"/proc/{child}").exists():
            os.kill(child, 9)


@pytest.fixture
def made(tmp_path):
    logs = []

    def make(policy, senses, **options):
        logs.append(AgentLog(tmp_path / "state"))
        return Agent(policy, senses, Journal(tmp_path / "state"), logs[-1], LoopOptions(**options))

    yield make
    for log in logs:
        log.close()


@pytest.fixture
def group():
    hierarchy = find_hierarchy("cpu")
    if hierarchy is None:
        pytest.skip("no cpu controller")
    folder = hierarchy.mount / f"agent-gone-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"may not make a control group: {error}")
    yield folder
    if folder.exists():
        folder.rmdir()


def weighs(leader):
    target = ChangeTarget("session", tid=leader.pid, tgid=leader.pid, start_time_ns=START_NS)
    return Intent(target, "autogroup_nice", 0, 7, "it computes")


def autogroup(pid):
    return int(Path(f"/proc/{pid}/autogroup").read_text().split()[-1])


def test_a_session_is_weighed_and_put_back(made, session):
    leader, child = session
    agent = made(Wants(weighs(leader)), Members(leader.pid, leader.pid, child))
    agent.step()
    agent.step()
    assert (autogroup(child), agent.counts.made) == (7, 1)
    agent.policy.wanted = []
    agent.step()
    assert (autogroup(child), agent.actor.standing) == (0, {})


def test_a_session_that_somebody_has_weighed_is_theirs(made, session):
    leader, child = session
    Path(f"/proc/{child}/autogroup").write_text("3")
    agent = made(Wants(weighs(leader)), Members(leader.pid, leader.pid, child))
    agent.step()
    assert list(agent.ownership.taken.values()) == ["autogroup_nice was 3 when it was first looked at"]
    agent.finish("over")
    assert (autogroup(child), agent.counts.made) == (3, 0)


def test_who_weighs_it_meanwhile_keeps_it(made, session):
    leader, child = session
    agent = made(Wants(weighs(leader)), Members(leader.pid, leader.pid, child))
    agent.step()
    Path(f"/proc/{child}/autogroup").write_text("4")
    agent.step()
    agent.finish("over")
    assert (autogroup(child), agent.counts.yielded) == (4, 1)


def test_a_session_with_a_process_outside_of_the_limits_is_left_alone(made, session):
    leader, child = session
    for tgids, expected in ((frozenset({leader.pid}), 0), (frozenset({leader.pid, child}), 7)):
        agent = made(
            Wants(weighs(leader)), Members(leader.pid, leader.pid, child), limits=Limits(tgids=tgids)
        )
        agent.step()
        assert autogroup(child) == expected
        agent.finish("over")


def test_the_agents_own_session_is_never_weighed(made, session):
    leader, child = session
    own = thread(os.getpid(), start_time_ns=START_NS, ppid=1)
    agent = made(Wants(weighs(leader)), Members(leader.pid, leader.pid, child, extra=[own]))
    agent.step()
    assert (autogroup(child), agent.counts.refused) == (0, 1)


def test_a_session_that_ends_leaves_nothing_open(made, session, tmp_path):
    leader, child = session
    senses = Members(leader.pid, leader.pid, child)
    agent = made(Wants(weighs(leader)), senses)
    agent.step()
    for pid in (child, leader.pid):
        os.kill(pid, 9)
    leader.wait()
    senses.pids, agent.policy.wanted = (), []
    agent.step()
    assert agent.actor.standing == {}
    assert Journal(tmp_path / "state").open_records() == []


def test_a_control_group_that_vanishes_under_a_change_leaves_nothing_open(made, group, tmp_path):
    knob, place = knob_named("cpu_weight"), Target(Scope.CGROUP, cgroup=group)
    if not (found := knob.probe(place)).ok:
        pytest.skip(found.reason)
    wanted = Intent(ChangeTarget("cgroup", cgroup=f"/{group.name}"), "cpu_weight", None, 50, "it computes")
    agent = made(Wants(wanted), Shows())
    agent.step()
    assert knob.show(place) == 50
    group.rmdir()
    agent.step()
    assert agent.actor.standing == {}
    assert Journal(tmp_path / "state").open_records() == []
    agent.policy.wanted = [replace(wanted)]
    agent.step()  # it is not there: nothing is made, and nothing breaks
    assert (agent.counts.made, agent.finish("over")) == (1, [])


def test_a_control_group_whose_weight_is_somebodys_is_left_alone(made, group):
    knob, place = knob_named("cpu_weight"), Target(Scope.CGROUP, cgroup=group)
    if not (found := knob.probe(place)).ok:
        pytest.skip(found.reason)
    knob.plan(place, 300).make(lambda _step: None)
    wanted = Intent(ChangeTarget("cgroup", cgroup=f"/{group.name}"), "cpu_weight", None, 50, "it computes")
    agent = made(Wants(wanted), Shows())
    agent.step()
    assert (knob.show(place), agent.counts.made, agent.counts.advised) == (300, 0, 1)


UNPRIVILEGED = """
import os, resource, sys
from schedtuna.agent.acting import Actor
from schedtuna.agent.contract import ChangeTarget, Intent
from schedtuna.knobs.journal import Journal
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
pid = os.fork() or os.execlp("sleep", "sleep", "600")
target, actor = ChangeTarget("thread", tid=pid, tgid=pid), Actor(Journal(Path(sys.argv[1])))
wanted = {"nice": 5, "policy": "idle"}
for act in actor.make([Intent(target, *one, "test") for one in ((n, None, v) for n, v in wanted.items())]):
    print(act.result, act.reason)
(act,) = actor.make([Intent(target, "policy", None, "batch", "test")])
undone = actor.put_back(list(actor.standing))
print(act.result, [one.result.value for one in undone], len(actor.journal.open_records()))
os.kill(pid, 9)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes somebody without privilege")
def test_without_privilege_nothing_is_changed_that_could_not_be_put_back():
    state = Path(tempfile.mkdtemp())
    try:
        os.chown(state, 65534, 65534)
        argv = [sys.executable, "-c", UNPRIVILEGED, str(state / "state")]
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=100)
    finally:
        shutil.rmtree(state)
    assert done.stdout.splitlines() == [
        "failed without privilege nice can be raised but not put back",
        "failed without privilege a thread can be made idle but not put back",
        "made ['restored'] 0",
    ], done.stderr
