"""Loads on which both fair classes, the native one and the Python one, have to decide alike.

A load is a number: what it is comes from that alone, on every machine. Each is run until `LEAST_EVENTS` have
happened. Kinds take turns; all of them vary nice values, policies, slices, costs and ticks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from schedtuna.sim.fair import Fair
from schedtuna.sim.schedulers import SchedulerSource
from schedtuna.sim.simulation import Simulation
from schedtuna.sim.state import SimulationTotals
from schedtuna.workload.families import FAMILIES, family

MS = 1_000_000
LEAST_EVENTS = 1000
_POLICIES = ("SCHED_OTHER", "SCHED_OTHER", "SCHED_BATCH", "SCHED_IDLE")
_GROUPS = ("/a", "/a/b", "/a/b/c", "/d")
_TICKS_NS = (4 * MS, 4 * MS, 1 * MS, 10 * MS)


@dataclass(frozen=True)
class TwinLoad:
    """A load and its machine."""

    workload: dict[str, Any]
    cpus: int
    costs: dict[str, int]
    seed: int

    def simulation(self, scheduler: SchedulerSource) -> Simulation:
        return Simulation(self.workload, scheduler, cpus=self.cpus, seed=self.seed, costs=self.costs)


def twin_load(number: int) -> TwinLoad:
    """Return the load of that number."""
    random = Random(number)
    kinds = list(KINDS.values())
    cpus, workload = kinds[number % len(kinds)](random)
    costs = {"tick_ns": random.choice(_TICKS_NS)}
    if random.random() < 0.3:
        costs |= {"irq_per_s": random.randrange(3000), "kthread_per_s": random.randrange(1, 200)}
    if random.random() < 0.2:
        costs |= {"context_switch_ns": 0, "wakeup_ns": 0, "ipi_ns": 0, "timer_irq_ns": 0, "tick_cost_ns": 0}
    if cpus > 1 and random.random() < 0.5:
        costs["tick_skew_ns"] = 100_000
    return TwinLoad(workload, cpus, costs, seed=number)


def native_run(load: TwinLoad, scheduler: str = "fair") -> tuple[int, Simulation]:
    """Run it natively for long enough; until when, and what it came to."""
    native = load.simulation(scheduler)
    until_ns = 0
    while native.totals.nr_events < LEAST_EVENTS:
        until_ns += 20 * MS
        assert until_ns < 60_000 * MS, "hardly anything happens in it"
        native.run(until_ns)
    return until_ns, native


def outcome(simulation: Simulation) -> tuple[SimulationTotals, list[int]]:
    """What two simulations that decided alike have in common: every switch, and every task's CPU time."""
    return simulation.totals, [task.cpu_time_ns for task in simulation.state().tasks]


def differs(load: TwinLoad, twin: Callable[[], SchedulerSource] = Fair, native: str = "fair") -> bool:
    """Whether a twin decides otherwise than a native scheduler, somewhere in the load."""
    until_ns, expected = native_run(load, native)
    python = load.simulation(twin())
    python.run(until_ns)
    return outcome(python) != outcome(expected)


def _attributes(random: Random, *, changes: bool) -> dict[str, Any]:
    """Nice value, policy and slice: of a task from the beginning, or of a phase."""
    often = 0.3 if changes else 0.6
    found: dict[str, Any] = {}
    if random.random() < often:
        found["priority"] = random.randrange(-20, 20)
    if random.random() < often:
        found["policy"] = random.choice(_POLICIES)
    if random.random() < often / 2:
        found["dl-runtime"] = random.choice((100, 500, 3000, 20_000, 100_000))
    return found


def _phase(random: Random) -> dict[str, Any]:
    phase: dict[str, Any] = {"run": random.choice((50, 300, 1000, 6000)) + random.randrange(200)}
    kind = random.random()
    if kind < 0.5:
        phase["sleep"] = random.choice((30, 500, 3000)) + random.randrange(500)
    elif kind < 0.6:
        phase["yield"] = ""
    elif kind < 0.7:
        phase["io"] = {"exponential": 700}
    elif kind < 0.85:
        phase["timer"] = {"ref": "unique", "period": {"uniform": {"from": 500, "to": 6000}}}
    return phase | _attributes(random, changes=True)


def _task(random: Random) -> dict[str, Any]:
    phases = {f"p{n}": _phase(random) for n in range(random.randrange(1, 4))}
    return {
        **_attributes(random, changes=False),
        "instance": random.choice((1, 1, 1, 2, 3)),
        "delay": random.randrange(5000),
        "phases": phases,
    }


