"""What do users change, and what should it do? Each row of CHANGES is one load before and after."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from schedtuna.fidelity.loads import GROUP_NICE, PREFIX, PlayedLoad, Tasks
from schedtuna.fidelity.rules import Where

BASE = "before"


@dataclass(frozen=True)
class SettingChange:
    """A change of a setting.

    Attributes:
        help: What is changed.
        metric: What it should move.
        apply: Changes the tasks; it is given the CPU that they are on, and another one.
        fewest_cpus: On a machine with fewer it is left out.
    """

    help: str
    metric: str
    apply: Callable[[Tasks, int, int], None]
    fewest_cpus: int = 1


def _base(random: Random, cpu: int) -> Tasks:
    """Make two hogs and a task that wakes up periodically, on one CPU."""
    period_us = int(9000 + 2000 * random.random()) // 1000 * 1000 + 137
    return {
        "first": {"run": 100_000, "cpus": [cpu]},
        "second": {"run": 100_000, "cpus": [cpu]},
        "sleeper": {"run": 2000, "timer": {"ref": "unique", "period": period_us}, "cpus": [cpu]},
    }


def changed_load(name: str, seed: int, cpus: tuple[int, ...], seconds: int) -> PlayedLoad:
    """Return the load before any change (BASE), or after one of CHANGES."""
    cpu = cpus[-1]
    tasks = _base(Random(f"differences:{seed}"), cpu)
    if name != BASE:
        CHANGES[name].apply(tasks, cpu, cpus[0])
    named = {PREFIX + task: does for task, does in tasks.items()}
    used = tuple(sorted({cpu for task in tasks.values() for cpu in task["cpus"]}))
    return PlayedLoad(name, Where.QUIET, used, {GROUP_NICE: named}, seconds)


def _set(task: str, key: str, value: Any, also: str = "") -> Callable[[Tasks, int, int], None]:
    def apply(tasks: Tasks, cpu: int, other: int) -> None:
        del cpu, other
        for name in filter(None, (task, also)):
            tasks[name][key] = value

    return apply


def _set_all(key: str, value: Any) -> Callable[[Tasks, int, int], None]:
    def apply(tasks: Tasks, cpu: int, other: int) -> None:
        del cpu, other
        for task in tasks.values():
            task[key] = value

    return apply


def _more(number: int) -> Callable[[Tasks, int, int], None]:
    def apply(tasks: Tasks, cpu: int, other: int) -> None:
        del cpu, other
        for k in range(number):
            tasks[f"more{k}"] = copy.deepcopy(tasks["second"])

    return apply


def _fewer(tasks: Tasks, cpu: int, other: int) -> None:
    del cpu, other
    del tasks["second"]


def _moved(task: str) -> Callable[[Tasks, int, int], None]:
    def apply(tasks: Tasks, cpu: int, other: int) -> None:
        del cpu
        tasks[task]["cpus"] = [other]

    return apply


LATENCY, SHARE, CPU = "wakeup_latency_mean_us:sleeper", "share:first", "cpu_percent:first"
CHANGES: dict[str, SettingChange] = {
    "slice-long": SettingChange("all slices 20 ms", "switches_per_s", _set_all("dl-runtime", 20_000)),
    "slice-hog": SettingChange(
        "the first hog's slice 12 ms", "slice_mean_us:first", _set("first", "dl-runtime", 12_000),
    ),
    "slice-short": SettingChange("the sleeper's slice 0.1 ms", LATENCY, _set("sleeper", "dl-runtime", 100)),
    "nice-5": SettingChange("the first hog's nice value 5", SHARE, _set("first", "priority", 5)),
    "nice-10": SettingChange("the first hog's nice value 10", SHARE, _set("first", "priority", 10)),
    "nice-sleeper": SettingChange("the sleeper's nice value 5", LATENCY, _set("sleeper", "priority", 5)),
    "batch": SettingChange("the sleeper is SCHED_BATCH", LATENCY, _set("sleeper", "policy", "SCHED_BATCH")),
    "idle-hog": SettingChange("the first hog is SCHED_IDLE", LATENCY, _set("first", "policy", "SCHED_IDLE")),
    "idle-all": SettingChange(
        "both hogs are SCHED_IDLE", LATENCY, _set("first", "policy", "SCHED_IDLE", also="second"),
    ),
    "nice-hogs": SettingChange(
        "both hogs' nice value 5", LATENCY, _set("first", "priority", 5, also="second"),
    ),
    "affinity": SettingChange("the second hog goes to another CPU", CPU, _moved("second"), fewest_cpus=2),
    "affinity-sleeper": SettingChange(
        "the sleeper goes to another CPU", LATENCY, _moved("sleeper"), fewest_cpus=2,
    ),
    "tasks-fewer": SettingChange("one hog less", LATENCY, _fewer),
    "tasks-1": SettingChange("one hog more", SHARE, _more(1)),
    "tasks-3": SettingChange("three hogs more", LATENCY, _more(3)),
}  # fmt: skip
