"""The order of things in an interval, on a process of the test's own, with intervals made by hand."""

import os
import subprocess
import time
from dataclasses import replace

import pytest
from tests.unit.agent.rows import intent, sensed, thread
from tests.unit.knobs.loader import Loader, be_of, machine_of

from schedtuna.agent.contract import ChangeTarget, GuardDecision, GuardVerdict, Intent, Need, RunningScheduler
from schedtuna.agent.glancing import Glances
from schedtuna.agent.limits import Limits
from schedtuna.agent.log import AgentLog, read_log
from schedtuna.agent.loop import Agent, LoopOptions, SensorError
from schedtuna.errors import UnavailableError
from schedtuna.knobs.base import Scope, Target
from schedtuna.knobs.hierarchies import find_hierarchy
from schedtuna.knobs.journal import Journal
from schedtuna.knobs.registry import knob_named
from schedtuna.knobs.scheduler_parameter import SchedulerParameter
from schedtuna.knobs.state import JOURNAL_NAME

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: nice is put back")
START_NS = 7


class Wants:
    """A policy that wants what it was told."""

    name = "wants"
    needs = frozenset({Need.TASKS})

    def __init__(self, *wanted):
        self.wanted = list(wanted)

    def decide(self, sensed, standing):
        return [standing[one.key].intent if one.key in standing else one for one in self.wanted]


class Insists(Wants):
    """Wants it whatever is in force."""

    def decide(self, sensed, standing):
        return self.wanted


class Says:
    """A guard that says one thing after the other."""

    def __init__(self, *decisions):
        self.decisions = list(decisions)
        self.given = []

    def judge(self, sensed, standing):
        self.given.append(dict(standing))
        return GuardVerdict(self.decisions.pop(0) if self.decisions else GuardDecision.ALLOW, "said so")


class Shows:
    """Senses that show the processes of the test as they are, or fail."""

    def __init__(self, *pids, extra=(), scheduler=None):
        self.unknown, self.touches, self.broken = {}, [], False
        self.pids, self.extra, self.number, self.scheduler = pids, list(extra), 0, scheduler

    def read(self):
        if self.broken:
            raise UnavailableError("the sensor is gone")
        rows = [
            thread(pid, nice=os.getpriority(os.PRIO_PROCESS, pid), start_time_ns=START_NS, ppid=1)
            for pid in self.pids
        ]
        self.number += 1
        found = sensed(self.number, *rows, *self.extra, scheduler=self.scheduler)
        return replace(found, end_ns=time.monotonic_ns())


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def nice(process):
    return os.getpriority(os.PRIO_PROCESS, process.pid)


def of(process, **values):
    return intent(process.pid, start_time_ns=START_NS, **values)


@pytest.fixture
def made(tmp_path):
    logs = []

    def make(policy, senses, **options):
        guard = options.pop("guard", None)
        log = AgentLog(tmp_path / "state")
        logs.append(log)
        return Agent(policy, senses, Journal(tmp_path / "state"), log, LoopOptions(**options), guard)

    yield make
    for log in logs:
        log.close()


@root
def test_what_is_wanted_is_made_and_goes_when_it_is_not_any_more(made, sleeper):
    policy = Wants(of(sleeper))
    agent = made(policy, Shows(sleeper.pid))
    agent.step()
    agent.step()
    assert (nice(sleeper), agent.counts.made) == (10, 1)  # and not made again
    policy.wanted = []
    agent.step()
    assert (nice(sleeper), agent.counts.undone) == (0, 1)
    assert agent.actor.standing == {}


@root
def test_another_value_takes_the_place_of_the_first_and_the_first_found_comes_back(made, sleeper):
    policy = Wants(of(sleeper, new=4))
    agent = made(policy, Shows(sleeper.pid))
    agent.step()
    agent.policy = Insists(of(sleeper, old=4, new=9))
    agent.step()
    assert nice(sleeper) == 9
    agent.finish("over")
    assert nice(sleeper) == 0


@root
def test_a_guards_words_are_obeyed(made, sleeper):
    says = GuardDecision
    guard = Says(says.HOLD, says.ALLOW, says.SUSPEND, says.SUSPEND, says.ALLOW, says.HOLD, says.ROLL_BACK)
    agent = made(Wants(of(sleeper)), Shows(sleeper.pid), guard=guard)
    values = []
    for _ in range(9):
        agent.step()
        values.append(nice(sleeper))
    assert values == [0, 10, 0, 0, 10, 10, 0, 0, 0]
    assert [len(given) for given in guard.given] == [0, 0, 1, 1, 1, 1, 1, 0, 0]  # in a window without, too
    assert (agent.stopped, agent.counts.rollbacks, agent.counts.made) == ("said so", 1, 1)
    agent.resume()
    agent.step()
    assert nice(sleeper) == 10