def _tasks(random: Random, most: int = 7) -> dict[str, Any]:
    return {f"t{n}": _task(random) for n in range(random.randrange(2, most))}


def _flat(random: Random) -> tuple[int, dict[str, Any]]:
    return 1, {"tasks": _tasks(random)}


def _grouped(random: Random) -> tuple[int, dict[str, Any]]:
    tasks = {
        name: task | ({"taskgroup": random.choice(_GROUPS)} if random.random() < 0.8 else {})
        for name, task in _tasks(random).items()
    }
    used = {task["taskgroup"] for task in tasks.values() if "taskgroup" in task}
    weights = {group: {"cpu_weight": random.choice((1, 50, 300, 10_000))} for group in sorted(used)}
    return 1, {"tasks": tasks, "taskgroups": weights}


def _bound(random: Random) -> tuple[int, dict[str, Any]]:
    cpus = random.randrange(2, 5)
    tasks = {name: {**task, "cpus": [random.randrange(cpus)]} for name, task in _tasks(random, 12).items()}
    return cpus, {"tasks": tasks}


def _moving(random: Random) -> tuple[int, dict[str, Any]]:
    """Phases on one CPU each, and not on the same: tasks are taken elsewhere as they run."""
    cpus, workload = _bound(random)
    for task in workload["tasks"].values():
        for phase in task["phases"].values():
            phase["cpus"] = [random.randrange(cpus)]
    return cpus, workload


def _forking(random: Random) -> tuple[int, dict[str, Any]]:
    cpus, workload = _grouped(random)
    tasks = workload["tasks"]
    for name in list(tasks):
        child = f"c{name}"
        run = {"run": {"exponential": random.randrange(100, 3000)}}
        tasks[child] = {"instance": 0, **_attributes(random, changes=False), **run, "sleep": 500}
        tasks[child] |= {"exec": "last"} if random.random() < 0.3 else {"run1": 200, "exit": ""}
        if "taskgroup" in tasks[name]:
            tasks[child]["taskgroup"] = tasks[name]["taskgroup"]
        phases = tasks[name]["phases"]
        phases["fork"] = {"fork": child, "run": 100, "sleep": 4000}
    tasks["last"] = {"instance": 0, "run": 700, "exit": ""}
    return cpus, workload


def _waiting(random: Random) -> tuple[int, dict[str, Any]]:
    """Pipes, a mutex and a barrier between tasks: wakeups by tasks, of several at a time."""
    tasks: dict[str, Any] = {}
    for n in range(random.randrange(1, 4)):
        run = {"exponential": random.randrange(20, 2000)}
        tasks[f"asks{n}"] = {"run": run, "write": f"there{n}", "read": f"back{n}"}
        tasks[f"answers{n}"] = {"read": f"there{n}", "run": run, "write": f"back{n}"}
    for n in range(random.randrange(2, 5)):
        tasks[f"locks{n}"] = {"lock": "m", "run": 100 + 50 * n, "unlock": "m", "sleep": {"exponential": 900}}
    nr_laps = random.randrange(2, 5)
    tasks["laps"] = {"instance": nr_laps, "run": {"uniform": {"from": 50, "to": 900}}, "barrier": "b"}
    tasks["hog"] = {"run": 50_000}
    return 1, {"tasks": {name: task | _attributes(random, changes=False) for name, task in tasks.items()}}


def _family(random: Random) -> tuple[int, dict[str, Any]]:
    name = random.choice(list(FAMILIES))
    return 1, family(name, random.randrange(1000), 1, random.choice((0.3, 0.9, 1.5)), seconds=60)


def _bound_family(random: Random) -> tuple[int, dict[str, Any]]:
    cpus = random.randrange(2, 5)
    name = random.choice([name for name in FAMILIES if name != "fork-join"])
    workload = family(name, random.randrange(1000), cpus, random.choice((0.3, 0.9)), seconds=60)
    for task in workload["tasks"].values():
        task["cpus"] = [random.randrange(cpus)]
    return cpus, workload


KINDS: dict[str, Callable[[Random], tuple[int, dict[str, Any]]]] = {
    "flat": _flat,
    "grouped": _grouped,
    "bound": _bound,
    "moving": _moving,
    "forking": _forking,
    "waiting": _waiting,
    "family": _family,
    "bound family": _bound_family,
}
