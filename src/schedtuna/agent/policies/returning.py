"""Has a thread that stepped back turned out to run shortly? It returns before the interval ends. Pure.

To step back is decided slowly, over some intervals; to return, at once. A thread that computed and now
answers requests waits many times as long as it would without the agent, so each interval that it stays back
does harm, while one that returns by mistake has lost nothing that it had without the agent. So that it does
not go to and fro, who has returned so has to compute for longer before it steps back again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from schedtuna.agent.contract import Intent, SensedTasks, Standing
from schedtuna.agent.policies.behaviour import BehaviourRates

NR_BURSTS = 2  # that are short on average, before it is called so
# Of one CPU. Who gets so little does not even get to sleep if it begins to answer somebody, so that nobody
# would see it: it does not step back, or returns.
LEAST_CPU_PERCENT, STARVED_CPU_PERCENT = 5.0, 2.0
_STARVED_WAIT_PERCENT = 60.0
_MOST_DOUBLINGS = 4

Thread = tuple[int, int]  # (tid, start_time_ns)


@dataclass(frozen=True)
class Glance:
    """Those that stepped back, as they are between two intervals.

    Attributes:
        at_ns: When (CLOCK_MONOTONIC).
        tasks: `SENSED_DTYPE`, of the threads that changes are in force of; only who they are and what was
            counted since their fork (`total_...`) is filled in.
    """

    at_ns: int
    tasks: SensedTasks


@runtime_checkable
class Reconsidering(Protocol):
    """A policy that also looks between intervals at those that it has changed."""

    def reconsider(self, glance: Glance, standing: Mapping[str, Standing]) -> list[str]:
        """Return the keys of the changes that are to be put back at once.

        Args:
            glance: The threads.
            standing: What is in force by this agent, by `Intent.key`.
        """
        ...


class Returning:
    """Follows the threads that stepped back, from one look to the next.

    Args:
        burst_ms: CPU time per sleep, up to which a thread runs shortly.
    """

    def __init__(self, burst_ms: float) -> None:
        self._burst_ns = burst_ms * 1e6
        self._since: dict[Thread, tuple[int, int]] = {}  # its CPU time and sleeps when it was looked at
        self._nr_returns: dict[Thread, int] = {}

    def found(self, tasks: SensedTasks, stepped_back: Collection[Thread]) -> set[Thread]:
        """Return those that have run shortly since they were looked at before.

        Args:
            tasks: Rows of threads, those that stepped back among them.
            stepped_back: Who they are; others are forgotten.
        """
        short: set[Thread] = set()
        since: dict[Thread, tuple[int, int]] = {}
        for thread, cpu_time_ns, nr_sleeps in _counted(tasks, stepped_back):
            cpu_before_ns, sleeps_before = self._since.get(thread, (cpu_time_ns, nr_sleeps))
            nr_bursts = nr_sleeps - sleeps_before
            if nr_bursts >= NR_BURSTS and (cpu_time_ns - cpu_before_ns) / nr_bursts <= self._burst_ns:
                short.add(thread)
            # One sleep says nothing yet, and is kept in mind; none or long bursts: it begins anew.
            waits_for_more = 0 < nr_bursts < NR_BURSTS
            since[thread] = (cpu_before_ns, sleeps_before) if waits_for_more else (cpu_time_ns, nr_sleeps)
        self._since = since
        for thread in short:
            self._nr_returns[thread] = self._nr_returns.get(thread, 0) + 1
        return short

    def starved(
        self, tasks: SensedTasks, found: BehaviourRates, stepped_back: Collection[Thread]
    ) -> set[Thread]:
        """Return those that stepped back and now wait for nearly all of the time; it counts as a return."""
        starves = (found.cpu_percent < STARVED_CPU_PERCENT) & (found.wait_percent >= _STARVED_WAIT_PERCENT)
        starved = {thread for thread, _, _ in _counted(tasks[starves], stepped_back)}
        for thread in starved:
            self._nr_returns[thread] = self._nr_returns.get(thread, 0) + 1
        return starved

    def follow(self, tasks: SensedTasks, stepping_back: Collection[Thread]) -> None:
        """Take these for threads that step back from now on, so that what comes next is compared with now."""
        for thread, cpu_time_ns, nr_sleeps in _counted(tasks, stepping_back):
            self._since.setdefault(thread, (cpu_time_ns, nr_sleeps))

    def times_longer(self, thread: Thread) -> int:
        """By what factor longer a thread has to compute before it steps back: 1, until it has returned so."""
        return int(2 ** min(self._nr_returns.get(thread, 0), _MOST_DOUBLINGS))

    def forget_all_but(self, living: Collection[Thread]) -> None:
        """Forget threads that are gone."""
        self._nr_returns = {one: times for one, times in self._nr_returns.items() if one in living}


def threads_of(intents: Iterable[Intent]) -> set[Thread]:
    """Return the threads that are targets."""
    return {(one.target.tid, one.target.start_time_ns) for one in intents if one.target.kind == "thread"}


def keys_of(threads: Collection[Thread], standing: Mapping[str, Standing]) -> list[str]:
    """Return all that is in force of these threads; that of their control groups is not theirs."""
    return [
        key
        for key, one in standing.items()
        if one.intent.target.kind == "thread"
        and (one.intent.target.tid, one.intent.target.start_time_ns) in threads
    ]


def _counted(tasks: SensedTasks, threads: Collection[Thread]) -> Iterator[tuple[Thread, int, int]]:
    if not threads:
        return
    for row in tasks[np.isin(tasks["tid"], [tid for tid, _ in threads])]:
        thread = int(row["tid"]), int(row["start_time_ns"])
        if thread in threads:
            yield thread, int(row["total_cpu_time_ns"]), int(row["total_nr_voluntary"])
