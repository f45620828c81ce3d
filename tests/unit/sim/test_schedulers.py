"""Schedulers in Python: what they are called with, what their errors become, and the suite for them."""

from __future__ import annotations

import sys
from collections import deque

import pytest

from schedtuna.errors import ConformanceError, SimulationError, UsageError
from schedtuna.sim import GLOBAL_DSQ, DequeueReason, EnqueueReason, Scheduler, Simulation
from schedtuna.sim.conformance import check_scheduler
from schedtuna.sim.native import CALLBACKS
from schedtuna.sim.schedulers import chosen_scheduler, native_schedulers
from schedtuna.space import ParameterType

MS = 1_000_000
LOAD = {
    "tasks": {
        "hog": {"instance": 2, "run": 10_000},
        "sleeper": {"instance": 3, "run": 700, "sleep": 1300},
    }
}


class Queue(Scheduler):
    """One queue of its own, in order of arrival."""

    conserves_work = True

    def __init__(self):
        self.queue = deque()

    def enqueue(self, machine, task, reason):
        self.queue.append(task)

    def dispatch(self, machine, cpu, prev):
        for task in self.queue:
            if task.may_run_on(cpu):
                self.queue.remove(task)
                task.slice_ns = 2 * MS
                return task
        return None


class RoundRobin(Scheduler):
    """As the native `rr`."""

    conserves_work = True

    def enqueue(self, machine, task, reason):
        machine.dsq_insert(task, GLOBAL_DSQ, 2 * MS)


class ByVtime(Scheduler):
    """In order of what each has had, weighted, in a queue in vtime order."""

    def init(self, machine):
        self.dsq = machine.create_dsq()

    def enqueue(self, machine, task, reason):
        machine.dsq_insert_vtime(task, self.dsq, MS, task.vtime)

    def dispatch(self, machine, cpu, prev):
        machine.dsq_move_to_local(self.dsq, cpu)

    def stopping(self, machine, task, runnable):
        task.vtime = task.cpu_time_ns * 1024 // task.weight


def totals(scheduler, load=LOAD, **options):
    simulation = Simulation(load, scheduler, cpus=2, **options)
    simulation.run(200 * MS)
    return simulation.totals


def test_one_in_python_decides_as_its_native_twin():
    assert totals(RoundRobin) == totals("rr:slice_us=2000")
    assert totals(Queue) == totals("rr:slice_us=2000")
    assert totals(Scheduler) == totals("rr:slice_us=20000")  # sched_ext's defaults


def test_only_what_it_defines_is_called_and_with_what_it_says():
    calls = []

    def record(name):
        def callback(self, machine, *arguments):
            calls.append((name, *arguments))
            return getattr(Scheduler, name)(self, machine, *arguments)

        return callback

    for name in CALLBACKS:
        calls.clear()
        totals(type("One", (RoundRobin,), {name: record(name)} if name != "enqueue" else {}))
        assert {call[0] for call in calls} <= {name}
    calls.clear()
    named = [name for name in CALLBACKS if name not in {"enqueue", "dispatch"}]
    totals(type("All", (Queue,), {name: record(name) for name in named}))
    kinds = {call[0] for call in calls}
    assert {"init", "init_task", "select_cpu", "dequeue", "running", "stopping", "tick"} <= kinds
    assert {call[3] for call in calls if call[0] == "select_cpu"} == {
        EnqueueReason.WAKEUP,
        EnqueueReason.FORK,
    }
    assert {call[2] for call in calls if call[0] == "dequeue"} == {DequeueReason.SLEEP}


def test_weights_share_the_cpu_as_they_should():
    load = {"tasks": {"low": {"run": 5000, "priority": 5}, "high": {"run": 5000}}}
    simulation = Simulation(load, ByVtime, cpus=1, costs={"slice_timer": 1})
    simulation.run(2000 * MS)
    low, high = sorted(task.cpu_time_ns for task in simulation.state().tasks)
    assert high / low == pytest.approx(1024 / 335, rel=0.01)  # of nice 0 and 5


@pytest.mark.parametrize(
    "name", ["init", "init_task", "select_cpu", "dispatch", "running", "stopping", "tick"]
)
def test_what_a_callback_raises_comes_out_and_ends_the_simulation(name):
    def fails(self, *_):
        raise KeyError("mine")

    broken = type("Broken", (Queue,), {name: fails})
    with pytest.raises(KeyError, match="mine"):
        totals(broken)
    if name != "init":
        simulation = Simulation(LOAD, broken, cpus=1)
        with pytest.raises(KeyError):
            simulation.run(50 * MS)
        with pytest.raises(SimulationError, match="has ended"):
            simulation.step()


@pytest.mark.parametrize(
    ("callback", "does", "told"),
    [
        ("dispatch", lambda self, machine, cpu, prev: machine.task(999), "no such task"),
        ("dispatch", lambda self, machine, cpu, prev: machine.task(0), "does not wait"),
        ("select_cpu", lambda self, machine, task, prev, why: 99, "may not run"),
        ("select_cpu", lambda self, machine, task, prev, why: "x", "a CPU or None, not 'x'"),
        ("dispatch", lambda self, machine, cpu, prev: 0, "a Task or None, not 0"),
        ("wake_in_place", lambda self, machine, task: "yes", "True or False"),
        ("enqueue", lambda self, machine, task, why: machine.dsq_insert(task, 77, MS), "dispatch queue"),
        (
            "enqueue",
            lambda self, machine, task, why: machine.dsq_insert(task, GLOBAL_DSQ, -1),
            "not negative",
        ),
        ("tick", lambda self, machine, cpu, task: machine.resched(99), "no such CPU"),
        ("tick", lambda self, machine, cpu, task: machine.group_weight(99), "no such group"),
    ],
)
def test_a_callback_that_breaks_a_rule_is_told_which(callback, does, told):
    broken = type("Broken", (Queue,), {callback: does})
    with pytest.raises((SimulationError, IndexError, ValueError, TypeError, RuntimeError), match=told):
        totals(broken)


