"""The steps that tasks of a trace have to do so that a simulation repeats what they did.

A task's CPU time between two steps is what it ran between them, wherever and in how many pieces, less what
the simulated machine itself will take for the same switches, wakeups and interrupts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from schedtuna.sim.flat import FOREVER, NONE, STEP_DTYPE, FlatArray
from schedtuna.sim.lives import BoolArray, Lives
from schedtuna.sim.loops import Blocks, Places, Wakers
from schedtuna.sim.native import FROM_BEGINNING, PLAIN_WAKEUP, Op
from schedtuna.trace.schema import EventType, IntArray
from schedtuna.trace.states import TaskState


@dataclass(frozen=True)
class Deeds:
    """What tasks do besides computing: one element of each array per step.

    Attributes:
        state: In which state of `Lives` it is done.
        place: -1: before that state, 0: it begins the state, 1: within it, or at its end.
        time_ns: When.
        order: Which of those that have all the same comes first.
        op, object, amount, flags: Of the step.
    """

    state: Places
    place: npt.NDArray[np.int8]
    time_ns: IntArray
    order: IntArray
    op: npt.NDArray[np.uint8]
    object: npt.NDArray[np.uint32]
    amount: IntArray
    flags: npt.NDArray[np.uint8]

    @classmethod
    def make(cls, state: Places, **columns: Any) -> Self:
        """Return deeds of these states; a column may be one value for all, and has a default."""
        initial = {"place": 0, "time_ns": 0, "order": 0, "object": NONE, "amount": 0, "flags": 0}
        types = {"place": np.int8, "op": np.uint8, "object": np.uint32, "flags": np.uint8}
        values = {
            name: np.broadcast_to(np.asarray(value, types.get(name, np.int64)), len(state))
            for name, value in (initial | columns).items()
        }
        return cls(state, **values)

    @classmethod
    def together(cls, parts: list[Self]) -> Self:
        """Return all of them, in the order in which each task does them."""
        all_ = [np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)]
        whole = cls(*all_)
        sequence = np.lexsort((whole.order, whole.time_ns, 2 * whole.state + whole.place))
        return cls(*(array[sequence] for array in all_))


def blocking(lives: Lives, blocks: Blocks, is_closed: BoolArray, wakers: Wakers | None) -> Deeds:
    """Return how tasks go to sleep, and wait for what will wake them."""
    start, end = lives.start_ns[blocks.state], lives.end[blocks.state]
    op = np.where(is_closed, Op.SLEEP.value, Op.SLEEP_UNTIL.value)
    in_io = np.isin(lives.states.state[blocks.state], (TaskState.BLOCKED, TaskState.IO))
    op[is_closed & in_io] = Op.IO.value
    amount = np.where(is_closed, end - start, np.maximum(end, 1))
    flags = np.where(op == Op.SLEEP_UNTIL.value, FROM_BEGINNING, 0)
    object_ = np.full(len(op), NONE)
    if wakers is not None:
        op[wakers.block], flags[wakers.block] = Op.READ.value, 0
        object_[wakers.block] = blocks.task[wakers.block]
    op[blocks.is_last], flags[blocks.is_last] = Op.SLEEP.value, 0
    amount[blocks.is_last] = FOREVER
    return Deeds.make(blocks.state, op=op, amount=amount, object=object_, flags=flags, time_ns=start)


def waking(lives: Lives, blocks: Blocks, wakers: Wakers) -> Deeds:
    """Return how tasks wake others up."""
    return Deeds.make(
        wakers.state,
        place=1,
        op=Op.WRITE.value,
        object=blocks.task[wakers.block],
        flags=PLAIN_WAKEUP,
        time_ns=lives.times_of(lives.events[wakers.event]),
        order=wakers.event,
    )


def forking(lives: Lives, by: BoolArray) -> Deeds:
    """Return how tasks, if by them, fork others: the deeds' objects are these."""
    event = lives.of_type(EventType.FORK)
    time = lives.times_of(lives.events[event])
    parent = lives.at(lives.events["other_tid"][event], time)
    child = lives.at(lives.events["tid"][event], time)
    fits = (parent >= 0) & (child >= 0)
    fits[fits] = lives.start_ns[lives.first[lives.task[child[fits]]]] == time[fits]
    fits[fits] &= by[lives.task[parent[fits]]] & by[lives.task[child[fits]]]
    event, time, parent, child = event[fits], time[fits], parent[fits], lives.task[child[fits]]
    place = place_in(lives, parent, time)
    return Deeds.make(parent, place=place, op=Op.FORK.value, object=child, time_ns=time, order=event)


def place_in(lives: Lives, state: Places, time_ns: IntArray) -> npt.NDArray[np.int8]:
    """Return where a task does something: what it does as it goes to sleep, or exits, it does before."""
    leaves = lives.is_asleep[state] | (lives.states.state[state] == TaskState.DEAD)
    return np.where(leaves & (lives.start_ns[state] == time_ns), -1, 1).astype(np.int8)


def ending(lives: Lives) -> Deeds:
    """Return how tasks end: they exit, or outlast the trace."""
    dead = np.flatnonzero(lives.states.state == TaskState.DEAD)
    awake = lives.last[~lives.is_asleep[lives.last] & (lives.states.state[lives.last] != TaskState.DEAD)]
    return Deeds.together(
        [
            Deeds.make(dead, op=Op.EXIT.value, time_ns=lives.start_ns[dead]),
            Deeds.make(awake, place=1, op=Op.RUN.value, amount=FOREVER, time_ns=lives.end[awake], order=NONE),
        ]
    )


