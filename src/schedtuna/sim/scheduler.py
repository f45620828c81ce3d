"""A scheduler in Python: sched_ext's callbacks, those that it needs.

    class Fifo(Scheduler):
        def enqueue(self, machine, task, reason):
            machine.dsq_insert(task, GLOBAL_DSQ, 5_000_000)

What it does not define is done as by sched_ext: `select_cpu` takes an idle CPU, `enqueue` puts the task
behind all others, `dispatch` has nothing to add to what is in the dispatch queues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schedtuna.sim.native import DequeueReason, EnqueueReason, Machine, Task


class Scheduler:
    """Base of schedulers written in Python; only the callbacks that a subclass defines are called.

    A simulation runs a copy of it, made by `copy.deepcopy`, and so does each fork: what it keeps must be
    its own. `Machine` and `Task` are good while a callback goes on; a task may be kept, as a key or in a
    queue. What a callback raises ends the simulation, and comes out of `run()` or `step()`.

    Attributes:
        conserves_work: Whether it promises that no CPU idles while a task waits that may run there; the
            conformance suite then holds it to that.
    """

    conserves_work: bool = False

    def init(self, machine: Machine) -> None:
        """The simulation begins: there are CPUs, and no tasks yet."""

    def init_task(self, machine: Machine, task: Task) -> None:
        """The task is forked: called before anything else about it."""

    def exit_task(self, machine: Machine, task: Task) -> None:
        """The task is gone."""

    def select_cpu(self, machine: Machine, task: Task, prev_cpu: int, reason: EnqueueReason) -> int | None:
        """Return where a task that wakes up or is forked is to run; None: an idle CPU, else where it ran.

        An idle CPU that is returned should be claimed by `machine.test_and_clear_idle()`. A task that is
        put into a local dispatch queue here is not enqueued.
        """

    def enqueue(self, machine: Machine, task: Task, reason: EnqueueReason) -> None:
        """The task can run: put it into a dispatch queue, or into a queue of your own."""

    def dequeue(self, machine: Machine, task: Task, reason: DequeueReason) -> None:
        """The task sleeps, exits, or is about to be enqueued anew."""

    def wake_in_place(self, machine: Machine, task: Task) -> bool:  # noqa: ARG002 - they name the arguments
        """Whether a task that slept was kept in the queue, and wakes up there without being enqueued."""
        return False

    def dispatch(self, machine: Machine, cpu: int, prev: Task | None) -> Task | None:
        """Return what runs next, out of a queue of your own; None: what the dispatch queues have, if any.

        `prev` is who ran (None: nobody); if it can run on it was enqueued before.
        """

    def running(self, machine: Machine, task: Task) -> None:
        """The task begins to run."""

    def stopping(self, machine: Machine, task: Task, runnable: bool) -> None:
        """The task ends to run, though it could go on (`runnable`), or because it blocks."""

    def tick(self, machine: Machine, cpu: int, task: Task) -> None:
        """The tick of a CPU that runs this task."""

    def update_idle(self, machine: Machine, cpu: int, idle: bool) -> None:
        """The CPU becomes idle, or ends to be."""

    def set_weight(self, machine: Machine, task: Task) -> None:
        """The task's nice value, policy or slice changed."""

    def set_cpumask(self, machine: Machine, task: Task) -> None:
        """Where the task may run changed."""

    def read_cpu_time(self, machine: Machine, task: Task) -> None:
        """The task asks for its CPU time, which makes the kernel bring its account up to date."""

    def timer_fired(self, machine: Machine, cpu: int) -> None:
        """The time that `machine.set_timer()` was given has come."""


def defined_callbacks(scheduler: Scheduler, names: list[str]) -> list[str]:
    """Return which callbacks a scheduler's class defines."""
    kind = type(scheduler)
    return [name for name in names if getattr(kind, name) is not getattr(Scheduler, name)]
