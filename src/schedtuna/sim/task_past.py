"""What does a scheduler remember of its tasks? The features of `features.table` that models look at.

Names and meaning are those of `features.task_history`, which makes the same of traces: tests hold both to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from schedtuna.sim.native import Machine, Policy, Task

DEPTH = 8  # bursts and sleeps that are remembered
_POLICIES = {Policy.OTHER: 0, Policy.BATCH: 3, Policy.IDLE: 5}


@dataclass(slots=True)
class TaskPast:
    """Of one task.

    Attributes:
        bursts: Past ones, the last first: how long it had a CPU between two sleeps, interrupts included, as
            traces have it.
        sleeps: Those before the present burst and before past ones, the last first.
        wakes: When past bursts and the present one began, the last first.
        began_cpu_ns: The task's CPU time when the present burst began.
        slept_at_ns: When it went to sleep; -1: it never has.
        ready_ns: Since when it waits; -1: it runs or sleeps.
        on_since_ns: Since when it has a CPU.
        ran_ns: How long it had one in this burst before.
        is_put_back: It lost its CPU, and may get it back at once.
        latency_ns, delay_ns, nr_preempted, nr_migrations: Of the present burst.
        past: The same four of the one before.
        last_cpu: Where it ran in this burst; -1: it has not yet.
        woken_by_interrupt, woken_by_kthread: By whom this burst was begun.
    """

    bursts: deque[int] = field(default_factory=lambda: deque(maxlen=DEPTH))
    sleeps: deque[int] = field(default_factory=lambda: deque(maxlen=DEPTH))
    wakes: deque[int] = field(default_factory=lambda: deque(maxlen=DEPTH + 1))
    began_cpu_ns: int = 0
    slept_at_ns: int = -1
    ready_ns: int = -1
    on_since_ns: int = 0
    ran_ns: int = 0
    is_put_back: bool = False
    latency_ns: int = -1
    delay_ns: int = 0
    nr_preempted: int = 0
    nr_migrations: int = 0
    past: tuple[int, int, int, int] = (0, 0, 0, 0)
    last_cpu: int = -1
    woken_by_interrupt: bool = False
    woken_by_kthread: bool = False

    def wake(self, now_ns: int, cpu_time_ns: int) -> None:
        """A burst begins."""
        self.sleeps.appendleft(0 if self.slept_at_ns < 0 else now_ns - self.slept_at_ns)
        self.wakes.appendleft(now_ns)
        self.began_cpu_ns, self.ready_ns = cpu_time_ns, now_ns
        self.latency_ns, self.delay_ns, self.nr_preempted, self.nr_migrations = -1, 0, 0, 0
        self.last_cpu, self.ran_ns, self.is_put_back = -1, 0, False
        self.woken_by_interrupt = self.woken_by_kthread = False

    def woken(self, machine: Machine) -> None:
        """Look who wakes it, at its wakeup."""
        waker = machine.current(machine.this_cpu)
        self.woken_by_interrupt = machine.in_interrupt or waker is None
        self.woken_by_kthread = not self.woken_by_interrupt and waker is not None and waker.is_kthread

    def run(self, now_ns: int, cpu: int) -> None:
        """It is given a CPU."""
        waited = now_ns - self.ready_ns if self.ready_ns >= 0 else 0
        if self.latency_ns < 0:
            self.latency_ns = waited
        else:
            self.delay_ns += waited
        if self.is_put_back and (waited or self.last_cpu != cpu):
            self.nr_preempted += 1
        if self.last_cpu not in {-1, cpu}:
            self.nr_migrations += 1
        self.on_since_ns, self.is_put_back = now_ns, False
        self.last_cpu, self.ready_ns = cpu, -1

    def put_back(self, now_ns: int) -> None:
        """It loses its CPU, and waits."""
        self.is_put_back, self.ready_ns = True, now_ns

    def stop(self, now_ns: int) -> None:
        """It no longer has a CPU, for whatever reason."""
        self.ran_ns += now_ns - self.on_since_ns

    def sleep(self, now_ns: int) -> None:
        """A burst ends."""
        self.bursts.appendleft(self.ran_ns)
        self.past = (max(self.latency_ns, 0), self.delay_ns, self.nr_preempted, self.nr_migrations)
        self.slept_at_ns, self.ready_ns = now_ns, -1

    def burst(self, back: int) -> int:
        """The burst so many before the present one, from 1; 0: not known."""
        return self.bursts[back - 1] if back <= len(self.bursts) else 0

    def median(self) -> int:
        """The lower median of past bursts; 0: none is known."""
        return sorted(self.bursts)[(len(self.bursts) - 1) // 2] if self.bursts else 0

    def average(self) -> int:
        """The average in which each burst counts half of the one after it."""
        weights = [1 << (DEPTH - 1 - k) for k in range(len(self.bursts))]
        return sum(w * b for w, b in zip(weights, self.bursts, strict=True)) // max(sum(weights), 1)

    def cpu_permille(self) -> int:
        """CPU time of known bursts, of the time since the first of them began."""
        if not self.bursts:
            return 0
        since = self.wakes[0] - self.wakes[len(self.bursts)]
        return min(1000 * sum(self.bursts) // max(since, 1), 1000)


@dataclass(frozen=True, slots=True)
class DecidingCpu:
    """The choice that is due, of one CPU.

    Attributes:
        cpu: Which.
        previous: Who ran there until now; None: nobody.
        nr_waiting, nr_candidates: Tasks that wait, of all CPUs; and of these, who may run here.
        nr_running: CPUs that run a task.
    """

    cpu: int
    previous: int | None
    nr_waiting: int
    nr_candidates: int
    nr_running: int


class Waking(NamedTuple):
    """A task that has just woken up.

    Attributes:
        past: Of the task.
        task: The task.
        machine: At the moment.
    """

    past: TaskPast
    task: Task
    machine: Machine

    @property
    def group_depth(self) -> int:
        """How many groups are above the task's own."""
        depth, group = 0, self.machine.group_parent(self.task.group)
        while group is not None:
            depth, group = depth + 1, self.machine.group_parent(group)
        return depth


