"""Rows for the migration model: both futures of randomised migrations between two groups of CPUs.

Some tasks are bound to the one group, some to the other, so that the groups' loads are whatever was drawn.
A few rovers may run anywhere. Where one wakes up, time is forked: in one future it is queued in its own
group, in the other one in the other group, and both times the group's idle CPU is taken if it has one, else
one is drawn. What migrating gains is what the integral of the number of tasks that run or wait is less by,
of all tasks. No rule is asked, and which wakeups are forked is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from schedtuna.sim import Simulation
from schedtuna.trace.schema import IDLE_TID, EventArray, EventType, PrevState

WARM_UP_NS, END_NS, WINDOW_NS = 100_000_000, 500_000_000, 50_000_000
HORIZON_NS = 20_000_000
LOOK_NS = 4_000_000
SHARE = 0.3  # of rovers' wakeups
ROVERS = 2
_WAKEUPS = (EventType.WAKEUP, EventType.WAKEUP_NEW)
_GOES_ON = (PrevState.PREEMPTED, PrevState.RUNNABLE)


@dataclass(frozen=True)
class MigrationRow:
    """A decision, and what migrating gained.

    Attributes:
        run: Of which run.
        cpu: Where the task was.
        nr_idle, nr_busy: CPUs, of both groups.
        src_load, dst_load: Utilisation of either group over the last 50 ms, 0 to 1.
        gain_ns: Of migrating, over staying.
    """

    run: int
    cpu: int
    nr_idle: int
    nr_busy: int
    src_load: float
    dst_load: float
    gain_ns: int


def rows_of_run(run: int) -> list[MigrationRow]:
    """Return the decisions of a run, whose number is the seed of all that is drawn.

    Where rovers wake up in between is drawn, too: so a group is left whatever the loads are.
    """
    random = np.random.default_rng([run, 7])
    per_group = int(random.choice([2, 4, 4, 8]))
    load = _load(random, per_group)
    simulation = Simulation(load, "fair", topology=f"2x{per_group}x1", seed=run, traced=True)
    nr_bound = sum(task["instance"] for name, task in load["tasks"].items() if name != "rover")
    found, past = [], simulation.take_events()
    while simulation.now_ns < END_NS - HORIZON_NS:
        ahead = simulation.fork()
        ahead.run(simulation.now_ns + LOOK_NS)
        later = ahead.take_events()
        wakeups = later[np.isin(later["type"], _WAKEUPS)]
        rovers = np.flatnonzero(wakeups["tid"] > nr_bound)
        if not len(rovers):
            simulation.run(simulation.now_ns + LOOK_NS)
            past = np.concatenate([past, simulation.take_events()])
            continue
        next_ns, tid = (int(wakeups[name][rovers[0]]) for name in ("timestamp_ns", "tid"))
        nth = int(np.isin(past["type"], _WAKEUPS).sum() + rovers[0] + 1)
        simulation.run(max(next_ns - 1, simulation.now_ns))
        past = np.concatenate([past, simulation.take_events()])
        if next_ns > WARM_UP_NS and random.random() < SHARE:
            row = _decide(simulation, past, (next_ns, tid, nth), per_group, random)
            if row is not None:
                found.append(MigrationRow(run, *row))
        simulation.place_at_wakeup(nth, int(random.integers(2 * per_group)))
        simulation.run(next_ns)
        past = np.concatenate([past, simulation.take_events()])
    return found


def _load(random: np.random.Generator, per_group: int) -> dict[str, Any]:
    """Tasks bound to either group, with a load of its own, and the rovers."""
    tasks: dict[str, Any] = {}
    for group in range(2):
        wanted = float(random.uniform(0.02, 1.1))
        mean_us = float(random.choice([200, 500, 1500, 4000]))
        count = 3 * per_group
        gap_us = max(mean_us * count / (wanted * per_group), 2.0)
        tasks[f"bound{group}"] = {
            "instance": count,
            "loop": -1,
            "cpus": list(range(group * per_group, (group + 1) * per_group)),
            "timer": {"ref": "unique", "period": {"exponential": round(gap_us)}, "mode": "absolute"},
            "run": {"exponential": round(mean_us)},
        }
    tasks["rover"] = {
        "instance": ROVERS,
        "loop": -1,
        "run": {"exponential": round(float(random.choice([200, 500, 1500, 4000])))},
        "sleep": {"exponential": 3000},
    }
    return {"tasks": tasks, "global": {"duration": 1}}


def _decide(
    simulation: Simulation,
    past: EventArray,
    wakeup: tuple[int, int, int],
    per_group: int,
    random: np.random.Generator,
) -> tuple[int, int, int, float, float, int] | None:
    now_ns, tid, nth = wakeup
    left = past[(past["type"] == EventType.SWITCH) & (past["tid"] == tid)]
    if not len(left):
        return None
    cpu = int(left["cpu"][-1])
    running = _running(past, 2 * per_group)
    source = cpu // per_group
    groups = [list(range(g * per_group, (g + 1) * per_group)) for g in (source, 1 - source)]
    costs = []
    for group in groups:
        idle = [one for one in group if running[one] == IDLE_TID]
        prefer = [cpu] if cpu in idle else idle
        future = simulation.fork()
        future.place_at_wakeup(nth, int(random.choice(prefer or group)))
        future.run(now_ns + HORIZON_NS)
        costs.append(_cost(future.take_events(), now_ns + HORIZON_NS))
    nr_idle = sum(one == IDLE_TID for one in running)
    loads = [_utilisation(past, group, now_ns) for group in groups]
    return cpu, nr_idle, 2 * per_group - nr_idle, loads[0], loads[1], costs[0] - costs[1]


def _running(past: EventArray, nr_cpus: int) -> list[int]:
    switches = past[past["type"] == EventType.SWITCH]
    found = [IDLE_TID] * nr_cpus
    for cpu in range(nr_cpus):
        here = switches["other_tid"][switches["cpu"] == cpu]
        if len(here):
            found[cpu] = int(here[-1])
    return found


def _utilisation(past: EventArray, group: list[int], now_ns: int) -> float:
    """How much of the last 50 ms the group's CPUs ran a task."""
    begin_ns, busy = now_ns - WINDOW_NS, 0
    switches = past[past["type"] == EventType.SWITCH]
    for cpu in group:
        here = switches[switches["cpu"] == cpu]
        times = here["timestamp_ns"].astype(np.int64)
        edges = np.clip(np.append(times, now_ns), begin_ns, now_ns)
        busy += int((np.diff(edges) * (here["other_tid"] != IDLE_TID)).sum())
    return busy / (WINDOW_NS * len(group))


def _cost(events: EventArray, end_ns: int) -> int:
    """The integral of the number of tasks that run or wait, but for a constant that both futures share."""
    left = end_ns - events["timestamp_ns"].astype(np.int64)
    wakes = np.isin(events["type"], _WAKEUPS)
    sleeps = (events["type"] == EventType.SWITCH) & ~np.isin(events["prev_state"], _GOES_ON)
    sleeps &= events["tid"] != IDLE_TID
    return int(left[wakes].sum() - left[sleeps].sum())


def rows_of_runs(runs: range) -> Iterator[MigrationRow]:
    """Return the decisions of runs, one after the other."""
    for run in runs:
        yield from rows_of_run(run)
