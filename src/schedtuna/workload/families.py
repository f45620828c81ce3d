"""Which kinds of synthetic loads are there, and what is one of them as a file of rt-app's?

A family's members differ in how many tasks they have and how long bursts are on average. The amounts
themselves are distributions in the file, drawn from the seed that a simulation or schedtuna-player is
given: one file can be run with many of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from random import Random
from typing import Any

from schedtuna.errors import UsageError

Tasks = dict[str, dict[str, Any]]

MIN_LOAD, MAX_LOAD = 0.01, 4.0
_PARETO_TAIL_PERMILLE = 1500  # finite mean, infinite variance
_PARETO_RANGE = 2000  # of the largest to the smallest
_LONG_US = 100_000  # a long task's burst, which nothing but its end tells from the next


@dataclass(frozen=True)
class Family:
    """A kind of load.

    Attributes:
        help: What it is, in a line.
        make: Its tasks, for a generator of what is random in its structure, a number of CPUs, and the CPU
            time that is offered per second and CPU.
    """

    help: str
    make: Callable[[Random, int, float], Tasks]


def family(
    name: str, seed: int, cpus: int, load: float, *, seconds: int = 10, ends: float | None = None
) -> dict[str, Any]:
    """Return a member of a family as rt-app's JSON.

    Args:
        name: One of FAMILIES.
        seed: Which member, from 0.
        cpus: How many CPUs it is for.
        load: CPU time that its tasks ask for per second and CPU, on average, where they don't wait for CPUs;
            long tasks ask for all that is left.
        seconds: How long it goes on.
        ends: After which share of that tasks do nothing new, on average: each has a number of rounds, and
            exits. Whoever schedules them, all of them do the same. None: they go round until it is over.

    Raises:
        UsageError: There is no such family, or an argument is out of range.
    """
    if name not in FAMILIES:
        raise UsageError(f"there is no family {name!r}", hint=f"known: {', '.join(FAMILIES)}")
    if seed < 0:  # whose sign Random would drop
        raise UsageError(f"there is no member {seed} of a family", hint="they are numbered from 0")
    if cpus < 1 or seconds < 1 or not MIN_LOAD <= load <= MAX_LOAD:
        raise UsageError(
            f"a load of {load:g} on {cpus} CPUs for {seconds} seconds can't be made",
            hint=f"give at least one CPU and one second, and a load of {MIN_LOAD:g} to {MAX_LOAD:g}",
        )
    tasks = FAMILIES[name].make(Random(seed), cpus, load)
    if ends is None:
        return {"tasks": tasks, "global": {"duration": seconds}}
    if not 0 < ends <= 1:
        raise UsageError(f"ends={ends:g}: expected a share of the load's time, above 0 and up to 1")
    return {"tasks": _ending(tasks, load, ends * seconds * 1e6)}


def _between(random: Random, low: float, high: float) -> float:
    # Of Random only random() is the same in all versions of Python; a power would differ between machines.
    return low + (high - low) * random.random()


def _us(time: float) -> int:
    return max(1, round(time))


def _timer(period: Any) -> dict[str, Any]:
    """Arrivals that don't wait for the work before them: a late answer makes the next ones late, too."""
    return {"ref": "unique", "period": period, "mode": "absolute"}


def _arriving(random: Random, cpus: int, load: float, size: Callable[[float], dict[str, Any]]) -> Tasks:
    """Make four tasks per CPU, each with requests at random times, of random sizes with a mean of its own."""
    nr_tasks = 4 * cpus
    tasks: Tasks = {}
    for i in range(nr_tasks):
        mean_us = _between(random, 200, 2000)
        gap_us = mean_us * nr_tasks / (load * cpus)
        tasks[f"server{i}"] = {"timer": _timer({"exponential": _us(gap_us)}), "run": size(mean_us)}
    return tasks


def _exponential(mean_us: float) -> dict[str, Any]:
    return {"exponential": _us(mean_us)}


def _pareto(mean_us: float) -> dict[str, Any]:
    # Cut off at r times its smallest value, it is smallest * (a - r^(1 - a)) / (a - 1) on average; a = 3/2.
    smallest = _us(mean_us / (3 - 2 / sqrt(_PARETO_RANGE)))
    return {
        "pareto": {
            "smallest": smallest,
            "tail_permille": _PARETO_TAIL_PERMILLE,
            "largest": smallest * _PARETO_RANGE,
        }
    }


def _poisson(random: Random, cpus: int, load: float) -> Tasks:
    return _arriving(random, cpus, load, _exponential)


def _heavy_tail(random: Random, cpus: int, load: float) -> Tasks:
    return _arriving(random, cpus, load, _pareto)


def _bursts(random: Random, cpus: int, load: float) -> Tasks:
    short = _arriving(random, cpus, load, lambda mean_us: {"exponential": _us(mean_us / 4)})
    for task in short.values():  # as often as makes up for shorter bursts
        task["timer"]["period"]["exponential"] = _us(task["timer"]["period"]["exponential"] / 4)
    return {**short, "long": {"instance": cpus, "run": _LONG_US}}


