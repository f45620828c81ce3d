"""Why does a task of a recording wake up when it does? What a replay takes for the answer, as a table.

In an open loop a task wakes up at the time at which it did, whatever the scheduler does: timers, the network,
users. In a closed loop it wakes up so long after it went to sleep as it did, or when the task that woke it
comes to that point: under a slower scheduler, all of it comes later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from schedtuna.sim.lives import BoolArray, Lives
from schedtuna.trace.schema import IDLE_TID, EventType, IntArray, Waker
from schedtuna.trace.states import TaskState

Loop = Literal["open", "closed"]
Places = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Rule:
    """A row of the table: what decides, and what follows.

    Attributes:
        loop: That of the task's wakeups which no other task makes.
        why: What was seen of the task.
    """

    loop: Loop
    why: str


# The first that fits decides, where the user does not.
RULES = {
    "timer": Rule("open", "wakes up at regular times"),
    "pause": Rule("closed", "sleeps equally long each time"),
    "device": Rule("closed", "waits for a device"),
    "outside": Rule("open", "is woken up from outside"),
}
MOST_SPREAD = 0.1  # of periods and pauses that are regular: (90th - 10th percentile) / median
FEWEST = 4  # periods or pauses that can be called regular
MOST_BY_CHANCE = 3.0  # standard deviations of how often a waker is named that need no reason
MOST_BY_DEVICES = 0.5  # share of sleeps that wait for devices


@dataclass(frozen=True)
class Blocks:
    """Sleeps of tasks that were awake before, in order of task and time.

    Attributes:
        state: Places in `Lives.states`.
        task: Whose.
        is_last: It lasts to the end.
    """

    state: Places
    task: Places
    is_last: BoolArray

    @classmethod
    def of(cls, lives: Lives) -> Blocks:
        """Return those of a trace."""
        is_first = np.zeros(len(lives.task), np.bool_)
        is_first[lives.first] = True
        state = np.flatnonzero(lives.is_asleep & ~is_first)
        task = lives.task[state]
        return cls(state, task, lives.states.ends_after[state] | (state == lives.last[task]))


@dataclass(frozen=True)
class Wakers:
    """Who woke whom: tasks that did it as part of what they do.

    Attributes:
        block: Places in `Blocks`.
        state: The waker's run, in `Lives.states`.
        event: The event.
    """

    block: Places
    state: Places
    event: Places


def wakers(lives: Lives, blocks: Blocks) -> Wakers:
    """Return who woke whom, as far as WAKING events tell."""
    event = lives.of_type(EventType.WAKING)
    told = lives.events[event]
    event = event[(told["other_tid"] != IDLE_TID) & (told["aux"] != Waker.INTERRUPT)]
    found = lives.events[event]
    time = lives.times_of(found)
    woken, waker = lives.at(found["tid"], time), lives.running_on(found["cpu"], time)
    for _ in range(2):  # it woke up then, and may have run at once
        woken -= (woken >= 0) & (lives.start_ns[woken] == time) & ~lives.is_asleep[woken]
    block = np.searchsorted(blocks.state, woken)
    fits = (woken >= 0) & (waker >= 0) & (block < len(blocks.state))
    fits[fits] = blocks.state[block[fits]] == woken[fits]
    fits[fits] &= lives.states.tid[waker[fits]] == found["other_tid"][fits]
    block, waker, event = block[fits], waker[fits], event[fits]
    block, one = np.unique(block, return_index=True)  # who wakes a task twice woke it the first time
    named = Wakers(block, waker[one], event[one])
    meant = (lives.events["aux"][named.event] == Waker.TASK) | _is_no_chance(lives, blocks, named)
    return Wakers(named.block[meant], named.state[meant], named.event[meant])


def _is_no_chance(lives: Lives, blocks: Blocks, named: Wakers) -> BoolArray:
    """Return where the waker is named more often than a task that ran so much is by chance.

    Events name who ran, also if an interrupt woke the task up, and not all tell that.
    """
    woken, waker = blocks.task[named.block], lives.task[named.state]
    _, pair, times = np.unique(woken * lives.nr_tasks + waker, return_inverse=True, return_counts=True)
    times = times[pair]
    trials = np.bincount(blocks.task[~blocks.is_last], minlength=lives.nr_tasks)[woken]
    ran = np.where(lives.is_running, lives.end - lives.start_ns, 0)
    chance = np.bincount(lives.task, ran, lives.nr_tasks)[waker] / lives.span
    excess = times - trials * chance
    noise = MOST_BY_CHANCE * np.sqrt(trials * chance * (1 - chance))
    meant: BoolArray = (excess > 0) & (excess >= noise)
    return meant


def rule_of_tasks(lives: Lives, blocks: Blocks) -> list[str]:
    """Return the name of each task's rule."""
    ended = ~blocks.is_last
    state, task = blocks.state[ended], blocks.task[ended]
    pause = lives.end[state] - lives.start_ns[state]
    is_same = np.diff(task, prepend=-1) == 0
    period = np.diff(lives.end[state], prepend=0)[is_same]
    spreads = {
        "timer": _spread(period, task[is_same], lives.nr_tasks),
        "pause": _spread(pause, task, lives.nr_tasks),
    }
    devices = np.isin(lives.states.state[state], (TaskState.BLOCKED, TaskState.IO))
    nr_blocks = np.bincount(task, minlength=lives.nr_tasks)
    share = np.bincount(task[devices], minlength=lives.nr_tasks) / np.maximum(nr_blocks, 1)
    names = np.full(lives.nr_tasks, "outside", object)
    names[share > MOST_BY_DEVICES] = "device"
    regular = np.minimum(spreads["timer"], spreads["pause"]) <= MOST_SPREAD
    is_timer = spreads["timer"] <= spreads["pause"]
    names[regular & is_timer], names[regular & ~is_timer] = "timer", "pause"
    return list(names)


def _spread(values: IntArray, task: Places, nr_tasks: int) -> npt.NDArray[Any]:
    """Return by how much each task's values vary; infinity: they are too few to tell."""
    order = np.lexsort((values, task))
    values, task = values[order], task[order]
    count = np.bincount(task, minlength=nr_tasks)
    first = np.cumsum(count) - count
    spread = np.full(nr_tasks, np.inf)
    enough = count >= FEWEST

    def quantile(share: float) -> IntArray:
        places: Places = first[enough] + np.rint(share * (count[enough] - 1)).astype(np.intp)
        return values[places]

    spread[enough] = (quantile(0.9) - quantile(0.1)) / np.maximum(quantile(0.5), 1)
    return spread
