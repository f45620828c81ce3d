r"""Which states can a task be in, and what brings it from one to another?

Everything that `intervals` knows of the scheduler is in the table below. A task's life is a
sequence of steps, taken from the events that name it:

    FORK           it exists, on no queue yet
    WAKEUP_NEW     it is queued for the first time
    IN             a CPU switches to it
    OUT_*          a CPU switches away from it, because of what the suffix says (schema.PrevState)
    WAKEUP         it is queued; nothing changes if it was preempted, or ran: it was about to sleep
    MIGRATE, EXIT  it changes queues; it begins to exit: the state stays
    VANISH         its CPU switches away from another task than it, or from it where another ran:
                   one of the two left, the other came, and nobody knows when

    from \ step        FORK  WAKEUP_NEW    IN       OUT_*    WAKEUP          MIGRATE, EXIT  VANISH
    UNKNOWN            NEW   RUNNABLE_NEW  RUNNING  by OUT   RUNNABLE_WOKEN  same           same
    NEW                NEW!  RUNNABLE_NEW  RUNNING  by OUT!  RUNNABLE_NEW    same           same
    RUNNABLE_WOKEN,    NEW!  RUNNABLE_NEW! RUNNING  by OUT!  RUNNABLE_WOKEN! same           same
      RUNNABLE_NEW
    RUNNABLE_PREEMPTED NEW!  RUNNABLE_NEW! RUNNING  by OUT!  same            same           same
    THROTTLED          NEW!  RUNNABLE_NEW! RUNNING  by OUT!  same            same           same
    RUNNING            NEW!  RUNNABLE_NEW! RUNNING! by OUT   same            same           UNKNOWN!
    SLEEPING ... IDLE  NEW!  RUNNABLE_NEW! RUNNING! by OUT!  RUNNABLE_WOKEN  same           same
    DEAD               NEW   RUNNABLE_NEW  RUNNING  by OUT   RUNNABLE_WOKEN  same           same

`!`: a step is missing in between (lost, or from before the trace). The new state is right all the
same; the time since the step before becomes UNKNOWN. A task that waits since it was woken can't be woken
again, as it is not asleep: it ran in between. What follows DEAD is another task that was given the same tid.

A CPU of which the trace knows nothing before some moment (`unknown`) makes UNKNOWN, too, what its tasks
would have done until then: a wait that it ends, or that began on its queue.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import numpy.typing as npt

from schedtuna.trace.schema import PrevState


class TaskState(IntEnum):
    """What a task does, or waits for."""

    UNKNOWN = 0
    RUNNING = 1
    RUNNABLE_WOKEN = 2  # waits for a CPU since its wakeup
    RUNNABLE_PREEMPTED = 3  # waits for a CPU since it was preempted, or yielded
    RUNNABLE_NEW = 4  # waits for a CPU for the first time
    THROTTLED = 5  # its cgroup used up its quota (ends when it runs again)
    SLEEPING = 6
    BLOCKED = 7
    IO = 8
    STOPPED = 9
    IDLE = 10  # a kernel thread's sleep that counts for no load, or parked
    NEW = 11
    DEAD = 12


RUNNABLE = (TaskState.RUNNABLE_WOKEN, TaskState.RUNNABLE_PREEMPTED, TaskState.RUNNABLE_NEW)
_WOKEN = (TaskState.RUNNABLE_WOKEN, TaskState.RUNNABLE_NEW)  # awake, whatever they were about to do before
SLEEPS = (TaskState.SLEEPING, TaskState.BLOCKED, TaskState.IO, TaskState.STOPPED, TaskState.IDLE)

# Steps: OUT_* are 0 to 8, as in PrevState.
IN = 9
WAKEUP = 10
WAKEUP_NEW = 11
FORK = 12
EXIT = 13
MIGRATE = 14
VANISH = 15
NR_STEPS = 16

AFTER_OUT = {
    PrevState.PREEMPTED: TaskState.RUNNABLE_PREEMPTED,
    PrevState.RUNNABLE: TaskState.RUNNABLE_PREEMPTED,
    PrevState.SLEEPING: TaskState.SLEEPING,
    PrevState.BLOCKED: TaskState.BLOCKED,
    PrevState.IO: TaskState.IO,
    PrevState.STOPPED: TaskState.STOPPED,
    PrevState.DEAD: TaskState.DEAD,
    PrevState.THROTTLED: TaskState.THROTTLED,
    PrevState.IDLE: TaskState.IDLE,
}

# A task of which nothing is known: what its first step tells of the time before. DEAD: it was not.
BEFORE_FIRST = np.full(NR_STEPS, TaskState.UNKNOWN, np.uint8)
BEFORE_FIRST[[*PrevState, EXIT]] = TaskState.RUNNING
BEFORE_FIRST[[FORK, WAKEUP_NEW]] = TaskState.DEAD


def _transitions() -> npt.NDArray[np.uint8]:
    table = np.zeros((len(TaskState), NR_STEPS), np.uint8)
    for state in TaskState:
        for reason, after in AFTER_OUT.items():
            table[state, reason] = after
        table[state, IN] = TaskState.RUNNING
        table[state, WAKEUP] = state
        table[state, WAKEUP_NEW] = TaskState.RUNNABLE_NEW
        table[state, FORK] = TaskState.NEW
        table[state, [EXIT, MIGRATE, VANISH]] = state
    table[[*SLEEPS, *_WOKEN, TaskState.UNKNOWN, TaskState.DEAD], WAKEUP] = TaskState.RUNNABLE_WOKEN
    table[TaskState.NEW, WAKEUP] = TaskState.RUNNABLE_NEW
    table[TaskState.RUNNING, VANISH] = TaskState.UNKNOWN
    return table


def _credible() -> npt.NDArray[np.bool_]:
    table = np.ones((len(TaskState), NR_STEPS), np.bool_)
    begun = [state for state in TaskState if state not in {TaskState.UNKNOWN, TaskState.DEAD}]
    table[begun, FORK] = False
    table[[state for state in begun if state != TaskState.NEW], WAKEUP_NEW] = False
    table[[TaskState.RUNNING, *SLEEPS], IN] = False
    table[TaskState.RUNNING, VANISH] = False
    table[list(_WOKEN), WAKEUP] = False
    for state in begun:
        if state != TaskState.RUNNING:
            table[state, list(PrevState)] = False
    return table


def _births() -> npt.NDArray[np.bool_]:
    table = np.zeros((len(TaskState), NR_STEPS), np.bool_)
    table[:, [FORK, WAKEUP_NEW]] = True
    table[TaskState.NEW, WAKEUP_NEW] = False
    table[TaskState.DEAD] = TRANSITIONS[TaskState.DEAD] != TaskState.DEAD
    return table


# TRANSITIONS[state, step] is the state afterwards; CREDIBLE[state, step] is false for a `!`;
# BIRTHS[state, step] is true where what follows is a task that was not there before.
TRANSITIONS = _transitions()
CREDIBLE = _credible()
BIRTHS = _births()
