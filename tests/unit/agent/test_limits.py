"""What is never changed, whatever a policy says."""

import pytest
from tests.unit.agent.rows import intent

from schedtuna.agent.contract import ChangeTarget, Intent, RunningScheduler
from schedtuna.agent.limits import Limits, Surroundings, ThreadFacts, refusal
from schedtuna.agent.managers import MANAGERS, group_manager, owner_of, running_managers

PLAIN = ThreadFacts(tgid=7, is_kernel_thread=False, policy=0, cgroup="/user.slice/a.service")
NO_LIMITS = Limits()
HERE = Surroundings(own_tgids={100})


def judged(wanted=None, *, limits=NO_LIMITS, around=HERE, thread=PLAIN):
    return refusal(wanted or intent(), limits, around, thread)


def test_a_plain_thread_may_be_changed():
    assert judged() is None


@pytest.mark.parametrize(
    ("thread", "reason"),
    [
        (None, "gone"),
        (ThreadFacts(7, True, 0), "kernel"),
        (ThreadFacts(1, False, 0), "process 1"),
        (ThreadFacts(100, False, 0), "this agent"),
        (ThreadFacts(7, False, 1), "realtime"),
        (ThreadFacts(7, False, 2), "realtime"),
        (ThreadFacts(7, False, 6), "realtime, deadline"),
        (ThreadFacts(7, False, 7), "sched_ext"),
        (ThreadFacts(7, False, 0, "/kubepods.slice/pod1"), "Kubernetes"),
        (ThreadFacts(7, False, 0, "/system.slice/docker-abc.scope"), "Docker"),
        (ThreadFacts(7, False, 0, "/machine.slice/libpod-1.scope"), "machined"),
    ],
)
def test_what_is_not_the_agents_to_change(thread, reason):
    found = judged(thread=thread)
    assert found is not None
    assert reason in found.reason


def test_a_programs_settings_are_its_own_while_it_runs():
    around = Surroundings(managers=running_managers(["bash", "ananicy-cpp"]))
    found = judged(around=around)
    assert found.advise
    assert "ananicy-cpp" in found.reason
    assert judged(intent(setting="timer_slack_us"), around=around) is None


def test_a_name_is_compared_as_the_kernel_cuts_it():
    assert [one.name for one in running_managers(["power-profiles-"])] == ["power-profiles-daemon"]
    assert running_managers(["tuned-ppd", "notuned"]) == ()
    assert owner_of("nice", running_managers(["tuned"])) is None


@pytest.mark.parametrize("manager", MANAGERS, ids=lambda one: one.name)
def test_every_manager_owns_something(manager):
    assert owner_of(manager.settings[0], [manager]) is manager


def test_what_somebody_set_is_only_advised():
    found = judged(around=Surroundings(taken={intent().key: "renice (process 9) set nice to 3"}))
    assert found.advise
    assert "renice (process 9)" in found.reason


def test_a_knob_that_does_nothing_under_a_sched_ext_scheduler_is_not_turned():
    around = Surroundings(scheduler=RunningScheduler("bpfland", is_ext=True))
    assert "bpfland" in judged(intent(setting="slice_us", old=None, new=3000), around=around).reason
    assert judged(intent(), around=around) is None  # it may look at nice


def test_only_what_was_named_is_changed():
    assert judged(limits=Limits(tgids=frozenset({8}))).quiet
    assert judged(limits=Limits(tgids=frozenset({7}))) is None
    assert judged(limits=Limits(cgroups=("/user.slice",))) is None
    assert judged(limits=Limits(cgroups=("/user",))).quiet  # a name is not a prefix of another
    around = Surroundings(taken={intent().key: "somebody"})
    assert judged(
        limits=Limits(tgids=frozenset({8})), around=around
    ).quiet  # what is not asked for is not told
    assert judged(limits=Limits(settings=frozenset({"slice_us"}))).advise


@pytest.mark.parametrize(("cgroup", "delegated"), [("/", False), ("/a", True), ("/kubepods/x", False)])
def test_groups_of_others_keep_their_weights(cgroup, delegated):
    wanted = Intent(ChangeTarget("cgroup", cgroup=cgroup), "cpu_weight", 100, 50, "it is batch")
    facts = ThreadFacts(0, False, 0, cgroup, delegated)
    assert refusal(wanted, Limits(), HERE, facts) is not None
    plain = Intent(ChangeTarget("cgroup", cgroup="/a"), "cpu_weight", 100, 50, "it is batch")
    assert refusal(plain, Limits(), HERE, ThreadFacts(0, False, 0, "/a")) is None


@pytest.mark.parametrize(
    ("cgroup", "manager"),
    [("/dockerish.slice", ""), ("/docker/1", "Docker"), ("/lxc.payload.x", "LXC"), ("/a/crio-1", "CRI-O")],
)
def test_a_groups_manager_is_known_by_whole_words(cgroup, manager):
    assert group_manager(cgroup) == manager