@root
def test_without_a_sensor_everything_goes_back_within_three_intervals(made, sleeper):
    senses = Shows(sleeper.pid)
    agent = made(Wants(of(sleeper)), senses)
    agent.step()
    senses.broken = True
    assert agent.step() is None
    assert agent.step() is None
    assert nice(sleeper) == 10
    with pytest.raises(SensorError, match="all was put back"):
        agent.step()
    assert nice(sleeper) == 0


@root
def test_one_that_is_refused_halfway_leaves_the_others(made, sleeper):
    """A thread that is gone by the time it is changed, in the middle of three."""
    other, gone = subprocess.Popen(["sleep", "600"]), subprocess.Popen(["sleep", "600"])
    gone.kill()
    gone.wait()
    row = thread(gone.pid, start_time_ns=START_NS, ppid=1)
    try:
        agent = made(Wants(of(sleeper), of(gone), of(other)), Shows(sleeper.pid, other.pid, extra=[row]))
        agent.step()
        assert (nice(sleeper), nice(other)) == (10, 10)
        assert (agent.counts.made, agent.counts.refused) == (2, 0)  # threads end all the time: no news
        agent.finish("over")
        assert (nice(sleeper), nice(other)) == (0, 0)
    finally:
        other.kill()
        other.wait()


@root
def test_a_journal_that_cant_be_written_means_that_nothing_is_changed(made, sleeper, tmp_path, monkeypatch):
    from schedtuna.errors import JournalError

    def full(*_):
        raise JournalError("no space left on device")

    agent = made(Wants(of(sleeper)), Shows(sleeper.pid))
    monkeypatch.setattr(agent.journal, "begin", full)
    agent.step()
    assert (nice(sleeper), agent.counts.failed, agent.counts.made) == (0, 1, 0)
    monkeypatch.undo()
    agent.step()  # there is room again
    assert nice(sleeper) == 10
    agent.finish("over")
    assert (tmp_path / "state" / JOURNAL_NAME).read_text() == ""


@root
def test_a_renice_between_sensing_and_acting_is_somebodys(made, sleeper):
    agent = made(Wants(of(sleeper)), Shows(sleeper.pid))
    senses = agent.senses
    read = senses.read

    def late():
        found = read()
        os.setpriority(os.PRIO_PROCESS, sleeper.pid, 3)
        return found

    senses.read = late
    agent.step()
    assert (nice(sleeper), agent.counts.failed) == (3, 1)
    senses.read = read
    agent.step()
    agent.finish("over")
    assert nice(sleeper) == 3


@root
def test_limits_of_an_interval_and_of_all(made):
    processes = [subprocess.Popen(["sleep", "600"]) for _ in range(5)]
    try:
        limits = Limits(changes_per_interval=2, most_standing=3)
        agent = made(Wants(*map(of, processes)), Shows(*(one.pid for one in processes)), limits=limits)
        counts = []
        for _ in range(3):
            agent.step()
            counts.append(sum(nice(one) == 10 for one in processes))
        assert counts == [2, 3, 3]
    finally:
        for one in processes:
            one.kill()
            one.wait()


@root
def test_what_was_suspended_comes_back_at_once(made):
    processes = [subprocess.Popen(["sleep", "600"]) for _ in range(4)]
    try:
        says = GuardDecision
        guard = Says(says.ALLOW, says.ALLOW, says.SUSPEND, says.ALLOW)
        limits = Limits(changes_per_interval=2)
        agent = made(
            Wants(*map(of, processes)), Shows(*(one.pid for one in processes)), limits=limits, guard=guard
        )
        counts = []
        for _ in range(4):
            agent.step()
            counts.append(sum(nice(one) == 10 for one in processes))
        assert counts == [2, 4, 0, 4]
    finally:
        for one in processes:
            one.kill()
            one.wait()


def test_advice_is_told_once_and_nothing_is_changed(made, sleeper, tmp_path):
    agent = made(Wants(of(sleeper)), Shows(sleeper.pid), advise=True)
    for _ in range(3):
        agent.step()
    assert (nice(sleeper), agent.counts.advised, len(agent.advice)) == (0, 1, 1)
    assert [row["kind"] for row in read_log(tmp_path / "state")].count("decision") == 1


