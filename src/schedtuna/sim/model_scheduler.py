"""A learned model as a scheduler of the simulated machine: `model:FILE`.

One queue for all CPUs. A task that has computed less than 4 ms since it woke up comes before one that has not
reached 8, and so on; among those of one level the model decides: the greater its logit, the sooner. A task
that has waited for 100 ms goes first, so that nobody starves. All of it is integers, as in the kernel.

A model that looks at the wakeup alone is asked once a burst, and who wakes up preempts who comes after it. A
model that looks at the choice itself, such as how long each candidate has waited, is asked at each choice for
all candidates; nobody is preempted then before its slice ends.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from schedtuna.errors import ModelError
from schedtuna.model.model import DecisionModel
from schedtuna.model.runtime import ModelRuntime
from schedtuna.sim.native import DequeueReason, EnqueueReason, Machine, Task, TaskState
from schedtuna.sim.scheduler import Scheduler
from schedtuna.sim.task_past import (
    CHOICE_FEATURES,
    WAKING_FEATURES,
    ChoiceCandidate,
    DecidingCpu,
    TaskPast,
    Waking,
)

SLICE_NS = 3_000_000
LEVEL_NS = 4_000_000
LONGEST_WAIT_NS = 100_000_000
# Labels of models whose greater logit says: this task deserves a CPU sooner.
SCHEDULING_LABELS = (("long", "short"), ("wait", "run"))
_LOGIT_BITS = 33

Rank = int


def require_scheduling(model: DecisionModel) -> None:
    """Refuse a model that says of no task whether it comes first.

    Raises:
        ModelError: It decides something else.
    """
    if model.labels not in SCHEDULING_LABELS or model.core.nr_logits != 1:
        known = " or ".join("/".join(pair) for pair in SCHEDULING_LABELS)
        raise ModelError(
            f"{model.name} decides {'/'.join(model.labels)}: it says of no task whether it comes first",
            hint=f"a scheduler is a model that decides {known}: `schedtuna train` makes them",
        )


class _Shared:
    """What all copies of a scheduler have in common: a model does not change."""

    def __init__(self, model: DecisionModel) -> None:
        self.model = model
        self.runtime = ModelRuntime(model)

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self


class ModelScheduler(Scheduler):
    """Runs whom a model scores highest.

    Args:
        model: It says of a task whether its burst is short, or of a candidate whether it runs.

    Raises:
        ModelError: It says something else, or looks at what the simulator does not know.
    """

    conserves_work = True

    def __init__(self, model: DecisionModel) -> None:
        require_scheduling(model)
        names = [one.name for one in model.inputs]
        unknown = [name for name in names if name not in {*WAKING_FEATURES, *CHOICE_FEATURES}]
        if unknown:
            raise ModelError(
                f"{model.name} looks at what a simulated scheduler does not know: {', '.join(unknown)}",
                hint=f"train it with --feature on some of {', '.join([*WAKING_FEATURES, *CHOICE_FEATURES])}",
            )
        self._shared = _Shared(model)
        self._names = names
        self._is_of_choices = any(name in CHOICE_FEATURES for name in names)
        self._past: dict[int, TaskPast] = {}
        self._logit: dict[int, int] = {}
        self._queue: dict[int, Task] = {}  # by id, in the order of arrival

    def init_task(self, machine: Machine, task: Task) -> None:
        """Remember it; of a running machine that is taken over nothing is known before."""
        past = self._past[task.id] = TaskPast()
        self._logit[task.id] = 0
        if task.state in {TaskState.QUEUED, TaskState.RUNNING}:
            self._begin(machine, task, past, None)

    def exit_task(self, machine: Machine, task: Task) -> None:  # noqa: ARG002
        """Forget it."""
        self._past.pop(task.id, None)
        self._logit.pop(task.id, None)
        self._queue.pop(task.id, None)

    def select_cpu(self, machine: Machine, task: Task, prev_cpu: int, reason: EnqueueReason) -> int | None:
        """A burst begins: score it, and take an idle CPU if there is one."""
        self._begin(machine, task, self._past[task.id], reason)
        idle = machine.pick_idle_cpu(task, prev_cpu)
        if idle is None:
            return prev_cpu if task.may_run_on(prev_cpu) else task.cpus[0]
        machine.dsq_insert(task, machine.local_dsq(idle), SLICE_NS)
        return idle

    def _begin(self, machine: Machine, task: Task, past: TaskPast, reason: EnqueueReason | None) -> None:
        past.wake(machine.now_ns, task.cpu_time_ns)
        if reason is EnqueueReason.WAKEUP:
            past.woken(machine)
        if not self._is_of_choices:
            self._logit[task.id] = int(
                self._logits([[WAKING_FEATURES[n](Waking(past, task, machine)) for n in self._names]])[0]
            )

    def _logits(self, rows: list[list[int]]) -> Any:
        runtime = self._shared.runtime
        return runtime.logits(runtime.quantise(np.array(rows, np.int64)))[:, 0]

    def enqueue(self, machine: Machine, task: Task, reason: EnqueueReason) -> None:
        """Queue it; a CPU that is idle, or runs who comes after it, chooses anew."""
        past = self._past[task.id]
        if reason is EnqueueReason.PUT_BACK:
            past.put_back(machine.now_ns)
        elif past.ready_ns < 0:
            past.ready_ns = machine.now_ns
        self._queue[task.id] = task
        idle = machine.pick_idle_cpu(task, task.cpu)
        if idle is not None:
            machine.kick(idle)
        elif not self._is_of_choices and reason in {EnqueueReason.WAKEUP, EnqueueReason.FORK}:
            self._preempt(machine, task)

    def _preempt(self, machine: Machine, task: Task) -> None:
        worst, found = self._rank(task), None
        for cpu in task.cpus:
            running = machine.current(cpu)
            if running is None or machine.need_resched(cpu):
                continue
            machine.charge(cpu)
            rank = self._rank(running)
            if rank > worst:
                worst, found = rank, cpu
        if found is not None:
            machine.kick(found, preempt=True)

    def _rank(self, task: Task) -> Rank:
        """The lowest comes first: the level of what it has computed, then the model."""
        attained = task.cpu_time_ns - self._past[task.id].began_cpu_ns
        level = (max(attained, 0) // LEVEL_NS).bit_length()
        return (level << _LOGIT_BITS) - self._logit[task.id]

    def dequeue(self, machine: Machine, task: Task, reason: DequeueReason) -> None:
        """It no longer waits; if it sleeps or exits, a burst has ended."""
        self._queue.pop(task.id, None)
        if reason is not DequeueReason.MIGRATE:
            self._past[task.id].sleep(machine.now_ns)

    def dispatch(self, machine: Machine, cpu: int, prev: Task | None) -> Task | None:
        """Return the first of those that may run here."""
        able = [task for task in self._queue.values() if task.may_run_on(cpu)]
        if not able:
            return None
        now_ns = machine.now_ns
        oldest = min(able, key=lambda task: self._past[task.id].ready_ns)
        if now_ns - self._past[oldest.id].ready_ns >= LONGEST_WAIT_NS:
            chosen = oldest
        else:
            if self._is_of_choices:
                self._score(machine, cpu, prev, able)
            chosen = min(able, key=self._rank)
        del self._queue[chosen.id]
        chosen.slice_ns = SLICE_NS
        return chosen

    def _score(self, machine: Machine, cpu: int, prev: Task | None, able: list[Task]) -> None:
        running = sum(machine.current(other) is not None for other in range(machine.nr_cpus) if other != cpu)
        choice = DecidingCpu(cpu, None if prev is None else prev.id, len(self._queue), len(able), running)
        rows = [self._row(ChoiceCandidate(self._past[task.id], task, machine, choice)) for task in able]
        for task, logit in zip(able, self._logits(rows).tolist(), strict=True):
            self._logit[task.id] = logit

    def _row(self, at: ChoiceCandidate) -> list[int]:
        waking = Waking(at.past, at.task, at.machine)
        return [
            CHOICE_FEATURES[name](at) if name in CHOICE_FEATURES else WAKING_FEATURES[name](waking)
            for name in self._names
        ]

    def running(self, machine: Machine, task: Task) -> None:
        """It has a CPU."""
        self._past[task.id].run(machine.now_ns, machine.this_cpu)

    def stopping(self, machine: Machine, task: Task, runnable: bool) -> None:  # noqa: ARG002
        """It has a CPU no longer."""
        self._past[task.id].stop(machine.now_ns)
