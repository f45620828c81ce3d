"""Which loads are played and simulated? Files of rt-app's, drawn from a seed: each is a row of LOADS."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from schedtuna.fidelity.rules import Control, Where
from schedtuna.trace.fairness import group_weight
from schedtuna.workload.families import family

PREFIX = "fid_"  # of all names of tasks: others' have none such
GROUP_NICE = -20  # of the group in which a load runs
_LONG_US = 100_000
_LAPS, _MOST_S = 20_000, 30  # of tasks that do nothing but wake each other
Tasks = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Load:
    """A kind of load.

    Attributes:
        help: What it is.
        where: Which CPUs it uses.
        traits: What it has: contended, wakeups, weights, groups, switching.
        make: Its groups, as tasks by the nice value of the group, for a generator, the CPU that it has to
            itself where it uses one alone, and the number of CPUs.
        shares: Whether tasks' shares are compared.
        fewest_cpus: On a machine with fewer it is left out.
    """

    help: str
    where: Where
    traits: frozenset[str]
    make: Callable[[Random, int, int], dict[int, Tasks]]
    shares: bool = False
    fewest_cpus: int = 1


@dataclass(frozen=True)
class PlayedLoad:
    """A member of a kind of load.

    Attributes:
        name: Of its kind.
        where: Which CPUs it uses.
        cpus: Their numbers.
        groups: Nice value of a group -> its tasks, as rt-app's JSON has them.
        seconds: How long it goes on.
    """

    name: str
    where: Where
    cpus: tuple[int, ...]
    groups: dict[int, Tasks]
    seconds: int

    def files(self) -> dict[int, dict[str, Any]]:
        """Return a file per group, to be played side by side."""
        return {
            nice: {"tasks": tasks, "global": {"duration": self.seconds}}
            for nice, tasks in self.groups.items()
        }

    def simulated(self, delay_us: int = 0, control: Control | None = None) -> dict[str, Any]:
        """Return one file in which all groups are, as the simulator reads it.

        Args:
            delay_us: Until all begin.
            control: A model that is wrong on purpose, as far as it changes the load.
        """
        groups = copy.deepcopy(self.groups)
        if control and control.shuffles_weights:
            groups = _shuffled(groups)
        tasks: Tasks = {}
        weights: dict[str, dict[str, int]] = {}
        for number, (nice, members) in enumerate(groups.items()):
            path = "/load" if control and control.drops_groups else f"/load{number}"
            weights[path] = {"cpu_weight": group_weight(nice)}
            for name, task in members.items():
                tasks[name] = {**task, "taskgroup": path}
                if delay_us and task.get("instance", 1):
                    tasks[name]["delay"] = delay_us + task.get("delay", 0)
        return {"tasks": tasks, "taskgroups": weights, "global": {"duration": self.seconds + 1}}


def _shuffled(groups: dict[int, Tasks]) -> dict[int, Tasks]:
    """Give each task, and each group, the weight of the next."""
    nices = list(groups)
    moved = dict(zip(nices[1:] + nices[:1], groups.values(), strict=True))
    for tasks in moved.values():
        weights = [task.get("priority", 0) for task in tasks.values()]
        for task, priority in zip(tasks.values(), weights[1:] + weights[:1], strict=True):
            task["priority"] = priority
    return moved


def played_load(name: str, seed: int, cpus: tuple[int, ...], seconds: int) -> PlayedLoad:
    """Return a member of one of LOADS.

    Args:
        name: Which.
        seed: Which member; the amounts that are drawn meanwhile are drawn from the seed of the run.
        cpus: The machine's; one that is alone is the last.
        seconds: How long it goes on.
    """
    load = LOADS[name]
    groups = load.make(Random(f"{name}:{seed}"), cpus[-1], len(cpus))
    used = (cpus[-1],) if load.where is Where.QUIET else cpus
    named = {
        nice: {PREFIX + task: _renamed(does) for task, does in tasks.items()}
        for nice, tasks in groups.items()
    }
    return PlayedLoad(name, load.where, used, named, seconds)


def _renamed(task: dict[str, Any]) -> dict[str, Any]:
    return {key: PREFIX + value if key.startswith("fork") else value for key, value in task.items()}


def _between(random: Random, low: float, high: float) -> float:
    return low + (high - low) * random.random()


def _whole(random: Random, low: int, high: int) -> int:
    return int(_between(random, low, high + 1))


def _hog(nice: int = 0, **more: Any) -> dict[str, Any]:
    return {"run": _LONG_US, **({"priority": nice} if nice else {}), **more}


def _sleeper(run: Any, period: Any, **more: Any) -> dict[str, Any]:
    # A period is no multiple of the tick's: its wakeups come at all phases of it.
    return {"run": run, "timer": {"ref": "unique", "period": period}, **more}


def _odd(random: Random, low: int, high: int) -> int:
    """A period in us that comes to all phases of any usual tick."""
    return _whole(random, low, high) // 1000 * 1000 + 137 + _whole(random, 0, 700)


def _hogs(random: Random, cpu: int, nr_cpus: int) -> dict[int, Tasks]:
    del nr_cpus
    nices = (0, _whole(random, 3, 5), _whole(random, 7, 9))
    return {GROUP_NICE: {f"hog{i}": _hog(nice, cpus=[cpu]) for i, nice in enumerate(nices)}}


def _periodic(random: Random, cpu: int, nr_cpus: int) -> dict[int, Tasks]:
    del nr_cpus
    return {
        GROUP_NICE: {
            "hog0": _hog(cpus=[cpu]),
            "hog1": _hog(_whole(random, 4, 6), cpus=[cpu]),
            "sleeper": _sleeper(_whole(random, 1500, 2500), _odd(random, 9000, 13000), cpus=[cpu]),
        }
    }


def _sleepers(random: Random, cpu: int, nr_cpus: int) -> dict[int, Tasks]:
    del nr_cpus
    tasks: Tasks = {"hog": _hog(_whole(random, 0, 2), cpus=[cpu])}
    for i in range(3):
        tasks[f"sleeper{i}"] = _sleeper(_whole(random, 800, 3000), _odd(random, 12000, 25000), cpus=[cpu])
    return {GROUP_NICE: tasks}


def _quiet_interactive(random: Random, cpu: int, nr_cpus: int) -> dict[int, Tasks]:
    del nr_cpus
    think = {"uniform": {"from": 5000, "to": _whole(random, 15000, 25000)}}
    return {
        GROUP_NICE: {
            "typing": {"sleep": think, "run": {"exponential": _whole(random, 1000, 2000)}, "cpus": [cpu]},
            "video": _sleeper(
                {"lognormal": {"median": _whole(random, 2000, 4000), "sigma_permille": 200}},
                _odd(random, 15000, 17000),
                cpus=[cpu],
            ),
            "batch0": _hog(_whole(random, 2, 5), cpus=[cpu]),
            "batch1": _hog(_whole(random, 2, 5), cpus=[cpu]),
        }
    }


def _groups(random: Random, cpu: int, nr_cpus: int) -> dict[int, Tasks]:
    """Make a group of one and a group of four."""
    del nr_cpus
    return {
        GROUP_NICE: {"alone": _hog(cpus=[cpu])},
        GROUP_NICE + _whole(random, 1, 4): {f"member{i}": _hog(cpus=[cpu]) for i in range(4)},
    }


def _attributes(random: Random, cpu: int, nr_cpus: int) -> dict[int, Tasks]:
    """Make a task whose nice value changes while it runs, beside two that stay as they are."""
    del nr_cpus
    run = _whole(random, 20, 40) * 1000 + 137
    changing = {
        "phases": {"kind": {"run": run, "priority": 5}, "equal": {"run": run, "priority": 0}},
        "cpus": [cpu],
    }
    return {GROUP_NICE: {"changing": changing, "hog0": _hog(cpus=[cpu]), "hog1": _hog(3, cpus=[cpu])}}


def _ping_pong(random: Random, cpu: int, nr_cpus: int) -> dict[int, Tasks]:
    """Make two tasks that wake each other in bursts, and do next to nothing else."""
    del nr_cpus
    run, times = _whole(random, 3, 5), 50
    begin = {"loop": times, "run": run, "write": "there", "read": "back"}
    answer = {"read": "there", "run": run, "write": "back"}
    rest = {"sleep": _odd(random, 9000, 12000)}
    return {
        GROUP_NICE: {
            "ping": {"phases": {"begin": begin, "rest": rest}, "cpus": [cpu]},
            "pong": {**answer, "cpus": [cpu]},
        }
    }


def pure_switching(cpus: tuple[int, ...]) -> PlayedLoad:
    """Return two tasks that wake each other and do nothing else: what calibration looks at.

    They end after so many times that no more is recorded than the kernel's buffers hold.
    """
    there, back, rest = f"{PREFIX}there", f"{PREFIX}back", {"loop": 1, "cpus": [cpus[-1]]}
    tasks: Tasks = {
        f"{PREFIX}ping": {"phases": {"lap": {"loop": _LAPS, "write": there, "read": back}}, **rest},
        f"{PREFIX}pong": {"phases": {"lap": {"loop": _LAPS, "read": there, "write": back}}, **rest},
    }
    return PlayedLoad("switching", Where.QUIET, cpus[-1:], {GROUP_NICE: tasks}, _MOST_S)


def short_wakeups(cpus: tuple[int, ...], seconds: int) -> PlayedLoad:
    """Return tasks that wake up often on CPUs that are idle: what else calibration looks at."""
    tasks: Tasks = {f"{PREFIX}waker{cpu}": {**_sleeper(100, 2137), "cpus": [cpu]} for cpu in cpus}
    return PlayedLoad("wakeups", Where.MIXED, cpus, {GROUP_NICE: tasks}, seconds)


def _of_family(name: str, load: float) -> Callable[[Random, int, int], dict[int, Tasks]]:
    def make(random: Random, cpu: int, nr_cpus: int) -> dict[int, Tasks]:
        del cpu
        member = _whole(random, 0, 999)
        tasks: Tasks = family(name, member, nr_cpus, load)["tasks"]
        return {GROUP_NICE: tasks}

    return make


def _crowded(random: Random, cpu: int, nr_cpus: int) -> dict[int, Tasks]:
    """Make two tasks per CPU and one more, of unequal nice values, some of which sleep."""
    del cpu
    tasks: Tasks = {f"hog{i}": _hog(3 * (i % 2)) for i in range(nr_cpus + 1)}
    for i in range(nr_cpus):
        tasks[f"sleeper{i}"] = _sleeper(_whole(random, 1500, 4000), _odd(random, 10000, 20000))
    return {GROUP_NICE: tasks}


def _moving(random: Random, cpu: int, nr_cpus: int) -> dict[int, Tasks]:
    """Make a task that goes from CPU to CPU, beside one that is bound to each."""
    del nr_cpus
    run = _whole(random, 30, 60) * 1000 + 137
    phases = {"here": {"run": run, "cpus": [cpu]}, "there": {"run": run, "cpus": [0 if cpu else 1]}}
    return {
        GROUP_NICE: {
            "moving": {"phases": phases},
            "here": _hog(cpus=[cpu]),
            "there": _hog(_whole(random, 2, 4), cpus=[0 if cpu else 1]),
        }
    }


def _traits(*names: str) -> frozenset[str]:
    return frozenset(names)


LOADS: dict[str, Load] = {
    "hogs": Load(
        "three hogs of unequal nice values", Where.QUIET, _traits("contended", "weights"), _hogs, shares=True,
    ),
    "periodic": Load(
        "two hogs and a task that wakes up periodically", Where.QUIET,
        _traits("contended", "wakeups", "weights"), _periodic, shares=True,
    ),
    "sleepers": Load(
        "a hog and three tasks that wake up periodically", Where.QUIET,
        _traits("contended", "wakeups"), _sleepers,
    ),
    "interactive": Load(
        "typing and video beside batch work", Where.QUIET,
        _traits("contended", "wakeups"), _quiet_interactive,
    ),
    "groups": Load(
        "a group of one hog and one of four", Where.QUIET,
        _traits("contended", "groups"), _groups, shares=True,
    ),
    "attributes": Load(
        "a task whose nice value changes, and two hogs", Where.QUIET,
        _traits("contended", "weights"), _attributes, shares=True,
    ),
    "ping-pong": Load("two tasks that wake each other", Where.QUIET, _traits("switching"), _ping_pong),
    "crowded": Load(
        "more hogs than CPUs, and tasks that wake up periodically", Where.MIXED,
        _traits("contended", "wakeups", "weights"), _crowded,
    ),
    "requests": Load(
        "requests at random times", Where.MIXED, _traits("contended", "wakeups"), _of_family("poisson", 0.8),
    ),
    "mix": Load(
        "typing and video beside a batch task per CPU", Where.MIXED,
        _traits("contended", "wakeups"), _of_family("interactive", 0.5),
    ),
    "moving": Load(
        "a task whose affinity changes, beside one that is bound to each CPU", Where.MIXED,
        _traits("contended"), _moving, fewest_cpus=2,
    ),
}  # fmt: skip