def test_this_process_and_its_parents_are_never_changed(made):
    wanted = [intent(pid, start_time_ns=START_NS) for pid in (os.getpid(), os.getppid(), 1)]
    agent = made(Wants(*wanted), Shows(os.getpid()))
    agent.step()
    assert (agent.counts.refused, agent.counts.made) == (3, 0)


def test_what_sched_ext_ignores_is_refused(made, sleeper):
    slice_ = of(sleeper, setting="slice_us", old=None, new=3000)
    running = RunningScheduler("bpfland", is_ext=True)
    agent = made(Wants(slice_), Shows(sleeper.pid, scheduler=running))
    agent.step()
    assert agent.counts.refused == 1


@root
def test_a_thread_that_ends_leaves_nothing_behind(made, tmp_path):
    process = subprocess.Popen(["sleep", "600"])
    senses = Shows(process.pid)
    agent = made(Wants(of(process)), senses)
    agent.step()
    process.kill()
    process.wait()
    senses.pids = ()
    agent.policy.wanted = []
    agent.step()
    assert agent.actor.standing == {}
    assert (tmp_path / "state" / JOURNAL_NAME).read_text() == ""


def test_the_interval_grows_with_what_it_takes(made, sleeper, monkeypatch):
    agent = made(Wants(), Shows(sleeper.pid))
    spent = iter(range(0, 10**12, 10**8))  # 0.1 s of CPU time at each look
    monkeypatch.setattr(time, "thread_time_ns", lambda: next(spent))
    agent.step()
    assert agent.interval_s == pytest.approx(10)
    monkeypatch.undo()
    agent.step()
    assert agent.interval_s < 10


@root
def test_a_groups_weight_is_set_and_put_back(made, tmp_path):
    hierarchy = find_hierarchy("cpu")
    if hierarchy is None:
        pytest.skip("no cpu controller")
    group = hierarchy.mount / f"agent-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"may not make a control group: {error}")
    try:
        knob, target = knob_named("cpu_weight"), Target(Scope.CGROUP, cgroup=group)
        if not (found := knob.probe(target)).ok:
            pytest.skip(found.reason)
        before = knob.show(target)
        wanted = Intent(ChangeTarget("cgroup", cgroup=f"/{group.name}"), "cpu_weight", before, 300, "test")
        agent = made(Wants(wanted), Shows())
        agent.step()
        assert knob.show(target) == 300
        agent.put_back_all("over")
        assert knob.show(target) == before
        agent.step()
        somebody_sets(knob, target, 50)
        agent.step()  # somebody has set it: theirs from now on
        assert (agent.counts.yielded, knob.show(target)) == (1, 50)
        agent.policy.wanted = [replace(wanted, old=50)]
        agent.step()
        group.rmdir()
        agent.step()  # it vanishes
        assert agent.finish("over") == []
    finally:
        if group.exists():
            group.rmdir()


def somebody_sets(knob, target, value):
    """Somebody else sets it."""
    path = knob.file(target)
    path.write_text(knob.to_text(value, target.cgroup, 2 if path.name == "cpu.weight" else 1))


@root
def test_after_a_sleep_an_interval_decides_nothing_and_the_next_one_does(made, sleeper, monkeypatch):
    clocks = [(0, 0)]
    monkeypatch.setattr("schedtuna.agent.loop._clocks", lambda: clocks[0])
    guard = Says()
    agent = made(Wants(of(sleeper)), Shows(sleeper.pid), guard=guard)
    told = []
    agent.tell = told.append
    clocks[0] = (10**9, 10**9)
    agent.step()
    agent.policy.wanted = []
    clocks[0] = (3602 * 10**9, 2 * 10**9)  # suspended for an hour, which CLOCK_MONOTONIC does not count
    agent.step()
    assert (nice(sleeper), len(guard.given)) == (10, 1)  # neither policy nor guard was asked
    assert "the machine slept" in told[-1]
    clocks[0] = (3603 * 10**9, 3 * 10**9)
    agent.step()
    assert (nice(sleeper), len(guard.given)) == (0, 2)


@root
@pytest.mark.parametrize("jump_s", [-(10**9), 10**9])
def test_the_wall_clock_decides_nothing(made, sleeper, monkeypatch, jump_s):
    policy = Wants(of(sleeper))
    agent = made(policy, Shows(sleeper.pid))
    agent.step()
    now_s = time.time()
    monkeypatch.setattr("schedtuna.agent.log.time.time", lambda: now_s + jump_s)
    agent.step()
    assert (nice(sleeper), agent.counts.made, agent.counts.yielded) == (10, 1, 0)
    policy.wanted = []
    agent.step()
    assert nice(sleeper) == 0
    assert agent.journal.open_records() == []


