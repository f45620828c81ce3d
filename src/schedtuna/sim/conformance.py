"""Does a scheduler keep the contract? Checks that every simulated scheduler here passes, for yours too.

from schedtuna.sim.conformance import check_scheduler

check_scheduler(MyScheduler)  # raises ConformanceError and says what was expected
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import groupby
from typing import Any

from schedtuna.errors import ConformanceError, SimulationError
from schedtuna.scheduler.spec import SchedulerConfig
from schedtuna.sim.native import Stop, TaskState, cost_table
from schedtuna.sim.schedulers import SchedulerSource
from schedtuna.sim.simulation import Simulation
from schedtuna.trace.schema import IDLE_TID, EventArray, EventType, PrevState

Load = Mapping[str, Any]
Check = Callable[[SchedulerSource, Load], None]

CPUS = 4
PINNED = [0, 2]  # where one kind of tasks may run
END_NS = 10_000_000_000  # long after every load has ended
HALF_NS = 20_000_000  # in the middle of each


def _task(instance: int, loop: int, events: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    return {"instance": instance, "loop": 1, "phases": {"all": {"loop": loop, **events}}, **keys}


# Each ends by itself, so that a task that is lost is one that does not exit.
LOADS: dict[str, Load] = {
    "hogs": {"hog": _task(9, 3, {"run": 20_000})},
    "sleepers": {"sleeper": _task(12, 40, {"run": 700, "sleep": 900})},
    "timers beside hogs": {
        "timer": _task(6, 30, {"run": 400, "timer": {"ref": "unique", "period": 4000}}),
        "hog": _task(3, 2, {"run": 50_000}),
    },
    "a lock": {"worker": _task(6, 30, {"lock": "m", "run": 300, "unlock": "m", "run2": 200})},
    "a barrier": {"worker": _task(6, 20, {"run": 500, "barrier": "all"})},
    "affinity": {
        "pinned": _task(5, 30, {"run": 700, "sleep": 300}, cpus=PINNED),
        "free": _task(5, 30, {"run": 700, "sleep": 300}),
    },
    "nice values": {
        "low": _task(3, 4, {"run": 10_000}, priority=10),
        "high": _task(3, 4, {"run": 10_000}, priority=-5),
    },
    "yields": {"yielder": _task(6, 50, {"run": 200, "yield": ""})},
}


def check_scheduler(scheduler: SchedulerSource, *, conserves_work: bool | None = None) -> None:
    """Run all checks on every load.

    Args:
        scheduler: What `Simulation` takes.
        conserves_work: Whether it promises that no CPU idles while a task waits that may run there.
            Default: what a scheduler in Python says of itself.

    Raises:
        ConformanceError: The first check that failed, on which load, and how.
    """
    if conserves_work is None:
        conserves_work = not isinstance(scheduler, str | SchedulerConfig) and scheduler.conserves_work
    checks = (*CHECKS, *((work_is_conserved,) if conserves_work else ()))
    for check in checks:
        for name, load in LOADS.items():
            try:
                check(scheduler, load)
            except (ConformanceError, SimulationError) as error:
                raise ConformanceError(f"{check.__name__}, load '{name}': {error}") from error


def every_task_ends(scheduler: SchedulerSource, load: Load) -> None:
    """No wakeup is lost: all tasks run until they exit."""
    simulation = _begin(scheduler, load)
    if simulation.run(END_NS) is not Stop.ALL_EXITED:
        left = [task for task in simulation.state().tasks if task.state is not TaskState.DEAD]
        told = ", ".join(f"{task.name} ({task.state.name.lower()})" for task in left[:5])
        raise ConformanceError(f"{len(left)} tasks have not ended after {END_NS / 1e9:g} s: {told}")


def tasks_run_where_they_may(scheduler: SchedulerSource, load: Load) -> None:
    """Affinity is obeyed, and no task is on two CPUs."""
    simulation = _begin(scheduler, load, traced=True)
    simulation.run(END_NS)
    names = [task.name for task in simulation.state().tasks]
    running: dict[int, int] = {}
    events = simulation.take_events()
    for event in events[events["type"] == EventType.SWITCH]:
        tid, cpu = int(event["other_tid"]), int(event["cpu"])
        running[cpu] = IDLE_TID
        if tid == IDLE_TID:
            continue
        if tid in running.values():
            raise ConformanceError(f"{names[tid - 1]} runs on two CPUs")
        if cpu not in _allowed(names[tid - 1], load):
            raise ConformanceError(f"{names[tid - 1]} ran on CPU {cpu}, where it may not")
        running[cpu] = tid


def equal_seeds_agree(scheduler: SchedulerSource, load: Load) -> None:
    """Two runs of the same seed are the same, and noise that the machine does not have changes nothing."""
    hashes = {_hash(_begin(scheduler, load)) for _ in range(2)}
    hashes.add(_hash(_begin(scheduler, load, noise_seed=99)))
    if len(hashes) > 1:
        raise ConformanceError(
            "two runs of one seed differ: a scheduler's copies must share nothing, and draw no random numbers"
        )


def a_fork_goes_on_like_its_original(scheduler: SchedulerSource, load: Load) -> None:
    """A fork, and the original that was forked, end as one that never was."""
    straight = _hash(_begin(scheduler, load))
    original = _begin(scheduler, load)
    original.run(HALF_NS)
    fork = original.fork()
    if not _hash(fork) == _hash(original) == straight:
        raise ConformanceError("a fork differs from its original: a scheduler's copies must share nothing")


def simulations_do_not_meet(scheduler: SchedulerSource, load: Load) -> None:
    """Many at once, a piece of each in turn, end as each does alone."""
    seeds = (1, 2, 3)
    alone = [_hash(_begin(scheduler, load, seed=seed)) for seed in seeds]
    together = [_begin(scheduler, load, seed=seed) for seed in seeds]
    for until_ns in range(0, HALF_NS, HALF_NS // 8):
        for simulation in together:
            simulation.run(until_ns)
    if [_hash(simulation) for simulation in together] != alone:
        raise ConformanceError(
            "simulations side by side differ from each alone: their schedulers share something"
        )


def work_is_conserved(scheduler: SchedulerSource, load: Load) -> None:
    """No CPU idles while a task waits that may run there, on a machine without costs."""
    simulation = _begin(scheduler, load, traced=True, costs=_free())
    simulation.run(END_NS)
    names = [task.name for task in simulation.state().tasks]
    allowed = {tid: _allowed(name, load) for tid, name in enumerate(names, start=1)}
    for time_ns, waiting, idle in _moments(simulation.take_events()):
        for tid in waiting:
            if idle & allowed[tid]:
                cpu = min(idle & allowed[tid])
                raise ConformanceError(f"CPU {cpu} idles from {time_ns} ns on while {names[tid - 1]} waits")


CHECKS: tuple[Check, ...] = (
    every_task_ends,
    tasks_run_where_they_may,
    equal_seeds_agree,
    a_fork_goes_on_like_its_original,
    simulations_do_not_meet,
)


def _begin(scheduler: SchedulerSource, load: Load, **options: Any) -> Simulation:
    return Simulation({"tasks": load}, scheduler, cpus=CPUS, **options)


def _hash(simulation: Simulation) -> int:
    simulation.run(END_NS)
    return simulation.totals.hash


def _free() -> dict[str, int]:
    """A machine whose switches, wakeups and interrupts take no time."""
    return {name: 0 for name, *_ in cost_table() if name != "tick_ns"}


def _allowed(name: str, load: Load) -> set[int]:
    kind = next(task for task in load if name.startswith(task))
    return set(load[kind].get("cpus", range(CPUS)))


def _moments(events: EventArray) -> Iterator[tuple[int, set[int], set[int]]]:
    """Yield, after all that happens at one time: when that was, who waits, and which CPUs are idle."""
    waiting: set[int] = set()
    idle = set(range(CPUS))
    for time_ns, together in groupby(events, key=lambda event: int(event["timestamp_ns"])):
        for event in together:
            tid, cpu = int(event["tid"]), int(event["cpu"])
            if event["type"] in {EventType.WAKEUP, EventType.WAKEUP_NEW}:
                waiting.add(tid)
            elif event["type"] == EventType.SWITCH:
                if event["prev_state"] in {PrevState.PREEMPTED, PrevState.RUNNABLE}:
                    waiting.add(tid)
                waiting -= {int(event["other_tid"]), IDLE_TID}
                (idle.add if event["other_tid"] == IDLE_TID else idle.discard)(cpu)
        yield time_ns, waiting, idle
