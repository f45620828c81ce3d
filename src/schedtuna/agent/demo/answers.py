"""When was each request of a simulated load answered? Told by when its task sleeps until the next one. Pure.

Requests that a task answers without sleeping in between count as answered when it has answered the last of
them: of an overload that lasts, latencies are told as somewhat longer than they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np

from schedtuna.trace.schema import IDLE_TID, EventType, PrevState
from schedtuna.workload.programs.mix import START_NS, percentile

_SLEEPS = (PrevState.SLEEPING, PrevState.BLOCKED)


class Answers:
    """Follows the tasks that answer.

    Args:
        requests: Of each task, (arrival in ns after the start, loops of work), as `mix.draw_all` has them.
        options: Of the program.
    """

    def __init__(self, requests: Sequence[Sequence[tuple[int, int]]], options: argparse.Namespace) -> None:
        self._arrivals: dict[int, list[int]] = {}  # of each tid, those not answered yet
        half_ns = int(options.seconds * 1e9) // 2
        swapped = min(options.tasks, options.hogs) if options.swap else 0
        tid = 1
        for number, mine in enumerate(requests):
            arrivals = [START_NS + arrival for arrival, _ in mine]
            if number < swapped:
                self._arrivals[tid] = [one for one in arrivals if one - START_NS < half_ns]
                self._arrivals[tid + 1] = [one for one in arrivals if one - START_NS >= half_ns]
                tid += 1
            else:
                self._arrivals[tid] = arrivals
            tid += 1
        self._slept: dict[int, int] = {}  # of each tid, when it fell asleep
        self._answered: list[tuple[int, int]] = []  # (arrival, answer)

    def add(self, events: np.ndarray[Any, Any]) -> None:
        """Take events (`EVENT_DTYPE`), in order."""
        switches = (events["type"] == EventType.SWITCH) & np.isin(events["prev_state"], _SLEEPS)
        switches &= events["tid"] != IDLE_TID
        wakeups = events["type"] == EventType.WAKEUP
        chosen = events[switches | wakeups]
        columns = (chosen[name].tolist() for name in ("timestamp_ns", "type", "tid"))
        for at_ns, kind, tid in zip(*columns, strict=True):
            if kind == EventType.SWITCH:
                self._slept[tid] = at_ns
                if self._arrivals.get(tid) and at_ns > self._arrivals[tid][-1]:
                    self._answer(tid, at_ns, at_ns)  # the last one: nothing wakes it up any more
            elif tid in self._slept and self._is_next(tid, at_ns):
                self._answer(tid, self._slept[tid], at_ns)

    def _is_next(self, tid: int, at_ns: int) -> bool:
        """Whether a task wakes up for a request, and not for what a helper has done of one."""
        slept_ns = self._slept[tid]
        return any(slept_ns < arrival == at_ns for arrival in self._arrivals.get(tid, ()) if arrival <= at_ns)

    def _answer(self, tid: int, answered_ns: int, before_ns: int) -> None:
        waiting = self._arrivals[tid]
        nr_done = sum(arrival < before_ns for arrival in waiting)
        self._answered += [(arrival, answered_ns) for arrival in waiting[:nr_done]]
        self._arrivals[tid] = waiting[nr_done:]

    def figures(self, counted_ns: int) -> dict[str, float]:
        """Return what the program itself tells of latencies, of requests that arrived from counted_ns on.

        Those that were not answered by the end are none of them.
        """
        latencies_us = sorted((at - arrival) / 1e3 for arrival, at in self._answered if arrival >= counted_ns)
        if not latencies_us:
            return {"nr_requests": 0}
        return {
            "nr_requests": len(latencies_us),
            "p50_us": percentile(latencies_us, 50),
            "p90_us": percentile(latencies_us, 90),
            "p99_us": percentile(latencies_us, 99),
            "max_us": latencies_us[-1],
            "avg_us": sum(latencies_us) / len(latencies_us),
        }