class Work:
    """How much CPU time tasks spent on their own, up to any moment."""

    def __init__(self, lives: Lives, costs: Mapping[str, int], wakers: Wakers | None) -> None:
        self._lives, self._costs, self._follows = lives, costs, lives.follows_a_run()
        state, time, cost = self._charges(wakers)
        self._charge(state, time, cost)
        # Who moves pays with its next burst, which may be a later one: a run can be nothing but a switch.
        moved = lives.events[lives.of_type(EventType.MIGRATE)]
        run = lives.next_run(lives.at(moved["tid"], lives.times_of(moved)), self._own() > 0)
        run = run[run >= 0]
        self._charge(
            np.concatenate([state, run]),
            np.concatenate([time, lives.start_ns[run]]),
            np.concatenate([cost, np.full(len(run), costs["migration_ns"])]),
        )
        self._before = np.concatenate([[0], np.cumsum(self._own())])

    def _charge(self, state: Places, time: IntArray, cost: IntArray) -> None:
        order = np.lexsort((time, state))
        self._keys = state[order] * self._lives.span + time[order]
        self._paid = np.concatenate([[0], np.cumsum(cost[order])])

    def _own(self) -> IntArray:
        """Return each run without what the machine took of it; other states: 0."""
        lives = self._lives
        length = lives.end - lives.start_ns - self._taken(np.arange(len(lives.task)), lives.end)
        return np.where(lives.is_running, length, 0)

    def until(self, state: Places, time_ns: IntArray, place: npt.NDArray[np.int8]) -> IntArray:
        """Return the CPU time of all tasks up to that one's state, and of it up to that time."""
        lives = self._lives
        inside = lives.is_running[state] & (place > 0)
        ran = time_ns - lives.start_ns[state] - self._taken(state, time_ns)
        done: IntArray = self._before[state] + np.where(inside, np.maximum(ran, 0), 0)
        return done

    def before(self, state: Places) -> IntArray:
        """Return the CPU time of all tasks up to that one's state."""
        return self._before[state]

    def _taken(self, state: Places, time_ns: IntArray) -> IntArray:
        """Return what the machine took of a run up to a time."""
        lives, tick = self._lives, self._costs["tick_ns"]
        taken: IntArray
        begin = state * lives.span
        first, last = np.searchsorted(self._keys, begin), np.searchsorted(self._keys, begin + time_ns)
        taken = self._paid[last] - self._paid[first]
        if tick:
            phase = self._costs["tick_skew_ns"] * lives.states.cpu[state].astype(np.int64) % tick
            # A CPU that chooses at the time of its tick does so before it; one that idled has none then.
            before = lives.start_ns[state] - phase - self._follows[state]
            ticks = (time_ns - 1 - phase) // tick - before // tick
            taken += np.maximum(ticks, 0) * self._costs["tick_cost_ns"]
        return taken

    def _charges(self, wakers: Wakers | None) -> tuple[Places, IntArray, IntArray]:
        """Return what the machine takes of runs: which, when, how much."""
        lives, costs = self._lives, self._costs
        runs = np.flatnonzero(lives.is_running & ~lives.states.began_before)
        parts: list[tuple[Places, IntArray, int]] = [(runs, lives.start_ns[runs], costs["context_switch_ns"])]
        for kind, cost in (
            (lives.wakeup, costs["timer_irq_ns"] + costs["wakeup_ns"]),
            (EventType.FORK, costs["wakeup_ns"]),
        ):
            found = lives.events[lives.of_type(kind)]
            time = lives.times_of(found)
            parts.append((lives.running_on(found["cpu"], time), time, cost))
        if wakers is not None:  # a wakeup by a task has no interrupt of its own
            time = lives.times_of(lives.events[wakers.event])
            parts.append((wakers.state, time, -costs["timer_irq_ns"]))
        state = np.concatenate([each for each, _, _ in parts])
        time = np.concatenate([each for _, each, _ in parts])
        amount = np.concatenate([np.full(len(each), cost) for each, _, cost in parts])
        return state[state >= 0], time[state >= 0], amount[state >= 0]


def steps_of(lives: Lives, deeds: Deeds, work: Work) -> tuple[FlatArray, IntArray]:
    """Return the steps of all tasks, and how many each has: what they compute stands between the deeds."""
    task = lives.task[deeds.state]
    is_first = np.diff(task, prepend=-1) != 0
    done = work.until(deeds.state, deeds.time_ns, deeds.place)
    before = np.where(is_first, work.before(lives.first[task]), np.concatenate([[0], done[:-1]]))
    burst = np.maximum(done - before, 0)
    burst[deeds.amount == FOREVER] *= deeds.op[deeds.amount == FOREVER] != Op.RUN.value
    computes = burst > 0
    at = np.cumsum(computes + 1) - 1
    steps = np.zeros(int(at[-1]) + 1 if len(at) else 0, STEP_DTYPE)
    steps["object"] = NONE
    runs = at[computes] - 1
    steps["op"][runs], steps["amount"][runs] = Op.RUN.value, burst[computes]
    for name in ("op", "object", "amount", "flags"):
        steps[name][at] = getattr(deeds, name)
    nr_steps = np.bincount(task, computes + 1, lives.nr_tasks).astype(np.int64)
    return steps, nr_steps