def test_a_machine_answers_its_callbacks_alone():
    kept = []

    class Keeps(RoundRobin):
        def enqueue(self, machine, task, reason):
            kept[:] = [machine, task]
            super().enqueue(machine, task, reason)

    totals(Keeps)
    machine, task = kept
    for ask in (lambda: machine.now_ns, lambda: task.cpu, lambda: machine.task(0), lambda: task.cpus):
        with pytest.raises(RuntimeError, match="callbacks alone"):
            ask()
    assert {task: 1}[task] == 1 and task != "another"


@pytest.mark.parametrize("asks", ["run", "step", "state", "fork", "take_events"])
def test_a_callback_cannot_use_the_simulation_that_called_it(asks):
    simulations = []

    class Asks(RoundRobin):
        def tick(self, machine, cpu, task):
            getattr(simulations[0], asks)(*[MS] * (asks == "run"))

    simulations.append(Simulation(LOAD, Asks, cpus=1))
    with pytest.raises(SimulationError, match="is running"):
        simulations[0].run(50 * MS)


def test_a_callback_may_simulate_what_would_be():
    class LooksAhead(RoundRobin):
        def tick(self, machine, cpu, task):
            now_ns, task_id = machine.now_ns, task.id
            totals("fifo")
            totals(Queue)
            assert (machine.now_ns, task.id, task.cpu) == (now_ns, task_id, cpu)

    assert totals(LooksAhead) == totals(RoundRobin)


def test_each_simulation_has_a_copy_of_its_own():
    mine = Queue()
    first, second = totals(mine), totals(mine)
    assert first == second
    assert not mine.queue
    simulation = Simulation(LOAD, mine, cpus=1)
    simulation.run(5 * MS)
    fork = simulation.fork()
    assert fork.scheduler.queue == simulation.scheduler.queue != mine.queue
    assert fork.scheduler.queue is not simulation.scheduler.queue


def test_names_mean_what_they_do_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "its_module.py").write_text(
        "from schedtuna.sim import Scheduler\nclass Mine(Scheduler):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert chosen_scheduler("its_module:Mine")[1]["name"] == "its_module:Mine"
    (tmp_path / "saved.json").write_text('{"scheduler": "rr", "parameters": {"slice_us": 300}}')
    assert chosen_scheduler(str(tmp_path / "saved.json"))[1] == {
        "name": "rr",
        "parameters": {"slice_us": 300},
    }
    del sys.modules["its_module"]
    with pytest.raises(UsageError, match="can't be imported"):
        chosen_scheduler("no_such_module:Mine")


def test_parameters_of_native_ones_are_specs():
    for scheduler in native_schedulers().values():
        for spec in scheduler.parameters.values():
            assert spec.type in {ParameterType.BOOLEAN, ParameterType.INTEGER}
            assert spec.description and spec.validate_value(spec.default) == spec.default


@pytest.mark.parametrize("name", native_schedulers())
def test_a_native_scheduler_keeps_the_contract(name):
    check_scheduler(name, conserves_work=name in {"fifo", "rr"})


@pytest.mark.parametrize("scheduler", [Scheduler, Queue, RoundRobin, ByVtime])
def test_one_in_python_keeps_the_contract(scheduler):
    check_scheduler(scheduler)


class Forgets(Queue):
    def enqueue(self, machine, task, reason):
        if task.id != 3 or reason is EnqueueReason.FORK:
            self.queue.append(task)


class GoesAnywhere(Queue):
    def dispatch(self, machine, cpu, prev):
        return self.queue.popleft() if self.queue else None


class LeavesOneIdle(Queue):
    def dispatch(self, machine, cpu, prev):
        return super().dispatch(machine, cpu, prev) if cpu else None


class StaysLocal(Scheduler):
    conserves_work = True

    def enqueue(self, machine, task, reason):
        machine.dsq_insert(task, machine.local_dsq(task.cpu), MS)


class IsShared(Queue):
    def __deepcopy__(self, memo):
        return self


class Alternates(Queue):
    turns = 0

    def dispatch(self, machine, cpu, prev):
        Alternates.turns += 1
        if Alternates.turns % 2:
            self.queue.rotate(1)
        return super().dispatch(machine, cpu, prev)


@pytest.mark.parametrize(
    ("scheduler", "told"),
    [
        (Forgets, "every_task_ends"),
        (GoesAnywhere, "may not run"),
        (LeavesOneIdle, "work_is_conserved"),
        (StaysLocal, "work_is_conserved"),
        (IsShared, "a_fork_goes_on_like_its_original"),
        (Alternates, "equal_seeds_agree"),
    ],
)
def test_the_suite_catches_one_that_breaks_the_contract(scheduler, told):
    with pytest.raises(ConformanceError, match=told):
        check_scheduler(scheduler)