class ChoiceCandidate(NamedTuple):
    """A task that may be chosen.

    Attributes:
        past, task: As above.
        machine: At the moment.
        choice: By whom.
    """

    past: TaskPast
    task: Task
    machine: Machine
    choice: DecidingCpu


# As of the wakeup: what a burst is foretold by.
WAKING_FEATURES: Mapping[str, Callable[[Waking], int]] = {
    "nice": lambda at: at.task.nice,
    "policy": lambda at: _POLICIES[at.task.policy],
    "task_weight": lambda at: at.task.weight,
    "asked_slice_ns": lambda at: at.task.custom_slice_ns,
    "is_kthread": lambda at: int(at.task.is_kthread),
    "group_shares": lambda at: at.machine.group_weight(at.task.group),
    "group_depth": lambda at: at.group_depth,
    "woken_by_interrupt": lambda at: int(at.past.woken_by_interrupt),
    "woken_by_sibling": lambda _: 0,  # each simulated task is a process of its own
    "woken_by_kthread": lambda at: int(at.past.woken_by_kthread),
    "burst_ns": lambda at: at.past.burst(1),
    "burst_2_ns": lambda at: at.past.burst(2),
    "burst_3_ns": lambda at: at.past.burst(3),
    "burst_4_ns": lambda at: at.past.burst(4),
    "burst_mean_ns": lambda at: sum(at.past.bursts) // max(len(at.past.bursts), 1),
    "burst_median_ns": lambda at: at.past.median(),
    "burst_average_ns": lambda at: at.past.average(),
    "burst_most_ns": lambda at: max(at.past.bursts, default=0),
    "nr_known_bursts": lambda at: len(at.past.bursts),
    "sleep_ns": lambda at: at.past.sleeps[0] if at.past.sleeps else 0,
    "sleep_2_ns": lambda at: at.past.sleeps[1] if len(at.past.sleeps) > 1 else 0,
    "sleep_mean_ns": lambda at: sum(at.past.sleeps) // max(len(at.past.sleeps), 1),
    "wakeup_latency_ns": lambda at: at.past.past[0],
    "preempt_delay_ns": lambda at: at.past.past[1],
    "nr_preempted": lambda at: at.past.past[2],
    "nr_burst_migrations": lambda at: at.past.past[3],
    "cpu_permille": lambda at: at.past.cpu_permille(),
}
# As of a choice, of each candidate.
CHOICE_FEATURES: Mapping[str, Callable[[ChoiceCandidate], int]] = {
    "is_candidate": lambda _: 1,
    "waited_ns": lambda at: at.machine.now_ns - at.past.ready_ns if at.past.ready_ns >= 0 else 0,
    "attained_ns": lambda at: at.task.cpu_time_ns - at.past.began_cpu_ns,
    "cpu_time_ns": lambda at: at.task.cpu_time_ns,
    "ran_here": lambda at: int(at.task.cpu == at.choice.cpu),
    "shares_llc": lambda at: int(at.machine.llc_of(at.task.cpu) == at.machine.llc_of(at.choice.cpu)),
    "is_previous": lambda at: int(at.task.id == at.choice.previous),
    "nr_waiting": lambda at: at.choice.nr_waiting,
    "nr_candidates": lambda at: at.choice.nr_candidates,
    "busy_percent": lambda at: 100 * at.choice.nr_running // at.machine.nr_cpus,
    "nr_cpus": lambda at: at.machine.nr_cpus,
    "was_idle": lambda at: int(at.choice.previous is None),
}
