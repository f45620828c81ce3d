"""What a simulation is at a moment: its tasks, its totals, and a migration that it is about to make."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schedtuna.sim.native import Policy, TaskState

# A task that could be chosen, as policies see it.
CANDIDATE_DTYPE = np.dtype(
    [
        ("id", np.uint32),
        ("weight", np.uint32),
        ("cpu", np.uint32),
        ("group", np.uint16),
        ("nice", np.int8),
        ("policy", np.uint8),
        ("waited_ns", np.int64),
        ("attained_ns", np.int64),
        ("burst_ns", np.int64),
        ("cpu_time_ns", np.int64),
    ]
)


@dataclass(frozen=True)
class SimulatedTask:
    """A task of a simulation, as it is now.

    Attributes:
        id: From 0, in order of creation; in traces its tid is one more.
        name: Its program's.
        state: `TaskState`.
        cpu: Where it runs or is queued, or ran last.
        cpu_time_ns: Until now.
        nice, policy, weight: Of its present attributes.
        slice_ns: What it asked for by sched_setattr; 0: nothing.
        group: Index into the workload's groups; 0 is the root.
        is_kthread: Whether it is a thread of the kernel.
        parent: The id of the task that forked it; None: it was there from the beginning.
    """

    id: int
    name: str
    state: TaskState
    cpu: int
    cpu_time_ns: int
    nice: int
    policy: Policy
    weight: int
    slice_ns: int
    group: int
    is_kthread: bool
    parent: int | None


@dataclass(frozen=True)
class NextMigration:
    """A task that would go from one CPU's queue to another's, and how things are then.

    Attributes:
        nth: Counted over all, from 0.
        at_ns: When.
        task: Its id; it may be forked only later.
        source, destination: The CPUs.
        wakes: It would wake up there; else balancing would move it, or a CPU that runs out of tasks.
        nr_idle, nr_busy: CPUs without tasks that can run, and with some.
        source_load, destination_load: How much of each CPU was used lately (util_avg), 0 to 1024.
    """

    nth: int
    at_ns: int
    task: int
    source: int
    destination: int
    wakes: bool
    nr_idle: int
    nr_busy: int
    source_load: int
    destination_load: int


@dataclass(frozen=True)
class SimulationTotals:
    """What a simulation amounts to so far.

    Attributes:
        nr_events: Steps of its loop.
        nr_switches, nr_wakeups, nr_migrations, nr_ticks: How often; switches to idle and forks count, too.
        idle_ns: Idle time, summed over CPUs.
        interrupts_ns: Time in interrupts of CPUs that were not idle.
        overhead_ns: Switches, wakeups, interrupts: what tasks did not get.
        hash: Of every switch: when, on which CPU, to whom. Equal simulations have equal ones.
    """

    nr_events: int
    nr_switches: int
    nr_wakeups: int
    nr_migrations: int
    nr_ticks: int
    idle_ns: int
    interrupts_ns: int
    overhead_ns: int
    hash: int


@dataclass(frozen=True)
class SimulationState:
    """A simulation as it is now.

    Attributes:
        now_ns: Since its beginning.
        next_event_ns: When something happens next; None: never.
        running: Who runs, per CPU: a task's id, or None.
        tasks: All that were ever created, by id.
    """

    now_ns: int
    next_event_ns: int | None
    running: tuple[int | None, ...]
    tasks: tuple[SimulatedTask, ...]
