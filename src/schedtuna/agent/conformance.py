"""The contract of agent policies, as a check that anybody can run on theirs.

>>> check_policy(MyPolicy)  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from schedtuna.agent.contract import (
    SENSED_DTYPE,
    AgentPolicy,
    Intent,
    Need,
    RunningScheduler,
    Sensed,
    SensedTasks,
    Standing,
)
from schedtuna.errors import ConformanceError

_INTERVALS = 40
_SECOND_NS = 10**9


def check_policy(make: Callable[[], AgentPolicy], *, seed: int = 0) -> None:
    """Run a policy over drawn intervals, and raise where it breaks the contract.

    Args:
        make: Makes one; two of them are compared.
        seed: Of the intervals.

    Raises:
        ConformanceError: It is not deterministic, changes what it is given, names threads that are not there,
            says one thing twice, gives no reason, or does not give a standing change back in its own words.
    """
    one, other = make(), make()
    if not one.name or not isinstance(one.needs, frozenset) or not set(one.needs) <= set(Need):
        raise ConformanceError("a policy has a name, and a frozenset of `Need` as its needs")
    standing: dict[str, Standing] = {}
    for sensed in drawn_intervals(seed):
        before = sensed.tasks.copy(), dict(standing)
        found = one.decide(sensed, dict(standing))
        again = other.decide(sensed, dict(standing))
        if [_told(intent) for intent in found] != [_told(intent) for intent in again]:
            raise ConformanceError(
                f"{one.name} decides differently on the same input, interval {sensed.number}"
            )
        if not np.array_equal(before[0], sensed.tasks) or before[1] != standing:
            raise ConformanceError(f"{one.name} changes what it is given")
        _check_intents(one.name, found, sensed, standing)
        standing = {
            intent.key: standing.get(intent.key) or Standing(intent, sensed.end_ns, intent.old)
            for intent in found
        }


def drawn_intervals(seed: int, nr: int = _INTERVALS) -> list[Sensed]:
    """Return intervals in which threads come, go and change what they do, and one without any thread."""
    rng = np.random.default_rng(seed)
    roles = rng.integers(0, 3, 24)
    intervals = []
    for number in range(nr):
        if number % 10 == 9:
            roles[rng.integers(0, len(roles), 6)] = rng.integers(0, 3, 6)
        there = rng.random(len(roles)) < (0.0 if number == nr // 2 else 0.95)
        tasks = _tasks(rng, roles, number)[there]
        intervals.append(
            Sensed(
                number=number,
                start_ns=number * _SECOND_NS,
                end_ns=(number + 1) * _SECOND_NS,
                tasks=tasks,
                cgroups={1: "/", 2: "/system.slice/a.service"},
                machine={"cpu_percent": 90.0} if number % 3 else {},
                kernel={"wakeup_latency_p99_us": float(rng.uniform(50, 5000))} if number % 5 else {},
                scheduler=RunningScheduler("scx_tuna", is_ext=True)
                if number >= 30
                else RunningScheduler("eevdf"),
            )
        )
    return intervals


def _tasks(rng: np.random.Generator, roles: np.ndarray, number: int) -> SensedTasks:
    tasks = np.zeros(len(roles), SENSED_DTYPE)
    tasks["tid"] = tasks["tgid"] = 1000 + np.arange(len(roles))
    tasks["ppid"] = 900
    tasks["start_time_ns"] = 1 + np.arange(len(roles))
    tasks["comm"] = rng.choice([b"a", b"\xff\x1b[2J", b""], len(roles))
    tasks["cgroup_id"] = rng.integers(0, 4, len(roles))
    tasks["policy"] = rng.choice([0, 0, 0, 3, 5, 1, 6, 7], len(roles))
    tasks["weight"] = 1024
    tasks["observed_ns"] = 0 if number == 0 else _SECOND_NS
    busy, short = roles == 0, roles == 1
    tasks["cpu_time_ns"] = np.where(busy, 6e8, np.where(short, 2e7, 1e3)) * rng.uniform(0.8, 1.2, len(roles))
    tasks["run_delay_ns"] = np.where(busy, 3e8, np.where(short, 5e7, 0)) * rng.uniform(0.8, 1.2, len(roles))
    tasks["nr_voluntary"] = np.where(short, 50, 0)
    return tasks


def _told(intent: Intent) -> tuple[object, ...]:
    return intent.key, intent.new, intent.reason, sorted(intent.features.items()), intent.propensity


def _check_intents(name: str, found: list[Intent], sensed: Sensed, standing: Mapping[str, Standing]) -> None:
    keys = [intent.key for intent in found]
    if len(keys) != len(set(keys)):
        raise ConformanceError(f"{name} wants two values of one setting, interval {sensed.number}")
    there = set(zip(sensed.tasks["tid"].tolist(), sensed.tasks["start_time_ns"].tolist(), strict=True))
    for intent in found:
        target = intent.target
        if target.kind == "thread" and (target.tid, target.start_time_ns) not in there:
            raise ConformanceError(f"{name} wants to change a thread that is not there: {target.tell()}")
        if not intent.reason.strip():
            raise ConformanceError(f"{name} gives no reason for {intent.key}")
        if not 0 < intent.propensity <= 1:
            raise ConformanceError(f"{name} chose {intent.key} with probability {intent.propensity}")
        held = standing.get(intent.key)
        if held is not None and held.intent.new == intent.new and held.intent.id != intent.id:
            raise ConformanceError(f"{name} calls what is in force by another id: {intent.key}")