def _interactive(random: Random, cpus: int, load: float) -> Tasks:
    """Make people who type, one who plays video, and batch work that others may disturb."""
    period_us = _us(_between(random, 8_000, 40_000))
    video_share = min(0.3, load * cpus / 2)
    typing = 2 * cpus
    mean_us = _between(random, 500, 5000)
    gap_us = mean_us * typing / (load * cpus - video_share)
    return {
        "typing": {
            "instance": typing,
            "timer": _timer({"exponential": _us(gap_us)}),
            "run": _exponential(mean_us),
        },
        "video": {
            "timer": _timer(period_us),
            "run": {"lognormal": {"median": _us(video_share * period_us / 1.0202), "sigma_permille": 200}},
        },
        "batch": {"instance": cpus, "priority": int(_between(random, 1, 20)), "run": _LONG_US},
    }


def _shared_out(random: Random, cpus: int, load: float) -> tuple[int, float, float]:
    """Return how many workers, and how long each runs and rests on average, in us."""
    nr_workers = max(2, -int(-2 * load * cpus // 1))
    run_us = _between(random, 200, 5000)
    return nr_workers, run_us, run_us * (nr_workers / (load * cpus) - 1)


def _barrier(random: Random, cpus: int, load: float) -> Tasks:
    nr_workers, run_us, rest_us = _shared_out(random, cpus, load)
    run = {"uniform": {"from": _us(run_us / 2), "to": _us(run_us * 3 / 2)}}
    return {"worker": {"instance": nr_workers, "run": run, "barrier": "lap", "sleep": _us(rest_us)}}


def _ping_pong(random: Random, cpus: int, load: float) -> Tasks:
    nr_pairs, run_us, rest_us = _shared_out(random, cpus, load)
    tasks: Tasks = {}
    for i in range(nr_pairs):
        half = _exponential(run_us / 2)
        tasks[f"client{i}"] = {
            "run": half,
            "write": f"ask{i}",
            "read": f"answer{i}",
            "sleep": _exponential(rest_us),
        }
        tasks[f"server{i}"] = {"read": f"ask{i}", "run": half, "write": f"answer{i}"}
    return tasks


def _fork_join(random: Random, cpus: int, load: float) -> Tasks:
    """Make one parent per CPU that starts children now and then, and waits for the last."""
    tasks: Tasks = {}
    for i in range(cpus):
        nr_children = 2 + int(random.random() * 5)
        mean_us = _between(random, 500, 5000)
        parts: dict[str, Any] = {"timer": _timer({"exponential": _us(nr_children * mean_us / load)})}
        parts |= {f"fork{n}": f"child{i}" for n in range(nr_children)}
        parts |= {f"read{n}": f"done{i}" for n in range(nr_children)}
        tasks[f"parent{i}"] = parts
        tasks[f"child{i}"] = {"instance": 0, "run": _exponential(mean_us), "write": f"done{i}", "exit": ""}
    return tasks


_KEYS = ("instance", "priority")  # of tasks; all else are events


def _ending(tasks: Tasks, load: float, time_us: float) -> Tasks:
    """Give each task as many rounds as fit into a time on average, where it does not wait for CPUs."""
    found: Tasks = {}
    for name, task in tasks.items():
        if "exit" in task:  # it is forked, once per round of another one
            found[name] = task
            continue
        keys = {key: task[key] for key in _KEYS if key in task}
        events = {key: value for key, value in task.items() if key not in _KEYS}
        nr_rounds = max(1, round(time_us / _round_us(task, tasks, load)))
        found[name] = {**keys, "loop": 1, "phases": {"rounds": {"loop": nr_rounds, **events}}}
    return found


def _round_us(task: dict[str, Any], tasks: Tasks, load: float) -> float:
    if "timer" in task:
        return _mean_us(task["timer"]["period"])
    resting = [other for other in tasks.values() if "sleep" in other]
    if resting:  # all take part in the same rounds, in which who rests and who does not run in turn
        nr_runs = 1 if len(resting) == len(tasks) else 2
        return _mean_us(resting[0]["sleep"]) + nr_runs * _mean_us(resting[0]["run"])
    return _mean_us(task["run"]) / max(1 - load, MIN_LOAD)  # a long one, which gets what is left


def _mean_us(amount: Any) -> float:
    if not isinstance(amount, dict):
        return float(amount)
    if "uniform" in amount:
        return float(amount["uniform"]["from"] + amount["uniform"]["to"]) / 2
    return float(amount["exponential"])


FAMILIES = {
    "poisson": Family("requests at random times, exponential sizes", _poisson),
    "heavy-tail": Family("requests at random times, of which few take most of the CPU time", _heavy_tail),
    "bursts": Family("short requests beside a long task per CPU", _bursts),
    "interactive": Family("typing and video beside batch work of a lower priority", _interactive),
    "barrier": Family("workers that wait for each other after every step", _barrier),
    "ping-pong": Family("pairs that wake each other through pipes", _ping_pong),
    "fork-join": Family("parents that fork children and wait for all of them", _fork_join),
}