class Reconsiders(Wants):
    """Wants back what it has changed, as soon as it looks again."""

    def reconsider(self, glance, standing):
        self.looked = glance.tasks["tid"].tolist()
        return list(standing)


class Counts(Shows):
    """Senses that BPF would be."""

    by_bpf = True

    def counted(self, tids):
        return sensed(0, *(thread(tid) for tid in tids)).tasks


@root
def test_between_intervals_goes_what_the_policy_does_not_want_any_more(made, sleeper):
    policy = Reconsiders(of(sleeper))
    agent = made(policy, Counts(sleeper.pid))
    assert not agent.glances  # nothing is in force
    agent.step()
    assert agent.glances
    agent.glance()
    assert (nice(sleeper), agent.counts.undone, policy.looked) == (0, 1, [sleeper.pid])
    undone = next(row for row in read_log(agent.log.directory) if row["kind"] == "undo")
    assert "runs shortly" in undone["why"]


@root
def test_policies_that_do_not_reconsider_are_not_asked(made, sleeper):
    agent = made(Wants(of(sleeper)), Counts(sleeper.pid))
    agent.step()
    agent.glance()
    assert (agent.glances, nice(sleeper)) == (False, 10)


@root
def test_looks_are_the_rarer_the_more_they_cost(made, sleeper):
    agent = made(Reconsiders(of(sleeper)), Counts(sleeper.pid))
    agent.step()
    glances, now_s = Glances(agent), time.monotonic()
    assert glances.wake_s(now_s + 1) < now_s + 0.2
    glances._cost_s = 0.01  # 1% of a second
    assert glances.wake_s(now_s + 1) == now_s + 1
    assert glances.wake_s(now_s + 60) >= now_s + 1.9


@pytest.fixture
def tuna(tmp_path, monkeypatch):
    machine = machine_of(tmp_path)
    be_of(machine, monkeypatch)
    loaders = [Loader(machine[1])]
    yield machine, loaders
    for one in loaders:
        one.end()


def tunes(**values):
    target = ChangeTarget("scheduler", scheduler="scx_tuna")
    return Wants(*(Intent(target, name, None, value, "the test") for name, value in values.items()))


TUNA = RunningScheduler("scx_tuna", is_ext=True, parameters={"slice_us": 20000, "cpu_util_threshold": 0.85})


def test_a_schedulers_parameters_are_made_suspended_and_put_back(made, tuna):
    says = GuardDecision
    guard = Says(says.ALLOW, says.SUSPEND, says.ALLOW, says.ROLL_BACK)
    agent = made(tunes(slice_us=5000, cpu_util_threshold=0.333), Shows(scheduler=TUNA), guard=guard)
    seen = []
    for _ in range(4):
        agent.step()
        now = SchedulerParameter().read().values
        seen.append((now["slice_us"], now["cpu_util_threshold"]))
    assert seen == [(5000, 0.332), (20000, 0.85), (5000, 0.332), (20000, 0.85)]
    assert agent.counts.yielded == 0  # what the kernel rounds is nobody's


def test_parameters_that_somebody_sets_are_theirs(made, tuna):
    agent = made(tunes(slice_us=5000, cpu_util_threshold=0.333), Shows(scheduler=TUNA))
    agent.step()
    SchedulerParameter().plan("scx_tuna", "slice_us", 7000).make(lambda _step: None)
    agent.step()
    assert (agent.counts.yielded, len(agent.actor.standing)) == (1, 1)
    agent.finish("over")
    now = SchedulerParameter().read().values
    assert (now["slice_us"], now["cpu_util_threshold"]) == (7000, 0.85)


def test_parameters_of_a_scheduler_that_has_ended_are_closed_and_no_namesakes(made, tuna):
    (_, place), loaders = tuna
    agent = made(tunes(slice_us=5000), Shows(scheduler=TUNA))
    agent.step()
    loaders.pop().end()
    loaders.append(Loader(place))
    agent.step()
    assert (agent.counts.yielded, agent.counts.made) == (0, 2)  # of the new one anew
    agent.finish("over")
    assert SchedulerParameter().read().values["slice_us"] == 20000
    assert agent.journal.open_records() == []
